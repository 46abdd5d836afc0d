//! What happens: events, series of a query that appear, times of a schedule.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sos_watch::{Answer, Options, Query, ResultSeries, Source};
use sos_workflow::rule::Cause;

use super::Rules;
use super::memory::{Present, State};
use super::ready::{Ready, When};
use crate::channels::Position;
use crate::clock::{latest, wall_now};
use crate::query::Stored;
use crate::workflow::until;

/// Events that are read at once.
const PAGE: usize = 64;
/// How long a channel is asked for events before it is asked again.
const WAIT: Duration = Duration::from_secs(20);
/// A query that takes longer is broken off.
const LONGEST: Duration = Duration::from_secs(10);
/// The most series of a query that are looked at.
const MOST_SERIES: usize = 1_000;

/// Something that happened, with how far the rule has looked when it is dealt with.
pub(super) struct Happened {
    pub(super) cause: Option<Cause>,
    pub(super) moved: Moved,
}

/// How far a rule has looked.
pub(super) enum Moved {
    Heard(String, u64),
    Came(Timestamp),
    Present(BTreeMap<String, Present>),
}

impl State {
    pub(super) fn moved(&mut self, moved: Moved) {
        match moved {
            Moved::Heard(channel, next) => self.heard = Some((channel, next)),
            Moved::Came(at) => self.came = Some(at),
            Moved::Present(present) => self.present = present,
        }
    }
}

/// Where a new rule begins to look: at what comes from now on.
///
/// # Errors
/// What a channel says.
pub(super) async fn begin(rules: &Rules, rule: &Ready, state: &mut State) -> Result<(), String> {
    match &rule.when {
        When::Event { channel, .. } if state.heard.as_ref().is_none_or(|(heard, _)| heard != channel) => {
            let Some(platform) = rules.0.platform.upgrade() else {
                return Err("the server stops".to_owned());
            };
            state.heard = Some((channel.clone(), platform.channels().next(channel).await?));
        }
        When::Cron(..) | When::Every(_) if state.came.is_none() => state.came = Some(wall_now()),
        _ => {}
    }
    Ok(())
}

/// Waits for what happens next. Nothing is lost when this is given up.
///
/// # Errors
/// What a channel or the store says.
pub(super) async fn next(rules: &Rules, rule: &Ready, state: &State) -> Result<Vec<Happened>, String> {
    match &rule.when {
        When::Event { channel, event_type, source } => {
            let from = state.heard.as_ref().map_or(0, |(_, next)| *next);
            let channels = match rules.0.platform.upgrade() {
                Some(platform) => platform.channels().clone(),
                None => return Err("the server stops".to_owned()),
            };
            let heard = channels.events(channel, Position::At(from), PAGE, WAIT).await;
            let (events, _) = heard.map_err(|error| error.to_string())?;
            let happened = events.into_iter().map(|one| {
                let wanted = [("type", event_type), ("source", source)];
                let text =
                    |key: &str| one.event.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
                let fits = wanted
                    .iter()
                    .all(|(key, pattern)| pattern.as_ref().is_none_or(|pattern| pattern.matches(text(key))));
                let cause = Cause { key: format!("{channel}/{}", one.position), value: one.event };
                Happened {
                    cause: fits.then_some(cause),
                    moved: Moved::Heard(channel.clone(), one.position + 1),
                }
            });
            Ok(happened.collect())
        }
        When::Cron(cron, zone) => {
            let last = state.came.unwrap_or_else(wall_now);
            Ok(vec![came(last, |at| cron.next(at, zone)).await])
        }
        When::Every(every) => {
            let last = state.came.unwrap_or_else(wall_now);
            Ok(vec![came(last, |at| at.checked_add(*every).ok()).await])
        }
        When::Metric { query, lasts, every, site_time } => {
            tokio::time::sleep(Duration::try_from(*every).unwrap_or(WAIT)).await;
            let found = look(rules, query, *site_time).await?;
            Ok(found.map_or_else(Vec::new, |(now, series)| appeared(&state.present, series, now, *lasts)))
        }
    }
}

/// Waits for the next time; of those that are over already, the latest.
async fn came(last: Timestamp, next: impl Fn(Timestamp) -> Option<Timestamp>) -> Happened {
    let first = next(last);
    until(first).await;
    let at = latest(first.unwrap_or(last), wall_now(), next);
    let cause = Cause { key: at.to_string(), value: json!({ "at": at.to_string() }) };
    Happened { cause: Some(cause), moved: Moved::Came(at) }
}

/// The series that a query gives now; none while there is no time of a site yet.
async fn look(
    rules: &Rules,
    query: &Query,
    site_time: bool,
) -> Result<Option<(Timestamp, Vec<ResultSeries>)>, String> {
    let Some(platform) = rules.0.platform.upgrade() else { return Err("the server stops".to_owned()) };
    let now = if site_time { platform.now_of_sites() } else { Some(wall_now()) };
    let Some(now) = now else { return Ok(None) };
    let (store, query) = (rules.0.store.clone(), query.clone());
    let answer = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let stop = move || began.elapsed() > LONGEST;
        let source: &dyn Source = &Stored::new(store);
        query.instant(source, now.as_millisecond(), &Options { stop: &stop, ..Options::default() })
    });
    let answer = answer.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    match answer {
        Answer::Vector(series) if series.len() > MOST_SERIES => {
            Err(format!("the query gives {} series; expected at most {MOST_SERIES}", series.len()))
        }
        Answer::Vector(series) => Ok(Some((now, series))),
        _ => Err("the query gives no series; expected a vector, such as a comparison".to_owned()),
    }
}

/// The series that have been there for long enough and have not counted since they appeared. Each is noted with itself, so that
/// what was dealt with is not again after a crash.
fn appeared(
    before: &BTreeMap<String, Present>,
    series: Vec<ResultSeries>,
    now: Timestamp,
    lasts: SignedDuration,
) -> Vec<Happened> {
    let mut present: BTreeMap<String, Present> = BTreeMap::new();
    let mut causes = Vec::new();
    for one in series {
        let name = one.labels.to_string();
        let known = before.get(&name).copied().unwrap_or(Present { since: now, counted: false });
        if !known.counted && now.duration_since(known.since) >= lasts {
            let labels: BTreeMap<&str, &str> = one.labels.iter().collect();
            let value = one.samples.last().map(|sample| sample.v).filter(|value| value.is_finite());
            let value = json!({ "labels": labels, "value": value, "since": known.since.to_string() });
            causes.push((name.clone(), Cause { key: format!("{name}@{}", known.since), value }));
        }
        present.insert(name, known);
    }
    let mut happened = Vec::new();
    for (name, cause) in causes {
        if let Some(one) = present.get_mut(&name) {
            one.counted = true;
        }
        happened.push(Happened { cause: Some(cause), moved: Moved::Present(present.clone()) });
    }
    if happened.is_empty() && present != *before {
        happened.push(Happened { cause: None, moved: Moved::Present(present) });
    }
    happened
}

#[cfg(test)]
mod tests {
    use sos_watch::{Labels, Sample};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_600_000 + second).unwrap()
    }

    fn series(site: &str) -> ResultSeries {
        ResultSeries { labels: Labels::new([("site", site)]), samples: vec![Sample { t: 0, v: 41.5 }] }
    }

    #[test]
    fn a_series_counts_once_until_it_was_gone_and_only_when_it_lasts() {
        let lasts = SignedDuration::from_secs(60);
        let mut state = State::default();
        let mut look = |names: &[&str], second: i64| -> Vec<String> {
            let found =
                appeared(&state.present, names.iter().map(|name| series(name)).collect(), at(second), lasts);
            let mut keys = Vec::new();
            for one in found {
                keys.extend(
                    one.cause
                        .map(|cause| format!("{} {}", cause.value["labels"]["site"], cause.value["value"])),
                );
                state.moved(one.moved);
            }
            keys
        };
        assert_eq!(look(&["a"], 0), [""; 0]);
        assert_eq!(look(&["a", "b"], 60), ["\"a\" 41.5"]);
        assert_eq!(look(&["a", "b"], 120), ["\"b\" 41.5"]);
        assert_eq!(look(&["a", "b"], 180), [""; 0]);
        assert_eq!(look(&["b"], 240), [""; 0]);
        assert_eq!(look(&["a", "b"], 300), [""; 0]);
        assert_eq!(look(&["a", "b"], 360), ["\"a\" 41.5"]);
    }
}
