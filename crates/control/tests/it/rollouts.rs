//! One behaviour of rollouts per test.

use jiff::SignedDuration;
use sos_control::{
    Action, Amount, AnalysisSpec, BatchOrder, BlueGreen, Canary, CanaryStep, Exit, Inconclusive, Outcome,
    RolloutOrder, RolloutSpec, ServiceKind, ServicePhase, Strategy, Truth,
};
use sos_units::{Energy, EnvelopeStep, Power, PowerEnvelope};

use crate::sim::{Fault, Program, Sim};
use crate::world::{World, at, in_place, service, verbs};

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

fn step(weight: u8, pause: i64) -> CanaryStep {
    CanaryStep { weight, pause: Some(seconds(pause)) }
}

fn canary(steps: &[CanaryStep], analysis: Option<AnalysisSpec>) -> RolloutSpec {
    let strategy = Strategy::Canary(Canary { steps: steps.to_vec(), analysis });
    RolloutSpec { strategy, ..RolloutSpec::default() }
}

fn blue_green(promote_after: Option<i64>, keep: i64) -> RolloutSpec {
    let promote_after = promote_after.map(seconds);
    let strategy = Strategy::BlueGreen(BlueGreen { promote_after, scale_down_delay: seconds(keep) });
    RolloutSpec { strategy, ..RolloutSpec::default() }
}

fn ticks(sim: &mut Sim, count: u32) {
    (0..count).for_each(|_| sim.tick(Fault::None));
}

fn obey(sim: &mut Sim, order: RolloutOrder) {
    let now = sim.world.now.wall;
    sim.state_mut().obey(&order, "ann", &|_| true, now).unwrap();
}

/// Whole per cent of the traffic.
fn share(sim: &Sim, hash: &str) -> u32 {
    sim.weight(hash) / 100
}

fn ids(sim: &Sim, hash: &str) -> Vec<String> {
    let of = sim.world.observed.replicas.iter().filter(|(_, r)| r.description_hash == hash && r.is_live());
    of.map(|(id, _)| id.clone()).collect()
}

#[test]
fn a_rolling_rollout_takes_a_number_beyond_and_gives_freed_ones_to_the_next() {
    let mut sim = Sim::new(3, RolloutSpec::default());
    sim.declare("v2", Program::Good(1));
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["deploy a-3"]);
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["stop a-0 roll"], "{:?}", sim.sentence());
    assert!(sim.settles_on("v2", 60));
    assert_eq!(ids(&sim, "v2"), ["a-0", "a-1", "a-3"]);
    sim.declare("v3", Program::Good(1));
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["deploy a-2"]);
}

#[test]
fn a_replica_counts_only_after_it_was_ready_for_long_enough() {
    let mut sim = Sim::new(1, RolloutSpec { min_ready: seconds(10), ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(1));
    sim.tick(Fault::None);
    let started = sim.second();
    while verbs(&sim.plan) != ["stop a-0 roll"] {
        sim.tick(Fault::None);
    }
    assert_eq!(sim.second() - started, 11, "ready after 1 s, available 10 s later");
}

#[test]
fn a_revision_that_never_gets_ready_is_given_up_at_its_deadline_with_the_reason() {
    let mut sim = Sim::new(3, RolloutSpec { progress_deadline: seconds(30), ..RolloutSpec::default() });
    sim.declare("v2", Program::NeverReady);
    ticks(&mut sim, 30);
    assert_eq!((sim.available("v1"), sim.weight("v2")), (3, 0));
    assert_eq!(sim.world.plan().statuses["a"].phase, ServicePhase::Rolling);
    sim.tick(Fault::None);
    let given_up = sim.state().of_hash("v2").unwrap();
    assert_eq!(given_up.outcome, Outcome::RolledBack);
    assert_eq!(given_up.reason, "revision 2: 0 of 3 replicas available, and no further one within 30 s");
    assert!(sim.settles_on("v1", 60));
    let progressing = &sim.world.plan().statuses["a"].conditions[2];
    assert_eq!((progressing.status, progressing.reason.as_str()), (Truth::False, "RolledBack"));
    assert!(progressing.message.ends_with("; revision 1 runs instead"), "{}", progressing.message);
}

#[test]
fn a_revision_that_crashes_is_given_up_early_with_its_last_lines() {
    let mut sim = Sim::new(3, RolloutSpec::default());
    sim.declare("v2", Program::Crashing(0));
    sim.world.observed.last_lines.insert("a-3".into(), vec!["opening db".into(), "no such table".into()]);
    let begun = sim.second();
    assert!(sim.settles_on("v1", 30));
    assert!(sim.second() - begun < 20, "long before the deadline");
    let reason = &sim.state().of_hash("v2").unwrap().reason;
    assert_eq!(
        reason,
        "revision 2: a-3 exited with code 3, 3 times in a row; last lines: opening db | no such table"
    );
}

#[test]
fn the_first_revision_has_no_way_back_and_says_so() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.spec("a").rollout.progress_deadline = seconds(5);
    world.spec("a").probes = crate::world::readiness();
    world.step();
    world.wait(5);
    let plan = world.step();
    let progressing = &plan.statuses["a"].conditions[2];
    assert_eq!(progressing.reason, "ProgressDeadlineExceeded");
    assert!(progressing.message.contains("no good revision is known"), "{}", progressing.message);
    assert_eq!(verbs(&plan), Vec::<String>::new());
}

#[test]
fn blue_green_switches_all_traffic_at_once_and_back_while_the_old_set_is_kept() {
    let mut sim = Sim::new(3, blue_green(Some(5), 30));
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 6);
    assert_eq!((sim.available("v1"), sim.available("v2"), share(&sim, "v2")), (3, 3, 0));
    assert_eq!(sim.plan.progress["a"].message, "the new set is watched before the switch");
    sim.tick(Fault::None);
    assert_eq!((share(&sim, "v1"), share(&sim, "v2"), sim.live()), (0, 100, 6));
    ticks(&mut sim, 20);
    obey(&mut sim, RolloutOrder::Abort { reason: "wrong prices".into() });
    sim.tick(Fault::None);
    assert_eq!((share(&sim, "v1"), share(&sim, "v2")), (100, 0));
    assert!(sim.settles_on("v1", 30));
    assert_eq!(sim.state().of_hash("v2").unwrap().reason, "aborted by ann: wrong prices");
}

#[test]
fn blue_green_by_order_waits_for_it_and_then_drops_the_old_set() {
    let mut sim = Sim::new(2, blue_green(None, 10));
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 100);
    assert_eq!(
        (share(&sim, "v2"), sim.sentence()),
        (0, "2 of 2 new replicas ready: it waits for a promotion".into())
    );
    obey(&mut sim, RolloutOrder::Promote { full: false });
    sim.tick(Fault::None);
    assert_eq!(share(&sim, "v2"), 100);
    assert_eq!(sim.live(), 4);
    assert!(sim.settles_on("v2", 20));
}

#[test]
fn a_canary_goes_up_by_its_steps_beside_a_whole_old_set() {
    let mut sim = Sim::new(4, canary(&[step(0, 5), step(25, 10), step(50, 10)], None));
    sim.declare("v2", Program::Good(1));
    let mut seen = Vec::new();
    while sim.state().current == Some(1) || sim.state().rollout.is_some() {
        sim.tick(Fault::None);
        let now = (share(&sim, "v2"), sim.available("v2"));
        if sim.state().rollout.as_ref().is_some_and(|rollout| rollout.promoted_at.is_none()) {
            assert_eq!(sim.available("v1"), 4);
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        assert!(sim.second() < 200);
    }
    assert_eq!(seen, [(0, 0), (0, 1), (25, 1), (50, 2)]);
}

#[test]
fn an_old_replica_that_crashes_during_a_canary_comes_back_as_the_old_revision() {
    let mut sim = Sim::new(2, canary(&[CanaryStep { weight: 50, pause: None }], None));
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 10);
    sim.world.end("a-1", Exit::Signal(9));
    let plan = sim.world.plan();
    let Action::Deploy { replica, revision, description_hash, .. } = &plan.actions[0] else {
        panic!("{plan:?}")
    };
    assert_eq!((replica.as_str(), *revision, description_hash.as_str()), ("a-1", 1, "v1"));
}

#[test]
fn errors_of_a_canary_end_it_with_the_figures_and_all_traffic_goes_back_at_once() {
    let mut sim = Sim::new(3, canary(&[step(20, 600)], Some(AnalysisSpec::default())));
    sim.requests_per_second = 100;
    sim.declare("v2", Program::Failing(4));
    while sim.state().hold.is_none() {
        sim.tick(Fault::None);
        assert!(sim.second() < 100, "{}", sim.sentence());
    }
    assert_eq!((share(&sim, "v1"), share(&sim, "v2")), (100, 0));
    let reason = &sim.state().of_hash("v2").unwrap().reason;
    assert!(reason.starts_with("revision 2: error rate 25 % over 100 requests against 0 % over"), "{reason}");
}

#[test]
fn with_too_little_traffic_a_step_waits_and_then_does_what_is_declared() {
    for (inconclusive, end) in [
        (Inconclusive::Wait, None),
        (Inconclusive::Continue, Some("v2")),
        (Inconclusive::RollBack, Some("v1")),
    ] {
        let analysis = AnalysisSpec { patience: seconds(30), inconclusive, ..AnalysisSpec::default() };
        let mut sim = Sim::new(2, canary(&[step(50, 10)], Some(analysis)));
        sim.declare("v2", Program::Good(1));
        ticks(&mut sim, 35);
        assert_eq!(share(&sim, "v2"), 50, "{inconclusive:?}");
        let sentence = sim.sentence();
        assert!(sentence.ends_with("0 of 100 requests of the new revision"), "{sentence}");
        match end {
            Some(end) => assert!(sim.settles_on(end, 60), "{inconclusive:?}"),
            None => assert!(!sim.settles_on("v2", 60) && share(&sim, "v2") == 50),
        }
    }
}

#[test]
fn a_paused_canary_stays_where_it_is_and_goes_on_when_resumed_or_promoted() {
    let mut sim = Sim::new(4, canary(&[step(25, 5), step(50, 1000), step(75, 1000)], None));
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 3);
    obey(&mut sim, RolloutOrder::Pause);
    ticks(&mut sim, 100);
    assert_eq!(share(&sim, "v2"), 25);
    assert!(sim.sentence().contains("paused by ann"), "{}", sim.sentence());
    obey(&mut sim, RolloutOrder::Resume);
    ticks(&mut sim, 10);
    assert_eq!(share(&sim, "v2"), 50);
    obey(&mut sim, RolloutOrder::Promote { full: false });
    ticks(&mut sim, 10);
    assert_eq!(share(&sim, "v2"), 75);
    obey(&mut sim, RolloutOrder::Promote { full: true });
    assert!(sim.settles_on("v2", 60));
}

#[test]
fn undo_brings_an_earlier_revision_back_until_another_one_is_declared() {
    let mut sim = Sim::new(2, RolloutSpec::default());
    sim.declare("v2", Program::Good(1));
    assert!(sim.settles_on("v2", 60));
    obey(&mut sim, RolloutOrder::Undo { to: None });
    assert!(sim.settles_on("v1", 60));
    let undone = sim.state().of_hash("v2").unwrap();
    assert_eq!((undone.outcome, undone.reason.as_str()), (Outcome::Undone, "ann brought revision 1 back"));
    ticks(&mut sim, 100);
    assert_eq!(sim.available("v1"), 2);
    sim.declare("v3", Program::Good(1));
    assert!(sim.settles_on("v3", 60));
    obey(&mut sim, RolloutOrder::Undo { to: Some(2) });
    assert!(sim.settles_on("v2", 60));
}

#[test]
fn a_retry_tries_what_was_given_up() {
    let mut sim = Sim::new(1, RolloutSpec::default());
    sim.declare("v2", Program::Crashing(0));
    assert!(sim.settles_on("v1", 60));
    sim.programs.insert("v2".into(), Program::Good(1));
    obey(&mut sim, RolloutOrder::Retry);
    assert!(sim.settles_on("v2", 60));
}

#[test]
fn what_cannot_run_beside_another_stops_first_and_the_reason_is_told() {
    let mut sim = Sim::new(1, blue_green(None, 10));
    sim.world.spec("a").exclusive = Some("port http has the number 8080".into());
    sim.declare("v2", Program::Good(1));
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["stop a-0 roll"]);
    let message = &sim.plan.statuses["a"].conditions[2].message;
    assert_eq!(message, "revision 2 comes in; none runs beside another: port http has the number 8080");
    assert!(sim.settles_on("v2", 30));
    assert_eq!(ids(&sim, "v2"), ["a-0"]);
}

#[test]
fn recreate_starts_the_new_ones_only_when_all_old_ones_are_gone() {
    let mut sim = Sim::new(3, RolloutSpec { strategy: Strategy::Recreate, ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(1));
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["stop a-0 roll", "stop a-1 roll", "stop a-2 roll"]);
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), Vec::<String>::new());
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["deploy a-0", "deploy a-1", "deploy a-2"]);
}

#[test]
fn a_change_of_scale_is_shared_among_both_revisions_in_proportion() {
    // The example of Kubernetes' documentation: a rollout that is stuck at 8 and 5, scaled from 10 to 15.
    let (max_surge, max_unavailable) = (Amount::Count(3), Amount::Count(2));
    let mut sim = Sim::new(10, RolloutSpec { max_surge, max_unavailable, ..RolloutSpec::default() });
    sim.declare("v2", Program::NeverReady);
    ticks(&mut sim, 10);
    assert_eq!((ids(&sim, "v1").len(), ids(&sim, "v2").len()), (8, 5));
    sim.world.spec("a").replicas = 15;
    ticks(&mut sim, 2);
    assert_eq!((ids(&sim, "v1").len(), ids(&sim, "v2").len()), (11, 7));
}

#[test]
fn a_replica_is_out_of_traffic_before_it_is_asked_to_stop() {
    let mut sim = Sim::new(1, RolloutSpec { drain_time: seconds(20), ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 2);
    assert_eq!(sim.plan.draining.keys().collect::<Vec<_>>(), ["a-0"]);
    assert_eq!((verbs(&sim.plan), share(&sim, "v2")), (vec![], 100));
    sim.world.observed.in_flight.insert("a-0".into(), 3);
    ticks(&mut sim, 5);
    assert!(sim.plan.draining.contains_key("a-0"));
    sim.world.observed.in_flight.insert("a-0".into(), 0);
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["stop a-0 roll"]);
}

#[test]
fn an_old_replica_that_still_serves_is_taken_back_when_the_new_one_fails() {
    let mut sim = Sim::new(1, RolloutSpec { drain_time: seconds(20), ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 3);
    assert_eq!((sim.plan.draining.contains_key("a-0"), share(&sim, "v2")), (true, 100));
    sim.world.end("a-1", Exit::Code(1));
    sim.tick(Fault::None);
    assert_eq!((sim.plan.draining.len(), share(&sim, "v1")), (0, 100));
    assert!(sim.settles_on("v2", 60));
}

#[test]
fn without_word_of_requests_the_drain_time_counts_also_across_a_restart() {
    let mut sim = Sim::new(1, RolloutSpec { drain_time: seconds(20), ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 2);
    let since = sim.second();
    while sim.plan.actions.is_empty() {
        sim.tick(if sim.second() == since + 7 { Fault::Restart } else { Fault::None });
    }
    assert_eq!((verbs(&sim.plan), sim.second() - since), (vec!["stop a-0 roll".to_owned()], 20));
}

#[test]
fn a_service_that_is_no_longer_declared_drains_too() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.spec("a").rollout.drain_time = seconds(5);
    world.step();
    world.desired.services.clear();
    let plan = world.step();
    assert_eq!((verbs(&plan), plan.draining.len(), plan.next_check), (vec![], 1, Some(at(5))));
    world.wait(5);
    assert_eq!(verbs(&world.step()), ["stop a-0 not-wanted"]);
}

#[test]
fn a_revision_whose_configuration_is_gone_is_not_started_and_that_is_told() {
    let mut sim = Sim::new(2, canary(&[CanaryStep { weight: 50, pause: None }], None));
    sim.declare("v2", Program::Crashing(0));
    sim.world.spec("a").stored.clear();
    ticks(&mut sim, 20);
    assert_eq!(sim.state().current, Some(1));
    sim.world.end("a-0", Exit::Code(1));
    sim.world.end("a-1", Exit::Code(1));
    let plan = sim.world.plan();
    assert_eq!(verbs(&plan), Vec::<String>::new());
    let ready = &plan.statuses["a"].conditions[3];
    assert_eq!(ready.message, "the configuration of revision 1 is not stored");
}

#[test]
fn what_runs_goes_on_while_the_declared_configuration_cannot_be_made() {
    let mut sim = Sim::new(2, RolloutSpec::default());
    sim.world.spec("a").unresolved = Some("waits for port http of service db".into());
    sim.world.spec("a").description_hash = String::new();
    ticks(&mut sim, 20);
    assert_eq!(sim.available("v1"), 2);
    sim.world.end("a-0", Exit::Code(1));
    sim.tick(Fault::None);
    assert_eq!(verbs(&sim.plan), ["deploy a-0"], "its stored configuration does");
}

#[test]
fn a_rollout_waits_for_its_dependencies_and_is_not_given_up_meanwhile() {
    let mut sim = Sim::new(2, RolloutSpec { progress_deadline: seconds(30), ..in_place() });
    sim.world.spec("a").depends_on = vec!["db".into()];
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 200);
    assert_eq!((sim.available("v1"), sim.state().current), (2, Some(2)));
    assert_eq!(sim.sentence(), "0 of 2 new replicas ready: waits for db, which is not declared");
    sim.world.spec("a").depends_on.clear();
    assert!(sim.settles_on("v2", 60));
}

#[test]
fn a_suspended_rollout_ends_nothing_and_is_resumed_where_it_must_prove_itself() {
    let mut sim = Sim::new(2, RolloutSpec { progress_deadline: seconds(30), ..RolloutSpec::default() });
    sim.declare("v2", Program::NeverReady);
    ticks(&mut sim, 5);
    sim.world.spec("a").suspended = true;
    ticks(&mut sim, 100);
    assert_eq!((sim.live(), sim.state().stable, sim.state().current), (0, Some(1), Some(2)));
    sim.world.spec("a").suspended = false;
    assert!(sim.settles_on("v1", 100), "still bad, so the good one comes back");
}

#[test]
fn time_in_which_nobody_watched_does_not_count_against_a_revision() {
    let mut sim = Sim::new(3, RolloutSpec { progress_deadline: seconds(60), ..RolloutSpec::default() });
    sim.declare("v2", Program::Good(5));
    ticks(&mut sim, 2);
    assert!(sim.state().rollout.as_ref().is_some_and(|rollout| rollout.waiting_since.is_some()));
    sim.world.wait(1000);
    sim.tick(Fault::Restart);
    assert_eq!(sim.state().current, Some(2));
    assert!(sim.settles_on("v2", 100));
    sim.declare("v3", Program::NeverReady);
    ticks(&mut sim, 2);
    sim.world.wait(1000);
    sim.tick(Fault::Restart);
    assert!(sim.settles_on("v2", 100), "it is given up all the same, a deadline later");
}

#[test]
fn replicas_of_an_earlier_version_are_taken_over_as_they_are() {
    let mut sim = Sim::new(3, RolloutSpec::default());
    sim.world.observed.rollouts.clear();
    sim.tick(Fault::Restart);
    assert_eq!(verbs(&sim.plan), Vec::<String>::new());
    ticks(&mut sim, 3);
    assert_eq!((sim.state().stable, sim.state().rollout.is_none()), (Some(1), true));
}

#[test]
fn the_history_says_what_came_when_why_and_what_became_of_it() {
    let mut sim = Sim::new(1, RolloutSpec::default());
    for index in 0..15 {
        sim.world.spec("a").cause = Some(format!("change {index}"));
        sim.declare(if index % 2 == 0 { "v2" } else { "v3" }, Program::Good(1));
        assert!(sim.settles_on(if index % 2 == 0 { "v2" } else { "v3" }, 60));
    }
    let last = sim.state().revisions.last().unwrap();
    assert_eq!((last.number, last.cause.as_str(), last.outcome), (16, "change 14", Outcome::Succeeded));
    assert!(sim.state().revisions.len() <= sos_control::HISTORY_LIMIT);
}

#[test]
fn a_job_starts_as_the_present_revision_and_nothing_of_it_is_rolled() {
    let envelope = PowerEnvelope {
        steps: vec![EnvelopeStep { start: at(0), max_power: Power::kw(2.0), reason: "cheap".into() }],
    };
    let order = BatchOrder {
        run: "night".into(),
        deadline: at(10_000),
        remaining: Energy::kwh(1.0),
        min_power: Power::kw(1.0),
        interruptible: true,
        envelope,
    };
    let mut world = World::new([("job", service(1, &[]))]);
    world.spec("job").kind = ServiceKind::Batch { order: Some(order) };
    world.step();
    world.spec("job").description_hash = "b".into();
    assert_eq!(verbs(&world.step()), Vec::<String>::new(), "the run goes on as it began");
    world.end("job-0", Exit::Code(1));
    let plan = world.step();
    let Action::Deploy { revision, description_hash, .. } = &plan.actions[0] else { panic!("{plan:?}") };
    assert_eq!((*revision, description_hash.as_str()), (2, "b"));
    let now = world.now.wall;
    let state = world.observed.rollouts.get_mut("job").unwrap();
    state.obey(&RolloutOrder::Undo { to: None }, "ann", &|_| true, now).unwrap();
    world.spec("job").stored = ["a".to_owned()].into();
    world.end("job-0", Exit::Code(1));
    let plan = world.step();
    assert!(matches!(&plan.actions[0], Action::Deploy { revision: 1, .. }), "{plan:?}");
}

#[test]
fn nothing_is_left_of_a_service_that_was_removed_in_the_middle() {
    let mut sim = Sim::new(3, RolloutSpec::default());
    sim.declare("v2", Program::Good(1));
    ticks(&mut sim, 3);
    let mut world = sim.world.clone();
    sim.remove();
    world.desired = sim.world.desired.clone();
    for _ in 0..10 {
        world.wait(1);
        world.step();
        let stopping: Vec<_> = world.observed.replicas.keys().cloned().collect();
        stopping.iter().for_each(|id| world.end(id, Exit::Signal(15)));
    }
    assert!(world.observed.replicas.is_empty());
}
