//! What of runs waits for permits: hands permits on, and shows what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_workflow::machine::{Action, Event, Id, Permit};
use sos_workflow::template::{data, json as to_json};
use tokio::sync::{Semaphore, mpsc};

use super::Runs;
use super::orders::Refusal;
use crate::permits::Grant;
use crate::workflow::drive::Told;

/// Permits that are on their way at the same time.
const AT_ONCE: usize = 64;

/// Hands permits on to their runs until it is aborted.
pub(super) async fn hand_on(runs: Runs, mut granted: mpsc::UnboundedReceiver<Grant>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(grant) = granted.recv().await {
        // It is never closed.
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let runs = runs.clone();
        // Each on its own: a run that is slow to wake does not hold up others.
        tokio::spawn(async move {
            one(runs, grant).await;
            drop(turn);
        });
    }
}

async fn one(runs: Runs, grant: Grant) {
    let Grant { run, name, key, permit } = grant;
    let permit = permit.map(|(again, because)| Permit { again, because: data(&because) });
    let told = |answer| Told::Permitted { key: key.clone(), permit: permit.clone(), answer };
    match runs.insist(run, &name, told, Refusal::Unfit).await {
        // It has ended, or nothing waits any more.
        Ok(()) | Err(Refusal::Unknown(_) | Refusal::Unfit(_)) => runs.0.permits.handed_on(&key, true),
        Err(Refusal::Failed(why)) => {
            tracing::warn!(run = name, key, why, "a permit did not reach its run; it is given again");
            runs.0.permits.handed_on(&key, false);
        }
    }
}

/// What of a run waited for permits, in the order in which it asked.
#[derive(Debug, Default)]
pub(super) struct Works {
    all: Vec<Work>,
    /// Places in `all` of what is not over, by the number of the step.
    open: BTreeMap<Id, usize>,
    /// Parts that wait, by the number of the step: of which work each is, and which task.
    parts: BTreeMap<Id, (usize, String)>,
}

#[derive(Debug)]
struct Work {
    key: String,
    task: String,
    asked: Timestamp,
    state: &'static str,
    began: Option<Timestamp>,
    /// What its latest permit says.
    because: Value,
    pieces: Vec<Value>,
}

impl Works {
    /// Takes what the run asked for.
    pub(super) fn see(&mut self, action: &Action, at: Timestamp) {
        match action {
            Action::Permit { id, key, reference, part_of: None, .. } => {
                self.open.insert(*id, self.all.len());
                self.all.push(Work {
                    key: key.clone(),
                    task: reference.clone(),
                    asked: at,
                    state: "waiting",
                    began: None,
                    because: Value::Null,
                    pieces: Vec::new(),
                });
            }
            Action::Permit { id, reference, part_of: Some(of), .. } => {
                let place = self.all.iter().rposition(|work| work.key == *of);
                self.parts.extend(place.map(|place| (*id, (place, reference.clone()))));
            }
            Action::Release { id, done } => {
                self.parts.remove(id);
                let Some(work) = self.open.remove(id).and_then(|place| self.all.get_mut(place)) else {
                    return;
                };
                work.state = match (*done, work.began.is_some()) {
                    (true, _) => "done",
                    (false, true) => "broken off",
                    (false, false) => "given up",
                };
            }
            _ => {}
        }
    }

    /// Takes what the run was told.
    pub(super) fn tell(&mut self, event: &Event, at: Timestamp) {
        let Event::Permitted { id, permit: Ok(permit) } = event else { return };
        let because = to_json(&permit.because);
        if let Some(work) = self.open.get(id).and_then(|place| self.all.get_mut(*place)) {
            (work.state, work.began, work.because) = ("at work", Some(at), because);
        } else if let Some((place, task)) = self.parts.remove(id)
            && let Some(work) = self.all.get_mut(place)
        {
            let mut piece = json!({ "task": task, "began": at.to_string() });
            copy(&because, &mut piece, &["at", "because"]);
            work.pieces.push(piece);
            if because["saves"].is_object() {
                work.because["saves"] = because["saves"].clone();
            }
        }
    }

    /// As it is shown; `decided` knows what was decided about what waits.
    pub(super) fn shown(&self, decided: impl Fn(&str) -> Option<Value>) -> Vec<Value> {
        let one = |work: &Work| {
            let mut shown =
                json!({ "task": work.task, "state": work.state, "asked": work.asked.to_string() });
            if let Some(began) = work.began {
                shown["began"] = json!(began.to_string());
            }
            let decided = if work.state == "waiting" { decided(&work.key) } else { None };
            let told = decided.as_ref().unwrap_or(&work.because);
            copy(told, &mut shown, &["site", "planned", "at", "deadline", "because", "saves"]);
            if !work.pieces.is_empty() {
                shown["pieces"] = json!(work.pieces);
            }
            shown
        };
        self.all.iter().map(one).collect()
    }
}

fn copy(from: &Value, to: &mut Value, keys: &[&str]) {
    for key in keys {
        if let Some(value) = from.get(key) {
            to[*key] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(id: Id, key: &str, part_of: Option<&str>) -> Action {
        let (reference, part_of) = (format!("/do/{id}"), part_of.map(str::to_owned));
        Action::Permit { id, key: key.to_owned(), reference, with: data(&Value::Null), part_of }
    }

    fn permitted(id: Id, because: Value) -> Event {
        Event::Permitted { id, permit: Ok(Permit { again: false, because: data(&because) }) }
    }

    #[test]
    fn work_is_shown_with_its_decision_its_pieces_and_how_it_ended() {
        let at = Timestamp::UNIX_EPOCH;
        let mut works = Works::default();
        works.see(&asks(1, "r/a", None), at);
        let decided = |key: &str| (key == "r/a").then(|| json!({"site": "home", "planned": "later", "x": 1}));
        let shown = works.shown(decided);
        let waiting = json!({"task": "/do/1", "state": "waiting", "asked": at.to_string(), "site": "home", "planned": "later"});
        assert_eq!(shown, [waiting]);
        works.tell(&permitted(1, json!({"because": "cheap", "saves": {"money": 1}})), at);
        works.see(&asks(2, "r/a/b", Some("r/a")), at);
        works.tell(&permitted(2, json!({"because": "cheap again", "at": "then", "saves": {"money": 2}})), at);
        works.see(&Action::Release { id: 1, done: true }, at);
        let shown = works.shown(decided).remove(0);
        assert_eq!((&shown["state"], &shown["because"]), (&json!("done"), &json!("cheap")));
        assert_eq!(shown["saves"], json!({"money": 2}));
        assert_eq!(
            (&shown["pieces"][0]["at"], &shown["pieces"][0]["task"]),
            (&json!("then"), &json!("/do/2"))
        );
    }
}
