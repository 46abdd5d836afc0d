//! Which runs are in memory, which rest, and what wakes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_store::RunId;
use sos_workflow::program::Pattern;
use tokio::sync::mpsc;

use crate::workflow::drive::{Rest, Told};

/// Runs in memory at once; others wait for their turn.
pub(super) const MOST_RESIDENT: usize = 4_000;
/// Beyond so many, a run that only waits is put aside at once.
const ROOMY: usize = 1_000;
/// A run that waits longer than this is put aside.
const LONG: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

/// A run in memory.
pub(super) struct Resident {
    pub(super) inbox: mpsc::UnboundedSender<Told>,
    pub(super) name: String,
    /// The channel whose events it may listen to.
    pub(super) channel: Option<Arc<str>>,
}

/// A run that is not in memory.
#[derive(Clone, Debug)]
struct Resting {
    wake: Option<Timestamp>,
    hears: Option<(Arc<str>, BTreeSet<String>)>,
}

#[derive(Default)]
pub(super) struct Table {
    pub(super) resident: HashMap<RunId, Resident>,
    resting: HashMap<RunId, Resting>,
    times: BTreeSet<(Timestamp, RunId)>,
    /// By channel and type; an empty text is any type.
    hearing: BTreeMap<(Arc<str>, String), (Pattern, BTreeSet<RunId>)>,
    /// Runs whose turn has come, while there is no room.
    due: VecDeque<RunId>,
}

impl Table {
    pub(super) fn has_room(&self) -> bool {
        self.resident.len() < MOST_RESIDENT
    }

    /// Whether a run that only waits is to be put aside.
    pub(super) fn is_better_aside(&self, rest: &Rest, now: Timestamp) -> bool {
        let long = rest.wake.is_some_and(|wake| wake.duration_since(now) > LONG);
        // Without a time or an event only an order wakes it.
        let asleep = rest.wake.is_none() && rest.hears.is_none();
        rest.suspended || asleep || self.resident.len() > ROOMY || (long && rest.hears.is_none())
    }

    pub(super) fn is_resting(&self, run: RunId) -> bool {
        self.resting.contains_key(&run)
    }

    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Puts a run aside; without a time or an event nothing but an order wakes it.
    pub(super) fn rest(
        &mut self,
        run: RunId,
        wake: Option<Timestamp>,
        hears: Option<(Arc<str>, BTreeSet<String>)>,
    ) {
        self.resident.remove(&run);
        if let Some(wake) = wake {
            self.times.insert((wake, run));
        }
        for (channel, text) in keys(hears.as_ref()) {
            let key = (channel, text.clone());
            let entry = self.hearing.entry(key).or_insert_with(|| (Pattern::new(&text), BTreeSet::new()));
            entry.1.insert(run);
        }
        self.resting.insert(run, Resting { wake, hears });
    }

    /// Takes a run back that rested.
    pub(super) fn rouse(&mut self, run: RunId) {
        let Some(resting) = self.resting.remove(&run) else { return };
        if let Some(wake) = resting.wake {
            self.times.remove(&(wake, run));
        }
        for key in keys(resting.hears.as_ref()) {
            if let Some((_, runs)) = self.hearing.get_mut(&key) {
                runs.remove(&run);
                if runs.is_empty() {
                    self.hearing.remove(&key);
                }
            }
        }
    }

    /// Has a run take its turn when there is room.
    pub(super) fn queue(&mut self, run: RunId) {
        self.due.push_back(run);
    }

    /// The runs whose time has come or whose turn it is, as far as there is room, and when to look again.
    pub(super) fn due(&mut self, now: Timestamp) -> (Vec<RunId>, Option<Timestamp>) {
        let mut room = MOST_RESIDENT.saturating_sub(self.resident.len());
        let mut runs = Vec::new();
        while room > 0
            && let Some(run) = self.due.pop_front()
        {
            self.rouse(run);
            runs.push(run);
            room -= 1;
        }
        while room > 0
            && let Some((at, run)) = self.times.first().copied()
            && at <= now
        {
            self.rouse(run);
            runs.push(run);
            room -= 1;
        }
        // Without room the next one that ends tells.
        let next = if room == 0 { None } else { self.times.first().map(|(at, _)| *at) };
        (runs, next)
    }

    /// The runs that rest and listen to an event.
    pub(super) fn hearers(&self, channel: &Arc<str>, event_type: &str) -> BTreeSet<RunId> {
        let first = (Arc::clone(channel), String::new());
        let of_channel = self.hearing.range(first..).take_while(|((other, _), _)| other == channel);
        let wanting =
            of_channel.filter(|((_, text), (pattern, _))| text.is_empty() || pattern.matches(event_type));
        wanting.flat_map(|(_, (_, runs))| runs.iter().copied()).collect()
    }
}

fn keys(hears: Option<&(Arc<str>, BTreeSet<String>)>) -> Vec<(Arc<str>, String)> {
    let Some((channel, types)) = hears else { return Vec::new() };
    if types.is_empty() {
        return vec![(Arc::clone(channel), String::new())];
    }
    types.iter().map(|text| (Arc::clone(channel), text.clone())).collect()
}

/// What a run waits for beside a time, as the store keeps it; none when that is nothing.
pub(super) fn written(channel: &str, rest: &Rest) -> Option<String> {
    let mut written = json!({});
    if let Some(types) = &rest.hears {
        written = json!({ "channel": channel, "types": types });
    }
    if rest.permits {
        written["permits"] = json!(true);
    }
    (written != json!({})).then(|| written.to_string())
}

/// Whether a run waits for a permit, or has one: it has to ask again when the server starts.
pub(super) fn asks(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value["permits"] == true)
}

/// What was written.
pub(super) fn read(text: &str) -> Option<(Arc<str>, BTreeSet<String>)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let types = value["types"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Some((Arc::from(value["channel"].as_str()?), types))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hears(types: &[&str]) -> Option<(Arc<str>, BTreeSet<String>)> {
        Some((Arc::from("c"), types.iter().map(|text| (*text).to_owned()).collect()))
    }

    #[test]
    fn runs_are_woken_in_the_order_of_their_times_and_once() {
        let mut table = Table::default();
        table.rest(1, Some(at(20)), None);
        table.rest(2, Some(at(10)), None);
        table.rest(3, None, None);
        assert_eq!(table.due(at(5)), (vec![], Some(at(10))));
        table.queue(3);
        assert_eq!(table.due(at(20)), (vec![3, 2, 1], None));
        assert_eq!(table.due(at(99)), (vec![], None));
        assert_eq!(table.resting(), 0);
    }

    #[test]
    fn events_find_those_who_listen_to_their_type() {
        let mut table = Table::default();
        table.rest(1, None, hears(&["a.b"]));
        table.rest(2, None, hears(&[]));
        table.rest(3, None, hears(&["x.*", "y"]));
        let channel: Arc<str> = Arc::from("c");
        let hearers =
            |table: &Table, text: &str| table.hearers(&channel, text).into_iter().collect::<Vec<_>>();
        assert_eq!(hearers(&table, "a.b"), [1, 2]);
        assert_eq!(hearers(&table, "x.z"), [2, 3]);
        assert!(table.hearers(&Arc::from("d"), "y").is_empty());
        table.rouse(2);
        assert_eq!(hearers(&table, "y"), [3]);
        let hearing = Some(BTreeSet::from(["t".to_owned()]));
        let rest = Rest { suspended: false, wake: None, hears: hearing, permits: false };
        let text = written("c", &rest).unwrap();
        assert_eq!((read(&text), asks(&text)), (hears(&["t"]), false));
        let text = written("c", &Rest { hears: None, permits: true, ..rest.clone() }).unwrap();
        assert_eq!((read(&text), asks(&text)), (None, true));
        assert_eq!(written("c", &Rest { hears: None, ..rest }), None);
    }
}
