//! What no rollout may ever do, whatever happens meanwhile. [`Sim`] checks after every second that availability and
//! surge are kept, that traffic goes to ready replicas only, and that a plan that was performed asks for nothing more.

use jiff::SignedDuration;
use proptest::prelude::*;
use sos_control::{
    Amount, AnalysisSpec, BlueGreen, Canary, CanaryStep, Outcome, ReplicaPhase, RolloutSpec, RolloutState,
    Strategy as How,
};

use crate::sim::{Fault, Program, Sim};

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![(0..4_u32).prop_map(Amount::Count), (0..101_u32).prop_map(Amount::Percent)]
}

fn seconds(range: std::ops::Range<i64>) -> impl Strategy<Value = SignedDuration> {
    range.prop_map(SignedDuration::from_secs)
}

fn how() -> impl Strategy<Value = How> {
    let step = (0..=100_u8, 0..6_i64)
        .prop_map(|(weight, pause)| CanaryStep { weight, pause: Some(SignedDuration::from_secs(pause)) });
    let canary =
        proptest::collection::vec(step, 0..4).prop_map(|steps| How::Canary(Canary { steps, analysis: None }));
    let blue_green = (0..5_i64, seconds(0..6)).prop_map(|(after, scale_down_delay)| {
        How::BlueGreen(BlueGreen { promote_after: Some(SignedDuration::from_secs(after)), scale_down_delay })
    });
    prop_oneof![4 => Just(How::Rolling), 1 => Just(How::Recreate), 2 => blue_green, 3 => canary]
}

fn rollout() -> impl Strategy<Value = RolloutSpec> {
    (how(), amount(), amount(), seconds(0..4), seconds(0..4)).prop_map(
        |(strategy, max_unavailable, max_surge, min_ready, drain_time)| RolloutSpec {
            strategy,
            max_unavailable,
            max_surge,
            min_ready,
            drain_time,
            progress_deadline: SignedDuration::from_secs(600),
            crash_limit: 3,
        },
    )
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        2 => any::<usize>().prop_map(Fault::Crash),
        2 => (any::<usize>(), 1..5_i64).prop_map(|(index, seconds)| Fault::Slow(index, seconds)),
        1 => Just(Fault::Restart),
        1 => (0..3_usize).prop_map(Fault::Dies),
    ]
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    proptest::collection::vec(fault(), 0..50)
}

fn bad() -> impl Strategy<Value = Program> {
    prop_oneof![Just(Program::NeverReady), (0..2_i64).prop_map(Program::Crashing)]
}

proptest! {
    #[test]
    fn a_good_revision_comes_in_whatever_happens(
        replicas in 1..6_u32, spec in rollout(), alone in any::<bool>(), faults in faults(), start in 1..4_i64,
    ) {
        let mut sim = Sim::new(replicas, RolloutSpec { crash_limit: 1000, ..spec });
        sim.world.spec("a").exclusive = alone.then(|| "port 80 is fixed".into());
        sim.declare("v2", Program::Good(start));
        faults.into_iter().for_each(|fault| sim.tick(fault));
        prop_assert!(sim.settles_on("v2", 3000), "{:?} {:?}", sim.state(), sim.plan);
        prop_assert_eq!(sim.state().revisions.last().map(|r| r.outcome), Some(Outcome::Succeeded));
    }

    #[test]
    fn a_bad_revision_is_rolled_back_and_not_tried_again(
        replicas in 1..6_u32, spec in rollout(), alone in any::<bool>(), faults in faults(), program in bad(),
    ) {
        // Only the planner fails here: the old replicas are healthy.
        let faults = faults.into_iter().filter(|fault| matches!(fault, Fault::None | Fault::Restart | Fault::Dies(_)));
        let deadline = SignedDuration::from_secs(30);
        let mut sim = Sim::new(replicas, RolloutSpec { progress_deadline: deadline, min_ready: SignedDuration::from_secs(3), ..spec });
        sim.world.spec("a").exclusive = alone.then(|| "port 80 is fixed".into());
        sim.declare("v2", program);
        faults.for_each(|fault| sim.tick(fault));
        prop_assert!(sim.settles_on("v1", 3000), "{:?} {:?}", sim.state(), sim.plan);
        let given_up = sim.state().of_hash("v2").map(|revision| revision.outcome);
        prop_assert_eq!(given_up, Some(Outcome::RolledBack));
        let tries = sim.deployed.get("v2").copied();
        (0..100).for_each(|_| sim.tick(Fault::None));
        prop_assert_eq!(sim.deployed.get("v2").copied(), tries);
    }

    #[test]
    fn scaling_meanwhile_and_a_third_declaration_end_where_they_should(
        replicas in 1..6_u32, spec in rollout(), faults in faults(), later in 1..9_u32, after in 0..20_u32,
    ) {
        let mut sim = Sim::new(replicas, RolloutSpec { crash_limit: 1000, ..spec });
        sim.declare("v2", Program::Good(2));
        (0..after).for_each(|_| sim.tick(Fault::None));
        sim.world.spec("a").replicas = later;
        faults.iter().take(10).for_each(|fault| sim.tick(*fault));
        sim.declare("v3", Program::Good(1));
        faults.iter().skip(10).for_each(|fault| sim.tick(*fault));
        prop_assert!(sim.settles_on("v3", 3000), "{:?} {:?}", sim.state(), sim.plan);
    }

    #[test]
    fn even_a_lost_state_is_made_good_again(
        replicas in 1..6_u32, spec in rollout(), after in 0..30_u32, program in bad(), good in any::<bool>(),
    ) {
        let deadline = SignedDuration::from_secs(30);
        let mut sim = Sim::new(replicas, RolloutSpec { progress_deadline: deadline, min_ready: SignedDuration::from_secs(3), ..spec });
        sim.declare("v2", if good { Program::Good(1) } else { program });
        (0..after).for_each(|_| sim.tick(Fault::None));
        let rolled_back = sim.state().hold.is_some();
        sim.world.observed.rollouts.clear();
        // Nobody knows any more that it was given up, so it is tried and given up once more, as long as one of the
        // last good ones runs.
        let old_left = sim.world.observed.replicas.values().any(|r| r.description_hash == "v1" && r.phase == ReplicaPhase::Running);
        prop_assume!(good || old_left || rolled_back);
        prop_assert!(sim.settles_on(if good { "v2" } else { "v1" }, 3000), "{:?} {:?}", sim.state(), sim.plan);
    }

    #[test]
    fn a_canary_that_serves_errors_is_given_up_and_one_that_does_not_is_not(
        replicas in 1..6_u32, drain_time in seconds(0..4), steps in proptest::collection::vec(10..90_u8, 1..4),
        failing in any::<bool>(), rate in 50..200_u64,
    ) {
        let step = |weight| CanaryStep { weight, pause: Some(SignedDuration::from_secs(60)) };
        let canary = Canary { steps: steps.into_iter().map(step).collect(), analysis: Some(AnalysisSpec::default()) };
        let mut sim = Sim::new(replicas, RolloutSpec { strategy: How::Canary(canary), drain_time, ..RolloutSpec::default() });
        sim.requests_per_second = rate;
        // One of 20 fails; of the old one, one of 1000.
        sim.programs.insert("v1".into(), Program::Failing(1000));
        sim.declare("v2", Program::Failing(if failing { 20 } else { 1000 }));
        let (end, outcome) = if failing { ("v1", Outcome::RolledBack) } else { ("v2", Outcome::Succeeded) };
        prop_assert!(sim.settles_on(end, 2000), "{:?} {:?}", sim.state(), sim.plan);
        prop_assert_eq!(sim.state().of_hash("v2").map(|revision| revision.outcome), Some(outcome));
    }

    #[test]
    fn the_state_survives_its_stored_form(replicas in 1..4_u32, spec in rollout(), after in 0..20_u32) {
        let mut sim = Sim::new(replicas, spec);
        sim.declare("v2", Program::Good(1));
        (0..after).for_each(|_| sim.tick(Fault::None));
        let text = serde_json::to_string(sim.state()).unwrap();
        prop_assert_eq!(&serde_json::from_str::<RolloutState>(&text).unwrap(), sim.state());
    }
}
