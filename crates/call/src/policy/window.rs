//! Counts of the recent past.

use std::time::Duration;

/// Parts of a window; the oldest part is forgotten as a whole.
const SLOTS: usize = 10;

/// Two counts over a sliding window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    slots: [[u32; 2]; SLOTS],
    sums: [u32; 2],
    slot: Duration,
    /// Number of the newest slot.
    newest: u128,
}

impl Window {
    /// Counts as far back as `length`; at least 10 ns.
    pub(super) fn new(length: Duration) -> Self {
        let slot = (length / 10).max(Duration::from_nanos(1));
        Self { slots: [[0; 2]; SLOTS], sums: [0; 2], slot, newest: 0 }
    }

    pub(super) fn add(&mut self, now: Duration, counts: [u32; 2]) {
        self.advance(now);
        let slot = &mut self.slots[(self.newest % SLOTS as u128) as usize];
        for (at, count) in counts.into_iter().enumerate() {
            slot[at] += count;
            self.sums[at] += count;
        }
    }

    pub(super) fn sums(&mut self, now: Duration) -> [u32; 2] {
        self.advance(now);
        self.sums
    }

    pub(super) fn clear(&mut self) {
        self.slots = [[0; 2]; SLOTS];
        self.sums = [0; 2];
    }

    fn advance(&mut self, now: Duration) {
        let newest = now.as_nanos() / self.slot.as_nanos();
        // A clock that goes back counts as one that stands still.
        let passed = newest.saturating_sub(self.newest).min(SLOTS as u128);
        for _ in 0..passed {
            self.newest += 1;
            let slot = std::mem::take(&mut self.slots[(self.newest % SLOTS as u128) as usize]);
            for at in 0..2 {
                self.sums[at] -= slot[at];
            }
        }
        self.newest = self.newest.max(newest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::new(Duration::from_secs(10));
        window.add(Duration::from_secs(3), [1, 0]);
        window.add(Duration::from_millis(3900), [1, 1]);
        assert_eq!(window.sums(Duration::from_millis(12_999)), [2, 1]);
        assert_eq!(window.sums(Duration::from_secs(13)), [0, 0]);
        window.add(Duration::from_secs(1000), [1, 1]);
        assert_eq!(window.sums(Duration::from_secs(1)), [1, 1], "a clock that goes back stands still");
        window.clear();
        assert_eq!(window.sums(Duration::from_secs(1000)), [0, 0]);
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_last_ten_slots(steps in prop::collection::vec((0_u64..2500, 0_u32..5, 0_u32..5), 1..60)) {
            let mut window = Window::new(Duration::from_secs(10));
            let (mut now, mut all) = (0, vec![]);
            for (step, a, b) in steps {
                now += step;
                window.add(Duration::from_millis(now), [a, b]);
                all.push((now / 1000, a, b));
                let recent = all.iter().filter(|(slot, ..)| slot + 10 > now / 1000);
                let expected = recent.fold([0, 0], |[x, y], (_, a, b)| [x + a, y + b]);
                prop_assert_eq!(window.sums(Duration::from_millis(now)), expected);
            }
        }
    }
}
