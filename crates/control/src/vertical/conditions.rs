//! What people should know of limits and recommendations.

use super::decide::history;
use super::policy::{VerticalFacts, VerticalMode, VerticalPolicy};
use super::recommend::{Recommendation, Resources, cpu_text, memory_text};
use crate::{Condition, Truth};

/// Whether what is used fits into what is allowed.
pub(super) fn limits_suffice(policy: &VerticalPolicy, facts: &VerticalFacts<'_>) -> Condition {
    let kind = "LimitsSuffice";
    let Some(used) = facts.in_use else {
        return Condition::new(kind, Truth::Unknown, "NotMeasured", "the use of its replicas is not known");
    };
    let need = facts.recommendation.and_then(|found| found.oom_need).unwrap_or(0);
    let advice = |what: &str, least: String| {
        let apply = match policy.mode {
            VerticalMode::Apply => "",
            _ => ", or let it be done with mode apply",
        };
        format!("raise resources.{what} to {least} or more{apply}")
    };
    // Of memory the last twentieth, of processor time nothing is spare.
    let tight = |limit: u64, used: u64| used as f64 >= 0.95 * limit as f64;
    let memory = facts.limits.memory_bytes.filter(|limit| need > *limit || tight(*limit, used.memory_bytes));
    if let Some(limit) = memory {
        let least = facts.recommendation.map_or(0, |found| found.target.memory_bytes);
        let least = memory_text(least.max(need).max((used.memory_bytes as f64 * 1.15) as u64));
        let how = match need > limit {
            true => "a replica was killed at its memory limit".to_owned(),
            false => format!("{} of {} are in use", memory_text(used.memory_bytes), memory_text(limit)),
        };
        let text = format!("{how}: {}", advice("memory", least));
        return Condition::new(kind, Truth::False, "MemoryTooSmall", text);
    }
    if let Some(limit) = facts.limits.cpu_millis.filter(|limit| tight(*limit, used.cpu_millis)) {
        let least = facts.recommendation.map_or(0, |found| found.target.cpu_millis);
        let least = cpu_text(least.max((used.cpu_millis as f64 * 1.15) as u64));
        let how = format!(
            "{} of {} are in use, it is being slowed down",
            cpu_text(used.cpu_millis),
            cpu_text(limit)
        );
        let text = format!("{how}: {}", advice("cpu", least));
        return Condition::new(kind, Truth::False, "CpuTooSmall", text);
    }
    Condition::new(kind, Truth::True, "Fits", "what is in use is below the limits")
}

/// Whether what is recommended is also allowed by the manifest.
pub(super) fn recommended(
    policy: &VerticalPolicy,
    recommendation: &Recommendation,
    target: Resources,
) -> Condition {
    let kind = "Recommended";
    let wanted = recommendation.target;
    let capped = |what: &str, wanted: String, max: String| {
        let advice = format!("raise vertical.{what}.max or let more replicas share the work");
        format!("{wanted} of {what} would be recommended, {max} is the most allowed: {advice}")
    };
    if policy.memory.is_some() && target.memory_bytes < wanted.memory_bytes {
        let text = capped("memory", memory_text(wanted.memory_bytes), memory_text(target.memory_bytes));
        return Condition::new(kind, Truth::True, "CappedByMax", text);
    }
    if policy.cpu.is_some() && target.cpu_millis < wanted.cpu_millis {
        let text = capped("cpu", cpu_text(wanted.cpu_millis), cpu_text(target.cpu_millis));
        return Condition::new(kind, Truth::True, "CappedByMax", text);
    }
    Condition::new(kind, Truth::True, "Recommended", format!("{target}{}", history(recommendation)))
}
