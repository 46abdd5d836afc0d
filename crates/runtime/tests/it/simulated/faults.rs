//! Each kind of fault.

use sos_runtime::{AnyDriver, Driver, DriverError, Exit, HealthStatus, Limits, Phase};

use super::{Rig, at, seconds};

fn exited(exit: Exit, end: f64) -> Phase {
    Phase::Exited { exit, at: at(end), asked: None }
}

#[tokio::test]
async fn what_ends_a_replica_is_told_with_its_cause_and_time() {
    let kinds = [
        (r#""fault": "crash", "code": 3"#, Exit::Code(3)),
        (r#""fault": "signal", "signal": 11"#, Exit::Signal(11)),
        (r#""fault": "out-of-memory""#, Exit::OutOfMemory),
    ];
    for (kind, exit) in kinds {
        let rig = Rig::new(&format!(r#"{{"after": "5s", "replica": "web-0", {kind}}}"#)).await;
        for replica in ["web-0", "web-1"] {
            rig.deploy(replica, 0.0).await.unwrap();
        }
        assert_eq!(rig.phase("web-0", 4.9).await, Phase::Running);
        assert_eq!(rig.phase("web-0", 9.0).await, exited(exit.clone(), 5.0));
        assert_eq!(rig.phase("web-1", 9.0).await, Phase::Running);
        rig.deploy("web-0", 9.0).await.unwrap();
        let state = rig.look("web-0", 60.0).await.unwrap();
        assert_eq!((state.phase, &state.past_runs[0].exit), (Phase::Running, &exit));
    }
}

#[tokio::test]
async fn a_fault_hits_one_replica_a_service_or_all() {
    let cases = [
        (r#""replica": "web-1","#, [false, true, false, false]),
        (r#""service": "web","#, [true, true, false, false]),
        ("", [true; 4]),
    ];
    for (target, hit) in cases {
        let rig = Rig::new(&format!(r#"{{"after": "5s", {target} "fault": "out-of-memory"}}"#)).await;
        let replicas = ["web-0", "web-1", "web-b-0", "api-0"];
        for replica in replicas {
            rig.deploy(replica, 0.0).await.unwrap();
        }
        for (replica, hit) in replicas.into_iter().zip(hit) {
            assert_eq!(rig.phase(replica, 5.0).await != Phase::Running, hit, "{target} {replica}");
        }
    }
}

#[tokio::test]
async fn starts_fail_for_a_while_with_the_reason() {
    let fault = r#"{"after": "5s", "service": "web", "fault": "not-started", "for": "3s", "reason": "the rack is dark"}"#;
    let rig = Rig::new(fault).await;
    rig.deploy("web-0", 4.9).await.unwrap();
    let error = rig.deploy("web-1", 5.0).await.unwrap_err();
    assert!(
        matches!(error, DriverError::Start { .. }) && error.full().contains("the rack is dark"),
        "{error}"
    );
    let phase = rig.phase("web-1", 7.0).await;
    assert!(
        matches!(&phase, Phase::Exited { exit: Exit::NotStarted(why), .. } if why.contains("dark")),
        "{phase:?}"
    );
    rig.deploy("api-0", 7.0).await.unwrap();
    rig.deploy("web-1", 8.0).await.unwrap();
    for replica in ["web-0", "web-1", "api-0"] {
        assert_eq!(rig.phase(replica, 8.0).await, Phase::Running);
    }
}

#[tokio::test]
async fn starts_take_longer_for_a_while() {
    let declared = r#"
        {"service": "web", "conduct": {"startAfter": "1s"}}
        {"after": "5s", "fault": "slow-start", "by": "10s", "for": "3s"}
    "#;
    let rig = Rig::new(declared).await;
    rig.deploy("web-0", 7.9).await.unwrap();
    rig.deploy("web-1", 8.0).await.unwrap();
    assert_eq!(rig.health("web-0", 8.0).await, HealthStatus::Starting);
    assert_eq!(rig.phase("web-1", 9.0).await, Phase::Running);
    assert_eq!(rig.phase("web-0", 18.8).await, Phase::Starting);
    assert_eq!(rig.phase("web-0", 18.9).await, Phase::Running);
}

#[tokio::test]
async fn a_hung_replica_is_unhealthy_until_the_fault_is_over_or_it_ends() {
    let declared = r#"
        {"after": "5s", "replica": "web-0", "fault": "hung", "for": "3s"}
        {"after": "5s", "replica": "web-1", "fault": "hung"}
    "#;
    let rig = Rig::new(declared).await;
    let any = AnyDriver::Simulated(rig.driver.clone());
    for replica in ["web-0", "web-1"] {
        rig.deploy(replica, 0.0).await.unwrap();
        assert_eq!(rig.health(replica, 4.9).await, HealthStatus::Healthy);
        assert!(any.probe(replica, &[], std::time::Duration::ZERO).await.success);
        assert!(!rig.driver.probe("nobody-0").success);
    }
    for replica in ["web-0", "web-1"] {
        assert_eq!(rig.health(replica, 5.0).await, HealthStatus::Unhealthy);
        let outcome = any.probe(replica, &[], std::time::Duration::ZERO).await;
        assert!(!outcome.success && outcome.message.contains("hung"), "{outcome:?}");
    }
    assert_eq!(rig.health("web-0", 8.0).await, HealthStatus::Healthy);
    let rig = rig.again(100.0).await;
    assert_eq!(rig.health("web-1", 100.0).await, HealthStatus::Unhealthy);
    rig.stop("web-1", 100.0).await.unwrap();
    rig.deploy("web-1", 101.0).await.unwrap();
    assert_eq!(rig.health("web-1", 101.0).await, HealthStatus::Healthy);
}

#[tokio::test]
async fn only_a_kill_ends_a_deaf_replica() {
    let declared = r#"
        {"service": "slow", "conduct": {"stopsIn": "10s"}}
        {"after": "5s", "fault": "deaf"}
    "#;
    let rig = Rig::new(declared).await;
    for replica in ["web-0", "slow-0"] {
        rig.deploy(replica, 0.0).await.unwrap();
    }
    // One is asked before it becomes deaf, one after that.
    for (replica, since) in [("slow-0", 4.0), ("web-0", 6.0)] {
        rig.stop(replica, since).await.unwrap();
    }
    for (replica, since) in [("slow-0", 4.0), ("web-0", 6.0)] {
        let (grace, cause) = (seconds(5.0), "roll".to_owned());
        assert_eq!(
            rig.phase(replica, 1000.0).await,
            Phase::Stopping { since: at(since), grace, cause, killed: false }
        );
        rig.driver.kill(replica, at(1000.0)).await.unwrap();
        let asked = Some("roll".to_owned());
        assert_eq!(
            rig.phase(replica, 1000.0).await,
            Phase::Exited { exit: Exit::Signal(9), at: at(1000.0), asked }
        );
    }
}

#[tokio::test]
async fn a_runtime_that_is_away_answers_nothing_and_does_nothing() {
    let declared = r#"
        {"after": "5s", "fault": "away", "for": "3s"}
        {"after": "6s", "replica": "web-1", "fault": "crash", "code": 1}
    "#;
    let rig = Rig::new(declared).await;
    for replica in ["web-0", "web-1"] {
        rig.deploy(replica, 0.0).await.unwrap();
    }
    let away = |error: DriverError| {
        assert!(matches!(error, DriverError::SimulatedAway { .. }), "{error:?}");
        assert!(error.to_string().contains("until 2026-01-01T00:00:08Z"), "{error}");
    };
    away(rig.driver.observe(at(5.0)).await.unwrap_err());
    away(rig.stop("web-0", 5.0).await.unwrap_err());
    away(rig.driver.kill("web-0", at(6.0)).await.unwrap_err());
    away(rig.deploy("web-2", 7.0).await.unwrap_err());
    away(rig.driver.forget("web-0").await.unwrap_err());
    away(rig.driver.adopt("web-0", 9).await.unwrap_err());
    away(rig.driver.set_limits("web-0", &Limits::default()).await.unwrap_err());
    assert!(!rig.driver.probe("web-0").success);
    let state = rig.look("web-0", 8.0).await.unwrap();
    assert_eq!((state.phase, state.deployment.generation), (Phase::Running, 1));
    assert_eq!(rig.phase("web-1", 8.0).await, exited(Exit::Code(1), 6.0), "it ended meanwhile");
    assert_eq!(rig.look("web-2", 8.0).await, None);
}

#[tokio::test]
async fn a_recovery_waits_for_a_runtime_that_is_away() {
    let rig = Rig::new("").await;
    rig.deploy("web-0", 0.0).await.unwrap();
    let Rig { dir, .. } = rig;
    std::fs::write(dir.path().join("simulated.jsonl"), r#"{"after": "0s", "fault": "away", "for": "3s"}"#)
        .unwrap();
    let driver =
        sos_runtime::SimulatedDriver::new(sos_runtime::SimulatedOptions::from_dir(dir.path()).unwrap())
            .unwrap();
    for now in [10.0, 12.9] {
        let error = driver.recover(at(now)).await.unwrap_err();
        assert!(matches!(error, DriverError::SimulatedAway { .. }), "{error:?}");
    }
    assert_eq!(driver.recover(at(13.0)).await.unwrap().adopted, ["web-0"]);
}

#[tokio::test]
async fn a_lost_replica_is_not_known_any_more() {
    let rig = Rig::new(r#"{"after": "5s", "replica": "web-0", "fault": "lost"}"#).await;
    let old = rig.deploy("web-0", 0.0).await.unwrap();
    assert_eq!(rig.look("web-0", 5.0).await, None);
    rig.driver.forget("web-0").await.unwrap();
    let new = rig.deploy("web-0", 5.0).await.unwrap();
    assert_ne!(old.id, new.id);
    let state = rig.look("web-0", 60.0).await.unwrap();
    assert_eq!((state.phase, state.past_runs.len()), (Phase::Running, 0));
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_has_done_its_work() {
    let fault = r#"{"after": "SECONDSs", "service": "web", "fault": "unanswered"}"#;
    let faults: Vec<_> = (1..=6).map(|second| fault.replace("SECONDS", &second.to_string())).collect();
    let rig = Rig::new(&faults.join("\n")).await;
    let lost = |error: DriverError| {
        assert!(matches!(error, DriverError::SimulatedAway { .. }), "{error:?}");
        assert!(error.to_string().contains("web-0 is lost"), "{error}");
    };
    lost(rig.deploy("web-0", 1.0).await.unwrap_err());
    let handle = rig.look("web-0", 1.5).await.unwrap().handle.unwrap();
    assert_eq!(rig.deploy("web-0", 1.5).await.unwrap(), handle, "the answer is lost once");
    rig.look("web-0", 2.0).await.unwrap();
    lost(rig.driver.adopt("web-0", 5).await.unwrap_err());
    let limits = Limits { cpu_millis: Some(500), memory_bytes: None };
    rig.look("web-0", 3.0).await.unwrap();
    lost(rig.driver.set_limits("web-0", &limits).await.unwrap_err());
    let deployment = rig.look("web-0", 3.5).await.unwrap().deployment;
    assert_eq!((deployment.generation, deployment.limits), (5, limits));
    lost(rig.stop("web-0", 4.0).await.unwrap_err());
    assert!(matches!(rig.phase("web-0", 4.5).await, Phase::Exited { exit: Exit::Code(0), .. }));
    rig.driver.adopt("web-0", 6).await.unwrap();
    lost(rig.driver.kill("web-0", at(5.0)).await.unwrap_err());
    rig.look("web-0", 6.0).await.unwrap();
    lost(rig.driver.forget("web-0").await.unwrap_err());
    assert_eq!(rig.look("web-0", 6.5).await, None);
    // One that came before a restart is over.
    let rig = rig.again(0.0).await;
    rig.deploy("web-0", 0.5).await.unwrap();
}
