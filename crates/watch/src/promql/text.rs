//! Numbers and strings as a query writes them.

/// Decimal, `0x1F`, octal with a leading zero, scientific, `Inf` and `NaN`.
///
/// # Errors
/// When it is no number.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let bad = || format!("error parsing number: {text:?}, expected one like 1.5, 1e3 or 0x1F");
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).map(|n| n as f64).map_err(|_| bad());
    }
    let octal = lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| matches!(b, b'0'..=b'7'));
    if let Some(n) = octal.then(|| i64::from_str_radix(&lower, 8).ok()).flatten() {
        return Ok(n as f64);
    }
    lower.parse::<f64>().map_err(|_| bad())
}

/// The value of a string in double or single quotes, with escapes, or in backticks, without.
///
/// # Errors
/// At an escape that is none.
pub(crate) fn unquote(text: &str) -> Result<String, String> {
    let quote = text.chars().next().unwrap_or_default();
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if quote == '`' {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], quote, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes)
        .map_err(|_| format!("string {text} is not valid UTF-8 once its escapes are resolved"))
}

/// Resolves what follows a backslash and returns the rest.
fn escape<'t>(text: &'t str, quote: char, out: &mut Vec<u8>) -> Result<&'t str, String> {
    let Some(c) = text.chars().next() else { return Err("escape sequence not terminated".to_owned()) };
    let simple = match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        _ if c == quote => u8::try_from(c).ok(),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(&text[1..]);
    }
    let (skip, digits, radix) = match c {
        '0'..='7' => (0, 3, 8),
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => return Err(format!("unknown escape sequence \\{c}")),
    };
    let code = text.get(skip..skip + digits).filter(|code| code.chars().all(|c| c.is_digit(radix)));
    let Some(code) = code else {
        return Err(format!("illegal escape sequence \\{c}, expected {digits} digits"));
    };
    let invalid = || format!("escape sequence \\{c} with {code} is an invalid Unicode code point");
    let value = u32::from_str_radix(code, radix).map_err(|_| invalid())?;
    if matches!(c, 'u' | 'U') {
        let unicode = char::from_u32(value).ok_or_else(invalid)?;
        out.extend_from_slice(unicode.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.push(u8::try_from(value).map_err(|_| invalid())?);
    }
    Ok(&text[skip + digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0x1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("5.", 5.0),
            (".5", 0.5),
            ("1e3", 1000.0),
            ("iNf", f64::INFINITY),
        ] {
            assert_eq!(number(text).unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert!(number("nan").unwrap().is_nan());
        assert!(number("0x").is_err() && number("1e").is_err());
    }

    #[test]
    fn escapes_are_resolved() {
        for (text, value) in [
            (r#""a\n\"b""#, "a\n\"b"),
            (r"'it\'s'", "it's"),
            (r"`a\n`", r"a\n"),
            (r#""\x41\101\u00e4\U0001F600""#, "AAä😀"),
            (r#""\xc3\xa4""#, "ä"),
        ] {
            assert_eq!(unquote(text).unwrap(), value, "{text}");
        }
        for text in [r#""\q""#, r#""\x4""#, r#""\xff""#, r#""\ud800""#, r#""\'""#] {
            assert!(unquote(text).is_err(), "{text}");
        }
    }
}
