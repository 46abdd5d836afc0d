//! Channels from AsyncAPI.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sos_call::events::asyncapi::{ChannelDescription, MessageDescription, ServerDescription, read};
use sos_engine::calls::documents::Notation;

use super::Common;
use super::report::{Report, finish, name_of};
use crate::commands::block_on;
use crate::outcome::{Failure, Outcome};

/// Folder of the schemas, beside the manifests.
const CONTRACTS: &str = "contracts";

/// Arguments of `sos import asyncapi`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Only these channels of the document, also several times
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// Make embedded channels instead of those of the document's brokers
    #[arg(long)]
    embedded: bool,
}

pub(super) fn run(args: &Args) -> Outcome {
    block_on(async {
        let common = &args.common;
        let documents = common.from.documents(Notation::OpenApi, &common.source).await?;
        let all = read(&documents).map_err(|error| Failure::input(format!("{}: {error}", common.source)))?;
        let chosen = chosen(&all, &args.channel)?;
        let mut report = Report::default();
        let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for described in chosen {
            match channel(described, args.embedded) {
                Ok(made) => {
                    let file = PathBuf::from(format!("{}.yaml", made.name));
                    if common.dir.join(&file).exists() {
                        let there = common.dir.join(&file);
                        report.notes.push(format!("{} is there already and stays as it is", there.display()));
                    } else {
                        files.push((file, crate::yaml::to_yaml(&made.manifest).into_bytes()));
                    }
                    files.extend(made.schema);
                    report.resources.push(format!("Channel/{}", made.name));
                    report.found.push(described.name.clone());
                }
                Err(why) => report.notes.push(format!("{} is left out: {why}", described.name)),
            }
        }
        if report.found.is_empty() {
            let why = report.notes.join("; ");
            return Err(Failure::input(format!("{}: no channel can be made: {why}", common.source)));
        }
        report.files = files.iter().map(|(path, _)| path.clone()).collect();
        finish(common, &report, &files)
    })
}

/// The channels that are wanted.
fn chosen<'a>(
    all: &'a [ChannelDescription],
    names: &[String],
) -> Result<Vec<&'a ChannelDescription>, Failure> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|one| one.name == **name)) {
        let known = sos_model::known_list(all.iter().map(|one| one.name.as_str()));
        return Err(Failure::input(format!("the document has no channel \"{unknown}\"; {known}")));
    }
    Ok(all.iter().filter(|one| names.is_empty() || names.contains(&one.name)).collect())
}

/// A channel that is ready to be written.
struct Made {
    name: String,
    manifest: Value,
    schema: Option<(PathBuf, Vec<u8>)>,
}

fn channel(described: &ChannelDescription, embedded: bool) -> Result<Made, String> {
    let name = name_of(&described.name).ok_or("its name has neither letters nor digits")?;
    let mut spec = if embedded { json!({ "embedded": {} }) } else { carried(described)? };
    let schema = schema(&described.messages).map(|schema| {
        let path = Path::new(CONTRACTS).join(format!("{name}.schema.json"));
        spec["schema"] = json!(path.display().to_string());
        (path, format!("{schema:#}\n").into_bytes())
    });
    let mut metadata = json!({ "name": name });
    if !described.summary.is_empty() {
        metadata["annotations"] = json!({ "summary": described.summary });
    }
    let manifest = json!({ "apiVersion": sos_model::API_VERSION, "kind": "Channel", "metadata": metadata, "spec": spec });
    Ok(Made { name, manifest, schema })
}

/// The channel over the first of the document's brokers that `sos` speaks with.
fn carried(described: &ChannelDescription) -> Result<Value, String> {
    if described.servers.is_empty() {
        return Err("the document names no broker; take it with --embedded".to_owned());
    }
    let found = described.servers.iter().find_map(|server| over(server, &described.address));
    found.ok_or_else(|| {
        let protocols: Vec<&str> = described.servers.iter().map(|server| server.protocol.as_str()).collect();
        format!(
            "its brokers speak {}; known are mqtt and nats, or take it with --embedded",
            protocols.join(", ")
        )
    })
}

fn over(server: &ServerDescription, address: &str) -> Option<Value> {
    let host = &server.host;
    match server.protocol.as_str() {
        "mqtt" | "mqtt5" | "mqtts" | "secure-mqtt" => {
            let scheme = if server.protocol.contains('s') { "mqtts" } else { "mqtt" };
            let topic = filled(address, '/', "+");
            Some(json!({ "mqtt": { "broker": format!("{scheme}://{host}"), "topic": topic } }))
        }
        "nats" => {
            let subject = filled(&address.replace('/', "."), '.', "*");
            let stream: String =
                address.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase();
            Some(
                json!({ "nats": { "servers": format!("nats://{host}"), "stream": stream, "subject": subject } }),
            )
        }
        _ => None,
    }
}

/// An address with a wildcard for each level that varies.
fn filled(address: &str, between: char, wildcard: &str) -> String {
    let levels = address.split(between).map(|level| if level.contains('{') { wildcard } else { level });
    levels.collect::<Vec<_>>().join(&between.to_string())
}

/// What the data of every event must be: that of one of the messages. None where one of them may be anything.
fn schema(messages: &[MessageDescription]) -> Option<Value> {
    let payloads: Vec<&Value> = messages.iter().map(|message| &message.payload).collect();
    if payloads.is_empty() || payloads.iter().any(|payload| **payload == json!(true)) {
        return None;
    }
    match payloads.as_slice() {
        [one] => Some((*one).clone()),
        // Each payload has references of its own, which would lead elsewhere in a common document.
        several if several.iter().any(|payload| payload.to_string().contains("\"$ref\"")) => None,
        several => Some(json!({ "anyOf": several })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(protocol: &str, address: &str) -> ChannelDescription {
        ChannelDescription {
            name: "meterReadings".to_owned(),
            address: address.to_owned(),
            summary: String::new(),
            servers: vec![ServerDescription {
                name: "main".to_owned(),
                protocol: protocol.to_owned(),
                host: "broker:1883".to_owned(),
            }],
            messages: vec![],
            actions: vec![],
        }
    }

    #[test]
    fn what_varies_in_an_address_becomes_a_wildcard() {
        let mqtt = channel(&described("mqtt", "meters/{id}/readings"), false).unwrap();
        assert_eq!(mqtt.name, "meter-readings");
        assert_eq!(mqtt.manifest["spec"]["mqtt"]["topic"], "meters/+/readings");
        let nats = channel(&described("nats", "meters.{id}"), false).unwrap();
        assert_eq!(nats.manifest["spec"]["nats"]["subject"], "meters.*");
        assert_eq!(nats.manifest["spec"]["nats"]["stream"], "METERSID");
    }

    #[test]
    fn a_broker_that_is_not_spoken_is_named() {
        let Err(why) = channel(&described("kafka", "a"), false) else { panic!("kafka was taken") };
        assert!(why.contains("kafka"), "{why}");
        assert!(channel(&described("kafka", "a"), true).is_ok());
    }

    #[test]
    fn the_schema_is_that_of_any_message() {
        let message = |payload| MessageDescription {
            name: String::new(),
            content_type: String::new(),
            payload,
            schema_format: String::new(),
        };
        assert_eq!(schema(&[]), None);
        assert_eq!(schema(&[message(json!({ "type": "string" })), message(json!(true))]), None);
        let two = [message(json!({ "type": "string" })), message(json!({ "type": "number" }))];
        assert_eq!(schema(&two), Some(json!({ "anyOf": [{ "type": "string" }, { "type": "number" }] })));
    }
}
