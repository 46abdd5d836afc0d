//! Why, in one sentence per asset and step, for people.

use std::collections::BTreeMap;

use sos_units::{Power, Price};

use crate::problem::{Problem, Storage};
use crate::schedule::{Reason, ReasonCode, Schedule, StorageSchedule};

/// Power below which an asset counts as idle, kW.
const IDLE: f64 = 1e-3;
/// Energy below which a store counts as empty or full, kWh.
const TRACE: f64 = 1e-2;

/// Finds the reasons of a schedule from prices, binding limits and what comes later.
#[must_use]
pub fn explain(problem: &Problem, schedule: &Schedule) -> BTreeMap<String, Vec<Reason>> {
    let facts = Facts::new(problem, schedule);
    let mut because = BTreeMap::new();
    for storage in &problem.storages {
        if let Some(plan) = schedule.storage.get(&storage.id) {
            because.insert(storage.id.clone(), facts.storage(storage, plan));
        }
    }
    for item in &problem.curtailable {
        let used = schedule.generation.get(&item.id).map_or(&[][..], Vec::as_slice);
        let reasons = used.iter().zip(&item.available).map(|(&used, &available)| generation(used, available));
        because.insert(item.id.clone(), reasons.collect());
    }
    for work in &problem.work {
        because.insert(work.id.clone(), facts.work(work));
    }
    because
}

fn reason(code: ReasonCode, text: String) -> Reason {
    Reason { code, text }
}

fn generation(used: Power, available: Power) -> Reason {
    let less = (available - used).as_kw();
    if less > IDLE {
        return reason(
            ReasonCode::Curtailed,
            format!("turned down by {less:.1} kW: export is limited or costs money"),
        );
    }
    reason(ReasonCode::Generating, format!("generating {:.1} kW", used.as_kw()))
}

/// A price as people read it; small units need more digits.
fn price(value: Price) -> String {
    format!("{:.2}", value.as_per_kwh())
}

struct Facts<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    prices: Vec<Price>,
    times: Vec<String>,
}

impl<'a> Facts<'a> {
    fn new(problem: &'a Problem, schedule: &'a Schedule) -> Self {
        let prices = (0..problem.len()).map(|t| problem.connection.full_import_price(t)).collect();
        let clock = |step: &crate::problem::Step| {
            let civil = problem.zone.to_datetime(step.start);
            format!("{:02}:{:02}", civil.hour(), civil.minute())
        };
        Self { problem, schedule, prices, times: problem.steps.iter().map(clock).collect() }
    }

    fn storage(&self, s: &Storage, plan: &StorageSchedule) -> Vec<Reason> {
        // The dearest step in which the energy of now will be used, found from the end.
        let mut use_of: Vec<Option<usize>> = vec![None; plan.power.len()];
        let mut next: Option<usize> = None;
        for t in (0..plan.power.len()).rev() {
            use_of[t] = next;
            if plan.power[t].as_kw() > IDLE && next.is_none_or(|n| self.prices[t] >= self.prices[n]) {
                next = Some(t);
            }
            // Beyond a step in which it is empty nothing of now is left.
            if t > 0 && (plan.stored_after[t - 1] - s.energy_min()).as_kwh() < TRACE {
                next = None;
            }
        }
        (0..plan.power.len()).map(|t| self.storage_step(s, plan, t, use_of[t])).collect()
    }

    fn storage_step(&self, s: &Storage, plan: &StorageSchedule, t: usize, later: Option<usize>) -> Reason {
        let power = plan.power[t].as_kw();
        if !s.is_available(t) {
            return reason(ReasonCode::Unavailable, "0 kW: not available".into());
        }
        if power < -IDLE {
            self.charging(t, later)
        } else if power > IDLE {
            self.discharging(plan, t)
        } else {
            self.idle(s, plan, t, later)
        }
    }

    fn then(&self, later: Option<usize>) -> String {
        match later {
            Some(t) => format!("{} at {}", price(self.prices[t]), self.times[t]),
            None => "more after the planned time".into(),
        }
    }

    /// Power of all storages together, discharge positive.
    fn all_storages(&self, t: usize) -> f64 {
        self.schedule.storage.values().map(|plan| plan.power[t].as_kw()).sum()
    }

    fn charging(&self, t: usize, later: Option<usize>) -> Reason {
        let grid = self.schedule.grid[t].as_kw();
        let without = grid + self.all_storages(t).min(0.0);
        if let Some(limit) = self.problem.connection.export_limit[t].map(Power::as_kw)
            && -without > limit + IDLE
        {
            let over = -without - limit;
            let text = format!("charging: export limit {limit:.1} kW would be exceeded by {over:.1} kW");
            return reason(ReasonCode::ChargeForLimit, text);
        }
        if without < -IDLE && grid < IDLE {
            let text = format!("charging: solar surplus now, power costs {} later", self.then(later));
            return reason(ReasonCode::ChargeSurplus, text);
        }
        let text = format!("charging: power costs {} now, {}", price(self.prices[t]), self.then(later));
        reason(ReasonCode::ChargeCheap, text)
    }

    fn discharging(&self, plan: &StorageSchedule, t: usize) -> Reason {
        let grid = self.schedule.grid[t].as_kw();
        let without = grid + self.all_storages(t).max(0.0);
        if let Some(limit) = self.problem.connection.import_limit[t].map(Power::as_kw)
            && without > limit + IDLE
        {
            let over = without - limit;
            let text = format!("discharging: import limit {limit:.1} kW would be exceeded by {over:.1} kW");
            return reason(ReasonCode::DischargeForLimit, text);
        }
        if grid < -IDLE && plan.power[t].as_kw() > IDLE {
            let earns = price(self.problem.connection.export_price[t]);
            return reason(ReasonCode::DischargeExport, format!("discharging: export earns {earns} now"));
        }
        let text = format!("discharging: power costs {} now", price(self.prices[t]));
        reason(ReasonCode::DischargeDear, text)
    }

    fn idle(&self, s: &Storage, plan: &StorageSchedule, t: usize, later: Option<usize>) -> Reason {
        let kept = (plan.stored_after[t] - s.energy_min()).as_kwh();
        if kept < TRACE {
            return reason(ReasonCode::Empty, "0 kW: empty, and charging now would not pay".into());
        }
        if let Some(later) = later {
            let (time, price) = (&self.times[later], price(self.prices[later]));
            let text = format!("0 kW: keeping {kept:.1} kWh for {time}, when power costs {price}");
            return reason(ReasonCode::Keep, text);
        }
        if let Some(need) = self.pessimistic_need(t) {
            let text =
                format!("0 kW: keeping {kept:.1} kWh because the import limit may be exceeded at {need}");
            return reason(ReasonCode::KeepReserve, text);
        }
        if (s.energy_max() - plan.stored_after[t]).as_kwh() < TRACE {
            return reason(ReasonCode::Full, "0 kW: full".into());
        }
        reason(ReasonCode::NotWorth, "0 kW: moving energy now would cost more than it saves".into())
    }

    /// The next time from `t` on at which the pessimistic net alone exceeds the import limit.
    fn pessimistic_need(&self, t: usize) -> Option<&str> {
        let low = self.problem.pessimistic.as_ref()?;
        let limits = &self.problem.connection.import_limit;
        let at = (t..self.prices.len().min(t + 100))
            .find(|&k| limits[k].is_some_and(|limit| -low.fixed[k] > limit))?;
        Some(&self.times[at])
    }

    fn work(&self, work: &sos_units::FlexibleWork) -> Vec<Reason> {
        let none = Vec::new();
        let power = self.schedule.work.get(&work.id).unwrap_or(&none);
        let lost = self.schedule.work_not_done.contains_key(&work.id);
        let mut next: Option<usize> = None;
        let mut reasons: Vec<Reason> = Vec::with_capacity(power.len());
        for t in (0..power.len()).rev() {
            let runs = power[t].as_kw() > IDLE;
            reasons.push(if runs { self.runs(work, t) } else { self.waits(next, lost) });
            if runs {
                next = Some(t);
            }
        }
        reasons.reverse();
        reasons
    }

    fn runs(&self, work: &sos_units::FlexibleWork, t: usize) -> Reason {
        if work.running && !work.interruptible {
            return reason(ReasonCode::WorkGoesOn, "runs: started already and may not be interrupted".into());
        }
        let surplus = self.schedule.grid[t].as_kw() < IDLE;
        let what =
            if surplus { "own power".into() } else { format!("power costs {}", price(self.prices[t])) };
        reason(ReasonCode::WorkRuns, format!("runs: cheapest time before its deadline, {what}"))
    }

    fn waits(&self, next: Option<usize>, lost: bool) -> Reason {
        match next {
            Some(t) => {
                let (time, price) = (&self.times[t], price(self.prices[t]));
                reason(ReasonCode::WorkWaits, format!("waits for {time}, when power costs {price}"))
            }
            None if lost => {
                let text = "not done: it does not fit before its deadline or costs more than it is worth";
                reason(ReasonCode::WorkNotDone, text.into())
            }
            None => reason(ReasonCode::WorkWaits, "nothing is left to do".into()),
        }
    }
}
