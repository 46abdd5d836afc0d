//! What the Docker driver promises beyond the contract of all drivers, with a daemon of the test's own.

#[path = "../../../../../scripts/dockerd.rs"]
mod dockerd;
mod faults;
mod images;
mod logs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use nix::sys::signal::Signal;
use sos_runtime::{
    ContainerConfig, ContainerNetwork, ContainerStep, DockerDriver, DockerOptions, Driver, DriverError,
    EnvValue, EnvVar, Exit, HealthStatus, ImageBuild, ImageSource, Limits, Phase, PortRequest, SecretValues,
    ServiceConfig, Volume, VolumeSource, WorkdirMount, conformance,
};

use crate::rig::{clock, deploy, describe, exited, is_deaf, plain_service, script, state, until};
use crate::skipped::skipped;
use dockerd::Dockerd;

const SLEEP: &str = "exec sleep 1000";
/// What a program needs that does not listen to anything.
const SLEEP_WELL: &str = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";

/// A data directory and a daemon.
struct Rig {
    daemon: Dockerd,
    dir: tempfile::TempDir,
    image: PathBuf,
}

impl Rig {
    /// With a daemon started with these options; `None` when there can be none here.
    fn new(options: &[&'static str]) -> Option<Self> {
        match Dockerd::start(options) {
            Ok(daemon) => {
                let image = daemon.busybox("busybox", "");
                Some(Self { daemon, dir: tempfile::tempdir().unwrap(), image })
            }
            Err(why) => {
                skipped(&why);
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn options(&self) -> DockerOptions {
        DockerOptions {
            socket: self.daemon.socket(),
            patience: Duration::from_secs(120),
            ..DockerOptions::new(self.path().join("data"))
        }
    }

    /// A new driver on the same directory, as after a restart of `sos`.
    async fn driver(&self) -> DockerDriver {
        let driver = DockerDriver::new(self.options()).unwrap();
        driver.recover(clock()).await.unwrap();
        driver
    }

    fn container(&self) -> ContainerConfig {
        let build = ImageBuild {
            context: self.image.clone(),
            dockerfile: "Dockerfile".into(),
            args: [].into(),
            target: None,
        };
        ContainerConfig {
            workdir: WorkdirMount::ReadWrite,
            ..ContainerConfig::new(ImageSource::Build(build))
        }
    }

    fn shell(&self, name: &str, script: &str) -> ServiceConfig {
        ServiceConfig { container: Some(self.container()), ..plain_service(self.path(), name, script) }
    }

    fn with(
        &self,
        name: &str,
        script: &str,
        change: impl FnOnce(&mut ServiceConfig, &mut ContainerConfig),
    ) -> ServiceConfig {
        let (mut service, mut container) = (self.shell(name, script), self.container());
        change(&mut service, &mut container);
        ServiceConfig { container: Some(container), ..service }
    }
}

#[tokio::test]
async fn it_conforms() {
    let Some(rig) = Rig::new(&[]) else { return };
    let open = || DockerDriver::new(rig.options());
    conformance(open, |name, conduct| rig.shell(name, &script(conduct)), is_deaf, clock).await.unwrap();
    let containers = rig.daemon.lines(&["ps", "--all", "--quiet"]);
    assert_eq!(containers, Vec::<String>::new());
    let networks =
        rig.daemon.lines(&["network", "ls", "--quiet", "--filter", "label=sos.energy/driver=docker"]);
    assert_eq!(networks, Vec::<String>::new());
    // What is told to people, and kept for them.
    let driver = rig.driver().await;
    deploy(&driver, &rig.shell("talker", "echo out; echo err >&2; exit 3")).await.unwrap();
    let phase = exited(&driver, "talker-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Code(3), asked: None, .. }), "{phase:?}");
    let mut lines: Vec<_> = log_of(&rig, "talker-0").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"], "the end of the log is there when the end of the run is told");
}

fn log_of(rig: &Rig, replica: &str) -> String {
    fs::read_to_string(rig.path().join("data/logs").join(format!("{replica}.log"))).unwrap_or_default()
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn a_new_driver_adopts_what_runs_and_starts_nothing_twice() {
    let Some(rig) = Rig::new(&[]) else { return };
    let service = rig.shell("a", SLEEP_WELL);
    let driver = rig.driver().await;
    let handle = deploy(&driver, &service).await.unwrap();
    driver.adopt("a-0", 5).await.unwrap();
    drop(driver);
    for lost in [false, true] {
        if lost {
            fs::remove_file(rig.path().join("data/run/docker/a-0.json")).unwrap();
        }
        let driver = DockerDriver::new(rig.options()).unwrap();
        let report = driver.recover(clock()).await.unwrap();
        assert_eq!((report.adopted, report.orphans), (vec!["a-0".to_owned()], vec![]), "record lost: {lost}");
        assert_eq!(deploy(&driver, &service).await.unwrap(), handle);
        assert_eq!(rig.daemon.running("a-0"), std::slice::from_ref(&handle.id));
        let state = state(&driver, "a-0").await.unwrap();
        assert_eq!(state.deployment.generation, if lost { 1 } else { 5 });
        assert_eq!((state.deployment.service.as_str(), state.handle), ("a", Some(handle.clone())));
    }
    let driver = rig.driver().await;
    driver.stop("a-0", SignedDuration::from_secs(5), "roll", clock()).await.unwrap();
    let phase = exited(&driver, "a-0").await;
    assert!(
        matches!(&phase, Phase::Exited { exit: Exit::Code(0), asked: Some(cause), .. } if cause == "roll"),
        "{phase:?}"
    );
    // Its exit code is told to one who saw neither its start nor its end.
    deploy(&driver, &rig.shell("b", "sleep 1; exit 9")).await.unwrap();
    drop(driver);
    until("it has ended", async || rig.daemon.running("b-0").is_empty().then_some(())).await;
    let driver = DockerDriver::new(rig.options()).unwrap();
    assert_eq!(driver.recover(clock()).await.unwrap().ended, ["b-0"]);
    assert!(matches!(exited(&driver, "b-0").await, Phase::Exited { exit: Exit::Code(9), .. }));
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn a_crash_at_any_step_of_a_start_leaves_at_most_one_copy() {
    let Some(rig) = Rig::new(&[]) else { return };
    for (step, name) in ContainerStep::ALL.into_iter().zip(["a", "b", "c"]) {
        let (service, replica) = (rig.shell(name, SLEEP), format!("{name}-0"));
        let options = DockerOptions { interrupt_after: Some(step), ..rig.options() };
        let crashing = DockerDriver::new(options).unwrap();
        crashing.recover(clock()).await.unwrap();
        deploy(&crashing, &service).await.unwrap_err();
        drop(crashing);
        let started = rig.daemon.running(&replica);
        assert_eq!(started.len(), usize::from(step == ContainerStep::Start), "{step:?}");
        let driver = rig.driver().await;
        let phase = state(&driver, &replica).await.unwrap().phase;
        if step == ContainerStep::Start {
            assert_eq!(phase, Phase::Running, "it is adopted");
        } else {
            assert!(matches!(phase, Phase::Exited { exit: Exit::NotStarted(_), .. }), "{step:?} {phase:?}");
        }
        let handle = deploy(&driver, &service).await.unwrap();
        assert_eq!(rig.daemon.running(&replica), std::slice::from_ref(&handle.id), "{step:?}");
        if step == ContainerStep::Start {
            assert_eq!(Some(&handle.id), started.first());
        }
    }
    // A container with its name that belongs to nobody's record gives way.
    let driver = rig.driver().await;
    driver.kill("a-0", clock()).await.unwrap();
    exited(&driver, "a-0").await;
    driver.forget("a-0").await.unwrap();
    let name = rig.daemon.lines(&["ps", "--format", "{{.Names}}"]);
    let taken = name[0].replace("b-0", "a-0").replace("c-0", "a-0");
    let image = rig.daemon.lines(&["images", "--quiet"]).remove(0);
    rig.daemon.lines(&["create", "--name", &taken, &image, "true"]);
    let handle = deploy(&driver, &rig.shell("a", SLEEP)).await.unwrap();
    assert_eq!(rig.daemon.running("a-0"), [handle.id]);
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn while_the_daemon_is_away_nothing_is_lost_and_nothing_starts_twice() {
    for live_restore in [false, true] {
        let options: &[_] = if live_restore { &["--live-restore"] } else { &[] };
        let Some(mut rig) = Rig::new(options) else { return };
        let driver = rig.driver().await;
        // With a limit: that the daemon ended it must not be taken for a lack of memory.
        let limited = Limits { memory_bytes: Some(64 << 20), cpu_millis: None };
        let service = rig.with("a", SLEEP_WELL, |service, _| service.limits = limited);
        let handle = deploy(&driver, &service).await.unwrap();
        let deployment = describe(&driver, &service).await;
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            rig.daemon.end(signal);
            let away = |result: Result<(), DriverError>| {
                let error = result.unwrap_err();
                assert!(matches!(error, DriverError::Daemon { .. }), "{error:?}");
            };
            away(driver.observe(clock()).await.map(drop));
            let config = sos_runtime::load_configuration(&rig.shell("b", SLEEP), 0, 1, None).unwrap();
            away(driver.resolve(&config).await.map(drop));
            // One who comes meanwhile finds its records again.
            let late = DockerDriver::new(rig.options()).unwrap();
            away(late.recover(clock()).await.map(drop));
            rig.daemon.launch().unwrap();
            if live_restore {
                for driver in [&driver, &late] {
                    let state = state(driver, "a-0").await.unwrap();
                    assert_eq!((state.phase, state.handle), (Phase::Running, Some(handle.clone())));
                }
            } else {
                let ended = exited(&driver, "a-0").await;
                let Phase::Exited { exit, asked: None, .. } = &ended else { panic!("{ended:?}") };
                assert!(!matches!(exit, Exit::OutOfMemory | Exit::NotStarted(_)), "{exit:?}");
                drop(late);
                driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap();
            }
            let again = driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap();
            assert_eq!(rig.daemon.running("a-0"), [again.id]);
        }
        // A request to stop that did not reach the daemon is repeated when it is back.
        rig.daemon.end(Signal::SIGKILL);
        let stopped = driver.stop("a-0", SignedDuration::from_secs(5), "roll", clock()).await;
        assert!(matches!(stopped, Err(DriverError::Daemon { .. })), "{stopped:?}");
        rig.daemon.launch().unwrap();
        let phase = exited(&driver, "a-0").await;
        assert!(matches!(&phase, Phase::Exited { asked: Some(cause), .. } if cause == "roll"), "{phase:?}");
    }
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn limits_are_held_and_a_lack_of_memory_is_told_apart() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let limits = Limits { memory_bytes: Some(24 << 20), cpu_millis: Some(500) };
    // Many times: the daemon sometimes misses it.
    let eat = "exec dd if=/dev/zero of=/dev/null bs=200M count=1";
    let eater = rig.with("eater", eat, |service, _| service.limits = limits);
    for _ in 0..15 {
        deploy(&driver, &eater).await.unwrap();
        let phase = exited(&driver, "eater-0").await;
        assert!(matches!(phase, Phase::Exited { exit: Exit::OutOfMemory, .. }), "{phase:?}");
    }
    let held = state(&driver, "eater-0").await.unwrap().limits;
    assert_eq!(
        (held.memory, held.cpu),
        (driver.capabilities().memory_limit, driver.capabilities().cpu_limit)
    );
    // Killed by somebody, with the same limit.
    deploy(&driver, &rig.with("victim", SLEEP, |service, _| service.limits = limits)).await.unwrap();
    rig.daemon.lines(&["kill", &rig.daemon.running("victim-0")[0]]);
    let phase = exited(&driver, "victim-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Signal(9), asked: None, .. }), "{phase:?}");

    let busy = Limits { memory_bytes: None, cpu_millis: Some(100) };
    deploy(&driver, &rig.with("busy", "while :; do :; done", |service, _| service.limits = busy))
        .await
        .unwrap();
    let start = std::time::Instant::now();
    let used = until("it used 0.2 s", async || {
        let usage = state(&driver, "busy-0").await?.usage?;
        (usage.cpu_seconds > 0.2).then_some(usage)
    })
    .await;
    assert!(used.whole_group && used.memory_bytes > 10_000 && used.memory_bytes < 20 << 20, "{used:?}");
    assert!(start.elapsed().as_secs_f64() > 1.0, "0.2 s of work took {:?}", start.elapsed());
    let too_little = Limits { memory_bytes: Some(1 << 20), cpu_millis: None };
    let refused = rig.with("tiny", SLEEP, |service, _| service.limits = too_little);
    let error = deploy(&driver, &refused).await.unwrap_err();
    assert!(error.to_string().to_ascii_lowercase().contains("memory"), "{error}");
    assert!(matches!(exited(&driver, "tiny-0").await, Phase::Exited { exit: Exit::NotStarted(_), .. }));
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn the_health_check_of_an_image_is_told() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let check = "HEALTHCHECK --interval=1s --retries=2 CMD [ -e /well ] || { echo not well; exit 1; }";
    let image = rig.daemon.busybox("checked", check);
    let script = "touch /well; until [ -e ill ]; do sleep 0.1; done; rm /well; exec sleep 1000";
    let service = rig.with("a", script, |_, container| {
        let ImageSource::Build(build) = &mut container.image else { unreachable!() };
        build.context = image;
    });
    deploy(&driver, &service).await.unwrap();
    let told = async |wanted: HealthStatus| {
        until("its health is told", async || {
            state(&driver, "a-0").await?.health.filter(|health| health.status == wanted)
        })
        .await
    };
    told(HealthStatus::Healthy).await;
    fs::write(rig.path().join("ill"), "").unwrap();
    let ill = told(HealthStatus::Unhealthy).await;
    assert!(ill.failures >= 2 && ill.output == "not well", "{ill:?}");
    deploy(&driver, &rig.shell("b", SLEEP)).await.unwrap();
    assert_eq!(state(&driver, "b-0").await.unwrap().health, None, "its image has no check");

    // A probe of ours looks at what is inside.
    let probe = async |replica: &str, script: &str| {
        let command = ["sh", "-c", script].map(String::from);
        driver.probe(replica, &command, Duration::from_secs(3)).await
    };
    let good = probe("b-0", "[ ! -e /well ] && hostname > /inside && echo fine").await;
    assert!(good.success && good.message.contains("fine"), "{good:?}");
    let bad = probe("b-0", "cat /no/such/file").await;
    assert!(
        !bad.success && bad.message.contains("/no/such/file") && bad.message.contains("code 1"),
        "{bad:?}"
    );
    let late = probe("b-0", "sleep 30").await;
    assert!(!late.success && late.message.contains("within 3 s"), "{late:?}");
    assert!(!probe("nobody-0", "true").await.success);
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn ports_networks_volumes_and_settings_reach_the_container() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let http = || vec![PortRequest { name: "http".into(), port: None }];
    let serve = r#"echo "port $PORT_HTTP args $0" > /www/index.html; exec httpd -f -p "$PORT" -h /www"#;
    let web = rig.with("web", serve, |service, container| {
        service.ports = http();
        service.args.push("$(PORT)".into());
        container.ports.insert("http".into(), 80);
        container.volumes = vec![Volume {
            source: VolumeSource::Named("pages".into()),
            target: "/www".into(),
            read_only: false,
        }];
    });
    deploy(&driver, &web).await.unwrap();
    let port = state(&driver, "web-0").await.unwrap().deployment.ports["http"];
    let get = async || reqwest::get(format!("http://127.0.0.1:{port}/")).await.ok()?.text().await.ok();
    assert_eq!(until("it answers", get).await.trim(), "port 80 args 80");

    fs::write(rig.path().join("given"), "given").unwrap();
    let look = "wget -q -O - http://web-0/ && wget -q -O - http://web/ && id -u && cat /given && cat /pages/index.html
        touch /given /pages/x /x x; mount | grep -c ' / .*ro,'";
    let client = rig.with("client", look, |service, container| {
        service.workdir = rig.path().join("data");
        container.workdir = WorkdirMount::ReadOnly;
        container.user = Some("1234:1234".into());
        container.read_only_root = true;
        let given = VolumeSource::Path(rig.path().join("given"));
        container.volumes = vec![
            Volume { source: given, target: "/given".into(), read_only: true },
            Volume { source: VolumeSource::Named("pages".into()), target: "/pages".into(), read_only: true },
        ];
    });
    deploy(&driver, &client).await.unwrap();
    exited(&driver, "client-0").await;
    let log = log_of(&rig, "client-0");
    let page = "port 80 args 80";
    let mut said: Vec<_> = log.lines().filter(|line| !line.contains("touch")).collect();
    said.sort_unstable();
    assert_eq!(said, ["1", "1234", &format!("given{page}"), page, page], "{log}");
    let refused = |file: &str| log.lines().any(|line| line.contains("Read-only") && line.contains(file));
    assert!(["/given", "/pages/x", "/x", " x:"].into_iter().all(refused), "{log}");

    // Another network does not know them; that of the machine needs no publishing.
    let alone = rig.with("alone", "wget -q -O - http://web-0/ || echo unknown", |_, container| {
        container.network = ContainerNetwork::Named("site-a".into());
    });
    deploy(&driver, &alone).await.unwrap();
    exited(&driver, "alone-0").await;
    assert!(log_of(&rig, "alone-0").contains("unknown"));
    let host = rig.with(
        "host",
        r#"echo host > /index.html; exec httpd -f -p "127.0.0.1:$PORT" -h /"#,
        |service, container| {
            service.ports = http();
            container.network = ContainerNetwork::Host;
        },
    );
    deploy(&driver, &host).await.unwrap();
    let port = state(&driver, "host-0").await.unwrap().deployment.ports["http"];
    let get = async || reqwest::get(format!("http://127.0.0.1:{port}/")).await.ok()?.text().await.ok();
    assert_eq!(until("it answers", get).await.trim(), "host");

    // Named volumes outlive the service, anonymous networks do not.
    for replica in ["web-0", "host-0"] {
        driver.kill(replica, clock()).await.unwrap();
        exited(&driver, replica).await;
    }
    for replica in ["web-0", "client-0", "alone-0", "host-0"] {
        driver.forget(replica).await.unwrap();
    }
    let volumes =
        rig.daemon.lines(&["volume", "ls", "--quiet", "--filter", "label=sos.energy/driver=docker"]);
    assert!(volumes.len() == 1 && volumes[0].ends_with("-pages"), "{volumes:?}");
    let networks = rig.daemon.lines(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.iter().any(|name| name.starts_with("sos-")), "{networks:?}");
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn what_cannot_start_is_told_with_what_is_wrong() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let missing = rig.with("missing", "", |service, _| {
        service.program = "no-such-program".into();
        service.args = vec![];
    });
    // With an init the program is looked for inside.
    deploy(&driver, &missing).await.unwrap();
    assert!(matches!(exited(&driver, "missing-0").await, Phase::Exited { exit: Exit::Code(127), .. }));
    assert!(log_of(&rig, "missing-0").contains("no-such-program"));
    let missing = rig.with("bare", "", |service, container| {
        service.program = "no-such-program".into();
        container.init = false;
    });
    let error = deploy(&driver, &missing).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program") && error.contains("bare-0"), "{error}");
    assert!(matches!(exited(&driver, "bare-0").await, Phase::Exited { exit: Exit::NotStarted(_), .. }));
    let volume = rig.with("volume", SLEEP, |_, container| {
        let source = VolumeSource::Path("/no/such/file".into());
        container.volumes = vec![Volume { source, target: "/x".into(), read_only: true }];
    });
    let error = deploy(&driver, &volume).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
    // A port that another program holds.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let taken = rig.with("taken", SLEEP, |service, _| {
        service.ports = vec![PortRequest { name: "http".into(), port: Some(port) }];
    });
    let config = sos_runtime::load_configuration(&taken, 0, 1, None).unwrap();
    let error = driver.resolve(&config).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()), "{error}");
    let process = ServiceConfig { container: None, ..rig.shell("process", SLEEP) };
    let config = sos_runtime::load_configuration(&process, 0, 1, None).unwrap();
    let error = driver.resolve(&config).await.unwrap_err().to_string();
    assert!(error.contains("image"), "{error}");
    let containers = rig.daemon.lines(&["ps", "--all", "--format", "{{.Names}}"]);
    assert!(containers.iter().all(|name| name.ends_with("missing-0")), "{containers:?}");
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn secret_values_reach_the_container_and_no_file_of_the_driver() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let value = EnvValue::Secret { secret: "api".into(), key: "token".into() };
    let service = rig.with("a", r#"echo "$TOKEN" > seen; exec sleep 1000"#, |service, _| {
        service.env = vec![EnvVar { name: "TOKEN".into(), value }];
    });
    let deployment = describe(&driver, &service).await;
    let missing = driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap_err();
    assert!(missing.to_string().contains("TOKEN"), "{missing}");
    driver.deploy(&deployment, &SecretValues::new().with("TOKEN", "hunter2"), clock()).await.unwrap();
    let seen = rig.path().join("seen");
    until("it wrote what it saw", async || (fs::read_to_string(&seen).ok()? == "hunter2\n").then_some(()))
        .await;
    for entry in fs::read_dir(rig.path().join("data/run/docker")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
    let labels =
        rig.daemon.lines(&["inspect", "--format", "{{json .Config.Labels}}", &rig.daemon.running("a-0")[0]]);
    assert!(!labels.concat().contains("hunter2"));
}

#[tokio::test]
#[ignore = "slow: starts a Docker daemon"]
async fn what_others_do_to_containers_is_noticed() {
    let Some(rig) = Rig::new(&[]) else { return };
    let driver = rig.driver().await;
    let service = rig.shell("a", SLEEP_WELL);
    let handle = deploy(&driver, &service).await.unwrap();
    rig.daemon.lines(&["stop", &handle.id]);
    assert!(matches!(exited(&driver, "a-0").await, Phase::Exited { asked: None, .. }));
    // Started again by hand, it is more than was asked for.
    rig.daemon.lines(&["start", &handle.id]);
    until("it is ended", async || {
        state(&driver, "a-0").await?;
        rig.daemon.running("a-0").is_empty().then_some(())
    })
    .await;
    let handle = deploy(&driver, &service).await.unwrap();
    rig.daemon.lines(&["rm", "--force", &handle.id]);
    assert!(matches!(exited(&driver, "a-0").await, Phase::Exited { exit: Exit::Unknown, .. }));
    let handle = deploy(&driver, &service).await.unwrap();
    assert_eq!(rig.daemon.running("a-0"), [handle.id]);
    let runs = state(&driver, "a-0").await.unwrap().past_runs.len();
    assert_eq!(runs, 2);
}
