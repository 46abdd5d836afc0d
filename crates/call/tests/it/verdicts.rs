//! The verdicts of Prometheus itself on many bodies, from `cases/exposition`.

use std::collections::BTreeMap;
use std::path::Path;

use sos_call::exposition::{Format, ScrapedBody};

type Verdict = (String, Option<usize>);

fn cases(name: &str) -> Vec<Verdict> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/exposition").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn bodies_are_taken_and_refused_as_by_prometheus_but_for_the_listed_differences() {
    let differences = cases("differences.json");
    let mut wanted: BTreeMap<String, Option<usize>> = differences.iter().cloned().collect();
    let mut wrong = vec![];
    for (name, format) in [("text.json", Format::Text), ("openmetrics.json", Format::OpenMetrics)] {
        for (body, theirs) in cases(name) {
            let ours =
                ScrapedBody::parse(body.clone().into_bytes(), format, 1000).ok().map(|read| read.len());
            if ours != theirs && wanted.remove(&body) != Some(ours) {
                wrong.push((name, body, theirs, ours));
            }
        }
    }
    assert!(wrong.is_empty(), "Prometheus' number of samples, and ours: {wrong:#?}");
    assert!(wanted.is_empty(), "no difference any more: {wanted:?}");
    assert_eq!(differences.len(), 24);
}
