//! `Rule`: when something happens and a condition holds, something is done.

use jiff::SignedDuration;
use sos_units::Power;

use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::scalar::{Name, ZoneName};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

use super::WorkflowSpec;

record! {
    /// When something happens and a condition holds, something is done: a workflow starts, a service is called, an asset is given an
    /// order, somebody is told. Why it did or did not is kept: `sos describe rule NAME`.
    pub struct RuleSpec checked by check_rule {
        /// What it looks at.
        when: RuleWhen;
        /// A condition in jq over what happened: an event as it came (`.type`, `.data`), of a metric `.labels` and `.value`, of a
        /// schedule `.at`. Without it everything counts.
        r#if: Option<String>;
        /// What is done, in this order.
        then: Vec<RuleAction>;
        /// Of rules that order the same asset, the one with the highest priority does. Orders of people go before all rules.
        priority: u32 = 0, in Range::between(0.0, 1000.0);
        /// It acts only when nothing more came for so long, and then on what came last.
        debounce: Option<SignedDuration>, in ABOVE_ZERO;
        /// How often it acts at the most.
        limit: Option<RuleLimit>;
        /// Nothing is done; what would have been is told.
        dry_run: bool = false;
    }
}

choice! {
    /// What a rule looks at.
    pub enum RuleWhen {
        /// Events of a channel.
        Event(RuleEvent),
        /// A condition on metrics.
        Metric(RuleMetric),
        /// The clock.
        Schedule(RuleSchedule),
    }
}

record! {
    /// Events of a channel. They are heard in their order, each once, also those that came while the server was away.
    pub struct RuleEvent {
        /// Name of the `Channel`. Default: `events`.
        channel: Option<Name>;
        /// Their type: as it is, or a regular expression for all of it. Default: any.
        r#type: Option<String>;
        /// Their source, in the same way.
        source: Option<String>;
    }
}

record! {
    /// A condition on metrics: each series that the query gives counts when it appears, and again only after it was gone.
    pub struct RuleMetric {
        /// PromQL, such as `sos_site_grid_power_kw > 40`.
        query: String;
        /// It counts when it was there for so long.
        r#for: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// How often it is looked at.
        every: SignedDuration = SignedDuration::from_secs(15), in ABOVE_ZERO;
    }
}

record! {
    /// Times. Of those that were missed while the server was away, the latest is made up for.
    pub struct RuleSchedule {
        ..times: RuleTimes;
        /// The time zone of `cron`, an IANA name. Default: UTC.
        time_zone: Option<ZoneName>;
    }
}

choice! {
    /// The times of a schedule.
    pub enum RuleTimes {
        /// `minute hour day month weekday`, such as `0 6 * * mon-fri`.
        Cron(String),
        /// An interval.
        Every(SignedDuration),
    }
}

record! {
    /// How often a rule acts at the most.
    pub struct RuleLimit {
        /// So many times …
        most: u32, in Range::between(1.0, 1_000_000.0);
        /// … in any span of this length.
        per: SignedDuration, in ABOVE_ZERO;
    }
}

choice! {
    /// Something that a rule does. Texts written `${ … }` are expressions in jq over what happened.
    pub enum RuleAction {
        /// Starts a run of a workflow.
        Workflow(RuleWorkflow),
        /// Calls an operation of a service.
        Call(RuleCall),
        /// Orders something of an asset, as `sos override` and `sos hold` do; behind the guard, as all orders.
        Override(RuleOverride),
        /// Tells somebody.
        Notify(RuleNotify),
        /// Publishes an event, for workflows that listen and for others.
        Publish(RulePublish),
    }
}

record! {
    /// A workflow that is started.
    pub struct RuleWorkflow {
        /// Name of the `Workflow`.
        name: Name;
        /// Its input, an expression such as `{ level: .data.level }`. Default: what happened.
        input: Option<String>;
    }
}

record! {
    /// An operation that is called, with the time-outs and retries of its service.
    pub struct RuleCall {
        /// Name of the `Service`.
        service: Name;
        /// The operation, as `sos describe contract` names it.
        operation: String;
        /// Its input, an expression such as `{ body: .data }`. Default: an empty object.
        input: Option<String>;
    }
}

record! {
    /// An order about an asset.
    pub struct RuleOverride {
        ..what: RuleOrder;
        /// Name of the `Asset`, or an expression.
        asset: String;
        /// How long it holds, in the time of the site.
        r#for: SignedDuration, in ABOVE_ZERO;
        /// Why, for those who see it, or an expression. Default: the name of the rule.
        reason: Option<String>;
    }
}

choice! {
    /// What is ordered of an asset.
    pub enum RuleOrder {
        /// Power, positive from the asset into the site: `-2 kW` charges a battery with 2 kW.
        Power(Power),
        /// An expression whose value is that power in kW, such as `-.data.kw`.
        Kw(String),
        /// `true`: nothing at all is written to the device.
        Hold(bool),
    }
}

words! {
    /// How grave something is.
    pub enum RuleSeverity as "severity" {
        /// To be known.
        Info,
        /// To be looked at.
        Warning,
        /// To be acted on at once.
        Critical,
    }
}

record! {
    /// Somebody who is told.
    pub struct RuleNotify {
        /// Name of the `Notifier`; its own matchers play no part.
        notifier: Name;
        /// What is told, or an expression such as `${ "level \(.data.level)" }`.
        text: String;
        /// How grave it is.
        severity: RuleSeverity = RuleSeverity::Info;
    }
}

record! {
    /// An event that is published; its source is `/rules/NAME`.
    pub struct RulePublish {
        /// Name of the `Channel`. Default: `events`.
        channel: Option<Name>;
        /// Its type, such as `street.reduced`.
        r#type: String;
        /// Its data, an expression. Default: what happened.
        data: Option<String>;
    }
}

impl RulePublish {
    /// The channel that it is published to.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_ref().map_or(WorkflowSpec::CHANNEL, |name| name)
    }
}

impl RuleEvent {
    /// The channel of its events.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_ref().map_or(WorkflowSpec::CHANNEL, |name| name)
    }
}

fn check_rule(rule: &RuleSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if rule.then.is_empty() {
        cx.report(at("then"), "nothing is done", "expected workflow, call, override, notify or publish");
    }
    for action in &rule.then {
        if let RuleAction::Override(order) = action
            && matches!(order.what, RuleOrder::Hold(false))
        {
            cx.report(at("then"), "hold is false", "expected true; a hold ends by itself");
        }
    }
    if let RuleWhen::Schedule(RuleSchedule { times: RuleTimes::Every(every), .. }) = &rule.when
        && every.as_secs() < 1
    {
        cx.report(at("when"), "the interval is below a second", "expected 1 s or more");
    }
    if let RuleWhen::Metric(metric) = &rule.when
        && metric.every.as_secs() < 1
    {
        cx.report(at("when"), "the interval is below a second", "expected 1 s or more");
    }
}
