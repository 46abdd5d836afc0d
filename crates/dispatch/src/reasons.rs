//! Why, in one sentence per asset and step, for people.

use std::collections::BTreeMap;

use sos_units::{Power, Price};

use crate::generator::Generator;
use crate::ordered::Ordered;
use crate::problem::{Problem, Storage};
use crate::schedule::{BreachKind, GeneratorSchedule, Reason, ReasonCode, Schedule, StorageSchedule};

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
    for item in &problem.generators {
        if let Some(plan) = schedule.generators.get(&item.id) {
            because.insert(item.id.clone(), facts.generator(item, plan));
        }
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

/// Power of a storage in words.
fn flow(power: f64) -> String {
    match power {
        p if p > IDLE => format!("{p:.1} kW discharging"),
        p if p < -IDLE => format!("{:.1} kW charging", -p),
        _ => "0 kW".to_owned(),
    }
}

struct Facts<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    prices: Vec<Price>,
    times: Vec<String>,
    /// Power of all storages together, kW, discharge positive, per step.
    storages: Vec<f64>,
}

impl<'a> Facts<'a> {
    fn new(problem: &'a Problem, schedule: &'a Schedule) -> Self {
        let prices = (0..problem.len()).map(|t| problem.connection.full_import_price(t)).collect();
        let clock = |step: &crate::problem::Step| {
            let civil = problem.zone.to_datetime(step.start);
            format!("{:02}:{:02}", civil.hour(), civil.minute())
        };
        let mut storages = vec![0.0; problem.len()];
        for plan in schedule.storage.values() {
            storages.iter_mut().zip(&plan.power).for_each(|(sum, power)| *sum += power.as_kw());
        }
        Self { problem, schedule, prices, times: problem.steps.iter().map(clock).collect(), storages }
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
        if let Some(ordered) = s.ordered.as_ref().filter(|_| s.ordered_in(t).is_some()) {
            return self.ordered(s, ordered, power, t);
        }
        if power < -IDLE {
            self.charging(t, later)
        } else if power > IDLE {
            self.discharging(plan, t)
        } else {
            self.idle(s, plan, t, later)
        }
    }

    /// Who ordered it and why; and where it cannot be so, what is in the way.
    fn ordered(&self, s: &Storage, ordered: &Ordered, power: f64, t: usize) -> Reason {
        let mut text = format!("{}: {}", flow(power), ordered.because);
        let whole = s.ordered_in(t).is_some_and(|(low, high)| low == high);
        let wanted = ordered.power.as_kw();
        if whole && (power - wanted).abs() > IDLE {
            let limit = if wanted < 0.0 { "full" } else { "empty" };
            text = format!("{text}; {} is not possible, it is {limit}", flow(wanted));
        }
        let breach = self.schedule.breaches.iter().find(|b| b.step == t && b.kind != BreachKind::Reserve);
        if let Some(breach) = breach.filter(|b| (b.kind == BreachKind::Import) == (power < 0.0)) {
            let (kind, over) = (if power < 0.0 { "import" } else { "export" }, breach.over.as_kw());
            text = format!("{text}; the {kind} limit would be exceeded by {over:.1} kW and will narrow it");
        }
        reason(ReasonCode::Ordered, text)
    }

    fn then(&self, later: Option<usize>) -> String {
        match later {
            Some(t) => format!("{} at {}", price(self.prices[t]), self.times[t]),
            None => "more after the planned time".into(),
        }
    }

    fn charging(&self, t: usize, later: Option<usize>) -> Reason {
        let grid = self.schedule.grid[t].as_kw();
        let without = grid + self.storages[t].min(0.0);
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
        let without = grid + self.storages[t].max(0.0);
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

    fn generator(&self, generator: &Generator, plan: &GeneratorSchedule) -> Vec<Reason> {
        let pieces = generator.pieces(self.problem.connection.carbon_price);
        let mut reasons = Vec::with_capacity(plan.on.len());
        for (t, (&on, power)) in plan.on.iter().zip(&plan.power).enumerate() {
            let power = power.as_kw();
            let next = (t + 1..plan.on.len()).find(|&later| plan.on[later] != on);
            let until = next.map_or_else(|| "the end of the plan".to_owned(), |t| self.times[t].clone());
            reasons.push(if !generator.is_available(t) {
                reason(ReasonCode::Unavailable, "off: not available".into())
            } else if !on {
                reason(ReasonCode::GeneratorOff, self.off(generator, t, &until))
            } else if power < generator.least() + IDLE && generator.most() > generator.least() {
                let text = format!(
                    "runs at its least, {power:.1} kW, until {until}: to stop and start again would cost more or is not possible"
                );
                reason(ReasonCode::GeneratorStays, text)
            } else {
                reason(ReasonCode::GeneratorRuns, self.running(generator, &pieces, power, t))
            });
        }
        reasons
    }

    fn off(&self, generator: &Generator, t: usize, until: &str) -> String {
        let most = generator.most();
        let own = generator.fuel(Power::kw(most)).get() / most.max(1e-9)
            + (self.problem.connection.carbon_price * generator.emissions).as_per_kwh();
        match self.schedule.shadow.site_price.get(t) {
            Some(site) => format!(
                "off until {until}: a kWh of it costs at least {own:.2} and a start {:.2}, elsewhere it costs {} now",
                generator.start_cost.get(),
                price(*site)
            ),
            None => format!("off until {until}: others are cheaper or it is not needed"),
        }
    }

    fn running(&self, generator: &Generator, pieces: &[(f64, f64)], power: f64, t: usize) -> String {
        if power > generator.most() - IDLE {
            return match self.schedule.shadow.site_price.get(t) {
                Some(site) => {
                    format!("runs at its most, {power:.1} kW: one kWh more would save {}", price(*site))
                }
                None => format!("runs at its most, {power:.1} kW"),
            };
        }
        let mut from = generator.least();
        let piece = pieces.iter().find(|(width, _)| {
            from += width;
            power < from - IDLE
        });
        let next = piece.map_or(0.0, |(_, cost)| *cost);
        format!("runs at {power:.1} kW: its next kWh costs {next:.2}, and no other is cheaper")
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
