//! `sos get`, `sos describe`, `sos delete`, `sos events`.

use reqwest::Method;
use serde_json::Value;
use sos_model::AnyKind;

use super::block_on;
use crate::client::{Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, Table};

/// Arguments of `sos get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// A kind: service, site, asset, signal, secret, plan, event
    kind: String,
    /// Only the resource with this name
    name: Option<String>,
    /// Only those with these labels, e.g. home=3
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos describe` and `sos delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct OneArgs {
    /// A kind
    kind: String,
    /// Its name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventArgs {
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only of the resource with this name
    #[arg(long)]
    name: Option<String>,
    /// Form of the answer
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

fn kind(text: &str) -> Result<String, Failure> {
    Ok(match AnyKind::resolve(text).map_err(Failure::input)? {
        AnyKind::Declared(kind) => kind.name().to_owned(),
        AnyKind::ReadOnly(kind) => kind.name().to_owned(),
    })
}

/// Lists resources.
pub(crate) fn get(args: &GetArgs) -> Outcome {
    let kind = kind(&args.kind)?;
    let client = args.server.client()?;
    let value = block_on(async {
        match &args.name {
            Some(name) => client.get(&format!("/api/v1/resources/{kind}/{name}")).await,
            None => {
                let selector =
                    args.selector.as_deref().map(|s| format!("?selector={}", escape(s))).unwrap_or_default();
                client.get(&format!("/api/v1/resources/{kind}{selector}")).await
            }
        }
    })?;
    let all: Vec<&Value> = value.as_array().map_or_else(|| vec![&value], |list| list.iter().collect());
    output::answer(args.output, &listing(&kind, &all), &value)
}

/// Percent-encodes what has a meaning in a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn listing(kind: &str, all: &[&Value]) -> Table {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let columns: (&[&str], &[&str]) = match kind {
        "Service" => (
            &["NAME", "PHASE", "READY", "REPLICAS", "RESTARTS", "MESSAGE"],
            &[
                "/metadata/name",
                "/status/phase",
                "/status/readyReplicas",
                "/status/replicas",
                "/status/restarts",
                "/status/message",
            ],
        ),
        "Asset" => (
            &["NAME", "TYPE", "SITE", "GROUP", "MODE"],
            &["/metadata/name", "/spec/type", "/spec/site", "/spec/group", "/spec/mode"],
        ),
        "Site" => (
            &["NAME", "READY", "TIME ZONE", "MESSAGE"],
            &[
                "/metadata/name",
                "/status/conditions/0/status",
                "/spec/timeZone",
                "/status/conditions/0/message",
            ],
        ),
        "Signal" => (&["NAME", "UNIT", "KNOWN AHEAD"], &["/metadata/name", "/spec/unit", "/spec/knownAhead"]),
        "Event" => (&["NAME", "STATUS"], &["/metadata/name", "/status"]),
        _ => (
            &["NAME", "MANAGER", "GENERATION"],
            &["/metadata/name", "/metadata/manager", "/metadata/generation"],
        ),
    };
    let header: Vec<&'static str> = columns.0.iter().map(|name| leak(name)).collect();
    let mut table = Table::new(&header);
    for one in all {
        let cell = |pointer: &&str| one.pointer(pointer).map(&text).unwrap_or_default();
        table.row(columns.1.iter().map(cell).collect());
    }
    table
}

/// The headers are constants; this only tells the compiler.
fn leak(name: &str) -> &'static str {
    const ALL: [&str; 16] = [
        "NAME",
        "PHASE",
        "READY",
        "REPLICAS",
        "RESTARTS",
        "MESSAGE",
        "TYPE",
        "SITE",
        "GROUP",
        "MODE",
        "TIME ZONE",
        "UNIT",
        "KNOWN AHEAD",
        "STATUS",
        "MANAGER",
        "GENERATION",
    ];
    ALL.into_iter().find(|known| *known == name).unwrap_or("")
}

/// Everything about one resource, the decisions taken and the reason for each at the end.
pub(crate) fn describe(args: &OneArgs) -> Outcome {
    let kind = kind(&args.kind)?;
    let client = args.server.client()?;
    let (mut object, events) = block_on(async {
        let object = client.get(&format!("/api/v1/resources/{kind}/{}", args.name)).await?;
        Ok((object, events(&client, Some(&kind), Some(&args.name)).await?))
    })?;
    let decisions =
        object.as_object_mut().and_then(|object| object.remove("decisions")).unwrap_or(Value::Null);
    let mut text = crate::yaml::to_yaml(&object);
    text.push_str("events:\n");
    for event in &events {
        text.push_str(&event_line(event));
    }
    text.push_str("decisions:\n");
    for decision in decisions.as_array().into_iter().flatten() {
        let part = |key: &str| decision[key].as_str().unwrap_or_default().to_owned();
        text.push_str(&format!("  {}  {}  {}: {}\n", part("time"), part("who"), part("what"), part("why")));
    }
    output::text(&text)
}

/// Deletes one resource and what runs for it.
pub(crate) fn delete(args: &OneArgs) -> Outcome {
    let kind = kind(&args.kind)?;
    let client = args.server.client()?;
    block_on(client.send(Method::DELETE, &format!("/api/v1/resources/{kind}/{}", args.name), None))?;
    output::text(&format!("{}/{} deleted\n", kind.to_lowercase(), args.name))
}

async fn events(client: &Client, kind: Option<&str>, name: Option<&str>) -> Result<Vec<Value>, Failure> {
    let all = client.get("/api/v1/events").await?;
    let wanted = |event: &&Value| {
        kind.is_none_or(|kind| event["kind"] == kind) && name.is_none_or(|name| event["name"] == name)
    };
    Ok(all.as_array().into_iter().flatten().filter(wanted).cloned().collect())
}

fn event_line(event: &Value) -> String {
    let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let count =
        event["count"].as_u64().filter(|count| *count > 1).map(|n| format!(" (x{n})")).unwrap_or_default();
    format!("  {}  {}  {}  {}{count}\n", part("time"), part("type"), part("reason"), part("message"))
}

/// What happened, the latest last.
pub(crate) fn list_events(args: &EventArgs) -> Outcome {
    let kind = args.kind.as_deref().map(kind).transpose()?;
    let client = args.server.client()?;
    let events = block_on(events(&client, kind.as_deref(), args.name.as_deref()))?;
    let mut table = Table::new(&["TIME", "TYPE", "OBJECT", "REASON", "COUNT", "MESSAGE"]);
    for event in &events {
        let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let object = format!("{}/{}", part("kind"), part("name"));
        table.row(vec![
            part("time"),
            part("type"),
            object,
            part("reason"),
            event["count"].to_string(),
            part("message"),
        ]);
    }
    output::answer(args.output, &table, &Value::Array(events))
}
