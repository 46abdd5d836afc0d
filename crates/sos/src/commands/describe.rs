//! `sos describe`: one resource for people, ending with the decisions taken about it and the reason for each.

use serde_json::Value;
use sos_api::wire::{EventRecord, SeriesForecast, SiteForecasts, SiteLive};
use sos_model::{AnyKind, Kind};

use super::resource::{kind_name, parse_one, text};
use super::{block_on, events};
use crate::client::{Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, Table};
use crate::{words, yaml};

/// The latest events that are shown.
const EVENTS: usize = 10;
/// Longer values of a decision are left to `-o json`, in characters.
const LONGEST_VALUE: usize = 80;
/// Parts of a status that have their own section.
const SECTIONS: [&str; 6] =
    ["conditions", "deployments", "replicaStatuses", "limits", "message", "decisions"];

/// Arguments of `sos describe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kind, also as plural or short name, or KIND/NAME
    kind: String,
    /// Name of the resource
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Tells everything that is known of a resource.
pub(crate) fn run(args: &Args) -> Outcome {
    let (kind, name) = parse_one(&args.kind, args.name.as_deref())?;
    let client = args.server.client()?;
    block_on(async {
        let object: Value = client.get(&["resources", kind_name(kind), &name], &[]).await?;
        match args.output.or_text() {
            Format::Table => {}
            format => return output::structured(format, &object),
        }
        let now = now(&client, kind, &object).await?;
        let forecasts = forecasts(&client, kind, &object).await?;
        let events = events::of(&client, Some(kind_name(kind)), Some(&name)).await?;
        output::text(&description(&object, &now, &forecasts, &events))
    })
}

/// The site that has a resource in it, or is it.
fn site_of(kind: AnyKind, object: &Value) -> Option<&str> {
    match kind {
        AnyKind::Declared(Kind::Site) => Some(text(object, &["metadata", "name"])),
        AnyKind::Declared(Kind::Asset) => Some(text(object, &["spec", "site"])),
        _ => None,
    }
}

/// How good the forecasts of a site or an asset were, as lines.
async fn forecasts(client: &Client, kind: AnyKind, object: &Value) -> Result<Vec<String>, Failure> {
    let Some(site) = site_of(kind, object) else { return Ok(Vec::new()) };
    let found: SiteForecasts = match client.get(&["sites", site, "forecasts"], &[]).await {
        Ok(found) => found,
        // What the site lacks is told where its present would be.
        Err(Failure::Unsuccessful(_)) => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    if kind == AnyKind::Declared(Kind::Site) {
        return Ok(table_lines(&accuracy(&found.series)));
    }
    let name = text(object, &["metadata", "name"]);
    let own: Vec<SeriesForecast> =
        found.series.into_iter().filter(|one| one.asset.as_deref() == Some(name)).collect();
    let issued =
        own.iter().map(|one| format!("issued at {} by {}: {}", one.issued_at, one.method, one.because));
    Ok(issued.chain(table_lines(&accuracy(&own))).collect())
}

/// One row for each series and horizon.
fn accuracy(all: &[SeriesForecast]) -> Table {
    let mut table =
        Table::new(&["SERIES", "AHEAD", "MAE", "MASE", "PINBALL", "COVERAGE", "UNIT", "DRIFTING"]);
    let figure = |value: Option<f64>| value.map(words::figure).unwrap_or_default();
    for one in all {
        for score in &one.accuracy {
            table.row(vec![
                one.name.clone(),
                score.horizon.clone(),
                words::figure(score.mae),
                figure(score.mase),
                figure(score.pinball),
                score.coverage.map(words::percent).unwrap_or_default(),
                one.unit.clone(),
                if one.drifting { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    table
}

/// What a site or an asset does now, as lines.
async fn now(client: &Client, kind: AnyKind, object: &Value) -> Result<Vec<String>, Failure> {
    let name = text(object, &["metadata", "name"]);
    let Some(site) = site_of(kind, object) else { return Ok(Vec::new()) };
    // A site that has had no tick yet, or cannot run, has no present.
    let live: SiteLive = match client.get(&["sites", site, "live"], &[]).await {
        Ok(live) => live,
        Err(Failure::Unsuccessful(why)) => return Ok(vec![why]),
        Err(failure) => return Err(failure),
    };
    Ok(if kind == AnyKind::Declared(Kind::Site) { site_now(&live) } else { asset_now(&live, name) })
}

fn site_now(live: &SiteLive) -> Vec<String> {
    let unknown = || "not known".to_owned();
    let (head, words) =
        (if live.connection.island { "Island:" } else { "Grid:" }, words::connection(live.connection.island));
    let limit = live.connection.import_limit_kw;
    let limit = limit.map(|kw| format!(" of at most {}", words::kw(kw))).unwrap_or_default();
    let mut lines = vec![
        format!("Time:       {} (speed {})", live.time, live.speed),
        format!("{head:<12}{}{limit}", live.connection.power_kw.map_or_else(unknown, words)),
        format!("Solar:      {}", live.solar_kw.map_or_else(unknown, |kw| words::asset("solar", kw))),
        format!("Load:       {}", live.load_kw.map_or_else(unknown, |kw| words::asset("load", kw))),
        format!("Batteries:  {}", live.battery_kw.map_or_else(unknown, words::battery)),
        format!("Stored:     {}", live.soc.map_or_else(unknown, words::percent)),
        format!("Saving:     {}", words::money(live.totals.saving, &live.currency)),
    ];
    let limit = |kw: Option<f64>| kw.map(|kw| format!(" of at most {}", words::kw(kw))).unwrap_or_default();
    lines.extend(live.feeders.iter().map(|feeder| {
        let at = &feeder.connection;
        let flow = at.power_kw.map_or_else(unknown, words::exchange);
        format!("Feeder:     {}: {flow}{}", feeder.name, limit(at.import_limit_kw))
    }));
    lines.extend(live.charges.iter().map(|charge| {
        let (so_far, unit) = (charge.so_far.actual, &charge.unit);
        let cost = words::money(charge.cost.actual, &live.currency);
        format!("Charge:     {}: {so_far:.2} {unit} so far, {cost} since the start", charge.name)
    }));
    if let Some(cap) = live.carbon_cap {
        lines.push(format!("Carbon:     {:.1} kg of at most {:.1} kg", cap.so_far_kg, cap.most_kg));
    }
    if let Some(note) = &live.mode_note {
        lines.push(format!("Note:       {note}"));
    }
    if let Some(plan) = &live.plan {
        lines.push(format!("Plan:       made at {} by {}", plan.made_at, plan.source));
        if let Some(step) = plan.steps.first() {
            lines.push(format!("            {}: {}", words(step.grid_kw), step.because));
        }
    }
    lines
}

fn asset_now(live: &SiteLive, name: &str) -> Vec<String> {
    let Some(asset) = live.assets.iter().find(|asset| asset.name == name) else {
        return vec![format!("site {} does not use it yet", live.site)];
    };
    let power = match (asset.power_kw, &asset.missing) {
        (Some(kw), _) => words::asset(&asset.kind, kw),
        (None, Some(why)) => format!("not known: {why}"),
        (None, None) => "not known".to_owned(),
    };
    let mut lines = vec![format!("Time:       {}", live.time), format!("Power:      {power}")];
    if let Some(soc) = asset.soc {
        lines.push(format!("Stored:     {}", words::percent(soc)));
    }
    if let Some(kw) = asset.setpoint_kw {
        lines.push(format!("Told:       {}", words::asset(&asset.kind, kw)));
    }
    if !asset.reason.is_empty() {
        lines.push(format!("Because:    {}", asset.reason));
    }
    lines
}

fn description(object: &Value, now: &[String], forecasts: &[String], events: &[EventRecord]) -> String {
    let status = &object["status"];
    let mut out = metadata(object);
    section(&mut out, "Spec", &yaml_lines(&object["spec"]));
    let mut rest = status.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.retain(|key, _| !SECTIONS.contains(&key.as_str()));
        if let Some(message) = status["message"].as_str().filter(|message| !message.is_empty()) {
            fields.insert("message".to_owned(), message.into());
        }
    }
    section(&mut out, "Status", &yaml_lines(&rest));
    section(&mut out, "Now", now);
    section(&mut out, "Forecasts (how good those of the last weeks were)", forecasts);
    section(&mut out, "Conditions", &table_lines(&conditions(status)));
    section(&mut out, "Replicas", &table_lines(&replicas(status)));
    section(&mut out, "Acted, or not, and why (the latest first)", &acted(status));
    for deployment in status["deployments"].as_array().into_iter().flatten() {
        let title = format!("Deployment of {} (generated)", text(deployment, &["replica"]));
        section(&mut out, &title, &yaml_lines(deployment));
    }
    let latest = &events[events.len().saturating_sub(EVENTS)..];
    section(&mut out, "Events", &or_none(table_lines(&events::table(latest))));
    section(&mut out, "Decisions", &or_none(decisions(object)));
    out
}

fn metadata(object: &Value) -> String {
    let meta = &object["metadata"];
    let mut out = format!("Name:       {}\nKind:       {}\n", text(meta, &["name"]), text(object, &["kind"]));
    let pairs = |key: &str| {
        let pairs = meta[key].as_object().into_iter().flatten();
        pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>()
    };
    for (title, key) in [("Labels", "labels"), ("Notes", "annotations")] {
        if !pairs(key).is_empty() {
            out += &format!("{:<12}{}\n", format!("{title}:"), pairs(key).join(", "));
        }
    }
    for (title, key) in [("Manager", "manager"), ("Generation", "generation"), ("Version", "resourceVersion")]
    {
        match &meta[key] {
            Value::Null => {}
            Value::String(value) => out += &format!("{:<12}{value}\n", format!("{title}:")),
            value => out += &format!("{:<12}{value}\n", format!("{title}:")),
        }
    }
    if let Some(replicas) = object["scale"]["replicas"].as_u64() {
        out += &format!("Scaled to:  {replicas} replicas (by `sos scale`)\n");
    }
    out
}

/// Adds a section; one without lines is left out.
fn section(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    *out += &format!("{title}:\n");
    for line in lines {
        *out += &format!("  {line}\n");
    }
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

fn yaml_lines(value: &Value) -> Vec<String> {
    let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    if empty { Vec::new() } else { yaml::to_yaml(value).lines().map(ToOwned::to_owned).collect() }
}

fn table_lines(table: &Table) -> Vec<String> {
    if table.is_empty() { Vec::new() } else { table.aligned().lines().map(ToOwned::to_owned).collect() }
}

fn conditions(status: &Value) -> Table {
    let mut table = Table::new(&["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]);
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let keys = ["type", "status", "lastTransitionTime", "reason", "message"];
        table.row(keys.map(|key| text(condition, &[key]).to_owned()).to_vec());
    }
    table
}

fn replicas(status: &Value) -> Table {
    let mut table = Table::new(&["NAME", "PHASE", "PID", "STARTED", "PAST RUNS", "CPU TIME", "MEMORY"]);
    for replica in status["replicaStatuses"].as_array().into_iter().flatten() {
        let number = |value: &Value| value.as_u64().map(|n| n.to_string()).unwrap_or_default();
        let usage = &replica["usage"];
        table.row(vec![
            text(replica, &["name"]).to_owned(),
            text(replica, &["phase"]).to_owned(),
            number(&replica["pid"]),
            text(replica, &["startedAt"]).to_owned(),
            number(&replica["pastRuns"]),
            usage["cpuSeconds"].as_f64().map(|s| format!("{s:.1} s")).unwrap_or_default(),
            usage["memoryBytes"].as_f64().map(words::bytes).unwrap_or_default(),
        ]);
    }
    table
}

/// What a rule decided: when, whether it acted, what it did or why not, on what.
fn acted(status: &Value) -> Vec<String> {
    let decisions = status["decisions"].as_array().into_iter().flatten();
    let line = |decision: &Value| {
        let did: Vec<&str> =
            decision["did"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let why = if did.is_empty() { text(decision, &["why"]).to_owned() } else { did.join("; ") };
        let (at, outcome, cause) =
            (text(decision, &["at"]), text(decision, &["outcome"]), text(decision, &["cause"]));
        vec![format!("{at}  {outcome}: {why}"), format!("  on {cause}")]
    };
    decisions.flat_map(line).collect()
}

/// Entries of the audit record: when, what, from what to what, and why. A command to the assets of a site has a line for
/// each that is told something else.
fn decisions(object: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in object["decisions"].as_array().into_iter().flatten() {
        let (before, after) = (&entry["before"], &entry["after"]);
        let (time, what, who) = (text(entry, &["time"]), text(entry, &["what"]), text(entry, &["who"]));
        let why = text(entry, &["why"]);
        if let Some(assets) = after["assets"].as_object() {
            lines.push(format!("{time}  {what} by {who}: {why}"));
            let each: Vec<(&str, String)> =
                assets.iter().map(|(name, after)| (name.as_str(), command(&before[name], after))).collect();
            let alike = words::alike(each.iter().map(|(name, told)| (*name, told.as_str())));
            lines.extend(alike.iter().map(|(names, told)| format!("  {names}: {told}")));
        } else if after["because"].is_string() {
            lines.push(format!("{time}  {what} by {who} ({why}): {}", command(before, after)));
        } else {
            lines.push(format!("{time}  {what} by {who}{}: {why}", change(before, after)));
        }
    }
    lines
}

/// A set-point with its reason: `charging 1.5 kW, before idle: solar surplus now`.
fn command(before: &Value, after: &Value) -> String {
    let told = |kw: Option<f64>| kw.map_or_else(|| "left to itself".to_owned(), words::battery);
    let (was, is) = (told(before.as_f64()), told(after["kw"].as_f64()));
    let before = if before.is_null() || was == is { String::new() } else { format!(", before {was}") };
    let because = text(after, &["because"]);
    // A reason begins with what is done, which has been said.
    let said = ["0 kW: ", "charging: ", "discharging: ", "heating: "];
    let rest = said.iter().find_map(|said| because.strip_prefix(said)).unwrap_or(because);
    format!("{is}{before}: {rest}")
}

/// What a decision changed, when it is short enough to read.
fn change(before: &Value, after: &Value) -> String {
    let short = |value: &Value| match value {
        Value::Null => Some("nothing".to_owned()),
        value => Some(value.to_string()).filter(|text| text.chars().count() <= LONGEST_VALUE),
    };
    match (before, after) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, after) => short(after).map(|after| format!(" {after}")).unwrap_or_default(),
        (before, after) => {
            let pair = short(before).zip(short(after));
            pair.map(|(before, after)| format!(" {before} → {after}")).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn forecast() -> SeriesForecast {
        let score = json!({"horizon": "1h", "pairs": 9.0, "mae": 0.21, "mase": 0.8, "pinball": null, "coverage": 0.79});
        serde_json::from_value(json!({
            "name": "home-1-load", "type": "load", "unit": "kW", "step_seconds": 900, "method": "profile",
            "because": "", "issued_at": "T", "steps": [], "actual": [], "accuracy": [score], "drifting": false,
        }))
        .unwrap()
    }

    #[test]
    fn a_description_ends_with_decisions_and_their_reasons() {
        let object = json!({
            "kind": "Asset",
            "metadata": {"name": "home-1-battery", "manager": "dir", "generation": 1, "labels": {"home": "1"}},
            "spec": {"site": "fontana"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Answers", "message": "well"}]},
            "decisions": [
                {"time": "T1", "what": "set-point", "who": "sos/site", "why": "plan of T0 by solver",
                 "before": null, "after": {"kw": -1.5, "because": "solar surplus now"}},
                {"time": "T2", "what": "scale", "who": "eva", "why": "asked for", "before": {"replicas": 1}, "after": {"replicas": 2}},
            ],
        });
        let text = description(
            &object,
            &["Power:      charging 1.5 kW".to_owned()],
            &table_lines(&accuracy(&[forecast()])),
            &[],
        );
        for wanted in [
            "Name:       home-1-battery\n",
            "Labels:     home=1\n",
            "Spec:\n  site: fontana\n",
            "Now:\n  Power:      charging 1.5 kW\n",
            "  Ready   True",
            "  home-1-load   1h      0.210   0.800             79 %       kW     no\n",
            "Events:\n  none\n",
            "  T1  set-point by sos/site (plan of T0 by solver): charging 1.5 kW: solar surplus now\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert!(
            text.ends_with("  T2  scale by eva {\"replicas\":1} → {\"replicas\":2}: asked for\n"),
            "{text}"
        );
    }

    #[test]
    fn a_command_to_a_site_is_told_per_asset() {
        let object = json!({"decisions": [{
            "time": "T", "what": "set-point", "who": "sos/site", "why": "plan", "before": {"a": 0.0},
            "after": {"epoch": 1, "assets": {"a": {"kw": 2.0, "because": "dear"}, "b": {"kw": null, "because": "safe"}}},
        }]});
        assert_eq!(
            decisions(&object),
            [
                "T  set-point by sos/site: plan",
                "  a: discharging 2.0 kW, before idle: dear",
                "  b: left to itself: safe"
            ]
        );
    }
}
