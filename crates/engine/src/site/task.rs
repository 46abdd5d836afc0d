//! The loop of one site. Everything it decides it decides from one snapshot; everything it does it records first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sos_dispatch::Memory;
use sos_store::{EventType, Store, StoreError};
use sos_units::{CarbonIntensity, Energy, ExactEnergy, ExactIntensity, Missing, Power, Price, Reading, Soc};
use tokio::sync::watch;

use super::account::{Accounts, Decision, Late, TickContext};
use super::carried::Carried;
use super::core::OneCore;
use super::decide::{Order, Snapshot, decide};
use super::generators::{Book, Live};
use super::links::{AssetReading, Failures, Links, Ticked, Written};
use super::model::SiteModel;
use super::movable::{Movables, Sight};
use super::observe::concerns;
use super::orders::Sent;
use super::outlook::Outlook;
use super::people::Standing;
use super::plan::SitePlan;
use super::planner::{self, Basis, Seen};
use super::telemetry::SeriesIds;
use super::work::WorkBook;
use crate::clock::{SiteClock, Speed, wall_now};
use crate::faults::Faults;
use crate::live::SiteState;
use crate::people as orders_of_people;
use crate::permits::Permits;
use crate::report::Durations;
use crate::services::board::{Board, Orders};

/// Set-points are leased for this many ticks; a device that hears nothing for so long goes to its safe state.
pub const LEASE_TICKS: i64 = 3;
/// In lock-step site time waits for services that are starting, this long at the most.
pub(super) const LONGEST_START: Duration = Duration::from_secs(60);
/// Before the first tick services get this long to start.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// In lock-step the picture of the site is renewed this often.
const SHOW_EVERY: Duration = Duration::from_millis(50);

/// What a site's loop is given.
#[derive(Debug)]
pub struct SiteTask {
    /// The site.
    pub model: Arc<SiteModel>,
    /// Its clock.
    pub clock: SiteClock,
    /// Where it stops.
    pub until: Option<Timestamp>,
    /// Number of this controller; devices refuse a lower one.
    pub epoch: u64,
    /// The store.
    pub store: Store,
    /// Services as they are.
    pub board: watch::Receiver<Arc<Board>>,
    /// What is asked of the services.
    pub orders: watch::Sender<Orders>,
    /// What people order of the assets.
    pub people: watch::Receiver<orders_of_people::Orders>,
    /// The picture of the site.
    pub live: watch::Sender<Option<Arc<SiteState>>>,
    /// Whether to stop.
    pub stop: watch::Receiver<bool>,
    /// Services of simulated devices, which are handed the time in lock-step.
    pub ticked: Vec<Ticked>,
    /// Batch jobs of services.
    pub work: WorkBook,
    /// What runs of workflows ask for.
    pub permits: Permits,
    /// Injected outages.
    pub faults: Faults,
    /// When the program started.
    pub started: Instant,
}

/// Figures of a run, for the report.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Plans made.
    pub plans: u64,
    /// Plans that a fallback made.
    pub fallbacks: u64,
    /// Durations of plans.
    pub plan_seconds: Durations,
    /// Durations of ticks.
    pub tick_seconds: Durations,
    /// From the start of the program to the first plan.
    pub ready: Option<Duration>,
    /// Ticks in which a service was wanted and not ready, by service.
    pub not_ready: BTreeMap<String, i64>,
}

/// How a loop ended.
#[derive(Debug)]
pub struct Outcome {
    /// The site.
    pub model: Arc<SiteModel>,
    /// Start of the first step.
    pub from: Timestamp,
    /// End of the last step.
    pub to: Timestamp,
    /// Its accounts, closed.
    pub accounts: Accounts,
    /// Its jobs.
    pub work: WorkBook,
    /// Energy in its batteries, those of vehicles among them.
    pub stored: Energy,
    /// Energy in its batteries, without those of vehicles.
    pub stored_at_rest: Energy,
    /// What a stored kWh is worth.
    pub worth: Price,
    /// Figures.
    pub stats: Stats,
    /// Whether it reached its end, rather than being stopped.
    pub finished: bool,
}

/// Why a loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The store refuses.
    #[error("site {site}: {source}")]
    Store {
        /// The site.
        site: String,
        /// Why.
        source: StoreError,
    },
    /// The site makes no sense.
    #[error("site {site}: {why}")]
    Setup {
        /// The site.
        site: String,
        /// Why.
        why: String,
    },
}

/// The running state of a site.
pub(super) struct Site {
    pub(super) task: SiteTask,
    pub(super) ids: SeriesIds,
    pub(super) links: Links,
    pub(super) outlook: Outlook,
    /// Where the search for the latest plan stood. None where a plan must not depend on the ones before: in lock-step, which comes to
    /// the same after any restart.
    search: Option<Memory>,
    pub(super) accounts: Accounts,
    /// What charges have counted up to the tick that is at work; it follows from the accounts.
    pub(super) carried: Carried,
    pub(super) plan: Option<SitePlan>,
    /// Orders of people that act in the tick that is at work.
    pub(super) standing: Vec<Standing>,
    pub(super) orders: Vec<Order>,
    pub(super) decision: Decision,
    pub(super) last: Option<Timestamp>,
    /// Site time of the tick that is at work.
    pub(super) now: Timestamp,
    pub(super) tick: u64,
    pub(super) readings: Vec<Reading<AssetReading>>,
    pub(super) own: Vec<Reading<Power>>,
    pub(super) failures: Failures,
    pub(super) socs: BTreeMap<usize, Soc>,
    /// Generators that can be planned with, and since when each runs or rests.
    pub(super) generators: BTreeMap<usize, Live>,
    pub(super) book: Book,
    /// Vehicles and heat pumps: what is seen of them now, and was last.
    pub(super) sight: Sight,
    pub(super) movables: Movables,
    pub(super) work_power: Power,
    /// Exchange planned for the step that runs, by the plan that was in force at its start.
    pub(super) planned_grid: Option<Power>,
    pub(super) stats: Stats,
    pub(super) told: BTreeMap<usize, String>,
    /// Whether a series was told to drift from its forecasts, by its name.
    pub(super) drift_told: BTreeMap<String, bool>,
    pub(super) sent: Sent,
    /// Services that did not come up in time: site time waits for them no more until they are back.
    pub(super) given_up: BTreeSet<String>,
    /// Energy stored and its worth at the last tick of an earlier run.
    pub(super) resumed: Option<(Energy, Energy, Price)>,
    /// What plants that were turned down in the step that has ended could have given.
    pub(super) available: Vec<(usize, Power)>,
    /// Energies of ticks that were skipped, not recorded yet.
    pub(super) skipped: Vec<Late>,
    /// How many violations are in the journal.
    pub(super) violations_kept: usize,
    /// Number of the last record in the journal of open ticks.
    pub(super) open_seq: u64,
    shown: Option<Instant>,
    /// In lock-step, the core on which all that take turns stay.
    pub(super) core: Option<OneCore>,
}

impl SiteTask {
    /// Runs the site to its end or until it is stopped.
    ///
    /// # Errors
    /// When the store refuses: what cannot be recorded is not done.
    pub async fn run(self) -> Result<Outcome, SiteError> {
        let (permits, name) = (self.permits.clone(), self.model.name.clone());
        let mut site = Site::open(self)?;
        permits.decider(&name, true);
        let finished = site.ticks().await;
        permits.decider(&name, false);
        Ok(site.close(finished?))
    }
}

impl Site {
    fn open(task: SiteTask) -> Result<Self, SiteError> {
        let model = Arc::clone(&task.model);
        let setup = |why| SiteError::Setup { site: model.name.clone(), why };
        let store = |source| SiteError::Store { site: model.name.clone(), source };
        let ids = SeriesIds::open(&task.store, &model).map_err(store)?;
        let mut outlook = Outlook::new(&model).map_err(setup)?;
        outlook.open(&task.store, &model).map_err(store)?;
        outlook.start(&model, task.clock.speed).map_err(setup)?;
        let n = model.assets.len();
        let mut site = Self {
            ids,
            links: Links::default(),
            outlook,
            search: (task.clock.speed != Speed::LockStep).then(Memory::default),
            accounts: Accounts::new(&model),
            carried: Carried::default(),
            plan: None,
            standing: Vec::new(),
            orders: Vec::new(),
            decision: Decision::default(),
            last: None,
            now: task.clock.site_epoch,
            tick: 0,
            readings: vec![Err(Missing::NotYet); n],
            own: vec![Err(Missing::NotYet); n],
            failures: Failures::new(),
            socs: BTreeMap::new(),
            generators: BTreeMap::new(),
            book: Book::default(),
            sight: Sight::default(),
            movables: Movables::default(),
            work_power: Power::ZERO,
            planned_grid: None,
            stats: Stats::default(),
            told: BTreeMap::new(),
            drift_told: BTreeMap::new(),
            sent: Sent::default(),
            given_up: BTreeSet::new(),
            resumed: None,
            available: Vec::new(),
            skipped: Vec::new(),
            violations_kept: 0,
            open_seq: 0,
            shown: None,
            core: (task.clock.speed == Speed::LockStep).then(OneCore::here),
            task,
        };
        site.resume().map_err(store)?;
        Ok(site)
    }

    /// Ticks until the end; false when it was stopped before.
    async fn ticks(&mut self) -> Result<bool, SiteError> {
        let step = self.task.model.tick;
        self.await_services().await;
        self.await_runs().await;
        let mut next = match self.last {
            None => self.task.clock.site_epoch,
            Some(last) => last + step,
        };
        loop {
            if self.task.until.is_some_and(|until| next > until) {
                return Ok(true);
            }
            match self.wait(next).await {
                Some(time) => next = time,
                None => return Ok(false),
            }
            let began = Instant::now();
            self.one(next).await?;
            self.stats.tick_seconds.record(began.elapsed().as_secs_f64());
            next += step;
        }
    }

    /// Gives services that are starting a moment before the first tick, so that it finds them.
    async fn await_services(&mut self) {
        let began = Instant::now();
        while began.elapsed() < FIRST_WAIT && !*self.task.stop.borrow() {
            let board = self.task.board.borrow_and_update().clone();
            let model = Arc::clone(&self.task.model);
            let mut needed = (0..model.assets.len()).flat_map(|index| concerns(&model, index));
            if needed.all(|service| board.is_ready(service)) {
                return;
            }
            self.nudge().await;
        }
    }

    /// Waits for a tick; where ticks were missed, the latest one due. `None`: stop.
    async fn wait(&mut self, next: Timestamp) -> Option<Timestamp> {
        if *self.task.stop.borrow() {
            return None;
        }
        let Some(mut wall) = self.task.clock.wall_time(next) else {
            // Lock-step: let the other tasks of this thread live, then go on at once.
            tokio::task::yield_now().await;
            return Some(next);
        };
        let now = wall_now();
        let mut due = next;
        let step = self.task.model.tick;
        while let Some(later) = self.task.clock.wall_time(due + step).filter(|later| *later <= now) {
            self.skip(due);
            due += step;
            wall = later;
        }
        let pause = Duration::try_from(wall.duration_since(now)).unwrap_or(Duration::ZERO);
        tokio::select! {
            () = tokio::time::sleep(pause) => Some(due),
            _ = self.task.stop.changed() => None,
        }
    }

    /// A tick that came too late: its step was not measured, but jobs went on in it.
    fn skip(&mut self, due: Timestamp) {
        if let Some(start) = self.last {
            let model = Arc::clone(&self.task.model);
            let seconds = due.duration_since(start).as_secs().max(1);
            let carbon = ExactIntensity::from_intensity(carbon_now(&model, start));
            let (work, work_baseline) = self.settle_work((start, seconds), carbon, |_| true);
            let expected_w = watts(self.outlook.expected_tick(start));
            let decision = self.decision;
            let context = TickContext { work, work_baseline, decision, expected_w, ..TickContext::default() };
            self.skipped.extend(self.accounts.add_missed(&model, start, seconds, context));
        }
        self.last = Some(due);
    }

    /// One tick: `now` ends the step that was measured and starts the one that is decided.
    async fn one(&mut self, now: Timestamp) -> Result<(), SiteError> {
        self.now = now;
        let outages = self.task.faults.at(now, &self.task.model.name);
        self.ask_outages(outages).await;
        let alive = self.observe(now).await;
        let late = self.account(now, &alive);
        let model = Arc::clone(&self.task.model);
        for (service, text) in self.task.work.roll(&model.zone, now) {
            self.tell("Service", &service, EventType::Warning, "DeadlineMissed", text);
        }
        self.outlook.refresh(&model, now);
        self.hear_runs(now);
        self.hear_people(now);
        if self.plan_is_due(now) {
            self.renew_forecasts(now);
            self.make_plan(now);
        }
        if self.outlook.has_unstored() {
            self.tell_drift();
        }
        let work = self.order_work(now);
        let (orders, decision) = self.choose(now);
        self.record(now, &orders, decision, &late, &work)?;
        self.orders = orders;
        self.decision = decision;
        self.last = Some(now);
        self.planned_grid = self.plan.as_ref().and_then(|plan| plan.grid_at(now));
        self.tick += 1;
        let last = self.task.until.is_some_and(|until| now >= until);
        if !last {
            self.ask_work(now, work).await;
            self.permit_work(now).await;
            self.act().await;
        }
        self.show(now, last);
        Ok(())
    }

    /// Accounts for the step that has ended; teaches the forecasters.
    fn account(&mut self, now: Timestamp, alive: &BTreeSet<String>) -> Vec<Late> {
        let model = Arc::clone(&self.task.model);
        let Some(start) = self.last else {
            self.accounts.begin(&model, now, &self.readings, (&self.socs, &self.generators));
            self.outlook.observe_signals(&model, now);
            return Vec::new();
        };
        let seconds = now.duration_since(start).as_secs().max(1);
        let carbon = ExactIntensity::from_intensity(carbon_now(&model, start));
        let alive = |service: &str| alive.contains(service);
        let (work, work_baseline) = self.settle_work((start, seconds), carbon, alive);
        self.work_power = mean(work, seconds);
        self.available = planner::turned_down(&model, self.plan.as_ref(), &self.orders, &self.own, start);
        let (mut could, mut turned_down) = (self.own.clone(), Vec::new());
        for &(index, available) in &self.available {
            let made = std::mem::replace(&mut could[index], Ok(available)).unwrap_or(available);
            turned_down.push((index, ExactEnergy::from_power(available - made, seconds)));
        }
        let curtailed = turned_down.iter().map(|(_, energy)| *energy).sum();
        // Whatever one that could not run gave until then, no case has it.
        let away: Vec<usize> = model
            .generators()
            .filter(|(index, asset, _)| asset.via.is_some() && !self.generators.contains_key(index))
            .filter(|(_, asset, _)| asset.mode != sos_model::Mode::Observe)
            .map(|(index, _, _)| index)
            .collect();
        self.available.extend(away.iter().map(|&index| (index, Power::ZERO)));
        let mut devices = model.assets.iter().zip(&self.readings);
        let missed = devices.any(|(asset, reading)| asset.via.is_some() && reading.is_err());
        let expected_w = if missed { watts(self.outlook.expected_tick(start)) } else { Vec::new() };
        let (met, decision) = (self.sight.met.clone(), self.decision);
        let context =
            TickContext { work, work_baseline, curtailed, turned_down, away, met, decision, expected_w };
        let mut late = std::mem::take(&mut self.skipped);
        late.extend(self.accounts.add(&model, start, now, &self.readings, context));
        self.carried = self.accounts.carried(&model);
        self.outlook.observe(start, now, now, &could);
        self.outlook.observe_signals(&model, now);
        late
    }

    /// Counts the work of a tick: as it was, and in the uncontrolled case.
    fn settle_work(
        &mut self,
        (start, seconds): (Timestamp, i64),
        carbon: ExactIntensity,
        alive: impl Fn(&str) -> bool,
    ) -> (ExactEnergy, ExactEnergy) {
        let lockstep = self.task.clock.speed == Speed::LockStep;
        let work = &mut self.task.work;
        let (actual, baseline) = work.settle(&self.task.model.zone, start, seconds, carbon, alive);
        let of_runs = work.errands.settle(start, seconds, lockstep, self.plan.as_ref());
        (actual + of_runs.0, baseline + of_runs.1)
    }

    /// What is planned from at `now`, beside the outlook, which learns while it is asked, and the plan in force.
    fn basis(&mut self, now: Timestamp) -> (Basis<'_>, &mut Outlook, Option<&SitePlan>) {
        let seen = Seen {
            readings: &self.readings,
            own: &self.own,
            socs: &self.socs,
            coming: &self.sight.coming,
            generators: &self.generators,
            standing: &self.standing,
        };
        let basis = Basis { model: &self.task.model, now, seen, carried: &self.carried };
        (basis, &mut self.outlook, self.plan.as_ref())
    }

    fn plan_is_due(&mut self, now: Timestamp) -> bool {
        let (basis, _, plan) = self.basis(now);
        basis.is_due(plan) || self.task.work.errands.wants_plan(self.plan.as_ref())
    }

    fn make_plan(&mut self, now: Timestamp) {
        let began = Instant::now();
        let model = Arc::clone(&self.task.model);
        let offers = self.task.work.offers(&model.zone, now);
        let mut search = self.search.take();
        let (basis, outlook, _) = self.basis(now);
        let made = basis.plan(outlook, search.as_mut(), offers);
        self.search = search;
        match made {
            Ok(plan) => {
                self.stats.plans += 1;
                self.stats.fallbacks += u64::from(plan.fallback);
                if plan.fallback {
                    let text = format!("the plan comes from {}", plan.source);
                    self.tell("Site", &model.name, EventType::Warning, "PlanFallback", text);
                }
                self.plan = Some(plan);
                self.stats.ready.get_or_insert_with(|| self.task.started.elapsed());
            }
            Err(why) => {
                self.stats.fallbacks += 1;
                let text = format!("no plan could be made, the one before stays in force: {why}");
                self.tell("Site", &model.name, EventType::Warning, "PlanFailed", text);
            }
        }
        self.stats.plan_seconds.record(began.elapsed().as_secs_f64());
    }

    fn choose(&mut self, now: Timestamp) -> (Vec<Order>, Decision) {
        let model = Arc::clone(&self.task.model);
        let (basis, outlook, plan) = self.basis(now);
        let is_measured = |index: usize| model.assets[index].via.is_some();
        let next = basis.next_tick(outlook, plan, is_measured);
        let next_behind = basis.next_behind(outlook, plan);
        decide(&Snapshot {
            model: &model,
            now,
            readings: &self.readings,
            socs: &self.socs,
            generators: &self.generators,
            plan: self.plan.as_ref(),
            standing: &self.standing,
            next,
            next_behind: &next_behind,
            carried: &self.carried,
            work: self.task.work.running_power(),
            reserve: self.outlook.reserve(&model, now),
        })
    }

    /// Sends the commands and reads them back.
    async fn act(&mut self) {
        let model = Arc::clone(&self.task.model);
        let commands: Vec<(usize, Option<Power>)> =
            self.orders.iter().filter(|order| order.write).map(|order| (order.asset, order.power)).collect();
        if commands.is_empty() {
            return;
        }
        let lease = u32::try_from(LEASE_TICKS * model.tick_seconds()).unwrap_or(u32::MAX);
        let written = self.links.write(&model, self.task.epoch, lease, &commands).await;
        for outcome in written {
            self.check_readback(&outcome);
        }
    }

    fn check_readback(&mut self, written: &Written) {
        let asked =
            self.orders.iter().find(|order| order.asset == written.asset).and_then(|order| order.power);
        let name = self.task.model.assets[written.asset].name.clone();
        match (&written.error, asked, written.readback) {
            (Some(error), _, _) => {
                self.failures.insert(written.asset, error.clone());
                self.tell("Asset", &name, EventType::Warning, "CommandFailed", error.clone());
            }
            (None, Some(asked), Some(follows)) if (asked - follows).abs() > Power::kw(0.05) => {
                let text = format!("asked for {asked:.3}, but the device follows {follows:.3}");
                self.tell("Asset", &name, EventType::Warning, "CommandNotFollowed", text);
            }
            _ => {}
        }
    }

    fn show(&mut self, now: Timestamp, last: bool) {
        let recently = self.shown.is_some_and(|at| at.elapsed() < SHOW_EVERY);
        if self.task.clock.speed == Speed::LockStep && recently && !last {
            return;
        }
        self.shown = Some(Instant::now());
        let state = super::view::state(self, now);
        self.task.live.send_replace(Some(Arc::new(state)));
        let site = self.task.model.name.clone();
        let intensity = carbon_now(&self.task.model, now);
        self.task.orders.send_if_modified(|orders| {
            orders.intensity.insert(site.clone(), intensity);
            orders.site_time.insert(site, now);
            false
        });
    }

    /// What a stored kWh is worth: the cheapest full price of the plan in force, less the loss of taking it out.
    pub(super) fn worth(&self) -> Price {
        let Some(plan) = &self.plan else { return Price::ZERO };
        let prices = (0..plan.problem.steps.len()).map(|t| plan.problem.connection.full_import_price(t));
        let cheapest = super::plan::cheapest(&self.task.model, prices);
        let efficiency =
            self.task.model.batteries().map(|(_, _, b)| b.discharge_efficiency.get()).fold(1.0, f64::min);
        cheapest.max(Price::ZERO) * efficiency
    }

    /// What is stored in all batteries; in a vehicle that is away, what was in it when it left.
    pub(super) fn stored(&self) -> Energy {
        let soc = |index| self.socs.get(&index).copied().or_else(|| self.movables.stored(index));
        super::account::stored(self.task.model.stores(), soc)
    }

    /// The same of what stays where it is.
    pub(super) fn stored_at_rest(&self) -> Energy {
        super::account::stored(self.task.model.batteries(), |index| self.socs.get(&index).copied())
    }

    fn close(mut self, finished: bool) -> Outcome {
        // Without a tick in this run, what the last one of the run before it left.
        let (stored, stored_at_rest, worth) = match self.resumed {
            Some(kept) if self.plan.is_none() => kept,
            _ => (self.stored(), self.stored_at_rest(), self.worth()),
        };
        if finished {
            let estimated = self.accounts.close(&self.task.model);
            self.record_estimates(&estimated);
        }
        Outcome {
            from: self.accounts.from().unwrap_or(self.task.clock.site_epoch),
            to: self.last.unwrap_or(self.task.clock.site_epoch),
            model: Arc::clone(&self.task.model),
            accounts: self.accounts,
            work: self.task.work,
            stored,
            stored_at_rest,
            worth,
            stats: self.stats,
            finished,
        }
    }
}

fn watts(powers: Vec<Power>) -> Vec<i64> {
    powers.into_iter().map(|power| (power.as_kw() * 1000.0).round() as i64).collect()
}

fn mean(energy: ExactEnergy, seconds: i64) -> Power {
    Power::kw(energy.as_watt_seconds() as f64 / seconds.max(1) as f64 / 1000.0)
}

/// The intensity of the step that has just ended, for showing.
pub(super) fn carbon_now(model: &SiteModel, start: Timestamp) -> CarbonIntensity {
    super::account::carbon(&model.connection.carbon, start)
}

/// A step back in time, saturating.
pub(super) fn before(now: Timestamp, step: SignedDuration) -> Timestamp {
    now.checked_sub(step).unwrap_or(now)
}
