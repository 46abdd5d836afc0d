//! How many replicas each revision is to have: the arithmetic of Kubernetes' Deployments on plain numbers.

use std::collections::BTreeMap;

use super::census::Count;
use super::spec::Limits;

/// Numbers of replicas by revision.
pub(crate) type Sizes = BTreeMap<u32, u32>;

/// One step of a rolling replacement, as far as it may go at this moment.
#[derive(Debug)]
pub(crate) struct Rolling<'a> {
    /// The revision that is to have all replicas.
    pub(crate) target: u32,
    /// The last good one: it is given up after all others.
    pub(crate) stable: Option<u32>,
    /// What is observed.
    pub(crate) counts: &'a BTreeMap<u32, Count>,
    pub(crate) limits: Limits,
    /// Replicas of revisions that are left and known to be bad go at once.
    pub(crate) drop_bad: bool,
}

impl Rolling<'_> {
    /// Takes steps until none is possible: new replicas where there is room, then bad old ones as far as the rest
    /// keeps the floor, then good old ones that are beyond it.
    /// Good old ones that were given up already come back where the floor is not held.
    pub(crate) fn run(&self, sizes: &mut Sizes) {
        for _ in 0..64 {
            let before = sizes.clone();
            self.grow(sizes);
            self.shed_bad(sizes);
            self.shed_good(sizes);
            self.take_back(sizes);
            sizes.retain(|_, size| *size > 0);
            if *sizes == before {
                return;
            }
        }
    }

    fn grow(&self, sizes: &mut Sizes) {
        let total = total(sizes);
        let new = sizes.entry(self.target).or_default();
        let room = self.limits.ceiling().saturating_sub(total);
        *new = if *new >= self.limits.replicas {
            self.limits.replicas
        } else {
            new.saturating_add(room).min(self.limits.replicas)
        };
    }

    /// Bad replicas go as far as all that stay could hold the floor, were they well. Those of which nothing is known,
    /// as after a restart of the planner, go only when the known good ones hold it.
    fn shed_bad(&self, sizes: &mut Sizes) {
        let unavailable_new = self.size(sizes, self.target) - self.available(sizes, self.target);
        let kept = self.limits.floor().saturating_add(unavailable_new);
        let mut budget = total(sizes).saturating_sub(kept);
        let sure = self.all_available(sizes) >= self.limits.floor();
        for revision in self.old(sizes) {
            let (size, available) = (self.size(sizes, revision), self.available(sizes, revision));
            // The best ones are kept, so bad ones are among them only where there are too few others.
            let count = self.count(revision);
            let bad = size.saturating_sub(count.places - count.bad).min(count.bad).min(size - available);
            let removable = if sure { size - available } else { bad };
            let cut = removable.min(budget).max(if self.drop_bad { bad } else { 0 });
            budget = budget.saturating_sub(cut);
            sizes.insert(revision, size - cut);
        }
    }

    fn shed_good(&self, sizes: &mut Sizes) {
        let mut budget = self.all_available(sizes).saturating_sub(self.limits.floor());
        for revision in self.old(sizes) {
            let size = self.size(sizes, revision);
            let cut = self.available(sizes, revision).min(budget);
            budget -= cut;
            sizes.insert(revision, size - cut);
        }
    }

    /// Old replicas that were given up and still serve stay after all, when new ones have failed meanwhile. One that has
    /// served for a short time only is better than none; where that is not enough, any may serve of which nothing is
    /// known any more.
    pub(crate) fn take_back(&self, sizes: &mut Sizes) {
        let missing = self.limits.floor().saturating_sub(self.all_available(sizes));
        let missing = self.keep(sizes, missing, |count| count.ready);
        if missing > 0 {
            self.keep(
                sizes,
                u32::MAX,
                |count| if count.unwatched > 0 { count.places - count.bad } else { 0 },
            );
        }
    }

    /// Raises the sizes of revisions that are left to what is usable of them, by `missing` in all; what is missing then.
    fn keep(&self, sizes: &mut Sizes, mut missing: u32, usable: impl Fn(&Count) -> u32) -> u32 {
        for (number, count) in self.counts.iter().filter(|(number, _)| **number != self.target) {
            let size = self.size(sizes, *number);
            let more = usable(count).saturating_sub(size).min(missing);
            missing -= more;
            if more > 0 {
                sizes.insert(*number, size.saturating_add(more));
            }
        }
        missing
    }

    /// Revisions that are left, in the order in which they are given up.
    fn old(&self, sizes: &Sizes) -> Vec<u32> {
        let mut old: Vec<_> = sizes.keys().copied().filter(|revision| *revision != self.target).collect();
        old.sort_by_key(|revision| (Some(*revision) == self.stable, *revision));
        old
    }

    fn size(&self, sizes: &Sizes, revision: u32) -> u32 {
        sizes.get(&revision).copied().unwrap_or(0)
    }

    fn count(&self, revision: u32) -> Count {
        self.counts.get(&revision).copied().unwrap_or_default()
    }

    fn all_available(&self, sizes: &Sizes) -> u32 {
        sizes.keys().map(|revision| self.available(sizes, *revision)).sum()
    }

    /// The best replicas are kept, so no more than these are available among those that stay.
    fn available(&self, sizes: &Sizes, revision: u32) -> u32 {
        self.count(revision).available.min(self.size(sizes, revision))
    }
}

pub(crate) fn total(sizes: &Sizes) -> u32 {
    sizes.values().fold(0, |sum, size| sum.saturating_add(*size))
}

/// Shares a change of the declared replicas among the revisions, in proportion to what they have. `before` is the most
/// replicas that were allowed until now, `target` the newest revision.
///
/// As Kubernetes: a revision grows or shrinks by its share of the ceiling, rounded to the nearest; what rounding leaves
/// over goes to the largest.
pub(crate) fn share(sizes: &mut Sizes, target: u32, before: u32, limits: Limits) {
    let total = total(sizes);
    let active = sizes.values().filter(|size| **size > 0).count();
    if active <= 1 {
        let only = sizes.iter().find(|(_, size)| **size > 0).map_or(target, |(revision, _)| *revision);
        sizes.insert(only, limits.replicas);
        return;
    }
    let allowed = if limits.replicas == 0 { 0 } else { limits.ceiling() };
    let change = i64::from(allowed) - i64::from(total);
    let mut order: Vec<_> = sizes.iter().map(|(revision, size)| (*revision, *size)).collect();
    order.sort_by_key(|(revision, size)| {
        let newest_first = u32::MAX - revision;
        (std::cmp::Reverse(*size), if change > 0 { newest_first } else { *revision })
    });
    let mut given = 0;
    for (revision, size) in &order {
        let fraction = fraction(*size, limits.replicas, allowed, before);
        let left = change - given;
        let part = if change > 0 { fraction.clamp(0, left) } else { fraction.clamp(left, 0) };
        given += part;
        sizes.insert(*revision, clamped(i64::from(*size) + part));
    }
    if let Some((largest, _)) = order.first() {
        let size = i64::from(sizes.get(largest).copied().unwrap_or(0));
        sizes.insert(*largest, clamped(size + change - given));
    }
}

/// By how much `size` changes when the ceiling goes from `before` to `allowed`.
fn fraction(size: u32, replicas: u32, allowed: u32, before: u32) -> i64 {
    if replicas == 0 {
        return -i64::from(size);
    }
    let before = u64::from(before.max(1));
    // Rounded to the nearest, halves up.
    let share = (2 * u64::from(size) * u64::from(allowed) + before) / (2 * before);
    i64::try_from(share).unwrap_or(i64::MAX) - i64::from(size)
}

fn clamped(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(replicas: u32, surge: u32, unavailable: u32) -> Limits {
        Limits { replicas, surge, unavailable }
    }

    fn count(places: u32, available: u32, bad: u32) -> Count {
        Count { places, available, ready: available, bad, ..Count::default() }
    }

    fn roll(
        sizes: &[(u32, u32)],
        counts: &[(u32, Count)],
        limits: Limits,
        drop_bad: bool,
    ) -> Vec<(u32, u32)> {
        let mut sizes: Sizes = sizes.iter().copied().collect();
        let counts = counts.iter().copied().collect();
        Rolling { target: 2, stable: Some(1), counts: &counts, limits, drop_bad }.run(&mut sizes);
        sizes.into_iter().collect()
    }

    #[test]
    fn a_rollout_begins_with_what_surge_and_unavailability_allow() {
        // The first step of the example in Kubernetes' documentation: 10 replicas, surge 3, unavailable 2.
        let counts = [(1, count(10, 10, 0))];
        assert_eq!(roll(&[(1, 10)], &counts, limits(10, 3, 2), false), [(1, 8), (2, 5)]);
        assert_eq!(roll(&[(1, 3)], &[(1, count(3, 3, 0))], limits(3, 1, 0), false), [(1, 3), (2, 1)]);
        assert_eq!(roll(&[(1, 1)], &[(1, count(1, 1, 0))], limits(1, 0, 1), false), [(2, 1)]);
    }

    #[test]
    fn bad_old_replicas_go_first_and_only_while_the_rest_holds_the_floor() {
        let counts = [(1, count(3, 1, 2)), (2, count(1, 0, 0))];
        assert_eq!(roll(&[(1, 3), (2, 1)], &counts, limits(3, 1, 0), false), [(1, 3), (2, 1)]);
        let counts = [(1, count(3, 1, 2)), (2, count(1, 1, 0))];
        assert_eq!(roll(&[(1, 3), (2, 1)], &counts, limits(3, 1, 0), false), [(1, 2), (2, 2)]);
    }

    #[test]
    fn on_the_way_back_bad_replicas_of_the_failed_revision_go_at_once() {
        // Heading for 2, the good one; 3 failed.
        let counts = [(2, count(1, 1, 0)), (3, count(3, 0, 3))];
        let back = roll(&[(2, 1), (3, 3)], &counts, limits(3, 1, 0), true);
        assert_eq!(back, [(2, 3)]);
    }

    #[test]
    fn an_old_replica_that_still_serves_is_taken_back_for_one_that_failed() {
        // One of two new ones has crashed; the old one was already given up.
        let counts = [(1, count(1, 1, 0)), (2, count(2, 1, 1))];
        assert_eq!(roll(&[(2, 2)], &counts, limits(2, 1, 0), false), [(1, 1), (2, 2)]);
        assert_eq!(roll(&[(2, 2)], &counts, limits(2, 0, 1), false), [(2, 2)]);
        // One that has just become ready again serves too.
        let settling = Count { ready: 2, ..count(2, 1, 0) };
        let counts = [(1, settling), (2, Count { ready: 1, ..count(2, 1, 1) })];
        assert_eq!(roll(&[(1, 1), (2, 3)], &counts, limits(4, 0, 1), false), [(1, 2), (2, 3)]);
    }

    #[test]
    fn of_two_old_revisions_the_last_good_one_is_given_up_last() {
        let counts = [(1, count(2, 2, 0)), (2, count(1, 1, 0)), (3, count(2, 2, 0))];
        let sizes = [(1, 2), (2, 1), (3, 2)];
        assert_eq!(roll(&sizes, &counts, limits(4, 1, 0), false), [(1, 2), (2, 2), (3, 1)]);
    }

    #[test]
    fn a_change_of_scale_is_shared_in_proportion() {
        // The example of Kubernetes' documentation on proportional scaling: 10 → 15 with surge 3.
        let mut sizes: Sizes = [(1, 8), (2, 5)].into();
        share(&mut sizes, 2, 13, limits(15, 3, 2));
        assert_eq!(sizes, [(1, 11), (2, 7)].into());
        share(&mut sizes, 2, 18, limits(5, 3, 2));
        assert_eq!(sizes, [(1, 5), (2, 3)].into());
        share(&mut sizes, 2, 8, limits(0, 0, 0));
        assert_eq!(total(&sizes), 0);
    }

    #[test]
    fn a_single_revision_takes_the_whole_change() {
        let mut sizes: Sizes = [(1, 3)].into();
        share(&mut sizes, 1, 3, limits(7, 2, 1));
        assert_eq!(sizes, [(1, 7)].into());
    }
}
