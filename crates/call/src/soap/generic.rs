//! XML of no known type as JSON, and back without loss but for comments, prefixes and instructions.
//!
//! An element is `{"#name": "{namespace}name", "@{namespace}attribute": "text", "@attribute": "text",
//! "#content": ["text", {"#name": …}, …]}`; `#content` is left out where it is empty. A name without a namespace is
//! written without braces. The value of `xsi:type` is a name in the same notation.

use serde_json::{Map, Value};

use super::encode::{Path, Refusal};
use super::names::{QName, XSI, short};
use super::values::told;
use super::xml::{Content, Element, Writer};

/// An element as JSON.
pub(crate) fn read(element: Element<'_>) -> Value {
    let mut object = Map::new();
    object.insert("#name".to_owned(), element.name().to_string().into());
    read_within(element, &mut object);
    Value::Object(object)
}

/// Attributes and content of an element.
pub(crate) fn read_within(element: Element<'_>, object: &mut Map<String, Value>) {
    for (namespace, local, value) in element.attributes() {
        let key = format!("@{}", QName::new(namespace, local));
        let is_type = namespace == XSI && local == "type";
        let value = is_type
            .then(|| element.qname(value).ok())
            .flatten()
            .map_or_else(|| value.to_owned(), |name| name.to_string());
        object.insert(key, value.into());
    }
    // Space between elements means nothing where there is no other text.
    let laid_out = element.children().next().is_some() && element.text().trim().is_empty();
    let content = element.contents().filter_map(|content| match content {
        Content::Element(child) => Some(read(child)),
        Content::Text(_) if laid_out => None,
        Content::Text(text) => Some(Value::String(text.to_owned())),
    });
    let content: Vec<Value> = content.collect();
    if !content.is_empty() {
        object.insert("#content".to_owned(), content.into());
    }
}

/// The name that an element in JSON has.
///
/// # Errors
/// When it is no such object, or has no name.
pub(crate) fn name(value: &Value, path: &Path) -> Result<QName, Refusal> {
    let Value::Object(object) = value else {
        return Err(path.refuse(format!(
            "expected an element such as {{\"#name\": \"{{namespace}}name\", \"#content\": []}}, found {}",
            told(value)
        )));
    };
    let Some(Value::String(name)) = object.get("#name") else {
        return Err(path.refuse("expected a `#name` such as `{namespace}name`"));
    };
    QName::clark(name).ok_or_else(|| {
        path.refuse(format!("expected a `#name` such as `{{namespace}}name`, found `{}`", short(name)))
    })
}

/// Writes an element.
///
/// # Errors
/// When it is not as [`read`] has it.
pub(crate) fn write(value: &Value, path: &mut Path, writer: &mut Writer) -> Result<(), Refusal> {
    let name = name(value, path)?;
    path.deeper()?;
    writer.start(&name);
    if let Value::Object(object) = value {
        write_within(object, &["#name"], path, writer)?;
    }
    writer.end();
    path.higher();
    Ok(())
}

/// Writes attributes and content into the open element; keys of `besides` are the caller's.
pub(crate) fn write_within(
    object: &Map<String, Value>,
    besides: &[&str],
    path: &mut Path,
    writer: &mut Writer,
) -> Result<(), Refusal> {
    for (key, value) in object.iter().filter(|(key, _)| !besides.contains(&key.as_str())) {
        path.push(key);
        let Some(attribute) = key.strip_prefix('@') else {
            if key == "#content" {
                path.pop();
                continue;
            }
            return Err(path.refuse("expected `#name`, `#content` or an attribute such as `@name`"));
        };
        let name = QName::clark(attribute)
            .ok_or_else(|| path.refuse("expected an attribute such as `@{namespace}name`"))?;
        let Value::String(text) = value else {
            return Err(path.refuse(format!("expected a text, found {}", told(value))));
        };
        path.characters(text)?;
        let of_type = (name.is(XSI, "type")).then(|| QName::clark(text)).flatten().map(|ty| writer.name(&ty));
        writer.attribute(&name, of_type.as_deref().unwrap_or(text));
        path.pop();
    }
    let Some(content) = object.get("#content") else { return Ok(()) };
    path.push("#content");
    let Value::Array(content) = content else {
        return Err(path.refuse(format!("expected a list of texts and elements, found {}", told(content))));
    };
    for (number, part) in content.iter().enumerate() {
        path.push(&number.to_string());
        match part {
            Value::String(text) => {
                path.characters(text)?;
                writer.text(text);
            }
            part => write(part, path, writer)?,
        }
        path.pop();
    }
    path.pop();
    Ok(())
}
