//! Searching the logs of services.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use crate::{
    Problem, extract,
    server::App,
    wire::{LogAnswer, LogQuery},
};

/// Lines of an answer when the query does not say, and at most.
const LIMIT: (usize, usize) = (100, 5_000);
/// Most bytes of any parameter, and services in one query.
const MAX_TEXT: usize = 1024;
const MAX_SERVICES: usize = 100;
const KNOWN: &str = "service, replica, stream, level, trace, run, contains, since, until, limit, order";

/// Finds lines in the logs of services, the newest first.
///
/// With `Accept: application/x-ndjson` the answer is one record a line, and whether there may be more is in the header
/// `Sos-Truncated`.
#[utoipa::path(get, path = "/api/v1/logs", tag = "services", params(
    ("service" = Option<Vec<String>>, Query, description = "names of services; all when left out"),
    ("replica" = Option<String>, Query, description = "name of a replica, such as home-1-0"), ("stream" = Option<String>, Query, description = "stdout or stderr"),
    ("level" = Option<String>, Query, description = "such as error"),
    ("trace" = Option<String>, Query, description = "trace id, 32 hexadecimal digits"),
    ("run" = Option<String>, Query, description = "id of a run of the process"),
    ("contains" = Option<String>, Query, description = "text within the line"),
    ("since" = Option<String>, Query, description = "RFC 3339, inclusive"), ("until" = Option<String>, Query, description = "RFC 3339, exclusive"),
    ("limit" = Option<usize>, Query, description = "1…5000; 100 when left out"),
    ("order" = Option<String>, Query, description = "desc, the newest first, or asc")),
    responses((status = 200, body = LogAnswer), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn search(
    State(app): State<App>,
    RawQuery(text): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = read(&text.unwrap_or_default())?;
    let answer = app.platform.search_logs(query).await?;
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/x-ndjson") { lines(&answer) } else { Ok(Json(answer).into_response()) }
}

fn lines(answer: &LogAnswer) -> Result<Response, Problem> {
    let mut text = Vec::new();
    for record in &answer.records {
        serde_json::to_writer(&mut text, record)
            .map_err(|error| Problem::internal(format!("a record cannot be written: {error}")))?;
        text.push(b'\n');
    }
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson".to_owned()),
        (header::HeaderName::from_static("sos-truncated"), answer.truncated.to_string()),
        (header::HeaderName::from_static("sos-scanned-bytes"), answer.scanned_bytes.to_string()),
    ];
    Ok((headers, text).into_response())
}

fn read(text: &str) -> Result<LogQuery, Problem> {
    let mut query = LogQuery { limit: LIMIT.0, ..LogQuery::default() };
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let (name, value) = (name.into_owned(), value.into_owned());
        if value.len() > MAX_TEXT {
            return Err(Problem::bad_request(format!("`{name}` has more than {MAX_TEXT} bytes")));
        }
        if name != "service" && seen.contains(&name) {
            return Err(Problem::bad_request(format!(
                "`{name}` comes twice: only `service` may be repeated"
            )));
        }
        if value.is_empty() {
            continue;
        }
        set(&mut query, &name, value)?;
        seen.push(name);
    }
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since >= until
    {
        return Err(Problem::bad_request(format!("`since` ({since}) has to be before `until` ({until})")));
    }
    Ok(query)
}

fn set(query: &mut LogQuery, name: &str, value: String) -> Result<(), Problem> {
    let wrong = |expected: &str| {
        Err(Problem::bad_request(format!("`{name}` is `{}`: expected {expected}", value.escape_debug())))
    };
    match name {
        "service" if query.services.len() >= MAX_SERVICES => {
            return Err(Problem::bad_request(format!(
                "more than {MAX_SERVICES} services: leave `service` out for all"
            )));
        }
        "service" => query.services.push(value),
        "replica" => query.replica = Some(value),
        "stream" if value != "stdout" && value != "stderr" => return wrong("stdout or stderr"),
        "stream" => query.stream = Some(value),
        "level" => query.level = Some(value.to_lowercase()),
        "trace" if value.len() != 32 || !value.bytes().all(|b| b.is_ascii_hexdigit()) => {
            return wrong("32 hexadecimal digits");
        }
        "trace" => query.trace = Some(value.to_lowercase()),
        "run" => query.run = Some(value),
        "contains" => query.contains = Some(value),
        "since" => query.since = Some(extract::time(name, &value)?),
        "until" => query.until = Some(extract::time(name, &value)?),
        "limit" => match value.parse() {
            Ok(limit @ 1..=5_000) => query.limit = limit,
            _ => return wrong(&format!("a number from 1 to {}", LIMIT.1)),
        },
        "order" if value != "asc" && value != "desc" => return wrong("asc or desc"),
        "order" => query.ascending = value == "asc",
        _ => {
            let name = name.escape_debug();
            return Err(Problem::bad_request(format!("there is no parameter `{name}`; known: {KNOWN}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_with_its_defaults() {
        assert_eq!(read("").unwrap(), LogQuery { limit: 100, ..LogQuery::default() });
        let trace = "4BF92F3577B34DA6A3CE929D0E0E4736";
        let all = read(&format!(
            "service=a&service=b&replica=a-1&stream=stderr&level=ERROR&trace={trace}&run=r1&contains=%3Cb%3E+x\
             &since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00%2B01:00&limit=5000&order=asc"
        ));
        let all = all.unwrap();
        assert_eq!(
            (all.services, all.replica, all.stream.as_deref()),
            (vec!["a".into(), "b".into()], Some("a-1".into()), Some("stderr"))
        );
        assert_eq!((all.level.as_deref(), all.contains.as_deref()), (Some("error"), Some("<b> x")));
        assert_eq!(all.trace, Some(trace.to_lowercase()));
        assert_eq!((all.since.unwrap().as_second(), all.limit, all.ascending), (1_767_225_600, 5000, true));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_expected() {
        for (text, part) in [
            ("limit=0", "1 to 5000"),
            ("limit=5001", "1 to 5000"),
            ("stream=log", "stdout or stderr"),
            ("order=up", "asc or desc"),
            ("trace=12", "32 hexadecimal"),
            ("since=yesterday", "2016-08-01"),
            ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "before `until`"),
            ("services=a", "known: service, replica"),
            ("level=a&level=b", "comes twice"),
            (&"service=a&".repeat(101), "more than 100"),
            (&format!("contains={}", "x".repeat(1025)), "more than 1024"),
        ] {
            let detail = read(text).unwrap_err().detail;
            assert!(detail.contains(part), "{text}: {detail}");
        }
    }
}
