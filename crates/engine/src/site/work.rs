//! What services can move, as work of the site: offered to the plan, ordered from it, counted in the balance.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_control::{BatchOrder, BatchProgress, BatchSpec, RunWindow, Window, current_window, offer};
use sos_model::{Batch, ServiceSpec};
use sos_units::{
    Energy, EnvelopeStep, ExactEmissions, ExactEnergy, ExactIntensity, FlexibleWork, Hours, Money, Power,
    PowerEnvelope,
};

use super::errands::{ErrandState, Errands};
use super::links::Ticked;
use super::slow::{Slow, SlowState, slowdown};

/// What a job is worth that must be done: above any price of energy, below the breach of a limit.
pub(super) const MUST_BE_DONE_PER_KWH: f64 = 5.0;

/// The jobs of a site, its services that may be slower, and work of workflows that may wait.
#[derive(Clone, Debug, Default)]
pub struct WorkBook {
    jobs: BTreeMap<String, Job>,
    slow: BTreeMap<String, Slow>,
    pub(super) errands: Errands,
}

/// What is asked of services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkOrders {
    /// Runs of jobs.
    pub batches: BTreeMap<String, BatchOrder>,
    /// Power beyond their guarantee of services that may be slower.
    #[serde(default)]
    pub slow: BTreeMap<String, PowerEnvelope>,
}

/// What is kept across restarts of the controller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkStates {
    pub(super) jobs: BTreeMap<String, JobState>,
    pub(super) slow: BTreeMap<String, SlowState>,
    pub(super) errands: BTreeMap<String, ErrandState>,
}

/// What became of the work of one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkTotals {
    /// Runs done in time, or windows in which it got what it wanted.
    pub met: u64,
    /// The others.
    pub missed: u64,
    /// Energy of it, zero or below.
    pub energy: ExactEnergy,
    /// Emissions of that energy, by the intensity of each tick.
    pub emissions: ExactEmissions,
}

/// Power of a piece of work by step, with the reason of each, as consumption.
pub(super) type Planned = Vec<(Timestamp, Power, String)>;

/// One job with the state of its run.
#[derive(Clone, Debug)]
pub struct Job {
    spec: BatchSpec,
    duration: SignedDuration,
    ticked: Option<Ticked>,
    state: JobState,
}

/// What is kept of a job across restarts of the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    progress: Option<BatchProgress>,
    /// Seconds that the present run has worked.
    worked: i64,
    /// The uncontrolled case: seconds worked of the run that started at its earliest.
    baseline: Option<(String, i64)>,
    /// Runs done in time.
    pub met: u64,
    /// Runs not done in time.
    pub missed: u64,
    /// Energy of all runs, zero or below.
    pub energy: ExactEnergy,
    /// Emissions of that energy, by the intensity of each tick.
    pub emissions: ExactEmissions,
    /// Energy of runs that were not done by their deadlines, as far as they were not done; zero or above.
    pub unserved: ExactEnergy,
}

impl WorkBook {
    /// Takes the jobs that belong to a site; the state of those that are known goes on.
    pub fn declare(&mut self, site: &str, services: &BTreeMap<String, ServiceSpec>) {
        let mut jobs = BTreeMap::new();
        for (name, service) in services {
            let Some(batch) = service.batch.as_ref().filter(|batch| batch.site.as_str() == site) else {
                continue;
            };
            let state = self.jobs.remove(name).map(|job| job.state).unwrap_or_default();
            let port = service.clock.as_ref().and_then(|clock| clock.port.as_ref());
            let ticked = port.map(|port| Ticked { service: name.clone(), port: port.to_string() });
            jobs.insert(
                name.clone(),
                Job { spec: batch_spec(name, batch), duration: batch.duration, ticked, state },
            );
        }
        self.jobs = jobs;
        let here = |(name, service): (&String, &ServiceSpec)| {
            let declared = service.slowdown.as_ref()?;
            (declared.site.as_str() == site).then(|| slowdown(name, service)).flatten()
        };
        let mut slow = BTreeMap::new();
        for spec in services.iter().filter_map(here) {
            let state = self.slow.remove(&spec.service).map(|slow| slow.state).unwrap_or_default();
            slow.insert(spec.service.clone(), Slow::new(spec, state));
        }
        self.slow = slow;
    }

    /// The state to keep.
    #[must_use]
    pub fn states(&self) -> WorkStates {
        WorkStates {
            jobs: self.jobs.iter().map(|(name, job)| (name.clone(), job.state.clone())).collect(),
            slow: self.slow.iter().map(|(name, slow)| (name.clone(), slow.state.clone())).collect(),
            errands: self.errands.states(),
        }
    }

    /// Goes on with a kept state.
    pub fn restore(&mut self, states: WorkStates) {
        for (name, state) in states.jobs {
            if let Some(job) = self.jobs.get_mut(&name) {
                job.state = state;
            }
        }
        for (name, state) in states.slow {
            if let Some(slow) = self.slow.get_mut(&name) {
                slow.state = state;
            }
        }
        self.errands.restore(states.errands);
    }

    /// The jobs that run now.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.jobs.iter().filter(|(_, job)| job.is_running()).map(|(name, _)| name.clone()).collect()
    }

    /// The services that are to use energy now: jobs that run, and services that may be slower.
    #[must_use]
    pub fn at_work(&self) -> Vec<String> {
        let mut at_work = self.running();
        at_work.extend(self.slow.keys().cloned());
        at_work
    }

    /// Power of what is at work now, as consumption; of services that may be slower what is beyond their guarantee.
    #[must_use]
    pub fn running_power(&self) -> Power {
        let jobs = self.jobs.values().filter(|job| job.is_running()).map(|job| job.spec.max_power);
        let slow = self.slow.values().map(|slow| slow.allotted);
        jobs.chain(slow).chain([self.errands.running_power()]).sum()
    }

    /// All work of the windows that close within a period. It may be split, which makes it at least as good to plan with as
    /// any real one.
    #[must_use]
    pub fn whole(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<FlexibleWork> {
        let mut all = BTreeMap::new();
        for job in self.jobs.values() {
            for window in windows(&job.spec.window, zone, from, to) {
                let work = job.whole(&window, from);
                all.insert(work.id.clone(), work);
            }
        }
        for slow in self.slow.values() {
            for window in windows(&slow.spec.window, zone, from, to) {
                let Some(work) = slow.whole(&window, zone, from) else { continue };
                all.insert(work.id.clone(), work);
            }
        }
        all.into_values().collect()
    }

    /// The clocks of the jobs that run now.
    #[must_use]
    pub fn ticked(&self) -> Vec<Ticked> {
        self.jobs.values().filter(|job| job.is_running()).filter_map(|job| job.ticked.clone()).collect()
    }

    /// Counts the tick that has ended for a job: `alive` when its process worked in it. Returns its energy as it was
    /// and in the uncontrolled case, both zero or below. `carbon` is the site's intensity in the tick.
    pub fn settle(
        &mut self,
        zone: &TimeZone,
        start: Timestamp,
        seconds: i64,
        carbon: ExactIntensity,
        alive: impl Fn(&str) -> bool,
    ) -> (ExactEnergy, ExactEnergy) {
        let (mut actual, mut baseline) = (ExactEnergy::ZERO, ExactEnergy::ZERO);
        for (name, job) in &mut self.jobs {
            baseline += job.settle_baseline(zone, start, seconds);
            if job.is_running() && alive(name) {
                let energy = job.settle_actual(seconds);
                job.state.emissions += carbon * energy.negative_part();
                actual += energy;
            }
        }
        for (name, slow) in &mut self.slow {
            let (energy, uncontrolled) = slow.settle(zone, start, seconds, carbon, alive(name));
            actual += energy;
            baseline += uncontrolled;
        }
        (actual, baseline)
    }

    /// Moves on to `now`: closes runs whose deadline has passed, opens the next. Returns what is worth telling.
    pub fn roll(&mut self, zone: &TimeZone, now: Timestamp) -> Vec<(String, String)> {
        let mut told = Vec::new();
        for (name, job) in &mut self.jobs {
            if let Some(text) = job.roll(zone, now) {
                told.push((name.clone(), text));
            }
        }
        for (name, slow) in &mut self.slow {
            told.extend(slow.roll(zone, now).map(|text| (name.clone(), text)));
        }
        told
    }

    /// What is offered to the plan.
    #[must_use]
    pub fn offers(&self, zone: &TimeZone, now: Timestamp) -> Vec<FlexibleWork> {
        let jobs = self.jobs.values();
        let jobs = jobs.filter_map(|job| offer(&job.spec, zone, job.state.progress.as_ref(), now));
        let slow = self.slow.values().filter_map(|slow| slow.offer(zone, now));
        jobs.chain(slow).chain(self.errands.offers()).collect()
    }

    /// Orders from the plan: per job the envelope of the steps ahead, `planned` by work id. A job whose envelope
    /// allows power at `now` runs from now on.
    pub fn order(
        &mut self,
        zone: &TimeZone,
        now: Timestamp,
        planned: &BTreeMap<String, Planned>,
    ) -> WorkOrders {
        let planned = |id: &str| envelope(planned.get(id).map(Vec::as_slice).unwrap_or_default());
        let mut orders = WorkOrders::default();
        for (name, job) in &mut self.jobs {
            let Some(work) = offer(&job.spec, zone, job.state.progress.as_ref(), now) else { continue };
            if let Some(order) = job.order(&work, now, planned(&work.id)) {
                orders.batches.insert(name.clone(), order);
            }
        }
        for (name, slow) in &mut self.slow {
            orders.slow.insert(name.clone(), slow.order(zone, now, |id| planned(id).steps));
        }
        orders
    }

    /// Energy of runs that were not done by their deadlines, zero or above, and what doing it was worth.
    #[must_use]
    pub fn unserved(&self) -> (ExactEnergy, Money) {
        let jobs = || self.jobs.values().map(|job| (job.state.unserved, &job.spec));
        let energy =
            jobs().map(|(energy, _)| energy).chain(self.slow.values().map(|slow| slow.state.unserved));
        let worth = jobs().map(|(energy, spec)| spec.value * (energy.to_energy() / spec.energy));
        (energy.sum(), worth.chain(self.slow.values().map(Slow::unserved_worth)).sum())
    }

    /// What became of the work of each service.
    pub fn totals(&self) -> impl Iterator<Item = (&String, WorkTotals)> {
        let jobs = self.jobs.iter().map(|(name, Job { state, .. })| {
            let JobState { met, missed, energy, emissions, .. } = *state;
            (name, WorkTotals { met, missed, energy, emissions })
        });
        let slow = self.slow.iter().map(|(name, Slow { state, .. })| {
            let SlowState { met, missed, energy, emissions, .. } = *state;
            (name, WorkTotals { met, missed, energy, emissions })
        });
        jobs.chain(slow)
    }
}

impl Job {
    /// A whole run in a window.
    fn whole(&self, window: &RunWindow, from: Timestamp) -> FlexibleWork {
        let spec = &self.spec;
        FlexibleWork {
            id: format!("{}/{}", spec.service, window.run),
            energy: spec.energy,
            earliest: window.earliest.max(from),
            deadline: window.deadline,
            min_power: Power::ZERO,
            max_power: spec.max_power,
            interruptible: true,
            running: false,
            value: spec.value,
            required: spec.required,
        }
    }

    fn is_running(&self) -> bool {
        self.state.progress.as_ref().is_some_and(|progress| progress.running)
    }

    fn total_seconds(&self) -> i64 {
        self.duration.as_secs().max(1)
    }

    /// Declared energy of some seconds of work, zero or below, so that all of a run adds up to its whole energy.
    fn energy(&self, from: i64, to: i64) -> ExactEnergy {
        declared_part(self.spec.energy, self.total_seconds(), from, to)
    }

    fn settle_actual(&mut self, seconds: i64) -> ExactEnergy {
        let from = self.state.worked;
        let to = (from + seconds).min(self.total_seconds());
        let energy = self.energy(from, to);
        self.state.worked = to;
        self.state.energy += energy;
        let complete = to >= self.total_seconds();
        if let Some(progress) = &mut self.state.progress {
            progress.used =
                Energy::kwh(self.spec.energy.as_kwh() * to as f64 / self.duration.as_secs_f64().max(1.0));
            progress.complete = complete;
            progress.running = !complete;
        }
        if complete {
            self.state.met += 1;
        }
        energy
    }

    fn settle_baseline(&mut self, zone: &TimeZone, start: Timestamp, seconds: i64) -> ExactEnergy {
        let Ok(Some(window)) = current_window(&self.spec.window, zone, start) else {
            return ExactEnergy::ZERO;
        };
        if start < window.earliest {
            return ExactEnergy::ZERO;
        }
        let worked = match &self.state.baseline {
            Some((run, worked)) if *run == window.run => *worked,
            _ => 0,
        };
        let to = (worked + seconds).min(self.total_seconds());
        self.state.baseline = Some((window.run, to));
        self.energy(worked, to)
    }

    fn roll(&mut self, zone: &TimeZone, now: Timestamp) -> Option<String> {
        let window = current_window(&self.spec.window, zone, now).ok()??;
        if self.state.progress.as_ref().is_some_and(|progress| progress.run == window.run) {
            return None;
        }
        let before = self.state.progress.replace(BatchProgress {
            run: window.run,
            used: Energy::ZERO,
            running: false,
            complete: false,
        });
        let done = std::mem::take(&mut self.state.worked);
        let missed = before.filter(|before| !before.complete)?;
        self.state.missed += 1;
        self.state.unserved += self.energy(done, self.total_seconds()).negative_part();
        Some(format!("run {} was not done by its deadline", missed.run))
    }

    fn order(&mut self, work: &FlexibleWork, now: Timestamp, envelope: PowerEnvelope) -> Option<BatchOrder> {
        let run = work.id.rsplit_once('/').map_or(work.id.as_str(), |(_, run)| run).to_owned();
        let progress = self.state.progress.as_mut().filter(|progress| progress.run == run)?;
        let allowed = envelope.at(now).is_some_and(|step| step.max_power > Power::ZERO);
        let goes_on = progress.running && !self.spec.interruptible;
        progress.running = now >= work.earliest && (allowed || goes_on);
        Some(BatchOrder {
            run,
            deadline: work.deadline,
            remaining: work.energy,
            min_power: work.min_power,
            interruptible: work.interruptible,
            envelope,
        })
    }
}

/// Declared energy of some seconds of work that takes `total` of them, zero or below, so that all of it adds up to its whole energy.
pub(super) fn declared_part(energy: Energy, total: i64, from: i64, to: i64) -> ExactEnergy {
    let whole = (energy.as_kwh() * 3.6e6).round() as i64;
    let part = |worked: i64| (i128::from(whole) * i128::from(worked) / i128::from(total)) as i64;
    ExactEnergy::watt_seconds(part(from) - part(to))
}

/// The windows that close within a period.
fn windows(window: &Window, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<RunWindow> {
    let mut all: Vec<RunWindow> = Vec::new();
    let mut now = from;
    while let Ok(Some(one)) = current_window(window, zone, now) {
        if one.deadline > to {
            break;
        }
        now = one.deadline;
        all.push(one);
    }
    all
}

fn envelope(steps: &[(Timestamp, Power, String)]) -> PowerEnvelope {
    let step = |(start, power, reason): &(Timestamp, Power, String)| EnvelopeStep {
        start: *start,
        max_power: *power,
        reason: reason.clone(),
    };
    PowerEnvelope { steps: steps.iter().map(step).collect() }
}

fn batch_spec(service: &str, batch: &Batch) -> BatchSpec {
    let hours = Hours::from_seconds(batch.duration.as_secs_f64());
    // What is declared as power is the most; the energy of a run over its duration is what it really takes.
    let power = (batch.energy / hours).min(batch.power);
    let value = batch.value.as_ref().map(|amount| amount.value);
    BatchSpec {
        service: service.to_owned(),
        energy: batch.energy,
        min_power: batch.min_power.unwrap_or(power).min(power),
        max_power: power,
        interruptible: batch.interruptible,
        value: value.unwrap_or(Money::new(MUST_BE_DONE_PER_KWH * batch.energy.as_kwh())),
        required: value.is_none(),
        window: Window::Daily { from: batch.window.from, to: batch.window.to },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sos_units::CarbonIntensity;

    fn book() -> WorkBook {
        let manifest = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: { name: train }\nspec:\n  command: [train]\n  batch: { site: home, window: { from: \"22:00\", to: \"06:00\" }, energy: 2 kWh, power: 1 kW, duration: 2 h }\n";
        let declared = sos_model::load(&[("train.yaml".into(), manifest.as_bytes().to_vec())]).unwrap();
        let services = BTreeMap::from([("train".to_owned(), declared[0].service().unwrap().clone())]);
        let mut book = WorkBook::default();
        book.declare("home", &services);
        book
    }

    #[test]
    fn a_run_uses_its_whole_energy_once_and_meets_its_deadline() {
        let mut book = book();
        let zone = TimeZone::UTC;
        let mut now: Timestamp = "2016-08-01T21:45:00Z".parse().unwrap();
        let (mut actual, mut baseline) = (ExactEnergy::ZERO, ExactEnergy::ZERO);
        let carbon = ExactIntensity::from_intensity(CarbonIntensity::kg_per_kwh(0.2));
        for _ in 0..40 {
            book.roll(&zone, now);
            let offers = book.offers(&zone, now);
            // The plan wants it from two o'clock on.
            let from: Timestamp = "2016-08-02T02:00:00Z".parse().unwrap();
            let planned = offers
                .iter()
                .map(|w| {
                    (
                        w.id.clone(),
                        vec![(now, if now >= from { w.max_power } else { Power::ZERO }, String::new())],
                    )
                })
                .collect();
            book.order(&zone, now, &planned);
            let (a, b) = book.settle(&zone, now, 900, carbon, |_| true);
            actual += a;
            baseline += b;
            now += SignedDuration::from_secs(900);
        }
        let whole = ExactEnergy::watt_seconds(-7_200_000);
        assert_eq!((actual, baseline), (whole, whole));
        let state = book.totals().next().unwrap().1;
        assert_eq!((state.met, state.missed), (1, 0));
        assert_eq!(state.emissions, carbon * -whole);
        assert_eq!(book.unserved(), (ExactEnergy::ZERO, Money::ZERO));
    }

    #[test]
    fn each_job_has_its_own_emissions() {
        let one = |name: &str| {
            let manifest = format!(
                "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {{ name: {name} }}\nspec:\n  command: [{name}]\n  batch: {{ site: home, window: {{ from: \"22:00\", to: \"06:00\" }}, energy: 2 kWh, power: 1 kW, duration: 2 h }}\n"
            );
            let declared = sos_model::load(&[("job.yaml".into(), manifest.into_bytes())]).unwrap();
            (name.to_owned(), declared[0].service().unwrap().clone())
        };
        let mut book = WorkBook::default();
        book.declare("home", &BTreeMap::from([one("train"), one("render")]));
        let zone = TimeZone::UTC;
        let now: Timestamp = "2016-08-01T22:00:00Z".parse().unwrap();
        let carbon = ExactIntensity::from_intensity(CarbonIntensity::kg_per_kwh(0.2));
        book.roll(&zone, now);
        let offers = book.offers(&zone, now);
        let planned =
            offers.iter().map(|w| (w.id.clone(), vec![(now, w.max_power, String::new())])).collect();
        book.order(&zone, now, &planned);
        let (all, _) = book.settle(&zone, now, 900, carbon, |service| service == "train");
        let of = |job: &str| book.totals().find(|(name, _)| *name == job).unwrap().1.emissions;
        assert_eq!((of("train"), of("render")), (carbon * -all, ExactEmissions::ZERO));
        assert!(all < ExactEnergy::ZERO);
    }

    #[test]
    fn a_run_that_never_starts_is_missed() {
        let mut book = book();
        let zone = TimeZone::UTC;
        book.roll(&zone, "2016-08-01T21:45:00Z".parse().unwrap());
        let told = book.roll(&zone, "2016-08-02T06:00:00Z".parse().unwrap());
        assert_eq!(told, [("train".to_owned(), "run 2016-08-01 was not done by its deadline".to_owned())]);
        assert_eq!(book.totals().next().unwrap().1.missed, 1);
        // 2 kWh, at what must be done is planned with.
        let (energy, worth) = book.unserved();
        assert_eq!(energy, ExactEnergy::watt_seconds(7_200_000));
        assert!((worth.get() - 10.0).abs() < 1e-9, "{worth:?}");
    }
}
