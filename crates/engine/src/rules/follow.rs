//! One rule as it goes: what happens, what it decides, what it does; kept before it looks further.

use std::sync::Arc;
use std::time::Duration;

use sos_store::{Event, EventType};
use sos_workflow::rule::{Cause, Verdict};

use super::causes::{self, Happened};
use super::memory::{Decision, State};
use super::ready::Ready;
use super::{Rules, act};
use crate::clock::wall_now;
use crate::workflow::until;

/// After a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows the rule with this number until it is aborted.
pub(super) async fn run(rules: Rules, uid: u64, rule: Arc<Ready>) {
    let mut state = loop {
        match begun(&rules, uid, &rule).await {
            Ok(state) => break state,
            Err(why) => tracing::warn!(rule = rule.name, why, "the rule cannot begin; tried again"),
        }
        tokio::time::sleep(AGAIN).await;
    };
    // Only now: what happens from here on it sees.
    rules.tell(&rule.name, None);
    loop {
        let quiet = state.memory.waiting.as_ref().map(|(until, _)| *until);
        let happened = tokio::select! {
            happened = causes::next(&rules, &rule, &state) => Some(happened),
            () = until_quiet(quiet) => None,
        };
        match happened {
            None => {
                let mut next = state.clone();
                if let Some(verdict) = rule.policy.waited(&mut next.memory, wall_now()) {
                    settle(&rules, &rule, &mut next, None, verdict).await;
                    state = kept(&rules, &rule, next).await;
                }
            }
            Some(Ok(happened)) => {
                for one in happened {
                    state = deal(&rules, &rule, state, one).await;
                }
            }
            Some(Err(why)) => {
                tracing::warn!(rule = rule.name, why, "the rule cannot look; tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Waits until something that waits has waited long enough; for ever where nothing does.
async fn until_quiet(quiet: Option<jiff::Timestamp>) {
    match quiet {
        Some(_) => until(quiet).await,
        None => std::future::pending().await,
    }
}

async fn begun(rules: &Rules, uid: u64, rule: &Ready) -> Result<State, String> {
    let known = rules.recall(&rule.name, uid).await?;
    let mut state = known.clone().unwrap_or_else(|| State::of(uid));
    causes::begin(rules, rule, &mut state).await?;
    if known.as_ref() != Some(&state) {
        rules.keep(&rule.name, &state).await?;
    }
    Ok(state)
}

async fn deal(rules: &Rules, rule: &Ready, state: State, happened: Happened) -> State {
    let mut next = state;
    let Some(cause) = happened.cause else {
        // Events that are none of its business are passed over again after a crash.
        next.moved(happened.moved);
        return next;
    };
    let value = cause.value.clone();
    let verdict = rule.policy.hear(&mut next.memory, cause, wall_now());
    settle(rules, rule, &mut next, Some(&value), verdict).await;
    next.moved(happened.moved);
    kept(rules, rule, next).await
}

/// Does what was decided, and notes it.
async fn settle(
    rules: &Rules,
    rule: &Ready,
    state: &mut State,
    value: Option<&serde_json::Value>,
    verdict: Verdict,
) {
    let (now, nothing) = (wall_now(), serde_json::Value::Null);
    let value = value.unwrap_or(&nothing);
    match verdict {
        Verdict::Not(why) => state.note(Decision::new(now, value, "passed").because(why)),
        Verdict::Later(until) => {
            let why = format!("waits until {until:.0} for something more");
            state.note(Decision::new(now, value, "waits").because(why));
        }
        Verdict::Act(cause) => {
            let (outcome, did) = done(rules, rule, &cause).await;
            record(rules, rule, outcome, &did);
            state.note(Decision::new(now, &cause.value, outcome).did(did));
        }
    }
}

async fn done(rules: &Rules, rule: &Ready, cause: &Cause) -> (&'static str, Vec<String>) {
    let mut did = Vec::with_capacity(rule.then.len());
    let mut failed = false;
    for (index, action) in rule.then.iter().enumerate() {
        match act::act(rules, rule, action, cause, index).await {
            Ok(done) => did.push(done),
            Err(why) => {
                failed = true;
                did.push(format!("not done: {why}"));
            }
        }
    }
    let outcome = match (failed, rule.dry_run) {
        (_, true) => "dry run",
        (true, _) => "failed",
        (false, _) => "acted",
    };
    (outcome, did)
}

/// Tells with the other events what a rule did.
fn record(rules: &Rules, rule: &Ready, outcome: &str, did: &[String]) {
    let (event_type, reason) = match outcome {
        "failed" => (EventType::Warning, "ActionFailed"),
        "dry run" => (EventType::Normal, "DryRun"),
        _ => (EventType::Normal, "Acted"),
    };
    let event = Event {
        time: wall_now(),
        site_time: None,
        kind: "Rule".into(),
        name: rule.name.clone(),
        event_type,
        reason: reason.into(),
        message: did.join("; "),
    };
    if let Err(error) = rules.0.store.commit(|tx| tx.record_event(&event)) {
        tracing::warn!(%error, "an event cannot be recorded");
    }
}

/// Keeps what was decided before anything more is looked at.
async fn kept(rules: &Rules, rule: &Ready, state: State) -> State {
    while let Err(why) = rules.keep(&rule.name, &state).await {
        tracing::error!(rule = rule.name, why, "what a rule decided cannot be kept; tried again");
        tokio::time::sleep(AGAIN).await;
    }
    state
}
