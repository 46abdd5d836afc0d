//! What the process driver promises beyond the contract of all drivers.

use std::fs;

use jiff::SignedDuration;
use sos_runtime::{
    DeployStep, Driver, Enforcement, EnvValue, EnvVar, Exit, Limits, LogRotation, MAX_PAST_RUNS, OlderRuns,
    Phase, PortRequest, ProcessDriver, ProcessOptions, SecretValues, conformance,
};

use crate::child;
use crate::rig::{Rig, clock, deploy, describe, exited, is_deaf, script, state, until};
use crate::skipped::skipped;

const SLEEP: &str = "exec sleep 1000";

#[tokio::test]
async fn it_conforms() {
    let rig = Rig::new();
    let open = || ProcessDriver::new(rig.options());
    conformance(open, |name, conduct| rig.shell(name, &script(conduct)), is_deaf, clock).await.unwrap();
}

#[tokio::test]
async fn it_conforms_without_control_groups() {
    let rig = Rig::new();
    let open = || ProcessDriver::new(ProcessOptions { control_groups: false, ..rig.options() });
    conformance(open, |name, conduct| rig.shell(name, &script(conduct)), is_deaf, clock).await.unwrap();
}

#[tokio::test]
async fn a_new_driver_adopts_what_runs_and_starts_nothing_twice() {
    let rig = Rig::new();
    let service = rig.shell("a", SLEEP);
    let handle = deploy(&rig.driver().await, &service).await.unwrap();
    let driver = ProcessDriver::new(rig.options()).unwrap();
    let report = driver.recover(clock()).await.unwrap();
    assert_eq!((report.adopted, report.orphans), (vec!["a-0".to_owned()], vec![]));
    assert_eq!(deploy(&driver, &service).await.unwrap(), handle);
    assert_eq!(rig.processes("a-0"), [handle.pid.unwrap()]);
    driver.stop("a-0", SignedDuration::from_secs(5), "roll", clock()).await.unwrap();
    assert!(
        matches!(exited(&driver, "a-0").await, Phase::Exited { asked: Some(cause), .. } if cause == "roll")
    );
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_start_leaves_at_most_one_copy() {
    for step in DeployStep::ALL {
        let rig = Rig::new();
        let service = rig.shell("a", SLEEP);
        let crashing = rig.interrupted(step);
        crashing.recover(clock()).await.unwrap();
        deploy(&crashing, &service).await.unwrap_err();
        drop(crashing);
        let started = rig.processes("a-0");
        assert_eq!(started.len(), usize::from(step == DeployStep::Launch), "{step:?}");
        let driver = rig.driver().await;
        let phase = state(&driver, "a-0").await.unwrap().phase;
        if step == DeployStep::Launch {
            assert_eq!(phase, Phase::Running, "it is adopted");
        } else {
            assert!(matches!(phase, Phase::Exited { exit: Exit::NotStarted(_), .. }), "{step:?} {phase:?}");
        }
        let handle = deploy(&driver, &service).await.unwrap();
        assert_eq!(rig.processes("a-0"), [handle.pid.unwrap()], "{step:?}");
        if step == DeployStep::Launch {
            assert_eq!(handle.pid, started.first().copied());
        }
    }
}

#[tokio::test]
async fn a_process_whose_record_was_lost_is_ended() {
    let rig = Rig::new();
    let service = rig.shell("a", SLEEP);
    let old = deploy(&rig.driver().await, &service).await.unwrap();
    fs::remove_file(rig.path().join("data/run/a-0.json")).unwrap();
    let driver = ProcessDriver::new(rig.options()).unwrap();
    let report = driver.recover(clock()).await.unwrap();
    assert_eq!(report.orphans, [format!("a-0 ({})", old.pid.unwrap())]);
    let new = deploy(&driver, &service).await.unwrap();
    until("one copy is left", async || (rig.processes("a-0") == [new.pid.unwrap()]).then_some(())).await;
}

#[tokio::test]
async fn rubbish_in_a_state_file_is_reported_and_set_aside() {
    for rubbish in ["", "{", "\0\u{1}\u{fffd}", "[]", r#"{"version":99}"#] {
        let rig = Rig::new();
        rig.driver().await;
        fs::write(rig.path().join("data/run/a-0.json"), rubbish).unwrap();
        let driver = ProcessDriver::new(rig.options()).unwrap();
        let report = driver.recover(clock()).await.unwrap();
        assert_eq!(report.unreadable.len(), 1, "{rubbish:?}");
        assert!(report.unreadable[0].contains("a-0.json"), "{report:?}");
        deploy(&driver, &rig.shell("a", SLEEP)).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_replica_started_goes_with_it() {
    let rig = Rig::new();
    let service = rig.shell("a", "sleep 1000 & echo $! > grandchild; wait");
    let driver = rig.driver().await;
    let handle = deploy(&driver, &service).await.unwrap();
    until("both run", async || (rig.processes("a-0").len() == 2).then_some(())).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(handle.pid.unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let phase = exited(&driver, "a-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Signal(9), asked: None, .. }), "{phase:?}");
    until("nothing is left", async || rig.processes("a-0").is_empty().then_some(())).await;
}

/// A driver in another process, so that the replica is not a child of the one that adopts it.
fn deploy_from_another_process(rig: &Rig, script: &str) {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "process::child_of_a_test_that_adopts"])
        .env("SOS_TEST_DATA", rig.path())
        .env("SOS_TEST_SCRIPT", script)
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

#[tokio::test]
#[ignore = "child: started by other tests"]
async fn child_of_a_test_that_adopts() {
    let Ok(path) = std::env::var("SOS_TEST_DATA") else { return };
    let driver = ProcessDriver::new(ProcessOptions::new(format!("{path}/data"))).unwrap();
    driver.recover(clock()).await.unwrap();
    let rig = Rig::new();
    let mut service = rig.shell("a", &std::env::var("SOS_TEST_SCRIPT").unwrap());
    service.workdir = path.into();
    deploy(&driver, &service).await.unwrap();
}

#[tokio::test]
async fn an_adopted_process_that_ends_is_unknown_unless_it_left_its_exit_code() {
    for (script, exit) in [
        ("until [ -e go ]; do sleep 0.01; done", Exit::Unknown),
        ("until [ -e go ]; do sleep 0.01; done; echo 0 > $SOS_EXIT_FILE", Exit::Code(0)),
    ] {
        let rig = Rig::new();
        deploy_from_another_process(&rig, script);
        let driver = ProcessDriver::new(rig.options()).unwrap();
        assert_eq!(driver.recover(clock()).await.unwrap().adopted, ["a-0"]);
        assert_eq!(state(&driver, "a-0").await.unwrap().phase, Phase::Running);
        fs::write(rig.path().join("go"), "").unwrap();
        let phase = exited(&driver, "a-0").await;
        assert!(matches!(&phase, Phase::Exited { exit: end, asked: None, .. } if *end == exit), "{phase:?}");
    }
}

#[tokio::test]
async fn a_process_of_an_earlier_boot_is_not_mistaken_for_a_living_one() {
    let rig = Rig::new();
    let service = rig.shell("a", SLEEP);
    let old = deploy(&rig.driver().await, &service).await.unwrap();
    let path = rig.path().join("data/run/a-0.json");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record =
        fs::read_to_string(&path).unwrap().replace(&format!("\"{}\"", boot.trim()), "\"another boot\"");
    assert!(record.contains("another boot"));
    fs::write(&path, record).unwrap();
    let driver = ProcessDriver::new(rig.options()).unwrap();
    let report = driver.recover(clock()).await.unwrap();
    assert_eq!(report.ended, ["a-0"]);
    let phase = exited(&driver, "a-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Unknown, .. }), "{phase:?}");
    until("the old copy is gone", async || (!rig.processes("a-0").contains(&old.pid.unwrap())).then_some(()))
        .await;
}

#[tokio::test]
async fn an_assigned_port_is_kept_over_restarts_and_a_port_in_use_is_a_clear_error() {
    let rig = Rig::new();
    let mut service = child::service(&rig, "web", "serve");
    service.ports = vec![PortRequest { name: "http".into(), port: None }];
    let driver = rig.driver().await;
    deploy(&driver, &service).await.unwrap();
    let port = state(&driver, "web-0").await.unwrap().deployment.ports["http"];
    driver.kill("web-0", clock()).await.unwrap();
    exited(&driver, "web-0").await;
    let driver = rig.driver().await;
    deploy(&driver, &service).await.unwrap();
    assert_eq!(state(&driver, "web-0").await.unwrap().deployment.ports["http"], port);

    let mut rival = child::service(&rig, "rival", "serve");
    rival.ports = vec![PortRequest { name: "http".into(), port: Some(port) }];
    let config = sos_runtime::load_configuration(&rival, 0, 1, None).unwrap();
    let message = driver.resolve(&config).await.unwrap_err().to_string();
    assert!(message.contains(&port.to_string()) && message.contains("web-0"), "{message}");
}

#[tokio::test]
async fn runs_that_are_too_old_to_be_listed_are_counted() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let mut service = rig.shell("old", "true");
    service.workdir = "/nonexistent/folder".into();
    for _ in 0..MAX_PAST_RUNS + 6 {
        assert!(deploy(&driver, &service).await.is_err());
    }
    let states = driver.observe(clock()).await.unwrap();
    assert_eq!(states[0].past_runs.len(), MAX_PAST_RUNS);
    assert_eq!(
        states[0].older_runs,
        OlderRuns { failed: 5, ..OlderRuns::default() },
        "the present run is not past"
    );
    let again = rig.driver().await.observe(clock()).await.unwrap();
    assert_eq!(again[0].older_runs.total(), 5, "kept across restarts of the controller");
}

#[tokio::test]
async fn a_memory_limit_ends_the_replica_and_is_told_apart() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let held = driver.capabilities().memory_limit;
    if held == Enforcement::AddressSpace {
        skipped("this machine lets no control group be made, so this end cannot be told apart");
        return;
    }
    let mut service = child::service(&rig, "eater", "eat");
    service.limits = Limits { memory_bytes: Some(64 << 20), cpu_millis: Some(500) };
    deploy(&driver, &service).await.unwrap();
    let limits = state(&driver, "eater-0").await.unwrap().limits;
    assert_eq!(limits.memory, held);
    let phase = exited(&driver, "eater-0").await;
    let Phase::Exited { exit, .. } = phase else { unreachable!() };
    assert_eq!(exit, Exit::OutOfMemory);
}

#[tokio::test]
async fn without_control_groups_the_address_space_is_limited_and_said_so() {
    let rig = Rig::new();
    let driver = ProcessDriver::new(ProcessOptions { control_groups: false, ..rig.options() }).unwrap();
    driver.recover(clock()).await.unwrap();
    let mut service = child::service(&rig, "eater", "eat");
    service.limits = Limits { memory_bytes: Some(256 << 20), cpu_millis: Some(500) };
    deploy(&driver, &service).await.unwrap();
    let limits = state(&driver, "eater-0").await.unwrap().limits;
    assert_eq!(limits.memory, Enforcement::AddressSpace);
    assert!(matches!(limits.cpu, Enforcement::NotEnforced(_)));
    let phase = exited(&driver, "eater-0").await;
    assert!(!matches!(phase, Phase::Exited { exit: Exit::Code(0), .. }), "{phase:?}");
}

#[tokio::test]
async fn a_processor_limit_slows_a_busy_replica() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    if !matches!(driver.capabilities().cpu_limit, Enforcement::CgroupV1 | Enforcement::CgroupV2) {
        skipped("this machine lets no control group be made");
        return;
    }
    let mut service = rig.shell("busy", "while :; do :; done");
    service.limits = Limits { memory_bytes: None, cpu_millis: Some(100) };
    deploy(&driver, &service).await.unwrap();
    let start = std::time::Instant::now();
    let used = until("it used 0.2 s", async || {
        let usage = state(&driver, "busy-0").await?.usage?;
        (usage.cpu_seconds > 0.2).then_some(usage)
    })
    .await;
    assert!(
        used.whole_group && start.elapsed().as_secs_f64() > 1.0,
        "0.2 s of work took {:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn limits_are_changed_while_it_runs_and_hold() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let can = driver.capabilities().in_place_limits;
    if !(can.cpu && can.memory) {
        skipped(&format!("limits cannot be changed in place here: {}", can.why_not.unwrap_or_default()));
        return;
    }
    let mut service = rig.shell("busy", "while :; do :; done");
    service.limits = Limits { memory_bytes: Some(64 << 20), cpu_millis: Some(20) };
    deploy(&driver, &service).await.unwrap();
    let pid = state(&driver, "busy-0").await.unwrap().handle.unwrap().pid;
    let refused =
        driver.set_limits("busy-0", &Limits { memory_bytes: Some(4096), cpu_millis: Some(20) }).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("busy-0") && message.contains("bytes of memory"), "{message}");
    let unlimited = Limits { memory_bytes: Some(64 << 20), cpu_millis: None };
    let held = driver.set_limits("busy-0", &unlimited).await.unwrap();
    assert_eq!(held.cpu, Enforcement::NotRequested);
    // At 20m this would take 50 s.
    let used = || async { state(&driver, "busy-0").await?.usage.filter(|usage| usage.cpu_seconds > 1.0) };
    until("it used a second of processor time", async || used().await).await;
    let slow = Limits { memory_bytes: None, cpu_millis: Some(100) };
    driver.set_limits("busy-0", &slow).await.unwrap();
    let now = state(&driver, "busy-0").await.unwrap();
    assert_eq!((now.deployment.limits, now.handle.unwrap().pid), (slow, pid));
    assert_eq!(now.limits.memory, Enforcement::NotRequested);
    let again = rig.driver().await;
    assert_eq!(state(&again, "busy-0").await.unwrap().deployment.limits, slow, "an adopted one too");
    let back = Limits { memory_bytes: Some(32 << 20), cpu_millis: Some(500) };
    again.set_limits("busy-0", &back).await.unwrap();
    assert_eq!(state(&again, "busy-0").await.unwrap().limits.cpu, again.capabilities().cpu_limit);
}

#[tokio::test]
async fn a_memory_limit_lowered_while_it_runs_ends_what_grows_beyond_it() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    if !driver.capabilities().in_place_limits.memory {
        skipped("no control group holds the memory limit here");
        return;
    }
    let mut service = child::service(&rig, "eater", "eat");
    service.limits = Limits { memory_bytes: None, cpu_millis: Some(20) };
    deploy(&driver, &service).await.unwrap();
    let limited = Limits { memory_bytes: Some(64 << 20), cpu_millis: None };
    driver.set_limits("eater-0", &limited).await.unwrap();
    let phase = exited(&driver, "eater-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::OutOfMemory, .. }), "{phase:?}");
}

#[tokio::test]
async fn without_control_groups_limits_stay_and_the_reason_is_told() {
    let rig = Rig::new();
    let driver = ProcessDriver::new(ProcessOptions { control_groups: false, ..rig.options() }).unwrap();
    driver.recover(clock()).await.unwrap();
    let can = driver.capabilities().in_place_limits;
    assert!(!can.cpu && !can.memory && can.why_not.is_some());
    let mut service = rig.shell("a", SLEEP);
    service.limits = Limits { memory_bytes: Some(256 << 20), cpu_millis: Some(500) };
    deploy(&driver, &service).await.unwrap();
    let more = Limits { cpu_millis: Some(900), ..service.limits };
    let message = driver.set_limits("a-0", &more).await.unwrap_err().to_string();
    assert!(message.contains("no control group holds its processor limit"), "{message}");
    assert!(driver.set_limits("a-0", &service.limits).await.is_ok(), "what stays needs no group");
    let zero = Limits { cpu_millis: Some(0), ..service.limits };
    assert!(driver.set_limits("a-0", &zero).await.unwrap_err().to_string().contains("above zero"));
}

#[tokio::test]
async fn logs_are_written_by_the_process_itself_and_rotated() {
    let rig = Rig::new();
    let mut service = rig.shell("chatty", "while :; do echo a line of the log; echo an error >&2; done");
    service.logs = LogRotation { max_bytes: 10_000, keep: 2 };
    service.limits = Limits { memory_bytes: None, cpu_millis: Some(200) };
    deploy(&rig.driver().await, &service).await.unwrap();
    let driver = rig.driver().await;
    let logs = rig.path().join("data/logs");
    until("it was rotated twice", async || {
        driver.observe(clock()).await.unwrap();
        logs.join("chatty-0.log.2").exists().then_some(())
    })
    .await;
    let mut reader = driver.logs("chatty-0", 5, 1000).unwrap();
    until("more is written", async || {
        let text = reader.read(1000).unwrap().text;
        (text.contains("a line of the log") && text.contains("an error")).then_some(())
    })
    .await;
    driver.kill("chatty-0", clock()).await.unwrap();
    exited(&driver, "chatty-0").await;
    assert!(!logs.join("chatty-0.log.3").exists());
}

#[tokio::test]
async fn secret_values_reach_the_process_and_no_file_of_the_driver() {
    let rig = Rig::new();
    let mut service = rig.shell("a", r#"echo "$TOKEN" > seen; env > all; exec sleep 1000"#);
    let value = EnvValue::Secret { secret: "api".into(), key: "token".into() };
    service.env = vec![EnvVar { name: "TOKEN".into(), value }];
    let driver = rig.driver().await;
    let deployment = describe(&driver, &service).await;
    let missing = driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap_err();
    assert!(missing.to_string().contains("TOKEN"), "{missing}");
    let secrets = SecretValues::new().with("TOKEN", "hunter2");
    driver.deploy(&deployment, &secrets, clock()).await.unwrap();
    let seen = rig.path().join("seen");
    until("it wrote what it saw", async || (fs::read_to_string(&seen).ok()? == "hunter2\n").then_some(()))
        .await;
    for entry in fs::read_dir(rig.path().join("data/run")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let mut service = rig.shell("a", "");
    service.program = "no-such-program".into();
    let config = sos_runtime::load_configuration(&service, 0, 1, None).unwrap();
    let message = driver.resolve(&config).await.unwrap_err().to_string();
    assert!(message.contains("no-such-program") && message.contains("PATH"), "{message}");
}
