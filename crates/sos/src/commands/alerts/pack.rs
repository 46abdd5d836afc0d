//! `sos alerts pack`, `sos alerts runbook`: the ready rules and what to do when one fires.

use jiff::SignedDuration;
use serde_json::json;
use sos_engine::watch::config;
use sos_model::{RulePack, did_you_mean, duration_text, known_list};
use sos_watch::pack as ready;

use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};

/// Arguments of `sos alerts pack`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print the rules of this name as YAML, to copy and change
    name: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Arguments of `sos alerts runbook`.
#[derive(Debug, clap::Args)]
pub(super) struct Runbook {
    /// Name of the alert
    alert: String,
}

/// The ready rules, or those of one name as they are written.
pub(super) fn pack(args: &Args) -> Outcome {
    if let Some(name) = &args.name {
        let text = ready::text(name).ok_or_else(|| unknown("ready rules", name, ready::names().collect()))?;
        return output::text(text);
    }
    let mut table = Table::new(&["PACK", "ALERT", "SEVERITY", "FOR", "SUMMARY"]);
    let mut rows = Vec::new();
    for name in RulePack::ALL {
        let rules = config::ready(*name)
            .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
        for rule in rules.groups.iter().flat_map(|group| &group.rules) {
            let Some(alerting) = rule.alerting() else { continue };
            let summary = alerting.annotations.iter().find(|(name, _)| &**name == "summary");
            let summary = summary.map(|(_, text)| text.text()).unwrap_or_default();
            let severity = rule.labels.get("severity").map(ToString::to_string).unwrap_or_default();
            let pause = duration_text(SignedDuration::from_millis(alerting.for_ms));
            rows.push(json!({
                "pack": name.word(), "alert": rule.name, "severity": severity, "for": pause,
                "summary": summary, "expr": rule.expr.text(),
            }));
            table.row(vec![name.word(), rule.name.clone(), severity, pause, summary.to_owned()]);
        }
    }
    output::answer(args.output.format(), &table, &rows)
}

/// The runbook of an alert.
pub(super) fn runbook(args: &Runbook) -> Outcome {
    let known = || ready::runbooks().map(|(name, _)| name).collect();
    let text = ready::runbook(&args.alert).ok_or_else(|| unknown("runbook", &args.alert, known()))?;
    output::text(text)
}

fn unknown(what: &str, name: &str, known: Vec<&str>) -> Failure {
    let hint = did_you_mean(name, known.iter().copied());
    Failure::input(format!("no {what} named \"{name}\"; {hint}{}", known_list(known)))
}
