//! What waits for a permit, and what was permitted: between the runs, which ask, and whoever decides. What is declared of it is not
//! looked into here.
//!
//! # Guarantees
//! What is here is what asks now: it is lost with the process, and runs that go on ask again under the same keys. A key is over once its
//! run has said so, or goes on without asking for it; until a run that had not ended was heard, what it waits for is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::Value;
use sos_store::RunId;
use sos_workflow::machine::Fault;
use tokio::sync::{Notify, mpsc};

use crate::relock;

/// Something that asks for a permit.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its run.
    pub run: RunId,
    /// The name of the run.
    pub name: String,
    /// The workflow of the run.
    pub workflow: String,
    /// Equal whenever it asks again.
    pub key: String,
    /// Where the task is in the document; `/` is the whole run.
    pub reference: String,
    /// What is declared of it.
    pub with: Value,
    /// The key of what was permitted before, of which this is a part.
    pub part_of: Option<String>,
    /// Since when it waits.
    pub since: Timestamp,
    /// Whether it was permitted and is not over.
    pub given: bool,
}

/// A permit on its way to a run.
#[derive(Clone, Debug)]
pub struct Grant {
    /// To which run.
    pub run: RunId,
    /// The name of the run.
    pub name: String,
    /// For what.
    pub key: String,
    /// Whether parts of it ask again, and why it may begin; or why it never may.
    pub permit: Result<(bool, Value), Fault>,
}

/// What waits together with its parts.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What asked.
    pub asked: Asked,
    /// The keys that wait: its own, or those of its parts.
    pub waiting: Vec<String>,
    /// Whether something of it is at work.
    pub at_work: bool,
    /// Whether something was decided about it since it asked.
    pub decided: bool,
}

/// How something stands that does not ask now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It will ask again.
    Away,
    /// It is over; whether it came to its end, where that is known.
    Over(Option<bool>),
}

/// All that asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    grants: mpsc::UnboundedSender<Grant>,
    /// Told when something asks.
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Asked>,
    /// What was decided about what waits, to be shown.
    decided: BTreeMap<String, Value>,
    /// Of what parts may begin at once, and why.
    open: BTreeMap<String, Value>,
    /// Keys of runs that rest because they were told to.
    away: BTreeSet<String>,
    /// Runs that went on when the process began, and have not asked yet; whether they soon will.
    unheard: BTreeMap<RunId, bool>,
    /// Runs that only wait.
    quiet: BTreeSet<RunId>,
    /// Keys that somebody decides about, and who.
    taken: BTreeSet<String>,
    /// What is over of these, until it is noticed.
    over: BTreeMap<String, bool>,
    /// Permits on their way, and to which runs.
    pending: BTreeMap<String, RunId>,
    /// Who decides.
    deciders: BTreeSet<String>,
}

impl State {
    fn forget(&mut self, key: &str) {
        self.entries.remove(key);
        self.open.remove(key);
        self.decided.remove(key);
    }
}

impl Permits {
    /// Nothing that asks; and where permits come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Grant>) {
        let (grants, granted) = mpsc::unbounded_channel();
        (Self(Arc::new(Inner { state: Mutex::default(), grants, asked: Notify::new() })), granted)
    }

    /// Something asks, or goes on that was permitted.
    pub(crate) fn ask(&self, asked: Asked) {
        let open = {
            let mut state = relock(&self.0.state);
            state.away.remove(&asked.key);
            state.over.remove(&asked.key);
            let open = asked.part_of.as_ref().filter(|_| !asked.given);
            let open = open.and_then(|of| state.open.get(of).cloned());
            state.entries.insert(asked.key.clone(), asked.clone());
            open
        };
        match open {
            Some(because) => self.grant(&asked.key, false, because),
            None => self.0.asked.notify_one(),
        }
    }

    /// Something is over.
    pub(crate) fn release(&self, key: &str, done: bool) {
        let mut state = relock(&self.0.state);
        state.away.remove(key);
        state.forget(key);
        if state.taken.remove(key) {
            state.over.insert(key.to_owned(), done);
        }
    }

    /// Its run rests; it will ask again.
    pub(crate) fn withdraw(&self, key: &str) {
        let mut state = relock(&self.0.state);
        state.forget(key);
        state.away.insert(key.to_owned());
    }

    /// A run will ask again: soon, or, when it rests, some day.
    pub(crate) fn expect(&self, run: RunId, soon: bool) {
        relock(&self.0.state).unheard.insert(run, soon);
    }

    /// Whether one of these runs will soon ask again.
    pub(crate) fn awaits(&self, mut runs: impl Iterator<Item = RunId>) -> bool {
        let state = relock(&self.0.state);
        runs.any(|run| state.unheard.get(&run) == Some(&true))
    }

    /// A run that goes on has asked for all that it waits for.
    pub(crate) fn heard(&self, run: RunId) {
        relock(&self.0.state).unheard.remove(&run);
    }

    /// Whether a run does nothing but wait.
    pub(crate) fn quiet(&self, run: RunId, quiet: bool) {
        let mut state = relock(&self.0.state);
        if quiet {
            state.quiet.insert(run);
        } else {
            state.quiet.remove(&run);
        }
    }

    /// A permit was handed on; if it did not reach its run, that waits still.
    pub(crate) fn handed_on(&self, key: &str, reached: bool) {
        let mut state = relock(&self.0.state);
        state.pending.remove(key);
        if let Some(asked) = state.entries.get_mut(key).filter(|_| !reached) {
            asked.given = false;
        }
    }

    /// Permits something that waits; a repetition does nothing.
    pub(crate) fn grant(&self, key: &str, again: bool, because: Value) {
        self.answer(key, Ok((again, because)));
    }

    /// Tells something that waits that it never may begin.
    pub(crate) fn refuse(&self, key: &str, why: Fault) {
        self.answer(key, Err(why));
    }

    fn answer(&self, key: &str, permit: Result<(bool, Value), Fault>) {
        let mut state = relock(&self.0.state);
        let Some(asked) = state.entries.get_mut(key).filter(|asked| !asked.given) else { return };
        asked.given = true;
        let grant = Grant { run: asked.run, name: asked.name.clone(), key: key.to_owned(), permit };
        state.quiet.remove(&grant.run);
        state.pending.insert(key.to_owned(), grant.run);
        // Nobody takes it once the runs have ended.
        drop(self.0.grants.send(grant));
    }

    /// Has parts of something begin at once from now on, or not any more.
    pub(crate) fn open(&self, key: &str, because: Option<Value>) {
        let mut state = relock(&self.0.state);
        match because.filter(|_| state.entries.contains_key(key)) {
            Some(because) => drop(state.open.insert(key.to_owned(), because)),
            None => drop(state.open.remove(key)),
        }
    }

    /// What was decided about something that waits.
    pub(crate) fn decide(&self, key: &str, decided: Value) {
        let mut state = relock(&self.0.state);
        if state.entries.contains_key(key) {
            state.decided.insert(key.to_owned(), decided);
        }
    }

    /// What was decided about something.
    pub(crate) fn decided(&self, key: &str) -> Option<Value> {
        relock(&self.0.state).decided.get(key).cloned()
    }

    /// All that asks and is no part, with its parts. `takes`: whether the caller decides about it.
    pub(crate) fn standing(&self, takes: impl Fn(&Asked) -> bool) -> Vec<Standing> {
        let mut state = relock(&self.0.state);
        let roots = state.entries.values().filter(|asked| asked.part_of.is_none() && takes(asked));
        let mut all: BTreeMap<String, (Standing, bool)> = roots
            .map(|asked| {
                let waiting = if asked.given { Vec::new() } else { vec![asked.key.clone()] };
                let decided = state.decided.contains_key(&asked.key);
                let one = Standing { asked: asked.clone(), waiting, at_work: asked.given, decided };
                (asked.key.clone(), (one, false))
            })
            .collect();
        for part in state.entries.values() {
            let Some((one, goes_on)) = part.part_of.as_ref().and_then(|of| all.get_mut(of)) else { continue };
            if part.given {
                *goes_on = true;
            } else {
                one.waiting.push(part.key.clone());
            }
        }
        state.taken.extend(all.keys().cloned());
        let settled = |(mut one, goes_on): (Standing, bool)| {
            one.at_work &= goes_on || one.waiting.is_empty();
            one
        };
        all.into_values().map(settled).collect()
    }

    /// What waits although nobody decides about it, each with what is declared of it or of the whole that it is a part of.
    pub(crate) fn orphans(&self, decider: impl Fn(&Value) -> Option<&str>) -> Vec<Asked> {
        let state = relock(&self.0.state);
        let alone = |asked: &&Asked| {
            let whole = asked.part_of.as_ref().and_then(|of| state.entries.get(of)).unwrap_or(asked);
            !decider(&whole.with).is_some_and(|name| state.deciders.contains(name))
        };
        state.entries.values().filter(|asked| !asked.given).filter(alone).cloned().collect()
    }

    /// How something stands that is not among what asks.
    pub(crate) fn gone(&self, key: &str, run: RunId) -> Gone {
        let mut state = relock(&self.0.state);
        if let Some(done) = state.over.remove(key) {
            return Gone::Over(Some(done));
        }
        let away = state.away.contains(key) || state.unheard.contains_key(&run);
        if away { Gone::Away } else { Gone::Over(None) }
    }

    /// Whether these runs do nothing but wait, or are over.
    pub(crate) fn are_quiet(&self, keys: &[String]) -> bool {
        let state = relock(&self.0.state);
        let at_work =
            |run: &RunId| !state.quiet.contains(run) || state.pending.values().any(|one| one == run);
        !keys.iter().any(|key| state.entries.get(key).is_some_and(|asked| at_work(&asked.run)))
    }

    /// Somebody decides from now on, or does not any more.
    pub(crate) fn decider(&self, name: &str, decides: bool) {
        let mut state = relock(&self.0.state);
        if decides {
            state.deciders.insert(name.to_owned());
        } else {
            state.deciders.remove(name);
        }
        drop(state);
        self.0.asked.notify_one();
    }

    /// Waits until something asks, or who decides changes.
    pub(crate) async fn changed(&self) {
        self.0.asked.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(key: &str, part_of: Option<&str>) -> Asked {
        Asked {
            run: 1,
            name: "r".to_owned(),
            workflow: "w".to_owned(),
            key: key.to_owned(),
            reference: "/do/0/a".to_owned(),
            with: json!({}),
            part_of: part_of.map(str::to_owned),
            since: Timestamp::UNIX_EPOCH,
            given: false,
        }
    }

    #[test]
    fn a_permit_is_given_once_and_what_is_over_is_told_once() {
        let (permits, mut granted) = Permits::new();
        permits.ask(asked("r/a", None));
        assert_eq!(permits.standing(|_| true)[0].waiting, ["r/a"]);
        permits.grant("r/a", false, json!("now"));
        permits.grant("r/a", false, json!("again"));
        assert_eq!(granted.try_recv().unwrap().permit.unwrap(), (false, json!("now")));
        assert!(granted.try_recv().is_err());
        assert!(permits.standing(|_| true)[0].at_work && !permits.are_quiet(&["r/a".to_owned()]));
        permits.release("r/a", true);
        assert!(permits.are_quiet(&["r/a".to_owned()]));
        assert_eq!(permits.gone("r/a", 1), Gone::Over(Some(true)));
        assert_eq!(permits.gone("r/a", 1), Gone::Over(None));
    }

    #[test]
    fn a_run_that_rests_or_was_not_heard_yet_is_away() {
        let (permits, _granted) = Permits::new();
        permits.expect(1, true);
        assert_eq!(permits.gone("r/a", 1), Gone::Away);
        permits.heard(1);
        permits.ask(asked("r/a", None));
        permits.withdraw("r/a");
        assert_eq!((permits.gone("r/a", 1), permits.standing(|_| true).len()), (Gone::Away, 0));
        permits.release("r/a", false);
        assert_eq!(permits.gone("r/a", 1), Gone::Over(None));
    }

    #[test]
    fn parts_wait_until_their_whole_is_open() {
        let (permits, mut granted) = Permits::new();
        permits.ask(Asked { given: true, ..asked("r", None) });
        permits.ask(asked("r/a", Some("r")));
        let one = &permits.standing(|_| true)[0];
        assert!(!one.at_work && one.waiting == ["r/a"]);
        permits.open("r", Some(json!("cheap")));
        permits.ask(asked("r/b", Some("r")));
        assert_eq!(granted.try_recv().unwrap().key, "r/b");
        permits.open("r", None);
        permits.ask(asked("r/c", Some("r")));
        assert!(granted.try_recv().is_err());
        let one = &permits.standing(|_| true)[0];
        assert!(one.at_work && one.waiting == ["r/a", "r/c"]);
    }
}
