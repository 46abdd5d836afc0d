//! How a new revision of a `Service` replaces the old one, as declared.

use jiff::SignedDuration;

use crate::declare::{record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::quantity::Fraction;
use crate::scalar::ReplicaAmount;
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// How a new revision replaces the old one. A change of the description, of the configuration or of a secret makes one.
    pub struct RolloutPolicy checked by check_rollout {
        /// In which way.
        strategy: RolloutStrategy = RolloutStrategy::Rolling;
        /// How many of the replicas may be missing meanwhile: a number, or a share, rounded down.
        max_unavailable: ReplicaAmount = ReplicaAmount::Percent(25);
        /// How many replicas there may be beyond the declared ones meanwhile: a number, or a share, rounded up.
        max_surge: ReplicaAmount = ReplicaAmount::Percent(25);
        /// A replica counts as available after it was ready for this long.
        min_ready: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// A revision of which no further replica gets available within this time is given up.
        progress_deadline: SignedDuration = SignedDuration::from_mins(10), in ABOVE_ZERO;
        /// A revision of which one replica failed this often in a row is given up, 1 … 100.
        crash_limit: u32 = 3, in Range::between(1.0, 100.0);
        /// Longest time for requests under way when a replica is taken out of traffic, before it is asked to stop. Without
        /// a gateway nothing is known of requests, and it is asked at once.
        drain: SignedDuration = SignedDuration::from_secs(30), in NOT_NEGATIVE;
        /// The steps of a canary.
        canary: Option<CanaryPolicy>;
        /// The waits of blue/green.
        blue_green: Option<BlueGreenPolicy>;
    }
}

words! {
    /// How a revision comes in.
    pub enum RolloutStrategy as "strategy" {
        /// A few replicas at a time; traffic goes to all that are ready.
        Rolling,
        /// All old replicas stop, then the new ones start.
        Recreate,
        /// A whole second set is started, then all traffic is switched at once.
        BlueGreen,
        /// A growing share of the traffic, judged at every step.
        Canary,
    }
}

record! {
    /// A second set beside the first.
    pub struct BlueGreenPolicy {
        /// Traffic is switched when the new set has been available for this long; `sos rollout promote` does it earlier.
        promote_after: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
        /// Traffic is switched by `sos rollout promote` only.
        manual: bool = false;
        /// How long the old set is kept after the switch; until then going back is a switch.
        scale_down_delay: SignedDuration = SignedDuration::from_secs(30), in NOT_NEGATIVE;
    }
}

record! {
    /// A growing share of the traffic for the new revision. The old one stays whole until the last step is done.
    pub struct CanaryPolicy {
        /// The steps, in order.
        steps: Vec<CanaryStepPolicy>;
        /// What is judged on requests that were really made. Default: the share of failed requests against the old revision.
        analysis: CanaryAnalysis = CanaryAnalysis::default();
    }
}

record! {
    /// One step of a canary.
    pub struct CanaryStepPolicy {
        /// Share of the traffic, such as `10 %`, in whole per cent. With 0, one replica is started and gets none.
        weight: Fraction;
        /// How long the step lasts once its replicas are available. Default: until `sos rollout promote`.
        pause: Option<SignedDuration>, in NOT_NEGATIVE;
    }
}

record! {
    /// What a new revision must keep to, judged by requests at the gateway.
    pub struct CanaryAnalysis checked by check_analysis {
        /// Fewest requests of each revision in a step before anything is judged.
        min_requests: u32 = 100, in ABOVE_ZERO;
        /// Highest share of requests that fail.
        max_error_rate: Option<Fraction>;
        /// By how much the share of failed requests may exceed that of the old revision; with `100 %` they are not compared.
        error_tolerance: Fraction = Fraction::new(0.005);
        /// Which quantile of the latency is judged, such as `95 %`.
        latency_quantile: Fraction = Fraction::new(0.95);
        /// Highest latency at the quantile.
        max_latency: Option<SignedDuration>, in ABOVE_ZERO;
        /// How many per cent of the old revision's latency at the quantile are allowed, 100 … 10000.
        max_latency_percent: Option<u32>, in Range::between(100.0, 10_000.0);
        /// How long a step whose pause is over waits for enough requests.
        patience: SignedDuration = SignedDuration::from_mins(10), in NOT_NEGATIVE;
        /// What happens after that.
        inconclusive: InconclusivePolicy = InconclusivePolicy::Wait;
    }
}

words! {
    /// What happens to a step that cannot be judged, for want of traffic above all.
    pub enum InconclusivePolicy as "choice" {
        /// It stays until traffic or a person decides.
        Wait,
        /// It counts as good.
        Continue,
        /// It counts as failed.
        RollBack,
    }
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::Rolling,
            max_unavailable: ReplicaAmount::Percent(25),
            max_surge: ReplicaAmount::Percent(25),
            min_ready: SignedDuration::ZERO,
            progress_deadline: SignedDuration::from_mins(10),
            crash_limit: 3,
            drain: SignedDuration::from_secs(30),
            canary: None,
            blue_green: None,
        }
    }
}

impl Default for CanaryAnalysis {
    fn default() -> Self {
        Self {
            min_requests: 100,
            max_error_rate: None,
            error_tolerance: Fraction::new(0.005),
            latency_quantile: Fraction::new(0.95),
            max_latency: None,
            max_latency_percent: None,
            patience: SignedDuration::from_mins(10),
            inconclusive: InconclusivePolicy::Wait,
        }
    }
}

impl Default for BlueGreenPolicy {
    fn default() -> Self {
        Self {
            promote_after: SignedDuration::ZERO,
            manual: false,
            scale_down_delay: SignedDuration::from_secs(30),
        }
    }
}

fn check_rollout(rollout: &RolloutPolicy, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if rollout.canary.is_some() && rollout.strategy != RolloutStrategy::Canary {
        cx.report(at("canary"), "canary belongs to strategy canary", "set strategy: canary, or remove it");
    }
    if rollout.blue_green.is_some() && rollout.strategy != RolloutStrategy::BlueGreen {
        let help = "set strategy: blueGreen, or remove it";
        cx.report(at("blueGreen"), "blueGreen belongs to strategy blueGreen", help);
    }
    if rollout.strategy == RolloutStrategy::Canary
        && rollout.canary.as_ref().is_none_or(|canary| canary.steps.is_empty())
    {
        let help = "expected such as canary: {steps: [{weight: 10 %, pause: 5 min}]}";
        cx.report(at("strategy"), "strategy canary without steps", help);
    }
    let mut before = 0.0;
    for step in rollout.canary.iter().flat_map(|canary| &canary.steps) {
        let percent = step.weight.get() * 100.0;
        if (percent - percent.round()).abs() > 1e-9 {
            cx.report(at("canary"), "a weight is no whole per cent", "expected such as 5 % or 25 %");
        }
        if percent < before {
            cx.report(at("canary"), "a weight is below that of the step before", "expected growing weights");
        }
        before = percent;
    }
}

fn check_analysis(analysis: &CanaryAnalysis, node: &Node, cx: &mut Cx<'_>) {
    let quantile = analysis.latency_quantile.get();
    if quantile <= 0.0 || quantile >= 1.0 {
        let position = node.get("latencyQuantile").map_or(node.position, |n| n.position);
        cx.report(position, "latencyQuantile is no quantile", "expected above 0 and below 1, such as 95 %");
    }
}
