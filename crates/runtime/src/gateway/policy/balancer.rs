//! Which replica a request goes to: a revision by weight, then of two of its replicas drawn by chance the one with fewer requests
//! under way. Replicas that fail are left out for a time.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use super::Verdict;
use super::window::Window;
use crate::gateway::options::Outliers;

/// A replica as it is declared; `T` is whatever the caller knows it by.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Member<T> {
    pub(in crate::gateway) replica: T,
    /// Number of its revision.
    pub(in crate::gateway) revision: usize,
    pub(in crate::gateway) draining: bool,
}

/// Replicas of a service.
#[derive(Debug)]
pub(in crate::gateway) struct Balancer<T> {
    rules: Option<Outliers>,
    weights: Vec<u32>,
    slots: Vec<Slot<T>>,
    /// Number of the next one that is new.
    next: u64,
    /// Times that one was left out.
    ejections: u64,
}

#[derive(Debug)]
struct Slot<T> {
    id: u64,
    replica: T,
    revision: usize,
    draining: bool,
    /// No longer declared; it stays until its last request has ended.
    gone: bool,
    in_flight: u32,
    /// Failures in a row.
    row: u32,
    /// Requests and failures.
    window: Window,
    ejected_until: Option<Duration>,
    /// How often it was left out lately.
    times: u32,
}

/// A replica that was chosen.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Chosen<T> {
    pub(in crate::gateway) id: u64,
    pub(in crate::gateway) replica: T,
    /// It is one of those to be avoided; there is no other.
    pub(in crate::gateway) again: bool,
}

/// What is known of a replica.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Seen<T> {
    pub(in crate::gateway) replica: T,
    pub(in crate::gateway) leaving: bool,
    pub(in crate::gateway) in_flight: u32,
    pub(in crate::gateway) ejected: bool,
}

impl<T: Clone + PartialEq> Balancer<T> {
    pub(in crate::gateway) const fn new() -> Self {
        Self { rules: None, weights: vec![], slots: vec![], next: 0, ejections: 0 }
    }

    /// Takes a new list; what is known of those that stay is kept. Returns those that are gone for good: a replica that is not
    /// declared any more stays until its last request ends.
    pub(in crate::gateway) fn set(
        &mut self,
        rules: Option<Outliers>,
        weights: Vec<u32>,
        members: Vec<Member<T>>,
    ) -> Vec<T> {
        (self.rules, self.weights) = (rules, weights);
        for slot in &mut self.slots {
            slot.gone = true;
        }
        for member in members {
            let known = self.slots.iter_mut().find(|slot| slot.replica == member.replica);
            let slot = match known {
                Some(slot) => slot,
                None => {
                    self.next += 1;
                    self.slots.push(Slot::new(self.next, member.replica));
                    let last = self.slots.len() - 1;
                    &mut self.slots[last]
                }
            };
            (slot.revision, slot.draining, slot.gone) = (member.revision, member.draining, false);
        }
        self.slots.extract_if(.., |slot| slot.gone && slot.in_flight == 0).map(|slot| slot.replica).collect()
    }

    /// Chooses one, none of those to be avoided where there is another. `None` where no replica takes requests.
    pub(in crate::gateway) fn choose(
        &mut self,
        now: Duration,
        avoid: &[u64],
        random: &mut impl Rng,
    ) -> Option<Chosen<T>> {
        // One that is left out is better than one of which this request knows that it failed; either is better than none.
        let at = (0..3).find_map(|pass| {
            let fit = |slot: &Slot<T>| {
                (pass >= 1 || !slot.is_ejected(now)) && (pass >= 2 || !avoid.contains(&slot.id))
            };
            self.draw(fit, random)
        })?;
        let slot = &mut self.slots[at];
        slot.in_flight += 1;
        let again = avoid.contains(&slot.id);
        Some(Chosen { id: slot.id, replica: slot.replica.clone(), again })
    }

    fn draw(&self, fit: impl Fn(&Slot<T>) -> bool, random: &mut impl Rng) -> Option<usize> {
        let takes = |slot: &Slot<T>| slot.takes_requests() && self.weight(slot.revision) > 0 && fit(slot);
        let revision = self.draw_revision(takes, random)?;
        let takes = |slot: &Slot<T>| slot.revision == revision && takes(slot);
        let count = self.slots.iter().filter(|slot| takes(slot)).count();
        let nth = |rank| {
            let fitting = self.slots.iter().enumerate().filter(|(_, slot)| takes(slot));
            fitting.map(|(at, _)| at).nth(rank)
        };
        if count <= 1 {
            return nth(0);
        }
        let one = random.random_range(0..count);
        let other = (one + random.random_range(1..count)) % count;
        let (one, other) = (nth(one)?, nth(other)?);
        Some(if self.slots[other].in_flight < self.slots[one].in_flight { other } else { one })
    }

    /// A revision by weight, of those that have a replica that fits.
    fn draw_revision(&self, takes: impl Fn(&Slot<T>) -> bool, random: &mut impl Rng) -> Option<usize> {
        let present =
            |revision: &usize| self.slots.iter().any(|slot| slot.revision == *revision && takes(slot));
        if self.weights.len() == 1 {
            return Some(0).filter(present);
        }
        let weighted = || (0..self.weights.len()).filter(present).map(|at| (at, u64::from(self.weight(at))));
        let total: u64 = weighted().map(|(_, weight)| weight).sum();
        if total == 0 {
            return None;
        }
        let mut left = random.random_range(0..total);
        weighted().find_map(|(at, weight)| {
            let here = left < weight;
            left = left.saturating_sub(weight);
            here.then_some(at)
        })
    }

    fn weight(&self, revision: usize) -> u32 {
        self.weights.get(revision).copied().unwrap_or(0)
    }

    /// Told what came of an attempt. Returns the replica when it is leaving and this was its last request, and whether it is gone
    /// for good.
    pub(in crate::gateway) fn finish(
        &mut self,
        now: Duration,
        id: u64,
        verdict: Verdict,
    ) -> Option<(T, bool)> {
        let at = self.slots.iter().position(|slot| slot.id == id)?;
        let slot = &mut self.slots[at];
        slot.in_flight = slot.in_flight.saturating_sub(1);
        if let Some(rules) = self.rules.clone()
            && self.slots[at].is_bad(now, verdict, &rules)
            && self.may_eject(now, &rules)
            && (verdict == Verdict::Refused || !self.speaks_for_its_revision(now, at))
        {
            self.slots[at].eject(now, &rules);
            self.ejections += 1;
        }
        let slot = &self.slots[at];
        if slot.in_flight > 0 || slot.takes_requests() {
            return None;
        }
        let gone = slot.gone;
        let replica = slot.replica.clone();
        if gone {
            self.slots.swap_remove(at);
        }
        Some((replica, gone))
    }

    /// Whether any replica takes requests, those to be avoided not counted.
    pub(in crate::gateway) fn any(&self, avoid: &[u64]) -> bool {
        let takes = |slot: &Slot<T>| slot.takes_requests() && self.weight(slot.revision) > 0;
        self.slots.iter().any(|slot| takes(slot) && !avoid.contains(&slot.id))
    }

    pub(in crate::gateway) fn seen(&self, now: Duration) -> Vec<Seen<T>> {
        let seen = |slot: &Slot<T>| Seen {
            replica: slot.replica.clone(),
            leaving: !slot.takes_requests(),
            in_flight: slot.in_flight,
            ejected: slot.is_ejected(now),
        };
        self.slots.iter().map(seen).collect()
    }

    pub(in crate::gateway) const fn ejections(&self) -> u64 {
        self.ejections
    }

    fn may_eject(&self, now: Duration, rules: &Outliers) -> bool {
        let all = self.slots.iter().filter(|slot| slot.takes_requests()).count();
        let ejected = self.slots.iter().filter(|slot| slot.takes_requests() && slot.is_ejected(now)).count();
        let percent = usize::from(rules.at_most_percent);
        // A single one of few may always go, or a service of two replicas could lose none; one always stays.
        let allowed = (all * percent / 100).max(usize::from(percent > 0));
        ejected < allowed.min(all.saturating_sub(1))
    }
}

impl<T> Balancer<T> {
    /// Whether it is the last of its revision beside others: how much that gets is decided by who compares them, and without
    /// requests nothing could be compared.
    fn speaks_for_its_revision(&self, now: Duration, at: usize) -> bool {
        let others = |own: bool| {
            self.slots.iter().enumerate().any(|(other, slot)| {
                let same = slot.revision == self.slots[at].revision;
                other != at && same == own && slot.takes_requests() && !slot.is_ejected(now)
            })
        };
        !others(true) && others(false)
    }
}

impl<T> Slot<T> {
    fn new(id: u64, replica: T) -> Self {
        Self {
            id,
            replica,
            revision: 0,
            draining: false,
            gone: false,
            in_flight: 0,
            row: 0,
            window: Window::default(),
            ejected_until: None,
            times: 0,
        }
    }

    const fn takes_requests(&self) -> bool {
        !self.draining && !self.gone
    }

    fn is_ejected(&self, now: Duration) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Counts the attempt; whether the replica is to be left out because of it.
    fn is_bad(&mut self, now: Duration, verdict: Verdict, rules: &Outliers) -> bool {
        // What was under way while it was left out says nothing new.
        if verdict == Verdict::Unknown || self.is_ejected(now) || !self.takes_requests() {
            return false;
        }
        let failed = verdict != Verdict::Good;
        self.row = if failed { self.row.saturating_add(1) } else { 0 };
        self.window.add(now, [1, u32::from(failed)]);
        let [requests, failures] = self.window.sums(now);
        let share = rules.share.is_some_and(|share| {
            requests >= rules.minimum_requests && f64::from(failures) >= share * f64::from(requests)
        });
        failed && (verdict == Verdict::Refused || self.row >= rules.consecutive || share)
    }

    fn eject(&mut self, now: Duration, rules: &Outliers) {
        // Having done well for as long as the longest ejection, it begins anew.
        let forgiven = self.ejected_until.is_none_or(|until| now >= until + rules.ejected_for_at_most);
        self.times = if forgiven { 1 } else { self.times.saturating_add(1) };
        let time = rules.ejected_for.saturating_mul(self.times).min(rules.ejected_for_at_most);
        self.ejected_until = Some(now.saturating_add(time));
        self.row = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn member(replica: u64, revision: usize) -> Member<u64> {
        Member { replica, revision, draining: false }
    }

    /// `count` replicas, named by the number that they get, of one revision.
    fn of(count: u64) -> (Balancer<u64>, ChaCha8Rng) {
        let mut balancer = Balancer::new();
        balancer.set(Some(Outliers::default()), vec![1], (1..=count).map(|at| member(at, 0)).collect());
        (balancer, ChaCha8Rng::seed_from_u64(7))
    }

    fn ejected(balancer: &Balancer<u64>, now: u64) -> Vec<u64> {
        let seen = balancer.seen(secs(now));
        seen.iter().filter(|seen| seen.ejected).map(|seen| seen.replica).collect()
    }

    #[test]
    fn of_two_the_one_with_fewer_requests_is_chosen() {
        let (mut balancer, mut random) = of(2);
        let first = balancer.choose(NOW, &[], &mut random).unwrap().id;
        let second = balancer.choose(NOW, &[], &mut random).unwrap().id;
        assert_ne!(first, second);
        balancer.finish(NOW, second, Verdict::Good);
        assert_eq!(balancer.choose(NOW, &[], &mut random).unwrap().id, second);
    }

    #[test]
    fn the_last_of_a_revision_goes_on_failing_so_that_it_can_be_judged_unless_nothing_listens() {
        let (mut balancer, _) = of(0);
        let members = vec![member(1, 0), member(2, 0), member(3, 1)];
        balancer.set(Some(Outliers::default()), vec![90, 10], members);
        for _ in 0..50 {
            balancer.finish(NOW, 3, Verdict::Failed);
        }
        assert!(ejected(&balancer, 0).is_empty());
        balancer.finish(NOW, 3, Verdict::Refused);
        assert_eq!(ejected(&balancer, 0), [3]);
        for _ in 0..5 {
            balancer.finish(NOW, 1, Verdict::Failed);
        }
        assert_eq!(ejected(&balancer, 0), [3], "half of all may be left out at once");
    }

    #[test]
    fn shares_of_revisions_are_their_weights() {
        let (mut balancer, mut random) = of(0);
        let members = vec![member(1, 0), member(2, 0), member(3, 1), member(4, 2)];
        balancer.set(None, vec![90, 10, 0], members);
        let mut counts = [0_u32; 5];
        for _ in 0..20_000 {
            let chosen = balancer.choose(NOW, &[], &mut random).unwrap();
            counts[usize::try_from(chosen.replica).unwrap()] += 1;
            balancer.finish(NOW, chosen.id, Verdict::Good);
        }
        // 2,000 expected of the canary, with a standard deviation of 42: five of them.
        assert!(counts[3].abs_diff(2000) < 210, "{counts:?}");
        assert_eq!(counts[4], 0, "weight 0 takes nothing");
        // 9,000 expected of each, with a standard deviation of 67 within the revision.
        assert!(counts[1].abs_diff(counts[2]) < 700, "{counts:?}");
    }

    #[test]
    fn a_revision_without_replicas_leaves_its_share_to_the_others() {
        let (mut balancer, mut random) = of(0);
        balancer.set(None, vec![1, 99], vec![member(1, 0), Member { draining: true, ..member(2, 1) }]);
        for _ in 0..100 {
            assert_eq!(balancer.choose(NOW, &[], &mut random).unwrap().replica, 1);
        }
        balancer.set(None, vec![0, 99], vec![member(1, 0), Member { draining: true, ..member(2, 1) }]);
        assert!(balancer.choose(NOW, &[], &mut random).is_none() && !balancer.any(&[]));
    }

    #[test]
    fn those_to_be_avoided_are_taken_only_when_there_is_no_other() {
        let (mut balancer, mut random) = of(2);
        for _ in 0..5 {
            let chosen = balancer.choose(NOW, &[1], &mut random).unwrap();
            assert_eq!((chosen.id, chosen.again), (2, false));
        }
        assert!(balancer.choose(NOW, &[1, 2], &mut random).unwrap().again);
        balancer.finish(NOW, 2, Verdict::Refused);
        assert_eq!(ejected(&balancer, 0), [2]);
        assert_eq!(
            balancer.choose(NOW, &[1], &mut random).unwrap().id,
            2,
            "left out is better than known to fail"
        );
    }

    #[test]
    fn a_replica_is_left_out_longer_each_time_and_comes_back() {
        let (mut balancer, _) = of(3);
        for _ in 0..4 {
            balancer.finish(NOW, 1, Verdict::Failed);
        }
        assert!(ejected(&balancer, 0).is_empty());
        balancer.finish(NOW, 1, Verdict::Good);
        for _ in 0..5 {
            balancer.finish(NOW, 1, Verdict::Failed);
        }
        assert_eq!((ejected(&balancer, 4), ejected(&balancer, 5)), (vec![1], vec![]));
        balancer.finish(secs(6), 1, Verdict::Refused);
        assert_eq!((ejected(&balancer, 15), ejected(&balancer, 16)), (vec![1], vec![]));
        balancer.finish(secs(16 + 120), 1, Verdict::Refused);
        assert_eq!((ejected(&balancer, 140), ejected(&balancer, 141)), (vec![1], vec![]), "it is forgiven");
        assert_eq!(balancer.ejections(), 3);
    }

    #[test]
    fn a_share_of_failures_is_enough_where_successes_are_between() {
        let (mut balancer, _) = of(2);
        for at in 0..20 {
            assert!(ejected(&balancer, 1).is_empty(), "{at}");
            balancer.finish(secs(1), 2, if at % 2 == 0 { Verdict::Good } else { Verdict::Failed });
        }
        assert_eq!(ejected(&balancer, 1), [2]);
    }

    #[test]
    fn one_that_is_gone_stays_until_its_last_request_has_ended() {
        let (mut balancer, mut random) = of(2);
        let chosen = balancer.choose(NOW, &[2], &mut random).unwrap();
        assert!(balancer.set(None, vec![1], vec![member(2, 0)]).is_empty());
        assert_eq!(balancer.seen(NOW).len(), 2);
        assert_eq!(balancer.finish(NOW, chosen.id, Verdict::Good), Some((1, true)));
        assert_eq!(balancer.seen(NOW).len(), 1);
        assert_eq!(balancer.set(None, vec![1], vec![]), [2], "one without requests goes at once");
        assert_eq!(balancer.finish(NOW, 9, Verdict::Good), None);
    }

    #[test]
    fn a_draining_one_tells_when_it_is_empty_and_takes_nothing() {
        let (mut balancer, mut random) = of(2);
        let one = balancer.choose(NOW, &[2], &mut random).unwrap();
        let two = balancer.choose(NOW, &[2], &mut random).unwrap();
        balancer.set(None, vec![1], vec![Member { draining: true, ..member(1, 0) }, member(2, 0)]);
        assert_eq!(balancer.finish(NOW, one.id, Verdict::Good), None);
        assert_eq!(balancer.finish(NOW, two.id, Verdict::Good), Some((1, false)));
        for _ in 0..20 {
            assert_eq!(balancer.choose(NOW, &[], &mut random).unwrap().replica, 2);
        }
    }

    proptest! {
        #[test]
        fn ejection_never_removes_all_nor_more_than_allowed(
            count in 1_u64..8,
            percent in 0_u8..=100,
            steps in prop::collection::vec((0_u64..4, 1_u64..8, 0_u8..4), 1..300),
        ) {
            let (mut balancer, mut random) = of(count);
            balancer.rules.as_mut().unwrap().at_most_percent = percent;
            let mut now = 0;
            for (step, id, verdict) in steps {
                now += step;
                let verdict = [Verdict::Good, Verdict::Failed, Verdict::Failed, Verdict::Refused][usize::from(verdict)];
                balancer.finish(secs(now), id, verdict);
                let out = ejected(&balancer, now);
                prop_assert!(out.len() < usize::try_from(count).unwrap());
                let allowed = (usize::try_from(count).unwrap() * usize::from(percent) / 100).max(usize::from(percent > 0));
                prop_assert!(out.len() <= allowed);
                let chosen = balancer.choose(secs(now), &[], &mut random).unwrap();
                prop_assert!(!out.contains(&chosen.replica) && !chosen.again);
                balancer.finish(secs(now), chosen.id, Verdict::Unknown);
            }
        }
    }
}
