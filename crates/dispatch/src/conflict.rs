//! Which limits cannot hold together: a small set, found without any price.
//!
//! A limit counts as held when some plan exceeds none of the set. Prices, wear and the worth of work play no part: with
//! them gone, the least sum of breaches is zero exactly then. The set is made small by halving (U. Junker, QUICKXPLAIN,
//! AAAI 2004), which asks k·log(n/k) times for k limits of n, where trying each one would ask n times.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sos_units::{CarbonPrice, FlexibleWork, Money, Price};

use crate::connection::Connection;
use crate::problem::{Budget, Problem, Storage};
use crate::recount::over_cap;
use crate::schedule::Schedule;
use crate::solve::{Unsolvable, solve};

/// A limit that a plan is to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// On import in a step.
    Import {
        /// The feeder whose limit it is; none for the site's connection.
        feeder: Option<String>,
        /// The step.
        step: usize,
    },
    /// On export in a step.
    Export {
        /// The feeder whose limit it is; none for the site's connection.
        feeder: Option<String>,
        /// The step.
        step: usize,
    },
    /// A state of charge that is wanted; only one that is priced as high as a breach counts as a limit.
    Target {
        /// Id of the storage.
        storage: String,
        /// The step at whose end it counts.
        step: usize,
    },
    /// On emissions, over all steps that count for it.
    CarbonCap,
    /// What its use takes from a storage, over all steps; only where what lacks is priced as high as a breach.
    Use {
        /// Id of the storage.
        storage: String,
    },
    /// Work that has to be done in time.
    Work {
        /// Id of the work.
        work: String,
    },
}

/// Limits that cannot hold together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The limits in order; any plan exceeds one of them.
    pub limits: Vec<Limit>,
    /// Whether no limit can be taken out: without it, the others can hold.
    pub irreducible: bool,
}

/// Breaches that add up to less are rounding of the solver, kWh or kg.
const NOTHING: f64 = 1e-4;

/// Finds limits that cannot hold together; `None` when one plan holds all of them. `probes` is how often a programme may be solved
/// for it, at least one; when they are spent, the set is larger than it had to be.
///
/// # Errors
/// As [`solve`], when not even the first programme could be solved.
pub fn conflict(problem: &Problem, probes: usize) -> Result<Option<Conflict>, Unsolvable> {
    problem.validate()?;
    let all = limits(problem);
    let mut search = Search { problem, left: probes.saturating_sub(1), spent: false };
    if holds(problem, &all.iter().cloned().collect())? {
        return Ok(None);
    }
    let mut limits = search.smallest(&BTreeSet::new(), false, &all);
    limits.sort();
    Ok(Some(Conflict { limits, irreducible: !search.spent }))
}

/// Whether limits that are said to be in conflict are: each is one of the problem, no plan holds all of them, and, where nothing
/// can be taken out of them, plans hold the others without any one. `Err` says what is not so.
///
/// # Errors
/// What is not so, in words; or that the solver could not find it out.
pub fn confirm(problem: &Problem, conflict: &Conflict) -> Result<(), String> {
    let known: BTreeSet<Limit> = limits(problem).into_iter().collect();
    let stated: BTreeSet<Limit> = conflict.limits.iter().cloned().collect();
    if !stated.is_subset(&known) {
        return Err("a limit in conflict that the problem does not have".into());
    }
    let holds = |set: &BTreeSet<Limit>| holds(problem, set).map_err(|error| error.to_string());
    if holds(&stated)? {
        return Err("limits said to be in conflict that one plan holds".into());
    }
    for one in stated.iter().filter(|_| conflict.irreducible) {
        let mut others = stated.clone();
        others.remove(one);
        if !holds(&others)? {
            return Err("limits in conflict of which one can be taken out, said to be irreducible".into());
        }
    }
    Ok(())
}

fn limits(problem: &Problem) -> Vec<Limit> {
    let limited = |list: &[Option<sos_units::Power>]| {
        let steps = list.iter().enumerate().filter(|(_, most)| most.is_some());
        steps.map(|(step, _)| step).collect::<Vec<usize>>()
    };
    let mut all = Vec::new();
    for meter in problem.meters() {
        let (c, feeder) = (meter.connection, meter.feeder.map(|feeder| &feeder.id));
        let import = |step| Limit::Import { step, feeder: feeder.cloned() };
        let export = |step| Limit::Export { step, feeder: feeder.cloned() };
        all.extend(limited(&c.import_limit).into_iter().map(import));
        all.extend(limited(&c.export_limit).into_iter().map(export));
    }
    let c = &problem.connection;
    for storage in &problem.storages {
        let hard = storage.targets.iter().filter(|target| target.price >= c.breach_price);
        all.extend(hard.map(|target| Limit::Target { storage: storage.id.clone(), step: target.step }));
    }
    all.extend(problem.carbon_cap.map(|_| Limit::CarbonCap));
    let needed = |storage: &&Storage| {
        let draw = storage.dynamics.draw.as_ref();
        draw.is_some_and(|draw| draw.price >= c.breach_price)
    };
    all.extend(problem.storages.iter().filter(needed).map(|s| Limit::Use { storage: s.id.clone() }));
    let required = problem.work.iter().filter(|work| work.required);
    all.extend(required.map(|work| Limit::Work { work: work.id.clone() }));
    all
}

struct Search<'a> {
    problem: &'a Problem,
    left: usize,
    spent: bool,
}

impl Search<'_> {
    /// A smallest part of `candidates` that cannot hold together with `kept`. `grown`: whether `kept` has just become larger.
    fn smallest(&mut self, kept: &BTreeSet<Limit>, grown: bool, candidates: &[Limit]) -> Vec<Limit> {
        if grown && !self.may_hold(kept) {
            return Vec::new();
        }
        if candidates.len() <= 1 {
            return candidates.to_vec();
        }
        let (first, second) = candidates.split_at(candidates.len() / 2);
        let with = |more: &[Limit]| kept.iter().chain(more).cloned().collect::<BTreeSet<Limit>>();
        let late = self.smallest(&with(first), true, second);
        let early = self.smallest(&with(&late), !late.is_empty(), first);
        early.into_iter().chain(late).collect()
    }

    /// Whether some plan holds these limits. When that cannot be found out any more, it is taken to be so, which makes the answer
    /// larger and never wrong.
    fn may_hold(&mut self, limits: &BTreeSet<Limit>) -> bool {
        if self.left == 0 {
            self.spent = true;
            return true;
        }
        self.left -= 1;
        holds(self.problem, limits).unwrap_or_else(|_| {
            self.spent = true;
            true
        })
    }
}

/// Whether some plan holds these limits and no others.
fn holds(problem: &Problem, limits: &BTreeSet<Limit>) -> Result<bool, Unsolvable> {
    let only = with_limits(problem, limits);
    let solved = solve(&only, &Budget { gap: 1e-6, ..Budget::default() })?;
    Ok(missing(&only, limits, &solved.schedule) <= NOTHING)
}

/// The problem with these limits only, where nothing costs but a breach: one per kWh or kg.
fn with_limits(problem: &Problem, limits: &BTreeSet<Limit>) -> Problem {
    let mut only = problem.clone();
    let one = Price::per_kwh(1.0);
    limit_only(&mut only.connection, None, limits);
    only.feeders.iter_mut().for_each(|feeder| limit_only(&mut feeder.connection, Some(&feeder.id), limits));
    // A missing reserve is a matter of its price, which must not outweigh a breach here.
    (only.pessimistic, only.reserve, only.spinning) = (None, None, None);
    only.carbon_cap = only.carbon_cap.filter(|_| limits.contains(&Limit::CarbonCap));
    only.carbon_cap.iter_mut().for_each(|cap| cap.price = CarbonPrice::per_kg(1.0));
    for storage in &mut only.storages {
        let used = limits.contains(&Limit::Use { storage: storage.id.clone() });
        let lack = if used { one } else { Price::ZERO };
        (storage.end_value, storage.wear_cost) = (Price::ZERO, Price::ZERO);
        storage.dynamics.holding_cost = Price::ZERO;
        storage.dynamics.wear_above.clear();
        storage.dynamics.draw.iter_mut().for_each(|draw| draw.price = lack);
        let id = &storage.id;
        storage.targets.retain_mut(|target| {
            target.price = one;
            limits.contains(&Limit::Target { storage: id.clone(), step: target.step })
        });
    }
    for generator in &mut only.generators {
        generator.curve.iter_mut().for_each(|point| point.per_hour = Money::ZERO);
        generator.start_cost = Money::ZERO;
    }
    // Work that does not have to be done, or has not begun, gives way to a limit; what cannot be stopped does not.
    let kept = |work: &FlexibleWork| limits.contains(&Limit::Work { work: work.id.clone() });
    only.work.retain(|work| kept(work) || work.running && !work.interruptible);
    for work in &mut only.work {
        work.value = if kept(work) { one * work.energy } else { Money::ZERO };
    }
    only
}

/// Leaves of a connection these limits, where nothing costs but a breach.
fn limit_only(c: &mut Connection, feeder: Option<&String>, limits: &BTreeSet<Limit>) {
    let n = c.import_limit.len();
    let (import_limit, export_limit) =
        (std::mem::take(&mut c.import_limit), std::mem::take(&mut c.export_limit));
    let kept = |list: Vec<Option<sos_units::Power>>, limit: &dyn Fn(usize, Option<String>) -> Limit| {
        let each = |(step, most): (usize, Option<sos_units::Power>)| {
            most.filter(|_| limits.contains(&limit(step, feeder.cloned())))
        };
        list.into_iter().enumerate().map(each).collect()
    };
    *c = Connection {
        import_limit: kept(import_limit, &|step, feeder| Limit::Import { step, feeder }),
        export_limit: kept(export_limit, &|step, feeder| Limit::Export { step, feeder }),
        breach_price: Price::per_kwh(1.0),
        carbon_intensity: std::mem::take(&mut c.carbon_intensity),
        ..Connection::free(n)
    };
}

/// By how much these limits, which are those of the problem, are exceeded, kWh and kg.
fn missing(problem: &Problem, limits: &BTreeSet<Limit>, schedule: &Schedule) -> f64 {
    let open = schedule.breaches.iter().filter(|breach| breach.kind.is_of_connection());
    let over: f64 = open.map(|b| b.over.as_kw() * problem.steps[b.step].duration.get()).sum();
    let short = problem.storages.iter().flat_map(|storage| {
        let stored = &schedule.storage[&storage.id].stored_after;
        storage.targets.iter().map(move |t| (t.soc * storage.capacity).as_kwh() - stored[t.step].as_kwh())
    });
    let lacks = |limit: &Limit| match limit {
        Limit::Use { storage } => {
            let missing = schedule.storage[storage].missing.iter();
            missing.map(|energy| energy.as_kwh().max(0.0)).sum()
        }
        Limit::Work { work } => schedule.work_not_done.get(work).map_or(0.0, |energy| energy.as_kwh()),
        _ => 0.0,
    };
    let lacks: f64 = limits.iter().map(lacks).sum();
    over + short.map(|kwh| kwh.max(0.0)).sum::<f64>() + lacks + over_cap(problem, schedule)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use sos_units::{CarbonIntensity, Energy, Hours, Power, Soc};

    use super::*;
    use crate::connection::CarbonCap;
    use crate::dynamics::Draw;
    use crate::problem::{SocTarget, Step};

    /// Hours with these loads, 4 kW of import, 2 kW of export, and a battery of 4 kWh and 2 kW that is half full.
    fn problem(net: &[f64]) -> Problem {
        let n = net.len();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let step = |t: i64| Step { start: start + SignedDuration::from_hours(t), duration: Hours::new(1.0) };
        Problem {
            steps: (0..n as i64).map(step).collect(),
            connection: Connection {
                import_limit: vec![Some(Power::kw(4.0)); n],
                export_limit: vec![Some(Power::kw(2.0)); n],
                import_price: vec![Price::per_kwh(0.3); n],
                export_price: vec![Price::per_kwh(0.1); n],
                carbon_intensity: vec![CarbonIntensity::ZERO; n],
                carbon_price: CarbonPrice::ZERO,
                breach_price: Price::per_kwh(5.0),
                charges: Vec::new(),
                ramping: None,
            },
            fixed: net.iter().map(|&kw| Power::kw(kw)).collect(),
            pessimistic: None,
            reserve: None,
            spinning: None,
            curtailable: Vec::new(),
            storages: vec![Storage {
                id: "battery".into(),
                capacity: Energy::kwh(4.0),
                soc: Soc::fraction(0.5),
                min_soc: Soc::fraction(0.0),
                max_soc: Soc::fraction(1.0),
                max_charge: Power::kw(2.0),
                max_discharge: Power::kw(2.0),
                charge_efficiency: 1.0,
                discharge_efficiency: 1.0,
                end_value: Price::ZERO,
                wear_cost: Price::ZERO,
                available: None,
                targets: Vec::new(),
                ordered: None,
                dynamics: Default::default(),
            }],
            generators: Vec::new(),
            feeders: Vec::new(),
            carbon_cap: None,
            work: Vec::new(),
            zone: jiff::tz::TimeZone::UTC,
        }
    }

    fn found(problem: &Problem) -> Option<Vec<Limit>> {
        let conflict = conflict(problem, 500).unwrap()?;
        assert!(conflict.irreducible);
        Some(conflict.limits)
    }

    #[test]
    fn limits_that_can_hold_are_no_conflict() {
        assert_eq!(found(&problem(&[-1.0, -5.0, -6.0, -1.0])), None);
    }

    #[test]
    fn one_peak_above_limit_and_battery_names_its_step_alone() {
        let import = |step| Limit::Import { step, feeder: None };
        assert_eq!(found(&problem(&[-1.0, -1.0, -6.5, -1.0])), Some(vec![import(2)]));
        assert_eq!(found(&problem(&[-1.0, 4.5, -1.0])), Some(vec![Limit::Export { step: 1, feeder: None }]));
    }

    #[test]
    fn a_long_peak_names_the_steps_that_drain_the_battery() {
        // 2 kWh are stored, and 1 kWh can be had in the hour before; four hours need 4 kWh.
        let import = |step| Limit::Import { step, feeder: None };
        let steps = found(&problem(&[-3.0, -5.0, -5.0, -5.0, -5.0, -1.0])).unwrap();
        assert_eq!(steps, [0, 1, 2, 3, 4].map(import).to_vec());
    }

    #[test]
    fn a_target_and_the_limits_that_keep_it_from_being_reached() {
        let mut with = problem(&[-4.0, -4.0]);
        let target = |price| SocTarget { step: 1, soc: Soc::fraction(1.0), price: Price::per_kwh(price) };
        with.storages[0].targets = vec![target(5.0)];
        let limits = found(&with).unwrap();
        assert!(limits.contains(&Limit::Target { storage: "battery".into(), step: 1 }), "{limits:?}");
        assert_eq!(limits.len(), 3, "both hours are needed to charge: {limits:?}");
        with.storages[0].targets = vec![target(0.2)];
        assert_eq!(found(&with), None, "a wish that is priced lower gives way");
    }

    #[test]
    fn a_cap_on_emissions_is_named_where_it_cannot_hold() {
        // 5 kWh are drawn and 2 stored, so that 3 kg are the least at 1 kg/kWh.
        let with = |kg: f64| {
            let mut with = problem(&[-3.0, -2.0]);
            with.connection.carbon_intensity = vec![CarbonIntensity::kg_per_kwh(1.0); 2];
            with.carbon_cap = Some(CarbonCap { kg, steps: None, price: CarbonPrice::per_kg(100.0) });
            with
        };
        assert_eq!(found(&with(2.9)), Some(vec![Limit::CarbonCap]));
        assert_eq!(found(&with(3.0)), None);
        // Where only the first hour counts, its 3 kWh less the 2 that are stored emit 1 kg.
        let mut last = with(2.9);
        last.carbon_cap = Some(CarbonCap { kg: 1.0, steps: Some(1), price: CarbonPrice::per_kg(100.0) });
        assert_eq!(found(&last), None);
    }

    #[test]
    fn a_cap_and_a_target_that_needs_import_are_in_conflict() {
        let mut with = problem(&[0.0, 0.0]);
        with.connection.carbon_intensity = vec![CarbonIntensity::kg_per_kwh(1.0); 2];
        with.carbon_cap = Some(CarbonCap { kg: 1.0, steps: None, price: CarbonPrice::per_kg(100.0) });
        with.storages[0].targets =
            vec![SocTarget { step: 1, soc: Soc::fraction(1.0), price: Price::per_kwh(5.0) }];
        let target = Limit::Target { storage: "battery".into(), step: 1 };
        assert_eq!(
            found(&with),
            Some(vec![target, Limit::CarbonCap]),
            "2 kWh lack, of which 1 may be bought"
        );
    }

    #[test]
    fn use_that_goes_without_is_a_limit_unless_it_is_priced_lower() {
        // 2 kWh are stored and 2 can be charged in the first hour, of the 5 that are used in the second.
        let mut with = problem(&[0.0, 0.0]);
        with.storages[0].available = Some(vec![true, false]);
        let draw = |kwh: f64, price: f64| {
            Some(Draw { energy: vec![Energy::ZERO, Energy::kwh(kwh)], price: Price::per_kwh(price) })
        };
        let used = Limit::Use { storage: "battery".into() };
        with.storages[0].dynamics.draw = draw(5.0, 5.0);
        assert_eq!(found(&with), Some(vec![used.clone()]));
        with.storages[0].dynamics.draw = draw(4.0, 5.0);
        assert_eq!(found(&with), None);
        with.connection.import_limit[0] = Some(Power::kw(1.0));
        assert_eq!(found(&with), Some(vec![Limit::Import { step: 0, feeder: None }, used]));
        with.storages[0].dynamics.draw = draw(4.0, 0.5);
        assert_eq!(found(&with), None, "what lacks is cheaper than a breach: it was declared to give way");
    }

    #[test]
    fn work_that_has_to_be_done_is_a_limit() {
        // All of the import limit is taken in the first hour, and the battery is empty.
        let mut with = problem(&[-4.0, 0.0]);
        with.storages.clear();
        with.work = vec![FlexibleWork {
            id: "wash".into(),
            energy: Energy::kwh(1.0),
            earliest: with.steps[0].start,
            deadline: with.steps[1].start,
            min_power: Power::kw(1.0),
            max_power: Power::kw(1.0),
            interruptible: false,
            running: false,
            value: Money::new(5.0),
            required: true,
        }];
        let work = Limit::Work { work: "wash".into() };
        assert_eq!(found(&with), Some(vec![Limit::Import { step: 0, feeder: None }, work.clone()]));
        with.connection.import_limit[0] = None;
        assert_eq!(found(&with), None);
        with.work[0].energy = Energy::kwh(2.0);
        assert_eq!(found(&with), Some(vec![work]), "an hour at 1 kW is not enough");
        with.work[0].required = false;
        assert_eq!(found(&with), None, "its worth was declared");
    }

    #[test]
    fn spent_probes_leave_a_larger_set_that_says_so() {
        let conflict = conflict(&problem(&[-1.0, -1.0, -6.5, -1.0]), 1).unwrap().unwrap();
        assert!(
            !conflict.irreducible && conflict.limits.contains(&Limit::Import { step: 2, feeder: None }),
            "{conflict:?}"
        );
    }
}
