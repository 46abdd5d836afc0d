//! AsyncAPI documents, versions 2 and 3: which channels there are, where, and what goes through them.

pub(crate) mod message;
mod v2;
mod v3;

use serde_json::Value;

use crate::contract::Documents;
use crate::document::{Set, Spot};
use crate::error::{CallError, ErrorKind};

/// Channels of a document.
const MAX_CHANNELS: usize = 10_000;

/// A channel of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelDescription {
    /// Its name in the document.
    pub name: String,
    /// Topic, subject or path, with `{parameter}` where something varies; empty where the document leaves it open.
    pub address: String,
    /// What it is for, in one line; empty where the document does not say.
    pub summary: String,
    /// Where it is.
    pub servers: Vec<ServerDescription>,
    /// What goes through it.
    pub messages: Vec<MessageDescription>,
    /// What the application that the document describes does with it, without repeats.
    pub actions: Vec<Action>,
}

/// A server of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerDescription {
    /// Its name in the document.
    pub name: String,
    /// `mqtt`, `nats`, `kafka`, …, as the document writes it, in lower case.
    pub protocol: String,
    /// Name and port, defaults in place of variables.
    pub host: String,
}

/// A message of a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageDescription {
    /// Its name in the document; made of its number where it has none.
    pub name: String,
    /// Media type of its content; empty where the document does not say.
    pub content_type: String,
    /// JSON Schema of its content, which needs nothing outside of itself; `true` where the document says nothing, or in
    /// another language.
    pub payload: Value,
    /// The language of the schema where it is another than JSON Schema, such as Avro; empty otherwise.
    pub schema_format: String,
}

/// What the application that a document describes does with a channel. Others do the opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It sends; others listen. Version 2 calls it `subscribe`.
    Send,
    /// It listens; others send. Version 2 calls it `publish`.
    Receive,
}

/// Reads a document of version 2 or 3, in JSON or YAML.
///
/// # Errors
/// `BadDocument` with its place: no JSON or YAML, another version, a reference that leads nowhere; `TooLarge`.
pub fn read(documents: &Documents) -> Result<Vec<ChannelDescription>, CallError> {
    let set = Set::read(documents)?;
    let version = set.root().text("asyncapi").unwrap_or_default();
    let channels = match version.split('.').next() {
        Some("2") => v2::read(&set)?,
        Some("3") => v3::read(&set)?,
        _ => {
            let found = super::error::shown(version);
            return Err(bad(
                "/asyncapi",
                format!("expected an AsyncAPI document of version 2 or 3, found \"{found}\""),
            ));
        }
    };
    if channels.len() > MAX_CHANNELS {
        let message = format!("{} channels, expected at most {MAX_CHANNELS}", channels.len());
        return Err(CallError::new(ErrorKind::TooLarge, "/channels", message));
    }
    Ok(channels)
}

fn bad(place: impl Into<String>, message: impl Into<String>) -> CallError {
    CallError::new(ErrorKind::BadDocument, place, message)
}

/// The first line of what a channel is for.
fn summary(spot: Spot<'_>) -> String {
    let text = ["summary", "title", "description"].iter().find_map(|name| spot.text(name));
    text.and_then(|text| text.lines().next()).unwrap_or_default().trim().to_owned()
}

/// A server's host with the defaults of its variables.
fn server(set: &Set, name: &str, server: Spot<'_>, host: &str) -> Result<ServerDescription, CallError> {
    let mut host = host.to_owned();
    if let Some(variables) = set.get(server, "variables")? {
        for (variable, described) in variables.entries() {
            if let Some(value) = set.follow(described)?.text("default") {
                host = host.replace(&format!("{{{variable}}}"), value);
            }
        }
    }
    let protocol = server.text("protocol").unwrap_or_default().to_ascii_lowercase();
    if protocol.is_empty() {
        return Err(bad(format!("/servers/{name}/protocol"), "is missing; every server has it"));
    }
    Ok(ServerDescription { name: name.to_owned(), protocol, host })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::{CloudEvent, Schema};

    const V2: &str = "
asyncapi: 2.6.0
info: {title: Meters, version: '1'}
defaultContentType: application/json
servers:
  test: {url: 'mqtt://broker.example.org:{port}/', protocol: mqtt, variables: {port: {default: '1883'}}}
  other: {url: 'nats.example.org:4222', protocol: NATS}
channels:
  meters/{id}/read:
    description: |
      Readings of meters.
      Every quarter of an hour.
    servers: [test]
    subscribe:
      message: {$ref: '#/components/messages/reading'}
  commands:
    publish:
      message:
        oneOf:
          - {messageId: start, payload: {type: object}}
          - {name: stop, contentType: text/plain, schemaFormat: application/vnd.apache.avro;version=1.9.0, payload: {}}
components:
  messages:
    reading:
      payload: {$ref: '#/components/schemas/reading'}
  schemas:
    reading: {type: object, required: [kwh], properties: {kwh: {$ref: '#/components/schemas/energy'}}}
    energy: {type: number, minimum: 0}
";

    const V3: &str = "
asyncapi: 3.0.0
info: {title: Meters, version: '1'}
defaultContentType: application/json
servers:
  test: {host: 'broker.example.org:1883', protocol: mqtt}
channels:
  read:
    address: meters/{id}/read
    summary: Readings of meters.
    servers: [{$ref: '#/servers/test'}]
    messages:
      reading: {$ref: '#/components/messages/reading'}
  open: {address: null}
operations:
  sendReading:
    action: send
    channel: {$ref: '#/channels/read'}
components:
  messages:
    reading:
      traits: [{contentType: application/vnd.meter+json}]
      payload:
        schemaFormat: application/schema+json;version=draft-07
        schema: {$ref: '#/components/schemas/reading'}
  schemas:
    reading: {type: object, required: [kwh], properties: {kwh: {type: number}}}
";

    fn parsed(text: &str) -> Vec<ChannelDescription> {
        read(&Documents::one("x.yaml", text)).unwrap()
    }

    #[test]
    fn a_document_of_version_2_is_read() {
        let channels = parsed(V2);
        let commands = &channels[0];
        assert_eq!(
            (commands.name.as_str(), commands.actions.as_slice()),
            ("commands", &[Action::Receive][..])
        );
        let hosts: Vec<_> =
            commands.servers.iter().map(|server| (server.protocol.as_str(), server.host.as_str())).collect();
        assert_eq!(hosts, [("nats", "nats.example.org:4222"), ("mqtt", "broker.example.org:1883")]);
        let messages: Vec<_> = commands
            .messages
            .iter()
            .map(|message| (message.name.as_str(), message.content_type.as_str(), &message.payload))
            .collect();
        assert_eq!((messages[0].0, messages[0].1), ("start", "application/json"));
        assert_eq!(messages[1], ("stop", "text/plain", &json!(true)));
        assert!(commands.messages[1].schema_format.starts_with("application/vnd.apache.avro"));
        let read = &channels[1];
        assert_eq!(
            (read.address.as_str(), read.summary.as_str()),
            ("meters/{id}/read", "Readings of meters.")
        );
        assert_eq!((read.servers.len(), read.actions.as_slice()), (1, &[Action::Send][..]));
        let schema = Schema::new(&read.messages[0].payload).unwrap();
        let event = |kwh: f64| CloudEvent::new("1", "/s", "t").with_json(json!({ "kwh": kwh }));
        schema.check(&event(1.0)).unwrap();
        assert_eq!(schema.check(&event(-1.0)).unwrap_err().place, "/data/kwh");
    }

    #[test]
    fn a_document_of_version_3_is_read() {
        let channels = parsed(V3);
        let (open, read) = (&channels[0], &channels[1]);
        assert_eq!((open.name.as_str(), open.address.as_str(), open.servers.len()), ("open", "", 1));
        assert_eq!(
            (read.address.as_str(), read.actions.as_slice()),
            ("meters/{id}/read", &[Action::Send][..])
        );
        let message = &read.messages[0];
        assert_eq!(
            (message.name.as_str(), message.content_type.as_str()),
            ("reading", "application/vnd.meter+json")
        );
        let schema = Schema::new(&message.payload).unwrap();
        assert!(schema.check(&CloudEvent::new("1", "/s", "t").with_json(json!({}))).is_err());
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_place() {
        let error = |text: &str| read(&Documents::one("x.yaml", text)).unwrap_err();
        assert_eq!(error("openapi: 3.1.0").place, "/asyncapi");
        assert_eq!(error("asyncapi: 1.2.0").place, "/asyncapi");
        assert!(error("{").place.starts_with("x.yaml, line 1"));
        assert!(error(&V2.replace("schemas/energy'", "schemas/nothing'")).message.contains("leads nowhere"));
        assert!(error(&V3.replace("#/channels/read", "#/channels/other")).message.contains("leads nowhere"));
        assert_eq!(
            error(&V3.replace("action: send", "action: shout")).place,
            "/operations/sendReading/action"
        );
        assert_eq!(
            error(&V2.replace("servers: [test]", "servers: [nobody]")).place,
            "/channels/meters~1{id}~1read/servers"
        );
        assert!(error("asyncapi: 3.0.0\nchannels: [1]").place.starts_with("/channels"));
    }
}
