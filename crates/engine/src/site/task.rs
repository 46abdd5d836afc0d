//! The loop of one site. Everything it decides it decides from one snapshot; everything it does it records first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_control::BatchOrder;
use sos_store::{AuditEntry, Event, EventType, Store, StoreError};
use sos_units::{CarbonIntensity, Energy, ExactEnergy, Missing, Power, Price, Reading, Soc};
use tokio::sync::watch;

use super::account::{Accounts, Decision, Late, TickContext};
use super::decide::{Order, Snapshot, decide};
use super::links::{AssetReading, Failures, Links, Ticked, Written};
use super::model::{Address, Kind, SiteModel};
use super::outlook::Outlook;
use super::plan::{self, SitePlan};
use super::telemetry::{Row, SeriesIds, grid, own_power};
use super::work::{JobState, WorkBook};
use crate::clock::{SiteClock, Speed, wall_now};
use crate::faults::Faults;
use crate::live::SiteState;
use crate::report::Durations;
use crate::services::board::{Board, Orders};
use crate::services::secrets::adapter_token;

/// Set-points are leased for this many ticks; a device that hears nothing for so long goes to its safe state.
pub const LEASE_TICKS: i64 = 3;
/// In lock-step site time waits for services that are starting, this long at the most.
const LONGEST_START: Duration = Duration::from_secs(60);
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
    /// The picture of the site.
    pub live: watch::Sender<Option<Arc<SiteState>>>,
    /// Whether to stop.
    pub stop: watch::Receiver<bool>,
    /// Services of simulated devices, which are handed the time in lock-step.
    pub ticked: Vec<Ticked>,
    /// Batch jobs of services.
    pub work: WorkBook,
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
    /// Energy in its batteries.
    pub stored: Energy,
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

/// What is kept with every tick, so that a restart goes on at the next one.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Start of the step that was decided last.
    now: Timestamp,
    tick: u64,
    accounts: Accounts,
    jobs: BTreeMap<String, JobState>,
    /// The controller's decision for the running step.
    decision: Decision,
    plans: u64,
    fallbacks: u64,
    not_ready: BTreeMap<String, i64>,
    /// Energy in the batteries at `now`, and what a kWh of it is worth.
    stored: Energy,
    worth: Price,
}

/// The orders in force, kept so that a restart of the controller disturbs no job that is at work.
#[derive(Debug, Default, Serialize, Deserialize)]
struct KeptOrders {
    batches: BTreeMap<String, BatchOrder>,
}

/// What a site that ran before asked of the services when it was last heard of.
///
/// # Errors
/// What the store says.
pub fn kept_orders(store: &Store, site: &str) -> Result<BTreeMap<String, BatchOrder>, StoreError> {
    let kept = store.get_kv(&orders_key(site))?;
    let kept = kept.and_then(|value| serde_json::from_value::<KeptOrders>(value).ok());
    Ok(kept.unwrap_or_default().batches)
}

fn orders_key(site: &str) -> String {
    format!("orders/{site}")
}

/// The running state of a site.
pub(super) struct Site {
    pub(super) task: SiteTask,
    pub(super) ids: SeriesIds,
    pub(super) links: Links,
    pub(super) outlook: Outlook,
    pub(super) accounts: Accounts,
    pub(super) plan: Option<SitePlan>,
    pub(super) planned_with: BTreeSet<usize>,
    pub(super) orders: Vec<Order>,
    pub(super) decision: Decision,
    pub(super) last: Option<Timestamp>,
    /// Site time of the tick that is at work.
    now: Timestamp,
    pub(super) tick: u64,
    pub(super) readings: Vec<Reading<AssetReading>>,
    pub(super) own: Vec<Reading<Power>>,
    pub(super) failures: Failures,
    pub(super) socs: BTreeMap<usize, Soc>,
    pub(super) work_power: Power,
    /// Exchange planned for the step that runs, by the plan that was in force at its start.
    planned_grid: Option<Power>,
    pub(super) stats: Stats,
    told: BTreeMap<usize, String>,
    sent: BTreeMap<String, (BatchOrder, bool)>,
    /// Services that did not come up in time: site time waits for them no more until they are back.
    given_up: BTreeSet<String>,
    /// Energy stored and its worth at the last tick of an earlier run.
    resumed: Option<(Energy, Price)>,
    shown: Option<Instant>,
}

impl SiteTask {
    /// Runs the site to its end or until it is stopped.
    ///
    /// # Errors
    /// When the store refuses: what cannot be recorded is not done.
    pub async fn run(self) -> Result<Outcome, SiteError> {
        let mut site = Site::open(self)?;
        let finished = site.ticks().await?;
        Ok(site.close(finished))
    }
}

impl Site {
    fn open(task: SiteTask) -> Result<Self, SiteError> {
        let model = Arc::clone(&task.model);
        let setup = |why| SiteError::Setup { site: model.name.clone(), why };
        let store = |source| SiteError::Store { site: model.name.clone(), source };
        let ids = SeriesIds::open(&task.store, &model).map_err(store)?;
        let outlook = Outlook::new(&model).map_err(setup)?;
        let n = model.assets.len();
        let mut site = Self {
            ids,
            links: Links::default(),
            outlook,
            accounts: Accounts::new(&model),
            plan: None,
            planned_with: BTreeSet::new(),
            orders: Vec::new(),
            decision: Decision::default(),
            last: None,
            now: task.clock.site_epoch,
            tick: 0,
            readings: vec![Err(Missing::NotYet); n],
            own: vec![Err(Missing::NotYet); n],
            failures: Failures::new(),
            socs: BTreeMap::new(),
            work_power: Power::ZERO,
            planned_grid: None,
            stats: Stats::default(),
            told: BTreeMap::new(),
            sent: BTreeMap::new(),
            given_up: BTreeSet::new(),
            resumed: None,
            shown: None,
            task,
        };
        site.resume().map_err(store)?;
        Ok(site)
    }

    fn key(&self) -> String {
        format!("site/{}", self.task.model.name)
    }

    /// Goes on where an earlier run stopped: accounts, jobs, and what the forecasters have seen.
    fn resume(&mut self) -> Result<(), StoreError> {
        let Some(value) = self.task.store.get_kv(&self.key())? else { return Ok(()) };
        let kept = value.as_str().and_then(|text| serde_json::from_str::<Kept>(text).ok());
        let Some(kept) = kept.filter(|kept| kept.accounts.fits(&self.task.model)) else {
            tracing::warn!(site = self.task.model.name, "the site has changed; its accounts start anew");
            return Ok(());
        };
        self.accounts = kept.accounts;
        self.task.work.restore(kept.jobs);
        self.decision = kept.decision;
        self.last = Some(kept.now);
        self.tick = kept.tick;
        self.stats.plans = kept.plans;
        self.stats.fallbacks = kept.fallbacks;
        self.stats.not_ready = kept.not_ready;
        self.resumed = Some((kept.stored, kept.worth));
        super::view::relearn(&self.task.store, &self.task.model, &mut self.outlook, kept.now)?;
        Ok(())
    }

    /// Ticks until the end; false when it was stopped before.
    async fn ticks(&mut self) -> Result<bool, SiteError> {
        let step = self.task.model.tick;
        self.await_services().await;
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
            let (work, work_baseline) = self.task.work.settle(&model.zone, start, seconds, |_| true);
            let context = TickContext { work, work_baseline, decision: self.decision };
            self.accounts.add_missed(&model, start, seconds, context);
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
        if self.plan_is_due(now) {
            self.make_plan(now);
        }
        let batches = self.order_work(now);
        let (orders, decision) = self.choose(now);
        self.record(now, &orders, decision, &late, &batches)?;
        self.orders = orders;
        self.decision = decision;
        self.last = Some(now);
        self.planned_grid = self.plan.as_ref().and_then(|plan| plan.grid_at(now));
        self.tick += 1;
        let last = self.task.until.is_some_and(|until| now >= until);
        if !last {
            self.ask_batches(now, batches).await;
            self.act().await;
        }
        self.show(now, last);
        Ok(())
    }

    /// Hands out the time and reads every device. Returns the jobs that worked in the step.
    async fn observe(&mut self, now: Timestamp) -> BTreeSet<String> {
        let lockstep = self.task.clock.speed == Speed::LockStep;
        let running = self.task.work.running();
        let mut alive: BTreeSet<String> = running.iter().cloned().collect();
        if lockstep {
            let down = self.advance(now).await;
            alive.retain(|service| !down.contains(service));
            self.count_not_ready(&down, now);
        } else {
            let board = self.task.board.borrow().clone();
            alive.retain(|service| board.services.get(service).is_some_and(|view| view.status.live > 0));
            let down = self.needed().filter(|service| !board.is_ready(service)).cloned().collect();
            self.count_not_ready(&down, now);
        }
        self.read(now, lockstep).await;
        alive
    }

    /// Counts the step that has ended for the services that were wanted in it and not ready.
    fn count_not_ready(&mut self, down: &BTreeSet<String>, now: Timestamp) {
        let Some(start) = self.last else { return };
        for service in down {
            *self.stats.not_ready.entry(service.clone()).or_default() += now.duration_since(start).as_secs();
        }
    }

    /// Lock-step: every simulated device lives up to `now`. Site time waits for services that are starting, unless
    /// their outage is injected. Returns those that did not make it.
    async fn advance(&mut self, now: Timestamp) -> BTreeSet<String> {
        let mut ticked = self.task.ticked.clone();
        ticked.extend(self.task.work.ticked());
        let outages = self.task.orders.borrow().outages.clone();
        ticked.retain(|one| !outages.contains(&one.service));
        let began = Instant::now();
        loop {
            let board = self.task.board.borrow_and_update().clone();
            let mut outcome = self.links.advance(&ticked, &board, self.last, now).await;
            // A job whose work was done in this very step has ended already when the step is repeated.
            outcome.failed.retain(|service, _| !board.is_completed(service));
            self.given_up.retain(|service| outcome.failed.contains_key(service));
            if outcome.failed.keys().all(|service| self.given_up.contains(service)) {
                return outages.into_iter().chain(outcome.failed.into_keys()).collect();
            }
            if began.elapsed() > LONGEST_START || *self.task.stop.borrow() {
                self.given_up.extend(outcome.failed.into_keys());
                return outages.into_iter().chain(self.given_up.iter().cloned()).collect();
            }
            self.nudge().await;
        }
    }

    /// Waits until something about the services changes, or a moment.
    async fn nudge(&mut self) {
        let moment = Duration::from_millis(5);
        let _ = tokio::time::timeout(moment, self.task.board.changed()).await;
    }

    async fn read(&mut self, now: Timestamp, lockstep: bool) {
        let model = Arc::clone(&self.task.model);
        let store = self.task.store.clone();
        let outages = self.task.orders.borrow().outages.clone();
        let began = Instant::now();
        loop {
            let board = self.task.board.borrow_and_update().clone();
            let token = |service: &str| adapter_token(&store, service);
            (self.readings, self.failures) = self.links.read(&model, &board, token, now).await;
            let waits = lockstep
                && self.failures.keys().any(|index| concerns(&model, *index).all(|s| !outages.contains(s)))
                && began.elapsed() < LONGEST_START
                && !*self.task.stop.borrow();
            if !waits || !self.starting(&outages) {
                break;
            }
            self.nudge().await;
        }
        if began.elapsed() >= LONGEST_START {
            let late = self.needed().filter(|service| !self.task.board.borrow().is_ready(service)).cloned();
            let late: Vec<String> = late.collect();
            self.given_up.extend(late);
        }
        let device: Vec<Reading<Power>> =
            self.readings.iter().map(|reading| reading.map(|r| r.power)).collect();
        self.own = own_power(&model, &device);
        self.socs.clear();
        for (index, asset, _) in model.batteries() {
            if let Ok(AssetReading { soc: Some(soc), .. }) = self.readings[index]
                && asset.mode != sos_model::Mode::Observe
            {
                self.socs.insert(index, soc);
            }
        }
        self.tell_failures();
    }

    /// Whether a service that the site needs is on its way up: then site time waits for it.
    fn starting(&self, outages: &BTreeSet<String>) -> bool {
        let board = self.task.board.borrow();
        let waited = |service: &&String| !outages.contains(*service) && !self.given_up.contains(*service);
        let mut needed = self.needed().filter(waited);
        needed.any(|service| board.services.get(service).is_some_and(|view| view.status.ready == 0))
    }

    /// The services that the assets depend on.
    fn needed(&self) -> impl Iterator<Item = &String> {
        (0..self.task.model.assets.len()).flat_map(|index| concerns(&self.task.model, index))
    }

    /// Accounts for the step that has ended; teaches the forecasters.
    fn account(&mut self, now: Timestamp, alive: &BTreeSet<String>) -> Vec<Late> {
        let model = Arc::clone(&self.task.model);
        let Some(start) = self.last else {
            self.accounts.begin(now, &self.readings);
            self.outlook.observe_signals(&model, now);
            return Vec::new();
        };
        let seconds = now.duration_since(start).as_secs().max(1);
        let (work, work_baseline) =
            self.task.work.settle(&model.zone, start, seconds, |service| alive.contains(service));
        self.work_power = mean(work, seconds);
        let context = TickContext { work, work_baseline, decision: self.decision };
        let late = self.accounts.add(&model, start, now, &self.readings, context);
        self.outlook.observe(start, now, now, &self.own);
        self.outlook.observe_signals(&model, now);
        late
    }

    /// At every `planEvery`, and whenever what can be planned with has changed.
    fn plan_is_due(&self, now: Timestamp) -> bool {
        let Some(plan) = &self.plan else { return true };
        let model = &self.task.model;
        let every = model.plan_every.as_secs().max(1);
        let boundary =
            |time: Timestamp| time.duration_since(self.task.clock.site_epoch).as_secs().div_euclid(every);
        let available: BTreeSet<usize> = self.socs.keys().copied().collect();
        boundary(plan.made_at) != boundary(now) || available != self.planned_with
    }

    fn make_plan(&mut self, now: Timestamp) {
        let began = Instant::now();
        let model = Arc::clone(&self.task.model);
        let steps = plan::steps(now, self.task.clock.site_epoch, model.plan_every, model.horizon);
        let expected = self.outlook.expected(&model, now, &steps);
        let offers = self.task.work.offers(&model.zone, now);
        let problem = plan::problem(&model, steps, &expected, &self.socs, offers);
        match plan::make(problem, now) {
            Ok(plan) => {
                self.stats.plans += 1;
                self.stats.fallbacks += u64::from(plan.fallback);
                if plan.fallback {
                    let text = format!("the plan comes from {}", plan.source);
                    self.tell("Site", &model.name, EventType::Warning, "PlanFallback", text);
                }
                self.plan = Some(plan);
                self.planned_with = self.socs.keys().copied().collect();
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
        let next = self.outlook.next_tick(now, self.planned_net(now), self.measured_net());
        decide(&Snapshot {
            model: &model,
            now,
            readings: &self.readings,
            socs: &self.socs,
            plan: self.plan.as_ref(),
            next,
            work: self.task.work.running_power(),
            reserve: self.outlook.reserve(&model, now),
        })
    }

    /// Net power that the plan expects, where one of its steps begins now.
    fn planned_net(&self, now: Timestamp) -> Option<Power> {
        let plan = self.plan.as_ref()?;
        let step = plan.step_at(now)?;
        (plan.problem.steps[step].start == now).then(|| plan.problem.fixed[step])
    }

    /// Net power of what cannot be chosen in the step that has ended, when all of it was measured.
    fn measured_net(&self) -> Option<Power> {
        let fixed = self.task.model.assets.iter().zip(&self.own);
        let fixed = fixed.filter(|(asset, _)| asset.via.is_some() && !matches!(asset.kind, Kind::Battery(_)));
        fixed.map(|(_, power)| power.ok()).try_fold(Power::ZERO, |sum, power| Some(sum + power?))
    }

    fn order_work(&mut self, now: Timestamp) -> BTreeMap<String, BatchOrder> {
        let planned = self.plan.as_ref().map(|plan| plan.work(now)).unwrap_or_default();
        self.task.work.order(&self.task.model.zone, now, &planned)
    }

    /// Commits the tick in one transaction: the audit entry of every command before it is sent, the measurements, the
    /// accounts. What cannot be recorded is not done.
    fn record(
        &mut self,
        now: Timestamp,
        orders: &[Order],
        decision: Decision,
        late: &[Late],
        batches: &BTreeMap<String, BatchOrder>,
    ) -> Result<(), SiteError> {
        let model = Arc::clone(&self.task.model);
        let known_at = if self.task.model.replay.is_some() { now } else { wall_now().max(now) };
        let device: Vec<Reading<Power>> =
            self.readings.iter().map(|reading| reading.map(|r| r.power)).collect();
        let soc: Vec<Option<Reading<Soc>>> = self.soc_readings();
        let mut setpoint = vec![None; model.assets.len()];
        for order in orders.iter().filter(|order| order.write) {
            setpoint[order.asset] = order.power;
        }
        let mut samples = Vec::new();
        if self.last.is_some() {
            samples = self.ids.samples(&Row {
                now,
                known_at,
                power: &self.own,
                device: &device,
                soc: &soc,
                setpoint: &setpoint,
                grid: grid(&model, &self.own, self.work_power),
                planned: self.planned_grid,
                work: self.work_power,
            });
            samples.extend(self.ids.late(late, known_at));
        }
        let entry = self.audit_entry(now, orders);
        let kept = Kept {
            now,
            tick: self.tick + 1,
            accounts: self.accounts.clone(),
            jobs: self.task.work.states(),
            decision,
            plans: self.stats.plans,
            fallbacks: self.stats.fallbacks,
            not_ready: self.stats.not_ready.clone(),
            stored: super::account::stored(&model, &self.socs),
            worth: self.worth(),
        };
        let unreadable =
            |error: serde_json::Error| SiteError::Setup { site: model.name.clone(), why: error.to_string() };
        let kept = serde_json::to_string(&kept).map_err(unreadable)?;
        let asked = (self.order_key(batches) != self.sent)
            .then(|| serde_json::to_value(KeptOrders { batches: batches.clone() }))
            .transpose()
            .map_err(unreadable)?;
        let key = self.key();
        let written = self.task.store.commit(|tx| {
            if let Some(entry) = &entry {
                tx.audit(entry)?;
            }
            if !samples.is_empty() {
                tx.append_samples(&samples)?;
            }
            if let Some(asked) = &asked {
                tx.put_kv(&orders_key(&model.name), asked)?;
            }
            tx.put_kv(&key, &serde_json::Value::String(kept))
        });
        written.map_err(|source| SiteError::Store { site: model.name.clone(), source })
    }

    fn soc_readings(&self) -> Vec<Option<Reading<Soc>>> {
        let assets = self.task.model.assets.iter().zip(&self.readings);
        assets
            .map(|(asset, reading)| match &asset.kind {
                Kind::Battery(_) => Some(reading.and_then(|reading| reading.soc.ok_or(Missing::Invalid))),
                _ => None,
            })
            .collect()
    }

    /// One entry for all commands of a tick: each with its value before, its value now, and its reason.
    fn audit_entry(&self, now: Timestamp, orders: &[Order]) -> Option<AuditEntry> {
        let model = &self.task.model;
        let before: BTreeMap<&str, Option<f64>> = self
            .orders
            .iter()
            .filter(|order| order.write)
            .map(|order| (model.assets[order.asset].name.as_str(), order.power.map(Power::as_kw)))
            .collect();
        let written: Vec<&Order> = orders.iter().filter(|order| order.write).collect();
        if written.is_empty() {
            return None;
        }
        let after: BTreeMap<&str, serde_json::Value> = written
            .iter()
            .map(|order| {
                let command =
                    serde_json::json!({ "kw": order.power.map(Power::as_kw), "because": order.because });
                (model.assets[order.asset].name.as_str(), command)
            })
            .collect();
        Some(AuditEntry {
            time: now,
            who: "sos/site".into(),
            what: "set-point".into(),
            target: format!("Site/{}", model.name),
            why: self.plan.as_ref().map_or_else(
                || "no plan in force".to_owned(),
                |plan| format!("plan of {} by {}", crate::time_text(plan.made_at, &model.zone), plan.source),
            ),
            before: Some(serde_json::json!(before)),
            after: Some(serde_json::json!({ "epoch": self.task.epoch, "assets": after })),
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

    /// Tells when an asset becomes unavailable and when it is back.
    fn tell_failures(&mut self) {
        let model = Arc::clone(&self.task.model);
        for (index, asset) in model.assets.iter().enumerate() {
            // Before the first step a device has nothing to measure.
            let early = self.last.is_none() && self.readings[index] == Err(Missing::NotYet);
            let failure = self.failures.get(&index).filter(|_| !early).cloned();
            match (self.told.contains_key(&index), failure) {
                (false, Some(why)) => {
                    self.tell("Asset", &asset.name, EventType::Warning, "Unavailable", why.clone());
                    self.told.insert(index, why);
                }
                (true, None) => {
                    self.told.remove(&index);
                    self.tell(
                        "Asset",
                        &asset.name,
                        EventType::Normal,
                        "Available",
                        "it answers again".to_owned(),
                    );
                }
                _ => {}
            }
        }
    }

    fn tell(&self, kind: &str, name: &str, event_type: EventType, reason: &str, message: String) {
        let event = Event {
            time: wall_now(),
            site_time: Some(self.now),
            kind: kind.into(),
            name: name.into(),
            event_type,
            reason: reason.into(),
            message,
        };
        tracing::info!(kind, name, reason, message = event.message);
        if let Err(error) = self.task.store.commit(|tx| tx.record_event(&event)) {
            tracing::error!(%error, "an event cannot be recorded");
        }
    }

    /// Injected outages: the services concerned go down and, when it is over, come back.
    async fn ask_outages(&mut self, outages: BTreeSet<String>) {
        if self.task.orders.borrow().outages == outages {
            return;
        }
        tracing::info!(?outages, "injected outages");
        self.task.orders.send_modify(|orders| orders.outages = outages.clone());
        let began = Instant::now();
        while began.elapsed() < LONGEST_START && !*self.task.stop.borrow() {
            let board = self.task.board.borrow_and_update().clone();
            let down =
                |service: &String| board.services.get(service).is_none_or(|view| view.status.live == 0);
            if outages.iter().all(down) {
                return;
            }
            self.nudge().await;
        }
    }

    /// Tells the services which jobs may run. In lock-step, waits until a job that starts is there.
    async fn ask_batches(&mut self, now: Timestamp, batches: BTreeMap<String, BatchOrder>) {
        let running = self.task.work.running();
        let key = self.order_key(&batches);
        if key == self.sent {
            return;
        }
        let starts: Vec<String> =
            running.iter().filter(|s| self.sent.get(*s) != key.get(*s)).cloned().collect();
        self.sent = key;
        let site = self.task.model.name.clone();
        self.task.orders.send_modify(|orders| {
            orders.site_time.insert(site, now);
            orders.batches.extend(batches);
        });
        if self.task.clock.speed == Speed::LockStep && !starts.is_empty() {
            self.await_jobs(now, &starts).await;
        }
    }

    /// What the services were told, or are to be told, about their jobs.
    fn order_key(&self, batches: &BTreeMap<String, BatchOrder>) -> BTreeMap<String, (BatchOrder, bool)> {
        let running = self.task.work.running();
        let one = |(service, order): (&String, &BatchOrder)| {
            // What remains changes with every tick of work and changes nothing about the order.
            let order = BatchOrder { remaining: Energy::ZERO, ..order.clone() };
            (service.clone(), (order, running.contains(service)))
        };
        batches.iter().map(one).collect()
    }

    async fn await_jobs(&mut self, now: Timestamp, starts: &[String]) {
        let outages = self.task.orders.borrow().outages.clone();
        let mut ticked = self.task.ticked.clone();
        ticked.extend(self.task.work.ticked());
        ticked.retain(|one| !outages.contains(&one.service));
        let began = Instant::now();
        while began.elapsed() < LONGEST_START && !*self.task.stop.borrow() {
            let board = self.task.board.borrow_and_update().clone();
            let outcome = self.links.advance(&ticked, &board, None, now).await;
            if starts.iter().all(|service| !outcome.failed.contains_key(service)) {
                return;
            }
            self.nudge().await;
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
        self.task.orders.send_if_modified(|orders| {
            orders.site_time.insert(site, now);
            false
        });
    }

    /// What a stored kWh is worth: the cheapest full price of the plan in force, less the loss of taking it out.
    pub(super) fn worth(&self) -> Price {
        let Some(plan) = &self.plan else { return Price::ZERO };
        let prices = (0..plan.problem.steps.len()).map(|t| plan.problem.connection.full_import_price(t));
        let efficiency =
            self.task.model.batteries().map(|(_, _, b)| b.discharge_efficiency.get()).fold(1.0, f64::min);
        prices.reduce(Price::min).unwrap_or(Price::ZERO).max(Price::ZERO) * efficiency
    }

    fn close(mut self, finished: bool) -> Outcome {
        // Without a tick in this run, what the last one of the run before it left.
        let (stored, worth) = match self.resumed {
            Some(kept) if self.plan.is_none() => kept,
            _ => (super::account::stored(&self.task.model, &self.socs), self.worth()),
        };
        if finished {
            self.accounts.close(&self.task.model);
        }
        Outcome {
            from: self.task.clock.site_epoch,
            to: self.last.unwrap_or(self.task.clock.site_epoch),
            model: Arc::clone(&self.task.model),
            accounts: self.accounts,
            work: self.task.work,
            stored,
            worth,
            stats: self.stats,
            finished,
        }
    }
}

/// The declared services that an asset depends on.
fn concerns(model: &SiteModel, index: usize) -> impl Iterator<Item = &String> {
    let via = model.assets[index].via.as_ref();
    let device = via.and_then(|via| match &via.address {
        Address::Service { service, .. } => Some(service),
        Address::Host { .. } => None,
    });
    via.map(|via| &via.adapter).into_iter().chain(device)
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
