//! What is done, and told, when something is wrong.

use jiff::SignedDuration;
use sos_control::{
    Condition, Exit, Outcome, ProbeSpec, Probes, Problem, QUARANTINE_AFTER, QUARANTINE_WAIT, Refusal,
    RolloutOrder, RolloutSpec, ServicePhase, Truth,
};

use crate::sim::{Fault, Program, Sim};
use crate::world::{World, at, readiness, service, verbs};

fn healthy(world: &World, name: &str) -> Condition {
    let conditions = world.plan().statuses[name].conditions.clone();
    conditions.into_iter().find(|condition| condition.kind == "Healthy").unwrap()
}

fn refusal(world: &World, problem: Problem, times: u32) -> Refusal {
    Refusal {
        service: "a".into(),
        description_hash: world.desired.services["a"].description_hash.clone(),
        problem,
        message: "port 8080 is in use".into(),
        at: world.now.wall,
        times,
    }
}

/// Ends `a-0` as soon as it runs, until it failed `times` times.
fn crash(world: &mut World, times: u32) {
    for _ in 0..times {
        while world.step().actions.is_empty() {
            world.now.wall = world.plan().next_check.unwrap();
        }
        world.end("a-0", Exit::Code(1));
    }
}

#[test]
fn a_crash_loop_is_quarantined_with_its_last_lines_and_tried_again_seldom() {
    let mut world = World::new([("a", service(1, &[])), ("b", service(1, &[]))]);
    world.observed.last_lines.insert("a-0".into(), (0..50).map(|n| format!("line {n}")).collect());
    crash(&mut world, QUARANTINE_AFTER - 1);
    assert_eq!(healthy(&world, "a").reason, "Failing");
    crash(&mut world, 1);
    let condition = healthy(&world, "a");
    assert_eq!((condition.status, condition.reason.as_str()), (Truth::False, "CrashLoop"));
    assert!(condition.message.contains("10 times in a row"), "{}", condition.message);
    assert!(condition.message.contains("last lines: line 40 | "), "{}", condition.message);
    let due = world.now.wall + QUARANTINE_WAIT;
    world.now.wall = due - SignedDuration::from_secs(1);
    assert_eq!((verbs(&world.plan()).len(), world.plan().next_check), (0, Some(due)));
    world.now.wall = due;
    assert_eq!(verbs(&world.step()), ["deploy a-0"]);
    assert_eq!(world.plan().statuses["b"].phase, ServicePhase::Running, "others go on");
}

#[test]
fn a_retry_ends_the_quarantine() {
    let mut world = World::new([("a", service(1, &[]))]);
    crash(&mut world, QUARANTINE_AFTER);
    assert_eq!(world.plan().statuses["a"].phase, ServicePhase::BackOff);
    let now = world.now.wall;
    let state = world.observed.rollouts.get_mut("a").unwrap();
    state.obey(&RolloutOrder::Retry, "ann", &|_| true, now).unwrap();
    assert_eq!(verbs(&world.step()), ["deploy a-0"]);
}

#[test]
fn a_deployment_that_could_not_be_made_waits_is_explained_and_holds_up_nobody_else() {
    let mut world = World::new([("a", service(1, &[])), ("b", service(1, &[]))]);
    world.wait(100);
    world.observed.refusals.insert("a-0".into(), refusal(&world, Problem::PortTaken, 3));
    let plan = world.step();
    assert_eq!((verbs(&plan), plan.next_check), (vec!["deploy b-0".to_owned()], Some(at(104))));
    let condition = healthy(&world, "a");
    assert_eq!(condition.reason, "PortTaken");
    assert_eq!(
        condition.message,
        "a-0 could not be deployed, tried 3 times: port 8080 is in use; \
         stop the program that has the port, or leave the number out to get a free one"
    );
    world.wait(4);
    assert_eq!(verbs(&world.plan()), ["deploy a-0"]);
}

#[test]
fn a_hung_replica_is_stopped_and_told_as_hung_while_it_waits() {
    let mut world = World::new([("a", service(1, &[]))]);
    let probe = ProbeSpec::default();
    world.spec("a").probes = Probes { liveness: Some(probe), ..Probes::default() };
    for _ in 0..2 {
        world.step();
        (0..3).for_each(|_| world.replica("a-0").probes.liveness.record(&probe, false, "no answer in 1 s"));
        assert_eq!(verbs(&world.step()), ["stop a-0 unhealthy"]);
        assert_eq!(verbs(&world.step()), Vec::<String>::new(), "its place is not filled before it is gone");
        world.end("a-0", Exit::Signal(9));
    }
    let condition = healthy(&world, "a");
    assert_eq!((condition.status, condition.reason.as_str()), (Truth::False, "Hung"));
}

#[test]
fn a_probe_that_never_succeeded_is_told_apart_from_one_that_fails_now() {
    let mut world = World::new([("a", service(1, &[]))]);
    world.spec("a").probes = readiness();
    world.step();
    assert_eq!(healthy(&world, "a").status, Truth::True, "it is not known yet");
    world.ready("a-0", false, 3);
    let never = healthy(&world, "a");
    assert_eq!(never.reason, "NeverReady");
    assert!(
        never.message.starts_with("readiness probe of a-0 fails: said so; check port"),
        "{}",
        never.message
    );
    world.ready("a-0", true, 1);
    assert_eq!(healthy(&world, "a").status, Truth::True);
    world.ready("a-0", false, 3);
    assert_eq!(healthy(&world, "a").reason, "NotReady");
}

#[test]
fn a_missing_image_gives_a_revision_up_and_a_full_disk_does_not() {
    for (problem, given_up) in [(Problem::ImageMissing, true), (Problem::DiskFull, false)] {
        let mut sim = Sim::new(2, RolloutSpec::default());
        sim.declare("v2", Program::Good(1));
        for times in 1..=5 {
            let mut refusal = refusal(&sim.world, problem, times);
            refusal.at += SignedDuration::from_secs(1);
            sim.world.observed.refusals.insert("a-2".into(), refusal);
            sim.tick(Fault::None);
        }
        let outcome = sim.state().of_hash("v2").unwrap().outcome;
        assert_eq!(outcome == Outcome::RolledBack, given_up, "{problem:?}");
        assert_eq!(sim.available("v1"), 2);
    }
}

#[test]
fn when_a_dependency_is_down_its_users_go_on_and_those_that_end_wait_for_it() {
    let mut world = World::new([("db", service(1, &[])), ("app", service(3, &["db"]))]);
    world.spec("db").probes = readiness();
    world.step();
    world.ready("db-0", true, 1);
    world.step();
    world.end("db-0", Exit::Code(1));
    world.step();
    (0..3).for_each(|n| world.end(&format!("app-{n}"), Exit::Code(1)));
    let mut starts = 0;
    for _ in 0..600 {
        world.wait(1);
        starts += world.step().actions.len();
    }
    assert_eq!(starts, 0, "no storm");
    let plan = world.plan();
    assert_eq!(plan.statuses["app"].conditions[0].message, "waits for db, which is not ready");
    world.ready("db-0", true, 1);
    assert_eq!(verbs(&world.step()), ["deploy app-0", "deploy app-1", "deploy app-2"]);
}
