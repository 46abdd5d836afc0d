//! `multipart/related` answers: SOAP with attachments by XOP (MTOM).

use std::collections::HashMap;

/// A part of an answer, by its `Content-ID`.
pub(crate) type Attachments = HashMap<String, Vec<u8>>;

/// Parts that an answer may have.
const PARTS: usize = 1_000;

/// A value of a header such as `multipart/related; boundary="x"`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// In lower case, without parameters.
    pub(crate) essence: String,
    parameters: Vec<(String, String)>,
}

impl MediaType {
    pub(crate) fn read(text: &str) -> Self {
        let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let mut this = Self { essence: essence.trim().to_ascii_lowercase(), parameters: vec![] };
        while let Some((name, after)) = rest.split_once('=') {
            let name = name.trim().trim_start_matches(';').trim().to_ascii_lowercase();
            let after = after.trim_start();
            let (value, left) = match after.strip_prefix('"') {
                Some(quoted) => quoted_text(quoted),
                None => {
                    let (value, left) = after.split_once(';').unwrap_or((after, ""));
                    (value.trim().to_owned(), left)
                }
            };
            this.parameters.push((name, value));
            rest = left;
        }
        this
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The text until the closing quote, and what follows.
fn quoted_text(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, char) in text.char_indices() {
        match char {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '"' if !escaped => return (value, &text[at + 1..]),
            char => value.push(char),
        }
        escaped = false;
    }
    (value, "")
}

/// The message of a multipart body, its charset, and the other parts (RFC 2387, RFC 2046).
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(kind: &MediaType, body: &[u8]) -> Result<(Vec<u8>, MediaType, Attachments), String> {
    let boundary =
        kind.parameter("boundary").filter(|boundary| !boundary.is_empty() && boundary.len() <= 200);
    let boundary = boundary.ok_or("the answer has several parts and no boundary between them")?;
    let mut parts = parts(body, boundary)?;
    let start = kind.parameter("start").map(id_of);
    let root =
        start.and_then(|start| parts.iter().position(|part| part.id.as_deref() == Some(&start))).unwrap_or(0);
    if parts.is_empty() {
        return Err("the answer has several parts, none of which is there".to_owned());
    }
    let root = parts.swap_remove(root);
    if !matches!(root.encoding.as_str(), "" | "binary" | "8bit" | "7bit") {
        return Err(format!("expected a message without transfer encoding, found `{}`", root.encoding));
    }
    let attachments = parts.into_iter().filter_map(|part| Some((part.id?, part.body.to_vec()))).collect();
    Ok((root.body.to_vec(), root.kind, attachments))
}

struct Part<'b> {
    id: Option<String>,
    kind: MediaType,
    encoding: String,
    body: &'b [u8],
}

fn parts<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<Part<'b>>, String> {
    let mark = format!("--{boundary}");
    let finder = memchr::memmem::Finder::new(mark.as_bytes());
    let mut marks = vec![];
    for at in finder.find_iter(body) {
        let after = &body[at + mark.len()..];
        // A mark stands at the beginning of a line, and nothing follows it there.
        let begins = at == 0 || body[at - 1] == b'\n';
        let ends = after.is_empty() || matches!(after[0], b'\r' | b'\n' | b' ' | b'\t' | b'-');
        if begins && ends {
            marks.push(at);
        }
        if marks.len() > PARTS {
            return Err(format!("the answer has more than {PARTS} parts"));
        }
    }
    let mut found = vec![];
    for pair in marks.windows(2) {
        let text = &body[pair[0] + mark.len()..pair[1]];
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        found.push(part(text)?);
    }
    if marks.last().is_none_or(|last| !body[last + mark.len()..].starts_with(b"--")) {
        return Err("the answer ends within one of its parts".to_owned());
    }
    Ok(found)
}

fn part(text: &[u8]) -> Result<Part<'_>, String> {
    let end = memchr::memmem::find(text, b"\r\n\r\n").map(|at| (at, 4));
    let end = end.or_else(|| memchr::memmem::find(text, b"\n\n").map(|at| (at, 2)));
    let (at, length) = end.ok_or("a part of the answer has no end of its headers")?;
    let head =
        String::from_utf8_lossy(&text[..at]).replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    Ok(Part {
        id: header("content-id").map(|id| id_of(&id)),
        kind: MediaType::read(&header("content-type").unwrap_or_default()),
        encoding: header("content-transfer-encoding").unwrap_or_default().to_ascii_lowercase(),
        body: &text[at + length..],
    })
}

/// `<id>` without its brackets.
fn id_of(text: &str) -> String {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text).to_owned()
}

/// The id that `href="cid:…"` names (RFC 2392).
pub(crate) fn referred(href: &str) -> Option<String> {
    let rest = href.trim().strip_prefix("cid:")?;
    let form = format!("v={}", rest.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_have_parameters() {
        let kind = MediaType::read(
            "Multipart/Related; boundary=\"a;b\\\"c\"; Type = \"application/xop+xml\";start=<x@y>",
        );
        assert_eq!(kind.essence, "multipart/related");
        assert_eq!(kind.parameter("boundary"), Some("a;b\"c"));
        assert_eq!(
            (kind.parameter("type"), kind.parameter("start")),
            (Some("application/xop+xml"), Some("<x@y>"))
        );
        assert_eq!(MediaType::read("text/xml").parameter("charset"), None);
    }

    #[test]
    fn parts_are_told_apart() {
        let kind = MediaType::read("multipart/related; boundary=b; start=\"<root>\"");
        let body = b"before\r\n--b\r\nContent-ID: <a@x>\r\n\r\n--bin\r\n\r\n--b\r\nContent-Type: application/xop+xml;\r\n charset=UTF-8\r\ncontent-id: <root>\r\n\r\n<x/>\r\n--b--\r\nafter";
        let (root, of, attachments) = read(&kind, body).unwrap();
        assert_eq!((root.as_slice(), of.parameter("charset")), (&b"<x/>"[..], Some("UTF-8")));
        assert_eq!(attachments["a@x"], b"--bin\r\n");
        assert_eq!(referred("cid:a%40x").unwrap(), "a@x");
        for cut in [&body[..40], b"", b"--b\r\n", b"--b\r\nx\r\n--b--"] {
            read(&kind, cut).unwrap_err();
        }
    }
}
