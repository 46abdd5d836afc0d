//! What a notifier was told of a group, and whether there is something new for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Reason;

/// What one notifier knows of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Fingerprints of the alerts that it believes to fire, with their begin.
    pub(super) firing: BTreeMap<String, i64>,
    /// When it was told last, in ms since 1970.
    pub(super) at_ms: i64,
    /// How many notifications it got.
    pub(super) count: u64,
}

/// Alerts of a group at one time, as one notifier may see them.
#[derive(Clone, Debug, Default)]
pub(super) struct Visible {
    /// Fingerprint and begin.
    pub(super) firing: BTreeMap<String, i64>,
    pub(super) ended: BTreeMap<String, i64>,
    /// Those that must not be told of now.
    pub(super) muted: BTreeMap<String, i64>,
    /// Whether nobody acknowledged some of the firing ones.
    pub(super) unheard: bool,
}

impl Told {
    /// Ended alerts that the notifier believes to fire.
    pub(super) fn to_end<'v>(&'v self, visible: &'v Visible) -> impl Iterator<Item = &'v String> {
        visible.ended.keys().filter(|id| self.firing.contains_key(*id))
    }

    /// Why the notifier is to be told now.
    pub(super) fn reason(
        &self,
        visible: &Visible,
        now_ms: i64,
        repeat_ms: i64,
        with_resolved: bool,
    ) -> Option<Reason> {
        let news = visible.firing.iter().any(|(id, begin)| self.firing.get(id) != Some(begin));
        let ended = self.to_end(visible).next().is_some();
        if news {
            return Some(if self.firing.is_empty() { Reason::First } else { Reason::More });
        }
        if ended && with_resolved {
            return Some(if visible.firing.is_empty() { Reason::Resolved } else { Reason::Fewer });
        }
        let repeat = visible.unheard && now_ms - self.at_ms >= repeat_ms;
        (repeat && !visible.firing.is_empty()).then_some(Reason::Repeat)
    }

    /// Takes note of a notification. Muted alerts that it was told of before are still to be ended some time.
    pub(super) fn tell(&mut self, visible: &Visible, now_ms: i64) {
        self.firing.retain(|id, _| visible.muted.contains_key(id));
        self.firing.extend(visible.firing.iter().map(|(id, begin)| (id.clone(), *begin)));
        self.at_ms = now_ms;
        self.count += 1;
    }

    /// For a notifier that does not hear of ends: they are forgotten without a word.
    pub(super) fn forget_ended(&mut self, visible: &Visible) {
        self.firing.retain(|id, _| !visible.ended.contains_key(id));
    }
}
