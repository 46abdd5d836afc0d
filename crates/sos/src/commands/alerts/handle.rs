//! Orders about alerts: acknowledge, silence, end a silence.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use sos_watch::Matcher;

use super::super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos alerts ack`.
#[derive(Debug, clap::Args)]
pub(super) struct Ack {
    /// Id of the alert, as `sos alerts` shows it
    id: String,
    /// What you do about it
    #[arg(long)]
    comment: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos alerts silence`.
#[derive(Debug, clap::Args)]
pub(super) struct Silence {
    /// Which alerts: matchers such as alertname=ServiceDown or 'site=~"north|south"'; all must hold
    #[arg(required = true, value_name = "MATCHER")]
    matchers: Vec<String>,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", value_parser = sos_model::read_duration, required_unless_present = "until")]
    duration: Option<SignedDuration>,
    /// Until when (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    until: Option<Timestamp>,
    /// Why
    #[arg(long)]
    comment: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `sos alerts expire`.
#[derive(Debug, clap::Args)]
pub(super) struct Expire {
    /// Id of the silence, as `sos alerts silences` shows it
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Says that somebody looks after an alert.
pub(super) fn acknowledge(args: &Ack) -> Outcome {
    let client = args.server.client()?;
    let body = Body::Json(json!({ "comment": args.comment }));
    block_on(async {
        let path = ["alarms", &args.id, "acknowledge"];
        let _: Value = client.send(Method::POST, &path, &[], body).await?;
        output::text(&format!("{} acknowledged\n", args.id))
    })
}

/// Silences what matches.
pub(super) fn silence(args: &Silence) -> Outcome {
    let client = args.server.client()?;
    // The server takes them as PromQL writes them, with quotes, which a shell would take away.
    let matchers: Result<Vec<Matcher>, String> =
        args.matchers.iter().map(|text| Matcher::parse(text)).collect();
    let matchers: Vec<String> = matchers.map_err(Failure::input)?.iter().map(ToString::to_string).collect();
    let mut silence = json!({ "matchers": matchers, "comment": args.comment });
    if let Some(duration) = args.duration {
        silence["duration"] = json!(format!("{}s", duration.as_secs()));
    }
    if let Some(until) = args.until {
        silence["endsAt"] = json!(until);
    }
    block_on(async {
        let made: Value = client.send(Method::POST, &["silences"], &[], Body::Json(silence)).await?;
        let id = made["id"].as_str().ok_or_else(|| Failure::unsuccessful("the server named no silence"))?;
        output::text(&format!("silence {id} until {}\n", made["endsAt"].as_str().unwrap_or_default()))
    })
}

/// Ends a silence.
pub(super) fn expire(args: &Expire) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let _: Value = client.send(Method::DELETE, &["silences", &args.id], &[], Body::None).await?;
        output::text(&format!("silence {} ended\n", args.id))
    })
}
