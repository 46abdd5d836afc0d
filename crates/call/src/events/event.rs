//! An event of CloudEvents 1.0.2, whatever carries it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use super::check;
use super::error::EventError;

/// An event. `source` and `id` together are its identity: the same pair twice is the same event twice.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEvent {
    /// Its name within the source; not empty.
    pub id: String,
    /// What it comes from: a URI reference of RFC 3986, not empty.
    pub source: String,
    /// What happened, such as `com.example.meter.read`; the attribute `type`, not empty.
    pub event_type: String,
    /// What it happened to, within the source; not empty.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// Media type of the data (RFC 2046). Without one, JSON is meant where the data is JSON.
    pub datacontenttype: Option<String>,
    /// Where the data's schema is: an absolute URI.
    pub dataschema: Option<String>,
    /// Other attributes by name: lower-case letters and digits, 1 to 64 of them (the specification recommends 20).
    pub extensions: BTreeMap<String, Attribute>,
    /// What is said about it.
    pub data: Option<Data>,
}

/// The value of an attribute that the specification does not define. Headers carry text only, so a number that went
/// through one comes back as text; both are the same attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text; URIs, times and Base64 too.
    Text(String),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// By the canonical text of the specification, section "Type System".
impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Attribute {}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A JSON value; the content type, where there is one, says JSON.
    Json(Value),
    /// Text of a content type that is not JSON.
    Text(String),
    /// Bytes of any content type.
    Bytes(Vec<u8>),
}

impl CloudEvent {
    /// An event with the three attributes that every event has.
    pub fn new(id: impl Into<String>, source: impl Into<String>, event_type: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            event_type: event_type.into(),
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::new(),
            data: None,
        }
    }

    /// The same event with a JSON value as its data.
    #[must_use]
    pub fn with_json(mut self, data: Value) -> Self {
        self.data = Some(Data::Json(data));
        self
    }

    /// The same event about this subject.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// By what duplicates are known: source and id, a space between them, which no source has.
    #[must_use]
    pub fn dedupe_id(&self) -> String {
        format!("{} {}", self.source, self.id)
    }

    /// What must stay in order with what: the attribute `partitionkey` (the partitioning extension) where there is one,
    /// else source and subject. `None` for an event without either, which has no order.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match (self.extensions.get("partitionkey"), &self.subject) {
            (Some(key), _) => Some(key.to_string()),
            (None, Some(subject)) => Some(format!("{} {subject}", self.source)),
            (None, None) => None,
        }
    }

    /// Checks every attribute against the specification.
    ///
    /// # Errors
    /// The first that is wrong, with its place as in JSON: `/id`.
    pub fn check(&self) -> Result<(), EventError> {
        check::text("id", &self.id)?;
        check::uri_reference("source", &self.source)?;
        check::text("type", &self.event_type)?;
        if let Some(subject) = &self.subject {
            check::text("subject", subject)?;
        }
        if let Some(media_type) = &self.datacontenttype {
            check::media_type("datacontenttype", media_type)?;
        }
        if let Some(schema) = &self.dataschema {
            check::uri("dataschema", schema)?;
        }
        check::extensions(&self.extensions)?;
        let json = self.datacontenttype.as_deref().is_none_or(check::is_json);
        match &self.data {
            Some(Data::Json(_)) if !json => {
                let found = self.datacontenttype.as_deref().unwrap_or_default();
                Err(EventError::bad(
                    "/datacontenttype",
                    format!("the data is JSON, and the type says {found}"),
                ))
            }
            Some(Data::Text(_)) if json => Err(EventError::bad(
                "/datacontenttype",
                "the data is text: expected a content type that is not JSON, such as text/plain",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_partition_key_and_else_what_the_event_is_about() {
        let event = CloudEvent::new("1", "/meters", "read");
        assert_eq!(event.key(), None);
        let mut event = event.about("m7");
        assert_eq!(event.key().as_deref(), Some("/meters m7"));
        event.extensions.insert("partitionkey".to_owned(), "street 4".into());
        assert_eq!(event.key().as_deref(), Some("street 4"));
        assert_eq!(event.dedupe_id(), "/meters 1");
    }

    #[test]
    fn what_the_specification_forbids_is_refused_with_its_place() {
        let good = || CloudEvent::new("1", "/meters", "read");
        let place = |event: &CloudEvent| event.check().unwrap_err().place;
        assert_eq!(place(&CloudEvent::new("", "/meters", "read")), "/id");
        assert_eq!(place(&CloudEvent::new("1", "a b", "read")), "/source");
        assert_eq!(place(&CloudEvent::new("1", "/a%2", "read")), "/source");
        assert_eq!(place(&CloudEvent::new("1", "/meters", "re\nad")), "/type");
        assert_eq!(place(&good().about("")), "/subject");
        for name in ["Upper", "with-dash", "", "data", "id", &"x".repeat(65)] {
            let mut event = good();
            event.extensions.insert(name.to_owned(), Attribute::Integer(1));
            assert_eq!(place(&event), format!("/{name}"));
        }
        let mut event = good();
        event.dataschema = Some("/relative".to_owned());
        assert_eq!(place(&event), "/dataschema");
        let mut event = good().with_json(Value::Null);
        event.datacontenttype = Some("text/plain".to_owned());
        assert_eq!(place(&event), "/datacontenttype");
        event.datacontenttype = Some("application/vnd.x+JSON; charset=utf-8".to_owned());
        event.check().unwrap();
        event.datacontenttype = Some("no type".to_owned());
        assert_eq!(place(&event), "/datacontenttype");
    }
}
