//! A platform of deterministic sample data: five homes on a summer day. For the preview of the dashboard and for tests.

mod alarming;
mod calling;
mod sent;

use std::{
    f64::consts::PI,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Bytes;
use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use jiff::{SignedDuration, Timestamp, tz};
use serde_json::{Value, json};
use sos_api::{
    AlarmView, ApplyRequest, AuditEntry, Exposition, Identity, IngestBatch, IngestOutcome, LiveEvent,
    OutboxEntry, Platform, Problem, Reply, Role, RuleGroupView,
    wire::{
        ActualPoint, ApplyResult, AssetLive, AssetOrder, AssetOrdered, CallAnswer, CallRequest, ChannelView,
        Compared, ComparedCount, Connection, ContractDetail, ContractSummary, DeadLetter, DiffResult,
        EventPage, EventRecord, ForecastAccuracy, ForecastQuantile, ForecastStep, GroupView, HandedEvent,
        LogAnswer, LogQuery, LogRecord, MeasuredStep, PeriodTotals, PlacedEvent, PlanLive, PlanPoint,
        PlanStep, Published, Redrive, ReportPeriod, Revision, RolloutOrder, RolloutStatus, RunBegun,
        RunOrder, RunOrdered, RunQuery, RunSignal, RunStart, Scale, SeriesForecast, ServiceLive,
        SettledEvent, SiteChart, SiteForecasts, SiteLive, SiteReport, SiteSummary, TaskDone, Totals,
        WorkLive, wire_time,
    },
};
use sos_watch::{Labels, Query, alerts::Silence};
use tokio::sync::broadcast;

pub(crate) const SITE: &str = "fontana";
const HOMES: usize = 5;
const CAPACITY_KWH: f64 = 6.4 * HOMES as f64;
const LIMIT_KW: f64 = 12.0;

/// Sample data at a step of one hour; `tick` moves it on.
#[derive(Debug)]
pub(crate) struct Fake {
    tick: Mutex<u64>,
    live: broadcast::Sender<LiveEvent>,
    /// Added to names, to see how odd text is shown.
    pub(crate) odd: &'static str,
    pub(crate) audited: Mutex<Vec<AuditEntry>>,
    pub(crate) audit_fails: std::sync::atomic::AtomicBool,
    pub(crate) revoked: Mutex<Vec<String>>,
    code: Mutex<Option<String>>,
    pub(crate) alarming: alarming::Alarming,
    pub(crate) searched: Mutex<Vec<LogQuery>>,
    /// Series that were sent, as text, with their samples.
    pub(crate) ingested: Mutex<Vec<sent::Ingested>>,
    /// What was said of metrics: name, type, help, unit.
    pub(crate) described: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn new(tick: u64, odd: &'static str) -> Self {
        Self {
            tick: Mutex::new(tick),
            live: broadcast::channel(256).0,
            odd,
            audited: Mutex::default(),
            audit_fails: false.into(),
            revoked: Mutex::default(),
            code: Mutex::new(Some("once".into())),
            alarming: alarming::Alarming::new(odd),
            searched: Mutex::default(),
            ingested: Mutex::default(),
            described: Mutex::default(),
        }
    }

    /// With more alerts, as people want to see them.
    pub(crate) fn busy(tick: u64, odd: &'static str) -> Self {
        Self { alarming: alarming::Alarming::busy(odd), ..Self::new(tick, odd) }
    }

    /// One hour on, told to everyone who listens.
    pub(crate) fn advance(&self) {
        *self.tick.lock().unwrap() += 1;
        let _ = self.live.send(LiveEvent::Site(Arc::new(self.state())));
    }

    pub(crate) fn tell(&self, event: EventRecord) {
        let _ = self.live.send(LiveEvent::Event(Arc::new(event)));
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    fn hour(&self) -> u64 {
        *self.tick.lock().unwrap()
    }

    fn state(&self) -> SiteLive {
        let now = self.hour();
        let (solar, load) = (solar(now), load(now));
        let (battery, soc) = battery_at(now);
        let grid = load - solar - battery;
        SiteLive {
            feeders: Vec::new(),
            charges: Vec::new(),
            carbon_cap: None,
            site: SITE.into(),
            time: time(now),
            tick: now,
            step_seconds: 3600,
            speed: "600".into(),
            currency: "USD".into(),
            mode_note: None,
            connection: Connection {
                island: false,
                power_kw: Some(grid),
                import_limit_kw: Some(LIMIT_KW),
                export_limit_kw: None,
                over_limit_kw: (grid - LIMIT_KW).max(0.0),
            },
            price_per_kwh: Some(price(now)),
            carbon_kg_per_kwh: Some(0.17),
            totals: totals(now),
            solar_kw: Some(solar),
            load_kw: Some(-load),
            battery_kw: Some(battery),
            soc: Some(soc),
            work: work(now, self.odd),
            assets: (1..=HOMES).flat_map(|home| assets(home, solar, load, battery, soc, self.odd)).collect(),
            plan: Some(PlanLive { made_at: time(now), source: "optimiser".into(), steps: plan_steps(now) }),
            services: services(self.odd),
        }
    }
}

fn start() -> Timestamp {
    "2016-07-31T23:00:00-08:00".parse().unwrap()
}

fn time(hour: u64) -> String {
    let time = start() + SignedDuration::from_hours(i64::try_from(hour).unwrap());
    wire_time(time, &tz::TimeZone::fixed(tz::offset(-8)))
}

/// Hour of the day on the site's clock.
fn of_day(hour: u64) -> f64 {
    ((hour + 23) % 24) as f64
}

/// The same for the same hour, without a pattern to the eye.
fn ripple(hour: u64, seed: u64) -> f64 {
    let mixed =
        (hour.wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35) >> 7;
    (mixed % 1000) as f64 / 1000.0 - 0.5
}

fn solar(hour: u64) -> f64 {
    let sun = ((of_day(hour) - 6.0) / 13.0 * PI).sin();
    if (6.0..19.0).contains(&of_day(hour)) {
        (13.0 * sun * (1.0 + 0.25 * ripple(hour, 1))).max(0.0)
    } else {
        0.0
    }
}

fn load(hour: u64) -> f64 {
    let evening = (-((of_day(hour) - 19.0) / 2.6).powi(2)).exp();
    let morning = (-((of_day(hour) - 8.0) / 2.0).powi(2)).exp();
    3.2 + 9.0 * evening + 2.0 * morning + 1.6 * ripple(hour, 2)
}

fn price(hour: u64) -> f64 {
    if (16.0..21.0).contains(&of_day(hour)) { 0.54 } else { 0.22 }
}

/// A rule for the picture: store surplus, give it back in the expensive hours. Power and state at the hour's end.
fn battery_at(until: u64) -> (f64, f64) {
    let (mut power, mut stored) = (0.0, 0.0_f64);
    for hour in 0..=until {
        let surplus = solar(hour) - load(hour);
        power = if surplus > 0.0 {
            -surplus.min((CAPACITY_KWH - stored) / 0.95)
        } else if price(hour) > 0.3 {
            (-surplus).min(stored * 0.95).min(9.0)
        } else {
            0.0
        };
        stored += if power < 0.0 { -power * 0.95 } else { -power / 0.95 };
    }
    (power, (stored / CAPACITY_KWH).clamp(0.0, 1.0))
}

fn grid(hour: u64) -> f64 {
    load(hour) - solar(hour) - battery_at(hour).0
}

fn totals(now: u64) -> Totals {
    let mut t = Totals { self_consumption: Some(0.93), shared_kwh: 1.4 * now as f64, ..Totals::default() };
    for hour in 0..=now {
        let (actual, baseline) = (grid(hour), load(hour) - solar(hour));
        t.import_kwh += actual.max(0.0);
        t.export_kwh += (-actual).max(0.0);
        t.cost.actual += actual.max(0.0) * price(hour);
        t.cost.baseline += baseline.max(0.0) * price(hour);
        t.emissions_kg.actual += actual.max(0.0) * 0.17;
        t.emissions_kg.baseline += baseline.max(0.0) * 0.17;
        t.limit_violations.actual += u64::from(actual > LIMIT_KW);
        t.limit_violations.baseline += u64::from(baseline > LIMIT_KW);
    }
    let objective = |cost: f64, emissions: f64| cost + 0.1 * emissions;
    t.objective = Compared {
        actual: objective(t.cost.actual, t.emissions_kg.actual),
        baseline: objective(t.cost.baseline, t.emissions_kg.baseline),
    };
    t.saving = t.objective.baseline - t.objective.actual;
    t.limit_violations = ComparedCount { ..t.limit_violations };
    t
}

fn assets(home: usize, solar: f64, load: f64, battery: f64, soc: f64, odd: &str) -> Vec<AssetLive> {
    let share = (1.0 + 0.2 * (home as f64 - 3.0)) / HOMES as f64;
    let group = format!("home-{home}{odd}");
    let lost = home == 4;
    let asset = |kind: &str, power: f64, reason: &str| AssetLive {
        name: format!("home-{home}-{kind}{odd}"),
        kind: kind.into(),
        mode: if kind == "battery" { "control" } else { "observe" }.into(),
        group: Some(group.clone()),
        power_kw: Some(power),
        soc: None,
        setpoint_kw: None,
        available: true,
        reason: reason.into(),
        missing: None,
    };
    let why = match battery {
        p if p < -0.01 => "charging: solar surplus now, evening price 0.54 later",
        p if p > 0.01 => "discharging: price 0.54 now, 0.22 after 21:00",
        _ => "idle: nothing to gain before the next solar surplus",
    };
    let mut stored = asset("battery", battery * share, why);
    stored.soc = Some((soc * (0.9 + 0.05 * home as f64)).min(1.0));
    stored.setpoint_kw = Some(battery * share);
    if lost {
        stored.available = false;
        stored.power_kw = None;
        stored.setpoint_kw = None;
        stored.missing = Some("device does not answer".into());
        stored.reason = "not commanded: its service `adapter` has not reached it for 3 ticks".into();
    }
    vec![
        asset("solar", solar * share, "measured only"),
        asset("load", -load * share, "measured only"),
        stored,
    ]
}

fn work(now: u64, odd: &str) -> Vec<WorkLive> {
    let one = |name: &str, workflow: &str, begins: u64, left_kwh: f64, because: &str| WorkLive {
        name: format!("{name}{odd}"),
        workflow: workflow.into(),
        running: begins <= now,
        planned: Some(time(begins)),
        deadline: time(now + 9),
        energy_kwh: 6.0,
        left_kwh,
        saves: Some(0.84),
        saves_kg: Some(0.41),
        because: because.into(),
    };
    let fresh = WorkLive {
        planned: None,
        saves: None,
        saves_kg: None,
        ..one("report-3/do/1/render", "report", now + 1, 6.0, "it has not been planned yet")
    };
    vec![
        one("backup-17", "backup", now + 3, 6.0, "0 kW: power is cheaper from 02:00"),
        fresh,
        one("training-2/do/0/fit", "training", now, 2.5, "2 kW: solar surplus now"),
    ]
}

fn services(odd: &str) -> Vec<ServiceLive> {
    let service = |name: String, phase: &str, ready, restarts, message: &str| ServiceLive {
        name,
        phase: phase.into(),
        ready,
        replicas: 1,
        restarts,
        message: message.into(),
    };
    let mut all: Vec<_> = (1..=HOMES)
        .map(|home| match home {
            4 => {
                service("home-4".into(), "BackOff", 0, 3, "exited with code 137 (killed); next start in 4 s")
            }
            _ => service(format!("home-{home}{odd}"), "Ready", 1, 0, ""),
        })
        .collect();
    all.push(service("adapter".into(), "Degraded", 1, 1, "4 of 5 devices answer"));
    all.push(service("nightly-report".into(), "Completed", 0, 0, "next run is due by 06:00"));
    all
}

fn plan_steps(now: u64) -> Vec<PlanStep> {
    (now + 1..now + 25)
        .map(|hour| PlanStep {
            time: time(hour),
            grid_kw: planned(hour),
            soc: Some(battery_at(hour).1),
            price_per_kwh: Some(price(hour)),
            because: "least cost within the import limit".into(),
            binding_limits: Vec::new(),
        })
        .collect()
}

fn planned(hour: u64) -> f64 {
    (grid(hour) + 1.3 * ripple(hour, 3)).min(LIMIT_KW)
}

fn events(odd: &str) -> Vec<EventRecord> {
    let event = |id, hour, level: &str, kind: &str, name: &str, message: &str, count| EventRecord {
        id,
        time: time(hour),
        site_time: (kind != "Service").then(|| time(hour)),
        level: level.into(),
        reason: "Sample".into(),
        kind: kind.into(),
        name: format!("{name}{odd}"),
        message: message.into(),
        count,
    };
    vec![
        event(1, 0, "Normal", "Service", "adapter", "ready after 0.4 s", 1),
        event(2, 0, "Normal", "Site", SITE, "first plan made by the optimiser in 0.2 s", 1),
        event(
            3,
            19,
            "Warning",
            "Site",
            SITE,
            "import was 0.4 kW over the limit for one step: load rose faster than the batteries could follow",
            1,
        ),
        event(
            4,
            34,
            "Warning",
            "Service",
            "home-4",
            "exited with code 137 (killed); restarting with back-off",
            3,
        ),
        event(
            5,
            34,
            "Warning",
            "Asset",
            "home-4-battery",
            "unavailable: its service is not ready; the plan goes on without it",
            1,
        ),
        event(6, 35, "Normal", "Site", SITE, "new plan without home-4-battery", 1),
    ]
}

fn known_service(name: &str) -> Result<(), Problem> {
    if name == "adapter" {
        Ok(())
    } else {
        Err(Problem::not_found(format!("there is no service `{name}`; known: adapter")))
    }
}

fn rollout(name: &str) -> RolloutStatus {
    RolloutStatus {
        service: name.into(),
        revision: 2,
        strategy: None,
        replicas: 1,
        updated: 1,
        ready: 1,
        weight: 100.0,
        step: None,
        done: true,
        message: "revision 2 is rolled out".into(),
    }
}

/// A load and what is expected of it.
fn forecasts(site: &str, now: u64) -> SiteForecasts {
    let step = |hour: u64| ForecastStep {
        valid_at: time(hour),
        mean: -load(hour),
        quantiles: [(0.1, 1.4), (0.9, 0.6)]
            .map(|(q, part)| ForecastQuantile { q, value: -load(hour) * part })
            .to_vec(),
    };
    let accuracy = ["1h", "2-4h", "5-12h", "13-24h"].map(|horizon| ForecastAccuracy {
        horizon: horizon.into(),
        pairs: 100.0,
        mae: 0.21,
        mase: Some(0.8),
        pinball: Some(0.07),
        coverage: Some(0.79),
    });
    let measured = (now.saturating_sub(24)..now).filter(|hour| hour % 11 != 0);
    let series = SeriesForecast {
        name: "home-1-load".into(),
        asset: Some("home-1-load".into()),
        kind: "load".into(),
        unit: "kW".into(),
        step_seconds: 3600,
        method: "profile-level".into(),
        because: "the usual day of the last weeks and how the last hours differ from it".into(),
        issued_at: time(now),
        steps: (now..now + 24).map(step).collect(),
        actual: measured
            .map(|hour| MeasuredStep {
                time: time(hour),
                value: -load(hour) * (1.0 + (hour % 3) as f64 / 10.0),
            })
            .collect(),
        accuracy: accuracy.to_vec(),
        error_by_usual: Some(1.1),
        drifting: false,
    };
    SiteForecasts { site: site.into(), time: time(now), series: vec![series] }
}

fn done<T: Send + 'static>(value: Result<T, Problem>) -> Reply<'static, T> {
    futures::future::ready(value).boxed()
}

/// What stands before the token in that of its session.
const SESSION: &str = "session-";

/// Nothing is stored here.
struct NoSeries;

impl sos_watch::Source for NoSeries {
    fn select(&self, _: &sos_watch::Selection<'_>) -> Result<Vec<sos_watch::Series>, sos_watch::SourceError> {
        Ok(Vec::new())
    }
}

impl sos_api::Series for NoSeries {
    fn labels(
        &self,
        _: &[Vec<sos_watch::Matcher>],
        _: i64,
        _: i64,
    ) -> Result<Vec<sos_watch::Labels>, sos_watch::SourceError> {
        Ok(Vec::new())
    }
    fn label_names(
        &self,
        _: &[Vec<sos_watch::Matcher>],
        _: i64,
        _: i64,
    ) -> Result<std::collections::BTreeSet<Arc<str>>, sos_watch::SourceError> {
        Ok(std::collections::BTreeSet::new())
    }
    fn label_values(
        &self,
        _: &str,
        _: &[Vec<sos_watch::Matcher>],
        _: i64,
        _: i64,
    ) -> Result<std::collections::BTreeSet<Arc<str>>, sos_watch::SourceError> {
        Ok(std::collections::BTreeSet::new())
    }
    fn metadata(&self) -> Result<Vec<sos_api::Metadata>, sos_watch::SourceError> {
        Ok(Vec::new())
    }
    fn now_ms(&self, _: &Query) -> i64 {
        0
    }
}

impl Platform for Fake {
    fn series(&self) -> Arc<dyn sos_api::Series> {
        Arc::new(NoSeries)
    }
    fn check_token(&self, token: &str) -> Option<Identity> {
        if self.revoked.lock().unwrap().iter().any(|revoked| revoked == token) {
            return None;
        }
        let role = match token.trim_start_matches(SESSION) {
            "viewer-token" => Role::Viewer,
            "operator-token" => Role::Operator,
            "admin-token" => Role::Admin,
            _ => return None,
        };
        let owner = token.trim_start_matches(SESSION).trim_end_matches("-token");
        Some(Identity { name: owner.into(), role })
    }
    fn login(&self, code: &str) -> Option<String> {
        let mut known = self.code.lock().unwrap();
        if known.as_deref() == Some(code) {
            *known = None;
            return self.open_session("admin-token");
        }
        None
    }
    fn open_session(&self, token: &str) -> Option<String> {
        self.check_token(token).map(|_| format!("{SESSION}{token}"))
    }
    fn logout<'a>(&'a self, token: &'a str) -> Reply<'a, ()> {
        if token.starts_with(SESSION) {
            self.revoked.lock().unwrap().push(token.to_owned());
        }
        done(Ok(()))
    }
    fn audit(&self, entry: AuditEntry) -> Reply<'_, ()> {
        if self.audit_fails.load(std::sync::atomic::Ordering::Relaxed) {
            return done(Err(Problem::unavailable("the disk is full")));
        }
        self.audited.lock().unwrap().push(entry);
        done(Ok(()))
    }
    fn sites(&self) -> Vec<SiteSummary> {
        vec![SiteSummary { name: SITE.into() }]
    }
    fn site_live(&self, site: &str) -> Option<Arc<SiteLive>> {
        (site == SITE).then(|| Arc::new(self.state()))
    }
    fn site_report<'a>(&'a self, site: &'a str, _period: ReportPeriod) -> Reply<'a, SiteReport> {
        let totals = PeriodTotals {
            first: "2016-08-01".into(),
            last: "2016-08-31".into(),
            totals: self.state().totals,
        };
        let report = SiteReport { site: site.into(), currency: "USD".into(), periods: vec![totals] };
        futures::future::ready(Ok(report)).boxed()
    }
    fn site_forecasts<'a>(&'a self, site: &'a str) -> Reply<'a, SiteForecasts> {
        done(Ok(forecasts(site, self.hour())))
    }
    fn site_chart<'a>(&'a self, site: &'a str, from: Timestamp, to: Timestamp) -> Reply<'a, SiteChart> {
        let now = self.hour();
        let within = |hour: &u64| {
            let time = start() + SignedDuration::from_hours(i64::try_from(*hour).unwrap());
            from <= time && time < to
        };
        let actual = (0..=now).filter(within).map(|hour| {
            let gap = hour == 22;
            let value = |v: f64| (!gap).then_some(v);
            ActualPoint {
                time: time(hour),
                grid_kw: value(grid(hour)),
                planned_grid_kw: (hour > 0).then(|| planned(hour)),
                solar_kw: value(solar(hour)),
                load_kw: value(-load(hour)),
                soc: value(battery_at(hour).1),
                price_per_kwh: Some(price(hour)),
            }
        });
        let plan = (now + 1..now + 25).filter(within).map(|hour| PlanPoint {
            time: time(hour),
            seconds: 3600,
            grid_kw: planned(hour),
            soc: Some(battery_at(hour).1),
            price_per_kwh: Some(price(hour)),
        });
        done(Ok(SiteChart {
            site: site.into(),
            step_seconds: 3600,
            actual: actual.collect(),
            plan: plan.collect(),
        }))
    }
    fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        self.live.subscribe()
    }
    fn ingest(&self, batch: IngestBatch) -> Reply<'_, IngestOutcome> {
        done(sent::keep(&batch, &self.ingested, &self.described))
    }
    fn rule_groups(&self) -> Arc<Vec<RuleGroupView>> {
        Arc::clone(&self.alarming.groups)
    }
    fn alarms(&self) -> AlarmView {
        self.alarming.view()
    }
    fn outbox(&self, limit: usize) -> Reply<'_, Vec<OutboxEntry>> {
        done(self.alarming.outbox(limit))
    }
    fn acknowledge<'a>(&'a self, labels: &'a Labels, by: &'a str, comment: &'a str) -> Reply<'a, ()> {
        done(self.alarming.acknowledge(labels, by, comment))
    }
    fn silence(&self, silence: Silence) -> Reply<'_, String> {
        done(self.alarming.silence(silence))
    }
    fn end_silence<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        done(self.alarming.end_silence(id))
    }
    fn runbook(&self, name: &str) -> Option<String> {
        (name == "home-down").then(|| {
            format!(
                "# A home does not answer{}\n\n1. look at `sos logs home-4`\n<script>alert(1)</script>\n",
                self.odd
            )
        })
    }
    fn search_logs(&self, query: LogQuery) -> Reply<'_, LogAnswer> {
        if let Some(unknown) = query.services.iter().find(|service| *service != "adapter") {
            let detail = format!("there is no service `{unknown}`; known: adapter");
            return done(Err(Problem::not_found(detail)));
        }
        let record = |n: usize| LogRecord {
            time: Some(time(n as u64)),
            time_exact: true,
            service: "adapter".into(),
            replica: "adapter-0".into(),
            stream: Some("stdout".into()),
            level: Some("info".into()),
            message: format!("line {n}{}\n", self.odd),
            ..LogRecord::default()
        };
        let records = (0..query.limit.min(200)).map(record).collect();
        self.searched.lock().unwrap().push(query);
        done(Ok(LogAnswer { records, truncated: true, scanned_bytes: 4096, problems: Vec::new() }))
    }
    fn list<'a>(&'a self, kind: &'a str, selector: Option<&'a str>) -> Reply<'a, Vec<Value>> {
        done(Ok(vec![json!({ "kind": kind, "selector": selector })]))
    }
    fn get<'a>(&'a self, kind: &'a str, name: &'a str) -> Reply<'a, Value> {
        done(Ok(json!({ "kind": kind, "metadata": { "name": name } })))
    }
    fn apply(&self, request: ApplyRequest) -> Reply<'_, Vec<ApplyResult>> {
        if request.manifest.starts_with(b"wrong") {
            return done(Err(Problem::bad_input(vec![
                json!({ "line": 1, "message": "unknown key `wrong`" }),
            ])));
        }
        if request.manifest.starts_with(b"panic") {
            return async { panic!("a fault inside the platform") }.boxed();
        }
        let (name, version) = (request.manager, u64::from(!request.dry_run));
        done(Ok(vec![ApplyResult { kind: "Service".into(), name, action: "created".into(), version }]))
    }
    fn diff(&self, _: Bytes) -> Reply<'_, Vec<DiffResult>> {
        done(Ok(Vec::new()))
    }
    fn delete<'a>(&'a self, _: &'a str, _: &'a str, _: bool) -> Reply<'a, ()> {
        done(Ok(()))
    }
    fn events(&self, since: u64, limit: usize) -> Reply<'_, Vec<EventRecord>> {
        let mut all: Vec<_> = events(self.odd).into_iter().filter(|event| event.id > since).collect();
        all.drain(..all.len().saturating_sub(limit));
        done(Ok(all))
    }
    fn logs<'a>(
        &'a self,
        service: &'a str,
        lines: usize,
        follow: bool,
    ) -> Reply<'a, BoxStream<'static, String>> {
        let known = stream::iter((0..lines).map(|n| format!("line {n}")));
        done(
            known_service(service)
                .map(|()| if follow { known.chain(stream::pending()).boxed() } else { known.boxed() }),
        )
    }
    fn contracts<'a>(&'a self, search: Option<&'a str>) -> Reply<'a, Vec<ContractSummary>> {
        let all = vec![calling::summary()];
        done(Ok(all.into_iter().filter(|one| search.is_none_or(|text| one.service.contains(text))).collect()))
    }
    fn contract<'a>(&'a self, service: &'a str) -> Reply<'a, ContractDetail> {
        done(known_service(service).map(|()| calling::detail()))
    }
    fn call<'a>(
        &'a self,
        service: &'a str,
        request: CallRequest,
        _trace: Option<&'a str>,
    ) -> Reply<'a, CallAnswer> {
        done(known_service(service).and_then(|()| calling::call(service, request)))
    }
    fn channels(&self) -> Reply<'_, Vec<ChannelView>> {
        done(Ok(vec![calling::channel()]))
    }
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        headers: Vec<(String, String)>,
        _body: Bytes,
    ) -> Reply<'a, Published> {
        let typed = headers.iter().any(|(name, _)| name == "ce-type" || name == "content-type");
        let untyped =
            || Problem::bad_input(vec![json!({ "text": "no CloudEvent: content-type is missing" })]);
        let published = Published { events: 1 };
        done(calling::known(channel).and_then(|()| typed.then_some(published).ok_or_else(untyped)))
    }
    fn events_of<'a>(
        &'a self,
        channel: &'a str,
        _from: String,
        _limit: usize,
        _wait: Duration,
    ) -> Reply<'a, EventPage> {
        done(calling::known(channel).map(|()| calling::events()))
    }
    fn seek<'a>(&'a self, channel: &'a str, group: &'a str, _from: String) -> Reply<'a, GroupView> {
        done(calling::known(channel).map(|()| calling::group(group)))
    }
    fn forget_group<'a>(&'a self, channel: &'a str, _group: &'a str) -> Reply<'a, ()> {
        done(calling::known(channel))
    }
    fn take<'a>(
        &'a self,
        channel: &'a str,
        _group: &'a str,
        _max: usize,
        _wait: Duration,
    ) -> Reply<'a, Vec<HandedEvent>> {
        let handed = |one: PlacedEvent| HandedEvent { position: one.position, attempt: 1, event: one.event };
        done(calling::known(channel).map(|()| calling::events().events.into_iter().map(handed).collect()))
    }
    fn settle<'a>(&'a self, channel: &'a str, _group: &'a str, _all: Vec<SettledEvent>) -> Reply<'a, ()> {
        done(calling::known(channel))
    }
    fn dead_letters<'a>(&'a self, channel: &'a str, _limit: usize) -> Reply<'a, Vec<DeadLetter>> {
        done(calling::known(channel).map(|()| Vec::new()))
    }
    fn redrive<'a>(&'a self, channel: &'a str, _which: Redrive) -> Reply<'a, u64> {
        done(calling::known(channel).map(|()| 0))
    }
    fn start_run<'a>(
        &'a self,
        workflow: &'a str,
        start: RunStart,
        _wait: Duration,
        who: &'a str,
    ) -> Reply<'a, RunBegun> {
        if workflow != "offer" {
            return done(Err(Problem::not_found(format!("there is no workflow \"{workflow}\""))));
        }
        let output = Some(json!({ "input": start.input, "by": who }));
        done(Ok(RunBegun {
            name: "r1".into(),
            new: true,
            state: Some("completed".into()),
            output,
            fault: None,
        }))
    }
    fn runs(&self, query: RunQuery) -> Reply<'_, Vec<Value>> {
        let run = json!({ "kind": "Run", "metadata": { "name": "r1" }, "spec": { "workflow": "offer" },
            "status": { "state": "completed" } });
        let wanted = query.states.is_empty() || query.states.iter().any(|state| state == "completed");
        done(Ok(if wanted { vec![run] } else { Vec::new() }))
    }
    fn order_runs(&self, order: RunOrder) -> Reply<'_, RunOrdered> {
        done(Ok(RunOrdered { done: order.names, ..RunOrdered::default() }))
    }
    fn signal_run<'a>(&'a self, run: &'a str, _signal: RunSignal) -> Reply<'a, ()> {
        done(if run == "r1" { Ok(()) } else { Err(Problem::not_found(format!("there is no run \"{run}\""))) })
    }
    fn tasks(&self) -> Reply<'_, Vec<Value>> {
        done(Ok(vec![json!({ "kind": "Task", "metadata": { "name": "1" }, "spec": { "title": "Look" } })]))
    }
    fn attend<'a>(&'a self, task: &'a str, _done: TaskDone, _who: &'a Identity) -> Reply<'a, ()> {
        done(if task == "1" {
            Ok(())
        } else {
            Err(Problem::not_found(format!("there is no task \"{task}\"")))
        })
    }
    fn order_asset<'a>(
        &'a self,
        asset: &'a str,
        power_kw: Option<f64>,
        order: AssetOrder,
        who: &'a str,
    ) -> Reply<'a, AssetOrdered> {
        let order = json!({ "kind": "Override", "metadata": { "name": asset },
            "spec": { "asset": asset, "power": power_kw, "reason": order.reason }, "status": { "orderedBy": who } });
        done(Ok(AssetOrdered { order, replaced: None }))
    }
    fn clear_order<'a>(&'a self, _asset: &'a str, _hold: bool) -> Reply<'a, ()> {
        done(Ok(()))
    }
    fn scale<'a>(&'a self, service: &'a str, replicas: Option<u32>) -> Reply<'a, Scale> {
        done(known_service(service).map(|()| Scale { replicas }))
    }
    fn rollout_status<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus> {
        done(known_service(service).map(|()| rollout(service)))
    }
    fn rollout_history<'a>(&'a self, service: &'a str) -> Reply<'a, Vec<Revision>> {
        let revision = |revision, outcome: &str, current| Revision {
            revision,
            time: time(0),
            change: "dir: image".into(),
            outcome: outcome.into(),
            reason: String::new(),
            current,
        };
        done(
            known_service(service)
                .map(|()| vec![revision(1, "superseded", false), revision(2, "succeeded", true)]),
        )
    }
    fn rollout<'a>(&'a self, service: &'a str, _: RolloutOrder, _: &'a str) -> Reply<'a, RolloutStatus> {
        self.rollout_status(service)
    }
    fn restart<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus> {
        self.rollout_status(service)
    }
    fn metrics(&self) -> String {
        let mut out = Exposition::default();
        out.gauge("sos_site_power_kw", "power at the connection, import above zero");
        out.sample(&[("site", SITE)], self.state().connection.power_kw.unwrap_or(f64::NAN));
        out.finish()
    }
}
