//! Bytes to text, by byte order mark, the transport's charset or the XML declaration.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::parse::XmlError;
use crate::soap::names::short;

/// The text of a document. A byte order mark decides first, then the charset that the transport names, then the
/// declaration of the document itself (RFC 7303, 3; XML 1.0, appendix F). Latin-1 is read as windows-1252, as the
/// WHATWG's table of labels has it.
///
/// # Errors
/// When the encoding is unknown, or bytes are none of it.
pub(crate) fn text<'a>(bytes: &'a [u8], charset: Option<&str>) -> Result<Cow<'a, str>, XmlError> {
    if bytes.starts_with(&[0, 0, 0xFE, 0xFF]) || bytes.starts_with(&[0xFF, 0xFE, 0, 0]) || like_utf32(bytes) {
        return Err(XmlError::at_start(
            "the document is UTF-32, which XML need not be read in; expected UTF-8 or UTF-16",
        ));
    }
    let (encoding, rest) = match Encoding::for_bom(bytes) {
        Some((encoding, length)) => (encoding, &bytes[length..]),
        None => (named(bytes, charset)?, bytes),
    };
    if encoding == UTF_8 {
        return std::str::from_utf8(rest).map(Cow::Borrowed).map_err(|error| {
            let good = &rest[..error.valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let column = String::from_utf8_lossy(&good[start..]).chars().count() + 1;
            XmlError::new(format!("line {line}, column {column}"), "bytes that are no UTF-8")
        });
    }
    encoding.decode_without_bom_handling_and_without_replacement(rest).ok_or_else(|| {
        XmlError::at_start(format!(
            "the document is said to be {} and has bytes that are not",
            encoding.name()
        ))
    })
}

fn like_utf32(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 0, 0, b'<']) || bytes.starts_with(&[b'<', 0, 0, 0])
}

fn named(bytes: &[u8], charset: Option<&str>) -> Result<&'static Encoding, XmlError> {
    if bytes.starts_with(&[0, b'<']) {
        return Ok(UTF_16BE);
    }
    if bytes.starts_with(&[b'<', 0]) {
        return Ok(UTF_16LE);
    }
    let declared = charset.map(str::to_owned).or_else(|| declared(bytes));
    let Some(label) = declared else { return Ok(UTF_8) };
    match Encoding::for_label(label.trim().as_bytes()) {
        // Without a byte order mark and with single bytes it is not what it says.
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => {
            if charset.is_some() && label.eq_ignore_ascii_case("utf-16be") { Ok(UTF_16BE) } else { Ok(UTF_8) }
        }
        Some(encoding) => Ok(encoding),
        None => Err(XmlError::at_start(format!(
            "expected an encoding such as UTF-8, UTF-16 or ISO-8859-1, found `{}`",
            short(&label)
        ))),
    }
}

/// `encoding="…"` of the XML declaration.
fn declared(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..bytes.len().min(200)];
    let head = head.strip_prefix(b"<?xml")?;
    let head = String::from_utf8_lossy(head.split(|byte| *byte == b'>').next()?).into_owned();
    let rest = head.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|char| matches!(char, '"' | '\''))?;
    rest[1..].split_once(quote).map(|(label, _)| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect()
    }

    #[test]
    fn mark_transport_and_declaration_decide_in_this_order() {
        assert_eq!(text("<a>ü</a>".as_bytes(), None).unwrap(), "<a>ü</a>");
        assert_eq!(text(b"\xEF\xBB\xBF<a/>", Some("iso-8859-1")).unwrap(), "<a/>");
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xFC</a>";
        assert!(text(latin, None).unwrap().ends_with("<a>ü</a>"));
        assert!(text(b"<a>\xFC</a>", Some("iso-8859-1")).unwrap().ends_with("<a>ü</a>"));
        for big in [true, false] {
            let mark: &[u8] = if big { &[0xFE, 0xFF] } else { &[0xFF, 0xFE] };
            let bytes = [mark, &utf16("<?xml version='1.0' encoding='UTF-16'?><a>ü</a>", big)].concat();
            assert!(text(&bytes, None).unwrap().ends_with("<a>ü</a>"));
            assert_eq!(text(&utf16("<a>ü</a>", big), None).unwrap(), "<a>ü</a>");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_with_its_place() {
        let error = text(b"<a>\n  \xC3\xBC\xFF</a>", None).unwrap_err();
        assert_eq!(
            (error.place.as_str(), error.message.as_str()),
            ("line 2, column 4", "bytes that are no UTF-8")
        );
        assert!(text(b"<a/>", Some("klingon")).unwrap_err().message.contains("found `klingon`"));
        assert!(text(&[0, 0, 0xFE, 0xFF, 0, 0, 0, b'<'], None).unwrap_err().message.contains("UTF-32"));
        assert!(text(&[0xFE, 0xFF, 0xD8, 0x00], None).unwrap_err().message.contains("UTF-16BE"));
    }
}
