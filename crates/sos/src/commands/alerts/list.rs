//! Lists of alerts, rules, silences and notifications.

use std::collections::BTreeMap;

use serde_json::Value;
use sos_api::wire::{AlarmMute, Alarms};

use super::super::block_on;
use super::List;
use crate::client::{Client, ServerArgs};
use crate::outcome::Outcome;
use crate::output::{self, OutputArgs, Table};

/// Arguments of `sos alerts` alone.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also those that are not told: silenced, explained by others, in quiet hours, or pending
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Everything that fires.
pub(super) fn alerts(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let answer: Alarms = client.get(&["alarms"], &[]).await?;
        let (all, mut alarms) = (answer.total, answer.alarms);
        alarms.retain(|alarm| args.all || (alarm.state == "firing" && alarm.muted.is_none()));
        let mut table =
            Table::new(&["ALERT", "STATE", "SEVERITY", "SINCE", "ACKNOWLEDGED", "NOT TOLD", "SUMMARY", "ID"]);
        for alarm in &alarms {
            let text = |name: &str| alarm.annotations.get(name).cloned();
            table.row(vec![
                alarm.name.clone(),
                alarm.state.clone(),
                alarm.severity.clone(),
                alarm.since.clone(),
                alarm.acknowledged_by.clone().unwrap_or_default(),
                alarm.muted.as_ref().map(muted).unwrap_or_default(),
                text("summary").or_else(|| text("description")).unwrap_or_else(|| others(&alarm.labels)),
                alarm.fingerprint.clone(),
            ]);
        }
        if alarms.is_empty() {
            output::note(match all {
                0 => "nothing fires".to_owned(),
                all => format!("nothing fires that people are told of; --all shows {all} more"),
            });
        }
        output::answer(args.output.format(), &table, &alarms)
    })
}

/// The rules with their health.
pub(super) fn rules(args: &List) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let answer: Value = client.get(&["rules"], &[]).await?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let mut table = Table::new(&["FILE", "GROUP", "RULE", "TYPE", "STATE", "HEALTH", "TOOK", "ERROR"]);
        for group in &groups {
            for rule in group["rules"].as_array().into_iter().flatten() {
                let took = rule["evaluationTime"].as_f64().unwrap_or(0.0);
                table.row(vec![
                    shown(&group["file"]),
                    shown(&group["name"]),
                    shown(&rule["name"]),
                    shown(&rule["type"]),
                    shown(&rule["state"]),
                    shown(&rule["health"]),
                    format!("{:.1} ms", took * 1e3),
                    shown(&rule["lastError"]),
                ]);
            }
        }
        if table.is_empty() {
            output::note("no rule is declared: see `sos alerts pack` and `sos explain alertrule`");
        }
        output::answer(args.output.format(), &table, &groups)
    })
}

/// The silences, those that are over among them.
pub(super) fn silences(args: &List) -> Outcome {
    let columns: &[(&'static str, &'static str)] = &[
        ("ID", "id"),
        ("STATE", "state"),
        ("UNTIL", "endsAt"),
        ("BY", "createdBy"),
        ("MATCHERS", "matchers"),
        ("COMMENT", "comment"),
    ];
    plain(args, &["silences"], columns, "there is no silence")
}

/// What was told, and what waits.
pub(super) fn notifications(args: &List) -> Outcome {
    let columns: &[(&'static str, &'static str)] = &[
        ("TIME", "at"),
        ("NOTIFIER", "notifier"),
        ("STATE", "state"),
        ("REASON", "reason"),
        ("ALERTS", "alertCount"),
        ("ATTEMPTS", "attempts"),
        ("NEXT TRY", "nextTry"),
        ("ERROR", "error"),
    ];
    plain(args, &["notifications"], columns, "nobody was told of anything")
}

/// A list of objects as rows of some of their fields.
fn plain(args: &List, path: &[&str], columns: &[(&'static str, &'static str)], none: &str) -> Outcome {
    let client: Client = args.server.client()?;
    block_on(async {
        let found: Vec<Value> = client.get(path, &[]).await?;
        let mut table = Table::new(&columns.iter().map(|(header, _)| *header).collect::<Vec<_>>());
        for one in &found {
            table.row(columns.iter().map(|(_, key)| shown(&one[*key])).collect());
        }
        if found.is_empty() {
            output::note(none);
        }
        output::answer(args.output.format(), &table, &found)
    })
}

/// A value as people write it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Why an alert is not told, in a few words.
fn muted(mute: &AlarmMute) -> String {
    let until = mute.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
    format!("{} {}{until}", mute.by, mute.what).replace("  ", " ")
}

/// Labels that tell alerts of one name apart.
fn others(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels.iter().filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"));
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}
