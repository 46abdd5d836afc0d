//! The format of test files.

use std::collections::BTreeMap;

use sos_model::{Node, Position, Problem, Value, shown};

use crate::document::{self, Document, Map};
use crate::labels::{LabelIndex, Labels};
use crate::notation;
use crate::series::Sample;

/// A test file.
#[derive(Debug, Default)]
pub(super) struct TestFile {
    pub(super) rule_files: Vec<(Position, String)>,
    /// In ms.
    pub(super) evaluation_interval_ms: i64,
    /// Groups in the order in which they are evaluated; others come with the first.
    pub(super) group_eval_order: Vec<String>,
    /// Floats that are neighbours count as equal.
    pub(super) fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) place: Position,
    /// Time of the first sample and evaluation, in ms since 1970.
    pub(super) start_ms: i64,
    pub(super) series: LabelIndex<Vec<Sample>>,
    pub(super) alerts: Vec<AlertTest>,
    pub(super) exprs: Vec<ExprTest>,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
}

#[derive(Debug)]
pub(super) struct AlertTest {
    pub(super) place: Position,
    /// Since the start, in ms.
    pub(super) eval_ms: i64,
    pub(super) alert: String,
    pub(super) expected: Vec<ExpectedAlert>,
}

/// Labels and annotations, empty values among them.
pub(super) type ExpectedAlert = (BTreeMap<String, String>, BTreeMap<String, String>);

#[derive(Debug)]
pub(super) struct ExprTest {
    pub(super) place: Position,
    pub(super) eval_ms: i64,
    pub(super) expr: String,
    pub(super) expected: Vec<(Labels, f64)>,
}

impl Test {
    /// The latest time that is asked for, since the start, in ms.
    pub(super) fn last_ms(&self) -> i64 {
        let alerts = self.alerts.iter().map(|test| test.eval_ms);
        alerts.chain(self.exprs.iter().map(|test| test.eval_ms)).max().unwrap_or(0)
    }
}

const FILE: [&str; 5] = ["rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests"];
const TEST: [&str; 8] = [
    "name",
    "interval",
    "input_series",
    "alert_rule_test",
    "promql_expr_test",
    "external_labels",
    "external_url",
    "start_timestamp",
];

/// # Errors
/// Everything that is wrong with the file.
pub(super) fn read(path: &str, bytes: &[u8]) -> Result<TestFile, Vec<Problem>> {
    let mut doc = Document::new(path);
    let mut file = TestFile { evaluation_interval_ms: 60_000, ..TestFile::default() };
    let node = document::first(path, bytes)?;
    if let Some(map) = node.as_ref().and_then(|node| doc.map(node, "a test file", &FILE)) {
        if let Some(ms) = doc.duration(map, "evaluation_interval").filter(|ms| *ms > 0) {
            file.evaluation_interval_ms = ms;
        }
        file.rule_files = texts(&mut doc, map, "rule_files");
        file.fuzzy = doc.flag(map, "fuzzy_compare");
        file.group_eval_order = order(&mut doc, map);
        for (index, node) in doc.list(map, "tests").iter().enumerate() {
            file.tests.extend(test(&mut doc, node, index, file.evaluation_interval_ms));
        }
    }
    doc.finish(file)
}

fn texts(doc: &mut Document<'_>, map: Map<'_>, key: &str) -> Vec<(Position, String)> {
    let mut texts = Vec::new();
    for node in doc.list(map, key) {
        match node.text() {
            Some(text) => texts.push((node.position, text.to_owned())),
            None => doc.report(node.position, format!("{key}: {} here", node.what()), "expected text"),
        }
    }
    texts
}

fn order(doc: &mut Document<'_>, map: Map<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (place, name) in texts(doc, map, "group_eval_order") {
        if names.contains(&name) {
            let message = format!("group name repeated in evaluation order: \"{}\"", shown(&name));
            doc.report(place, message, "name each group once");
        }
        names.push(name);
    }
    names
}

fn test(doc: &mut Document<'_>, node: &Node, index: usize, default_ms: i64) -> Option<Test> {
    // `{}` and nothing at all are a test that only evaluates the rules.
    let empty = Node { position: node.position, value: Value::Map(Vec::new()) };
    let node = if node.value == Value::Null { &empty } else { node };
    let map = doc.map(node, "a test", &TEST)?;
    let interval_ms = doc.duration(map, "interval").filter(|ms| *ms > 0).unwrap_or(default_ms);
    let start_ms = start(doc, map);
    let name = doc.text(map, "name").filter(|name| !name.is_empty());
    let external = doc.texts(map, "external_labels").into_iter().map(|(name, (_, value))| (name, value));
    Some(Test {
        name: name.map_or_else(|| format!("unnamed#{index}"), str::to_owned),
        place: node.position,
        start_ms,
        series: series(doc, map, start_ms, interval_ms),
        alerts: doc.list(map, "alert_rule_test").iter().filter_map(|node| alert_test(doc, node)).collect(),
        exprs: doc.list(map, "promql_expr_test").iter().filter_map(|node| expr_test(doc, node)).collect(),
        external_labels: Labels::new(external),
        external_url: doc.text(map, "external_url").unwrap_or_default().to_owned(),
    })
}

/// RFC 3339, or seconds since 1970.
fn start(doc: &mut Document<'_>, map: Map<'_>) -> i64 {
    let Some(text) = doc.text(map, "start_timestamp") else { return 0 };
    let seconds = text.parse::<f64>().ok().filter(|s| s.abs() < 1e12).map(|s| (s * 1000.0).round() as i64);
    let time = || text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    seconds.or_else(time).unwrap_or_else(|| {
        let message = format!("start_timestamp: \"{}\" is no time", shown(text));
        doc.report(
            map.place("start_timestamp"),
            message,
            "expected one like 2026-01-01T00:00:00Z, or s since 1970",
        );
        0
    })
}

/// Of a series that is given twice the later one counts, as in promtool.
fn series(doc: &mut Document<'_>, map: Map<'_>, start_ms: i64, interval_ms: i64) -> LabelIndex<Vec<Sample>> {
    let mut all = LabelIndex::default();
    for node in doc.list(map, "input_series") {
        let Some(map) = doc.map(node, "an input series", &["series", "values"]) else { continue };
        let name = doc.text(map, "series").unwrap_or_default();
        let values = doc.text(map, "values").unwrap_or_default();
        let place = map.get("series").map_or(node.position, |node| node.position);
        let labels = match notation::split_labels(name) {
            Ok((labels, "")) => labels,
            Ok((_, rest)) => {
                doc.report(
                    place,
                    format!("series: unexpected \"{}\"", shown(rest)),
                    "values belong into values:",
                );
                continue;
            }
            Err(message) => {
                let help = "expected a series such as up{job=\"node\"}";
                doc.report(place, format!("series \"{}\": {message}", shown(name)), help);
                continue;
            }
        };
        match notation::values(values) {
            Ok(values) => {
                all.insert(labels, notation::samples(&values, start_ms, interval_ms).collect());
            }
            Err(message) => {
                let place = map.get("values").map_or(node.position, |node| node.position);
                doc.report(place, format!("values of {}: {message}", shown(name)), "");
            }
        }
    }
    all
}

fn alert_test(doc: &mut Document<'_>, node: &Node) -> Option<AlertTest> {
    let map = doc.map(node, "an alert_rule_test", &["eval_time", "alertname", "exp_alerts"])?;
    let eval_ms = doc.duration(map, "eval_time").unwrap_or(0);
    let alert = doc.text(map, "alertname").unwrap_or_default().to_owned();
    if alert.is_empty() {
        let message = format!("an alert_rule_test at {} without alertname", crate::duration::format(eval_ms));
        doc.report(node.position, message, "expected alertname: with the name of an alert");
    }
    let mut expected = Vec::new();
    for node in doc.list(map, "exp_alerts") {
        let empty = Node { position: node.position, value: Value::Map(Vec::new()) };
        let node = if node.value == Value::Null { &empty } else { node };
        let Some(map) = doc.map(node, "an expected alert", &["exp_labels", "exp_annotations"]) else {
            continue;
        };
        let mut part =
            |key| doc.texts(map, key).into_iter().map(|(name, (_, value))| (name, value)).collect();
        let (mut labels, annotations): ExpectedAlert = (part("exp_labels"), part("exp_annotations"));
        labels.insert(crate::rules::ALERT_NAME.to_owned(), alert.clone());
        expected.push((labels, annotations));
    }
    Some(AlertTest { place: node.position, eval_ms, alert, expected })
}

fn expr_test(doc: &mut Document<'_>, node: &Node) -> Option<ExprTest> {
    let map = doc.map(node, "a promql_expr_test", &["expr", "eval_time", "exp_samples"])?;
    let eval_ms = doc.duration(map, "eval_time").unwrap_or(0);
    let expr = doc.text(map, "expr").unwrap_or_default().to_owned();
    let mut expected = Vec::new();
    for node in doc.list(map, "exp_samples") {
        expected.extend(expected_sample(doc, node));
    }
    Some(ExprTest { place: node.position, eval_ms, expr, expected })
}

fn expected_sample(doc: &mut Document<'_>, node: &Node) -> Option<(Labels, f64)> {
    let map = doc.map(node, "an expected sample", &["labels", "value", "histogram"])?;
    if map.get("histogram").is_some_and(|node| node.text() != Some("")) {
        doc.report(
            map.place("histogram"),
            "native histograms are not supported",
            "expected value: with a number",
        );
        return None;
    }
    let value = doc.number(map, "value").unwrap_or(0.0);
    let text = doc.text(map, "labels").unwrap_or_default();
    let parsed =
        if text.trim().is_empty() { Ok((Labels::empty(), "")) } else { notation::split_labels(text) };
    match parsed {
        Ok((labels, rest)) if rest.trim().is_empty() => Some((labels, value)),
        Ok((_, rest)) => {
            doc.report(map.place("labels"), format!("labels: unexpected \"{}\"", shown(rest.trim())), "");
            None
        }
        Err(message) => {
            doc.report(map.place("labels"), format!("labels \"{}\": {message}", shown(text)), "");
            None
        }
    }
}
