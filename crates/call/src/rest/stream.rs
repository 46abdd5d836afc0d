//! Bodies of many messages, collected into a list.

use serde_json::{Map, Value};

use super::json;
use crate::call::Limits;
use crate::error::{CallError, ErrorKind};

fn too_many(limits: &Limits) -> CallError {
    let message = format!("more than {} messages", limits.messages);
    CallError::new(ErrorKind::TooLarge, "", message)
}

/// One JSON text a line (NDJSON), or after a record separator (RFC 7464). Empty lines are left out.
pub(crate) fn lines(text: &[u8], limits: &Limits) -> Result<(Vec<Value>, usize), CallError> {
    let sequence = text.first() == Some(&0x1e);
    let mut values = vec![];
    let mut depth = 0;
    for (index, line) in text.split(|byte| *byte == if sequence { 0x1e } else { b'\n' }).enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if values.len() >= limits.messages {
            return Err(too_many(limits));
        }
        let (value, extent) = json::read(line, limits.depth, limits.bytes).map_err(|mut error| {
            error.place = format!("message {}, {}", index + 1, error.place);
            error
        })?;
        depth = depth.max(extent.depth + 1);
        values.push(value);
    }
    Ok((values, depth))
}

/// Server-sent events (WHATWG HTML §9.2.6): `event`, `data`, `id` and `retry` as they were sent. An event that is not
/// ended by an empty line was cut off and is left out, as is one without data.
pub(crate) fn events(text: &str, limits: &Limits) -> Result<Vec<Value>, CallError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A line ends with CR LF, LF or CR.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut found = vec![];
    let mut fields: Map<String, Value> = Map::new();
    let mut data: Option<String> = None;
    let mut rest = text.as_str();
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if line.is_empty() {
            let mut event = std::mem::take(&mut fields);
            let Some(data) = data.take() else { continue };
            if found.len() >= limits.messages {
                return Err(too_many(limits));
            }
            event.insert("data".to_owned(), data.into());
            found.push(event.into());
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                let so_far = data.get_or_insert_with(String::new);
                if !so_far.is_empty() {
                    so_far.push('\n');
                }
                so_far.push_str(value);
            }
            "event" | "id" => drop(fields.insert(name.to_owned(), value.into())),
            "retry" => {
                if let Ok(milliseconds) = value.parse::<u64>() {
                    fields.insert(name.to_owned(), milliseconds.into());
                }
            }
            // A comment, or a field that nobody knows.
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { bytes: 1000, depth: 5, messages: 3 };

    #[test]
    fn each_line_is_a_message() {
        assert_eq!(lines(b"1\r\n\n{\"a\": [2]}\n", &LIMITS).unwrap(), (vec![json!(1), json!({"a": [2]})], 3));
        assert_eq!(lines(b"\x1e1\n\x1e[\n2]\n", &LIMITS).unwrap().0, [json!(1), json!([2])]);
        assert_eq!(lines(b"1\n2\n3\n4\n", &LIMITS).unwrap_err().kind, ErrorKind::TooLarge);
        let error = lines(b"1\n2]\n", &LIMITS).unwrap_err();
        assert!(error.place.starts_with("message 2, line 1"), "{error}");
    }

    #[test]
    fn events_have_their_fields_and_those_cut_off_are_left_out() {
        let text = ": hello\nevent: add\ndata: 1\ndata:  2\nid: 7\r\nretry: 10\r\n\r\ndata\n\nevent: none\n\ndata: cut";
        assert_eq!(
            events(text, &LIMITS).unwrap(),
            [json!({"event": "add", "data": "1\n 2", "id": "7", "retry": 10}), json!({"data": ""})]
        );
        assert_eq!(events(&"data: 1\n\n".repeat(4), &LIMITS).unwrap_err().kind, ErrorKind::TooLarge);
    }
}
