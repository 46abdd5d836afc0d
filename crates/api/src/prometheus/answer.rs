//! Answers as Prometheus writes them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use sos_watch::{Answer, Labels, ResultSeries, Sample, format};

use super::Metadata;

/// The whole answer of a query as JSON text. A day of a thousand series has a million points: they are written as they
/// come, without a value for each.
pub(super) fn text(answer: &Answer) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    // Writing to a String cannot fail.
    let _ = data(&mut out, answer);
    out.push('}');
    out
}

fn data(out: &mut String, answer: &Answer) -> fmt::Result {
    let kind = match answer {
        Answer::Scalar(_) => "scalar",
        Answer::Text(..) => "string",
        Answer::Vector(_) => "vector",
        Answer::Matrix(_) => "matrix",
    };
    write!(out, "{{\"resultType\":\"{kind}\",\"result\":")?;
    match answer {
        Answer::Scalar(sample) => point(out, *sample)?,
        Answer::Text(t, text) => write!(out, "[{},{}]", format::seconds(*t), Value::from(text.as_str()))?,
        Answer::Vector(all) => list(out, all, |out, one| series(out, one, false))?,
        Answer::Matrix(all) => list(out, all, |out, one| series(out, one, true))?,
    }
    out.push('}');
    Ok(())
}

fn list<T>(
    out: &mut String,
    all: &[T],
    mut write: impl FnMut(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    out.push('[');
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, one)?;
    }
    out.push(']');
    Ok(())
}

fn series(out: &mut String, one: &ResultSeries, many: bool) -> fmt::Result {
    write!(out, "{{\"metric\":{}", labels(&one.labels))?;
    if many {
        out.push_str(",\"values\":");
        list(out, &one.samples, |out, sample| point(out, *sample))?;
    } else if let Some(sample) = one.samples.first() {
        out.push_str(",\"value\":");
        point(out, *sample)?;
    }
    out.push('}');
    Ok(())
}

/// `[seconds, "value"]`, whole seconds without decimals, others with three.
fn point(out: &mut String, sample: Sample) -> fmt::Result {
    let (whole, rest) = (sample.t / 1000, sample.t % 1000);
    if rest == 0 {
        write!(out, "[{whole},\"")?;
    } else {
        write!(out, "[{},\"", format::seconds(sample.t))?;
    }
    format::write_float(out, sample.v)?;
    out.push_str("\"]");
    Ok(())
}

pub(super) fn labels(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
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
    use super::*;

    #[test]
    fn answers_are_written_as_prometheus_writes_them() {
        let labels = Labels::new([("__name__", "up"), ("job", "a\"b<c>")]);
        let samples =
            vec![Sample { t: 1_435_781_430_781, v: 1.0 }, Sample { t: 1_435_781_445_000, v: f64::NAN }];
        let one = ResultSeries { labels, samples };
        assert_eq!(
            text(&Answer::Matrix(vec![one.clone()])),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","job":"a\"b<c>"},"values":[[1435781430.781,"1"],[1435781445,"NaN"]]}]}}"#
        );
        let vector: Value = serde_json::from_str(&text(&Answer::Vector(vec![one.clone(), one]))).unwrap();
        assert_eq!(vector["data"]["result"][1]["value"][1], "1");
        assert_eq!(
            text(&Answer::Scalar(Sample { t: 1_500, v: f64::INFINITY })),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.500,"+Inf"]}}"#
        );
        assert_eq!(
            text(&Answer::Text(0, "a\"\n".to_owned())),
            r#"{"status":"success","data":{"resultType":"string","result":[0,"a\"\n"]}}"#
        );
        assert!(text(&Answer::Vector(Vec::new())).ends_with(r#""result":[]}}"#));
    }
}
