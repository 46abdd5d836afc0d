//! An asset on hold is silent: a silence for its alerts, from the hold's begin to its end.

use jiff::{SignedDuration, Timestamp};
use sos_watch::alerts::{NotifyState, Silence};
use sos_watch::{MatchOp, Matcher};

use crate::people::Held;

/// What the ids of these silences begin with.
const PREFIX: &str = "hold-";
/// Where site time has no pace of its own a silence is made for so long, and again as long as the hold acts.
const AT_ONCE: SignedDuration = SignedDuration::from_hours(24);

/// Makes the silences those of the holds that act now.
pub(super) fn silence(state: &mut NotifyState, holds: &[Held], now: Timestamp) {
    let now_ms = now.as_millisecond();
    for held in holds {
        let Some(silence) = silence_of(held, state, now) else { continue };
        if let Err(error) = state.silence(silence) {
            tracing::error!(asset = held.asset, %error, "the alerts of an asset on hold are not silenced");
        }
    }
    let over = |silence: &&Silence| {
        let asset = silence.id.strip_prefix(PREFIX);
        silence.ends_at_ms > now_ms && asset.is_some_and(|asset| holds.iter().all(|held| held.asset != asset))
    };
    let over: Vec<String> = state.silences().iter().filter(over).map(|silence| silence.id.clone()).collect();
    for id in over {
        if let Err(error) = state.end_silence(&id, now_ms) {
            tracing::error!(id, error, "a silence cannot be ended");
        }
    }
}

/// The silence that a hold needs; `None` while the one that is there does.
fn silence_of(held: &Held, state: &NotifyState, now: Timestamp) -> Option<Silence> {
    let id = format!("{PREFIX}{}", held.asset);
    let now_ms = now.as_millisecond();
    let ends_at_ms =
        held.until.unwrap_or(now + AT_ONCE).max(now + SignedDuration::from_secs(1)).as_millisecond();
    let there = state.silences().iter().find(|silence| silence.id == id && silence.is_active(now_ms));
    let same = |silence: &&Silence| silence.created_by == held.who && silence.comment == held.reason;
    let lasts = |silence: &&Silence| match held.until {
        Some(_) => silence.ends_at_ms == ends_at_ms,
        None => silence.ends_at_ms > now_ms + AT_ONCE.as_millis() as i64 / 2,
    };
    if there.filter(same).is_some_and(|silence| lasts(&silence)) {
        return None;
    }
    Some(Silence {
        id,
        matchers: vec![Matcher::new(MatchOp::Equal, "asset", &held.asset).ok()?],
        starts_at_ms: there.map_or(now_ms, |silence| silence.starts_at_ms),
        ends_at_ms,
        created_by: held.who.clone(),
        comment: held.reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn held(until: Option<Timestamp>) -> Held {
        Held { asset: "battery".into(), until, who: "anna".into(), reason: "inspection".into() }
    }

    fn active(state: &NotifyState, now: Timestamp) -> Vec<&Silence> {
        state.silences().iter().filter(|silence| silence.is_active(now.as_millisecond())).collect()
    }

    #[test]
    fn what_is_on_hold_is_silent_from_its_begin_to_its_end() {
        let mut state = NotifyState::default();
        silence(&mut state, &[held(Some(at(3600)))], at(0));
        let made = active(&state, at(0))[0].clone();
        assert_eq!((made.id.as_str(), made.created_by.as_str()), ("hold-battery", "anna"));
        assert_eq!(made.matchers[0].to_string(), "asset=\"battery\"");
        assert_eq!(made.ends_at_ms, at(3600).as_millisecond());
        let before = state.clone();
        silence(&mut state, &[held(Some(at(3600)))], at(60));
        assert_eq!(state, before, "nothing is stored while nothing changes");
        silence(&mut state, &[], at(120));
        assert!(active(&state, at(120)).is_empty(), "it was ended by hand");
    }

    #[test]
    fn without_a_pace_of_site_time_it_is_renewed_until_the_hold_is_over() {
        let mut state = NotifyState::default();
        for hour in 0..48 {
            silence(&mut state, &[held(None)], at(hour * 3600));
            assert_eq!(active(&state, at(hour * 3600)).len(), 1, "hour {hour}");
        }
        silence(&mut state, &[], at(48 * 3600));
        assert!(active(&state, at(48 * 3600)).is_empty());
    }

    #[test]
    fn silences_of_people_stay_as_they_are() {
        let mut state = NotifyState::default();
        let own = Silence {
            id: "a".into(),
            matchers: vec![Matcher::new(MatchOp::Equal, "site", "home").unwrap()],
            starts_at_ms: at(0).as_millisecond(),
            ends_at_ms: at(900).as_millisecond(),
            created_by: "bert".into(),
            comment: "works".into(),
        };
        state.silence(own.clone()).unwrap();
        silence(&mut state, &[held(None)], at(1));
        silence(&mut state, &[], at(2));
        assert_eq!(active(&state, at(3)), [&own]);
    }
}
