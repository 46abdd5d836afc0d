//! Rules and alerts as Prometheus 2.42 answers them, so that its clients show them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sos_watch::Matcher;
use sos_watch::rules::{Alert, Group, GroupState, Rule, RuleState};

use super::params::Params;
use super::{Refusal, Reply, answer, success};
use crate::server::App;

/// A group of rules, and how it stands.
#[derive(Clone, Debug)]
pub struct RuleGroupView {
    /// Where the group is declared: its file, or the resource that holds it. Together with the group's name it is unique.
    pub file: String,
    /// The rules.
    pub group: Arc<Group>,
    /// Of the last evaluation; the default before the first.
    pub state: Arc<GroupState>,
    /// How often the group is evaluated, ms above zero, the general interval where the group names none.
    pub interval_ms: i64,
}

impl RuleGroupView {
    /// Rules with their state; none before the first evaluation of a rule.
    pub(crate) fn rules(&self) -> impl Iterator<Item = (&Rule, Option<&RuleState>)> {
        self.group.rules.iter().enumerate().map(|(at, rule)| {
            let known = self.state.rules.get(at).filter(|known| known.id == rule.id());
            (rule, known)
        })
    }
}

/// Which rules are asked for.
#[derive(Debug, Default)]
struct Wanted {
    /// Only alerting rules, or only recording ones.
    alerting: Option<bool>,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    without_alerts: bool,
    selectors: Vec<Vec<Matcher>>,
}

impl Wanted {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let alerting = match params.get("type") {
            None => None,
            Some("alert") => Some(true),
            Some("record") => Some(false),
            Some(other) => {
                let text = format!(
                    "invalid parameter \"type\": not supported value {other:?}: expected alert or record"
                );
                return Err(Refusal::bad(text));
            }
        };
        let without_alerts = match params.get("exclude_alerts") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                let text = format!("invalid parameter \"exclude_alerts\": {other:?}: expected true or false");
                return Err(Refusal::bad(text));
            }
        };
        Ok(Self {
            alerting,
            names: params.all("rule_name[]"),
            groups: params.all("rule_group[]"),
            files: params.all("file[]"),
            without_alerts,
            selectors: params.matchers()?,
        })
    }

    fn group(&self, view: &RuleGroupView) -> bool {
        let among = |list: &[String], one: &str| list.is_empty() || list.iter().any(|other| other == one);
        among(&self.groups, &view.group.name) && among(&self.files, &view.file)
    }

    fn rule(&self, rule: &Rule) -> bool {
        let kind = self.alerting.is_none_or(|alerting| alerting == rule.alerting().is_some());
        let named = self.names.is_empty() || self.names.contains(&rule.name);
        let value = |name: &str| rule.labels.get(name).map_or("", |value| value);
        let matches = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(value(m.name())));
        kind && named && (self.selectors.is_empty() || self.selectors.iter().any(matches))
    }

    fn narrows(&self) -> bool {
        self.alerting.is_some() || !self.names.is_empty() || !self.selectors.is_empty()
    }
}

/// Rules with their state and alerts, by group.
#[utoipa::path(get, path = "/api/v1/rules", tag = "alerts", params(
    ("type" = Option<String>, Query, description = "alert or record; both when left out"),
    ("rule_name[]" = Option<Vec<String>>, Query, description = "names of rules"),
    ("rule_group[]" = Option<Vec<String>>, Query, description = "names of groups"),
    ("file[]" = Option<Vec<String>>, Query, description = "files of groups"),
    ("exclude_alerts" = Option<bool>, Query, description = "leave out the alerts"),
    ("match[]" = Option<Vec<String>>, Query, description = "selectors of rules by their labels")),
    responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn rules(State(app): State<App>, RawQuery(text): RawQuery) -> Reply {
    let wanted = Wanted::read(&Params::of_query(text))?;
    let views = app.platform.rule_groups();
    let groups = views.iter().filter(|view| wanted.group(view));
    let groups = groups.filter_map(|view| group(view, &wanted)).collect::<Vec<_>>();
    Ok(success(json!({ "groups": groups })))
}

/// Pending and firing alerts of all rules.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", responses((status = 200, body = Value)))]
pub(crate) async fn alerts(State(app): State<App>) -> Json<Value> {
    let views = app.platform.rule_groups();
    let states = views.iter().flat_map(|view| view.rules()).filter_map(|(_, state)| state);
    let all: Vec<Value> = states.flat_map(active).collect();
    success(json!({ "alerts": all }))
}

fn group(view: &RuleGroupView, wanted: &Wanted) -> Option<Value> {
    let rules: Vec<Value> = view
        .rules()
        .filter(|(rule, _)| wanted.rule(rule))
        .map(|(rule, state)| one(rule, state, wanted.without_alerts))
        .collect();
    if rules.is_empty() && wanted.narrows() {
        return None;
    }
    let took: u64 = view.state.rules.iter().map(|rule| rule.health.took_us).sum();
    Some(json!({
        "name": view.group.name,
        "file": view.file,
        "rules": rules,
        "interval": seconds(view.interval_ms),
        "limit": view.group.limit,
        "evaluationTime": took as f64 / 1e6,
        "lastEvaluation": time(view.state.last_ms),
    }))
}

fn one(rule: &Rule, state: Option<&RuleState>, without_alerts: bool) -> Value {
    let health = state.map(|state| state.health.clone()).unwrap_or_default();
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| out.insert(name.to_owned(), value);
    set("name", json!(rule.name));
    set("query", json!(rule.expr.to_string()));
    set("health", json!(health.word()));
    set("evaluationTime", json!(health.took_us as f64 / 1e6));
    set("lastEvaluation", json!(time(health.evaluated_at_ms)));
    if let Some(error) = &health.error {
        set("lastError", json!(error));
    }
    let labels: BTreeMap<&str, &str> = rule.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    match rule.alerting() {
        Some(alerting) => {
            let annotations: BTreeMap<&str, &str> =
                alerting.annotations.iter().map(|(name, template)| (&**name, template.text())).collect();
            set("type", json!("alerting"));
            set("state", json!(state.map_or("inactive", |state| state.state().word())));
            set("duration", seconds(alerting.for_ms));
            set("keepFiringFor", seconds(alerting.keep_firing_for_ms));
            set("labels", json!(labels));
            set("annotations", json!(annotations));
            if !without_alerts {
                set("alerts", state.into_iter().flat_map(active).collect());
            }
        }
        None => {
            set("type", json!("recording"));
            if !labels.is_empty() {
                set("labels", json!(labels));
            }
        }
    }
    Value::Object(out)
}

/// The active alerts of a rule.
fn active(state: &RuleState) -> impl Iterator<Item = Value> + use<'_> {
    state.alerts.iter().filter(|alert| alert.is_active()).map(|alert| {
        let Alert { labels, annotations, state, value, active_at_ms, .. } = alert;
        let mut out = json!({
            "labels": answer::labels(labels),
            "annotations": annotations,
            "state": state.word(),
            "activeAt": time(Some(*active_at_ms)),
            "value": scientific(*value),
        });
        if let Some(since) = alert.keep_firing_since_ms {
            out["keepFiringSince"] = json!(time(Some(since)));
        }
        out
    })
}

/// Whole numbers without decimals, as Go writes them.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// The year 1 for "never", as Go's zero time.
fn time(ms: Option<i64>) -> String {
    let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

/// `1e+00`, as Go's `%e` with as many digits as are needed.
fn scientific(v: f64) -> String {
    if !v.is_finite() {
        return sos_watch::format::float(v);
    }
    let text = format!("{v:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_go_does() {
        for (v, text) in [
            (1.0, "1e+00"),
            (0.0, "0e+00"),
            (-12.5, "-1.25e+01"),
            (1.5e-7, "1.5e-07"),
            (1e100, "1e+100"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(scientific(v), text);
        }
        assert_eq!(time(None), "0001-01-01T00:00:00Z");
        assert_eq!(time(Some(1_500)), "1970-01-01T00:00:01.5Z");
        assert_eq!((seconds(60_000), seconds(1_500)), (json!(60), json!(1.5)));
    }

    #[test]
    fn rules_are_found_by_kind_name_and_labels() {
        let text =
            "groups: [{name: g, rules: [{record: a, expr: '1', labels: {team: x}}, {alert: B, expr: '1'}]}]";
        let rules = sos_watch::rules::read("r.yml", text.as_bytes()).unwrap().groups.remove(0).rules;
        let found = |query: &str| {
            let wanted = Wanted::read(&Params::of_query(Some(query.to_owned()))).unwrap();
            rules.iter().filter(|rule| wanted.rule(rule)).map(|rule| rule.name.as_str()).collect::<String>()
        };
        assert_eq!(
            (found(""), found("type=alert"), found("type=record")),
            ("aB".into(), "B".into(), "a".into())
        );
        assert_eq!(
            (found("rule_name[]=B&rule_name[]=c"), found("match[]={team=\"x\"}")),
            ("B".into(), "a".into())
        );
        assert!(Wanted::read(&Params::of_query(Some("type=alerts".to_owned()))).is_err());
        assert!(Wanted::read(&Params::of_query(Some("exclude_alerts=maybe".to_owned()))).is_err());
    }
}
