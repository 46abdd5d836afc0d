//! What flowed and what it cost, in integers: the settled case and the uncontrolled reference beside it.
//!
//! # Guarantees
//! Every tick is settled exactly once, when all its flows are known. Energy and money are exact sums; they are
//! rounded only when printed, so the parts of a report balance to the last digit kept.

use std::collections::BTreeMap;

use super::burnt::Burn;
use serde::{Deserialize, Serialize};
use sos_units::{ExactEmissions, ExactEnergy, ExactIntensity, ExactMoney, ExactPrice, Power};

/// The flows of one group of assets (a home) in one tick; positive into the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFlow {
    /// Consumption, zero or below.
    pub load: ExactEnergy,
    /// Generation, zero or above.
    pub solar: ExactEnergy,
    /// Discharge positive, charge negative.
    pub battery: ExactEnergy,
    /// What generators gave, zero or above.
    #[serde(default)]
    pub generator: ExactEnergy,
    /// What vehicles and heat pumps took, zero or below; above where a vehicle gave back more.
    #[serde(default)]
    pub movable: ExactEnergy,
}

/// One tick of a site with everything that its settlement needs.
#[derive(Clone, Debug, PartialEq)]
pub struct TickFlows {
    /// Length of the tick in seconds.
    pub seconds: i64,
    /// One entry per group, in a stable order.
    pub groups: Vec<GroupFlow>,
    /// Work of services as it ran, zero or below.
    pub work: ExactEnergy,
    /// The same work started at its earliest, zero or below.
    pub work_baseline: ExactEnergy,
    /// What vehicles and heat pumps would have taken without control, zero or below.
    pub movable_baseline: ExactEnergy,
    /// Generation that was turned down, zero or above; without control it flows.
    pub curtailed: ExactEnergy,
    /// What generators burnt, as it was.
    pub burnt: Burn,
    /// The same in merit order.
    pub burnt_baseline: Burn,
    /// Whether nothing can go over the connection: what lacks is unserved then, and a surplus is lost.
    pub island: bool,
    /// Paid for import.
    pub import_price: ExactPrice,
    /// Earned by export.
    pub export_price: ExactPrice,
    /// Emissions of what is imported.
    pub carbon: ExactIntensity,
    /// Limit on import, if there is one.
    pub import_limit: Option<Power>,
    /// Limit on export, if there is one.
    pub export_limit: Option<Power>,
    /// Parts of the site behind meters of their own, in the order of the model.
    pub feeders: Vec<FeederFlow>,
}

/// What flowed into a part of the site behind a meter of its own in one tick, below zero what flowed out, and what is paid there
/// beside the connection's prices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FeederFlow {
    /// As it was.
    pub actual: ExactEnergy,
    /// Uncontrolled.
    pub baseline: ExactEnergy,
    /// Paid for what flows in.
    pub import_price: ExactPrice,
    /// Earned by what flows out.
    pub export_price: ExactPrice,
    /// Emissions of what flows in that are counted here.
    pub carbon: ExactIntensity,
    /// Most that may flow in, by its fuse and by orders of the grid operator.
    pub import_limit: Option<Power>,
    /// Most that may flow out.
    pub export_limit: Option<Power>,
}

/// Sums of a part of the site behind a meter of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeederSums {
    /// Energy that flowed in.
    pub import: ExactEnergy,
    /// Energy that flowed out.
    pub export: ExactEnergy,
    /// The highest mean power of a step into it, in watts.
    pub peak_watts: i64,
    /// Steps in which a limit of it was exceeded.
    pub limit_violations: u64,
}

/// One case of the report: as it was, or as it would have been without control.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Import paid less export earned, at the connection and at feeders, charges, fuel and starts of generators.
    pub cost: ExactMoney,
    /// Part of the cost: what each charge came to, by name.
    #[serde(default)]
    pub charges: BTreeMap<String, ExactMoney>,
    /// Emissions of what was imported or burnt.
    pub emissions: ExactEmissions,
    /// Energy taken from the grid.
    pub import: ExactEnergy,
    /// Energy given to the grid.
    pub export: ExactEnergy,
    /// Steps in which a limit of the connection or of a feeder was exceeded.
    pub limit_violations: u64,
    /// The highest mean import of a step, in watts.
    pub peak_watts: i64,
    /// Of each feeder, in the order of the model.
    #[serde(default)]
    pub feeders: Vec<FeederSums>,
    /// Given by generators.
    #[serde(default)]
    pub generated: ExactEnergy,
    /// Starts of generators.
    #[serde(default)]
    pub starts: u64,
    /// What an island lacked.
    #[serde(default)]
    pub unserved: ExactEnergy,
    /// What an island had and nobody took.
    #[serde(default)]
    pub spilled: ExactEnergy,
}

/// By how much a limit was exceeded in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// kW above the limit, positive.
    pub over: Power,
    /// Whether it was the import limit.
    pub import: bool,
    /// Place of the feeder whose limit it was; none for the connection's.
    pub feeder: Option<usize>,
}

/// Running totals of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Ticks settled.
    pub steps: u64,
    /// As it was.
    pub actual: Case,
    /// Batteries idle, work at its earliest, vehicles charged on arrival, heat kept by its thermostat.
    pub baseline: Case,
    /// Surplus of one group used by another or by work of services.
    pub shared: ExactEnergy,
    /// All generation.
    pub solar: ExactEnergy,
    /// Generation that was turned down, zero or above.
    pub curtailed: ExactEnergy,
    /// All consumption of the groups, zero or below.
    pub load: ExactEnergy,
    /// All work of services, zero or below.
    pub work: ExactEnergy,
    /// Discharge of all batteries.
    pub discharged: ExactEnergy,
    /// Charge of all batteries.
    pub charged: ExactEnergy,
    /// What vehicles and heat pumps took, zero or below.
    #[serde(default)]
    pub movable: ExactEnergy,
}

impl Ledger {
    /// What came to it since an earlier state. Peaks are those since the start: they have no difference.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            steps: self.steps.saturating_sub(earlier.steps),
            actual: self.actual.since(&earlier.actual),
            baseline: self.baseline.since(&earlier.baseline),
            shared: self.shared - earlier.shared,
            solar: self.solar - earlier.solar,
            curtailed: self.curtailed - earlier.curtailed,
            load: self.load - earlier.load,
            work: self.work - earlier.work,
            discharged: self.discharged - earlier.discharged,
            charged: self.charged - earlier.charged,
            movable: self.movable - earlier.movable,
        }
    }

    /// Adds one tick; tells whether the actual case exceeded a limit of the connection, or else of a feeder.
    pub fn settle(&mut self, tick: &TickFlows) -> Option<Excess> {
        let (actual, baseline) = tick.exchanged();
        self.baseline.settle(tick, baseline, tick.burnt_baseline, |feeder| feeder.baseline);
        let excess = self.actual.settle(tick, actual, tick.burnt, |feeder| feeder.actual);

        let net = |g: &GroupFlow| g.load + g.solar + g.battery + g.generator + g.movable;
        let nets = || tick.groups.iter().map(net).chain([tick.work]);
        let surplus: ExactEnergy = nets().map(ExactEnergy::positive_part).sum();
        let deficit: ExactEnergy = nets().map(ExactEnergy::negative_part).sum();
        self.shared += surplus.min(deficit);
        for group in &tick.groups {
            self.solar += group.solar;
            self.load += group.load;
            self.discharged += group.battery.positive_part();
            self.charged += group.battery.negative_part();
            self.movable += group.movable;
        }
        self.work += tick.work;
        self.curtailed += tick.curtailed;
        self.steps += 1;
        excess
    }

    /// What is left over when everything that flowed in the actual case is added up; always zero.
    #[must_use]
    pub fn imbalance(&self) -> ExactEnergy {
        let assets = self.load + self.solar + self.work + self.movable + self.discharged - self.charged;
        let over = self.actual.import - self.actual.export + self.actual.unserved - self.actual.spilled;
        assets + self.actual.generated + over
    }
}

impl TickFlows {
    /// What went over the connection, import positive: as it was, and uncontrolled.
    #[must_use]
    pub fn exchanged(&self) -> (ExactEnergy, ExactEnergy) {
        let sum = |of: fn(&GroupFlow) -> ExactEnergy| self.groups.iter().map(of).sum::<ExactEnergy>();
        let uncontrolled = sum(|g| g.load + g.solar);
        let chosen = sum(|g| g.battery + g.generator + g.movable);
        let moved = self.movable_baseline + self.work_baseline;
        let without = uncontrolled + self.curtailed + moved + self.burnt_baseline.energy;
        (-(uncontrolled + chosen + self.work), -without)
    }
}

impl Case {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            cost: self.cost - earlier.cost,
            charges: self
                .charges
                .iter()
                .map(|(name, cost)| {
                    (name.clone(), *cost - earlier.charges.get(name).copied().unwrap_or_default())
                })
                .collect(),
            emissions: self.emissions - earlier.emissions,
            import: self.import - earlier.import,
            export: self.export - earlier.export,
            limit_violations: self.limit_violations.saturating_sub(earlier.limit_violations),
            peak_watts: self.peak_watts,
            feeders: self
                .feeders
                .iter()
                .enumerate()
                .map(|(place, sums)| sums.since(&earlier.feeders.get(place).copied().unwrap_or_default()))
                .collect(),
            generated: self.generated - earlier.generated,
            starts: self.starts.saturating_sub(earlier.starts),
            unserved: self.unserved - earlier.unserved,
            spilled: self.spilled - earlier.spilled,
        }
    }

    /// Adds what a charge has become dearer by.
    pub fn charge(&mut self, name: String, more: ExactMoney) {
        self.cost += more;
        *self.charges.entry(name).or_default() += more;
    }

    fn settle(
        &mut self,
        tick: &TickFlows,
        grid: ExactEnergy,
        burnt: Burn,
        flow: fn(&FeederFlow) -> ExactEnergy,
    ) -> Option<Excess> {
        self.cost += burnt.cost;
        self.emissions += burnt.emissions;
        self.generated += burnt.energy;
        self.starts += burnt.starts;
        let of_site = if tick.island { self.alone(tick, grid) } else { self.exchange(tick, grid) };
        self.feeders.resize(tick.feeders.len(), FeederSums::default());
        let mut of_feeders = None;
        for (place, feeder) in tick.feeders.iter().enumerate() {
            let found = self.pass(place, feeder, flow(feeder), tick.seconds);
            of_feeders = of_feeders.or(found);
        }
        let excess = of_site.or(of_feeders);
        self.limit_violations += u64::from(excess.is_some());
        excess
    }

    /// On an island what lacks is unserved, and a surplus is lost.
    fn alone(&mut self, tick: &TickFlows, grid: ExactEnergy) -> Option<Excess> {
        self.unserved += grid.positive_part();
        self.spilled += grid.negative_part();
        let lacks = grid.as_watt_seconds() > ROUNDING_W * tick.seconds;
        excess(grid.positive_part(), Some(Power::ZERO).filter(|_| lacks), tick.seconds, true)
    }

    fn exchange(&mut self, tick: &TickFlows, grid: ExactEnergy) -> Option<Excess> {
        let (import, export) = (grid.positive_part(), grid.negative_part());
        self.cost += tick.import_price * import - tick.export_price * export;
        self.emissions += tick.carbon * import;
        self.import += import;
        self.export += export;
        self.peak_watts = self.peak_watts.max(import.as_watt_seconds() / tick.seconds.max(1));
        excess(import, tick.import_limit, tick.seconds, true)
            .or_else(|| excess(export, tick.export_limit, tick.seconds, false))
    }

    /// What flows through a feeder flows through the connection too: energy is counted there, and paid at both.
    fn pass(&mut self, place: usize, feeder: &FeederFlow, flow: ExactEnergy, seconds: i64) -> Option<Excess> {
        let (import, export) = (flow.positive_part(), flow.negative_part());
        self.cost += feeder.import_price * import - feeder.export_price * export;
        self.emissions += feeder.carbon * import;
        let sums = &mut self.feeders[place];
        sums.import += import;
        sums.export += export;
        sums.peak_watts = sums.peak_watts.max(import.as_watt_seconds() / seconds.max(1));
        let excess = excess(import, feeder.import_limit, seconds, true)
            .or_else(|| excess(export, feeder.export_limit, seconds, false));
        sums.limit_violations += u64::from(excess.is_some());
        excess.map(|excess| Excess { feeder: Some(place), ..excess })
    }
}

impl FeederSums {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            import: self.import - earlier.import,
            export: self.export - earlier.export,
            peak_watts: self.peak_watts,
            limit_violations: self.limit_violations.saturating_sub(earlier.limit_violations),
        }
    }
}

/// Devices measure in whole watts, and nothing flows over a connection that could be measured: less than this lacks in no step.
const ROUNDING_W: i64 = 10;

fn excess(flow: ExactEnergy, limit: Option<Power>, seconds: i64, import: bool) -> Option<Excess> {
    let allowed = ExactEnergy::from_power(limit?, seconds);
    let over = flow - allowed;
    (over > ExactEnergy::ZERO).then(|| Excess {
        over: Power::kw(over.as_watt_seconds() as f64 / seconds.max(1) as f64 / 1000.0),
        import,
        feeder: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sos_units::{CarbonIntensity, Price};

    fn tick(groups: Vec<GroupFlow>, work: i64) -> TickFlows {
        TickFlows {
            seconds: 900,
            groups,
            work: ExactEnergy::watt_seconds(work),
            work_baseline: ExactEnergy::ZERO,
            movable_baseline: ExactEnergy::ZERO,
            curtailed: ExactEnergy::ZERO,
            burnt: Burn::default(),
            burnt_baseline: Burn::default(),
            island: false,
            import_price: ExactPrice::from_price(Price::per_kwh(0.25)),
            export_price: ExactPrice::default(),
            carbon: ExactIntensity::from_intensity(CarbonIntensity::kg_per_kwh(0.2)),
            import_limit: Some(Power::kw(3.0)),
            export_limit: None,
            feeders: Vec::new(),
        }
    }

    fn flow(load: f64, solar: f64, battery: f64) -> GroupFlow {
        let energy = |kw| ExactEnergy::from_power(Power::kw(kw), 900);
        GroupFlow {
            load: energy(load),
            solar: energy(solar),
            battery: energy(battery),
            generator: ExactEnergy::ZERO,
            movable: ExactEnergy::ZERO,
        }
    }

    #[test]
    fn surplus_of_one_home_serves_another() {
        let mut ledger = Ledger::default();
        ledger.settle(&tick(vec![flow(-1.0, 3.0, 0.0), flow(-4.0, 0.0, 0.0)], 0));
        assert_eq!(ledger.shared, ExactEnergy::from_power(Power::kw(2.0), 900));
        assert_eq!(ledger.actual.import, ExactEnergy::from_power(Power::kw(2.0), 900));
        assert_eq!(ledger.actual.export, ExactEnergy::ZERO);
    }

    #[test]
    fn a_watt_above_the_limit_is_a_violation_and_the_limit_itself_is_not() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.settle(&tick(vec![flow(-3.0, 0.0, 0.0)], 0)), None);
        let excess = ledger.settle(&tick(vec![flow(-3.001, 0.0, 0.0)], 0)).unwrap();
        assert!((excess.over.as_kw() - 0.001).abs() < 1e-9);
        assert_eq!((ledger.actual.limit_violations, ledger.baseline.limit_violations), (1, 1));
    }

    #[test]
    fn what_was_turned_down_flows_in_the_uncontrolled_case_only() {
        let mut ledger = Ledger::default();
        let hidden = ExactEnergy::from_power(Power::kw(2.0), 900);
        ledger.settle(&TickFlows { curtailed: hidden, ..tick(vec![flow(-1.0, 1.0, 0.0)], 0) });
        assert_eq!((ledger.actual.export, ledger.baseline.export), (ExactEnergy::ZERO, hidden));
        assert_eq!((ledger.curtailed, ledger.imbalance()), (hidden, ExactEnergy::ZERO));
    }

    #[test]
    fn on_an_island_what_lacks_is_unserved_and_a_surplus_is_lost() {
        let mut ledger = Ledger::default();
        let mut island = |load: f64, generated: f64| {
            let mut tick = tick(vec![flow(load, 0.0, 0.0)], 0);
            let energy = ExactEnergy::from_power(Power::kw(generated), 900);
            tick.groups[0].generator = energy;
            tick.burnt = Burn { energy, ..Burn::default() };
            tick.island = true;
            ledger.settle(&tick)
        };
        assert_eq!(island(-3.0, 4.0), None, "a surplus is no breach");
        assert_eq!(island(-3.0, 2.995), None, "devices round to watts");
        let excess = island(-3.0, 2.0).unwrap();
        assert!((excess.over.as_kw() - 1.0).abs() < 1e-9);
        let energy = |kw: f64| ExactEnergy::from_power(Power::kw(kw), 900);
        assert_eq!((ledger.actual.unserved, ledger.actual.spilled), (energy(1.005), energy(1.0)));
        assert_eq!((ledger.actual.import, ledger.actual.export), (ExactEnergy::ZERO, ExactEnergy::ZERO));
        assert_eq!((ledger.actual.limit_violations, ledger.imbalance()), (1, ExactEnergy::ZERO));
    }

    #[test]
    fn a_feeder_is_paid_beside_the_connection_and_a_step_above_a_fuse_counts_once() {
        let mut ledger = Ledger::default();
        let energy = |kw| ExactEnergy::from_power(Power::kw(kw), 900);
        let feeder = FeederFlow {
            actual: energy(2.0),
            baseline: energy(4.0),
            import_price: ExactPrice::from_price(Price::per_kwh(0.1)),
            import_limit: Some(Power::kw(1.5)),
            ..FeederFlow::default()
        };
        let one = TickFlows { feeders: vec![feeder], ..tick(vec![flow(-4.0, 0.0, 2.0)], 0) };
        let excess = ledger.settle(&one).unwrap();
        assert_eq!((excess.feeder, excess.import), (Some(0), true));
        let cost = |case: &Case| (case.cost.to_money().get() * 1e6).round() as i64;
        assert_eq!(cost(&ledger.actual), 175_000);
        assert_eq!(cost(&ledger.baseline), 350_000);
        // The baseline is above the limit of the connection too.
        assert_eq!((ledger.actual.limit_violations, ledger.baseline.limit_violations), (1, 1));
        assert_eq!((ledger.actual.feeders[0].import, ledger.imbalance()), (energy(2.0), ExactEnergy::ZERO));
        ledger.actual.charge("demand".into(), ExactMoney::from_money(sos_units::Money::new(3.0)));
        let later = ledger.since(&Ledger::default());
        assert_eq!(later, ledger, "what came since the start is all");
    }

    proptest! {
        #[test]
        fn energy_balances_to_the_last_watt_second(
            flows in prop::collection::vec((-20.0..0.0f64, 0.0..9.0f64, -5.0..5.0f64, -11.0..4.0f64), 1..40),
            work in -2_000_000i64..0,
        ) {
            let mut ledger = Ledger::default();
            let one = |&(load, solar, battery, car): &(f64, f64, f64, f64)| GroupFlow {
                movable: ExactEnergy::from_power(Power::kw(car), 900),
                ..flow(load, solar, battery)
            };
            for chunk in flows.chunks(3) {
                ledger.settle(&tick(chunk.iter().map(one).collect(), work));
            }
            prop_assert_eq!(ledger.imbalance(), ExactEnergy::ZERO);
            let priced = ExactPrice::from_price(Price::per_kwh(0.25)) * ledger.actual.import;
            prop_assert_eq!(ledger.actual.cost, priced);
        }
    }
}
