//! Probes against real servers and commands.

use std::time::Duration;

use sos_runtime::{PortRequest, ProbeRunner, ProbeTarget};

use crate::child;
use crate::rig::{Rig, deploy, state, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn http_and_tcp_probes_tell_what_the_server_says() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let mut service = child::service(&rig, "web", "serve");
    service.ports = vec![PortRequest { name: "http".into(), port: None }];
    deploy(&driver, &service).await.unwrap();
    let port = state(&driver, "web-0").await.unwrap().deployment.ports["http"];
    let (runner, address) = (ProbeRunner::new().unwrap(), format!("127.0.0.1:{port}"));
    let tcp = ProbeTarget::Tcp { address: address.clone() };
    until("it listens", async || runner.run(&tcp, SECOND).await.success.then_some(())).await;
    for (path, success, part) in [
        ("ok", true, "200"),
        ("here", true, "200"),
        ("away", true, "302"),
        ("wrong", false, "500"),
        ("hang", false, "no answer within 0.3 s"),
    ] {
        let target = ProbeTarget::Http { url: format!("http://{address}/{path}") };
        let outcome = runner.run(&target, Duration::from_millis(300)).await;
        assert!(outcome.success == success && outcome.message.contains(part), "{path}: {outcome:?}");
    }
}

#[tokio::test]
async fn nothing_listening_is_a_failure_with_its_cause() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let runner = ProbeRunner::new().unwrap();
    for target in [
        ProbeTarget::Http { url: format!("http://{address}/") },
        ProbeTarget::Tcp { address: address.clone() },
    ] {
        let outcome = runner.run(&target, SECOND).await;
        assert!(!outcome.success && outcome.message.to_lowercase().contains("refused"), "{outcome:?}");
    }
}

fn command(rig: &Rig, script: &str) -> ProbeTarget {
    ProbeTarget::Exec {
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        workdir: rig.path().into(),
    }
}

#[tokio::test]
async fn a_command_is_judged_by_its_exit_code_and_its_output_is_bounded() {
    let (rig, runner) = (Rig::new(), ProbeRunner::new().unwrap());
    assert!(runner.run(&command(&rig, "echo fine"), SECOND * 10).await.message.contains("fine"));
    assert!(!runner.run(&command(&rig, "exit 3"), SECOND * 10).await.success);
    let flood = runner.run(&command(&rig, "head -c 10000000 /dev/zero | tr '\\0' x"), SECOND * 10).await;
    assert!(flood.success && flood.message.len() < 1000, "{}", flood.message.len());
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let (rig, runner) = (Rig::new(), ProbeRunner::new().unwrap());
    let pid_file = rig.path().join("pid");
    let target = command(&rig, "sleep 1000 & echo $! > pid; wait");
    let outcome = runner.run(&target, Duration::from_millis(500)).await;
    assert!(!outcome.success && outcome.duration < SECOND * 5, "{outcome:?}");
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    until("the grandchild is gone", async || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    })
    .await;
}
