//! Lines that are JSON objects.

use serde_json::{Map, Value};

use super::keys::Gather;
use super::record::Parsed;
use super::time::TimeRules;

/// Understands a JSON object; `None` when the line is none. Keys at the top go before those of `fields` and
/// `attributes` (tracing-subscriber, OpenTelemetry), those before the spans around the line, the innermost first.
pub(super) fn parse(text: &str, rules: &TimeRules<'_>) -> Option<Parsed> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut top: Map<String, Value> = serde_json::from_str(text).ok()?;
    let inner = ["fields", "attributes"].map(|key| taken_object(&mut top, key));
    let mut gather = Gather::new(rules);
    let mut depth = 0;
    for object in std::iter::once(&top).chain(inner.iter().flatten()).chain(spans(&top)) {
        for (key, value) in object {
            gather.offer(depth, key, value);
        }
        depth = depth.saturating_add(1);
    }
    for (object, depth) in std::iter::once(top).chain(inner.into_iter().flatten()).zip(0..) {
        for (key, value) in object {
            gather.keep(depth, key, value);
        }
    }
    Some(gather.finish(text))
}

fn taken_object(top: &mut Map<String, Value>, key: &str) -> Option<Map<String, Value>> {
    top.get(key)?.as_object()?;
    match top.remove(key) {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// The spans that tracing-subscriber lists, the innermost first.
fn spans(top: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let around = top.get("spans").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    top.get("span").into_iter().chain(around.iter().rev()).filter_map(Value::as_object)
}
