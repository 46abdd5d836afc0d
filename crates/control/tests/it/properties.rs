//! What no plan may ever do, over random declarations and random observations.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;
use sos_control::{
    Action, BatchOrder, Desired, DesiredService, Exit, Now, Observed, ObservedReplica, PastRun, ProbeSpec,
    ReplicaPhase, ReplicaProbes, RestartPolicy, RestartSpec, ServiceKind, restart_delay,
};
use sos_units::{Energy, EnvelopeStep, Power, PowerEnvelope};

use crate::world::{STOP_CAUSES, World, at, readiness, service};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const NOW: i64 = 1_000;

fn kind() -> impl Strategy<Value = ServiceKind> {
    let order = (0..2_i64, 0.0..3.0_f64, any::<bool>()).prop_map(|(late, kw, interruptible)| BatchOrder {
        run: "r".into(),
        deadline: at(NOW - 1 + 100 * late),
        remaining: Energy::kwh(1.0),
        min_power: Power::kw(1.0),
        interruptible,
        envelope: PowerEnvelope {
            steps: vec![EnvelopeStep { start: at(0), max_power: Power::kw(kw), reason: "because".into() }],
        },
    });
    prop_oneof![
        6 => Just(ServiceKind::LongRunning),
        2 => proptest::option::of(order).prop_map(|order| ServiceKind::Batch { order }),
        1 => Just(ServiceKind::External),
    ]
}

fn declared() -> impl Strategy<Value = DesiredService> {
    let policy =
        prop_oneof![Just(RestartPolicy::Always), Just(RestartPolicy::OnFailure), Just(RestartPolicy::Never)];
    let names = proptest::sample::subsequence(&["a", "b", "c", "d", "missing"], 0..3);
    (kind(), 0..4_u32, names, 1..3_u64, "[xy]", any::<bool>(), policy, proptest::bool::weighted(0.2))
        .prop_map(|(kind, replicas, depends_on, generation, description_hash, probed, policy, suspended)| {
            DesiredService {
                kind,
                generation,
                description_hash,
                suspended,
                probes: if probed { readiness() } else { Default::default() },
                restart: RestartSpec { policy, ..RestartSpec::default() },
                ..service(replicas, &depends_on)
            }
        })
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![Just(Exit::Code(0)), Just(Exit::Code(1)), Just(Exit::Unknown), Just(Exit::OutOfMemory)]
}

fn phase() -> impl Strategy<Value = ReplicaPhase> {
    let cause = proptest::sample::select(&STOP_CAUSES[..]);
    let stopping = (990..=NOW, cause.clone(), any::<bool>()).prop_map(|(since, cause, killed)| {
        ReplicaPhase::Stopping { since: at(since), grace: SignedDuration::from_secs(5), cause, killed }
    });
    let exited = (exit(), 990..=NOW, proptest::option::of(cause))
        .prop_map(|(exit, second, asked)| ReplicaPhase::Exited { exit, at: at(second), asked });
    prop_oneof![
        1 => Just(ReplicaPhase::Starting),
        4 => Just(ReplicaPhase::Running),
        2 => stopping,
        3 => exited
    ]
}

fn past_run() -> impl Strategy<Value = PastRun> {
    (exit(), "[xy]", 0..900_i64).prop_map(|(exit, description_hash, length)| PastRun {
        started_at: at(0),
        ended_at: at(length),
        description_hash,
        run: Some("r".into()),
        exit,
        asked: None,
    })
}

fn replica() -> impl Strategy<Value = ObservedReplica> {
    let runs = proptest::collection::vec(past_run(), 0..5);
    let service = proptest::sample::select(&NAMES[..]);
    (service, 0..4_u32, phase(), 1..3_u64, "[xy]", any::<bool>(), any::<bool>(), runs).prop_map(
        |(service, ordinal, phase, generation, description_hash, has_run, ready, past_runs)| {
            let mut probes = ReplicaProbes::default();
            probes.readiness.record(&ProbeSpec { failure_threshold: 1, ..ProbeSpec::default() }, ready, "");
            ObservedReplica {
                service: service.into(),
                ordinal,
                generation,
                description_hash,
                run: has_run.then(|| "r".into()),
                depends_on: vec![],
                stop_timeout: SignedDuration::from_secs(5),
                started_at: at(900),
                phase,
                probes,
                past_runs,
                older_restarts: 0,
            }
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let services = proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), declared(), 0..5);
    let replicas = proptest::collection::vec(replica(), 0..8);
    (services, replicas).prop_map(|(services, replicas)| {
        let services: BTreeMap<_, _> =
            services.into_iter().map(|(name, spec)| (name.to_owned(), spec)).collect();
        let id = |replica: &ObservedReplica| sos_control::replica_id(&replica.service, replica.ordinal);
        World {
            desired: Desired { services },
            observed: Observed {
                replicas: replicas.into_iter().map(|replica| (id(&replica), replica)).collect(),
                ..Observed::default()
            },
            now: Now { wall: at(NOW), site: at(NOW) },
        }
    })
}

/// Ready by the plain reading of the declaration, written without the planner's own code.
fn is_ready(world: &World, name: &str) -> bool {
    let Some(spec) = world.desired.services.get(name).filter(|spec| !spec.suspended) else { return false };
    let mut mine = world.observed.replicas.values().filter(|replica| replica.service == name);
    match &spec.kind {
        ServiceKind::External => spec.probes.readiness.is_none(),
        ServiceKind::Batch { order } => order.is_some() && mine.any(|r| completed(r, "r")),
        ServiceKind::LongRunning => {
            let good = |r: &ObservedReplica| r.probes.readiness.verdict == Some(true);
            spec.replicas > 0
                && mine
                    .any(|r| r.phase == ReplicaPhase::Running && (spec.probes.readiness.is_none() || good(r)))
        }
    }
}

fn completed(replica: &ObservedReplica, run: &str) -> bool {
    let now = matches!(&replica.phase, ReplicaPhase::Exited { exit: Exit::Code(0), asked: None, .. });
    let past = |past: &PastRun| past.run.as_deref() == Some(run) && past.exit == Exit::Code(0);
    (now && replica.run.as_deref() == Some(run)) || replica.past_runs.iter().any(past)
}

fn live(world: &World, name: &str) -> u32 {
    let live = world.observed.replicas.values().filter(|r| r.service == name && r.is_live()).count();
    u32::try_from(live).unwrap()
}

fn declared_replicas(spec: &DesiredService) -> u32 {
    match spec.kind {
        ServiceKind::LongRunning => spec.replicas,
        ServiceKind::Batch { .. } => 1,
        ServiceKind::External => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_is_safe(world in world()) {
        let plan = world.plan();
        prop_assert_eq!(plan.actions.len(), plan.because.len());
        prop_assert!(plan.because.iter().all(|because| !because.is_empty()));
        let mut deployed: BTreeMap<&str, u32> = BTreeMap::new();
        for action in &plan.actions {
            let same = plan.actions.iter().filter(|other| other.replica() == action.replica()).count();
            prop_assert!(same == 1 || matches!(action, Action::Stop { .. } | Action::Adopt { .. }), "{plan:?}");
            if let Action::Deploy { service, replica, .. } = action {
                let spec = &world.desired.services[service];
                prop_assert!(!spec.suspended);
                for dependency in &spec.depends_on {
                    prop_assert!(is_ready(&world, dependency), "{replica} starts before {dependency} is ready");
                }
                prop_assert!(!world.observed.replicas.get(replica).is_some_and(ObservedReplica::is_live));
                *deployed.entry(service).or_default() += 1;
                prop_assert!(live(&world, service) + deployed[service.as_str()] <= declared_replicas(spec));
            }
        }
    }

    #[test]
    fn planned_again_after_performing_nothing_more_is_asked_for(mut world in world()) {
        // Performing may make a dependency ready, which lets dependents start; each wave must then be quiet for
        // what it did itself: no replica is touched twice without anything happening in between.
        let mut touched: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..40 {
            let plan = world.step();
            if plan.actions.is_empty() {
                return Ok(());
            }
            for action in &plan.actions {
                *touched.entry(action.replica().to_owned()).or_default() += 1;
            }
        }
        prop_assert!(false, "the plan never comes to rest: {touched:?}");
    }

    #[test]
    fn the_same_input_gives_the_same_plan(world in world()) {
        prop_assert_eq!(world.plan(), world.clone().plan());
    }

    #[test]
    fn without_declarations_everything_ends(mut world in world()) {
        world.desired.services.clear();
        for _ in 0..40 {
            world.step();
            let stopping: Vec<_> = world.observed.replicas.keys().cloned().collect();
            stopping.iter().filter(|id| {
                matches!(world.observed.replicas[*id].phase, ReplicaPhase::Stopping { .. })
            }).cloned().collect::<Vec<_>>().iter().for_each(|id| world.end(id, Exit::Signal(15)));
        }
        prop_assert!(world.observed.replicas.is_empty());
    }

    #[test]
    fn back_off_never_falls_and_never_exceeds_its_cap(
        initial in 0..100_000_i64, cap in 0..1_000_000_i64, failures in 0..200_u32,
    ) {
        let spec = RestartSpec {
            initial: SignedDuration::from_millis(initial),
            cap: SignedDuration::from_millis(cap),
            ..RestartSpec::default()
        };
        let (now, next) = (restart_delay(&spec, failures), restart_delay(&spec, failures + 1));
        prop_assert!(now <= next && next <= spec.cap);
    }

    #[test]
    fn a_program_that_always_fails_is_started_ever_more_rarely(seconds in 60..7_200_i64) {
        let mut world = World::new([("a", service(1, &[]))]);
        let mut starts = 0_u32;
        while world.now.wall < at(seconds) {
            starts += u32::try_from(world.step().actions.len()).unwrap();
            world.end("a-0", Exit::Code(1));
            if world.plan().actions.is_empty() {
                world.now.wall = world.plan().next_check.unwrap();
            }
        }
        // 2 at once, then waits of 1, 2, 4 … 256 s, then one every 5 minutes.
        let bound = 2 + 9 + u32::try_from(seconds / 300).unwrap() + 1;
        prop_assert!(starts <= bound, "{starts} starts in {seconds} s");
    }
}
