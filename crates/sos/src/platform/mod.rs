//! What the HTTP server shows and does, over engine and store.

mod access;
mod alarms;
mod calling;
mod calls;
mod channels;
mod feed;
mod forecasts;
mod ingest;
mod live;
mod logs;
mod metrics;
mod people;
mod resources;
mod runs;
mod series;
mod services;
mod watching;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{FutureExt, stream::BoxStream};
use jiff::Timestamp;
use serde_json::Value;
use sos_api::wire::{
    ApplyResult, AssetOrder, AssetOrdered, CallAnswer, CallRequest, ChannelView, ContractDetail,
    ContractSummary, DeadLetter, DiffResult, EventPage, EventRecord, GroupView, HandedEvent, LogAnswer,
    LogQuery, Published, Redrive, ReportPeriod, Revision, RolloutOrder, RolloutStatus, RunBegun, RunOrder,
    RunOrdered, RunQuery, RunSignal, RunStart, Scale, SettledEvent, SiteChart, SiteForecasts, SiteLive,
    SiteReport, SiteSummary, TaskDone,
};
use sos_api::{
    AlarmView, ApplyRequest, AuditEntry, Bytes, Identity, IngestBatch, IngestOutcome, LiveEvent, Measures,
    OutboxEntry, Problem, Reply, RuleGroupView,
};
use sos_engine::platform::Platform as Engine;
use sos_store::StoreError;
use sos_watch::Labels;
use sos_watch::alerts::Silence;
use tokio::sync::broadcast;

use access::Tokens;
use metrics::StoreFigures;

pub(crate) use access::{LOGIN_CODE_LIFE, admin_token, sessions_of};
pub(crate) use resources::refresh;

/// States and events that a slow reader may fall behind before it skips some.
const LIVE_EVENTS: usize = 512;

/// The engine as the server sees it.
pub(crate) struct Platform {
    engine: Arc<Engine>,
    tokens: Tokens,
    live: broadcast::Sender<LiveEvent>,
    figures: Arc<StoreFigures>,
    /// All that `/metrics` shows, once the server serves.
    measures: OnceLock<Measures>,
}

impl Platform {
    /// Starts to follow the engine; the feed ends with the runtime.
    pub(crate) fn new(engine: Arc<Engine>) -> Arc<Self> {
        let platform = Arc::new(Self {
            tokens: Tokens::default(),
            live: broadcast::channel(LIVE_EVENTS).0,
            figures: Arc::default(),
            measures: OnceLock::new(),
            engine,
        });
        feed::start(&platform);
        platform
    }

    /// All that `/metrics` shows.
    pub(crate) fn measures(&self) -> String {
        self.measures.get().map_or_else(|| sos_api::Platform::metrics(self), |all| all())
    }

    /// Runs what blocks, such as every call of the store, on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let engine = Arc::clone(&self.engine);
        let failed = |_| Err(Problem::internal("the server failed on this request; its log has more"));
        tokio::task::spawn_blocking(move || work(&engine)).await.unwrap_or_else(failed)
    }
}

/// What the store refuses, as the caller is told.
fn store_problem(error: StoreError) -> Problem {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        detail = format!("{detail}: {inner}");
        cause = inner.source();
    }
    match error {
        StoreError::Conflict { .. } | StoreError::VersionMismatch { .. } => Problem::conflict(detail),
        StoreError::NotFound { .. } => Problem::not_found(detail),
        StoreError::Invalid { .. } => Problem::bad_request(detail),
        StoreError::Full | StoreError::Busy => Problem::unavailable(detail),
        _ => Problem::internal(detail),
    }
}

impl sos_api::Platform for Platform {
    fn check_token(&self, token: &str) -> Option<Identity> {
        self.tokens.check(self.engine.store(), token)
    }

    fn login(&self, code: &str) -> Option<String> {
        access::login(self.engine.store(), code)
    }

    fn open_session(&self, token: &str) -> Option<String> {
        access::open_session(self.engine.store(), token)
    }

    fn logout<'a>(&'a self, token: &'a str) -> Reply<'a, ()> {
        let owned = token.to_owned();
        async move {
            self.blocking(move |engine| access::logout(engine.store(), &owned).map_err(store_problem))
                .await?;
            self.tokens.forget(token);
            Ok(())
        }
        .boxed()
    }

    fn audit(&self, entry: AuditEntry) -> Reply<'_, ()> {
        self.blocking(move |engine| resources::audit(engine.store(), &entry)).boxed()
    }

    fn sites(&self) -> Vec<SiteSummary> {
        self.engine.site_names().into_iter().map(|name| SiteSummary { name }).collect()
    }

    fn site_live(&self, site: &str) -> Option<Arc<SiteLive>> {
        live::site(&self.engine, site).map(Arc::new)
    }

    fn site_chart<'a>(&'a self, site: &'a str, from: Timestamp, to: Timestamp) -> Reply<'a, SiteChart> {
        let site = site.to_owned();
        self.blocking(move |engine| live::chart(engine, &site, from, to)).boxed()
    }

    fn site_report<'a>(&'a self, site: &'a str, period: ReportPeriod) -> Reply<'a, SiteReport> {
        let site = site.to_owned();
        self.blocking(move |engine| live::report(engine, &site, period)).boxed()
    }

    fn site_forecasts<'a>(&'a self, site: &'a str) -> Reply<'a, SiteForecasts> {
        let site = site.to_owned();
        self.blocking(move |engine| forecasts::of_site(engine, &site)).boxed()
    }

    fn series(&self) -> Arc<dyn sos_api::Series> {
        Arc::new(series::StoredSeries::new(&self.engine))
    }

    fn served(&self, all_metrics: Measures) {
        // There is one server.
        let _ = self.measures.set(all_metrics);
    }

    fn ingest(&self, batch: IngestBatch) -> Reply<'_, IngestOutcome> {
        self.blocking(move |engine| ingest::ingest(engine, &batch)).boxed()
    }

    fn rule_groups(&self) -> Arc<Vec<RuleGroupView>> {
        alarms::rule_groups(&self.engine)
    }

    fn alarms(&self) -> AlarmView {
        alarms::view(&self.engine)
    }

    fn outbox(&self, limit: usize) -> Reply<'_, Vec<OutboxEntry>> {
        self.blocking(move |engine| alarms::outbox(engine, limit)).boxed()
    }

    fn acknowledge<'a>(&'a self, labels: &'a Labels, by: &'a str, comment: &'a str) -> Reply<'a, ()> {
        let (labels, by, comment) = (labels.clone(), by.to_owned(), comment.to_owned());
        self.blocking(move |engine| alarms::acknowledge(engine, &labels, &by, &comment)).boxed()
    }

    fn silence(&self, silence: Silence) -> Reply<'_, String> {
        self.blocking(move |engine| alarms::silence(engine, silence)).boxed()
    }

    fn end_silence<'a>(&'a self, id: &'a str) -> Reply<'a, ()> {
        let id = id.to_owned();
        self.blocking(move |engine| alarms::end_silence(engine, &id)).boxed()
    }

    fn runbook(&self, name: &str) -> Option<String> {
        sos_watch::pack::runbook(name).map(ToOwned::to_owned)
    }

    fn search_logs(&self, query: LogQuery) -> Reply<'_, LogAnswer> {
        async move {
            let sources = logs::sources(&self.engine).await?;
            self.blocking(move |_| logs::find(&sources, query)).await
        }
        .boxed()
    }

    fn subscribe(&self) -> broadcast::Receiver<LiveEvent> {
        self.live.subscribe()
    }

    fn list<'a>(&'a self, kind: &'a str, selector: Option<&'a str>) -> Reply<'a, Vec<Value>> {
        if resources::is_run(kind) {
            let selector = selector.map(str::to_owned);
            let query = RunQuery { selector, limit: 1000, ..RunQuery::default() };
            return runs::list(&self.engine, query).boxed();
        }
        let (kind, selector) = (kind.to_owned(), selector.unwrap_or_default().to_owned());
        self.blocking(move |engine| resources::list(engine, &kind, &selector)).boxed()
    }

    fn get<'a>(&'a self, kind: &'a str, name: &'a str) -> Reply<'a, Value> {
        if resources::is_run(kind) {
            return runs::show(&self.engine, name).boxed();
        }
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.blocking(move |engine| resources::get(engine, &kind, &name)).boxed()
    }

    fn apply(&self, request: ApplyRequest) -> Reply<'_, Vec<ApplyResult>> {
        self.blocking(move |engine| resources::apply(engine, &request)).boxed()
    }

    fn diff(&self, manifest: Bytes) -> Reply<'_, Vec<DiffResult>> {
        self.blocking(move |engine| resources::diff(engine, &manifest)).boxed()
    }

    fn delete<'a>(&'a self, kind: &'a str, name: &'a str, force: bool) -> Reply<'a, ()> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.blocking(move |engine| resources::delete(engine, &kind, &name, force)).boxed()
    }

    fn events(&self, since: u64, limit: usize) -> Reply<'_, Vec<EventRecord>> {
        self.blocking(move |engine| resources::events(engine, since, limit)).boxed()
    }

    fn logs<'a>(
        &'a self,
        service: &'a str,
        lines: usize,
        follow: bool,
    ) -> Reply<'a, BoxStream<'static, String>> {
        let (engine, service) = (Arc::clone(&self.engine), service.to_owned());
        self.blocking(move |_| services::logs(&engine, &service, lines, follow)).boxed()
    }

    fn contracts<'a>(&'a self, search: Option<&'a str>) -> Reply<'a, Vec<ContractSummary>> {
        let search = search.map(ToOwned::to_owned);
        self.blocking(move |engine| Ok(calls::contracts(engine, search.as_deref()))).boxed()
    }

    fn contract<'a>(&'a self, service: &'a str) -> Reply<'a, ContractDetail> {
        let service = service.to_owned();
        self.blocking(move |engine| calls::contract(engine, &service)).boxed()
    }

    fn call<'a>(
        &'a self,
        service: &'a str,
        request: CallRequest,
        trace: Option<&'a str>,
    ) -> Reply<'a, CallAnswer> {
        calls::call(&self.engine, service, request, trace).boxed()
    }

    fn channels(&self) -> Reply<'_, Vec<ChannelView>> {
        self.blocking(channels::channels).boxed()
    }

    fn publish<'a>(
        &'a self,
        channel: &'a str,
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> Reply<'a, Published> {
        channels::publish(&self.engine, channel, headers, body).boxed()
    }

    fn events_of<'a>(
        &'a self,
        channel: &'a str,
        from: String,
        limit: usize,
        wait: Duration,
    ) -> Reply<'a, EventPage> {
        async move { channels::events(&self.engine, channel, &from, limit, wait).await }.boxed()
    }

    fn seek<'a>(&'a self, channel: &'a str, group: &'a str, from: String) -> Reply<'a, GroupView> {
        async move { channels::seek(&self.engine, channel, group, &from).await }.boxed()
    }

    fn forget_group<'a>(&'a self, channel: &'a str, group: &'a str) -> Reply<'a, ()> {
        channels::forget(&self.engine, channel, group).boxed()
    }

    fn take<'a>(
        &'a self,
        channel: &'a str,
        group: &'a str,
        max: usize,
        wait: Duration,
    ) -> Reply<'a, Vec<HandedEvent>> {
        channels::take(&self.engine, channel, group, max, wait).boxed()
    }

    fn settle<'a>(&'a self, channel: &'a str, group: &'a str, settled: Vec<SettledEvent>) -> Reply<'a, ()> {
        channels::settle(&self.engine, channel, group, settled).boxed()
    }

    fn dead_letters<'a>(&'a self, channel: &'a str, limit: usize) -> Reply<'a, Vec<DeadLetter>> {
        channels::dead_letters(&self.engine, channel, limit).boxed()
    }

    fn redrive<'a>(&'a self, channel: &'a str, which: Redrive) -> Reply<'a, u64> {
        channels::redrive(&self.engine, channel, which).boxed()
    }

    fn start_run<'a>(
        &'a self,
        workflow: &'a str,
        start: RunStart,
        wait: Duration,
        who: &'a str,
    ) -> Reply<'a, RunBegun> {
        runs::start(&self.engine, workflow, start, wait, who).boxed()
    }

    fn runs(&self, query: RunQuery) -> Reply<'_, Vec<Value>> {
        runs::list(&self.engine, query).boxed()
    }

    fn order_runs(&self, order: RunOrder) -> Reply<'_, RunOrdered> {
        runs::order(&self.engine, order).boxed()
    }

    fn signal_run<'a>(&'a self, run: &'a str, signal: RunSignal) -> Reply<'a, ()> {
        runs::signal(&self.engine, run, signal).boxed()
    }

    fn tasks(&self) -> Reply<'_, Vec<Value>> {
        runs::tasks(&self.engine).boxed()
    }

    fn attend<'a>(&'a self, task: &'a str, done: TaskDone, who: &'a Identity) -> Reply<'a, ()> {
        runs::attend(&self.engine, task, done, who).boxed()
    }

    fn order_asset<'a>(
        &'a self,
        asset: &'a str,
        power_kw: Option<f64>,
        order: AssetOrder,
        who: &'a str,
    ) -> Reply<'a, AssetOrdered> {
        let (asset, who) = (asset.to_owned(), who.to_owned());
        self.blocking(move |engine| people::order(engine, &asset, power_kw, &order, &who)).boxed()
    }

    fn clear_order<'a>(&'a self, asset: &'a str, hold: bool) -> Reply<'a, ()> {
        let asset = asset.to_owned();
        self.blocking(move |engine| people::clear(engine, &asset, hold)).boxed()
    }

    fn scale<'a>(&'a self, service: &'a str, replicas: Option<u32>) -> Reply<'a, Scale> {
        let service = service.to_owned();
        self.blocking(move |engine| services::scale(engine, &service, replicas)).boxed()
    }

    fn rollout_status<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus> {
        let service = service.to_owned();
        self.blocking(move |engine| services::rollout_status(engine, &service)).boxed()
    }

    fn rollout_history<'a>(&'a self, service: &'a str) -> Reply<'a, Vec<Revision>> {
        let service = service.to_owned();
        self.blocking(move |engine| services::rollout_history(engine, &service)).boxed()
    }

    fn rollout<'a>(
        &'a self,
        service: &'a str,
        order: RolloutOrder,
        who: &'a str,
    ) -> Reply<'a, RolloutStatus> {
        let (service, who) = (service.to_owned(), who.to_owned());
        self.blocking(move |engine| services::rollout(engine, &service, &order, &who)).boxed()
    }

    fn restart<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus> {
        let service = service.to_owned();
        self.blocking(move |engine| services::restart(engine, &service)).boxed()
    }

    fn metrics(&self) -> String {
        metrics::text(&self.engine, &self.figures)
    }
}
