//! How a new revision replaces an old one, as declared.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::analysis::AnalysisSpec;

/// A number of replicas, absolute or as a share of the declared ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// This many replicas.
    Count(u32),
    /// Per cent of the declared replicas; above 100 is allowed.
    Percent(u32),
}

impl Amount {
    /// Rounded up, as Kubernetes does for `maxSurge`.
    #[must_use]
    pub fn rounded_up(self, of: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => narrow((u64::from(of) * u64::from(percent)).div_ceil(100)),
        }
    }

    /// Rounded down, as Kubernetes does for `maxUnavailable`.
    #[must_use]
    pub fn rounded_down(self, of: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => narrow(u64::from(of) * u64::from(percent) / 100),
        }
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// How new revisions are brought in, and when they are given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSpec {
    /// In which way.
    pub strategy: Strategy,
    /// How many of the declared replicas may be missing meanwhile; per cent round down.
    pub max_unavailable: Amount,
    /// How many replicas there may be beyond the declared ones meanwhile; per cent round up. When both come to
    /// zero, one replica may be missing.
    pub max_surge: Amount,
    /// A replica counts as available after it was ready for this long, wall time, zero or above.
    pub min_ready: SignedDuration,
    /// A revision of which no further replica gets available within this wall time has failed.
    pub progress_deadline: SignedDuration,
    /// A revision of which one replica failed this often in a row has failed; at least 1.
    pub crash_limit: u32,
    /// Longest wall time between taking a replica out of traffic and asking it to stop; zero or above. It is asked
    /// earlier when [`crate::Observed::in_flight`] says that nothing is under way.
    pub drain_time: SignedDuration,
}

impl Default for RolloutSpec {
    /// As Kubernetes: rolling, 25 % and 25 %, ten minutes. No drain time.
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            max_unavailable: Amount::Percent(25),
            max_surge: Amount::Percent(25),
            min_ready: SignedDuration::ZERO,
            progress_deadline: SignedDuration::from_secs(600),
            crash_limit: 3,
            drain_time: SignedDuration::ZERO,
        }
    }
}

/// The ways to bring in a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Strategy {
    /// A few replicas at a time; traffic goes to all that are ready.
    Rolling,
    /// All old replicas stop, then the new ones start.
    Recreate,
    /// A whole second set is started, then all traffic is switched at once.
    BlueGreen(BlueGreen),
    /// A growing share of the traffic, judged at every step.
    Canary(Canary),
}

impl Strategy {
    /// Its name, as people know it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::Recreate => "recreate",
            Self::BlueGreen(_) => "blue/green",
            Self::Canary(_) => "canary",
        }
    }
}

/// A second set beside the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlueGreen {
    /// Traffic is switched when the new set has been available for this long, wall time; `None`: by order only.
    pub promote_after: Option<SignedDuration>,
    /// How long the old set is kept after the switch, wall time, zero or above; until then going back is a switch.
    pub scale_down_delay: SignedDuration,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self { promote_after: Some(SignedDuration::ZERO), scale_down_delay: SignedDuration::from_secs(30) }
    }
}

/// A growing share of the traffic. The old set stays whole until the last step is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Canary {
    /// The steps, in order; none: straight to a rolling replacement.
    pub steps: Vec<CanaryStep>,
    /// What is judged at the steps that get traffic.
    pub analysis: Option<AnalysisSpec>,
}

/// One step of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Share of the traffic for the new revision, per cent, 0 … 100; more counts as 100. With 0, one replica is
    /// started and gets none.
    pub weight: u8,
    /// How long the step lasts once its replicas are available, wall time; `None`: until it is promoted by order.
    pub pause: Option<SignedDuration>,
}

impl Canary {
    /// Replicas of the new revision at step `index` of a service with `replicas`: their share of the traffic,
    /// rounded up, at least one, and never fewer than at an earlier step.
    pub(crate) fn replicas_at(&self, index: usize, replicas: u32) -> u32 {
        let steps = self.steps.iter().take(index.saturating_add(1));
        let wanted = steps.map(|step| Amount::Percent(u32::from(step.weight.min(100))).rounded_up(replicas));
        wanted.max().unwrap_or(0).max(1).min(replicas)
    }
}

/// How far a service may be from its declared replicas while revisions change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Declared replicas.
    pub(crate) replicas: u32,
    /// Replicas beyond them.
    pub(crate) surge: u32,
    /// Replicas that may be missing.
    pub(crate) unavailable: u32,
}

impl Limits {
    /// Fewest replicas that stay available.
    pub(crate) fn floor(self) -> u32 {
        self.replicas.saturating_sub(self.unavailable)
    }

    /// Most replicas that may have a process.
    pub(crate) fn ceiling(self) -> u32 {
        self.replicas.saturating_add(self.surge)
    }
}

impl RolloutSpec {
    /// The most replicas beyond `replicas` that a rollout of this kind ever starts. `alone`: no two revisions can run
    /// side by side.
    #[must_use]
    pub fn surge(&self, replicas: u32, alone: bool) -> u32 {
        let rolling = self.max_surge.rounded_up(replicas);
        match &self.strategy {
            _ if alone || replicas == 0 => 0,
            Strategy::Recreate => 0,
            Strategy::Rolling => rolling,
            Strategy::BlueGreen(_) => replicas,
            Strategy::Canary(canary) => match canary.steps.len().checked_sub(1) {
                None => rolling,
                Some(last) => rolling.max(canary.replicas_at(last, replicas)),
            },
        }
    }

    /// The most replicas of `replicas` that a rollout of this kind ever gives up for a while. `alone` as in
    /// [`Self::surge`].
    #[must_use]
    pub fn unavailable(&self, replicas: u32, alone: bool) -> u32 {
        if self.strategy == Strategy::Recreate {
            return replicas;
        }
        let declared = self.max_unavailable.rounded_down(replicas).min(replicas);
        if declared == 0 && self.surge(replicas, alone) == 0 { 1.min(replicas) } else { declared }
    }

    pub(crate) fn limits(&self, replicas: u32, alone: bool) -> Limits {
        Limits {
            replicas,
            surge: self.surge(replicas, alone),
            unavailable: self.unavailable(replicas, alone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_as_kubernetes_rounds_them() {
        let spec = RolloutSpec::default();
        let of = |replicas| (spec.surge(replicas, false), spec.unavailable(replicas, false));
        assert_eq!([1, 3, 4, 10].map(of), [(1, 0), (1, 0), (1, 1), (3, 2)]);
        assert_eq!(Amount::Percent(u32::MAX).rounded_up(u32::MAX), u32::MAX);
    }

    #[test]
    fn when_neither_may_differ_one_replica_may_be_missing() {
        let spec = RolloutSpec {
            max_surge: Amount::Count(0),
            max_unavailable: Amount::Percent(10),
            ..RolloutSpec::default()
        };
        assert_eq!((spec.surge(3, false), spec.unavailable(3, false)), (0, 1));
        let alone = RolloutSpec::default();
        assert_eq!((alone.surge(1, true), alone.unavailable(1, true)), (0, 1), "no room beside the old one");
    }

    #[test]
    fn a_canary_has_replicas_for_its_share_and_at_least_one() {
        let step = |weight| CanaryStep { weight, pause: None };
        let canary = Canary { steps: [0, 5, 25, 10, 100].map(step).to_vec(), analysis: None };
        let counts: Vec<_> = (0..5).map(|index| canary.replicas_at(index, 10)).collect();
        assert_eq!(counts, [1, 1, 3, 3, 10]);
        assert_eq!(canary.replicas_at(4, 0), 0);
    }
}
