//! `sos logs`: the log of a service as it is written, or what all logs say about a trace, a run, a text, a time.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::Value;
use sos_engine::clock::wall_now;

use super::block_on;
use crate::client::{Body, Client, ServerArgs};
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs};

/// A log that is not followed comes at once.
const LIMIT: Duration = Duration::from_secs(60);

/// Arguments of `sos logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the service; "sos" is this program itself [default: all, when something is searched for]
    service: Option<String>,
    /// Go on with new lines as they come, until Ctrl-C
    #[arg(short, long, conflicts_with_all = ["trace", "run", "grep", "level", "since", "until"])]
    follow: bool,
    /// How many of the last lines
    #[arg(long, default_value_t = 100, value_name = "N")]
    lines: usize,
    /// Only lines of this trace, in every service that it touched
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Only lines of this run of a job
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only lines with this text, upper and lower case alike
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Only lines at least this serious: trace, debug, info, warn, error, fatal
    #[arg(long)]
    level: Option<String>,
    /// Only lines from this time on: RFC 3339, or a duration before now such as 15min
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only lines before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A time, or how long ago it was.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: SignedDuration = sos_model::read_duration(text).map_err(
        |_| "expected a time such as 2026-01-31T08:00:00Z, or a duration before now such as 15min",
    )?;
    wall_now().checked_sub(ago).map_err(|error| error.to_string())
}

/// Prints the log of a service, or what is searched for.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        match &args.service {
            Some(service) if !args.searches() => print(&client, service, args).await,
            _ => search(&client, args).await,
        }
    })
}

impl Args {
    /// Whether lines are to be understood and chosen, not only shown.
    fn searches(&self) -> bool {
        let texts = [&self.trace, &self.run, &self.grep, &self.level];
        let times = [self.since, self.until];
        texts.iter().any(|text| text.is_some())
            || times.iter().any(Option::is_some)
            || self.output.is_given()
            || self.service.as_deref() == Some("sos")
    }
}

async fn print(client: &Client, service: &str, args: &Args) -> Outcome {
    let path = ["services", service, "logs"];
    let query = [("lines", args.lines.to_string()), ("follow", args.follow.to_string())];
    let limit = (!args.follow).then_some(LIMIT);
    let mut response = client.response(Method::GET, &path, &query, Body::None, limit).await?;
    while let Some(chunk) = response.chunk().await.map_err(|error| client.unreachable(&error))? {
        let mut out = std::io::stdout().lock();
        match out.write_all(&chunk).and_then(|()| out.flush()) {
            Ok(()) => {}
            // The reader has gone (`| head`): that is enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::unsuccessful(format!("cannot write to stdout: {error}"))),
        }
    }
    Ok(())
}

async fn search(client: &Client, args: &Args) -> Outcome {
    if args.follow {
        return Err(Failure::input("--follow needs the name of a service, other than sos"));
    }
    let texts = [
        ("service", &args.service),
        ("trace", &args.trace),
        ("run", &args.run),
        ("contains", &args.grep),
        ("level", &args.level),
    ];
    let mut query: Vec<(&str, String)> =
        texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect();
    let times = [("since", args.since), ("until", args.until)];
    query.extend(times.into_iter().filter_map(|(name, time)| Some((name, time?.to_string()))));
    query.push(("limit", args.lines.to_string()));
    let answer: Value = client.get(&["logs"], &query).await?;
    let mut records = answer["records"].as_array().cloned().unwrap_or_default();
    // The newest ones are asked for; people read downwards.
    records.reverse();
    for problem in answer["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::note(problem);
    }
    if answer["truncated"] == true {
        output::note(format!(
            "only the last {} lines: --lines shows more, --until earlier ones",
            records.len()
        ));
    }
    if records.is_empty() {
        output::note("no line was found");
    }
    match args.output.or_text() {
        Format::Table => output::text(&records.iter().map(line).collect::<String>()),
        format => output::structured(format, &records),
    }
}

/// A record in one line.
fn line(record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let about = if record["timeExact"] == false { "~" } else { "" };
    let level = text("level").to_uppercase();
    // Of a structured line without a message its fields say it all.
    let message = Some(text("message")).filter(|message| !message.starts_with('{')).unwrap_or_default();
    let parts = [format!("{about}{}", text("time")), text("replica"), level, message];
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let fields = record["fields"].as_object().into_iter().flatten();
    let fields = fields.map(|(key, value)| match value {
        Value::String(text) => format!(" {key}={text:?}"),
        other => format!(" {key}={other}"),
    });
    let line = said.join("  ") + &fields.collect::<String>();
    line.replace(char::is_control, " ") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_one_line_without_control_characters() {
        let record = json!({
            "time": "2026-01-01T00:00:00Z", "timeExact": false, "replica": "a-0", "level": "warn",
            "message": "odd \u{1b}[31m\nthing", "fields": { "n": 1, "why": "x" }
        });
        assert_eq!(line(&record), "~2026-01-01T00:00:00Z  a-0  WARN  odd  [31m thing n=1 why=\"x\"\n");
    }

    #[test]
    fn moments_are_times_or_durations_ago() {
        assert_eq!(moment("2026-01-31T08:00:00Z").unwrap().as_second(), 1_769_846_400);
        let ago = wall_now().duration_since(moment("1 h").unwrap());
        assert!((3590..3700).contains(&ago.as_secs()), "{ago}");
        assert!(moment("yesterday").unwrap_err().contains("expected a time"));
    }
}
