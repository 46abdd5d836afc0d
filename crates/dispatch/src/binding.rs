//! Which limits hold a plan back, told from the plan itself: every limit that a step is at.

use crate::connection::Feeder;
use crate::problem::{Problem, Storage};
use crate::schedule::{Breach, BreachKind, Schedule};

/// What is planned this near to a limit is at the limit, kW or kWh: plans are rounded by the solver.
const NEAR: f64 = 0.005;

/// The limits that a step of a plan is at, in words for people: those of the connection, with by how much the plan
/// exceeds them, and the power and energy limits of the storages that may be used. Empty where nothing holds the plan
/// back, and for a step that the plan does not have.
#[must_use]
pub fn binding(problem: &Problem, schedule: &Schedule, step: usize) -> Vec<String> {
    let mut limits = connection(problem, schedule, step);
    limits.extend(problem.feeders.iter().flat_map(|feeder| at_feeder(feeder, schedule, step)));
    limits.extend(storages(problem, schedule, step));
    limits
}

fn connection(problem: &Problem, schedule: &Schedule, step: usize) -> Vec<String> {
    let Some(grid) = schedule.grid.get(step) else { return Vec::new() };
    let of = |limits: &[Option<sos_units::Power>]| limits.get(step).copied().flatten();
    let over = |kind| {
        let here = |breach: &&Breach| breach.step == step && breach.kind == kind && breach.feeder.is_none();
        let breach = schedule.breaches.iter().find(here);
        breach.map_or(0.0, |breach| breach.over.as_kw())
    };
    let told = |what: &str, used: f64, limit: Option<f64>, over: f64| {
        let limit = limit.filter(|limit| used >= limit - NEAR)?;
        let over = if over > NEAR { format!(", over by {over:.1} kW") } else { String::new() };
        Some(format!("planned {what} limit {limit:.1} kW{over}"))
    };
    let import = of(&problem.connection.import_limit).map(|limit| limit.as_kw());
    let export = of(&problem.connection.export_limit).map(|limit| limit.as_kw());
    let (reserve, spinning) = (over(BreachKind::Reserve), over(BreachKind::Spinning));
    [
        told("import", grid.as_kw(), import, over(BreachKind::Import)),
        told("export", -grid.as_kw(), export, over(BreachKind::Export)),
        (reserve > NEAR).then(|| format!("reserve for the import limit, short by {reserve:.1} kW")),
        (spinning > NEAR).then(|| format!("spinning reserve, short by {spinning:.1} kW")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The limits of a feeder that a step is at.
fn at_feeder(feeder: &Feeder, schedule: &Schedule, step: usize) -> Vec<String> {
    let flow = schedule.feeders.get(&feeder.id).and_then(|flow| flow.get(step));
    let Some(flow) = flow.map(|flow| flow.as_kw()) else { return Vec::new() };
    let told = |what: &str, used: f64, limits: &[Option<sos_units::Power>]| {
        let limit = limits.get(step).copied().flatten()?.as_kw();
        let over = used - limit;
        let by = if over > NEAR { format!(", over by {over:.1} kW") } else { String::new() };
        (over >= -NEAR).then(|| format!("planned {what} limit {limit:.1} kW of {}{by}", feeder.id))
    };
    let limits = &feeder.connection;
    let limits = [told("import", flow, &limits.import_limit), told("export", -flow, &limits.export_limit)];
    limits.into_iter().flatten().collect()
}

/// The limits of storages, each with the names of those at it.
fn storages(problem: &Problem, schedule: &Schedule, step: usize) -> Vec<String> {
    let usable = |storage: &&Storage| {
        let listed = storage.available.as_ref().is_none_or(|steps| steps.get(step) == Some(&true));
        listed && storage.capacity.as_kwh() > NEAR
    };
    let usable: Vec<&Storage> = problem.storages.iter().filter(usable).collect();
    let at = |what: &str, is: &dyn Fn(f64, f64, &Storage) -> bool| {
        let there = usable.iter().filter(|storage| {
            let plan = schedule.storage.get(&storage.id);
            let planned = plan.and_then(|plan| Some((plan.power.get(step)?, plan.stored_after.get(step)?)));
            planned.is_some_and(|(power, stored)| is(power.as_kw(), stored.as_kwh(), storage))
        });
        let names: Vec<&str> = there.map(|storage| storage.id.as_str()).collect();
        match names.len() {
            0 => None,
            n if n > 1 && n == usable.len() => Some(format!("{what}: all storages")),
            _ => Some(format!("{what}: {}", names.join(", "))),
        }
    };
    [
        at("charging power", &|power, _, storage| {
            storage.max_charge.as_kw() > NEAR && power <= NEAR - storage.max_charge.as_kw()
        }),
        at("discharging power", &|power, _, storage| {
            storage.max_discharge.as_kw() > NEAR && power >= storage.max_discharge.as_kw() - NEAR
        }),
        at("full", &|_, stored, storage| stored >= storage.energy_max().as_kwh() - NEAR),
        at("empty", &|_, stored, storage| stored <= storage.energy_min().as_kwh() + NEAR),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sos_units::{CarbonIntensity, CarbonPrice, Energy, Hours, Power, Price, Soc};

    use super::*;
    use crate::connection::Connection;
    use crate::problem::Step;
    use crate::schedule::StorageSchedule;

    fn storage(id: &str) -> Storage {
        Storage {
            id: id.into(),
            capacity: Energy::kwh(6.4),
            soc: Soc::fraction(0.5),
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
            max_charge: Power::kw(5.0),
            max_discharge: Power::kw(5.0),
            charge_efficiency: 0.95,
            discharge_efficiency: 0.95,
            end_value: Price::ZERO,
            wear_cost: Price::ZERO,
            available: None,
            targets: Vec::new(),
            ordered: None,
            dynamics: Default::default(),
        }
    }

    fn problem() -> Problem {
        let start: jiff::Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        Problem {
            steps: vec![Step { start, duration: Hours::new(1.0) }],
            connection: Connection {
                import_limit: vec![Some(Power::kw(11.0))],
                export_limit: vec![Some(Power::kw(3.0))],
                import_price: vec![Price::per_kwh(0.2)],
                export_price: vec![Price::ZERO],
                carbon_intensity: vec![CarbonIntensity::ZERO],
                carbon_price: CarbonPrice::ZERO,
                breach_price: Price::per_kwh(5.0),
                charges: Vec::new(),
                ramping: None,
            },
            fixed: vec![Power::kw(-10.0)],
            pessimistic: None,
            reserve: None,
            spinning: None,
            curtailable: Vec::new(),
            storages: vec![storage("a"), storage("b")],
            generators: Vec::new(),
            feeders: Vec::new(),
            carbon_cap: None,
            work: Vec::new(),
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    /// A plan of one step: exchange, and power with what is stored afterwards for each storage.
    fn plan(grid: f64, a: (f64, f64), b: (f64, f64)) -> Schedule {
        let of = |(power, stored): (f64, f64)| StorageSchedule {
            power: vec![Power::kw(power)],
            stored_after: vec![Energy::kwh(stored)],
            soc_after: vec![Soc::fraction(stored / 6.4)],
            missing: Vec::new(),
        };
        let storage = BTreeMap::from([("a".to_owned(), of(a)), ("b".to_owned(), of(b))]);
        Schedule { grid: vec![Power::kw(grid)], storage, ..Schedule::default() }
    }

    #[test]
    fn a_step_tells_the_limits_it_is_at_and_no_others() {
        let limits = |schedule: &Schedule| binding(&problem(), schedule, 0);
        assert!(limits(&plan(5.0, (1.0, 3.0), (-1.0, 3.0))).is_empty());
        assert_eq!(
            limits(&plan(10.9999, (5.0, 2.0), (4.9999, 3.0))),
            ["planned import limit 11.0 kW", "discharging power: all storages"]
        );
        assert_eq!(
            limits(&plan(-3.0, (-5.0, 6.4), (0.0, 6.3999))),
            ["planned export limit 3.0 kW", "charging power: a", "full: all storages"]
        );
        assert_eq!(limits(&plan(2.0, (1.0, 0.0), (0.0, 3.0))), ["empty: a"]);
        assert!(binding(&problem(), &plan(12.0, (5.0, 0.0), (5.0, 0.0)), 1).is_empty(), "no such step");
    }

    #[test]
    fn a_breach_is_told_with_its_size_and_a_storage_that_may_not_be_used_holds_nothing_back() {
        let mut schedule = plan(12.5, (0.0, 0.0), (5.0, 3.0));
        schedule.breaches.push(Breach {
            step: 0,
            kind: BreachKind::Import,
            over: Power::kw(1.5),
            feeder: None,
        });
        let mut problem = problem();
        problem.storages[0].available = Some(vec![false]);
        assert_eq!(
            binding(&problem, &schedule, 0),
            ["planned import limit 11.0 kW, over by 1.5 kW", "discharging power: b"]
        );
    }
}
