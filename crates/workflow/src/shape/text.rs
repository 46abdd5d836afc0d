//! Rules for texts: what the schema refuses, and what it accepts but cannot work.

use jiff::Timestamp;

use crate::cron::Cron;
use crate::duration::{Duration, is_iso};
use crate::expression::{begins_expression, is_expression, is_space};
use crate::shape::Section;

/// What a text has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text {
    /// Any text.
    Free,
    /// Letters, digits and hyphens, at most 63 (a label of RFC 1123).
    Label,
    /// A semantic version.
    Version,
    /// The version of the DSL.
    DslVersion,
    /// The name of a host.
    Host,
    /// `${ … }`.
    Expression,
    /// A URI, a reference to one, or a template.
    Uri,
    /// A URI or an expression.
    UriOrExpression,
    /// ISO 8601 or an expression.
    Duration,
    /// A time of RFC 3339 or an expression.
    Moment,
    /// A cron expression.
    Cron,
    /// Where the flow goes next.
    Directive,
    /// The name of something in `use`.
    Declared(Section),
    /// A function: in `use.functions`, of a catalog, or a URL.
    Function,
}

impl Text {
    /// What is expected, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Free => "text",
            Self::Label => "letters, digits and hyphens, at most 63, such as `order-pizza`",
            Self::Version => "a semantic version such as '1.0.0'",
            Self::DslVersion => "the version of the DSL, such as '1.0.3'",
            Self::Host => "the name of a host, without scheme and port",
            Self::Expression => "an expression on one line, ${ … }",
            Self::Uri => "a URI or URI template",
            Self::UriOrExpression => "a URI, URI template or expression on one line ${ … }",
            Self::Duration => "a duration such as PT1M30S, or an expression ${ … }",
            Self::Moment => "a time such as 2026-07-01T12:00:00Z, or an expression ${ … }",
            Self::Cron => "five fields: minute hour day month weekday, such as '0 6 * * *'",
            Self::Directive => "continue, exit, end or the name of a task",
            Self::Declared(section) => section.expected(),
            Self::Function => "the name of a function",
        }
    }

    /// Whether the schema lets a text pass.
    pub(crate) fn allows(self, text: &str) -> bool {
        match self {
            Self::Label => is_host(text, false),
            Self::Version | Self::DslVersion => is_version(text),
            Self::Host => is_host(text, true),
            Self::Expression => is_expression(text),
            Self::Uri => is_uri(text),
            Self::UriOrExpression => is_uri(text) || is_expression(text),
            Self::Duration => is_expression(text) || is_iso(text),
            Self::Declared(section) => {
                section != Section::Authentications && section != Section::Secrets || !text.is_empty()
            }
            Self::Free | Self::Moment | Self::Cron | Self::Directive | Self::Function => true,
        }
    }

    /// Why a text that the schema lets pass cannot work, as far as the text alone tells.
    pub(crate) fn objection(self, text: &str) -> Option<String> {
        match self {
            Self::Cron => Cron::parse(text).err(),
            Self::Duration if is_iso(text) => Duration::parse(text).err(),
            Self::DslVersion if !text.starts_with("1.") => {
                Some(format!("version {} of the DSL is not known", sos_model::shown(text)))
            }
            Self::Moment if !begins_expression(text) && text.parse::<Timestamp>().is_err() => {
                Some(format!("\"{}\" is no time", sos_model::shown(text)))
            }
            _ => None,
        }
    }
}

/// One label of a host's name; with `dots`, several may be joined within the same 63 characters.
fn is_host(text: &str, dots: bool) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || dots && *byte == b'.';
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.len() <= 63
        && bytes.iter().all(inner)
}

/// Semantic Versioning 2.0.0.
fn is_version(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// Anything without spaces that is no expression; a scheme, whose form the schema leaves open, may have them.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.starts_with(is_space) || begins_expression(text) {
        return false;
    }
    let after_scheme = match text.find([':', '/', '?', '#']) {
        Some(index) if index > 0 && text[index..].starts_with(':') => &text[index + 1..],
        _ => text,
    };
    !after_scheme.contains(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for version in ["1.0.3", "0.0.0", "1.0.0-alpha.1", "1.2.3-0a.b-c+build.01", "1.0.0+x-y"] {
            assert!(Text::Version.allows(version), "{version}");
        }
        for wrong in
            ["", "1", "1.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+", "1.0.0-a..b", "v1.0.0", "1.0.0.0"]
        {
            assert!(!Text::Version.allows(wrong), "{wrong}");
        }
        assert!(
            Text::DslVersion.objection("2.0.0").is_some() && Text::DslVersion.objection("1.0.3").is_none()
        );
    }

    #[test]
    fn labels_and_hosts_have_63_characters_at_most() {
        assert!(Text::Label.allows("a-B-9") && Text::Label.allows(&"a".repeat(63)));
        for wrong in ["", "-a", "a-", "a.b", "a_b", "ä", &"a".repeat(64)] {
            assert!(!Text::Label.allows(wrong), "{wrong}");
        }
        assert!(Text::Host.allows("a.example.com") && !Text::Host.allows("a.example.com."));
    }

    #[test]
    fn uris_are_templates_and_references_too() {
        for uri in ["https://a/b?c#d", "/pets/{id}", "a", "file://x", "{var}", "odd scheme:x", "#"] {
            assert!(Text::Uri.allows(uri), "{uri}");
        }
        for wrong in ["", " a", "a b", "https://a/b c", "${ .a }", " ${.a}"] {
            assert!(!Text::Uri.allows(wrong), "{wrong}");
        }
        assert!(Text::UriOrExpression.allows("${ .a }"));
    }
}
