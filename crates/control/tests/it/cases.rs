//! One behaviour per test.

use jiff::SignedDuration;
use sos_control::{
    BatchOrder, Exit, ProbeKind, ProbeSpec, Probes, ReplicaPhase, RestartPolicy, ServiceKind, ServicePhase,
};
use sos_units::{Energy, EnvelopeStep, Power, PowerEnvelope};

use crate::world::{World, at, readiness, service, verbs};

const NONE: [&str; 0] = [];

#[test]
fn a_dependent_starts_when_what_it_needs_is_ready_and_says_so_until_then() {
    let mut world = World::new([("db", service(1, &[])), ("app", service(2, &["db"]))]);
    world.spec("db").probes = readiness();
    assert_eq!(verbs(&world.step()), ["deploy db-0"]);
    let plan = world.step();
    assert_eq!(verbs(&plan), NONE);
    assert_eq!(plan.statuses["app"].phase, ServicePhase::Waiting);
    assert_eq!(plan.statuses["app"].conditions[0].message, "waits for db, which is not ready");
    world.ready("db-0", true, 1);
    assert_eq!(verbs(&world.step()), ["deploy app-0", "deploy app-1"]);
}

#[test]
fn a_dependency_that_fails_leaves_running_dependents_alone_and_holds_back_new_ones() {
    let mut world = World::new([("db", service(1, &[])), ("app", service(2, &["db"]))]);
    world.step();
    world.step();
    world.end("db-0", Exit::Code(1));
    world.end("app-1", Exit::Code(1));
    world.wait(1);
    assert_eq!(verbs(&world.plan()), ["deploy db-0"], "app-1 waits, app-0 goes on");
    world.step();
    assert_eq!(verbs(&world.step()), ["deploy app-1"]);
}

#[test]
fn services_stop_in_the_reverse_order_of_their_start_even_when_no_longer_declared() {
    let mut world =
        World::new([("a", service(1, &[])), ("b", service(1, &["a"])), ("c", service(1, &["b"]))]);
    for _ in 0..3 {
        world.step();
    }
    world.desired.services.clear();
    for id in ["c-0", "b-0", "a-0"] {
        let stops: Vec<_> =
            verbs(&world.step()).into_iter().filter(|verb| verb.starts_with("stop")).collect();
        assert_eq!(stops, [format!("stop {id} not-wanted")]);
        assert_eq!(verbs(&world.step()), NONE);
        world.end(id, Exit::Signal(15));
        let plan = world.plan();
        assert!(verbs(&plan).contains(&format!("forget {id}")), "{plan:?}");
    }
}

#[test]
fn services_that_depend_on_each_other_in_a_circle_still_stop() {
    let mut world = World::new([("a", service(1, &[])), ("b", service(1, &["a"]))]);
    world.step();
    world.step();
    world.replica("a-0").depends_on = vec!["b".into()];
    world.desired.services.clear();
    assert_eq!(verbs(&world.step()), ["stop a-0 not-wanted", "stop b-0 not-wanted"]);
}

#[test]
fn a_replica_that_does_not_stop_in_time_is_killed_once() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.step();
    world.spec("a").suspended = true;
    world.step();
    world.wait(9);
    let plan = world.plan();
    assert_eq!((verbs(&plan), plan.next_check), (vec![], Some(at(10))));
    world.wait(1);
    assert_eq!(verbs(&world.plan()), ["kill a-0"]);
    if let ReplicaPhase::Stopping { killed, .. } = &mut world.replica("a-0").phase {
        *killed = true;
    }
    assert_eq!(verbs(&world.plan()), NONE);
}

#[test]
fn crashes_restart_at_once_then_after_doubling_waits_and_a_long_run_starts_the_count_anew() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.step();
    let mut waits = vec![];
    for _ in 0..5 {
        world.end("a-0", Exit::Code(1));
        let from = world.now.wall;
        while world.plan().actions.is_empty() {
            world.now.wall = world.plan().next_check.unwrap();
        }
        waits.push(world.now.wall.duration_since(from).as_secs());
        world.step();
    }
    assert_eq!(waits, [0, 1, 2, 4, 8]);
    world.wait(601);
    world.end("a-0", Exit::Code(1));
    assert_eq!(verbs(&world.plan()), ["deploy a-0"]);
    assert_eq!(world.plan().statuses["a"].restarts, 5);
    world.replica("a-0").older_restarts = 100;
    assert_eq!(world.plan().statuses["a"].restarts, 105, "runs that are no longer listed count too");
}

#[test]
fn a_new_description_clears_the_back_off() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.step();
    for _ in 0..6 {
        world.end("a-0", Exit::Code(1));
        world.wait(300);
        world.step();
    }
    world.end("a-0", Exit::Code(1));
    assert_eq!(world.plan().statuses["a"].phase, ServicePhase::BackOff);
    world.spec("a").description_hash = "b".into();
    assert_eq!(verbs(&world.plan()), ["deploy a-0"]);
}

#[test]
fn policies_decide_which_ends_are_followed_by_a_start() {
    for (policy, exit, restarts) in [
        (RestartPolicy::Always, Exit::Code(0), true),
        (RestartPolicy::OnFailure, Exit::Code(0), false),
        (RestartPolicy::OnFailure, Exit::Unknown, true),
        (RestartPolicy::OnFailure, Exit::OutOfMemory, true),
        (RestartPolicy::Never, Exit::Code(1), false),
    ] {
        let mut world = World::new([("a", service(1, &[]))]);
        world.spec("a").restart.policy = policy;
        world.step();
        world.end("a-0", exit.clone());
        assert_eq!(!world.plan().actions.is_empty(), restarts, "{policy:?} {exit:?}");
    }
}

#[test]
fn a_new_description_rolls_one_replica_at_a_time_and_keeps_the_others_ready() {
    let mut world = World::new([("a", service(3, &[]))]);
    world.spec("a").probes = readiness();
    world.step();
    (0..3).for_each(|n| world.ready(&format!("a-{n}"), true, 1));
    world.spec("a").generation = 2;
    world.spec("a").description_hash = "b".into();
    for id in ["a-0", "a-1", "a-2"] {
        assert_eq!(verbs(&world.step()), [format!("stop {id} roll")]);
        assert_eq!(verbs(&world.step()), NONE);
        world.end(id, Exit::Signal(15));
        assert_eq!(verbs(&world.step()), [format!("deploy {id}")]);
        assert_eq!(verbs(&world.step()), NONE, "the next one waits until this one is ready");
        let status = &world.plan().statuses["a"];
        assert!(!status.ready_replicas.contains(&id.to_owned()), "{id} is not ready before it answers");
        assert_eq!(status.ready, 2);
        world.ready(id, true, 1);
    }
    assert_eq!(world.plan().statuses["a"].phase, ServicePhase::Running);
    assert_eq!(world.plan().statuses["a"].restarts, 0, "a roll is no restart");
}

#[test]
fn a_generation_with_the_same_description_is_adopted_without_a_restart() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.step();
    world.spec("a").generation = 2;
    assert_eq!(verbs(&world.step()), ["adopt a-0"]);
    assert_eq!(verbs(&world.step()), NONE);
}

#[test]
fn failed_liveness_stops_the_replica_gracefully_and_counts_as_a_failure() {
    let mut world = World::new([("a", service(1, &[]))]);
    let probe = ProbeSpec::default();
    world.spec("a").probes = Probes { liveness: Some(probe), ..Probes::default() };
    world.step();
    for run in 0..2 {
        (0..3).for_each(|_| world.replica("a-0").probes.liveness.record(&probe, false, "no answer"));
        let plan = world.step();
        assert_eq!(verbs(&plan), ["stop a-0 unhealthy"]);
        assert!(plan.because[0].contains("no answer"), "{:?}", plan.because);
        world.end("a-0", Exit::Code(0));
        assert_eq!(verbs(&world.step()).len(), 1 - run, "the second failure waits");
    }
}

#[test]
fn probes_are_due_in_their_period_and_not_while_one_is_in_flight() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.spec("a").probes = readiness();
    world.step();
    let due = world.plan().probes;
    assert_eq!((due.len(), due[0].kind), (1, ProbeKind::Readiness));
    let now = world.now.wall;
    world.replica("a-0").probes.readiness.begin(now);
    assert!(world.plan().probes.is_empty());
    world.ready("a-0", false, 1);
    let plan = world.plan();
    assert_eq!((plan.probes.len(), plan.next_check), (0, Some(at(10))));
    world.wait(10);
    assert_eq!(world.plan().probes.len(), 1);
}

#[test]
fn an_external_service_is_probed_and_never_started() {
    let mut world = World::new([("grid", service(0, &[])), ("app", service(1, &["grid"]))]);
    world.spec("grid").kind = ServiceKind::External;
    world.spec("grid").probes = readiness();
    let plan = world.step();
    assert_eq!((verbs(&plan), plan.probes.len()), (vec![], 1));
    world.observed.external.entry("grid".into()).or_default().record(&ProbeSpec::default(), true, "");
    assert_eq!(verbs(&world.step()), ["deploy app-0"]);
}

fn envelope(steps: &[(i64, f64)]) -> PowerEnvelope {
    let step = |&(start, kw): &(i64, f64)| EnvelopeStep {
        start: at(start),
        max_power: Power::kw(kw),
        reason: if kw > 0.0 { "cheap hour" } else { "evening peak" }.into(),
    };
    PowerEnvelope { steps: steps.iter().map(step).collect() }
}

fn batch(interruptible: bool, steps: &[(i64, f64)]) -> World {
    let mut world = World::new([("job", service(1, &[]))]);
    world.spec("job").restart.policy = RestartPolicy::OnFailure;
    world.spec("job").kind = ServiceKind::Batch {
        order: Some(BatchOrder {
            run: "night-1".into(),
            deadline: at(10_000),
            remaining: Energy::kwh(4.0),
            min_power: Power::kw(1.0),
            interruptible,
            envelope: envelope(steps),
        }),
    };
    world
}

#[test]
fn a_batch_job_runs_only_when_the_plan_gives_it_power() {
    let mut world = batch(true, &[(0, 0.0), (100, 2.0), (200, 0.0), (300, 2.0)]);
    let plan = world.step();
    assert_eq!((verbs(&plan), plan.next_site_check), (vec![], Some(at(100))));
    assert_eq!(plan.statuses["job"].conditions[0].message, "evening peak");
    world.wait(100);
    assert_eq!(verbs(&world.step()), ["deploy job-0"]);
    world.wait(100);
    assert_eq!(verbs(&world.step()), ["stop job-0 paused"]);
    world.end("job-0", Exit::Code(0));
    assert_eq!(verbs(&world.plan()), NONE, "a pause that exits with 0 is not complete");
    world.wait(100);
    assert_eq!(verbs(&world.step()), ["deploy job-0"]);
    world.end("job-0", Exit::Code(0));
    let plan = world.plan();
    assert_eq!((verbs(&plan), plan.statuses["job"].phase), (vec![], ServicePhase::Completed));
}

#[test]
fn a_batch_job_that_may_not_be_interrupted_goes_on_without_power() {
    let mut world = batch(false, &[(0, 2.0), (100, 0.0)]);
    world.step();
    world.wait(100);
    assert_eq!(verbs(&world.plan()), NONE);
}

#[test]
fn no_order_and_no_envelope_mean_do_not_run() {
    let mut world = batch(true, &[]);
    assert_eq!(verbs(&world.plan()), NONE);
    world.spec("job").kind = ServiceKind::Batch { order: None };
    assert_eq!(verbs(&world.plan()), NONE);
}

#[test]
fn a_failed_run_starts_again_with_what_remains_and_a_missed_deadline_ends_it() {
    let mut world = batch(true, &[(0, 2.0)]);
    world.step();
    world.end("job-0", Exit::Code(1));
    if let ServiceKind::Batch { order: Some(order) } = &mut world.spec("job").kind {
        order.remaining = Energy::kwh(1.5);
    }
    let plan = world.step();
    assert_eq!(verbs(&plan), ["deploy job-0"]);
    assert!(format!("{:?}", plan.actions[0]).contains("Energy(1.5)"));
    world.wait(10_000);
    assert_eq!(verbs(&world.step()), ["stop job-0 deadline"]);
    world.end("job-0", Exit::Signal(15));
    let plan = world.plan();
    assert_eq!((verbs(&plan), plan.statuses["job"].phase), (vec![], ServicePhase::Failed));
    assert_eq!(plan.statuses["job"].conditions[1].reason, "DeadlineMissed");
}

#[test]
fn a_complete_run_is_not_repeated_but_the_next_one_is_done() {
    let mut world = batch(true, &[(0, 2.0)]);
    world.step();
    world.end("job-0", Exit::Code(0));
    world.wait(50);
    assert_eq!(verbs(&world.step()), NONE);
    if let ServiceKind::Batch { order: Some(order) } = &mut world.spec("job").kind {
        order.run = "night-2".into();
        order.deadline = at(90_000) + SignedDuration::from_secs(1);
    }
    assert_eq!(verbs(&world.step()), ["deploy job-0"]);
}

#[test]
fn many_services_and_many_replicas_are_planned_in_order() {
    let mut world = World::new([("a", service(1000, &[]))]);
    let plan = world.step();
    assert_eq!(plan.actions.len(), 1000);
    assert_eq!(verbs(&plan)[999], "deploy a-999");
    world.spec("a").replicas = 998;
    assert_eq!(verbs(&world.step()), ["stop a-998 not-wanted", "stop a-999 not-wanted"]);
}
