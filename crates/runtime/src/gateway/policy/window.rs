//! Two counts of the last ten seconds.

use std::time::Duration;

/// Whole seconds that count.
const SECONDS: usize = 10;

/// Counts by second; the oldest second is forgotten as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    slots: [[u32; 2]; SECONDS],
    newest: u64,
}

impl Window {
    pub(super) fn add(&mut self, now: Duration, counts: [u32; 2]) {
        self.advance(now);
        let slot = &mut self.slots[(self.newest % SECONDS as u64) as usize];
        for (sum, count) in slot.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
    }

    pub(super) fn sums(&mut self, now: Duration) -> [u32; 2] {
        self.advance(now);
        self.slots.iter().fold([0; 2], |[a, b], [x, y]| [a.saturating_add(*x), b.saturating_add(*y)])
    }

    pub(super) fn clear(&mut self) {
        self.slots = Default::default();
    }

    /// A clock that goes back counts as one that stands still.
    fn advance(&mut self, now: Duration) {
        for _ in 0..now.as_secs().saturating_sub(self.newest).min(SECONDS as u64) {
            self.newest += 1;
            self.slots[(self.newest % SECONDS as u64) as usize] = [0; 2];
        }
        // After a long rest all slots are empty, whichever they are.
        self.newest = self.newest.max(now.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_the_last_ten_seconds(steps in prop::collection::vec((0_u64..25_000, 0_u32..5, 0_u32..5), 1..60)) {
            let mut window = Window::default();
            let (mut now, mut all) = (0, vec![]);
            for (step, a, b) in steps {
                now += step;
                window.add(Duration::from_millis(now), [a, b]);
                all.push((now / 1000, a, b));
                let recent = all.iter().filter(|(second, ..)| second + 10 > now / 1000);
                let expected = recent.fold([0, 0], |[x, y], (_, a, b)| [x + a, y + b]);
                prop_assert_eq!(window.sums(Duration::from_millis(now)), expected);
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut window = Window::default();
        window.add(Duration::from_secs(50), [1, 0]);
        window.add(Duration::from_secs(3), [1, 1]);
        assert_eq!(window.sums(Duration::from_secs(59)), [2, 1]);
        assert_eq!(window.sums(Duration::from_secs(60)), [0, 0]);
    }
}
