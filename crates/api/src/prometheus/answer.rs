//! Answers as Prometheus writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sos_watch::labels::METRIC_NAME;
use sos_watch::{Answer, Labels, ResultSeries, format};

use super::Metadata;

/// The `data` of a query.
pub(super) fn data(answer: &Answer) -> Value {
    let (kind, result) = match answer {
        Answer::Scalar(sample) => ("scalar", point(sample.t, format::float(sample.v))),
        Answer::Text(t, text) => ("string", point(*t, text.clone())),
        Answer::Vector(all) => ("vector", all.iter().map(|one| series(one, false)).collect()),
        Answer::Matrix(all) => ("matrix", all.iter().map(|one| series(one, true)).collect()),
    };
    json!({ "resultType": kind, "result": result })
}

fn series(one: &ResultSeries, many: bool) -> Value {
    let mut points = one.samples.iter().map(|sample| point(sample.t, format::float(sample.v)));
    let metric = labels(&one.labels);
    if many {
        json!({ "metric": metric, "values": points.collect::<Vec<_>>() })
    } else {
        json!({ "metric": metric, "value": points.next() })
    }
}

/// `[seconds, "value"]`, whole seconds without decimals.
fn point(t_ms: i64, value: String) -> Value {
    let seconds = if t_ms % 1000 == 0 { json!(t_ms / 1000) } else { json!(t_ms as f64 / 1000.0) };
    json!([seconds, value])
}

pub(super) fn labels(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
}

/// The names of all labels, or the values of one; in order, each once.
pub(super) fn names<'a>(all: &'a [Labels], of: Option<&str>) -> BTreeSet<&'a str> {
    match of {
        Some(METRIC_NAME) => all.iter().filter_map(Labels::name).collect(),
        Some(label) => all.iter().map(|labels| labels.get(label)).filter(|value| !value.is_empty()).collect(),
        None => all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect(),
    }
}

pub(super) fn metadata(all: impl Iterator<Item = Metadata>) -> Value {
    let mut by_name: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in all {
        let of = by_name.entry(one.metric).or_default();
        of.push(json!({ "type": one.kind, "help": one.help, "unit": one.unit }));
    }
    Value::Object(by_name.into_iter().map(|(name, all)| (name, Value::from(all))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use sos_watch::Sample;

    use super::*;

    #[test]
    fn answers_are_written_as_prometheus_writes_them() {
        let labels = Labels::new([("__name__", "up"), ("job", "a\"b<c>")]);
        let samples =
            vec![Sample { t: 1_435_781_430_781, v: 1.0 }, Sample { t: 1_435_781_445_000, v: f64::NAN }];
        let one = ResultSeries { labels, samples };
        assert_eq!(
            serde_json::to_string(&data(&Answer::Matrix(vec![one.clone()]))).unwrap(),
            r#"{"result":[{"metric":{"__name__":"up","job":"a\"b<c>"},"values":[[1435781430.781,"1"],[1435781445,"NaN"]]}],"resultType":"matrix"}"#
        );
        assert_eq!(data(&Answer::Vector(vec![one]))["result"][0]["value"][1], "1");
        let scalar = data(&Answer::Scalar(Sample { t: 1_500, v: f64::INFINITY }));
        assert_eq!(serde_json::to_string(&scalar["result"]).unwrap(), r#"[1.5,"+Inf"]"#);
    }

    #[test]
    fn names_and_values_come_once_and_in_order() {
        let all =
            [Labels::new([("__name__", "b"), ("x", "1")]), Labels::new([("__name__", "a"), ("x", "1")])];
        assert_eq!(names(&all, None).into_iter().collect::<Vec<_>>(), ["__name__", "x"]);
        assert_eq!(names(&all, Some("__name__")).into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(names(&all, Some("x")).into_iter().collect::<Vec<_>>(), ["1"]);
    }
}
