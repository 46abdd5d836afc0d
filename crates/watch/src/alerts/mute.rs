//! Alerts that fire but are not told now: inhibited, silenced, or in quiet hours.

use std::sync::Arc;

use super::quiet::QuietHours;
use super::silence::Silence;
use super::state::Known;
use crate::labels::{LabelIndex, Labels};
use crate::matcher::Matcher;

/// While a source fires, targets with the same values of the labels `equal` are not told. An alert that matches both
/// sides is not silenced by another one that does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InhibitRule {
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    pub equal: Vec<Arc<str>>,
}

/// Why an alert is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MutedBy {
    /// The id of the silence.
    Silence(String),
    /// The labels of the alert that says it all.
    Inhibition(Labels),
    /// When they end, in ms since 1970.
    QuietHours(i64),
}

fn all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches(labels.get(m.name())))
}

/// Firing sources of one rule, by the labels that must be equal.
struct Sources<'a> {
    rule: &'a InhibitRule,
    /// Any of them, and one that does not match the target side.
    by_equal: LabelIndex<(Labels, Option<Labels>)>,
}

/// What mutes at one time.
pub(super) struct Mutes<'a> {
    sources: Vec<Sources<'a>>,
    silences: Vec<&'a Silence>,
    quiet: Vec<(&'a QuietHours, i64)>,
}

impl<'a> Mutes<'a> {
    pub(super) fn new<'k>(
        inhibit: &'a [InhibitRule],
        silences: &'a [Silence],
        quiet: &'a [QuietHours],
        known: impl Iterator<Item = &'k Known> + Clone,
        now_ms: i64,
    ) -> Self {
        let sources = inhibit.iter().map(|rule| {
            let mut by_equal: LabelIndex<(Labels, Option<Labels>)> = LabelIndex::default();
            for known in known.clone().filter(|known| known.is_firing() && all(&rule.source, &known.labels)) {
                let one_sided = (!all(&rule.target, &known.labels)).then(|| known.labels.clone());
                let entry = by_equal.entry(known.labels.keep(&rule.equal));
                let held = entry.or_insert_with(|| (known.labels.clone(), None));
                if held.1.is_none() {
                    held.1 = one_sided;
                }
            }
            Sources { rule, by_equal }
        });
        Self {
            sources: sources.collect(),
            silences: silences.iter().filter(|silence| silence.is_active(now_ms)).collect(),
            quiet: quiet.iter().filter_map(|quiet| Some((quiet, quiet.ends_ms(now_ms)?))).collect(),
        }
    }

    /// Why an alert is told to nobody.
    pub(super) fn everywhere(&self, labels: &Labels) -> Option<MutedBy> {
        let silence = self.silences.iter().find(|silence| silence.matches(labels));
        silence.map(|silence| MutedBy::Silence(silence.id.clone())).or_else(|| self.inhibited(labels))
    }

    fn inhibited(&self, labels: &Labels) -> Option<MutedBy> {
        self.sources.iter().filter(|sources| all(&sources.rule.target, labels)).find_map(|sources| {
            let (any, one_sided) = sources.by_equal.get(&labels.keep(&sources.rule.equal))?;
            let two_sided = all(&sources.rule.source, labels);
            let source = if two_sided { one_sided.as_ref() } else { Some(any) };
            source.map(|source| MutedBy::Inhibition(source.clone()))
        })
    }

    /// Why an alert is not told to a notifier.
    pub(super) fn at(&self, labels: &Labels, notifier: &str) -> Option<MutedBy> {
        let quiet = self.quiet.iter().filter(|(quiet, _)| quiet.concerns(labels, notifier));
        quiet.map(|(_, end)| MutedBy::QuietHours(*end)).next_back()
    }

    /// When something that mutes now ends by itself, in ms since 1970.
    pub(super) fn next_end_ms(&self) -> Option<i64> {
        let silences = self.silences.iter().map(|silence| silence.ends_at_ms);
        silences.chain(self.quiet.iter().map(|(_, end)| *end)).min()
    }
}
