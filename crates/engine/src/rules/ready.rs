//! What is declared of a rule, with its expressions read.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use sos_model::{Declared, Problem, RuleAction, RuleOrder, RuleSchedule, RuleSeverity, RuleTimes, RuleWhen};
use sos_units::Power;
use sos_watch::Query;
use sos_workflow::Cron;
use sos_workflow::program::Pattern;
use sos_workflow::rule::{Policy, expression, text};
use sos_workflow::template::Template;

use crate::query::DESCRIBED;

/// A rule that can be followed.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) priority: u32,
    pub(super) dry_run: bool,
    pub(super) when: When,
    pub(super) policy: Policy,
    pub(super) then: Vec<Action>,
}

/// What it looks at.
pub(super) enum When {
    Event { channel: String, event_type: Option<Pattern>, source: Option<Pattern> },
    Metric { query: Query, lasts: SignedDuration, every: SignedDuration, site_time: bool },
    Cron(Cron, TimeZone),
    Every(SignedDuration),
}

/// What it does.
pub(super) enum Action {
    Workflow { name: String, input: Option<Template> },
    Call { service: String, operation: String, input: Option<Template> },
    Override { asset: Template, what: Box<Order>, lasts: SignedDuration, reason: Option<Template> },
    Notify { notifier: String, text: Template, severity: RuleSeverity },
    Publish { channel: String, event_type: String, data: Option<Template> },
}

/// What is ordered of an asset.
pub(super) enum Order {
    Power(Power),
    Kw(Template),
    Hold,
}

impl Ready {
    /// Reads what is declared.
    ///
    /// # Errors
    /// The first thing that is wrong; all of them are told by [`check`].
    pub(super) fn read(declared: &Declared) -> Result<Self, String> {
        let (ready, problems) = read(declared);
        match (ready, problems.first()) {
            (Some(ready), None) => Ok(ready),
            (_, Some((field, why))) => Err(format!("{field}: {why}")),
            (None, None) => Err("it is no rule".to_owned()),
        }
    }
}

/// What is wrong with the expressions, queries and times of declared rules.
#[must_use]
pub fn check(declared: &[Declared]) -> Vec<Problem> {
    let of = |one: &Declared| -> Vec<Problem> {
        if one.rule().is_none() {
            return Vec::new();
        }
        read(one).1.into_iter().map(|(field, why)| one.problem(&field, why, "")).collect()
    };
    declared.iter().flat_map(of).collect()
}

/// Reads all there is, and keeps what cannot be read.
struct Reader(Vec<(String, String)>);

impl Reader {
    fn take<T>(&mut self, field: String, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.0.push((field, why))).ok()
    }

    fn optional(&mut self, field: String, written: Option<&String>) -> Option<Option<Template>> {
        match written {
            None => Some(None),
            Some(written) => self.take(field, expression(written)).map(Some),
        }
    }
}

fn read(declared: &Declared) -> (Option<Ready>, Vec<(String, String)>) {
    let Some(spec) = declared.rule() else { return (None, Vec::new()) };
    let mut reader = Reader(Vec::new());
    let when = when(&mut reader, &spec.when);
    let condition = reader.optional("spec.if".to_owned(), spec.r#if.as_ref());
    let then: Vec<Option<Action>> = spec
        .then
        .iter()
        .enumerate()
        .map(|(index, one)| action(&mut reader, &format!("spec.then[{index}]"), one))
        .collect();
    let ready = || {
        Some(Ready {
            name: declared.name.to_string(),
            priority: spec.priority,
            dry_run: spec.dry_run,
            when: when?,
            policy: Policy {
                condition: condition?,
                debounce: spec.debounce,
                limit: spec.limit.as_ref().map(|limit| (limit.most, limit.per)),
            },
            then: then.into_iter().collect::<Option<_>>()?,
        })
    };
    (ready(), reader.0)
}

fn when(reader: &mut Reader, when: &RuleWhen) -> Option<When> {
    Some(match when {
        RuleWhen::Event(event) => When::Event {
            channel: event.channel().to_owned(),
            event_type: event.r#type.as_deref().map(Pattern::new),
            source: event.source.as_deref().map(Pattern::new),
        },
        RuleWhen::Metric(metric) => {
            let query = Query::parse(&metric.query).map_err(|error| error.to_string());
            let query = reader.take("spec.when.metric.query".to_owned(), query)?;
            // As of alert rules: telemetry of sites is on their time, everything else on wall time.
            let known = |name: &&str| DESCRIBED.iter().any(|described| described.name == *name);
            let site_time =
                query.metric_names().is_some_and(|names| !names.is_empty() && names.iter().all(known));
            When::Metric { query, lasts: metric.r#for, every: metric.every, site_time }
        }
        RuleWhen::Schedule(RuleSchedule { times: RuleTimes::Every(every), .. }) => When::Every(*every),
        RuleWhen::Schedule(RuleSchedule { times: RuleTimes::Cron(cron), time_zone }) => {
            let zone = time_zone.as_ref().map_or(TimeZone::UTC, |zone| zone.zone().clone());
            When::Cron(reader.take("spec.when.schedule.cron".to_owned(), Cron::parse(cron))?, zone)
        }
    })
}

fn action(reader: &mut Reader, at: &str, action: &RuleAction) -> Option<Action> {
    Some(match action {
        RuleAction::Workflow(one) => Action::Workflow {
            name: one.name.to_string(),
            input: reader.optional(format!("{at}.workflow.input"), one.input.as_ref())?,
        },
        RuleAction::Call(one) => Action::Call {
            service: one.service.to_string(),
            operation: one.operation.clone(),
            input: reader.optional(format!("{at}.call.input"), one.input.as_ref())?,
        },
        RuleAction::Override(one) => {
            let what = match &one.what {
                RuleOrder::Power(power) => Some(Order::Power(*power)),
                RuleOrder::Hold(_) => Some(Order::Hold),
                RuleOrder::Kw(kw) => reader.take(format!("{at}.override.kw"), expression(kw)).map(Order::Kw),
            };
            let asset = reader.take(format!("{at}.override.asset"), text(&one.asset));
            let reason = match &one.reason {
                None => Some(None),
                Some(reason) => reader.take(format!("{at}.override.reason"), text(reason)).map(Some),
            };
            Action::Override { asset: asset?, what: Box::new(what?), lasts: one.r#for, reason: reason? }
        }
        RuleAction::Publish(one) => Action::Publish {
            channel: one.channel().to_owned(),
            event_type: one.r#type.clone(),
            data: reader.optional(format!("{at}.publish.data"), one.data.as_ref())?,
        },
        RuleAction::Notify(one) => Action::Notify {
            notifier: one.notifier.to_string(),
            text: reader.take(format!("{at}.notify.text"), text(&one.text))?,
            severity: one.severity,
        },
    })
}
