//! Media types: what is sent and answered, and what becomes of it.

/// How bytes of a media type become JSON and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON itself.
    Json,
    /// One JSON text a line: a list.
    Lines,
    /// Server-sent events: a list.
    Events,
    /// A form in one line.
    Form,
    /// A form in parts.
    Multipart,
    /// Text.
    Text,
    /// Bytes: `{"base64": …}`.
    Bytes,
}

/// A media type or a range of them, as a description has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Media {
    /// As it is written.
    pub(super) text: String,
    /// Type and subtype in lower case: `application/json`.
    pub(super) essence: String,
}

impl Media {
    /// Reads a media type (RFC 9110 §8.3.1); `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (major, minor) = essence.split_once('/')?;
        let token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+*%'`|~".contains(&b))
        };
        let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
        (token(major) && token(minor) && printable).then(|| Self { text: text.to_owned(), essence })
    }

    /// Whether it stands for several: `text/*`.
    pub(super) fn is_range(&self) -> bool {
        self.essence.contains('*')
    }

    /// A parameter such as `charset`, in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.text.split(';').skip(1).find_map(|part| {
            let (key, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            key.trim().eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// How well another fits in this one: 0 not at all, 4 the same with its parameters.
    pub(super) fn fits(&self, other: &Self) -> u8 {
        let (major, minor) = self.essence.split_once('/').unwrap_or_default();
        let (other_major, other_minor) = other.essence.split_once('/').unwrap_or_default();
        if self.text.eq_ignore_ascii_case(&other.text) {
            return 4;
        }
        if self.essence == other.essence {
            return 3;
        }
        if major == "*" {
            return 1;
        }
        // `application/*+json`
        let suffix = minor.strip_prefix('*').is_some_and(|suffix| other_minor.ends_with(suffix));
        if major == other_major && suffix { 2 } else { 0 }
    }

    pub(super) fn kind(&self) -> Kind {
        kind(&self.essence)
    }

    /// What is sent for a range, where the input names no type: `application/json` for `*/*`. `None` where only the input
    /// can know.
    pub(super) fn usual(&self) -> Option<&str> {
        if !self.is_range() {
            return Some(&self.text);
        }
        match self.essence.as_str() {
            "*/*" | "application/*" | "application/*+json" => Some("application/json"),
            "text/*" => Some("text/plain; charset=utf-8"),
            "multipart/*" => Some("multipart/form-data"),
            _ => None,
        }
    }
}

fn kind(essence: &str) -> Kind {
    let (major, minor) = essence.split_once('/').unwrap_or_default();
    match essence {
        "*/*" | "application/*" | "application/json" | "text/json" => Kind::Json,
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonl"
        | "application/jsonlines"
        | "application/x-json-stream"
        | "application/json-seq" => Kind::Lines,
        "text/event-stream" => Kind::Events,
        "application/x-www-form-urlencoded" => Kind::Form,
        "application/xml"
        | "application/yaml"
        | "application/x-yaml"
        | "application/javascript"
        | "application/graphql"
        | "application/sql"
        | "application/toml"
        | "application/sparql-query" => Kind::Text,
        _ if major == "multipart" => Kind::Multipart,
        _ if minor.ends_with("+json-seq") => Kind::Lines,
        _ if minor.ends_with("+json") => Kind::Json,
        _ if minor.ends_with("+xml") || minor.ends_with("+yaml") || major == "text" => Kind::Text,
        _ => Kind::Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> Media {
        Media::parse(text).unwrap()
    }

    #[test]
    fn media_types_are_read_and_fit_ranges() {
        assert_eq!(media("Text/Plain; Charset=\"UTF-8\"").parameter("charset").unwrap(), "utf-8");
        for (range, other, fits) in [
            ("application/json", "application/json", 4),
            ("application/json", "application/json; charset=utf-8", 3),
            ("application/*", "application/json", 2),
            ("application/*+json", "application/hal+json", 2),
            ("application/*+json", "application/json", 0),
            ("*/*", "image/png", 1),
            ("text/*", "image/png", 0),
        ] {
            assert_eq!(media(range).fits(&media(other)), fits, "{range} {other}");
        }
        for wrong in ["", "json", "a/", "/b", "a b/c", "text/plain\r\nx: y"] {
            assert_eq!(Media::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn kinds_follow_the_type_or_its_suffix() {
        for (text, kind) in [
            ("application/problem+json", Kind::Json),
            ("*/*", Kind::Json),
            ("application/x-ndjson", Kind::Lines),
            ("multipart/mixed", Kind::Multipart),
            ("image/svg+xml", Kind::Text),
            ("text/csv", Kind::Text),
            ("image/png", Kind::Bytes),
            ("application/octet-stream", Kind::Bytes),
        ] {
            assert_eq!(media(text).kind(), kind, "{text}");
        }
    }
}
