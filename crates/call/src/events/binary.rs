//! The binary mode that all bindings share: attributes as names with text, data as it is.

use super::check;
use super::error::{EventError, shown};
use super::event::{Attribute, CloudEvent, Data};
use super::json::specversion;

/// An event in binary mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Attributes without prefix and escapes, `specversion` too, `datacontenttype` not.
    pub attributes: Vec<(String, String)>,
    /// Media type of the data.
    pub content_type: Option<String>,
    /// The data.
    pub data: Vec<u8>,
}

impl CloudEvent {
    /// The event in binary mode.
    ///
    /// # Errors
    /// What [`Self::check`] finds.
    pub fn to_binary(&self) -> Result<Binary, EventError> {
        self.check()?;
        let mut attributes = vec![
            ("specversion".to_owned(), "1.0".to_owned()),
            ("id".to_owned(), self.id.clone()),
            ("source".to_owned(), self.source.clone()),
            ("type".to_owned(), self.event_type.clone()),
        ];
        let time = self.time.map(|time| time.to_string());
        for (name, value) in [("subject", &self.subject), ("time", &time), ("dataschema", &self.dataschema)] {
            if let Some(value) = value {
                attributes.push((name.to_owned(), value.clone()));
            }
        }
        attributes.extend(self.extensions.iter().map(|(name, value)| (name.clone(), value.to_string())));
        let mut content_type = self.datacontenttype.clone();
        let data = match &self.data {
            None => vec![],
            Some(Data::Json(value)) => {
                // What JSON implies is said where nothing implies it.
                content_type.get_or_insert_with(|| "application/json".to_owned());
                value.to_string().into_bytes()
            }
            Some(Data::Text(text)) => text.clone().into_bytes(),
            Some(Data::Bytes(bytes)) => bytes.clone(),
        };
        Ok(Binary { attributes, content_type, data })
    }

    /// Reads an event in binary mode. Data of a JSON type becomes a value, of a text type text, all else bytes; no
    /// data and empty data are the same.
    ///
    /// # Errors
    /// `BadInput` with its place: the attribute as in JSON (`/id`), `/data` where it is not the JSON that it says.
    pub fn from_binary(binary: Binary) -> Result<Self, EventError> {
        let mut event = Self::new("", "", "");
        let mut version = None;
        let mut seen: Vec<String> = vec![];
        for (name, value) in binary.attributes {
            let place = format!("/{name}");
            if seen.contains(&name) {
                return Err(EventError::bad(place, "is there twice"));
            }
            match name.as_str() {
                "specversion" => version = Some(value),
                "id" => event.id = value,
                "source" => event.source = value,
                "type" => event.event_type = value,
                "subject" => event.subject = Some(value),
                "time" => event.time = Some(check::time("time", &value)?),
                "dataschema" => event.dataschema = Some(value),
                _ => drop(event.extensions.insert(name.clone(), Attribute::Text(value))),
            }
            seen.push(name);
        }
        specversion("/specversion", version.as_deref())?;
        for name in ["id", "source", "type"] {
            if !seen.iter().any(|known| known == name) {
                return Err(EventError::bad(format!("/{name}"), "is missing; every event has it"));
            }
        }
        event.data = data(binary.content_type.as_deref(), binary.data)?;
        event.datacontenttype = binary.content_type;
        event.check().map(|()| event)
    }
}

fn data(content_type: Option<&str>, bytes: Vec<u8>) -> Result<Option<Data>, EventError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let Some(content_type) = content_type else { return Ok(Some(Data::Bytes(bytes))) };
    if check::is_json(content_type) {
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            EventError::bad("/data", format!("the content type is {}: {error}", shown(content_type)))
        })?;
        return Ok(Some(Data::Json(value)));
    }
    let utf8 =
        check::charset(content_type).is_none_or(|charset| matches!(charset.as_str(), "utf-8" | "us-ascii"));
    if utf8 && is_text(content_type) {
        return Ok(Some(
            String::from_utf8(bytes).map_or_else(|error| Data::Bytes(error.into_bytes()), Data::Text),
        ));
    }
    Ok(Some(Data::Bytes(bytes)))
}

fn is_text(content_type: &str) -> bool {
    let essence = check::essence(content_type).to_ascii_lowercase();
    essence.starts_with("text/") || essence == "application/xml" || essence.ends_with("+xml")
}

/// The value of a header: space, `"`, `%` and all that is not printable ASCII as `%XY` of its UTF-8 (HTTP binding,
/// section 3.1.3.2; NATS binding, section 3.1.3.2).
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => escaped += &format!("%{byte:02X}"),
            0x21..=0x7e => escaped.push(char::from(byte)),
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

/// What a header's value stands for: quoted strings are opened first, then one round of percent-decoding.
pub(super) fn unescape(place: &str, value: &str) -> Result<String, EventError> {
    let open = unquote(value);
    let mut bytes = Vec::with_capacity(open.len());
    let mut rest = open.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let value = hex(high).unwrap_or_default() * 16 + hex(low).unwrap_or_default();
                bytes.push(u8::try_from(value).unwrap_or_default());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let wrong = |_| EventError::bad(place, format!("\"{}\" is not UTF-8 when it is decoded", shown(value)));
    String::from_utf8(bytes).map_err(wrong)
}

/// RFC 7230, section 3.2.6: `"a \"b\""` is `a "b"`, also amid other text.
fn unquote(value: &str) -> String {
    if !value.contains('"') {
        return value.to_owned();
    }
    let mut open = String::with_capacity(value.len());
    let mut quoted = false;
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => open.extend(characters.next()),
            c => open.push(c),
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_escaped_as_the_binding_shows() {
        assert_eq!(escape("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(unescape("header ce-x", "Euro%20%e2%82%ac%20%F0%9F%98%80").unwrap(), "Euro € 😀");
        assert_eq!(unescape("", "\"a \\\"b\\\" %41\"").unwrap(), "a \"b\" A");
        assert_eq!(unescape("", "100%, %4").unwrap(), "100%, %4");
        assert_eq!(unescape("header ce-x", "%C0%A0").unwrap_err().place, "header ce-x");
    }

    #[test]
    fn data_without_a_type_stays_bytes_and_wrong_json_is_refused() {
        let binary = |content_type: Option<&str>, data: &[u8]| {
            let attributes = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            let content_type = content_type.map(str::to_owned);
            CloudEvent::from_binary(Binary { attributes, content_type, data: data.to_vec() })
        };
        assert_eq!(binary(None, b"{}").unwrap().data, Some(Data::Bytes(b"{}".to_vec())));
        assert_eq!(binary(Some("application/json"), b"").unwrap().data, None);
        assert_eq!(binary(Some("text/csv"), b"a,b").unwrap().data, Some(Data::Text("a,b".to_owned())));
        assert_eq!(binary(Some("text/csv"), b"\xff").unwrap().data, Some(Data::Bytes(vec![255])));
        let latin = binary(Some("text/plain; charset=iso-8859-1"), b"a").unwrap();
        assert_eq!(latin.data, Some(Data::Bytes(vec![b'a'])));
        assert_eq!(binary(Some("application/json"), b"I'm a string").unwrap_err().place, "/data");
    }

    proptest! {
        #[test]
        fn every_text_comes_back_from_a_header(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(escaped.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"'));
            prop_assert_eq!(unescape("", &escaped).unwrap(), text);
        }

        #[test]
        fn no_header_makes_it_panic(text in any::<String>()) {
            let _read = unescape("", &text);
        }
    }
}
