//! What the server needs from the rest of the system, implemented by the binary over engine and store.

use std::{fmt, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sos_watch::{Labels, alerts::Silence};
use tokio::sync::broadcast;
use utoipa::ToSchema;

use crate::{
    AlarmView, IngestBatch, IngestOutcome, OutboxEntry, Problem, RuleGroupView,
    prometheus::Series,
    wire::{
        ApplyResult, AssetOrder, AssetOrdered, CallAnswer, CallRequest, ChannelView, ContractDetail,
        ContractSummary, DeadLetter, DiffResult, EventPage, EventRecord, GroupView, HandedEvent, LogAnswer,
        LogQuery, Published, Redrive, ReportPeriod, Revision, RolloutOrder, RolloutStatus, RunBegun,
        RunOrder, RunOrdered, RunQuery, RunSignal, RunStart, Scale, SettledEvent, SiteChart, SiteForecasts,
        SiteLive, SiteReport, SiteSummary, TaskDone,
    },
};

/// Measures in Prometheus text form, taken when they are asked for.
pub type Measures = Arc<dyn Fn() -> String + Send + Sync>;

/// The answer of a platform call: a value or the problem that is sent to the caller as it is.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// What a token may do; each role may do all that the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Also scales, restarts, rolls back.
    Operator,
    /// Also applies, deletes, issues tokens.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// The owner of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name, as it appears in the audit record.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// Something that is pushed to the readers of the event stream.
#[derive(Clone, Debug)]
pub enum LiveEvent {
    /// A tick of a site. Readers get the newest of each site at most four times a second.
    Site(Arc<SiteLive>),
    /// Something happened to a resource.
    Event(Arc<EventRecord>),
}

/// Manifests to apply.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// YAML, one or more documents, at most [`crate::MAX_MANIFEST_BYTES`].
    pub manifest: Bytes,
    /// Owner of what is applied (`dir`, `cli`, …).
    pub manager: String,
    /// Name of the token's owner, for the record of what stood before and after.
    pub who: String,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Take over what another manager owns.
    pub force: bool,
}

/// A command, recorded before it is given to the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Name of the token's owner.
    pub who: String,
    /// Role it acted with.
    pub role: Role,
    /// `apply`, `delete`, `scale`, `rollout`, `restart`, `call`, `override`, `override-clear`, `hold`, `hold-clear`, `acknowledge`, `silence`, `silence-end`,
    /// `seek`, `group-delete`, `dead-letters-redrive`, `dead-letters-discard`, `run-order`, `signal`, `task`.
    pub action: &'static str,
    /// `Kind/name` (`Alert/fingerprint`, `Silence/id`, `Silence/new`), or the manager for an apply.
    pub target: String,
    /// Arguments of the command; never holds secret values.
    pub detail: Value,
    /// Why, from the request's `Sos-Reason` header.
    pub reason: Option<String>,
}

/// Engine and store as the server sees them. All methods may be called from many tasks at once; those that may wait
/// return a boxed future, the others must answer from memory without blocking.
///
/// The server has checked role, origin and size before it calls, and has called [`Platform::audit`] before each method
/// that changes something, but for [`Platform::ingest`], the flow of events (publish, take, settle) and the start of runs, whose journals say who started them; a refused audit stops the command. What stood before and after is the platform's to record,
/// where it performs the change.
pub trait Platform: Send + Sync + 'static {
    /// The owner of a token, `None` when unknown or revoked. Compare in constant time (hash first).
    fn check_token(&self, token: &str) -> Option<Identity>;
    /// Exchanges a one-time code for the token of a new session, which expires; a second use of the code gives `None`.
    fn login(&self, code: &str) -> Option<String>;
    /// The token of a new session for the owner of a token, which is `None` when unknown or revoked.
    fn open_session(&self, token: &str) -> Option<String>;
    /// Ends the session of a token: it is refused from now on. A token that is no session's stays as it is.
    fn logout<'a>(&'a self, token: &'a str) -> Reply<'a, ()>;
    /// Records a command durably; an error means that the command is not carried out.
    fn audit(&self, entry: AuditEntry) -> Reply<'_, ()>;

    /// All sites, in the order of their names.
    fn sites(&self) -> Vec<SiteSummary>;
    /// State at the latest tick; `None` when there is no such site or no tick yet.
    fn site_live(&self, site: &str) -> Option<Arc<SiteLive>>;
    /// Series with `from ≤ time < to` and the plan in force within it.
    fn site_chart<'a>(&'a self, site: &'a str, from: Timestamp, to: Timestamp) -> Reply<'a, SiteChart>;
    /// Sums of each period since the site's start.
    fn site_report<'a>(&'a self, site: &'a str, period: ReportPeriod) -> Reply<'a, SiteReport>;
    /// The latest forecast of every series of a site.
    fn site_forecasts<'a>(&'a self, site: &'a str) -> Reply<'a, SiteForecasts>;
    /// Everything that is stored as series, for queries.
    fn series(&self) -> Arc<dyn Series>;
    /// Keeps samples that others send, and what they say of metrics; durable when it answers. What is refused is part of
    /// the outcome and is not sent again. An error means that nothing was kept, or that it is not known: 5xx is sent
    /// again by the senders, 4xx is not. Called several times at once, and often the same samples again.
    fn ingest(&self, batch: IngestBatch) -> Reply<'_, IngestOutcome>;
    /// All groups of rules and how they stand after their last evaluation, in the order in which they are shown; from
    /// memory.
    fn rule_groups(&self) -> Arc<Vec<RuleGroupView>>;
    /// What alert handling knows now; from memory.
    fn alarms(&self) -> AlarmView;
    /// Notifications of the outbox, those that were delivered or given up a while ago among them; the newest first, at
    /// most `limit`.
    fn outbox(&self, limit: usize) -> Reply<'_, Vec<OutboxEntry>>;
    /// Acknowledges the firing alert with these labels ([`sos_watch::alerts::NotifyState::acknowledge`]), durably. One
    /// that has ended meanwhile is [`Problem::not_found`].
    fn acknowledge<'a>(&'a self, labels: &'a Labels, by: &'a str, comment: &'a str) -> Reply<'a, ()>;
    /// Keeps a silence that was checked ([`sos_watch::alerts::NotifyState::silence`]), durably, and gives its id: a new
    /// one, best a UUID, when `silence.id` is empty; else the one with that id is replaced.
    fn silence(&self, silence: Silence) -> Reply<'_, String>;
    /// Ends a silence now ([`sos_watch::alerts::NotifyState::end_silence`]), durably. One that is over or unknown is
    /// [`Problem::not_found`].
    fn end_silence<'a>(&'a self, id: &'a str) -> Reply<'a, ()>;
    /// The text of a runbook, Markdown, at most some hundred kilobytes; `None` when there is none of that name. From
    /// memory.
    fn runbook(&self, name: &str) -> Option<String>;
    /// Everything that happens from now on. A channel of some hundred entries is enough; a slow reader skips.
    fn subscribe(&self) -> broadcast::Receiver<LiveEvent>;

    /// Resources of a kind as Kubernetes-shaped JSON objects, secrets redacted, narrowed by a label selector (`a=b,c!=d`).
    fn list<'a>(&'a self, kind: &'a str, selector: Option<&'a str>) -> Reply<'a, Vec<Value>>;
    /// One resource, with status and conditions.
    fn get<'a>(&'a self, kind: &'a str, name: &'a str) -> Reply<'a, Value>;
    /// Applies all documents or none. Bad input is [`Problem::bad_input`], another owner [`Problem::conflict`].
    fn apply(&self, request: ApplyRequest) -> Reply<'_, Vec<ApplyResult>>;
    /// What an apply would change.
    fn diff(&self, manifest: Bytes) -> Reply<'_, Vec<DiffResult>>;
    /// Removes a resource and what runs for it. What others refer to is [`Problem::bad_input`] unless forced.
    fn delete<'a>(&'a self, kind: &'a str, name: &'a str, force: bool) -> Reply<'a, ()>;

    /// All services that have a contract; with `search` those in which all of its words are found, the best first.
    fn contracts<'a>(&'a self, search: Option<&'a str>) -> Reply<'a, Vec<ContractSummary>>;
    /// What one service can be asked.
    fn contract<'a>(&'a self, service: &'a str) -> Reply<'a, ContractDetail>;
    /// Calls a service under its policy; `trace` is the caller's `traceparent`. A failure's `problems` hold one
    /// [`crate::wire::CallFailure`].
    fn call<'a>(
        &'a self,
        service: &'a str,
        request: CallRequest,
        trace: Option<&'a str>,
    ) -> Reply<'a, CallAnswer>;
    /// All channels, in the order of their names.
    fn channels(&self) -> Reply<'_, Vec<ChannelView>>;
    /// Publishes what a request with these headers (`content-type`, `ce-…`, in lower case) holds; all of it or nothing.
    fn publish<'a>(
        &'a self,
        channel: &'a str,
        headers: Vec<(String, String)>,
        body: Bytes,
    ) -> Reply<'a, Published>;
    /// Events from a point on; waits for the first one when there is none.
    fn events_of<'a>(
        &'a self,
        channel: &'a str,
        from: String,
        limit: usize,
        wait: Duration,
    ) -> Reply<'a, EventPage>;
    /// Makes or moves a group of consumers.
    fn seek<'a>(&'a self, channel: &'a str, group: &'a str, from: String) -> Reply<'a, GroupView>;
    /// Forgets a group of consumers.
    fn forget_group<'a>(&'a self, channel: &'a str, group: &'a str) -> Reply<'a, ()>;
    /// Takes events for a group; waits for the first one when there is none.
    fn take<'a>(
        &'a self,
        channel: &'a str,
        group: &'a str,
        max: usize,
        wait: Duration,
    ) -> Reply<'a, Vec<HandedEvent>>;
    /// Says what became of events that were taken.
    fn settle<'a>(&'a self, channel: &'a str, group: &'a str, settled: Vec<SettledEvent>) -> Reply<'a, ()>;
    /// Events that were put aside, the newest first.
    fn dead_letters<'a>(&'a self, channel: &'a str, limit: usize) -> Reply<'a, Vec<DeadLetter>>;
    /// Brings them back, or throws them away; tells how many.
    fn redrive<'a>(&'a self, channel: &'a str, which: Redrive) -> Reply<'a, u64>;

    /// Starts a run of a workflow in the name of `who`, and waits for its end. No such workflow is [`Problem::not_found`].
    fn start_run<'a>(
        &'a self,
        workflow: &'a str,
        start: RunStart,
        wait: Duration,
        who: &'a str,
    ) -> Reply<'a, RunBegun>;
    /// Runs as Kubernetes-shaped JSON objects, the newest first.
    fn runs(&self, query: RunQuery) -> Reply<'_, Vec<Value>>;
    /// Gives an order to runs. For the one run that is named: one that is not there is [`Problem::not_found`], an order that
    /// does not fit where it stands [`Problem::conflict`].
    fn order_runs(&self, order: RunOrder) -> Reply<'_, RunOrdered>;
    /// Sends an event to a run. One that is over is [`Problem::conflict`].
    fn signal_run<'a>(&'a self, run: &'a str, signal: RunSignal) -> Reply<'a, ()>;
    /// What runs ask people to do, the oldest first.
    fn tasks(&self) -> Reply<'_, Vec<Value>>;
    /// Does something about a task in the name of `who`. No such task is [`Problem::not_found`], one that is somebody else's or
    /// data that does not fit its form [`Problem::conflict`].
    fn attend<'a>(&'a self, task: &'a str, done: TaskDone, who: &'a Identity) -> Reply<'a, ()>;

    /// Events with an id above `since`, oldest first, at most `limit` of them, the newest when there are more.
    fn events(&self, since: u64, limit: usize) -> Reply<'_, Vec<EventRecord>>;
    /// The last `lines` lines of a service's log without line ends; with `follow` the stream goes on until dropped.
    fn logs<'a>(
        &'a self,
        service: &'a str,
        lines: usize,
        follow: bool,
    ) -> Reply<'a, BoxStream<'static, String>>;
    /// Lines of services' logs that match, at most `query.limit`, within a bound of time or bytes that the platform sets;
    /// [`LogAnswer::truncated`] says when there may be more. A service that is not known is [`Problem::not_found`].
    fn search_logs(&self, query: LogQuery) -> Reply<'_, LogAnswer>;
    /// Orders a power of an asset, or with none a hold, in the name of `who`; replaces the order that it has. What the
    /// asset can never do, and an end in the past, is [`Problem::bad_input`] or [`Problem::bad_request`]; a power for an
    /// asset on hold is [`Problem::conflict`].
    fn order_asset<'a>(
        &'a self,
        asset: &'a str,
        power_kw: Option<f64>,
        order: AssetOrder,
        who: &'a str,
    ) -> Reply<'a, AssetOrdered>;
    /// Ends the override (or the hold) of an asset. None is [`Problem::not_found`], the other one [`Problem::conflict`].
    fn clear_order<'a>(&'a self, asset: &'a str, hold: bool) -> Reply<'a, ()>;
    /// Sets the number of replicas (a subresource: the manifest's owner stays), or gives the decision back.
    fn scale<'a>(&'a self, service: &'a str, replicas: Option<u32>) -> Reply<'a, Scale>;
    /// How far the rollout is.
    fn rollout_status<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus>;
    /// Revisions, oldest first.
    fn rollout_history<'a>(&'a self, service: &'a str) -> Reply<'a, Vec<Revision>>;
    /// Carries out what `who` asks of a rollout. What does not fit where it stands is [`Problem::conflict`].
    fn rollout<'a>(&'a self, service: &'a str, order: RolloutOrder, who: &'a str)
    -> Reply<'a, RolloutStatus>;
    /// Restarts all replicas, one after the other.
    fn restart<'a>(&'a self, service: &'a str) -> Reply<'a, RolloutStatus>;

    /// Told once, when the server begins to serve: gives all that `/metrics` shows, as often as it is asked.
    fn served(&self, _all_metrics: Measures) {}
    /// Metrics in Prometheus text form, made with [`crate::Exposition`]; the server adds its own.
    fn metrics(&self) -> String;
}
