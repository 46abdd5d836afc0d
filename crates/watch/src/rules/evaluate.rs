//! One group of rules at one time.

use std::collections::BTreeMap;
use std::fmt;

use super::overlay::Overlay;
use super::state::{Alert, AlertState, GroupState, RuleState};
use super::{Group, Rule, RuleKind, alerting, recording};
use crate::labels::Labels;
use crate::promql::{Answer, Options, Query};
use crate::series::{STALE, Sample, Source};
use crate::template::QueryFn;

/// What evaluations share.
#[derive(Clone, Copy)]
pub struct Environment<'e> {
    /// Labels that all alerts of this place carry, for templates.
    pub external_labels: &'e Labels,
    /// The address at which people reach this place, for templates.
    pub external_url: &'e str,
    /// How expressions are evaluated.
    pub options: Options<'e>,
    /// A clock of the caller that only rises, in µs: how long rules took. It changes nothing else.
    pub elapsed_us: &'e dyn Fn() -> u64,
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A sample to store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSample {
    pub labels: Labels,
    /// [`STALE`] ends the series.
    pub sample: Sample,
}

/// An alert that changed its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Name of the alert.
    pub alert: String,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
    pub from: AlertState,
    /// [`AlertState::Inactive`] after firing: resolved.
    pub to: AlertState,
    /// In ms since 1970.
    pub at_ms: i64,
}

impl Transition {
    pub(super) fn new(name: &str, alert: &Alert, from: AlertState, to: AlertState, at_ms: i64) -> Self {
        Self {
            alert: name.to_owned(),
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            value: alert.value,
            from,
            to,
            at_ms,
        }
    }
}

/// What an evaluation gives.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// To be stored together with the state.
    pub samples: Vec<NewSample>,
    pub state: GroupState,
    pub transitions: Vec<Transition>,
}

/// Evaluates the rules of a group one after the other; each sees what those before it gave. `now_ms` is in ms since
/// 1970 and not before the last evaluation.
///
/// # Guarantees
/// A rule that fails stops no other; what went wrong is its [`super::Health`], and its alerts stay as they were.
pub fn evaluate(
    group: &Group,
    source: &dyn Source,
    now_ms: i64,
    state: GroupState,
    environment: &Environment<'_>,
) -> Evaluation {
    let mut evaluation = Evaluation { state: state.fitted(group), ..Evaluation::default() };
    let mut overlay = Overlay::new(source);
    let at_ms = now_ms - group.query_offset_ms;
    let store = !evaluation.state.to_restore;
    for (rule, state) in group.rules.iter().zip(&mut evaluation.state.rules) {
        let run = RuleRun { rule, limit: group.limit, now_ms, at_ms, store_alerts: store };
        let Ok((samples, transitions)) = run_rule(&run, &overlay, state, environment) else { continue };
        evaluation.transitions.extend(transitions);
        let ended = state.replace_series(samples.iter().map(|(labels, _)| labels.clone()).collect());
        let ended = ended.into_iter().map(|labels| (labels, STALE));
        for (labels, v) in samples.into_iter().chain(ended) {
            let sample = Sample { t: at_ms, v };
            overlay.push(&labels, sample);
            evaluation.samples.push(NewSample { labels, sample });
        }
    }
    for labels in std::mem::take(&mut evaluation.state.orphans) {
        evaluation.samples.push(NewSample { labels, sample: Sample { t: at_ms, v: STALE } });
    }
    evaluation.state.last_ms = Some(now_ms);
    evaluation
}

/// Which rule, and when.
pub(crate) struct RuleRun<'r> {
    pub(crate) rule: &'r Rule,
    pub(crate) limit: usize,
    pub(crate) now_ms: i64,
    /// When the expression is evaluated and its samples are stored.
    pub(crate) at_ms: i64,
    /// Whether `ALERTS` is stored.
    pub(crate) store_alerts: bool,
}

/// What alerts need to know of an evaluation.
pub(super) struct Moment<'m> {
    pub(super) now_ms: i64,
    pub(super) external_labels: &'m Labels,
    pub(super) external_url: &'m str,
    pub(super) query: &'m QueryFn<'m>,
}

type Found = (Vec<(Labels, f64)>, Vec<Transition>);

/// One rule; its health is part of the state.
///
/// # Errors
/// What is now its health too.
pub(crate) fn run_rule(
    run: &RuleRun<'_>,
    source: &dyn Source,
    state: &mut RuleState,
    environment: &Environment<'_>,
) -> Result<Found, String> {
    let started = (environment.elapsed_us)();
    let found = found(run, source, state, environment);
    state.health.evaluated_at_ms = Some(run.now_ms);
    state.health.took_us = (environment.elapsed_us)().saturating_sub(started);
    state.health.error = found.as_ref().err().cloned();
    found
}

fn found(
    run: &RuleRun<'_>,
    source: &dyn Source,
    state: &mut RuleState,
    environment: &Environment<'_>,
) -> Result<Found, String> {
    let result = vector(&run.rule.expr, source, run.at_ms, &environment.options)?;
    match &run.rule.kind {
        RuleKind::Recording => Ok((recording::record(run.rule, result, run.limit)?, Vec::new())),
        RuleKind::Alerting(alerting) => {
            let query = |text: &str| {
                let query = Query::parse(text).map_err(|error| error.to_string())?;
                vector(&query, source, run.now_ms, &environment.options)
            };
            let moment = Moment {
                now_ms: run.now_ms,
                external_labels: environment.external_labels,
                external_url: environment.external_url,
                query: &query,
            };
            let alerts = &mut state.alerts;
            let transitions = alerting::advance(run.rule, alerting, result, alerts, run.limit, &moment)?;
            let samples = if run.store_alerts { alerting::samples(run.rule, alerts) } else { Vec::new() };
            Ok((samples, transitions))
        }
    }
}

/// The result of an expression as a vector.
pub(crate) fn vector(
    query: &Query,
    source: &dyn Source,
    at_ms: i64,
    options: &Options<'_>,
) -> Result<Vec<(Labels, f64)>, String> {
    match query.instant(source, at_ms, options).map_err(|error| error.to_string())? {
        Answer::Scalar(sample) => Ok(vec![(Labels::empty(), sample.v)]),
        Answer::Vector(series) => Ok(series
            .into_iter()
            .filter_map(|series| series.samples.first().map(|sample| (series.labels, sample.v)))
            .collect()),
        Answer::Text(..) | Answer::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}
