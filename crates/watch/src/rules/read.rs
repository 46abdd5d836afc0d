//! YAML → rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sos_model::{Node, Position, Problem, shown};

use super::{Alerting, Group, Rule, RuleKind, Rules, inhibit};
use crate::document::{self, Document, Map};
use crate::labels::METRIC_NAME;
use crate::promql::Query;
use crate::promql::ast::Type;
use crate::template::Template;

/// The rules of a file in Prometheus' format, with which of their alerts mute which others (`inhibit`, ours).
///
/// # Errors
/// Everything that is wrong with it, each with its place and what was expected.
pub fn read(path: &str, bytes: &[u8]) -> Result<Rules, Vec<Problem>> {
    match document::first(path, bytes)? {
        Some(node) => read_node(path, &node),
        None => Ok(Rules::default()),
    }
}

/// The rules of a value that has `groups`, such as the spec of an `AlertRule`.
///
/// # Errors
/// As [`read`].
pub fn read_node(path: &str, node: &Node) -> Result<Rules, Vec<Problem>> {
    let mut doc = Document::new(path);
    let mut rules = Rules::default();
    if let Some(map) = doc.map(node, "a rule file", &["groups", "inhibit"]) {
        let mut names = BTreeSet::new();
        for node in doc.list(map, "groups") {
            if let Some(group) = group(&mut doc, node, &mut names) {
                rules.groups.push(group);
            }
        }
        let inhibit = doc.list(map, "inhibit");
        rules.inhibit = inhibit.iter().filter_map(|node| inhibit::inhibit(&mut doc, node)).collect();
    }
    doc.finish(rules)
}

const GROUP: [&str; 6] = ["name", "interval", "query_offset", "limit", "labels", "rules"];
const RULE: [&str; 7] = ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

fn group<'n>(doc: &mut Document<'_>, node: &'n Node, names: &mut BTreeSet<&'n str>) -> Option<Group> {
    let map = doc.map(node, "a group", &GROUP)?;
    let name = doc.text(map, "name").unwrap_or_default();
    if name.is_empty() {
        doc.report(map.place("name"), "a group without a name", "expected name: followed by text");
    } else if !names.insert(name) {
        let message = format!("a second group named \"{}\"", shown(name));
        doc.report(map.place("name"), message, "give each group of a file a name of its own");
    }
    let interval_ms = doc.duration(map, "interval").filter(|ms| *ms > 0);
    let query_offset_ms = doc.duration(map, "query_offset").unwrap_or(0);
    let labels = labels(doc, map);
    let limit = limit(doc, map);
    let rules = doc.list(map, "rules");
    let rules = rules.iter().filter_map(|node| rule(doc, node, &labels)).collect();
    Some(Group { name: name.to_owned(), interval_ms, query_offset_ms, limit, rules })
}

fn limit(doc: &mut Document<'_>, map: Map<'_>) -> usize {
    let Some(text) = doc.text(map, "limit") else { return 0 };
    match text.parse::<i64>() {
        Ok(limit) => usize::try_from(limit).unwrap_or(0),
        Err(_) => {
            let message = format!("limit: \"{}\" is no whole number", shown(text));
            doc.report(map.place("limit"), message, "expected the most series of a rule, 0 for any number");
            0
        }
    }
}

type Texts = BTreeMap<Arc<str>, Arc<str>>;

fn labels(doc: &mut Document<'_>, map: Map<'_>) -> Texts {
    let mut labels = Texts::new();
    for (name, (place, value)) in doc.texts(map, "labels") {
        if !is_label_name(&name) || name == METRIC_NAME {
            report_name(doc, place, "label", &name);
        }
        labels.insert(name.into(), value.into());
    }
    labels
}

fn report_name(doc: &mut Document<'_>, place: Position, what: &str, name: &str) {
    let message = format!("invalid {what} name \"{}\"", shown(name));
    let help = "expected letters, digits and _, no digit first, and not __name__";
    doc.report(place, message, help);
}

fn rule(doc: &mut Document<'_>, node: &Node, group_labels: &Texts) -> Option<Rule> {
    let map = doc.map(node, "a rule", &RULE)?;
    let (record, alert) = (doc.text(map, "record"), doc.text(map, "alert"));
    let (record, alert) = (record.unwrap_or_default(), alert.unwrap_or_default());
    match (record.is_empty(), alert.is_empty()) {
        (false, false) => {
            doc.report(map.place("alert"), "a rule with both record and alert", "keep one of them");
        }
        (true, true) => {
            let help = "expected record: with the name of a metric, or alert: with the name of an alert";
            doc.report(node.position, "a rule with neither record nor alert", help);
        }
        _ => {}
    }
    let name = if alert.is_empty() { record } else { alert };
    let expr = expr(doc, map, name);
    let mut all = group_labels.clone();
    all.extend(labels(doc, map));
    let kind = if alert.is_empty() {
        recording(doc, map, record);
        RuleKind::Recording
    } else {
        RuleKind::Alerting(Box::new(alerting(doc, map, alert, &all)))
    };
    Some(Rule { name: name.to_owned(), expr: expr?, labels: all, kind, place: node.position })
}

fn expr(doc: &mut Document<'_>, map: Map<'_>, name: &str) -> Option<Query> {
    let (place, name) = (map.get("expr").map_or(map.node.position, |node| node.position), shown(name));
    let text = doc.text(map, "expr").unwrap_or_default();
    if text.is_empty() {
        doc.report(place, format!("rule \"{name}\" without expr"), "expected expr: with a PromQL expression");
        return None;
    }
    match Query::parse(text) {
        Ok(query) if matches!(query.expr().ty(), Type::Matrix | Type::Text) => {
            let message = format!("rule \"{name}\": the expression gives a {}", query.expr().ty());
            doc.report(place, message, "expected one that gives an instant vector or a scalar");
            None
        }
        Ok(query) => Some(query),
        Err(error) => {
            doc.report(place, format!("rule \"{name}\": could not parse expression: {error}"), "");
            None
        }
    }
}

fn recording(doc: &mut Document<'_>, map: Map<'_>, name: &str) {
    for key in ["for", "keep_firing_for", "annotations"] {
        if map.get(key).is_some_and(|node| !is_nothing(node)) {
            doc.report(map.place(key), format!("{key} in a recording rule"), "only an alerting rule has it");
        }
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if !name.is_empty() && (!name.chars().all(valid) || name.starts_with(|c: char| c.is_ascii_digit())) {
        let message = format!("invalid metric name \"{}\"", shown(name));
        let help = "expected letters, digits, _ and :, no digit first; conditions on labels belong into expr";
        doc.report(map.place("record"), message, help);
    }
}

/// `0s` and an empty map say as much as nothing.
fn is_nothing(node: &Node) -> bool {
    match &node.value {
        sos_model::Value::Scalar(text) => crate::duration::parse(text) == Ok(0),
        sos_model::Value::Map(entries) => entries.is_empty(),
        _ => false,
    }
}

fn alerting(doc: &mut Document<'_>, map: Map<'_>, alert: &str, labels: &Texts) -> Alerting {
    let for_ms = doc.duration(map, "for").unwrap_or(0);
    let keep_firing_for_ms = doc.duration(map, "keep_firing_for").unwrap_or(0);
    let mut annotations = Vec::new();
    for (name, (place, text)) in doc.texts(map, "annotations") {
        if !is_label_name(&name) {
            report_name(doc, place, "annotation", &name);
        }
        annotations.extend(template(doc, alert, "annotation", &name, &text, place));
    }
    let place = map.place("labels");
    let labels =
        labels.iter().filter_map(|(name, text)| template(doc, alert, "label", name, text, place)).collect();
    Alerting { for_ms, keep_firing_for_ms, labels, annotations }
}

fn template(
    doc: &mut Document<'_>,
    alert: &str,
    what: &str,
    name: &str,
    text: &str,
    place: Position,
) -> Option<(Arc<str>, Template)> {
    match Template::of_alert(alert, text) {
        Ok(template) => Some((name.into(), template)),
        Err(message) => {
            doc.report(
                place,
                format!("{what} \"{}\": {message}", shown(name)),
                "expected Go's template language",
            );
            None
        }
    }
}

fn is_label_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        read("r.yml", text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_becomes_groups_of_rules() {
        let text = "groups:\n- name: a\n  interval: 30s\n  limit: 5\n  labels: {team: x}\n  rules:\n  - record: job:up\n    \
                    expr: sum by (job) (up)\n  - alert: Down\n    expr: up == 0\n    for: 5m\n    keep_firing_for: 1m\n    \
                    labels: {severity: page}\n    annotations: {summary: '{{ $labels.job }}'}\n";
        let rules = read("r.yml", text.as_bytes()).unwrap();
        let group = &rules.groups[0];
        assert_eq!((group.interval_ms, group.limit, group.rules.len()), (Some(30_000), 5, 2));
        assert_eq!(group.rules[1].id(), r#"alert Down {severity="page", team="x"}"#);
        let alerting = group.rules[1].alerting().unwrap();
        assert_eq!((alerting.for_ms, alerting.keep_firing_for_ms), (300_000, 60_000));
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        assert_eq!(read("r.yml", b"").unwrap(), Rules::default());
        assert_eq!(read("r.yml", b"groups:\n").unwrap(), Rules::default());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "groups:\n- name: a\n  intervall: 30s\n  rules:\n  - record: x\n    expr: 'test +'\n  - alert: A\n    \
                    expr: up\n    for: 5 minutes\n    labels: {1x: y}\n    annotations: {a: '{{ foo }}'}\n  - expr: up\n\
                    - name: a\n  rules:\n  - record: 'x{}'\n    expr: up[5m]\n    for: 1m\n";
        let found = problems(text);
        let expected = [
            "r.yml:3:3: unknown key \"intervall\" in a group; did you mean \"interval\"?; known: name, interval, \
             query_offset, limit, labels, rules",
            "r.yml:6:11: rule \"x\": could not parse expression: 1:7: parse error: unexpected end of input",
            "r.yml:9:10: for: not a valid duration: \"5 minutes\"",
            "r.yml:10:14: invalid label name \"1x\"",
            "r.yml:11:19: annotation \"a\": template: __alert_A:1: function \"foo\" not defined",
            "r.yml:12:5: a rule with neither record nor alert",
            "r.yml:13:3: a second group named \"a\"",
            "r.yml:15:5: invalid metric name \"x{}\"",
            "r.yml:16:11: rule \"x{}\": the expression gives a range vector",
            "r.yml:17:5: for in a recording rule; only an alerting rule has it",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }
}
