//! Single values that are neither quantities nor free text: names, zones, times, ports.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};

use crate::field::{Cx, Field, scalar_schema};
use crate::node::{Node, Value};
use crate::problem::{did_you_mean, shown};
use crate::schema::Schema;

/// The name of a resource, a port or a service: lower-case letters, digits and `-`, at most 63 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name, when the text is one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let outer = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
        let bytes = text.as_bytes();
        let valid =
            bytes.len() <= 63 && bytes.iter().all(inner) && outer(bytes.first()) && outer(bytes.last());
        valid.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}
impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}
impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}
impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}
impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Field for Name {
    fn schema() -> Schema {
        let json = json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"});
        scalar_schema("name", "a name of lower-case letters, digits and \"-\"", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let name = Self::new(text);
        if name.is_none() {
            let help = "expected lower-case letters, digits and \"-\", at most 63, with a letter or digit at both ends";
            cx.report(node.position, format!("\"{}\" is not a name", shown(text)), help);
        }
        name
    }
    fn write(&self) -> Json {
        json!(self.0)
    }
}

/// An IANA time zone that is in the bundled database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneName(TimeZone);

impl ZoneName {
    /// The zone with this IANA name, when the bundled database has it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        zone.iana_name().is_some().then_some(Self(zone))
    }

    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.0
    }

    /// The IANA name, such as `America/Los_Angeles`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

impl Field for ZoneName {
    fn schema() -> Schema {
        scalar_schema("time zone", "an IANA time zone, such as Europe/Berlin", json!({"type": "string"}))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let zone = Self::new(text);
        if zone.is_none() {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let hint = did_you_mean(text, names.iter().map(String::as_str));
            let help = format!("{hint}expected an IANA time zone, such as Europe/Berlin");
            cx.report(node.position, format!("unknown time zone \"{}\"", shown(text)), help);
        }
        zone
    }
    fn write(&self) -> Json {
        json!(self.as_str())
    }
}

impl Field for Timestamp {
    fn schema() -> Schema {
        let json = json!({"type": "string", "format": "date-time"});
        scalar_schema("time", "a time with offset, such as 2016-08-01T00:00:00-08:00", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let time = text.parse().ok();
        if time.is_none() {
            let help = format!("expected {}", Self::schema().expected());
            cx.report(node.position, format!("\"{}\" is not a time with offset", shown(text)), help);
        }
        time
    }
    fn write(&self) -> Json {
        json!(self.to_string())
    }
}

impl Field for Time {
    fn schema() -> Schema {
        let json = json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"});
        scalar_schema("time of day", "a time of day, such as \"22:00\"", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let parts: Vec<&str> = text.split(':').collect();
        let digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let number = |i: usize| parts.get(i).map_or(Some(0), |part| part.parse::<i8>().ok());
        let shape = (2..=3).contains(&parts.len()) && parts.iter().all(digits);
        let time = (number(0).zip(number(1)).zip(number(2)))
            .filter(|_| shape)
            .and_then(|((h, m), s)| Self::new(h, m, s, 0).ok());
        if time.is_none() {
            let help = format!("expected {} (in quotes)", Self::schema().expected());
            cx.report(node.position, format!("\"{}\" is not a time of day", shown(text)), help);
        }
        time
    }
    fn write(&self) -> Json {
        if self.second() == 0 {
            json!(format!("{:02}:{:02}", self.hour(), self.minute()))
        } else {
            json!(format!("{:02}:{:02}:{:02}", self.hour(), self.minute(), self.second()))
        }
    }
}

/// A port by its name in the service, or by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    /// The name of a declared port.
    Name(Name),
    /// A port number, 1…65535.
    Number(u16),
}

impl std::fmt::Display for PortRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl Field for PortRef {
    fn schema() -> Schema {
        let json = json!({"type": ["integer", "string"], "minimum": 1, "maximum": 65535});
        scalar_schema("port", "the name of a port, or a number from 1 to 65535", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?;
        let signed = text.strip_prefix('-').unwrap_or(text);
        if signed.is_empty() || !signed.bytes().all(|b| b.is_ascii_digit()) {
            return Name::read(node, cx).map(Self::Name);
        }
        let number = text.parse().ok().filter(|port| *port > 0).map(Self::Number);
        if number.is_none() {
            cx.report(
                node.position,
                format!("{} is not a port", shown(text)),
                "expected a number from 1 to 65535",
            );
        }
        number
    }
    fn write(&self) -> Json {
        match self {
            Self::Name(name) => json!(name.as_str()),
            Self::Number(port) => json!(port),
        }
    }
}

/// A number of replicas, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaAmount {
    /// This many.
    Count(u32),
    /// Per cent, whole.
    Percent(u32),
}

impl Field for ReplicaAmount {
    fn schema() -> Schema {
        let json = json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 1000},
            {"type": "string", "pattern": r"^\s*[0-9]{1,4}\s*%\s*$"},
        ]});
        scalar_schema("number of replicas", "a whole number up to 1000, or a share such as 25 %", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.scalar::<Self>(node)?.trim();
        let whole = |digits: &str| digits.trim_end().parse::<u32>().ok().filter(|number| *number <= 1000);
        let amount = match text.strip_suffix('%') {
            Some(share) => whole(share).map(Self::Percent),
            None => whole(text).map(Self::Count),
        };
        if amount.is_none() {
            let message = format!("\"{}\" is no number of replicas", shown(text));
            cx.report(node.position, message, "expected a whole number up to 1000, or a share such as 25 %");
        }
        amount
    }
    fn write(&self) -> Json {
        match self {
            Self::Count(count) => json!(count),
            Self::Percent(percent) => json!(format!("{percent} %")),
        }
    }
}

/// `true`, `false`, or the settings of what is switched on; `true` takes the settings' defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Switch<T>(pub Option<T>);

impl<T> Switch<T> {
    /// Switched off.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// The settings when it is on.
    #[must_use]
    pub const fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Whether it is on.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl<T: Field> Field for Switch<T> {
    fn schema() -> Schema {
        Schema::Switch(Box::new(T::schema()))
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match (&node.value, node.text()) {
            (Value::Map(_), _) => T::read(node, cx).map(|on| Self(Some(on))),
            (_, Some("false")) => Some(Self(None)),
            // The defaults are what an empty map means.
            (_, Some("true")) => {
                let empty = Node { position: node.position, value: Value::Map(Vec::new()) };
                T::read(&empty, cx).map(|on| Self(Some(on)))
            }
            _ => {
                cx.mismatch(node, &Self::schema());
                None
            }
        }
    }
    fn write(&self) -> Json {
        self.0.as_ref().map_or(json!(false), T::write)
    }
    fn absent() -> Option<Self> {
        Some(Self(None))
    }
}

/// How far ahead the values of a signal are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownAhead {
    /// A value is known when its step has passed (`false`, `0 h`).
    Never,
    /// Values are known this far ahead of now.
    For(SignedDuration),
    /// All values are known from the start: a published tariff (`always`).
    Always,
}

impl Field for KnownAhead {
    fn schema() -> Schema {
        let json = json!({"anyOf": [{"const": false}, {"type": "string"}]});
        scalar_schema("how far ahead", "false, always, or a duration such as 24 h", json)
    }
    fn read(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match cx.scalar::<Self>(node)? {
            "false" | "never" => Some(Self::Never),
            "always" | "true" => Some(Self::Always),
            _ => match SignedDuration::read(node, cx)? {
                ahead if ahead.is_zero() => Some(Self::Never),
                ahead if ahead.is_negative() => {
                    cx.report(
                        node.position,
                        "a negative duration",
                        format!("expected {}", Self::schema().expected()),
                    );
                    None
                }
                ahead => Some(Self::For(ahead)),
            },
        }
    }
    fn write(&self) -> Json {
        match self {
            Self::Never => json!(false),
            Self::For(ahead) => ahead.write(),
            Self::Always => json!("always"),
        }
    }
}
