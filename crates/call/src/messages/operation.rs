//! An operation of an AsyncAPI document, as somebody who calls it needs it: where it is, and what goes there.
//!
//! # Source
//! AsyncAPI 2.6.0 and 3.0.0. Of version 2 a channel or the `operationId` of one of its operations is meant, of version 3 an operation
//! or a channel by its name or address. Servers are in the order of their names, as maps of JSON have no other.

use std::collections::BTreeMap;
use std::ptr;

use serde_json::Value;

use super::Protocol;
use crate::contract::Documents;
use crate::document::{Set, Spot};
use crate::error::{CallError, ErrorKind};
use crate::events::asyncapi::MessageDescription;
use crate::events::asyncapi::message::{describe, schema};
use crate::http::Peer;

/// Names that are listed where one is unknown.
const LISTED: usize = 20;

/// What of a document is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A channel.
    Channel(&'a str),
    /// An operation.
    Operation(&'a str),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What of the document.
    pub target: Target<'a>,
    /// Whether it is published to; else messages are received.
    pub publishes: bool,
    /// The server; default: the first that speaks the protocol.
    pub server: Option<&'a str>,
    /// Values of variables of the server.
    pub variables: &'a BTreeMap<String, String>,
    /// What a server has to speak, where none is named.
    pub protocol: Option<&'a str>,
}

/// What a document says of what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationDescription {
    /// Where.
    pub server: Server,
    /// Topic, subject or path below that of the server, with `{parameter}` where something varies.
    pub address: String,
    /// What varies.
    pub parameters: Vec<Parameter>,
    /// What goes there; one of them. None where the document does not say.
    pub messages: Vec<Described>,
    /// Ways to say who asks, the preferred first.
    pub security: Vec<Security>,
    /// What is special about the protocol.
    pub bindings: Bindings,
}

/// A server, its variables filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in the document.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is.
    pub peer: Peer,
    /// The path that addresses are below; only of requests.
    pub path: String,
}

/// Something that varies in an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value where nothing gives one.
    pub default: Option<String>,
    /// Where in a message its value is: `$message.payload#/user/id`.
    pub location: Option<String>,
}

/// A message that may go there.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its name, type and payload.
    pub message: MessageDescription,
    /// JSON Schema of its headers; `true` where the document says nothing.
    pub headers: Value,
    /// Where in it is what it belongs to: `$message.header#/correlationId`.
    pub correlation: Option<String>,
}

/// A way to say who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// `userPassword`, `apiKey`, `httpApiKey`, `http`, `oauth2`, …
    pub kind: String,
    /// Name of a header, cookie or parameter.
    pub name: String,
    /// Where a key is: `user`, `password`, `header`, `query`, `cookie`.
    pub place: String,
}

/// What is special about the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// The method of requests.
    pub method: Option<String>,
    /// The group that shares the messages of a subject.
    pub queue: Option<String>,
    /// Whether a broker keeps the last message for those who subscribe later.
    pub retain: bool,
}

/// Reads what a document of version 2 or 3 says of an operation.
///
/// # Errors
/// `BadDocument` with its place; `BadInput` where there is no such channel, operation, server or variable, with those that there are,
/// or no server speaks what is spoken here.
pub fn operation(documents: &Documents, wanted: &Wanted<'_>) -> Result<OperationDescription, CallError> {
    let set = Set::read(documents)?;
    let version = set.root().text("asyncapi").unwrap_or_default();
    let version = match version.split('.').next() {
        Some("2") => 2,
        Some("3") => 3,
        _ => return Err(bad("/asyncapi", "expected an AsyncAPI document of version 2 or 3")),
    };
    let found = if version == 2 { second(&set, wanted)? } else { third(&set, wanted)? };
    let servers = servers(&set, found.channel, version)?;
    let (name, spot, protocol) = choose(&servers, &found, wanted)?;
    let server = server(&set, name, spot, protocol, wanted.variables)?;
    let default_type = set.root().text("defaultContentType").unwrap_or_default();
    let described = found.messages.iter().enumerate().map(|(at, message)| {
        let name = format!("message{}", at + 1);
        Ok(Described {
            message: describe(&set, *message, &name, default_type)?,
            headers: schema(&set, *message, "headers")?.0,
            correlation: correlation(&set, *message)?,
        })
    });
    Ok(OperationDescription {
        server,
        address: found.address.clone(),
        parameters: parameters(&set, found.channel)?,
        messages: described.collect::<Result<_, CallError>>()?,
        security: security(&set, found.operation, spot)?,
        bindings: bindings(&set, found.operation)?,
    })
}

fn bad(place: impl Into<String>, message: impl Into<String>) -> CallError {
    CallError::new(ErrorKind::BadDocument, place, message)
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> CallError {
    let mut known: Vec<&str> = known.take(LISTED + 1).collect();
    known.sort_unstable();
    let list = match known.len() {
        0 => "there is none".to_owned(),
        many if many > LISTED => format!("known: {}, …", known[..LISTED].join(", ")),
        _ => format!("known: {}", known.join(", ")),
    };
    let name = crate::events::shown(name);
    CallError::new(ErrorKind::BadInput, "", format!("the document has no {what} `{name}`; {list}"))
}

/// What is meant, in the document.
struct Found<'s> {
    name: String,
    channel: Spot<'s>,
    operation: Option<Spot<'s>>,
    address: String,
    messages: Vec<Spot<'s>>,
}

/// The members of an object, references followed.
fn members<'s>(set: &'s Set, of: Spot<'s>, name: &str) -> Result<Vec<(&'s str, Spot<'s>)>, CallError> {
    let Some(object) = set.get(of, name)? else { return Ok(vec![]) };
    object.entries().map(|(name, spot)| Ok((name.as_str(), set.follow(spot)?))).collect()
}

fn is_same(address: &str, wanted: &str) -> bool {
    address == wanted || address.trim_start_matches('/') == wanted.trim_start_matches('/')
}

fn second<'s>(set: &'s Set, wanted: &Wanted<'_>) -> Result<Found<'s>, CallError> {
    let channels = members(set, set.root(), "channels")?;
    // What others publish, the application that is described takes.
    let word = if wanted.publishes { "publish" } else { "subscribe" };
    let (name, channel, operation) = match wanted.target {
        Target::Channel(name) => {
            let found = channels.iter().find(|(known, _)| is_same(known, name));
            let (name, channel) =
                found.ok_or_else(|| unknown("channel", name, channels.iter().map(|(name, _)| *name)))?;
            let operation = set.get(*channel, word)?.ok_or_else(|| {
                let why = format!("channel `{name}` has no `{word}`: the document lets nobody do that there");
                CallError::new(ErrorKind::BadInput, "", why)
            })?;
            (*name, *channel, operation)
        }
        Target::Operation(id) => {
            let mut ids = Vec::new();
            let mut found = None;
            for (name, channel) in &channels {
                for word in ["publish", "subscribe"] {
                    let Some(operation) = set.get(*channel, word)? else { continue };
                    ids.extend(operation.text("operationId"));
                    if operation.text("operationId") == Some(id) {
                        found = Some((*name, *channel, operation));
                    }
                }
            }
            found.ok_or_else(|| unknown("operation", id, ids.into_iter()))?
        }
    };
    let messages = match set.get(operation, "message")? {
        None => vec![],
        Some(message) => match set.get(message, "oneOf")? {
            Some(list) => list.items().map(|item| set.follow(item)).collect::<Result<_, _>>()?,
            None => vec![message],
        },
    };
    let address = name.to_owned();
    Ok(Found { name: name.to_owned(), channel, operation: Some(operation), address, messages })
}

fn third<'s>(set: &'s Set, wanted: &Wanted<'_>) -> Result<Found<'s>, CallError> {
    let channels = members(set, set.root(), "channels")?;
    let (operation, channel) = match wanted.target {
        Target::Operation(name) => {
            let operations = members(set, set.root(), "operations")?;
            let found = operations.iter().find(|(known, _)| *known == name);
            let (_, operation) =
                found.ok_or_else(|| unknown("operation", name, operations.iter().map(|(name, _)| *name)))?;
            let channel = set.get(*operation, "channel")?;
            let place = format!("/operations/{name}/channel");
            (Some(*operation), channel.ok_or_else(|| bad(place, "is missing; every operation has it"))?)
        }
        Target::Channel(name) => {
            let is_meant = |(known, spot): &&(&str, Spot<'_>)| {
                *known == name || spot.text("address").is_some_and(|address| is_same(address, name))
            };
            let found = channels.iter().find(is_meant);
            (None, found.ok_or_else(|| unknown("channel", name, channels.iter().map(|(name, _)| *name)))?.1)
        }
    };
    let name = channels.iter().find(|(_, spot)| ptr::eq(spot.value, channel.value));
    let name = name.map_or("", |(name, _)| *name).to_owned();
    let own = operation.map(|operation| set.get(operation, "messages")).transpose()?.flatten();
    let messages = match own {
        Some(list) => list.items().map(|item| set.follow(item)).collect::<Result<_, _>>()?,
        None => members(set, channel, "messages")?.into_iter().map(|(_, spot)| spot).collect(),
    };
    let address = channel.text("address").unwrap_or_default().to_owned();
    Ok(Found { name, channel, operation, address, messages })
}

/// The servers of a channel: those that it names, or all.
fn servers<'s>(set: &'s Set, channel: Spot<'s>, version: u8) -> Result<Vec<(&'s str, Spot<'s>)>, CallError> {
    let all = members(set, set.root(), "servers")?;
    let Some(list) = set.get(channel, "servers")? else { return Ok(all) };
    let mut named = Vec::new();
    for item in list.items() {
        let found = match version {
            2 => all.iter().find(|(name, _)| item.value.as_str() == Some(*name)),
            _ => {
                let target = set.follow(item)?;
                all.iter().find(|(_, spot)| ptr::eq(spot.value, target.value))
            }
        };
        named.extend(found.copied());
    }
    Ok(if named.is_empty() { all } else { named })
}

fn choose<'s>(
    servers: &[(&'s str, Spot<'s>)],
    found: &Found<'_>,
    wanted: &Wanted<'_>,
) -> Result<(&'s str, Spot<'s>, (Protocol, bool)), CallError> {
    let named = |spot: &Spot<'_>| spot.text("protocol").unwrap_or_default().to_ascii_lowercase();
    let spoken = |spot: &Spot<'_>| {
        let spoken = Protocol::of(&named(spot))?;
        // Some documents say the version beside the protocol.
        let fifth = spot.text("protocolVersion").is_some_and(|version| version.starts_with('5'));
        Some(if spoken.0 == Protocol::Mqtt && fifth { (Protocol::Mqtt5, spoken.1) } else { spoken })
    };
    let known = "known: http, https, mqtt, mqtt5, mqtts, nats, ws, wss";
    let refuse = |why: String| Err(CallError::new(ErrorKind::BadInput, "", why));
    if let Some(name) = wanted.server {
        let Some((name, spot)) = servers.iter().find(|(known, _)| *known == name) else {
            let what = format!("channel `{}` has no server", found.name);
            let error = unknown("server", name, servers.iter().map(|(name, _)| *name));
            return refuse(error.message.replacen("the document has no server", &what, 1));
        };
        return match spoken(spot) {
            Some(spoken) => Ok((*name, *spot, spoken)),
            None => {
                refuse(format!("server `{name}` speaks `{}`, which is not spoken here; {known}", named(spot)))
            }
        };
    }
    let asked = wanted.protocol.and_then(Protocol::of);
    if let (Some(protocol), None) = (wanted.protocol, asked) {
        return refuse(format!("the protocol `{protocol}` is not spoken here; {known}"));
    }
    let fits = |(name, spot): &(&'s str, Spot<'s>)| {
        let (protocol, encrypted) = spoken(spot)?;
        let protocol = match asked {
            Some((asked, _)) if !protocol.is_also(asked) => return None,
            Some((asked @ Protocol::Mqtt5, _)) => asked,
            _ => protocol,
        };
        Some((*name, *spot, (protocol, encrypted)))
    };
    if let Some(fitting) = servers.iter().find_map(fits) {
        return Ok(fitting);
    }
    let there: Vec<String> = servers.iter().map(|(name, spot)| format!("{name} ({})", named(spot))).collect();
    let there = if there.is_empty() {
        "there is no server".to_owned()
    } else {
        format!("servers: {}", there.join(", "))
    };
    refuse(match wanted.protocol {
        Some(protocol) => format!("no server of channel `{}` speaks `{protocol}`; {there}", found.name),
        None => format!("no server of channel `{}` speaks what is spoken here; {there}; {known}", found.name),
    })
}

fn server(
    set: &Set,
    name: &str,
    spot: Spot<'_>,
    (protocol, encrypted): (Protocol, bool),
    given: &BTreeMap<String, String>,
) -> Result<Server, CallError> {
    let (scheme, rest) = match spot.text("url") {
        Some(url) => url.split_once("://").unwrap_or(("", url)),
        None => ("", spot.text("host").unwrap_or_default()),
    };
    let encrypted = encrypted || Protocol::of(scheme).is_some_and(|(_, encrypted)| encrypted);
    let whole = format!("{rest}{}", spot.text("pathname").unwrap_or_default());
    let whole = fill_variables(set, name, spot, &whole, given)?;
    let (host, path) = whole.split_once('/').unwrap_or((whole.as_str(), ""));
    let place = || format!("/servers/{name}");
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| bad(place(), format!("`{port}` is no port")))?)
        }
        _ => (host, protocol.port(encrypted)),
    };
    if host.is_empty() {
        return Err(bad(place(), "says no host"));
    }
    let path = path.trim_matches('/');
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    let peer = Peer { host: host.to_owned(), port, encrypted };
    Ok(Server { name: name.to_owned(), protocol, peer, path })
}

fn fill_variables(
    set: &Set,
    server: &str,
    spot: Spot<'_>,
    text: &str,
    given: &BTreeMap<String, String>,
) -> Result<String, CallError> {
    let declared = members(set, spot, "variables")?;
    if let Some(name) = given.keys().find(|name| !declared.iter().any(|(known, _)| known == name)) {
        let error = unknown("variable", name, declared.iter().map(|(name, _)| *name));
        let what = format!("server `{server}` has no variable");
        let message = error.message.replacen("the document has no variable", &what, 1);
        return Err(CallError { message, ..error });
    }
    let mut filled = text.to_owned();
    for (name, variable) in &declared {
        let allowed: Vec<&str> = set
            .get(*variable, "enum")?
            .map_or_else(Vec::new, |list| list.items().filter_map(|item| item.value.as_str()).collect());
        let value = given.get(*name).map(String::as_str).or_else(|| variable.text("default"));
        let Some(value) = value else { continue };
        if !allowed.is_empty() && !allowed.contains(&value) {
            let why = format!(
                "variable `{name}` of server `{server}` may not be `{value}`; known: {}",
                allowed.join(", ")
            );
            return Err(CallError::new(ErrorKind::BadInput, "", why));
        }
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    match filled.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        Some((name, _)) => {
            let why =
                format!("variable `{name}` of server `{server}` has no value; give it in `server.variables`");
            Err(CallError::new(ErrorKind::BadInput, "", why))
        }
        None => Ok(filled),
    }
}

fn parameters(set: &Set, channel: Spot<'_>) -> Result<Vec<Parameter>, CallError> {
    let parameter = |(name, spot): (&str, Spot<'_>)| {
        let schema = set.get(spot, "schema")?;
        let default = spot.text("default").or_else(|| schema.and_then(|schema| schema.text("default")));
        let location = spot.text("location").map(str::to_owned);
        Ok(Parameter { name: name.to_owned(), default: default.map(str::to_owned), location })
    };
    members(set, channel, "parameters")?.into_iter().map(parameter).collect()
}

fn correlation(set: &Set, message: Spot<'_>) -> Result<Option<String>, CallError> {
    let mut spots = vec![message];
    if let Some(traits) = set.get(message, "traits")? {
        for each in traits.items() {
            spots.push(set.follow(each)?);
        }
    }
    for spot in spots {
        if let Some(location) = set.get(spot, "correlationId")?.and_then(|found| found.text("location")) {
            return Ok(Some(location.to_owned()));
        }
    }
    Ok(None)
}

/// Those of the operation, then those of the server. Version 2 names them, version 3 has or refers to them.
fn security(set: &Set, operation: Option<Spot<'_>>, server: Spot<'_>) -> Result<Vec<Security>, CallError> {
    let components = set.get(set.root(), "components")?;
    let named = match components {
        Some(components) => members(set, components, "securitySchemes")?,
        None => vec![],
    };
    let mut all = Vec::new();
    for spot in operation.into_iter().chain([server]) {
        let Some(list) = set.get(spot, "security")? else { continue };
        for item in list.items() {
            let item = set.follow(item)?;
            if item.text("type").is_some() {
                all.push(scheme(item));
                continue;
            }
            for (name, _) in item.entries() {
                all.extend(named.iter().find(|(known, _)| known == name).map(|(_, spot)| scheme(*spot)));
            }
        }
    }
    Ok(all)
}

fn scheme(spot: Spot<'_>) -> Security {
    let text = |name: &str| spot.text(name).unwrap_or_default().to_owned();
    Security { kind: text("type"), name: text("name"), place: text("in") }
}

fn bindings(set: &Set, operation: Option<Spot<'_>>) -> Result<Bindings, CallError> {
    let Some(all) = operation.map(|operation| set.get(operation, "bindings")).transpose()?.flatten() else {
        return Ok(Bindings::default());
    };
    let of = |name: &str| set.get(all, name);
    let text = |spot: Option<Spot<'_>>, name: &str| spot.and_then(|spot| spot.text(name)).map(str::to_owned);
    let retain = of("mqtt")?.and_then(|mqtt| mqtt.value.get("retain")).and_then(Value::as_bool);
    Ok(Bindings {
        method: text(of("http")?, "method"),
        queue: text(of("nats")?, "queue"),
        retain: retain.unwrap_or(false),
    })
}

impl OperationDescription {
    /// The address with the values of its parameters: those that `value` gives, their defaults, or, for who receives, whatever there
    /// is, where the protocol has a sign for that.
    ///
    /// # Errors
    /// `BadInput` for a parameter without a value, or with one that means something else there.
    pub fn address(
        &self,
        value: &dyn Fn(&Parameter) -> Option<String>,
        receives: bool,
    ) -> Result<String, CallError> {
        let protocol = self.server.protocol;
        let mut filled = String::new();
        let mut rest = self.address.as_str();
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            filled.push_str(before);
            let declared = self.parameters.iter().find(|parameter| parameter.name == name);
            let bare = Parameter { name: name.to_owned(), default: None, location: None };
            let parameter = declared.unwrap_or(&bare);
            match (value(parameter).or_else(|| parameter.default.clone()), protocol) {
                (Some(text), _) => filled.push_str(&part(protocol, name, &text)?),
                (None, Protocol::Mqtt | Protocol::Mqtt5) if receives => filled.push('+'),
                (None, Protocol::Nats) if receives => filled.push('*'),
                (None, _) => {
                    let why = format!(
                        "parameter `{name}` of the address `{}` has no value: the input of the task has no such property, and the message none",
                        self.address
                    );
                    return Err(CallError::new(ErrorKind::BadInput, "", why));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        match protocol {
            Protocol::Http | Protocol::Ws => {
                let below = filled.trim_start_matches('/');
                let slash = if below.is_empty() && !self.server.path.is_empty() { "" } else { "/" };
                Ok(format!("{}{slash}{below}", self.server.path))
            }
            _ if filled.is_empty() => {
                Err(CallError::new(ErrorKind::BadInput, "", "the channel has no address in the document"))
            }
            _ => Ok(filled),
        }
    }
}

/// The value of a parameter as a part of an address.
fn part(protocol: Protocol, name: &str, text: &str) -> Result<String, CallError> {
    let special: &[char] = match protocol {
        Protocol::Http | Protocol::Ws => {
            return Ok(url::form_urlencoded::byte_serialize(text.as_bytes())
                .collect::<String>()
                .replace('+', "%20"));
        }
        Protocol::Mqtt | Protocol::Mqtt5 => &['/', '+', '#', '\0'],
        Protocol::Nats => &['.', '*', '>', ' ', '\t', '\r', '\n'],
    };
    if text.is_empty() || text.contains(special) {
        let why = format!(
            "`{}` cannot be the value of parameter `{name}` of an address",
            crate::events::shown(text)
        );
        return Err(CallError::new(ErrorKind::BadInput, "", why));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const V2: &str = "
asyncapi: 2.6.0
info: {title: Chat, version: '1'}
servers:
  cloud: {url: 'mqtt.example.org', protocol: secure-mqtt, security: [{key: []}]}
  local: {url: 'ws://localhost:{port}/chat/', protocol: ws, variables: {port: {default: '80', enum: ['80', '8080']}}}
  stream: {url: 'kafka.example.org', protocol: kafka}
channels:
  rooms/{room}:
    parameters: {room: {location: '$message.payload#/room', schema: {type: string}}}
    publish:
      operationId: say
      bindings: {mqtt: {retain: true}}
      message: {oneOf: [{name: a, payload: {type: object}, correlationId: {location: '$message.header#/c'}}, {name: b, headers: {required: [x]}}]}
  quiet: {servers: [stream], subscribe: {operationId: hear}}
components:
  securitySchemes: {key: {type: apiKey, in: user}}
";

    const V3: &str = "
asyncapi: 3.0.0
info: {title: Chat, version: '1'}
servers:
  a: {host: 'broker.example.org', protocol: mqtt, protocolVersion: '5.0'}
  b: {host: 'api.example.org:8443', pathname: /v1, protocol: https, security: [{type: httpApiKey, name: x-key, in: query}]}
channels:
  room: {address: 'rooms/{room}', parameters: {room: {default: hall}}, messages: {said: {payload: {type: object}}, left: {payload: true}}}
  everywhere: {address: null, servers: [{$ref: '#/servers/a'}]}
operations:
  say: {action: receive, channel: {$ref: '#/channels/room'}, messages: [{$ref: '#/channels/room/messages/said'}], bindings: {http: {method: PUT}, nats: {queue: q}}}
  hear: {action: send, channel: {$ref: '#/channels/room'}}
";

    fn none() -> &'static BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        &NONE
    }

    fn wanted(target: Target<'_>) -> Wanted<'_> {
        Wanted { target, publishes: true, server: None, variables: none(), protocol: None }
    }

    fn read(text: &str, wanted: &Wanted<'_>) -> Result<OperationDescription, CallError> {
        operation(&Documents::one("x.yaml", text), wanted)
    }

    fn said(text: &str, wanted: &Wanted<'_>) -> String {
        read(text, wanted).unwrap_err().message
    }

    #[test]
    fn channels_of_version_2_are_published_to_and_subscribed_to() {
        let channel = wanted(Target::Channel("rooms/{room}"));
        let say = read(V2, &channel).unwrap();
        let Server { name, protocol, peer, .. } = &say.server;
        assert_eq!((name.as_str(), *protocol), ("cloud", Protocol::Mqtt));
        assert_eq!((peer.host.as_str(), peer.port, peer.encrypted), ("mqtt.example.org", 8883, true));
        assert_eq!((say.security[0].kind.as_str(), say.security[0].place.as_str()), ("apiKey", "user"));
        assert!(say.bindings.retain);
        assert_eq!(say.messages.len(), 2);
        assert_eq!(say.messages[0].correlation.as_deref(), Some("$message.header#/c"));
        assert_eq!(say.messages[1].headers["required"], json!(["x"]));
        assert_eq!(read(V2, &wanted(Target::Operation("say"))).unwrap(), say);
        let local = read(V2, &Wanted { protocol: Some("ws"), ..channel }).unwrap();
        assert_eq!((local.server.peer.port, local.server.path.as_str()), (80, "/chat"));
        let eight = BTreeMap::from([("port".to_owned(), "8080".to_owned())]);
        let other = read(V2, &Wanted { server: Some("local"), variables: &eight, ..channel }).unwrap();
        assert_eq!(other.server.peer.port, 8080);
    }

    #[test]
    fn operations_and_channels_of_version_3_are_found() {
        let say = read(V3, &wanted(Target::Operation("say"))).unwrap();
        assert_eq!((say.server.name.as_str(), say.server.protocol), ("a", Protocol::Mqtt5));
        assert_eq!(
            (say.messages.len(), say.messages[0].message.payload["type"].clone()),
            (1, json!("object"))
        );
        assert_eq!((say.bindings.method.as_deref(), say.bindings.queue.as_deref()), (Some("PUT"), Some("q")));
        let hear = read(V3, &Wanted { protocol: Some("http"), ..wanted(Target::Operation("hear")) }).unwrap();
        assert_eq!((hear.server.peer.port, hear.server.path.as_str(), hear.messages.len()), (8443, "/v1", 2));
        assert_eq!((hear.security[0].name.as_str(), hear.security[0].place.as_str()), ("x-key", "query"));
        for name in ["room", "rooms/{room}", "/rooms/{room}"] {
            assert_eq!(read(V3, &wanted(Target::Channel(name))).unwrap().address, "rooms/{room}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        assert_eq!(
            said(V2, &wanted(Target::Channel("nothing"))),
            "the document has no channel `nothing`; known: quiet, rooms/{room}"
        );
        assert_eq!(
            said(V3, &wanted(Target::Operation("shout"))),
            "the document has no operation `shout`; known: hear, say"
        );
        let room = wanted(Target::Channel("rooms/{room}"));
        assert_eq!(
            said(V2, &Wanted { server: Some("clod"), ..room }),
            "channel `rooms/{room}` has no server `clod`; known: cloud, local, stream"
        );
        assert_eq!(
            said(V2, &Wanted { protocol: Some("nats"), ..room }),
            "no server of channel `rooms/{room}` speaks `nats`; servers: cloud (secure-mqtt), local (ws), stream (kafka)"
        );
        assert!(
            said(V2, &Wanted { server: Some("stream"), ..room })
                .contains("speaks `kafka`, which is not spoken here; known: http,")
        );
        assert!(said(V2, &Wanted { publishes: false, ..room }).contains("has no `subscribe`"));
        let quiet = Wanted { publishes: false, ..wanted(Target::Channel("quiet")) };
        assert!(said(V2, &quiet).contains("servers: stream (kafka); known: http,"));
        let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let local = |variables: &BTreeMap<String, String>| {
            said(V2, &Wanted { server: Some("local"), variables, ..room })
        };
        assert!(local(&given("prt", "1")).contains("has no variable `prt`; known: port"));
        assert!(local(&given("port", "1")).contains("may not be `1`; known: 80, 8080"));
        assert!(said("asyncapi: 1.0.0", &room).contains("version 2 or 3"));
    }

    #[test]
    fn addresses_are_filled_from_values_defaults_or_anything() {
        let room = wanted(Target::Channel("rooms/{room}"));
        let mqtt = read(V2, &room).unwrap();
        let none = |_: &Parameter| None;
        assert_eq!(mqtt.address(&|_| Some("7".to_owned()), false).unwrap(), "rooms/7");
        assert_eq!(mqtt.address(&none, true).unwrap(), "rooms/+");
        assert!(mqtt.address(&none, false).unwrap_err().message.contains("parameter `room`"));
        assert!(mqtt.address(&|_| Some("#".to_owned()), true).is_err(), "no value widens what is received");
        let http = read(V3, &Wanted { protocol: Some("http"), ..room }).unwrap();
        assert_eq!(http.address(&none, false).unwrap(), "/v1/rooms/hall");
        assert_eq!(http.address(&|_| Some("a b/ü".to_owned()), true).unwrap(), "/v1/rooms/a%20b%2F%C3%BC");
        let nowhere = read(V3, &wanted(Target::Channel("everywhere"))).unwrap();
        assert!(nowhere.address(&none, true).unwrap_err().message.contains("no address"));
    }
}
