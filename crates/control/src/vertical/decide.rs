//! Whether and how what is recommended becomes what is allowed.

use super::conditions::{limits_suffice, recommended};
use super::policy::{
    Allowed, InPlace, ResourceLimits, VerticalChange, VerticalDecision, VerticalFacts, VerticalMode,
    VerticalPolicy, VerticalState,
};
use super::recommend::{MAX_AMOUNT, Recommendation, Resources, cpu_text, memory_text};
use crate::{Condition, Truth};

/// How one resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Fits,
    /// Too small; `true`: outside the bounds.
    Raise(bool),
    /// Too large; `true`: outside the bounds.
    Lower(bool),
}

impl Standing {
    const fn wants(self) -> bool {
        !matches!(self, Self::Fits)
    }

    const fn outside(self) -> bool {
        matches!(self, Self::Raise(true) | Self::Lower(true))
    }
}

/// One resource with all that is known of it.
#[derive(Clone, Copy, Debug)]
struct Resource {
    name: &'static str,
    text: fn(u64) -> String,
    limit: Option<u64>,
    target: u64,
    lower: u64,
    upper: u64,
    in_use: Option<u64>,
    standing: Standing,
}

/// Decides what becomes of a recommendation.
///
/// # Guarantees
/// - Nothing is changed unless the mode is [`VerticalMode::Apply`], and then only resources that the policy names,
///   within its bounds.
/// - Replicas are restarted only when a limit lies outside the bounds of the recommendation and the stated time has
///   passed.
/// - Memory is not lowered in place to less than is in use.
/// - Decided again after the change was made, at the same time, nothing more is changed.
#[must_use]
pub fn decide_vertical(
    policy: &VerticalPolicy,
    state: VerticalState,
    facts: &VerticalFacts<'_>,
) -> VerticalDecision {
    let suffice = limits_suffice(policy, facts);
    let Some(recommendation) = facts.recommendation.filter(|_| policy.mode != VerticalMode::Off) else {
        let off = policy.mode == VerticalMode::Off;
        let (reason, why) = match off {
            true => ("Off", "vertical scaling is off"),
            false => ("NoHistory", "there is no recent use to recommend from"),
        };
        let recommended = Condition::new("Recommended", Truth::False, reason, why);
        let conditions = vec![suffice, recommended];
        return VerticalDecision {
            change: VerticalChange::Keep,
            target: None,
            because: why.into(),
            conditions,
        };
    };
    let target = within(policy, recommendation.target);
    let resources = resources(policy, recommendation, target, facts);
    let (change, because) = change(policy, state, facts, recommendation, &resources);
    let conditions = vec![suffice, recommended(policy, recommendation, target)];
    VerticalDecision { change, target: Some(target), because, conditions }
}

/// The bounds of the manifest; the upper one wins.
fn within(policy: &VerticalPolicy, amounts: Resources) -> Resources {
    let bound = |allowed: Option<Allowed>, amount: u64| {
        let Allowed { min, max } = allowed.unwrap_or_default();
        amount.max(min.unwrap_or(0)).min(max.unwrap_or(MAX_AMOUNT))
    };
    Resources {
        cpu_millis: bound(policy.cpu, amounts.cpu_millis),
        memory_bytes: bound(policy.memory, amounts.memory_bytes),
    }
}

/// The resources that the policy names.
fn resources(
    policy: &VerticalPolicy,
    recommendation: &Recommendation,
    target: Resources,
    facts: &VerticalFacts<'_>,
) -> Vec<Resource> {
    let (lower, upper) = (within(policy, recommendation.lower), within(policy, recommendation.upper));
    let sure = recommendation.confidence >= policy.sure_after;
    let cpu = policy.cpu.map(|_| Resource {
        name: "cpu",
        text: cpu_text,
        limit: facts.limits.cpu_millis,
        target: target.cpu_millis,
        lower: lower.cpu_millis,
        upper: upper.cpu_millis,
        in_use: facts.in_use.map(|used| used.cpu_millis),
        standing: Standing::Fits,
    });
    let memory = policy.memory.map(|_| Resource {
        name: "memory",
        text: memory_text,
        limit: facts.limits.memory_bytes,
        target: target.memory_bytes,
        lower: lower.memory_bytes,
        upper: upper.memory_bytes,
        in_use: facts.in_use.map(|used| used.memory_bytes),
        standing: Standing::Fits,
    });
    let both = cpu.into_iter().chain(memory);
    both.map(|resource| Resource { standing: resource.stands(policy.least_change, sure), ..resource })
        .collect()
}

impl Resource {
    /// No limit counts as one that is too large, once enough is known.
    fn stands(&self, least_change: f64, sure: bool) -> Standing {
        let Some(limit) = self.limit else {
            return if sure { Standing::Lower(true) } else { Standing::Fits };
        };
        if limit == self.target {
            return Standing::Fits;
        }
        let matters = (limit.abs_diff(self.target)) as f64 >= least_change * limit as f64;
        if limit < self.target {
            let outside = limit < self.lower;
            return if outside || matters { Standing::Raise(outside) } else { Standing::Fits };
        }
        let outside = limit > self.upper;
        if outside || (matters && sure) { Standing::Lower(outside) } else { Standing::Fits }
    }

    /// The limit to set in place: memory that is in use is not taken away.
    fn in_place(&self, margin: f64) -> u64 {
        let held = match (self.name, self.in_use, self.limit) {
            ("memory", Some(used), limit) => {
                let spared = (used as f64 * (1.0 + margin)) as u64;
                limit.map_or(spared, |limit| spared.min(limit))
            }
            _ => 0,
        };
        self.target.max(held)
    }

    fn differs(&self, to: u64, least_change: f64) -> bool {
        self.limit.is_none_or(|limit| {
            limit != to
                && (self.standing.outside() || limit.abs_diff(to) as f64 >= least_change * limit as f64)
        })
    }

    fn sentence(&self, to: u64) -> String {
        let from = self.limit.map_or("no limit".into(), |limit| (self.text)(limit));
        let side = match self.standing {
            Standing::Raise(true) => format!("below the lower bound of {}", (self.text)(self.lower)),
            Standing::Lower(true) if self.limit.is_none() => "not limited yet".into(),
            Standing::Lower(true) => format!("above the upper bound of {}", (self.text)(self.upper)),
            Standing::Raise(false) => "less than is recommended".into(),
            Standing::Lower(false) => "more than is recommended".into(),
            Standing::Fits => "as recommended".into(),
        };
        format!("{} {from} → {}, {side}", self.name, (self.text)(to))
    }
}

fn change(
    policy: &VerticalPolicy,
    state: VerticalState,
    facts: &VerticalFacts<'_>,
    recommendation: &Recommendation,
    resources: &[Resource],
) -> (VerticalChange, String) {
    if !resources.iter().any(|resource| resource.standing.wants()) {
        return (VerticalChange::Keep, format!("limits are as recommended{}", history(recommendation)));
    }
    let sentences = |to: &[(Resource, u64)]| {
        let all: Vec<_> = to.iter().map(|(resource, to)| resource.sentence(*to)).collect();
        format!("{}{}", all.join("; "), history(recommendation))
    };
    let wanted: Vec<_> = resources.iter().filter(|resource| resource.standing.wants()).copied().collect();
    let targets: Vec<_> = wanted.iter().map(|resource| (*resource, resource.target)).collect();
    if policy.mode != VerticalMode::Apply {
        return (VerticalChange::Keep, format!("recommended, not applied: {}", sentences(&targets)));
    }
    let cannot = match facts.in_place {
        InPlace::Possible => {
            let held = wanted.iter().map(|resource| (*resource, resource.in_place(policy.least_change)));
            let made: Vec<_> =
                held.filter(|(resource, to)| resource.differs(*to, policy.least_change)).collect();
            if made.is_empty() {
                let why = "memory is in use and not lowered while the replica runs";
                return (VerticalChange::Keep, format!("{why}: {}", sentences(&targets)));
            }
            let limits = with(facts.limits, &made);
            return (VerticalChange::InPlace(limits), format!("in place: {}", sentences(&made)));
        }
        InPlace::Impossible(why) => why,
    };
    let killed = killed_below(facts, recommendation, resources);
    if !(killed || wanted.iter().any(|resource| resource.standing.outside())) {
        let why = format!("not worth a restart, and {cannot}");
        return (VerticalChange::Keep, format!("{why}: {}", sentences(&targets)));
    }
    let wait = if killed { policy.roll_after_oom_every } else { policy.roll_every };
    let next = state.last_roll.and_then(|last| last.saturating_add(wait).ok());
    if let Some(next) = next.filter(|next| facts.now < *next) {
        let until = next.strftime("%Y-%m-%dT%H:%M:%SZ");
        let why = format!("no further restart before {until}, and {cannot}");
        return (VerticalChange::Keep, format!("{why}: {}", sentences(&targets)));
    }
    let limits = with(facts.limits, &targets);
    let killed = if killed { " after a kill at the memory limit" } else { "" };
    (VerticalChange::Roll(limits), format!("by a restart{killed}, as {cannot}: {}", sentences(&targets)))
}

/// Whether a kill at the limit showed a need above the present limit.
fn killed_below(facts: &VerticalFacts<'_>, recommendation: &Recommendation, resources: &[Resource]) -> bool {
    let (Some(need), Some(limit)) = (recommendation.oom_need, facts.limits.memory_bytes) else {
        return false;
    };
    let may_rise = resources.iter().any(|resource| resource.name == "memory" && resource.target > limit);
    limit < need && may_rise
}

fn with(limits: ResourceLimits, changes: &[(Resource, u64)]) -> ResourceLimits {
    let mut limits = limits;
    for (resource, to) in changes {
        match resource.name {
            "cpu" => limits.cpu_millis = Some(*to),
            _ => limits.memory_bytes = Some(*to),
        }
    }
    limits
}

pub(super) fn history(recommendation: &Recommendation) -> String {
    format!(" (from {:.1} days of use)", recommendation.confidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Timestamp};

    const MIB: u64 = 1 << 20;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn amounts(cpu_millis: u64, mib: u64) -> Resources {
        Resources { cpu_millis, memory_bytes: mib * MIB }
    }

    fn limits(cpu_millis: u64, mib: u64) -> ResourceLimits {
        ResourceLimits { cpu_millis: Some(cpu_millis), memory_bytes: Some(mib * MIB) }
    }

    /// Three days: 500m and 400 MiB, within 200m … 800m and 300 … 600 MiB.
    fn recommendation() -> Recommendation {
        Recommendation {
            target: amounts(500, 400),
            lower: amounts(200, 300),
            upper: amounts(800, 600),
            confidence: 3.0,
            oom_need: None,
        }
    }

    fn apply() -> VerticalPolicy {
        VerticalPolicy { mode: VerticalMode::Apply, ..VerticalPolicy::default() }
    }

    fn decide(
        policy: &VerticalPolicy,
        last_roll: Option<Timestamp>,
        found: &Recommendation,
        limits: ResourceLimits,
        in_place: &InPlace,
    ) -> VerticalDecision {
        let facts = VerticalFacts {
            recommendation: Some(found),
            limits,
            in_use: Some(amounts(100, 100)),
            in_place,
            now: now(),
        };
        decide_vertical(policy, VerticalState { last_roll }, &facts)
    }

    fn impossible() -> InPlace {
        InPlace::Impossible("containers of this runtime keep their limits".into())
    }

    #[test]
    fn what_can_be_changed_in_place_is_and_then_stays() {
        let made = decide(&apply(), None, &recommendation(), limits(250, 400), &InPlace::Possible);
        assert_eq!(made.change, VerticalChange::InPlace(limits(500, 400)));
        assert_eq!(
            made.because,
            "in place: cpu 250m → 500m, less than is recommended (from 3.0 days of use)"
        );
        let after = decide(&apply(), None, &recommendation(), limits(500, 400), &InPlace::Possible);
        assert_eq!(after.change, VerticalChange::Keep);
        let nearly = decide(&apply(), None, &recommendation(), limits(480, 410), &InPlace::Possible);
        assert_eq!(nearly.change, VerticalChange::Keep, "less than a tenth is not worth it");
    }

    #[test]
    fn a_restart_is_made_outside_the_bounds_only_and_not_too_often() {
        let inside = decide(&apply(), None, &recommendation(), limits(250, 400), &impossible());
        assert_eq!(inside.change, VerticalChange::Keep);
        assert!(inside.because.contains("not worth a restart"), "{}", inside.because);
        let outside = decide(&apply(), None, &recommendation(), limits(150, 400), &impossible());
        assert_eq!(outside.change, VerticalChange::Roll(limits(500, 400)));
        assert!(outside.because.contains("below the lower bound of 200m"), "{}", outside.because);
        let recent = Some(now() - SignedDuration::from_hours(11));
        let waits = decide(&apply(), recent, &recommendation(), limits(150, 400), &impossible());
        assert_eq!(waits.change, VerticalChange::Keep);
        assert!(waits.because.contains("before 2026-03-01T13:00:00Z"), "{}", waits.because);
        let long_ago = Some(now() - SignedDuration::from_hours(12));
        let made = decide(&apply(), long_ago, &recommendation(), limits(150, 400), &impossible());
        assert!(matches!(made.change, VerticalChange::Roll(_)));
    }

    #[test]
    fn a_kill_at_the_limit_waits_less() {
        let killed = Recommendation {
            target: amounts(500, 700),
            upper: amounts(800, 900),
            oom_need: Some(700 * MIB),
            ..recommendation()
        };
        let hour_ago = Some(now() - SignedDuration::from_hours(1));
        let made = decide(&apply(), hour_ago, &killed, limits(500, 500), &impossible());
        assert_eq!(made.change, VerticalChange::Roll(limits(500, 700)));
        assert!(made.because.contains("after a kill at the memory limit"), "{}", made.because);
        assert_eq!(made.conditions[0].reason, "MemoryTooSmall");
        let minute_ago = Some(now() - SignedDuration::from_mins(1));
        let waits = decide(&apply(), minute_ago, &killed, limits(500, 500), &impossible());
        assert_eq!(waits.change, VerticalChange::Keep);
    }

    #[test]
    fn with_little_history_nothing_is_lowered() {
        let young = Recommendation {
            upper: amounts(MAX_AMOUNT, MAX_AMOUNT / MIB),
            confidence: 0.01,
            ..recommendation()
        };
        for in_place in [InPlace::Possible, impossible()] {
            let kept = decide(&apply(), None, &young, limits(5000, 4000), &in_place);
            assert_eq!(kept.change, VerticalChange::Keep);
            let unlimited = decide(&apply(), None, &young, ResourceLimits::default(), &in_place);
            assert_eq!(unlimited.change, VerticalChange::Keep);
        }
        let raised = decide(&apply(), None, &young, limits(100, 4000), &InPlace::Possible);
        assert_eq!(raised.change, VerticalChange::InPlace(limits(500, 4000)));
    }

    #[test]
    fn memory_in_use_is_not_taken_away_in_place() {
        let facts = |limits, used| VerticalFacts {
            recommendation: None,
            limits,
            in_use: Some(amounts(10, used)),
            in_place: &InPlace::Possible,
            now: now(),
        };
        let found = recommendation();
        let run = |limits, used| {
            let facts = VerticalFacts { recommendation: Some(&found), ..facts(limits, used) };
            decide_vertical(&apply(), VerticalState::default(), &facts)
        };
        let made = run(limits(500, 1000), 600);
        let VerticalChange::InPlace(set) = made.change else { panic!("{made:?}") };
        assert!((659..=660).contains(&(set.memory_bytes.unwrap() / MIB)), "{made:?}");
        let kept = run(limits(500, 610), 600);
        assert_eq!(kept.change, VerticalChange::Keep, "{kept:?}");
        assert!(kept.because.contains("in use"), "{}", kept.because);
    }

    #[test]
    fn the_manifest_bounds_what_is_set_and_the_condition_says_so() {
        let policy = VerticalPolicy {
            cpu: Some(Allowed { min: Some(600), max: None }),
            memory: Some(Allowed { min: None, max: Some(350 * MIB) }),
            ..apply()
        };
        let made = decide(&policy, None, &recommendation(), limits(300, 256), &InPlace::Possible);
        assert_eq!(made.change, VerticalChange::InPlace(limits(600, 350)));
        assert_eq!(made.conditions[1].reason, "CappedByMax");
        assert!(made.conditions[1].message.contains("vertical.memory.max"), "{}", made.conditions[1].message);
        let only_cpu = VerticalPolicy { memory: None, ..apply() };
        let made = decide(&only_cpu, None, &recommendation(), limits(100, 10), &InPlace::Possible);
        assert_eq!(made.change, VerticalChange::InPlace(limits(500, 10)));
    }

    #[test]
    fn modes_off_and_recommend_change_nothing() {
        let recommend = VerticalPolicy::default();
        let shown = decide(&recommend, None, &recommendation(), limits(100, 100), &InPlace::Possible);
        assert_eq!(shown.change, VerticalChange::Keep);
        assert!(shown.because.starts_with("recommended, not applied: cpu 100m → 500m"), "{}", shown.because);
        assert_eq!(shown.target, Some(amounts(500, 400)));
        let off = VerticalPolicy { mode: VerticalMode::Off, ..apply() };
        let silent = decide(&off, None, &recommendation(), limits(100, 100), &InPlace::Possible);
        assert_eq!((silent.change, silent.target), (VerticalChange::Keep, None));
        assert_eq!(silent.because, "vertical scaling is off");
    }

    #[test]
    fn limits_below_use_are_a_condition_with_advice() {
        let facts = |limits| VerticalFacts {
            recommendation: None,
            limits,
            in_use: Some(amounts(490, 390)),
            in_place: &InPlace::Possible,
            now: now(),
        };
        let condition = |limits| {
            let decision =
                decide_vertical(&VerticalPolicy::default(), VerticalState::default(), &facts(limits));
            decision.conditions.into_iter().next().unwrap()
        };
        let slow = condition(limits(500, 1000));
        assert_eq!((slow.status, slow.reason.as_str()), (Truth::False, "CpuTooSmall"));
        assert!(slow.message.contains("raise resources.cpu to 563m or more"), "{}", slow.message);
        let tight = condition(limits(5000, 400));
        assert!(tight.message.starts_with("390 MiB of 400 MiB are in use"), "{}", tight.message);
        assert_eq!(condition(limits(5000, 4000)).status, Truth::True);
        assert_eq!(condition(ResourceLimits::default()).status, Truth::True);
        let unknown = VerticalFacts { in_use: None, ..facts(limits(1, 1)) };
        let decision = decide_vertical(&apply(), VerticalState::default(), &unknown);
        assert_eq!(decision.conditions[0].status, Truth::Unknown);
        assert_eq!(decision.conditions[1].reason, "NoHistory");
    }
}
