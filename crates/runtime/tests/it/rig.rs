//! A data directory with drivers on it; everything started is ended when it goes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sos_runtime::{
    ConformanceConduct, DeployStep, Deployment, Driver, DriverError, EnvValue, EnvVar, Handle, Limits,
    LogRotation, Phase, ProcessDriver, ProcessOptions, ReplicaState, SecretValues, ServiceConfig,
    describe_deployment, load_configuration,
};

/// How long a condition is waited for: a start takes seconds on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    dir: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "tests are their own engine, which has the only clock")]
pub(crate) fn clock() -> Timestamp {
    Timestamp::now()
}

/// A service that runs a shell script in a folder.
pub(crate) fn plain_service(workdir: &Path, name: &str, script: &str) -> ServiceConfig {
    ServiceConfig {
        service: name.into(),
        program: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![],
        workdir: workdir.into(),
        ports: vec![],
        limits: Limits::default(),
        logs: LogRotation::default(),
        depends_on: vec![],
        stop_timeout: SignedDuration::from_secs(5),
        labels: BTreeMap::new(),
        container: None,
        place: None,
    }
}

/// A shell script that behaves as the checks of drivers need it.
pub(crate) fn script(conduct: ConformanceConduct) -> String {
    match conduct {
        ConformanceConduct::Runs => "exec sleep 1000".into(),
        ConformanceConduct::Exits(code) => format!("exit {code}"),
        ConformanceConduct::Deaf => "trap '' TERM; : > deaf.ready; while :; do sleep 1000; done".into(),
    }
}

/// Whether the script of a deaf service has come so far.
pub(crate) fn is_deaf(service: &ServiceConfig) -> bool {
    service.workdir.join("deaf.ready").exists()
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn options(&self) -> ProcessOptions {
        ProcessOptions::new(self.path().join("data"))
    }

    /// A new driver on the same directory, as after a restart of `sos`.
    pub(crate) async fn driver(&self) -> ProcessDriver {
        let driver = ProcessDriver::new(self.options()).unwrap();
        driver.recover(clock()).await.unwrap();
        driver
    }

    pub(crate) fn interrupted(&self, step: DeployStep) -> ProcessDriver {
        ProcessDriver::new(ProcessOptions { interrupt_after: Some(step), ..self.options() }).unwrap()
    }

    pub(crate) fn plain(&self, name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: EnvValue::Plain(value.into()) }
    }

    pub(crate) fn shell(&self, name: &str, script: &str) -> ServiceConfig {
        plain_service(self.path(), name, script)
    }

    /// Living processes that carry the marker of this data directory, zombies left out.
    pub(crate) fn processes(&self, replica: &str) -> Vec<i32> {
        let data = self.path().join("data");
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let log = data.join("logs").join(format!("{replica}.log"));
        pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|target| target == log))
            .collect()
    }
}

impl Drop for Rig {
    /// Ends and forgets everything, with a driver of its own on a runtime of its own.
    fn drop(&mut self) {
        let options = self.options();
        let clean = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean_up(&ProcessDriver::new(options).unwrap()));
        };
        let cleaned = std::thread::spawn(clean).join();
        assert!(cleaned.is_ok() || std::thread::panicking(), "something was left behind");
    }
}

async fn clean_up(driver: &ProcessDriver) {
    driver.recover(clock()).await.unwrap();
    for state in driver.observe(clock()).await.unwrap() {
        let replica = state.deployment.replica.clone();
        driver.kill(&replica, clock()).await.unwrap();
        exited(driver, &replica).await;
        until("its group is gone", async || {
            driver.observe(clock()).await.unwrap();
            driver.forget(&replica).await.ok()
        })
        .await;
    }
}

pub(crate) async fn describe(driver: &impl Driver, service: &ServiceConfig) -> Deployment {
    let config = load_configuration(service, 0, 1, None).unwrap();
    let metadata = driver.resolve(&config).await.unwrap();
    describe_deployment(&config, &metadata).unwrap()
}

pub(crate) async fn deploy(driver: &impl Driver, service: &ServiceConfig) -> Result<Handle, DriverError> {
    let deployment = describe(driver, service).await;
    driver.deploy(&deployment, &SecretValues::new(), clock()).await
}

pub(crate) async fn state(driver: &impl Driver, replica: &str) -> Option<ReplicaState> {
    let states = driver.observe(clock()).await.unwrap();
    states.into_iter().find(|state| state.deployment.replica == replica)
}

/// Waits for a condition, checked every few milliseconds.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let start = Instant::now();
    loop {
        ticks.tick().await;
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
    }
}

pub(crate) async fn exited(driver: &impl Driver, replica: &str) -> Phase {
    until("it has exited", async || {
        let phase = state(driver, replica).await?.phase;
        matches!(phase, Phase::Exited { .. }).then_some(phase)
    })
    .await
}
