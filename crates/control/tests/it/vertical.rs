//! What a recommendation may never do, over random use.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use sos_control::vertical::{
    Buckets, Histogram, InPlace, Recommendation, RecommenderSettings, ResourceLimits, Resources,
    UsageHistory, UsageSettings, VerticalChange, VerticalFacts, VerticalMode, VerticalPolicy, VerticalState,
    decide_vertical,
};

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

/// Samples: value, weight, minute.
fn samples(most: usize) -> impl Strategy<Value = Vec<(f64, f64, i64)>> {
    // Over 200 days, so that the reference of the decay moves.
    prop::collection::vec((0.0..2000.0_f64, 0.1..10.0_f64, 0..288_000_i64), 0..most)
}

fn histogram(samples: &[(f64, f64, i64)]) -> Histogram {
    let mut histogram = Histogram::new(Buckets::cpu(), SignedDuration::from_hours(24)).unwrap();
    for (value, weight, minute) in samples {
        histogram.add(*value, *weight, at(*minute));
    }
    histogram
}

fn percentiles(of: &Histogram) -> Vec<Option<f64>> {
    // Not at a share at which a bucket ends.
    (0..20).map(|i| of.percentile(0.0137 + 0.05 * f64::from(i))).collect()
}

/// Each within a bucket of the other: sums of floats end on the one side of a threshold or the other.
fn alike(one: &Histogram, other: &Histogram) -> bool {
    percentiles(one).into_iter().zip(percentiles(other)).all(|pair| match pair {
        (Some(a), Some(b)) => {
            Buckets::cpu().find(a).abs_diff(Buckets::cpu().find(b)) <= 1 || share_near(one, a, b)
        }
        (a, b) => a.is_none() && b.is_none(),
    })
}

/// Whether next to nothing lies between two values.
fn share_near(of: &Histogram, a: f64, b: f64) -> bool {
    let (low, high) = (a.min(b), a.max(b));
    let inside = (0..2000).filter(|i| {
        let value = of.percentile(f64::from(*i) / 2000.0).unwrap_or(0.0);
        value > low && value < high
    });
    inside.count() <= 1
}

#[derive(Clone, Debug)]
enum Step {
    Use { replica: usize, cores: f64, mib: u64 },
    Kill { replica: usize, mib: u64 },
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..20_usize, 0.0..16.0_f64, 1..8000_u64).prop_map(|(replica, cores, mib)| Step::Use { replica, cores, mib }),
        1 => (0..20_usize, 1..8000_u64).prop_map(|(replica, mib)| Step::Kill { replica, mib }),
        3 => (1..600_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..120)
}

/// The history, when it ends, and every kill with its time.
fn live(steps: &[Step], minute: &mut i64) -> (UsageHistory, Vec<(i64, u64)>) {
    let mut history = UsageHistory::new(UsageSettings::default()).unwrap();
    let mut kills = vec![];
    for step in steps {
        match step {
            Step::Wait(minutes) => *minute += minutes,
            Step::Use { replica, cores, mib } => {
                history.add_cpu(&format!("a-{replica}"), at(*minute), *cores, Some(1.0));
                history.add_memory(&format!("a-{replica}"), at(*minute), mib << 20);
            }
            Step::Kill { replica, mib } => {
                assert!(history.record_oom(&format!("a-{replica}"), at(*minute), mib << 20).is_some());
                kills.push((*minute, mib << 20));
            }
        }
    }
    (history, kills)
}

proptest! {
    #[test]
    fn percentiles_rise_with_the_share(samples in samples(60)) {
        let found = percentiles(&histogram(&samples));
        prop_assert!(found.windows(2).all(|pair| pair[0] <= pair[1]), "{found:?}");
        prop_assert_eq!(found[0].is_none(), samples.is_empty());
    }

    #[test]
    fn what_is_added_and_taken_out_again_leaves_nothing_behind(
        kept in samples(40), more in samples(40),
    ) {
        // All at times after the last: the reference moves once at most in between.
        let mut found = histogram(&kept);
        let before = found.clone();
        for (value, weight, minute) in &more {
            found.add(*value, *weight, at(*minute));
        }
        for (value, weight, minute) in &more {
            found.subtract(*value, *weight, at(*minute));
        }
        // What is added 100 days later lets the old fade below the least weight: that is forgetting, not a fault.
        let newest = |samples: &[(f64, f64, i64)]| samples.iter().map(|sample| sample.2).max().unwrap_or(0);
        if newest(&more) <= newest(&kept) && !kept.is_empty() {
            prop_assert!(alike(&found, &before), "{found:?}\n{before:?}");
        }
        if kept.is_empty() {
            prop_assert!(found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn merged_checkpoints_are_the_checkpoint_of_all(one in samples(40), other in samples(40)) {
        let both: Vec<_> = one.iter().chain(&other).copied().collect();
        let restored = |samples: &[_]| {
            let checkpoint = histogram(samples).checkpoint();
            let text = serde_json::to_string(&checkpoint).unwrap();
            assert!(text.len() < 6000, "{} bytes", text.len());
            let checkpoint = serde_json::from_str(&text).unwrap();
            Histogram::restore(Buckets::cpu(), SignedDuration::from_hours(24), &checkpoint).unwrap()
        };
        let mut merged = restored(&one);
        merged.merge(&restored(&other)).unwrap();
        let mut reverse = restored(&other);
        reverse.merge(&restored(&one)).unwrap();
        prop_assert!(alike(&merged, &histogram(&both)), "{merged:?}");
        prop_assert!(alike(&merged, &reverse));
    }

    #[test]
    fn bounds_enclose_the_target_and_no_kill_is_forgotten(steps in steps()) {
        let mut minute = 0;
        let (history, kills) = live(&steps, &mut minute);
        let settings = RecommenderSettings::default();
        let Some(found) = settings.recommend(&history, at(minute)) else { return Ok(()) };
        let Recommendation { target, lower, upper, .. } = found;
        prop_assert!(lower.cpu_millis <= target.cpu_millis && target.cpu_millis <= upper.cpu_millis);
        prop_assert!(lower.memory_bytes <= target.memory_bytes && target.memory_bytes <= upper.memory_bytes);
        prop_assert!(target.cpu_millis >= settings.floor.cpu_millis);
        for (killed, bytes) in kills {
            // Unless eight days without a sample lie between.
            if minute - killed < 7 * 1440 {
                prop_assert!(lower.memory_bytes >= bytes, "killed at {bytes}, {found:?}");
            }
        }
        let again = UsageHistory::restore(UsageSettings::default(), &history.checkpoint()).unwrap();
        let restored = settings.recommend(&again, at(minute)).unwrap();
        prop_assert_eq!(restored.oom_need, found.oom_need);
        prop_assert!((restored.confidence - found.confidence).abs() < 1e-12);
    }

    #[test]
    fn what_was_changed_is_not_changed_again(
        steps in steps(), cpu in proptest::option::of(1..20_000_u64), mib in proptest::option::of(1..10_000_u64),
        used in 1..9000_u64, in_place in any::<bool>(), max in proptest::option::of(1..4000_u64),
    ) {
        let mut minute = 0;
        let (history, _) = live(&steps, &mut minute);
        let found = RecommenderSettings::default().recommend(&history, at(minute));
        let policy = VerticalPolicy {
            mode: VerticalMode::Apply,
            cpu: Some(sos_control::vertical::Allowed { min: None, max }),
            ..VerticalPolicy::default()
        };
        let can = if in_place { InPlace::Possible } else { InPlace::Impossible("it cannot".into()) };
        let decide = |limits: ResourceLimits, last_roll| {
            let in_use = Some(Resources { cpu_millis: 1, memory_bytes: used << 20 });
            let facts =
                VerticalFacts { recommendation: found.as_ref(), limits, in_use, in_place: &can, now: at(minute) };
            decide_vertical(&policy, VerticalState { last_roll }, &facts)
        };
        let limits = ResourceLimits { cpu_millis: cpu, memory_bytes: mib.map(|mib| mib << 20) };
        let first = decide(limits, None);
        prop_assert!(!first.because.is_empty() && first.conditions.len() == 2);
        match first.change {
            VerticalChange::Keep => {}
            VerticalChange::InPlace(set) => {
                prop_assert!(in_place && set != limits);
                prop_assert!(set.cpu_millis == limits.cpu_millis || set.cpu_millis <= max.or(Some(u64::MAX)));
                let (bytes, before) = (set.memory_bytes.unwrap_or(u64::MAX), limits.memory_bytes.unwrap_or(u64::MAX));
                prop_assert!(bytes >= before || bytes >= used << 20, "taken away: {first:?}");
                prop_assert_eq!(decide(set, None).change, VerticalChange::Keep, "{:?}", first);
            }
            VerticalChange::Roll(set) => {
                prop_assert!(!in_place && set != limits);
                prop_assert_eq!(decide(limits, Some(at(minute))).change, VerticalChange::Keep);
                prop_assert_eq!(decide(set, None).change, VerticalChange::Keep, "{:?}", first);
            }
        }
    }
}
