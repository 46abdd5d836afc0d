//! Grouping, repeats, escalation: one step decides who is told of what now.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::{ActiveAlert, Fnv, fingerprint};
use super::mute::{MutedBy, Mutes};
use super::route::Target;
use super::state::{GroupTold, Known, NotifyState};
use super::told::{Told, Visible};
use super::{Config, Notification, NotifiedAlert, Reason};

/// An ended alert that must not be told of is kept for so long, in ms: 30 days.
const KEEP_ENDED_MS: i64 = 30 * 86_400_000;

/// What a step gives.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// To be stored together with the notifications.
    pub state: NotifyState,
    pub notifications: Vec<Notification>,
    /// When something may have to happen although no alert changed, in ms since 1970.
    pub next_ms: Option<i64>,
}

/// Decides who is told of what. `active` is everything that fires, and what ended since the last step; an alert that is
/// missing has ended too. `now_ms` is in ms since 1970.
///
/// # Guarantees
/// A notifier is told of each state of a group once, and again only as a repeat; a muted alert is told of to nobody
/// while it is muted, and afterwards if it still fires, or ended after it had been told of.
pub fn step(config: &Config, mut state: NotifyState, active: &[ActiveAlert], now_ms: i64) -> Step {
    state.observe(active, now_ms);
    let targets = regroup(config, &mut state, now_ms);
    let silences = state.silences().to_vec();
    let mutes = Mutes::new(&config.inhibit, &silences, &config.quiet, state.alerts.values(), now_ms);
    let mut notifications = Vec::new();
    let mut groups = std::mem::take(&mut state.groups);
    for (key, group) in &mut groups {
        let Some(target) = targets.get(key) else { continue };
        if group.next_ms > now_ms {
            continue;
        }
        let flush = Flush { config, state: &state, mutes: &mutes, target, key, now_ms };
        flush.tell_all(group, &mut notifications);
        group.next_ms = flush.next(group);
        drop_ended(group, &state.alerts, now_ms);
    }
    groups.retain(|_, group| !group.alerts.is_empty());
    let next_ms = groups.values().map(|group| group.next_ms).min();
    state.groups = groups;
    state.clean(now_ms);
    Step { state, notifications, next_ms }
}

/// Puts alerts into their groups; groups of routes that are gone end. What holds for each group is returned.
fn regroup(config: &Config, state: &mut NotifyState, now_ms: i64) -> BTreeMap<String, Target> {
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, known) in &state.alerts {
        for target in config.root.targets(&known.labels) {
            let labels = target.group_labels(&known.labels);
            let key = format!("{}:{labels}", target.id);
            let group = state.groups.get(&key);
            // One that ended is told of only where it was told of before.
            if !known.is_firing() && !group.is_some_and(|group| group.alerts.contains(id)) {
                continue;
            }
            if group.is_none() {
                let group = new_group(labels, known, &target, now_ms);
                state.groups.entry(key.clone()).or_insert(group);
            }
            members.entry(key.clone()).or_default().insert(id.clone());
            targets.entry(key).or_insert(target);
        }
    }
    state.groups.retain(|key, _| members.contains_key(key));
    for (key, alerts) in members {
        if let Some(group) = state.groups.get_mut(&key) {
            group.alerts = alerts;
        }
    }
    targets
}

fn new_group(labels: crate::labels::Labels, first: &Known, target: &Target, now_ms: i64) -> GroupTold {
    // An alert that fired long ago has waited for others already.
    let next_ms = (first.starts_at_ms + target.group_wait_ms).max(now_ms);
    GroupTold {
        labels,
        since_ms: now_ms,
        next_ms,
        alerts: BTreeSet::new(),
        unheard_since_ms: None,
        told: BTreeMap::new(),
    }
}

/// Ended alerts leave their group when every notifier that was told of them knows.
fn drop_ended(group: &mut GroupTold, alerts: &BTreeMap<String, Known>, now_ms: i64) {
    let told = &group.told;
    group.alerts.retain(|id| match alerts.get(id) {
        None => false,
        Some(Known { ends_at_ms: None, .. }) => true,
        Some(Known { ends_at_ms: Some(end), .. }) => {
            now_ms - end < KEEP_ENDED_MS && told.values().any(|told| told.firing.contains_key(id))
        }
    });
}

/// One group whose time has come.
struct Flush<'f> {
    config: &'f Config,
    state: &'f NotifyState,
    mutes: &'f Mutes<'f>,
    target: &'f Target,
    key: &'f str,
    now_ms: i64,
}

impl Flush<'_> {
    fn tell_all(&self, group: &mut GroupTold, notifications: &mut Vec<Notification>) {
        let first = self.visible(group, &self.target.notifier);
        let unheard = first.unheard;
        self.tell(group, &self.target.notifier, &first, None, notifications);
        if !unheard {
            group.unheard_since_ms = None;
        } else if group.told.get(&self.target.notifier).is_some_and(|told| !told.firing.is_empty()) {
            group.unheard_since_ms.get_or_insert(self.now_ms);
        }
        for (name, reached) in self.others(group) {
            let mut visible = self.visible(group, &name);
            if !reached {
                // Only ends of what it was told of before.
                visible.muted.append(&mut visible.firing);
            }
            let reason = reached.then_some(Reason::Escalation);
            self.tell(group, &name, &visible, reason, notifications);
        }
    }

    /// When the group is looked at again: after its pause, or earlier when escalation is due or something that mutes
    /// its alerts ends.
    fn next(&self, group: &GroupTold) -> i64 {
        let pause = self.now_ms + self.target.group_interval_ms;
        let since = group.unheard_since_ms;
        let escalations = self.target.escalation.iter().filter_map(|step| Some(since? + step.after_ms));
        let names = group.told.keys().chain([&self.target.notifier]);
        let muted = names.into_iter().any(|name| !self.visible(group, name).muted.is_empty());
        let ends = self.mutes.next_end_ms().filter(|_| muted);
        let early = escalations.chain(ends).filter(|at| *at > self.now_ms).min();
        early.map_or(pause, |early| early.min(pause))
    }

    /// Further notifiers: those that escalation has reached, and those that were told before.
    fn others(&self, group: &GroupTold) -> BTreeMap<String, bool> {
        let known = group.told.iter().filter(|(_, told)| !told.firing.is_empty());
        let mut others: BTreeMap<String, bool> = known.map(|(name, _)| (name.clone(), false)).collect();
        for escalation in &self.target.escalation {
            let since = group.unheard_since_ms;
            let reached = since.is_some_and(|since| self.now_ms - since >= escalation.after_ms);
            if reached {
                others.insert(escalation.notifier.clone(), true);
            }
        }
        others.remove(&self.target.notifier);
        others
    }

    fn visible(&self, group: &GroupTold, notifier: &str) -> Visible {
        let mut visible = Visible::default();
        for id in &group.alerts {
            let Some(known) = self.state.alerts.get(id) else { continue };
            let muted =
                self.mutes.everywhere(&known.labels).or_else(|| self.mutes.at(&known.labels, notifier));
            let part = match (muted, known.is_firing()) {
                (Some(_), _) => &mut visible.muted,
                (None, true) => &mut visible.firing,
                (None, false) => &mut visible.ended,
            };
            part.insert(id.clone(), known.starts_at_ms);
        }
        let unheard = |id: &String| {
            self.state.alerts.get(id).is_some_and(|known| self.state.acknowledged(id, known).is_none())
        };
        visible.unheard = visible.firing.keys().any(unheard);
        visible
    }

    fn tell(
        &self,
        group: &mut GroupTold,
        notifier: &str,
        visible: &Visible,
        first: Option<Reason>,
        notifications: &mut Vec<Notification>,
    ) {
        if notifier.is_empty() {
            return;
        }
        let with_resolved = !self.config.without_resolved.iter().any(|name| name == notifier);
        let mut told = group.told.get(notifier).cloned().unwrap_or_default();
        let reason = told.reason(visible, self.now_ms, self.target.repeat_interval_ms, with_resolved);
        if let Some(reason) = reason {
            let reason = first.filter(|_| reason == Reason::First).unwrap_or(reason);
            notifications.push(self.notification(group, notifier, visible, &told, reason));
            told.tell(visible, self.now_ms);
        }
        if !with_resolved {
            told.forget_ended(visible);
        }
        if told != Told::default() {
            group.told.insert(notifier.to_owned(), told);
        }
    }

    fn notification(
        &self,
        group: &GroupTold,
        notifier: &str,
        visible: &Visible,
        told: &Told,
        reason: Reason,
    ) -> Notification {
        let ended: Vec<&String> = told.to_end(visible).collect();
        let ids = visible.firing.keys().chain(ended);
        let mut alerts: Vec<NotifiedAlert> = ids.filter_map(|id| self.notified(id)).collect();
        alerts.sort_by(|a, b| (!a.is_firing(), &a.labels).cmp(&(!b.is_firing(), &b.labels)));
        let mut key = Fnv::default();
        for part in [notifier, self.key, &group.since_ms.to_string(), &told.count.to_string()] {
            key.add(part.as_bytes());
            key.add(&[0xff]);
        }
        for alert in &alerts {
            let state = if alert.is_firing() { "firing" } else { "resolved" };
            key.add(format!("{} {} {state}\n", fingerprint(&alert.labels), alert.starts_at_ms).as_bytes());
        }
        Notification {
            key: format!("{notifier}/{}", key.hex()),
            notifier: notifier.to_owned(),
            group: self.key.to_owned(),
            group_labels: group.labels.clone(),
            reason,
            at_ms: self.now_ms,
            alerts,
        }
    }

    fn notified(&self, id: &str) -> Option<NotifiedAlert> {
        let known = self.state.alerts.get(id)?;
        Some(NotifiedAlert {
            labels: known.labels.clone(),
            annotations: known.annotations.clone(),
            starts_at_ms: known.starts_at_ms,
            ends_at_ms: known.ends_at_ms,
            value: known.value,
            generator_url: known.generator_url.clone(),
            acknowledged_by: self.state.acknowledged(id, known).map(|a| a.by.clone()),
        })
    }
}

/// Everything that fires, with who acknowledged it and why it is not told: for people who look.
pub fn alert_views(
    config: &Config,
    state: &NotifyState,
    now_ms: i64,
) -> Vec<(NotifiedAlert, Option<MutedBy>)> {
    let silences = state.silences();
    let mutes = Mutes::new(&config.inhibit, silences, &config.quiet, state.alerts.values(), now_ms);
    let firing = state.alerts.iter().filter(|(_, known)| known.is_firing());
    let views = firing.map(|(id, known)| {
        let view = NotifiedAlert {
            labels: known.labels.clone(),
            annotations: known.annotations.clone(),
            starts_at_ms: known.starts_at_ms,
            ends_at_ms: None,
            value: known.value,
            generator_url: known.generator_url.clone(),
            acknowledged_by: state.acknowledged(id, known).map(|a| a.by.clone()),
        };
        let notifiers = config.root.targets(&known.labels).into_iter().map(|target| target.notifier);
        let quiet = || notifiers.map(|name| mutes.at(&known.labels, &name)).next().flatten();
        (view, mutes.everywhere(&known.labels).or_else(quiet))
    });
    views.collect()
}
