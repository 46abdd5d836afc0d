//! `sos` may stop at any moment. After it goes on, every tick is settled exactly once, the accounts are what the home's
//! own books say, and no command was ever sent that is not in the audit record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use sos_control::{ServicePhase, ServiceStatus};
use sos_engine::clock::{SiteClock, Speed};
use sos_engine::faults::Faults;
use sos_engine::services::board::{Board, Orders, ReplicaView, ServiceView};
use sos_engine::site::model::{SiteModel, assemble};
use sos_engine::site::periods::{Unit, periods};
use sos_engine::site::reference::{Period, perfect_case};
use sos_engine::site::task::{LEASE_TICKS, Outcome, SiteError, SiteTask};
use sos_engine::site::work::WorkBook;
use sos_store::{AuditRecord, Durability, FaultHook, FaultPoint, Options, Store};
use tokio::sync::watch;

use crate::home::{Home, TICK, epoch, serve};

pub(crate) const SITE: &str = "apiVersion: sos.energy/v1alpha1
kind: Site
metadata: { name: home }
spec:
  timeZone: Etc/UTC
  currency: EUR
  tick: 15 min
  planEvery: 1 h
  forecasting: { members: profile }
  connection: { importLimit: 4 kW, exportLimit: 2 kW, importPrice: { fixed: 0.3 EUR/kWh } }
---
apiVersion: sos.energy/v1alpha1
kind: Service
metadata: { name: adapter }
spec: { command: [adapter], ports: [{ name: adapter }], adapter: true }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: battery }
spec:
  site: home
  type: battery
  mode: control
  via: { service: adapter, device: { host: 127.0.0.1, port: 502 } }
  battery: { capacity: 6.4 kWh, maxCharge: 5 kW, maxDischarge: 5 kW, chargeEfficiency: 1, dischargeEfficiency: 1 }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: load }
spec:
  site: home
  type: load
  via: { service: adapter, device: { host: 127.0.0.1, port: 503 } }
---
apiVersion: sos.energy/v1alpha1
kind: Asset
metadata: { name: solar }
spec:
  site: home
  type: solar
  mode: control
  via: { service: adapter, device: { host: 127.0.0.1, port: 504 } }
  solar: { peakPower: 6 kW, curtailable: true }
";

fn model() -> SiteModel {
    model_of(SITE)
}

fn model_of(site: &str) -> SiteModel {
    let declared = sos_model::load_checked(&[("site.yaml".into(), site.as_bytes().to_vec())], &[]).unwrap();
    let site = declared.iter().find_map(|one| one.site()).unwrap();
    let assets =
        declared.iter().filter_map(|one| Some((one.name.to_string(), one.asset()?.clone()))).collect();
    assemble("home", site, &assets, &BTreeMap::new()).unwrap()
}

/// The services as the site sees them: its adapter is there.
fn board(port: u16) -> Board {
    let deployment = json!({
        "service": "adapter", "replica": "adapter-0", "ordinal": 0, "generation": 1, "description_hash": "",
        "run": null, "program": "/adapter", "version": "", "args": [], "env": [], "workdir": "/",
        "ports": { "adapter": port }, "limits": sos_runtime::Limits::default(), "log": "/log",
        "logs": sos_runtime::LogRotation::default(), "depends_on": [],
        "stop_timeout": jiff::SignedDuration::from_secs(1), "labels": {},
    });
    let replica = ReplicaView {
        deployment: Arc::new(serde_json::from_value(deployment).unwrap()),
        phase: "Running",
        live: true,
        pid: None,
        started_at: epoch(),
        past_runs: 0,
        usage: None,
        limits: sos_runtime::LimitEnforcement {
            memory: sos_runtime::Enforcement::NotRequested,
            cpu: sos_runtime::Enforcement::NotRequested,
        },
        address: std::net::Ipv4Addr::LOCALHOST.into(),
    };
    let status = ServiceStatus {
        phase: ServicePhase::Running,
        ready: 1,
        ready_replicas: vec!["adapter-0".to_owned()],
        live: 1,
        replicas: 1,
        observed_generation: 1,
        restarts: 0,
        conditions: Vec::new(),
    };
    let view = ServiceView { replicas: vec![replica], ..ServiceView::new(status, "") };
    Board { services: BTreeMap::from([("adapter".to_owned(), view)]), ..Board::default() }
}

/// A home, its adapter, and a data directory: what outlives a controller.
pub(crate) struct Rig {
    pub(crate) home: Arc<Mutex<Home>>,
    /// As [`SITE`], with changes.
    pub(crate) site: String,
    port: u16,
    dir: tempfile::TempDir,
    orders: watch::Sender<Orders>,
    faults: Faults,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let home = Arc::new(Mutex::new(Home { counters: true, ..Home::default() }));
        let orders = watch::channel(Orders::default()).0;
        let (port, dir) = (serve(&home), tempfile::tempdir().unwrap());
        Self { home, site: SITE.to_owned(), port, dir, orders, faults: Faults::default() }
    }

    /// Runs a controller until `ticks` after the epoch, or until the store fails where `hook` says so.
    pub(crate) fn run(&self, ticks: i32, hook: Option<FaultHook>) -> Result<Outcome, SiteError> {
        self.run_at(ticks, hook, epoch())
    }

    /// As [`Self::run`]; the clock of this run begins at `site_epoch`, as after a change of speed.
    fn run_at(
        &self,
        ticks: i32,
        hook: Option<FaultHook>,
        site_epoch: Timestamp,
    ) -> Result<Outcome, SiteError> {
        let store = open(self.dir.path());
        let lease = store.lock_controller().unwrap();
        let people = watch::channel(sos_engine::people::read(&store).unwrap()).1;
        store.inject_faults(hook);
        let (_board, board) = watch::channel(Arc::new(board(self.port)));
        let (_stop, stop) = watch::channel(false);
        let task = SiteTask {
            model: Arc::new(model_of(&self.site)),
            clock: SiteClock { speed: Speed::LockStep, site_epoch, wall_epoch: epoch() },
            until: Some(epoch() + TICK * ticks),
            epoch: lease.epoch(),
            store: store.clone(),
            board,
            orders: self.orders.clone(),
            people,
            live: watch::channel(None).0,
            stop,
            ticked: Vec::new(),
            work: WorkBook::default(),
            permits: sos_engine::permits::Permits::new().0,
            faults: self.faults.clone(),
            started: Instant::now(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(task.run())
    }

    pub(crate) fn store(&self) -> Store {
        open(self.dir.path())
    }

    fn truth(&self) -> Home {
        self.home.lock().unwrap().clone()
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, Options { durability: Durability::Normal, ..Options::default() }).unwrap()
}

/// Counts the passages of the store's fault points; from number `k` on all fail, as for a process that is no more.
fn stop_at(k: usize) -> (FaultHook, Arc<AtomicUsize>) {
    let passed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&passed);
    (Arc::new(move |_| counter.fetch_add(1, Ordering::SeqCst) >= k), passed)
}

fn set_points(store: &Store) -> Vec<AuditRecord> {
    let all = store.list_audit(1, Some("Site/home"), 100_000).unwrap();
    all.into_iter().filter(|record| record.entry.what == "set-point").collect()
}

/// The accounts are the home's own books, each tick once.
fn check_books(outcome: &Outcome, truth: &Home, ticks: u64, about: &str) {
    let ledger = outcome.accounts.ledger();
    assert_eq!(ledger.steps, ticks, "{about}");
    let settled = [ledger.load, ledger.solar, ledger.discharged, ledger.charged];
    let settled = settled.map(sos_units::ExactEnergy::as_watt_seconds);
    assert_eq!(settled, [truth.load, truth.solar, truth.discharged, truth.charged], "{about}");
    assert_eq!(ledger.imbalance().as_watt_seconds(), 0, "{about}");
    assert_eq!(outcome.from, epoch(), "{about}");
    assert_eq!(outcome.accounts.estimated(), 0, "{about}");
}

/// Each command that the home took is in the audit record, which has one decision per tick.
fn check_sent(store: &Store, truth: &Home, about: &str) {
    store.verify_audit().unwrap();
    let recorded: BTreeMap<Timestamp, serde_json::Value> = set_points(store)
        .into_iter()
        .map(|record| (record.entry.time, record.entry.after.unwrap()["assets"].clone()))
        .collect();
    assert_eq!(recorded.len(), set_points(store).len(), "{about}: a tick was decided twice");
    for command in &truth.commands {
        let entry = recorded.get(&command.at).and_then(|assets| assets.get(command.asset));
        let entry = entry.unwrap_or_else(|| panic!("{about}: {command:?} is not in the audit record"));
        assert_eq!(entry["kw"].as_f64(), command.kw, "{about}: {command:?}");
    }
}

/// Telemetry has each tick once.
fn check_telemetry(store: &Store, ticks: i32, about: &str) {
    let grid = store.list_series().unwrap().into_iter().find(|series| series.name == "site_grid_kw").unwrap();
    let points = store.range(grid.id, epoch()..epoch() + TICK * (ticks + 1), None).unwrap();
    let times: Vec<Timestamp> = points.iter().map(|point| point.time).collect();
    let all: Vec<Timestamp> = (1..=ticks).map(|tick| epoch() + TICK * tick).collect();
    assert_eq!(times, all, "{about}");
    assert!(points.iter().all(|point| point.value.is_ok()), "{about}");
}

/// Stops a controller at each passage of the store in a run of `ticks`, each time in a new home, and goes on.
fn stop_everywhere(ticks: i32) {
    let undisturbed = Rig::new();
    let (hook, passed) = stop_at(usize::MAX);
    let outcome = undisturbed.run(ticks, Some(hook)).unwrap();
    let steps = u64::try_from(ticks).unwrap();
    check_books(&outcome, &undisturbed.truth(), steps, "undisturbed");
    check_sent(&undisturbed.store(), &undisturbed.truth(), "undisturbed");
    check_telemetry(&undisturbed.store(), ticks, "undisturbed");
    let (baseline, passages) = (outcome.accounts.ledger().baseline.clone(), passed.load(Ordering::SeqCst));
    assert!(passages > 2 * usize::try_from(ticks).unwrap(), "{passages}");
    let curtailed = |outcome: &Outcome| outcome.accounts.ledger().curtailed.as_watt_seconds();

    let next = AtomicUsize::new(0);
    let stop_one = || {
        while let Some(k) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|k| *k < passages) {
            let about = format!("stopped at passage {k} of {passages}");
            let rig = Rig::new();
            rig.run(ticks, Some(stop_at(k).0)).expect_err(&about);
            // What was sent was recorded before, not only when the tick was done again.
            check_sent(&rig.store(), &rig.truth(), &about);
            let sent = rig.truth().commands.len();
            let outcome = rig.run(ticks, None).unwrap();
            let truth = rig.truth();
            check_books(&outcome, &truth, steps, &about);
            check_sent(&rig.store(), &truth, &about);
            check_telemetry(&rig.store(), ticks, &about);
            // Control may differ after a restart, what it cannot choose may not; what a plant could have given when it
            // was turned down is estimated, so where that differs the uncontrolled case does too.
            if (curtailed(&outcome), truth.curtailed) == (0, 0) {
                assert_eq!(outcome.accounts.ledger().baseline.import, baseline.import, "{about}");
            }
            let (old, new) = truth.commands.split_at(sent);
            assert!(old.iter().all(|o| new.iter().all(|n| o.epoch < n.epoch && o.at <= n.at)), "{about}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(stop_one);
        }
    });
}

#[test]
fn a_stop_at_any_step_of_a_tick_settles_each_tick_once_and_sends_nothing_unrecorded() {
    stop_everywhere(12);
}

#[test]
#[ignore = "slow: a whole day, stopped at each of its steps"]
fn a_stop_at_any_step_of_a_day_settles_each_tick_once_and_sends_nothing_unrecorded() {
    stop_everywhere(96);
}

#[test]
fn when_nothing_can_be_recorded_any_more_nothing_is_sent_and_the_devices_go_to_their_safe_state() {
    let rig = Rig::new();
    // As with a disk that is full from some tick on: whatever is to be written fails.
    let commits = AtomicUsize::new(0);
    let full: FaultHook = Arc::new(move |point| {
        point == FaultPoint::BeforeCommit && commits.fetch_add(1, Ordering::SeqCst) >= 50
    });
    let why = rig.run(96, Some(full)).unwrap_err().to_string();
    assert!(why.starts_with("site home: "), "{why}");
    let before = rig.truth();
    check_sent(&rig.store(), &before, "with a full disk");
    let last = before.commands.iter().rfind(|command| command.asset == "battery").unwrap();
    assert_eq!(i64::from(last.lease_s), LEASE_TICKS * TICK.as_secs());
    assert!(last.kw.is_some_and(|kw| kw != 0.0), "the battery is at work: {last:?}");
    let mut home = rig.truth();
    let lapsed = last.at + TICK * i32::try_from(LEASE_TICKS).unwrap();
    home.live(lapsed);
    let at_lapse = home.stored;
    assert_ne!(at_lapse, before.stored, "the lease holds for three ticks");
    home.live(lapsed + TICK * 4);
    assert_eq!(home.stored, at_lapse, "without a controller the battery idles");
}

#[test]
fn what_a_plant_could_have_given_is_counted_where_it_was_turned_down_and_the_perfect_case_knows_it() {
    let rig = Rig::new();
    let outcome = rig.run(4 * 96, None).unwrap();
    let (truth, ledger) = (rig.truth(), outcome.accounts.ledger());
    let counted = ledger.curtailed.as_watt_seconds() as f64 / 3.6e6;
    let real = truth.curtailed as f64 / 3.6e6;
    assert!(real > 5.0, "the export limit turns the plant down: {real} kWh");
    // A plant that is turned down from its first days on has shown little of what it can give at noon.
    assert!((0.5..1.3).contains(&(counted / real)), "{counted} kWh counted, {real} kWh really");
    assert!(ledger.baseline.limit_violations > ledger.actual.limit_violations, "{ledger:?}");
    let period = Period {
        from: outcome.from,
        to: outcome.to,
        worth: outcome.worth,
        initial: BTreeMap::new(),
        generators: BTreeMap::new(),
    };
    let perfect = perfect_case(&rig.store(), &model(), &WorkBook::default(), &period).unwrap();
    assert_eq!(perfect.limit_violations, 0, "it turns the plant down where it must");
    let totals =
        outcome.accounts.totals(&outcome.model, outcome.stored, outcome.worth, sos_units::Money::ZERO);
    assert!(perfect.objective <= totals.objective.actual + 1e-6, "{perfect:?} {totals:?}");
}

#[test]
fn the_outages_of_one_site_leave_those_of_another() {
    let mut rig = Rig::new();
    let other = BTreeMap::from([("other".to_owned(), BTreeSet::from(["pump".to_owned()]))]);
    rig.orders.send_modify(|orders| orders.outages.clone_from(&other));
    let name = |name| sos_model::Name::new(name).unwrap();
    let outage =
        sos_model::Outage { site: name("home"), service: name("fan"), at: epoch() + TICK * 3, seconds: 1800 };
    rig.faults = Faults::new(vec![outage]);
    rig.run(3, None).unwrap();
    let out = |service: &str| rig.orders.borrow().is_out(service);
    assert!(out("pump") && out("fan"));
    rig.run(8, None).unwrap();
    assert!(out("pump") && !out("fan"));
}

#[test]
fn accounts_know_their_start_after_a_change_of_speed() {
    let rig = Rig::new();
    rig.run(20, None).unwrap();
    let outcome = rig.run_at(40, None, epoch() + TICK * 21).unwrap();
    assert_eq!((outcome.from, outcome.to), (epoch(), epoch() + TICK * 40));
    check_books(&outcome, &rig.truth(), 40, "after a change of speed");
}

#[test]
fn days_and_months_of_a_site_add_up_to_its_books_across_restarts() {
    let rig = Rig::new();
    rig.run(100, None).unwrap();
    let outcome = rig.run(5 * 96, None).unwrap();
    let (store, model) = (rig.store(), model());
    let days = periods(&store, &model, Unit::Day).unwrap();
    let first = model.zone.to_datetime(epoch()).date();
    let dates: Vec<Date> = days.iter().map(|day| day.first).collect();
    let wanted: Vec<Date> =
        (0..).map_while(|n: i64| first.checked_add(n.days()).ok()).take(days.len()).collect();
    assert_eq!(dates, wanted, "each day once");
    assert!((5..=6).contains(&days.len()), "{days:?}");
    let import = outcome.accounts.ledger().actual.import.to_energy().as_kwh();
    for unit in [Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
        let parts = periods(&store, &model, unit).unwrap();
        let sum: f64 = parts.iter().map(|part| part.totals.import.as_kwh()).sum();
        assert!((sum - import).abs() < 1e-9, "{unit:?}: {sum} of {import}");
    }
}

#[test]
fn what_no_counter_tells_is_estimated_by_the_forecast_and_counted() {
    let rig = Rig::new();
    rig.home.lock().unwrap().counters = false;
    rig.run(2 * 96, None).unwrap();
    let before = rig.truth();
    rig.home.lock().unwrap().silent = vec!["load"];
    rig.run(2 * 96 + 40, None).unwrap();
    let silent = rig.truth();
    rig.home.lock().unwrap().silent.clear();
    let outcome = rig.run(3 * 96, None).unwrap();
    let (truth, ledger) = (rig.truth(), outcome.accounts.ledger());
    assert_eq!((ledger.steps, outcome.accounts.estimated()), (3 * 96, 40));
    assert_eq!(ledger.solar.as_watt_seconds(), truth.solar);
    let missed = (silent.load - before.load) as f64;
    let wrong = (ledger.load.as_watt_seconds() - truth.load) as f64;
    assert!(wrong.abs() < 0.3 * missed.abs(), "of {missed} Ws {wrong} Ws are wrong");
    assert_eq!(ledger.imbalance().as_watt_seconds(), 0);
    let store = rig.store();
    let series = store.list_series().unwrap().into_iter().find(|s| s.name == "device_estimate_kw").unwrap();
    let points = store.range(series.id, epoch()..epoch() + TICK * 1_000, None).unwrap();
    assert_eq!(points.len(), 40, "estimates are told as such");
}

#[test]
fn counters_tell_what_a_silent_device_did_across_restarts() {
    let rig = Rig::new();
    rig.run(30, None).unwrap();
    rig.home.lock().unwrap().silent = vec!["load", "solar"];
    rig.run(40, None).unwrap();
    rig.run(50, None).unwrap();
    rig.home.lock().unwrap().silent = vec!["solar"];
    rig.run(60, None).unwrap();
    rig.home.lock().unwrap().silent.clear();
    let outcome = rig.run(70, None).unwrap();
    check_books(&outcome, &rig.truth(), 70, "after an outage of two devices");
}
