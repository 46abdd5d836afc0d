//! `sos get`.

use serde_json::Value;
use sos_model::{AnyKind, Kind, ReadOnlyKind};

use super::resource::{self, kind_name, text};
use super::{block_on, events, people};
use crate::client::ServerArgs;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};
use crate::words;

/// Arguments of `sos get`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kind, also as plural or short name; KIND/NAME for one
    kind: String,
    /// Name of one resource
    name: Option<String>,
    /// Only those whose labels match, e.g. home=1,tier!=test
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "name")]
    selector: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows resources.
pub(crate) fn run(args: &Args) -> Outcome {
    let (kind, name) = resource::parse(&args.kind, args.name.as_deref())?;
    if name.is_some() && args.selector.is_some() {
        return Err(Failure::input("a name and a selector are given: expected one of them"));
    }
    let client = args.server.client()?;
    block_on(async {
        let format = args.output.format();
        if let Some(name) = name {
            let object: Value = client.get(&["resources", kind_name(kind), &name], &[]).await?;
            return output::answer(format, &table(kind, std::slice::from_ref(&object)), &object);
        }
        let query: Vec<(&str, String)> = args.selector.iter().map(|l| ("selector", l.clone())).collect();
        let objects: Vec<Value> = client.get(&["resources", kind_name(kind)], &query).await?;
        if objects.is_empty() {
            output::note(format!("no {} found", kind_name(kind)));
        }
        output::answer(format, &table(kind, &objects), &objects)
    })
}

/// The cells of an object.
type Row = fn(&Value) -> Vec<String>;

/// The columns of a kind.
fn table(kind: AnyKind, objects: &[Value]) -> Table {
    let (header, row): (&[&'static str], Row) = match kind {
        AnyKind::Declared(Kind::Service) => {
            (&["NAME", "PHASE", "READY", "RESTARTS", "MANAGER", "MESSAGE"], service)
        }
        AnyKind::Declared(Kind::Site) => (&["NAME", "RUNNING", "CURRENCY", "TIME ZONE", "MESSAGE"], site),
        AnyKind::Declared(Kind::Asset) => (&["NAME", "SITE", "GROUP", "TYPE", "MODE", "VIA"], asset),
        AnyKind::Declared(Kind::Signal) => (&["NAME", "UNIT", "KNOWN AHEAD", "SOURCE"], signal),
        AnyKind::Declared(Kind::Secret) => (&["NAME", "KEYS"], secret),
        AnyKind::Declared(Kind::AlertRule) => (&["NAME", "PACK", "GROUPS", "READY", "MESSAGE"], alert_rule),
        AnyKind::Declared(Kind::Notifier) => (&["NAME", "RECEIVER", "MATCHERS"], notifier),
        AnyKind::Declared(Kind::Channel) => (&["NAME", "OVER", "AT", "READY", "MESSAGE"], channel),
        AnyKind::Declared(Kind::Machine) => (&["NAME", "IDLE", "MAX", "PUE", "EMBODIED"], machine),
        AnyKind::Declared(Kind::Override) => {
            (&["NAME", "ASSET", "ORDER", "UNTIL", "BY", "STATE", "REASON"], overriding)
        }
        AnyKind::Declared(Kind::Workflow) => {
            (&["NAME", "VERSION", "STARTS", "NEXT", "RUNNING", "READY", "MESSAGE"], workflow)
        }
        AnyKind::Declared(Kind::Rule) => {
            (&["NAME", "WHEN", "DOES", "PRIORITY", "ACTED", "LAST", "READY", "MESSAGE"], rule)
        }
        AnyKind::ReadOnly(ReadOnlyKind::Run) => (&RUN, run_of),
        AnyKind::ReadOnly(ReadOnlyKind::Alert) => {
            (&["ALERT", "STATE", "SEVERITY", "SINCE", "SUMMARY", "ID"], alert)
        }
        AnyKind::ReadOnly(ReadOnlyKind::Event) => (&events::HEADER, event),
        AnyKind::ReadOnly(ReadOnlyKind::Plan) => (&["SITE", "MADE AT", "SOURCE", "STEPS"], plan),
        AnyKind::ReadOnly(ReadOnlyKind::Forecast) => {
            (&["NAME", "SITE", "UNIT", "ISSUED AT", "METHOD", "MAE 1H", "MAE 13-24H", "DRIFTING"], forecast)
        }
    };
    let mut table = Table::new(header);
    for object in objects {
        table.row(row(object));
    }
    table
}

fn name(object: &Value) -> String {
    text(object, &["metadata", "name"]).to_owned()
}

/// A scalar as people write it; empty when there is none.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn service(object: &Value) -> Vec<String> {
    let status = &object["status"];
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    vec![
        name(object),
        shown(&status["phase"]),
        format!("{}/{}", count(&status["readyReplicas"]), count(&status["replicas"])),
        count(&status["restarts"]).to_string(),
        shown(&object["metadata"]["manager"]),
        shown(&status["message"]),
    ]
}

fn site(object: &Value) -> Vec<String> {
    let [running, message] = ready(object);
    let spec = &object["spec"];
    vec![name(object), running, shown(&spec["currency"]), shown(&spec["timeZone"]), message]
}

fn asset(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let cells = ["site", "group", "type", "mode"].map(|key| shown(&spec[key]));
    [vec![name(object)], cells.to_vec(), vec![shown(&spec["via"]["service"])]].concat()
}

fn signal(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let file = &spec["source"]["file"];
    let source = format!("{} {}", text(file, &["path"]), text(file, &["column"]));
    vec![name(object), shown(&spec["unit"]), shown(&spec["knownAhead"]), source.trim().to_owned()]
}

fn secret(object: &Value) -> Vec<String> {
    let keys = object["spec"]["data"].as_object();
    let keys: Vec<&str> = keys.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    vec![name(object), keys.join(", ")]
}

fn channel(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let over =
        ["embedded", "nats", "mqtt"].into_iter().find(|over| !spec[over].is_null()).unwrap_or_default();
    let at = [("servers", "subject"), ("broker", "topic")].map(|(place, what)| {
        format!("{} {}", text(&spec[over], &[place]), text(&spec[over], &[what])).trim().to_owned()
    });
    let [running, message] = ready(object);
    vec![name(object), over.to_owned(), at.concat(), running, message]
}

fn machine(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let usual = |key: &str| match text(spec, &[key]) {
        "" => "usual".to_owned(),
        power => power.to_owned(),
    };
    let pue = spec["pue"].as_f64().map_or_else(|| "1".to_owned(), |pue| pue.to_string());
    vec![
        name(object),
        usual("idlePower"),
        usual("maxPower"),
        pue,
        text(&spec["embodied"], &["emissions"]).to_owned(),
    ]
}

fn overriding(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        shown(&spec["asset"]),
        people::ordered(object),
        people::until(object),
        people::author(object),
        shown(&status["state"]),
        shown(&spec["reason"]),
    ]
}

/// What its condition `Ready` says: status and message.
fn ready(object: &Value) -> [String; 2] {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready")).cloned();
    let ready = ready.unwrap_or_default();
    [shown(&ready["status"]), shown(&ready["message"])]
}

fn words_of(list: &Value) -> String {
    list.as_array().into_iter().flatten().map(shown).collect::<Vec<_>>().join(", ")
}

fn alert_rule(object: &Value) -> Vec<String> {
    let spec = &object["spec"];
    let groups = spec["groups"].as_array().map_or(0, Vec::len);
    let [status, message] = ready(object);
    vec![name(object), words_of(&spec["pack"]), groups.to_string(), status, message]
}

fn notifier(object: &Value) -> Vec<String> {
    let known = ["webhook", "slack", "mattermost", "discord", "teams", "email", "mqtt", "heartbeat"];
    let spec = &object["spec"];
    let receiver = known.into_iter().find(|key| !spec[*key].is_null()).unwrap_or_default();
    vec![name(object), receiver.to_owned(), words_of(&spec["matchers"])]
}

fn alert(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        shown(&spec["labels"]["alertname"]),
        shown(&status["state"]),
        shown(&spec["labels"]["severity"]),
        shown(&status["since"]),
        shown(&spec["annotations"]["summary"]),
        name(object),
    ]
}

fn event(object: &Value) -> Vec<String> {
    let involved = &object["involvedObject"];
    vec![
        shown(&object["lastTimestamp"]),
        shown(&object["siteTime"]),
        shown(&object["type"]),
        shown(&object["reason"]),
        format!("{}/{}", text(involved, &["kind"]), text(involved, &["name"])),
        shown(&object["count"]),
        shown(&object["message"]),
    ]
}

fn plan(object: &Value) -> Vec<String> {
    let status = &object["status"];
    let steps = status["steps"].as_array().map_or(0, Vec::len);
    vec![name(object), shown(&status["madeAt"]), shown(&status["source"]), steps.to_string()]
}

fn forecast(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let mae = |horizon: &str| {
        let all = status["accuracy"].as_array().into_iter().flatten();
        let found = all.filter(|one| one["horizon"] == horizon).find_map(|one| one["mae"].as_f64());
        found.map(words::figure).unwrap_or_default()
    };
    vec![
        name(object),
        shown(&spec["site"]),
        shown(&spec["unit"]),
        shown(&status["issuedAt"]),
        shown(&status["method"]),
        mae("1h"),
        mae("13-24h"),
        if status["drifting"] == true { "yes" } else { "no" }.to_owned(),
    ]
}

fn workflow(object: &Value) -> Vec<String> {
    let status = &object["status"];
    let [status_ready, message] = ready(object);
    vec![
        name(object),
        shown(&status["version"]),
        shown(&status["starts"]),
        shown(&status["next"]),
        shown(&status["running"]),
        status_ready,
        message,
    ]
}

fn rule(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let keys = |value: &Value| {
        value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>()
    };
    let does: Vec<String> = spec["then"].as_array().into_iter().flatten().flat_map(keys).collect();
    let [is_ready, message] = ready(object);
    let dry = if spec["dryRun"] == true { " (dry run)" } else { "" };
    vec![
        name(object),
        keys(&spec["when"]).concat(),
        format!("{}{dry}", does.join(", ")),
        spec["priority"].as_u64().unwrap_or(0).to_string(),
        status["acted"].as_u64().unwrap_or(0).to_string(),
        shown(&status["lastActed"]),
        is_ready,
        message,
    ]
}

/// The columns of runs.
pub(crate) const RUN: [&str; 7] = ["NAME", "WORKFLOW", "STATE", "BEGAN", "ENDED", "AT", "FAULT"];

/// The cells of a run.
pub(crate) fn run_of(object: &Value) -> Vec<String> {
    let (spec, status) = (&object["spec"], &object["status"]);
    vec![
        name(object),
        shown(&spec["workflow"]),
        shown(&status["state"]),
        shown(&status["began"]),
        shown(&status["ended"]),
        words_of(&status["at"]),
        shown(&status["fault"]["title"]),
    ]
}
