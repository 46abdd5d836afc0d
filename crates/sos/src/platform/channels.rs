//! Channels: events published, heard, handed to groups, put aside.

use std::time::Duration;

use jiff::Timestamp;
use sos_api::wire::{
    ChannelView, DeadLetter, EventOutcome, EventPage, GroupView, HandedEvent, PlacedEvent, Published,
    Redrive, SettledEvent,
};
use sos_api::{Bytes, Problem};
use sos_call::ErrorKind;
use sos_call::events::{CloudEvent, EventError, Start, from_http};
use sos_engine::channels::{ChannelState, NO_CHANNEL, Position, Told};
use sos_engine::platform::Platform as Engine;
use sos_store::GroupStatistics;

/// What went wrong, as the API tells it.
fn problem(error: &EventError) -> Problem {
    let text = error.to_string();
    match error.kind {
        ErrorKind::BadInput if error.place == NO_CHANNEL => Problem::not_found(error.message.clone()),
        ErrorKind::BadInput => {
            Problem::bad_input(vec![serde_json::json!({ "text": text, "place": error.place })])
        }
        _ => Problem::unavailable(text),
    }
}

pub(super) fn channels(engine: &Engine) -> Result<Vec<ChannelView>, Problem> {
    let mut views = Vec::new();
    for state in engine.channels().states() {
        views.push(view(engine, state)?);
    }
    Ok(views)
}

fn view(engine: &Engine, state: ChannelState) -> Result<ChannelView, Problem> {
    let mut view = ChannelView {
        name: state.name,
        over: state.over.to_owned(),
        connected: state.connected,
        problem: state.problem,
        ..ChannelView::default()
    };
    let Some(log) = state.log else { return Ok(view) };
    if log.bounds.next > log.bounds.first {
        view.first = log.bounds.first;
    }
    view.last = log.bounds.next.saturating_sub(1);
    view.bytes = log.bytes;
    view.dead_letters = log.dead_letters;
    for statistics in &log.groups {
        let lag = engine.channels().lag(&view.name, &statistics.group).map_err(|error| problem(&error))?;
        let oldest = lag.oldest.map(|time| time.to_string());
        view.groups.push(GroupView { oldest, ..group(statistics) });
    }
    Ok(view)
}

fn group(statistics: &GroupStatistics) -> GroupView {
    GroupView {
        name: statistics.group.clone(),
        lag: statistics.lag,
        oldest: None,
        in_flight: statistics.in_flight,
    }
}

pub(super) async fn publish(
    engine: &Engine,
    channel: &str,
    headers: Vec<(String, String)>,
    body: Bytes,
) -> Result<Published, Problem> {
    let events: Vec<CloudEvent> = from_http(&headers, &body).map_err(|error| problem(&error))?;
    engine.channels().publish(channel, &events).await.map_err(|error| problem(&error))?;
    Ok(Published { events: events.len() })
}

/// `earliest`, `latest`, a position, or a time.
fn point(text: &str) -> Result<Position, Problem> {
    match text {
        "earliest" => return Ok(Position::Earliest),
        "latest" => return Ok(Position::Latest),
        _ => {}
    }
    if let Ok(position) = text.parse() {
        return Ok(Position::At(position));
    }
    // A `+` that was not encoded arrives as a space.
    text.replace(' ', "+").parse::<Timestamp>().map(Position::Time).map_err(|_| {
        let text = text.escape_debug();
        Problem::bad_request(format!(
            "`from` is `{text}`: expected earliest, latest, a position such as 42, or a time such as 2026-01-31T08:00:00Z"
        ))
    })
}

pub(super) async fn events(
    engine: &Engine,
    channel: &str,
    from: &str,
    limit: usize,
    wait: Duration,
) -> Result<EventPage, Problem> {
    let heard = engine.channels().events(channel, point(from)?, limit, wait).await;
    let (events, next) = heard.map_err(|error| problem(&error))?;
    let events = events.into_iter().map(|one| PlacedEvent { position: one.position, event: one.event });
    Ok(EventPage { events: events.collect(), next })
}

pub(super) async fn seek(
    engine: &Engine,
    channel: &str,
    name: &str,
    from: &str,
) -> Result<GroupView, Problem> {
    let to = match point(from)? {
        Position::Earliest => Start::Earliest,
        Position::Latest => Start::Latest,
        Position::At(position) => Start::Position(position),
        Position::Time(time) => Start::Time(time),
    };
    let found = engine.channels().seek(channel, name, to).await.map_err(|error| problem(&error))?;
    Ok(found.as_ref().map_or_else(|| GroupView { name: name.to_owned(), ..GroupView::default() }, group))
}

pub(super) async fn forget(engine: &Engine, channel: &str, group: &str) -> Result<(), Problem> {
    engine.channels().forget(channel, group).await.map_err(|error| problem(&error))
}

pub(super) async fn take(
    engine: &Engine,
    channel: &str,
    group: &str,
    max: usize,
    wait: Duration,
) -> Result<Vec<HandedEvent>, Problem> {
    let taken = engine.channels().take(channel, group, max, wait).await.map_err(|error| problem(&error))?;
    let handed = |one: sos_engine::channels::Placed| HandedEvent {
        position: one.position,
        attempt: one.attempt,
        event: one.event,
    };
    Ok(taken.into_iter().map(handed).collect())
}

pub(super) async fn settle(
    engine: &Engine,
    channel: &str,
    group: &str,
    settled: Vec<SettledEvent>,
) -> Result<(), Problem> {
    let told = settled.into_iter().map(|one| {
        let reason = one.reason.unwrap_or_else(|| "no reason given".to_owned());
        let told = match one.outcome {
            EventOutcome::Done => Told::Done,
            EventOutcome::Failed => Told::Failed { attempt: one.attempt, reason },
            EventOutcome::Dead => Told::Dead { reason },
        };
        (one.position, told)
    });
    engine.channels().settle(channel, group, told.collect()).await.map_err(|error| problem(&error))
}

pub(super) async fn dead_letters(
    engine: &Engine,
    channel: &str,
    limit: usize,
) -> Result<Vec<DeadLetter>, Problem> {
    let letters = engine.channels().dead_letters(channel, limit).await.map_err(|error| problem(&error))?;
    let letter = |one: sos_store::DeadLetter| DeadLetter {
        id: one.id,
        time: one.at.to_string(),
        group: one.group,
        reason: one.reason,
        event: serde_json::from_slice(&one.message.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&one.message.body).into_owned().into()),
    };
    Ok(letters.into_iter().map(letter).collect())
}

pub(super) async fn redrive(engine: &Engine, channel: &str, which: Redrive) -> Result<u64, Problem> {
    let done = engine.channels().redrive(channel, which.ids, which.discard).await;
    done.map(|count| count as u64).map_err(|error| problem(&error))
}
