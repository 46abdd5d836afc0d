//! JSON text to values, within bounds that are checked before anything is built.

use serde_json::Value;

use crate::error::{CallError, ErrorKind};

/// `serde_json` refuses what is nested as deep as this, so that no stack overflows.
const DEEPEST: usize = 127;
/// Bytes that an object takes in memory at least, and any other value.
const OBJECT: usize = 700;
const VALUE: usize = 32;
/// What a text may become in memory, as a multiple of the bytes that may be read.
const GROWTH: usize = 32;

/// What a text of JSON holds, found without building anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// How deep lists and objects are nested.
    pub(super) depth: usize,
    /// Bytes that the values take in memory, about.
    pub(super) memory: usize,
}

/// Looks at brackets and commas outside of strings. Takes one pass, allocates nothing; the text may be no JSON at all.
pub(super) fn extent(text: &[u8]) -> Extent {
    let (mut depth, mut deepest, mut memory) = (0usize, 0usize, VALUE);
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                while let Some(byte) = rest.next() {
                    match byte {
                        b'"' => break,
                        b'\\' => drop(rest.next()),
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
                memory = memory.saturating_add(if *byte == b'{' { OBJECT } else { VALUE });
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => memory = memory.saturating_add(VALUE),
            _ => {}
        }
    }
    Extent { depth: deepest, memory: memory.saturating_add(text.len()) }
}

/// Reads JSON (RFC 8259) with at most `depth` nested lists and objects, and values whose memory stands in proportion to
/// `bytes`. A byte order mark at the beginning is left out.
///
/// # Errors
/// `TooLarge`; `BadAnswer` with line and column when it is no JSON or no UTF-8.
pub(super) fn read(text: &[u8], depth: usize, bytes: usize) -> Result<(Value, Extent), CallError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let found = extent(text);
    let deepest = depth.min(DEEPEST);
    if found.depth > deepest {
        let message = format!("the JSON is nested {} levels deep, at most {deepest} are read", found.depth);
        return Err(CallError::new(ErrorKind::TooLarge, "", message));
    }
    if found.memory > bytes.saturating_mul(GROWTH) {
        let message = format!("the JSON has more values than are read of an answer of at most {bytes} bytes");
        return Err(CallError::new(ErrorKind::TooLarge, "", message));
    }
    if let Err(error) = std::str::from_utf8(text) {
        return Err(no_utf8(error.valid_up_to()));
    }
    let value = serde_json::from_slice(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        CallError::new(ErrorKind::BadAnswer, place, format!("the answer is no JSON: {}", reason(&error)))
    })?;
    Ok((value, found))
}

/// Bytes that should have been text.
pub(super) fn no_utf8(at: usize) -> CallError {
    CallError::new(ErrorKind::BadAnswer, format!("byte {at}"), "the answer is no UTF-8 text")
}

/// What is wrong, without the place.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(extent(br#"{"a[[": ["\"[", {}]}"#).depth, 3);
        assert_eq!(extent(b"]]][").depth, 1);
        assert_eq!(extent(b"\"\\").depth, 0);
    }

    #[test]
    fn what_is_too_deep_or_grows_too_much_is_refused_before_it_is_built() {
        let deep = "[".repeat(100_000);
        let error = read(deep.as_bytes(), 128, 1 << 20).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        assert!(error.message.contains("100000 levels deep, at most 127"), "{error}");
        let wide = format!("[{}1]", r#"{"":1},"#.repeat(100_000));
        assert_eq!(read(wide.as_bytes(), 128, wide.len()).unwrap_err().kind, ErrorKind::TooLarge);
        let series = format!("[{}1]", "0.1,".repeat(100_000));
        assert!(read(series.as_bytes(), 128, series.len()).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let error = read(b"{\n  \"a\": tru}", 10, 100).unwrap_err();
        assert_eq!((error.kind, error.place.as_str()), (ErrorKind::BadAnswer, "line 2, column 11"));
        assert_eq!(read(b"\"\xff\"", 10, 100).unwrap_err().place, "byte 1");
        assert_eq!(read(b"\xef\xbb\xbf[1]", 1, 100).unwrap().0, json!([1]));
        assert!(read(b"", 1, 100).is_err());
        assert!(read(b"[1] 2", 1, 100).is_err());
    }
}
