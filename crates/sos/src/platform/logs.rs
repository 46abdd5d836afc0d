//! Searching the logs of services and of `sos` itself.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::json;
use sos_api::Problem;
use sos_api::wire::{LogAnswer, LogQuery, LogRecord};
use sos_engine::platform::Platform as Engine;
use sos_model::{did_you_mean, known_list};
use sos_runtime::{self as runtime, LogSource, local_zone, search};

/// All logs, with what is known of the replicas that wrote them.
pub(super) async fn sources(engine: &Engine) -> Result<Vec<LogSource>, Problem> {
    engine.drivers().log_sources(&local_zone()).await.map_err(|error| Problem::internal(error.full()))
}

/// Finds what was asked for. Reads files, so it blocks.
pub(super) fn find(sources: &[LogSource], query: LogQuery) -> Result<LogAnswer, Problem> {
    known(sources, &query.services)?;
    let found = search(sources, &asked(query)?).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(LogAnswer {
        records: found.records.into_iter().map(record).collect(),
        truncated: found.truncated,
        scanned_bytes: found.scanned_bytes,
        problems: found.problems,
    })
}

/// Services that have never written anything are as unknown as those that never were.
fn known(sources: &[LogSource], services: &[String]) -> Result<(), Problem> {
    let names: BTreeSet<&str> = sources.iter().map(|source| source.service.as_str()).collect();
    match services.iter().find(|service| !names.contains(service.as_str())) {
        None => Ok(()),
        Some(unknown) => {
            let hint = did_you_mean(unknown, names.iter().copied());
            let list = known_list(names.iter().copied());
            Err(Problem::not_found(format!("there is no log of a service \"{unknown}\"; {hint}{list}")))
        }
    }
}

fn asked(query: LogQuery) -> Result<runtime::LogQuery, Problem> {
    Ok(runtime::LogQuery {
        services: query.services,
        replica: query.replica,
        stream: word("stream", query.stream, "stdout or stderr")?,
        level: word("level", query.level, "trace, debug, info, warn, error or fatal")?,
        trace_id: query.trace,
        run: query.run,
        contains: query.contains,
        since: query.since,
        until: query.until,
        limit: query.limit,
        newest_first: !query.ascending,
        ..runtime::LogQuery::default()
    })
}

/// A word of a closed list.
fn word<T: DeserializeOwned>(name: &str, text: Option<String>, expected: &str) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let read = serde_json::from_value(json!(text));
    read.map(Some).map_err(|_| {
        Problem::bad_request(format!("`{name}` is `{}`: expected {expected}", text.escape_debug()))
    })
}

fn record(found: runtime::LogRecord) -> LogRecord {
    let text = |value: serde_json::Value| value.as_str().map(ToOwned::to_owned);
    LogRecord {
        time: found.time.map(|time| time.to_string()),
        time_exact: found.time_exact,
        service: found.service,
        replica: found.replica,
        stream: found.stream.and_then(|stream| text(json!(stream))),
        level: found.level.and_then(|level| text(json!(level))),
        message: found.message,
        trace_id: found.trace_id,
        span_id: found.span_id,
        run: found.run,
        fields: found.fields.into_iter().collect(),
    }
}
