//! `sos publish`: events into a channel.

use std::io::Read as _;

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};
use sos_api::wire::Published;
use sos_engine::clock::wall_now;

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the channel
    channel: String,
    /// The data: JSON, or text that does not begin as JSON; @FILE, or - for stdin
    #[arg(value_name = "DATA", required_unless_present = "events", conflicts_with = "events")]
    data: Option<String>,
    /// `type` of the event
    #[arg(long = "type", value_name = "TYPE", default_value = "sos.message")]
    event_type: String,
    /// `source` of the event
    #[arg(long, value_name = "URI", default_value = "/sos/cli")]
    source: String,
    /// `id` of the event; one with the same source and id is taken once [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// `subject` of the event
    #[arg(long)]
    subject: Option<String>,
    /// Events with the same key keep their order
    #[arg(long)]
    key: Option<String>,
    /// A further attribute, also several times
    #[arg(long, value_name = "NAME=VALUE")]
    attribute: Vec<String>,
    /// Whole CloudEvents instead: a file with one, a list of them, or one a line; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["event_type", "source", "id", "subject", "key", "attribute"])]
    events: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Publishes all events or none.
pub(crate) fn run(args: &Args) -> Outcome {
    let events = match &args.events {
        Some(file) => whole(&read(file)?, file)?,
        None => vec![made(args, wall_now())?],
    };
    let client = args.server.client()?;
    block_on(async {
        let path = ["channels", &args.channel, "events"];
        let body = Body::Events(Value::Array(events).to_string());
        let Published { events } = client.send(Method::POST, &path, &[], body).await?;
        output::text(&format!("Channel/{}: {events} published\n", args.channel))
    })
}

fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().read_to_string(&mut text).map(|_| text),
        path => std::fs::read_to_string(path),
    };
    read.map_err(|error| Failure::input(format!("cannot read {file}: {error}")))
}

/// One event, a list of them, or one a line.
fn whole(text: &str, file: &str) -> Result<Vec<Value>, Failure> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(match value {
            Value::Array(all) => all,
            one => vec![one],
        });
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let events = lines.map(|(n, line)| {
        serde_json::from_str(line).map_err(|error| {
            format!("{file}:{}:{}: no JSON: {error}; expected a CloudEvent", n + 1, error.column())
        })
    });
    let (events, wrong): (Vec<_>, Vec<_>) = events.partition(Result::is_ok);
    if wrong.is_empty() {
        return Ok(events.into_iter().flatten().collect());
    }
    Err(Failure::BadInput(wrong.into_iter().filter_map(Result::err).collect()))
}

fn made(args: &Args, now: Timestamp) -> Result<Value, Failure> {
    let text = match args.data.as_deref() {
        Some("-") => read("-")?,
        Some(text) => text.strip_prefix('@').map_or_else(|| Ok(text.to_owned()), read)?,
        None => String::new(),
    };
    let id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let token = sos_store::random_token().map_err(Failure::unsuccessful)?;
            token.expose_str().unwrap_or_default().chars().take(32).collect()
        }
    };
    let mut event = Map::new();
    for attribute in &args.attribute {
        let (name, value) = attribute.split_once('=').ok_or_else(|| {
            Failure::input(format!("--attribute {attribute} has no value; expected NAME=VALUE"))
        })?;
        event.insert(name.to_owned(), json!(value));
    }
    let (kind, data) = match serde_json::from_str::<Value>(&text) {
        Ok(value) => ("application/json", value),
        // Nobody means `{…` as a text; a mistake in it is not published.
        Err(error) if text.trim_start().starts_with(['{', '[']) => {
            return Err(Failure::input(format!(
                "the data is no JSON: {error}; expected a value such as {{\"kwh\": 1}}, or text that begins otherwise"
            )));
        }
        Err(_) => ("text/plain", json!(text)),
    };
    let given = [
        ("specversion", Some(json!("1.0"))),
        ("id", Some(json!(id))),
        ("source", Some(json!(args.source))),
        ("type", Some(json!(args.event_type))),
        ("time", Some(json!(now))),
        ("datacontenttype", Some(json!(kind))),
        ("data", Some(data)),
        ("subject", args.subject.as_ref().map(|text| json!(text))),
        ("partitionkey", args.key.as_ref().map(|text| json!(text))),
    ];
    event.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(Value::Object(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_one_a_list_or_one_a_line() {
        assert_eq!(whole(r#"{"id":"1"}"#, "f").unwrap().len(), 1);
        assert_eq!(whole(r#"[{"id":"1"},{"id":"2"}]"#, "f").unwrap().len(), 2);
        assert_eq!(whole("{\"id\":\"1\"}\n\n{\"id\":\"2\"}\n", "f").unwrap().len(), 2);
        let Err(Failure::BadInput(wrong)) = whole("{\"id\":\"1\"}\n{\nx\n", "f") else { panic!() };
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].starts_with("f:2:1: no JSON"), "{wrong:?}");
    }
}
