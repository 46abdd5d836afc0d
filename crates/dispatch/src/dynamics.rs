//! What makes a storage more than a plain battery: losses over time, use, power that falls with the state of charge.

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Power, Price, Soc};

use crate::problem::{Check, Invalid, Storage};

/// How a storage differs from a plain battery; the default does not. In each step energy is taken and given first, at the
/// terminals and by use; of what is then in store a part is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dynamics {
    /// Share of the stored energy that is left after an hour at rest, above 0, at most 1. Below the lowest state of charge it
    /// still falls by this.
    pub retention: f64,
    /// What its use takes from store, such as driving or a demand for heat.
    pub draw: Option<Draw>,
    /// Stored per taken energy in each step, above 0, instead of `charge_efficiency`; above 1 for a heat pump.
    pub charge_efficiency: Option<Vec<f64>>,
    /// Most charging power by state of charge at the end of a step: points that rise in state of charge, on a concave line.
    pub charge_curve: Vec<(Soc, Power)>,
    /// Most discharging power, in the same way.
    pub discharge_curve: Vec<(Soc, Power)>,
    /// Least power at which it charges, if it charges at all, kW, zero or above.
    pub min_charge: Power,
    /// Per kWh that is in store for an hour, zero or above.
    pub holding_cost: Price,
    /// More wear per kWh by which power is above these, each zero or above.
    pub wear_above: Vec<(Power, Price)>,
    /// Whether it holds heat: then people read that it heats, not that it charges. Nothing else depends on it.
    pub heat: bool,
}

/// What is taken from store by use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// Per step, kWh; below zero what comes in by itself, such as the sun through windows.
    pub energy: Vec<Energy>,
    /// Charged per kWh that lacks, zero or above: where the store is empty, use goes without.
    pub price: Price,
}

impl Default for Dynamics {
    fn default() -> Self {
        Self {
            retention: 1.0,
            draw: None,
            charge_efficiency: None,
            charge_curve: Vec::new(),
            discharge_curve: Vec::new(),
            min_charge: Power::ZERO,
            holding_cost: Price::ZERO,
            wear_above: Vec::new(),
            heat: false,
        }
    }
}

/// A line below which power stays: `at_zero + slope · energy`, kW and kWh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) at_zero: f64,
    pub(crate) slope: f64,
}

/// What a step does to a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// In store at the end of the step, kWh.
    pub(crate) after: f64,
    /// Of the use, what lacks, kWh; below zero what comes in and is let go.
    pub(crate) missing: f64,
}

impl Storage {
    /// What it does while it takes energy, in words.
    pub(crate) const fn taking(&self) -> &'static str {
        if self.dynamics.heat { "heating" } else { "charging" }
    }

    /// Stored per taken energy in a step.
    pub(crate) fn charge_efficiency_in(&self, t: usize) -> f64 {
        self.dynamics.charge_efficiency.as_ref().map_or(self.charge_efficiency, |each| each[t])
    }

    /// What use takes from store in a step, kWh; below zero what comes in.
    pub(crate) fn draw(&self, t: usize) -> f64 {
        self.dynamics.draw.as_ref().map_or(0.0, |draw| draw.energy[t].as_kwh())
    }

    /// The share of the stored energy that is left after some hours.
    pub(crate) fn kept(&self, hours: f64) -> f64 {
        if self.dynamics.retention < 1.0 { self.dynamics.retention.powf(hours) } else { 1.0 }
    }

    /// Whether it is a plain battery, which may be planned together with others like it.
    pub(crate) fn is_plain(&self) -> bool {
        self.dynamics == Dynamics::default()
    }

    /// The lines of its curve for charging or for discharging.
    pub(crate) fn lines(&self, charging: bool) -> impl Iterator<Item = Line> + '_ {
        let curve = if charging { &self.dynamics.charge_curve } else { &self.dynamics.discharge_curve };
        let capacity = self.capacity.as_kwh().max(1e-9);
        curve.windows(2).map(move |pair| {
            let (e0, e1) = (pair[0].0.as_fraction() * capacity, pair[1].0.as_fraction() * capacity);
            let (p0, p1) = (pair[0].1.as_kw(), pair[1].1.as_kw());
            let slope = (p1 - p0) / (e1 - e0);
            Line { at_zero: p0 - slope * e0, slope }
        })
    }

    /// Most charging and discharging power in a step of `hours` from `stored` kWh, of which no less than `floor` may be left; as
    /// sizes.
    pub(crate) fn room(&self, t: usize, hours: f64, stored: f64, floor: f64) -> [f64; 2] {
        let base = stored - self.draw(t);
        let (gain, give) = (self.charge_efficiency_in(t) * hours, hours / self.discharge_efficiency);
        // With power p the energy becomes base ± p·gain: the line is met where p = at_zero + slope·(base ± p·gain).
        let meets = |line: Line, change: f64| {
            (line.at_zero + line.slope * base) / (1.0 - line.slope * change).max(1e-9)
        };
        let into = self.lines(true).map(|line| meets(line, gain)).fold(self.max_charge.as_kw(), f64::min);
        let out = self.lines(false).map(|line| meets(line, -give)).fold(self.max_discharge.as_kw(), f64::min);
        let room = (self.energy_max().as_kwh() - base).max(0.0) / gain;
        let free = (base - floor).max(0.0) / give;
        [into.min(room).max(0.0), out.min(free).max(0.0)]
    }

    /// A step with this power (kW, discharge positive) from `stored` kWh, of which no less than `floor` may be left. Of the use
    /// `missing` is left out, or more where the store is empty; of what comes in by itself, or more where it is full.
    pub(crate) fn moved(
        &self,
        t: usize,
        hours: f64,
        stored: f64,
        floor: f64,
        power: f64,
        missing: f64,
    ) -> Moved {
        let change = if power > 0.0 {
            -power / self.discharge_efficiency
        } else {
            -power * self.charge_efficiency_in(t)
        };
        let draw = self.draw(t);
        let wanted = stored + change * hours - draw;
        let high = self.energy_max().as_kwh().max(floor);
        let missing = if draw > 0.0 {
            missing.max(floor - wanted).clamp(0.0, draw)
        } else {
            missing.min(high - wanted).clamp(draw, 0.0)
        };
        let energy = (wanted + missing).clamp(floor, high);
        Moved { after: energy * self.kept(hours), missing }
    }

    pub(crate) fn validate_dynamics(&self, steps: usize) -> Result<(), Invalid> {
        let (d, of) = (&self.dynamics, |what: &str| format!("{what} of {}", self.id));
        let what = of("retention");
        Check::finite(&what, d.retention)?;
        if !(1e-6..=1.0).contains(&d.retention) {
            return Err(Invalid::Range { what, value: d.retention, expected: "above 0, at most 1" });
        }
        if let Some(draw) = &d.draw {
            Check::list(&of("use"), steps, draw.energy.iter().map(|e| e.as_kwh()), Check::finite)?;
            Check::at_least_zero(&of("price of use that lacks"), draw.price.as_per_kwh())?;
        }
        if let Some(each) = &d.charge_efficiency {
            Check::list(&of("charge efficiency"), steps, each.iter().copied(), efficiency)?;
        }
        for curve in [&d.charge_curve, &d.discharge_curve] {
            self.validate_curve(curve)?;
        }
        Check::at_least_zero(&of("least charging power"), d.min_charge.as_kw())?;
        if d.min_charge > self.max_charge {
            let (what, value) = (of("least charging power"), d.min_charge.as_kw());
            return Err(Invalid::Range { what, value, expected: "at most the charging power" });
        }
        Check::at_least_zero(&of("holding cost"), d.holding_cost.as_per_kwh())?;
        for (power, price) in &d.wear_above {
            Check::at_least_zero(&of("power of more wear"), power.as_kw())?;
            Check::at_least_zero(&of("price of more wear"), price.as_per_kwh())?;
        }
        Ok(())
    }

    fn validate_curve(&self, curve: &[(Soc, Power)]) -> Result<(), Invalid> {
        let what = format!("curve of power of {}", self.id);
        let mut before = f64::INFINITY;
        for (soc, power) in curve {
            Check::share(&what, soc.as_fraction())?;
            Check::at_least_zero(&what, power.as_kw())?;
        }
        for pair in curve.windows(2) {
            let width = (pair[1].0 - pair[0].0).as_fraction();
            let slope = (pair[1].1 - pair[0].1).as_kw() / width;
            if width < 1e-6 || slope > before + 1e-9 {
                let expected = "states of charge that rise, and powers that fall ever faster";
                return Err(Invalid::Range { what, value: pair[1].0.as_fraction(), expected });
            }
            before = slope;
        }
        Ok(())
    }
}

fn efficiency(what: &str, value: f64) -> Result<(), Invalid> {
    Check::finite(what, value)?;
    if (0.01..=20.0).contains(&value) {
        return Ok(());
    }
    Err(Invalid::Range { what: what.into(), value, expected: "0.01…20" })
}
