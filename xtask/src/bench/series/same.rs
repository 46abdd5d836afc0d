//! Whether two answers say the same: up to the order of series and the last digits of a float.

use serde_json::Value;

/// Largest difference of two values, relative to the larger one.
const TOLERANCE: f64 = 1e-9;

/// The first difference of two answers, for people; `None` when they say the same.
pub(super) fn difference(ours: (u16, &[u8]), theirs: (u16, &[u8])) -> Option<String> {
    if ours.0 != theirs.0 {
        return Some(format!("status {} instead of {}", ours.0, theirs.0));
    }
    let parse = |who: &str, body: &[u8]| {
        serde_json::from_slice::<Value>(body).map_err(|e| format!("{who} answers no JSON: {e}"))
    };
    let (ours, theirs) = match (parse("sos", ours.1), parse("Prometheus", theirs.1)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(why), _) | (_, Err(why)) => return Some(why),
    };
    for key in ["status", "errorType"] {
        if ours[key] != theirs[key] {
            return Some(format!("{key} {} instead of {}", ours[key], theirs[key]));
        }
    }
    data(&ours["data"], &theirs["data"]).err()
}

fn data(ours: &Value, theirs: &Value) -> Result<(), String> {
    let kind = &theirs["resultType"];
    if &ours["resultType"] != kind {
        return Err(format!("resultType {} instead of {kind}", ours["resultType"]));
    }
    match kind.as_str() {
        Some("matrix" | "vector") => series(&ours["result"], &theirs["result"]),
        Some("scalar") => point(&ours["result"], &theirs["result"]),
        Some(_) => equal(&ours["result"], &theirs["result"]),
        None => equal(&ordered(ours), &ordered(theirs)),
    }
}

/// A list in a fixed order: that of series and labels is not promised.
fn ordered(list: &Value) -> Value {
    let Some(items) = list.as_array() else { return list.clone() };
    let mut items = items.clone();
    items.sort_by_cached_key(ToString::to_string);
    Value::Array(items)
}

fn equal(ours: &Value, theirs: &Value) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let (ours, theirs) = (ours.to_string(), theirs.to_string());
    let at = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(20);
    let piece = |text: &str| {
        String::from_utf8_lossy(text.as_bytes().get(at..).unwrap_or_default())
            .chars()
            .take(80)
            .collect::<String>()
    };
    Err(format!("…{} instead of …{}", piece(&ours), piece(&theirs)))
}

fn series(ours: &Value, theirs: &Value) -> Result<(), String> {
    let sorted = |list: &Value| {
        let mut list: Vec<(String, Value)> = list
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| (one["metric"].to_string(), one.get("values").unwrap_or(&one["value"]).clone()))
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    if ours.len() != theirs.len() {
        return Err(format!("{} series instead of {}", ours.len(), theirs.len()));
    }
    for ((our_name, ours), (their_name, theirs)) in ours.iter().zip(&theirs) {
        if our_name != their_name {
            return Err(format!("series {our_name} instead of {their_name}"));
        }
        points(ours, theirs).map_err(|why| format!("{their_name}: {why}"))?;
    }
    Ok(())
}

fn points(ours: &Value, theirs: &Value) -> Result<(), String> {
    let of = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (our_points, their_points) = (of(ours), of(theirs));
    if !their_points.first().is_some_and(Value::is_array) {
        return point(ours, theirs);
    }
    if our_points.len() != their_points.len() {
        return Err(format!("{} values instead of {}", our_points.len(), their_points.len()));
    }
    our_points.iter().zip(&their_points).try_for_each(|(ours, theirs)| point(ours, theirs))
}

/// `[seconds, "value"]`.
fn point(ours: &Value, theirs: &Value) -> Result<(), String> {
    let parts = |point: &Value| Some((point.get(0)?.as_f64()?, number(point.get(1)?.as_str()?)?));
    let same = match (parts(ours), parts(theirs)) {
        (Some((our_time, our)), Some((their_time, their))) => {
            (our_time - their_time).abs() < 5e-4 && near(our, their)
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(format!("{ours} instead of {theirs}")) }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

fn near(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
        || (a.is_nan() && b.is_nan())
        || (a.is_finite() && b.is_finite() && (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ours: &str, theirs: &str) -> Option<String> {
        difference((200, ours.as_bytes()), (200, theirs.as_bytes()))
    }

    fn vector(results: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{results}]}}}}"#)
    }

    #[test]
    fn the_order_of_series_and_the_last_digits_do_not_count() {
        let a = |value: &str| format!(r#"{{"metric":{{"a":"1"}},"value":[1.5,"{value}"]}}"#);
        let b = r#"{"metric":{"a":"2","b":"x"},"value":[1.5,"NaN"]}"#;
        let other = r#"{"metric":{"b":"x","a":"2"},"value":[1.500,"NaN"]}"#;
        assert_eq!(
            told(&vector(&format!("{},{b}", a("3"))), &vector(&format!("{other},{}", a("3.0000000000001")))),
            None
        );
        let why = told(&vector(&a("3")), &vector(&a("3.0001"))).unwrap();
        assert!(why.contains(r#"{"a":"1"}: [1.5,"3"] instead of [1.5,"3.0001"]"#), "{why}");
        assert_eq!(told(&vector(b), &vector("")).unwrap(), "1 series instead of 0");
        assert!(told(&vector(b), &vector(&a("1"))).unwrap().contains("instead of"));
    }

    #[test]
    fn values_of_a_matrix_are_compared_one_by_one() {
        let matrix = |values: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[{values}]}}]}}}}"#
            )
        };
        assert_eq!(told(&matrix(r#"[1,"+Inf"],[2,"0"]"#), &matrix(r#"[1,"+Inf"],[2,"0"]"#)), None);
        assert!(told(&matrix(r#"[1,"+Inf"]"#), &matrix(r#"[1,"-Inf"]"#)).is_some());
        assert!(told(&matrix(r#"[1,"1"]"#), &matrix(r#"[2,"1"]"#)).is_some());
        assert_eq!(
            told(&matrix(r#"[1,"1"]"#), &matrix(r#"[1,"1"],[2,"1"]"#)).unwrap(),
            "{}: 1 values instead of 2"
        );
    }

    #[test]
    fn lists_refusals_and_rubbish_are_compared_too() {
        let list = |items: &str| format!(r#"{{"status":"success","data":[{items}]}}"#);
        assert_eq!(told(&list(r#""a","b""#), &list(r#""b","a""#)), None);
        assert!(told(&list(r#""a""#), &list(r#""a","b""#)).is_some());
        let refused = |kind: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"x"}}"#);
        assert_eq!(told(&refused("bad_data"), &refused("bad_data").replace('x', "y")), None);
        assert!(told(&refused("execution"), &refused("bad_data")).unwrap().contains("errorType"));
        assert!(told("oops", &list("")).unwrap().contains("sos answers no JSON"));
        assert_eq!(difference((200, b""), (400, b"")).unwrap(), "status 200 instead of 400");
    }
}
