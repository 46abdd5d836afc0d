//! What was expected against what came, and how the difference is told.

use std::collections::BTreeMap;

use super::file::ExpectedAlert;
use crate::labels::Labels;

/// None when both are the same alerts, in any order; else the difference.
pub(super) fn alerts(mut expected: Vec<ExpectedAlert>, mut got: Vec<ExpectedAlert>) -> Option<String> {
    expected.sort();
    got.sort();
    if expected == got {
        return None;
    }
    Some(format!("\n        exp:{}\n        got:{}", shown_alerts(&expected), shown_alerts(&got)))
}

fn shown_alerts(alerts: &[ExpectedAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let one = |(index, (labels, annotations)): (usize, &ExpectedAlert)| {
        let (labels, annotations) = (shown_map(labels), shown_map(annotations));
        format!(
            "\n            {index}:\n              Labels:{labels}\n              Annotations:{annotations}"
        )
    };
    let all: Vec<String> = alerts.iter().enumerate().map(one).collect();
    format!("[{}\n            ]", all.join(","))
}

fn shown_map(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map
        .iter()
        .map(|(name, value)| format!("{name}={}", crate::template::printf::go_quote(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

/// None when both have the same series with the same values, in any order; else the difference.
pub(super) fn samples(
    mut expected: Vec<(Labels, f64)>,
    mut got: Vec<(Labels, f64)>,
    fuzzy: bool,
) -> Option<String> {
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let pairs = || expected.iter().zip(&got);
    if expected.len() == got.len() && pairs().all(|(a, b)| a.0 == b.0 && equal(a.1, b.1, fuzzy)) {
        return None;
    }
    Some(format!("\n        exp: {}\n        got: {}", shown_samples(&expected), shown_samples(&got)))
}

/// NaN equals nothing, as in promtool.
#[expect(clippy::float_cmp, reason = "a test states the exact result")]
fn equal(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || (fuzzy && (a.next_up() == b || a.next_down() == b))
}

fn shown_samples(samples: &[(Labels, f64)]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |(labels, value): &(Labels, f64)| format!("{labels} {}", crate::format::float(*value));
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}
