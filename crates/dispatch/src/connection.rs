//! Where flow is measured, limited and paid for: the site's connection, and feeders behind it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sos_units::{CarbonIntensity, CarbonPrice, Power, Price};

use crate::problem::{Check, Invalid, Problem};

/// A connection with its limits and prices. Every list has one entry per step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Most import, kW, zero or above; `None` = no limit. A limit is elastic: see `breach_price`.
    pub import_limit: Vec<Option<Power>>,
    /// Most export, kW, zero or above; `None` = no limit. Elastic like the import limit.
    pub export_limit: Vec<Option<Power>>,
    /// Paid per kWh imported, without carbon; may be negative.
    pub import_price: Vec<Price>,
    /// Earned per kWh exported; zero where export earns nothing, negative where it costs.
    pub export_price: Vec<Price>,
    /// Emissions per kWh imported.
    pub carbon_intensity: Vec<CarbonIntensity>,
    /// What emissions of import are priced at.
    pub carbon_price: CarbonPrice,
    /// Charged per kWh above a limit, zero or above, so that there is always a plan. Far above any price of
    /// energy, else the plan buys breaches.
    pub breach_price: Price,
    /// What is paid for a peak of import, or for import beyond an amount.
    #[serde(default)]
    pub charges: Vec<Charge>,
    /// What changes of the exchange cost.
    #[serde(default)]
    pub ramping: Option<Ramping>,
}

/// Paid for the largest of several sums of import above what is free: `price · max(0, max over sums − free)`.
///
/// A peak charge has one sum for each interval that counts, with each step's share of the interval as its weight; sum and `free`
/// are mean kW, and `free` is the peak so far. A tier has one sum over all steps with their hours as weights; sum and `free` are
/// kWh, and `free` is what is left of the cheaper tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// Unique among the charges of a problem; people read it.
    pub id: String,
    /// What its sums are of.
    pub what: Charged,
    /// Per unit of the sum, zero or above.
    pub price: f64,
    /// Costs nothing, zero or above.
    pub free: f64,
    /// The sums.
    pub sums: Vec<Sum>,
}

/// A sum of import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    /// What it amounts to before the first step: of an interval that has begun already. Zero or above.
    pub so_far: f64,
    /// Steps and weights, weights zero or above.
    pub steps: Vec<(usize, f64)>,
}

/// What is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charged {
    /// Mean power of an interval, kW.
    Peak,
    /// An amount of energy, kWh.
    Energy,
}

/// A price on changes of the exchange from each step to the next one, so that the grid sees a smooth site.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ramping {
    /// Per kW of change, up or down, zero or above.
    pub price: f64,
    /// The exchange before the first step, kW, import positive; without it the first step is free.
    pub before: Option<Power>,
}

/// A part of the site behind a meter or a fuse of its own: a home, a street, a wallbox circuit. What flows through it counts at the
/// site's connection too; prices add up. Feeders may lie within each other: the outer one lists what the inner ones list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feeder {
    /// Unique among the feeders of a problem.
    pub id: String,
    /// Ids of everything behind it.
    pub members: BTreeSet<String>,
    /// The part of the problem's `fixed` that is behind it, per step, kW, site sign.
    pub fixed: Vec<Power>,
    /// Its limits and prices.
    pub connection: Connection,
}

/// Most emissions over the horizon or its first steps, of import and of generators. Elastic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CarbonCap {
    /// Most, kg, zero or above.
    pub kg: f64,
    /// How many of the first steps count; `None` = all.
    #[serde(default)]
    pub steps: Option<usize>,
    /// Charged per kg above, zero or above.
    pub price: CarbonPrice,
}

impl CarbonCap {
    /// Whether emissions of a step count.
    pub(crate) fn counts(&self, step: usize) -> bool {
        self.steps.is_none_or(|steps| step < steps)
    }
}

impl Connection {
    /// What one imported kWh costs in `step`, carbon included.
    #[must_use]
    pub fn full_import_price(&self, step: usize) -> Price {
        self.import_price[step] + self.carbon_price * self.carbon_intensity[step]
    }

    /// A connection without limits at which nothing is paid or earned.
    #[must_use]
    pub fn free(steps: usize) -> Self {
        Self {
            import_limit: vec![None; steps],
            export_limit: vec![None; steps],
            import_price: vec![Price::ZERO; steps],
            export_price: vec![Price::ZERO; steps],
            carbon_intensity: vec![CarbonIntensity::ZERO; steps],
            ..Self::default()
        }
    }

    /// `of`: whose it is, for messages, such as ` of feeder home`.
    pub(crate) fn validate(&self, n: usize, of: &str) -> Result<(), Invalid> {
        let limit = |limit: &Option<Power>| limit.map_or(0.0, Power::as_kw);
        let list = |what: &str, values: Vec<f64>, each| {
            Check::list(&format!("{what}{of}"), n, values.into_iter(), each)
        };
        list("import limit", self.import_limit.iter().map(limit).collect(), Check::at_least_zero)?;
        list("export limit", self.export_limit.iter().map(limit).collect(), Check::at_least_zero)?;
        list("import price", self.import_price.iter().map(|p| p.as_per_kwh()).collect(), Check::finite)?;
        list("export price", self.export_price.iter().map(|p| p.as_per_kwh()).collect(), Check::finite)?;
        let carbon = self.carbon_intensity.iter().map(|p| p.as_kg_per_kwh()).collect();
        list("carbon intensity", carbon, Check::at_least_zero)?;
        Check::finite("carbon price", self.carbon_price.as_per_kg())?;
        Check::at_least_zero("breach price", self.breach_price.as_per_kwh())?;
        for charge in &self.charges {
            charge.validate(n)?;
        }
        let Some(ramping) = &self.ramping else { return Ok(()) };
        Check::at_least_zero(&format!("price of ramping{of}"), ramping.price)?;
        Check::finite("exchange before the first step", ramping.before.map_or(0.0, Power::as_kw))
    }
}

impl Charge {
    /// What is paid for these flows, import positive.
    #[must_use]
    pub fn cost(&self, flows: &[Power]) -> f64 {
        self.price * (self.largest(flows) - self.free).max(0.0)
    }

    /// The largest of its sums with these flows, kW or kWh.
    #[must_use]
    pub fn largest(&self, flows: &[Power]) -> f64 {
        let sum = |sum: &Sum| {
            sum.so_far + sum.steps.iter().map(|&(t, weight)| weight * flows[t].as_kw().max(0.0)).sum::<f64>()
        };
        self.sums.iter().map(sum).fold(0.0, f64::max)
    }

    fn validate(&self, n: usize) -> Result<(), Invalid> {
        let of = |what: &str| format!("{what} of charge {}", self.id);
        Check::at_least_zero(&of("price"), self.price)?;
        Check::at_least_zero(&of("free part"), self.free)?;
        for sum in &self.sums {
            Check::at_least_zero(&of("sum so far"), sum.so_far)?;
        }
        for &(step, weight) in self.sums.iter().flat_map(|sum| &sum.steps) {
            Check::at_least_zero(&of("weight"), weight)?;
            if step >= n {
                let (what, value) = (of("step"), step as f64);
                return Err(Invalid::Range { what, value, expected: "a step of the horizon" });
            }
        }
        Ok(())
    }
}

impl Ramping {
    /// What is paid for these flows, import positive.
    pub(crate) fn cost(&self, flows: &[Power]) -> f64 {
        let first =
            self.before.zip(flows.first()).map_or(0.0, |(before, first)| (*first - before).as_kw().abs());
        self.price * (first + flows.windows(2).map(|pair| (pair[1] - pair[0]).as_kw().abs()).sum::<f64>())
    }
}

impl Feeder {
    fn meter(&self) -> Meter<'_> {
        Meter { feeder: Some(self), connection: &self.connection, fixed: &self.fixed }
    }

    pub(crate) fn validate(&self, n: usize) -> Result<(), Invalid> {
        let what = format!("fixed power of feeder {}", self.id);
        Check::list(&what, n, self.fixed.iter().map(|p| p.as_kw()), Check::finite)?;
        self.connection.validate(n, &format!(" of feeder {}", self.id))
    }
}

/// A connection together with what flows through it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter<'a> {
    /// None for the site's.
    pub(crate) feeder: Option<&'a Feeder>,
    pub(crate) connection: &'a Connection,
    pub(crate) fixed: &'a [Power],
}

impl Meter<'_> {
    /// Whether something flows through it.
    pub(crate) fn counts(&self, id: &str) -> bool {
        self.feeder.is_none_or(|feeder| feeder.members.contains(id))
    }

    /// Its name, empty for the site's.
    pub(crate) fn id(&self) -> &str {
        self.feeder.map_or("", |feeder| feeder.id.as_str())
    }
}

impl Problem {
    /// The site's connection, then the feeders in their order.
    pub(crate) fn meters(&self) -> impl Iterator<Item = Meter<'_>> {
        let site = Meter { feeder: None, connection: &self.connection, fixed: &self.fixed };
        std::iter::once(site).chain(self.feeders.iter().map(Feeder::meter))
    }

    /// What each thing is behind.
    pub(crate) fn behind(&self) -> Behind<'_> {
        let mut meters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, feeder) in self.feeders.iter().enumerate() {
            for id in &feeder.members {
                meters.entry(id).or_insert_with(|| SITE.to_vec()).push(index + 1);
            }
        }
        Behind { meters }
    }
}

/// What is behind no feeder is behind the site's connection alone.
const SITE: &[usize] = &[0];

/// The meters that things are behind.
#[derive(Clone, Debug)]
pub(crate) struct Behind<'a> {
    meters: BTreeMap<&'a str, Vec<usize>>,
}

impl Behind<'_> {
    /// Places among [`Problem::meters`]: the site's, which is 0, then the feeders in their order, one more than in `feeders`.
    pub(crate) fn meters(&self, id: &str) -> &[usize] {
        self.meters.get(id).map_or(SITE, Vec::as_slice)
    }

    /// Places in `feeders`.
    pub(crate) fn feeders(&self, id: &str) -> impl Iterator<Item = usize> {
        self.meters(id).iter().skip(1).map(|meter| meter - 1)
    }
}
