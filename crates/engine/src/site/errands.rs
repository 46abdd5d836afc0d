//! Work of workflows that may wait, as work of the site: offered to the plan, permitted by it, counted in the balance.
//!
//! Runs know nothing of energy: they ask for permits, and parts of what may pause ask again. Energy is counted as declared, like that of
//! jobs: at its power from its permit on. In lock-step runs take no site time, so that the declared time passes for them, and of what may
//! pause one part begins in each tick; else it is counted while something of it is at work.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sos_model::Waiting;
use sos_store::RunId;
use sos_units::{ExactEnergy, FlexibleWork, Money, Power};

use super::figures::Figures;
use super::plan::SitePlan;
use super::work::{MUST_BE_DONE_PER_KWH, Planned, declared_part};
use crate::live::WaitingState;
use crate::permits::{Asked, Gone, Permits, Standing};
use crate::waiting;

/// The most pieces of work that are offered to a plan: those with the earliest deadlines. The others begin when they must.
const MOST_OFFERED: usize = 64;

/// The work of runs that belongs to a site, by its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errands {
    known: BTreeMap<String, Errand>,
    /// What is over since that was asked last: as it could have been done.
    finished: Vec<FlexibleWork>,
    /// Energy of the uncontrolled case that was counted for what is over and did not use it: both cases do the same work.
    correction: ExactEnergy,
}

/// One piece of work.
#[derive(Clone, Debug)]
struct Errand {
    spec: Waiting,
    state: ErrandState,
    /// The keys that wait for a permit.
    waiting: Vec<String>,
    at_work: bool,
    /// It does not ask now: its run rests, or was not read again yet.
    away: bool,
    /// The tick in which a part of it began last.
    stepped: Option<Timestamp>,
    /// What was told of it last.
    told: Option<Told>,
}

/// What is told anew when it changes: whether it runs, when it is to begin, why, and what it saves.
type Told = (bool, Option<Timestamp>, String, Option<Figures>);

/// What is kept of it across restarts of the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrandState {
    run: RunId,
    name: String,
    workflow: String,
    with: Value,
    /// Since when it could begin, and when it is to be done: site time.
    asked: Timestamp,
    deadline: Timestamp,
    /// When it began, and whether it may go on now.
    began: Option<Timestamp>,
    running: bool,
    /// Its run is done with it.
    done: bool,
    /// Seconds at full power since it began, and in the uncontrolled case, where it begins at once.
    worked: i64,
    baseline: i64,
    /// Why it waits or runs.
    because: String,
    /// When it is to begin.
    planned: Option<Timestamp>,
    /// Cost and emissions: had it begun at once, by the first plan; so far; and of the rest, by the plan in force.
    at_once: Option<Figures>,
    spent: Figures,
    ahead: Figures,
}

/// What a tick decides from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) tick: SignedDuration,
    pub(crate) zone: &'a TimeZone,
    pub(crate) plan: Option<&'a SitePlan>,
}

impl Errands {
    pub(crate) fn states(&self) -> BTreeMap<String, ErrandState> {
        self.known.iter().map(|(key, one)| (key.clone(), one.state.clone())).collect()
    }

    pub(crate) fn restore(&mut self, states: BTreeMap<String, ErrandState>) {
        for (key, state) in states {
            let Ok(spec) = waiting::declared(&state.with) else { continue };
            self.known.insert(key, Errand { away: true, ..Errand::of(spec, state) });
        }
    }

    /// The runs whose work is known.
    pub(crate) fn runs(&self) -> impl Iterator<Item = RunId> {
        self.known.values().map(|one| one.state.run)
    }

    /// Takes what asks now; what is over is forgotten.
    pub(crate) fn hear(
        &mut self,
        site: &str,
        (now, zone): (Timestamp, &TimeZone),
        permits: &Permits,
        lockstep: bool,
    ) {
        for one in self.known.values_mut() {
            (one.away, one.at_work) = (true, false);
            one.waiting.clear();
        }
        for standing in permits.standing(|asked| waiting::site_of(&asked.with) == Some(site)) {
            self.take(standing, now, zone, permits);
        }
        let mut over = Vec::new();
        for (key, one) in self.known.iter_mut().filter(|(_, one)| one.away) {
            let gone = if one.state.done { Gone::Over(Some(true)) } else { permits.gone(key, one.state.run) };
            let Gone::Over(done) = gone else { continue };
            one.state.done = done.unwrap_or(true);
            // In lock-step the declared time passes for what its run has done already.
            let goes_on = lockstep && one.state.done && one.state.began.is_some();
            if !goes_on || one.left() == 0 {
                over.push(key.clone());
            }
        }
        over.iter().for_each(|key| self.finish(key));
    }

    fn take(&mut self, standing: Standing, now: Timestamp, zone: &TimeZone, permits: &Permits) {
        let Standing { asked, waiting, at_work, decided } = standing;
        if !self.known.contains_key(&asked.key) {
            match waiting::declared(&asked.with) {
                Ok(spec) => drop(self.known.insert(asked.key.clone(), Errand::new(spec, &asked, now, zone))),
                Err(why) => {
                    let fault = sos_workflow::machine::Fault::of(
                        sos_workflow::ErrorType::Configuration,
                        "What it waits for cannot be read",
                        format!("metadata.flexible: {why}"),
                    );
                    return permits.refuse(&asked.key, fault);
                }
            }
        }
        if let Some(one) = self.known.get_mut(&asked.key) {
            (one.waiting, one.at_work, one.away) = (waiting, at_work, false);
            one.told = one.told.take().filter(|_| decided);
        }
    }

    fn finish(&mut self, key: &str) {
        let Some(Errand { spec, state, .. }) = self.known.remove(key) else { return };
        if state.worked > 0 {
            self.finished.push(FlexibleWork {
                energy: energy(&spec, 0, state.worked).to_energy().abs(),
                earliest: state.asked,
                running: false,
                interruptible: true,
                min_power: Power::ZERO,
                ..offer(key, &spec, &state)
            });
        }
        self.correction += energy(&spec, state.baseline, state.worked);
    }

    /// What is over since that was asked last.
    pub(crate) fn take_finished(&mut self) -> Vec<FlexibleWork> {
        std::mem::take(&mut self.finished)
    }

    /// Whether there is work that the plan in force does not know of.
    pub(crate) fn wants_plan(&self, plan: Option<&SitePlan>) -> bool {
        let Some(plan) = plan.filter(|_| !self.known.is_empty()) else { return false };
        let known: BTreeSet<&str> = plan.problem.work.iter().map(|work| work.id.as_str()).collect();
        self.offered().any(|(key, one)| !known.contains(one.state.id(key).as_str()))
    }

    /// What is offered to the plan, the most urgent first.
    pub(crate) fn offers(&self) -> Vec<FlexibleWork> {
        self.offered().map(|(key, one)| offer(key, &one.spec, &one.state)).collect()
    }

    fn offered(&self) -> impl Iterator<Item = (&String, &Errand)> {
        let mut all: Vec<(&String, &Errand)> =
            self.known.iter().filter(|(_, one)| one.counts() && one.left() > 0).collect();
        all.sort_by_key(|(key, one)| (!one.state.running, one.state.deadline, *key));
        all.into_iter().take(MOST_OFFERED)
    }

    /// All that asks, as it is shown.
    pub(crate) fn shown(&self) -> Vec<WaitingState> {
        self.known.iter().filter(|(_, one)| !one.away).map(|(key, one)| one.state_of(key)).collect()
    }

    /// Decides what may run from now on.
    pub(crate) fn decide(&mut self, moment: &Moment<'_>, planned: &BTreeMap<String, Planned>) {
        for (key, one) in &mut self.known {
            let steps = planned.get(&one.state.id(key)).map(Vec::as_slice).unwrap_or_default();
            one.decide(moment, steps, &one.state.id(key));
        }
    }

    /// Power of what runs now, as consumption.
    pub(crate) fn running_power(&self) -> Power {
        self.known.values().filter(|one| one.uses()).map(|one| one.spec.power).sum()
    }

    /// Counts the tick that has ended: energy as it was and in the uncontrolled case, both zero or below.
    pub(crate) fn settle(
        &mut self,
        start: Timestamp,
        seconds: i64,
        lockstep: bool,
        plan: Option<&SitePlan>,
    ) -> (ExactEnergy, ExactEnergy) {
        let (mut actual, mut baseline) = (ExactEnergy::ZERO, std::mem::take(&mut self.correction));
        for one in self.known.values_mut() {
            let total = one.spec.seconds();
            let to = (one.state.baseline + seconds).min(total);
            let from = std::mem::replace(&mut one.state.baseline, to);
            baseline += energy(&one.spec, from, one.state.baseline);
            if one.uses() && (lockstep || one.at_work) {
                let to = (one.state.worked + seconds).min(total);
                let from = std::mem::replace(&mut one.state.worked, to);
                let used = energy(&one.spec, from, one.state.worked);
                one.state.spent += Figures::of_tick(plan, start, seconds, used);
                actual += used;
            }
        }
        (actual, baseline)
    }

    /// Gives the permits that were decided, and shows what was. Returns what begins: its workflow, and a sentence.
    pub(crate) fn permit(
        &mut self,
        moment: &Moment<'_>,
        currency: &str,
        permits: &Permits,
        lockstep: bool,
    ) -> (Vec<String>, Vec<(String, String)>) {
        let (mut given, mut told) = (Vec::new(), Vec::new());
        for (key, one) in self.known.iter_mut().filter(|(_, one)| !one.away) {
            let open = one.state.running && one.spec.interruptible && (!lockstep || one.left() == 0);
            let whole = one.waiting.first() == Some(key);
            // In lock-step parts follow each other tick by tick.
            let stepped = lockstep && !whole && one.stepped.replace(moment.now) == Some(moment.now);
            let begins = one.state.running && !one.waiting.is_empty() && !stepped;
            let told_now = one.told_now();
            let is_new = one.told.as_ref() != Some(&told_now);
            let shown = (is_new || open || begins).then(|| one.shown(moment, currency));
            if let Some(shown) = shown.clone().filter(|_| is_new) {
                permits.decide(key, shown);
                one.told = Some(told_now);
            }
            permits.open(key, shown.clone().filter(|_| open));
            let Some(shown) = shown.filter(|_| begins) else { continue };
            for waiting in one.waiting.iter().take(if lockstep { 1 } else { usize::MAX }) {
                permits.grant(waiting, one.spec.interruptible, shown.clone());
            }
            if whole {
                told.push((one.state.workflow.clone(), one.sentence(&shown)));
            }
            one.at_work = true;
            given.push(key.clone());
        }
        (given, told)
    }
}

impl ErrandState {
    /// By what the plan knows it.
    fn id(&self, key: &str) -> String {
        format!("{}/{key}", self.workflow)
    }
}

/// Declared energy of some seconds of work, zero or below.
fn energy(spec: &Waiting, from: i64, to: i64) -> ExactEnergy {
    declared_part(spec.energy, spec.seconds(), from, to)
}

fn offer(key: &str, spec: &Waiting, state: &ErrandState) -> FlexibleWork {
    let value = spec.value.as_ref().map(|amount| amount.value);
    FlexibleWork {
        id: state.id(key),
        energy: energy(spec, state.worked, spec.seconds()).to_energy().abs(),
        earliest: state.asked,
        deadline: state.deadline,
        min_power: spec.min_power.unwrap_or(spec.power),
        max_power: spec.power,
        interruptible: spec.interruptible,
        running: state.running,
        value: value.unwrap_or(Money::new(MUST_BE_DONE_PER_KWH * spec.energy.as_kwh())),
        required: value.is_none(),
    }
}

impl Errand {
    fn new(spec: Waiting, asked: &Asked, now: Timestamp, zone: &TimeZone) -> Self {
        let state = ErrandState {
            run: asked.run,
            name: asked.name.clone(),
            workflow: asked.workflow.clone(),
            with: asked.with.clone(),
            asked: now,
            deadline: waiting::deadline(&spec, now, zone),
            // One that was permitted before, by whomever, goes on.
            began: asked.given.then_some(now),
            running: asked.given,
            done: false,
            worked: 0,
            baseline: 0,
            because: "it has not been planned yet".to_owned(),
            planned: None,
            at_once: None,
            spent: Figures::default(),
            ahead: Figures::default(),
        };
        Self::of(spec, state)
    }

    const fn of(spec: Waiting, state: ErrandState) -> Self {
        Self { spec, state, waiting: Vec::new(), at_work: false, away: false, stepped: None, told: None }
    }

    /// Seconds of work that are left.
    fn left(&self) -> i64 {
        (self.spec.seconds() - self.state.worked).max(0)
    }

    /// Whether it is planned with: it asks, or its declared time passes although its run is done.
    fn counts(&self) -> bool {
        !self.away || self.state.done
    }

    /// Whether it uses energy from now on.
    fn uses(&self) -> bool {
        self.state.running && self.counts() && self.left() > 0
    }

    fn decide(&mut self, moment: &Moment<'_>, steps: &[(Timestamp, Power, String)], id: &str) {
        if !self.counts() {
            return;
        }
        let now = moment.now;
        let step = steps.iter().rev().find(|(start, ..)| *start <= now);
        let allowed = step.is_some_and(|(_, power, _)| *power > Power::ZERO);
        let goes_on = self.state.running && !self.spec.interruptible;
        let must = now + moment.tick + SignedDuration::from_secs(self.left()) > self.state.deadline;
        let used_up = self.left() == 0;
        let running = allowed || goes_on || must || used_up;
        let first = steps.iter().find(|(start, power, _)| *power > Power::ZERO && *start > now);
        let planned =
            if running { Some(self.state.began.unwrap_or(now)) } else { first.map(|(start, ..)| *start) };
        let because = match step {
            _ if used_up => "its declared energy is used up, so it goes on".to_owned(),
            _ if must && !allowed => {
                let by = crate::time_text(self.state.deadline, moment.zone);
                format!("runs: it must, to be done by {by}")
            }
            Some((.., because)) => because.clone(),
            None => "it is not planned; it begins when it must".to_owned(),
        };
        (self.state.planned, self.state.because) = (planned, because);
        if running && self.state.began.is_none() {
            self.state.began = Some(now);
        }
        self.state.running = running;
        if let Some(plan) = moment.plan {
            self.reckon(plan, now, id);
        }
    }

    /// What it costs and emits by the plan in force, and what it would have, had it begun at once.
    fn reckon(&mut self, plan: &SitePlan, now: Timestamp, id: &str) {
        if !plan.schedule.work.contains_key(id) {
            return;
        }
        if self.state.at_once.is_none() && self.state.worked == 0 {
            self.state.at_once = Some(Figures::at_once(plan, now, id, self.spec.power, self.left()));
        }
        let left = energy(&self.spec, self.state.worked, self.spec.seconds()).to_energy().abs();
        self.state.ahead = Figures::planned(plan, now, id, left);
    }

    /// What is saved against beginning at once.
    fn saves(&self) -> Option<Figures> {
        let ahead = if self.left() == 0 { Figures::default() } else { self.state.ahead };
        Some(self.state.at_once? - (self.state.spent + ahead))
    }

    fn told_now(&self) -> Told {
        (self.state.running, self.state.planned, self.state.because.clone(), self.saves())
    }

    fn state_of(&self, key: &str) -> WaitingState {
        WaitingState {
            name: key.to_owned(),
            workflow: self.state.workflow.clone(),
            running: self.state.running,
            planned: self.state.planned,
            deadline: self.state.deadline,
            energy: self.spec.energy,
            left: energy(&self.spec, self.state.worked, self.spec.seconds()).to_energy().abs(),
            saves: self.saves().map(Figures::money_and_kg),
            because: self.state.because.clone(),
        }
    }

    fn shown(&self, moment: &Moment<'_>, currency: &str) -> Value {
        let text = |at: Timestamp| crate::time_text(at, moment.zone);
        let mut shown = json!({
            "site": &*self.spec.site,
            "deadline": text(self.state.deadline),
            "because": self.state.because,
        });
        if let Some(planned) = self.state.planned {
            shown["planned"] = json!(text(planned));
        }
        if self.state.running {
            shown["at"] = json!(text(moment.now));
        }
        if let Some(saves) = self.saves() {
            shown["saves"] = saves.shown(currency);
        }
        shown
    }

    fn sentence(&self, shown: &Value) -> String {
        let saves = match (shown["saves"]["money"].as_f64(), shown["saves"]["kgCO2e"].as_f64()) {
            (Some(money), Some(kg)) => {
                let currency = shown["saves"]["currency"].as_str().unwrap_or_default();
                format!("; saves {money:.2} {currency} and {kg:.2} kg CO2e against beginning at once")
            }
            _ => String::new(),
        };
        format!("run {} begins work of {}: {}{saves}", self.state.name, self.spec.energy, self.state.because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: SignedDuration = SignedDuration::from_secs(900);

    fn at(hours: i64) -> Timestamp {
        "2026-01-05T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hours)
    }

    fn asked(interruptible: bool) -> Asked {
        Asked {
            run: 1,
            name: "r".to_owned(),
            workflow: "w".to_owned(),
            key: "r/do/0/a".to_owned(),
            reference: "/do/0/a".to_owned(),
            with: json!({"site": "home", "energy": "1 kWh", "power": "2 kW", "within": "4 h", "interruptible": interruptible}),
            part_of: None,
            since: at(0),
            given: false,
        }
    }

    struct Rig {
        book: Errands,
        permits: Permits,
        granted: tokio::sync::mpsc::UnboundedReceiver<crate::permits::Grant>,
        lockstep: bool,
    }

    impl Rig {
        fn new(interruptible: bool, lockstep: bool) -> Self {
            let (permits, granted) = Permits::new();
            permits.ask(asked(interruptible));
            Self { book: Errands::default(), permits, granted, lockstep }
        }

        /// A tick with a plan that has power in these quarters of an hour; returns the keys that are permitted, and the energy of the
        /// quarter that ends.
        fn tick(&mut self, quarter: i32, planned: &[i32]) -> (Vec<String>, i64) {
            let now = at(0) + TICK * quarter;
            let (used, _) = self.book.settle(now - TICK, 900, self.lockstep, None);
            self.book.hear("home", (now, &TimeZone::UTC), &self.permits, self.lockstep);
            let steps = (0..16).map(|q| {
                let power = if planned.contains(&q) { Power::kw(2.0) } else { Power::ZERO };
                (at(0) + TICK * q, power, format!("reason of {q}"))
            });
            let planned = BTreeMap::from([("w/r/do/0/a".to_owned(), steps.collect())]);
            let moment = Moment { now, tick: TICK, zone: &TimeZone::UTC, plan: None };
            self.book.decide(&moment, &planned);
            self.book.permit(&moment, "EUR", &self.permits, self.lockstep);
            let mut keys = Vec::new();
            while let Ok(grant) = self.granted.try_recv() {
                self.permits.handed_on(&grant.key, true);
                keys.push(grant.key);
            }
            (keys, used.as_watt_seconds())
        }

        fn offer(&self) -> Option<FlexibleWork> {
            self.book.offers().pop()
        }
    }

    const KEY: &str = "r/do/0/a";

    #[test]
    fn work_begins_when_it_is_planned_and_uses_what_was_declared() {
        let mut rig = Rig::new(false, false);
        assert!(rig.tick(0, &[2, 3]).0.is_empty());
        let offer = rig.offer().unwrap();
        assert_eq!((offer.id.as_str(), offer.earliest, offer.deadline), ("w/r/do/0/a", at(0), at(4)));
        assert_eq!(rig.permits.decided(KEY).unwrap()["planned"], "2026-01-05T00:30:00+00:00");
        assert!(rig.tick(1, &[2, 3]).0.is_empty());
        assert_eq!(rig.tick(2, &[2, 3]), (vec![KEY.to_owned()], 0));
        // It may not pause, whatever a later plan says.
        assert_eq!(rig.tick(3, &[9]), (vec![], -1_800_000));
        assert!(rig.offer().unwrap().running);
        assert_eq!(rig.tick(4, &[9]), (vec![], -1_800_000));
        assert_eq!((rig.offer(), rig.tick(5, &[])), (None, (vec![], 0)));
        rig.permits.release(KEY, true);
        rig.tick(6, &[]);
        assert!(rig.book.states().is_empty());
        assert_eq!(rig.book.take_finished()[0].energy, sos_units::Energy::kwh(1.0));
    }

    #[test]
    fn without_a_plan_it_begins_when_it_must() {
        let mut rig = Rig::new(false, false);
        // Half an hour of work, four hours of time.
        let first = (0..16).find(|quarter| !rig.tick(*quarter, &[]).0.is_empty());
        assert_eq!(first, Some(14));
    }

    #[test]
    fn what_is_over_sooner_is_counted_so_far_in_both_cases() {
        let mut rig = Rig::new(false, false);
        rig.tick(0, &[1, 2]);
        rig.tick(1, &[1, 2]);
        let after = rig.tick(2, &[1, 2]);
        assert_eq!(after.1, -1_800_000);
        rig.permits.release(KEY, true);
        rig.book.hear("home", (at(1), &TimeZone::UTC), &rig.permits, false);
        // The whole had been counted for the case without control.
        assert_eq!(
            rig.book.settle(at(1), 900, false, None),
            (ExactEnergy::ZERO, ExactEnergy::watt_seconds(1_800_000))
        );
    }

    #[test]
    fn in_lock_step_the_declared_time_passes_for_what_is_done_at_once() {
        let mut rig = Rig::new(false, true);
        assert_eq!(rig.tick(0, &[0, 1]).0, [KEY]);
        rig.permits.release(KEY, true);
        assert_eq!(rig.tick(1, &[0, 1]).1, -1_800_000);
        assert_eq!(rig.tick(2, &[0, 1]).1, -1_800_000);
        rig.tick(3, &[]);
        assert!(rig.book.states().is_empty());
    }

    #[test]
    fn what_may_pause_goes_on_part_by_part_where_power_is_planned() {
        let mut rig = Rig::new(true, true);
        assert_eq!(rig.tick(0, &[0, 2]).0, [KEY]);
        let part = |n: i32| Asked { key: format!("{KEY}/{n}"), part_of: Some(KEY.to_owned()), ..asked(true) };
        rig.permits.ask(part(1));
        assert_eq!(rig.tick(1, &[0, 2]), (vec![], -1_800_000), "it pauses between its parts");
        assert_eq!(rig.tick(2, &[0, 2]), (vec![format!("{KEY}/1")], 0));
        rig.permits.release(&format!("{KEY}/1"), true);
        rig.permits.ask(part(2));
        assert_eq!(
            rig.tick(3, &[0, 2]),
            (vec![format!("{KEY}/2")], -1_800_000),
            "all was used, so it goes on"
        );
    }

    #[test]
    fn a_restart_keeps_the_deadline_and_gives_the_same_permit_again() {
        let mut rig = Rig::new(false, false);
        rig.tick(0, &[2, 3]);
        let kept = serde_json::to_string(&rig.book.states()).unwrap();
        let (permits, granted) = Permits::new();
        let mut again = Rig { book: Errands::default(), permits, granted, lockstep: false };
        again.permits.expect(1, true);
        again.book.restore(serde_json::from_str(&kept).unwrap());
        // Until its run is heard it is neither offered nor forgotten.
        assert!(again.tick(2, &[2, 3]).0.is_empty() && again.offer().is_none());
        again.permits.ask(asked(false));
        again.permits.heard(1);
        assert_eq!(again.tick(3, &[2, 3]).0, [KEY]);
        assert_eq!(again.book.states()[KEY].deadline, at(4));
        // A run that is gone leaves nothing behind.
        let (permits, granted) = Permits::new();
        let mut gone = Rig { book: Errands::default(), permits, granted, lockstep: false };
        gone.book.restore(serde_json::from_str(&kept).unwrap());
        gone.tick(2, &[2, 3]);
        assert!(gone.book.states().is_empty());
    }
}
