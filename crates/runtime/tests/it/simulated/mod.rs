//! What the simulated driver promises beyond the contract of all drivers. Time is what the tests say.

mod chaos;
mod faults;
mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_runtime::simulated::{Conduct, FaultTime, Faults};
use sos_runtime::{
    AnyDriver, ConformanceConduct, Deployment, Driver, DriverError, Exit, Handle, HealthStatus, Level,
    Limits, LogQuery, Phase, PortRequest, ReplicaState, SecretValues, ServiceConfig, SimulatedDriver,
    SimulatedOptions, conformance, describe_deployment, load_configuration, search,
};

use crate::rig::{clock, plain_service};

/// A time of the tests.
fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

fn seconds(seconds: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(seconds)
}

/// A data directory with a driver on it, recovered at time zero.
struct Rig {
    dir: tempfile::TempDir,
    driver: SimulatedDriver,
}

impl Rig {
    /// With what the file of the data directory declares.
    async fn new(declared: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("simulated.jsonl"), declared).unwrap();
        let driver = open(dir.path(), 0.0).await;
        Self { dir, driver }
    }

    /// Another driver on the same directory, as after a restart of `sos`.
    async fn again(self, now: f64) -> Self {
        let Self { dir, driver } = self;
        drop(driver);
        let driver = open(dir.path(), now).await;
        Self { dir, driver }
    }

    fn service(&self, name: &str) -> ServiceConfig {
        plain_service(self.dir.path(), name, "")
    }

    async fn deploy(&self, replica: &str, now: f64) -> Result<Handle, DriverError> {
        let (service, ordinal) = replica.rsplit_once('-').unwrap();
        let deployment = describe(&self.driver, &self.service(service), ordinal.parse().unwrap()).await?;
        self.driver.deploy(&deployment, &SecretValues::new(), at(now)).await
    }

    async fn stop(&self, replica: &str, now: f64) -> Result<(), DriverError> {
        self.driver.stop(replica, seconds(5.0), "roll", at(now)).await
    }

    async fn look(&self, replica: &str, now: f64) -> Option<ReplicaState> {
        let states = self.driver.observe(at(now)).await.unwrap();
        states.into_iter().find(|state| state.deployment.replica == replica)
    }

    async fn phase(&self, replica: &str, now: f64) -> Phase {
        self.look(replica, now).await.unwrap().phase
    }

    async fn health(&self, replica: &str, now: f64) -> HealthStatus {
        self.look(replica, now).await.unwrap().health.unwrap().status
    }
}

async fn open(data_dir: &Path, now: f64) -> SimulatedDriver {
    let driver = SimulatedDriver::new(SimulatedOptions::from_dir(data_dir).unwrap()).unwrap();
    driver.recover(at(now)).await.unwrap();
    driver
}

async fn describe(
    driver: &impl Driver,
    service: &ServiceConfig,
    ordinal: u32,
) -> Result<Deployment, DriverError> {
    let config = load_configuration(service, ordinal, 1, None)?;
    let metadata = driver.resolve(&config).await?;
    Ok(describe_deployment(&config, &metadata)?)
}

#[tokio::test]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let conducts = Mutex::new(BTreeMap::new());
    let service = |name: &str, conduct: ConformanceConduct| {
        let usual = Conduct::default();
        let conduct = match conduct {
            ConformanceConduct::Runs => usual,
            ConformanceConduct::Exits(code) => {
                Conduct { exit: Some((SignedDuration::ZERO, Exit::Code(code))), ..usual }
            }
            ConformanceConduct::Deaf => Conduct { stops_in: None, ..usual },
        };
        conducts.lock().unwrap().insert(name.to_owned(), conduct);
        plain_service(dir.path(), name, "")
    };
    let open = || {
        let options = SimulatedOptions::new(dir.path().join("data"));
        SimulatedDriver::new(SimulatedOptions { conducts: conducts.lock().unwrap().clone(), ..options })
    };
    conformance(open, service, |_| true, clock).await.unwrap();
}

#[tokio::test]
async fn replicas_behave_as_declared_however_often_they_are_looked_at() {
    let declared = r#"
        {"service": "web", "conduct": {"startAfter": "2s", "exit": {"after": "10s", "code": 7}, "cpu": 0.5, "memory": "64 MiB"}}
        {"service": "job", "conduct": {"exit": {"after": "3s", "signal": 15}}}
        {"service": "slow", "conduct": {"stopsIn": "4s"}}
    "#;
    for looks in [&[][..], &[1.5, 2.0, 2.5, 4.0, 11.5, 12.0]] {
        let rig = Rig::new(declared).await;
        for replica in ["web-0", "job-0", "slow-0"] {
            rig.deploy(replica, 0.0).await.unwrap();
        }
        rig.stop("slow-0", 1.0).await.unwrap();
        for now in looks {
            let state = rig.look("web-0", *now).await.unwrap();
            let phase = match *now {
                early if early < 2.0 => Phase::Starting,
                late if late < 12.0 => Phase::Running,
                _ => Phase::Exited { exit: Exit::Code(7), at: at(12.0), asked: None },
            };
            assert_eq!(state.phase, phase, "{now}");
            let usage = state.usage.map(|usage| (usage.cpu_seconds, usage.memory_bytes));
            let used = (*now < 12.0).then_some((((now - 2.0).max(0.0) * 0.5), 64 << 20));
            assert_eq!(usage, used, "{now}");
        }
        let ends = [
            ("web-0", Exit::Code(7), 12.0),
            ("job-0", Exit::Signal(15), 3.0),
            ("slow-0", Exit::Code(0), 5.0),
        ];
        for (replica, exit, end) in ends {
            let asked = (replica == "slow-0").then(|| "roll".to_owned());
            assert_eq!(rig.phase(replica, 20.0).await, Phase::Exited { exit, at: at(end), asked });
        }
    }
}

#[tokio::test]
async fn a_new_driver_adopts_what_runs_with_what_happened_meanwhile() {
    let declared = r#"
        {"service": "job", "conduct": {"exit": {"after": "10s", "code": 0}}}
        {"at": "2026-01-01T00:00:05Z", "replica": "web-1", "fault": "crash", "code": 3}
        {"at": "2026-01-01T00:00:01Z", "replica": "web-2", "fault": "crash", "code": 4}
        {"at": "2026-01-01T00:00:01Z", "replica": "web-2", "fault": "deaf"}
    "#;
    let rig = Rig::new(declared).await;
    for replica in ["web-0", "web-1", "web-2", "job-0"] {
        rig.deploy(replica, 0.0).await.unwrap();
    }
    let handle = rig.deploy("web-0", 0.5).await.unwrap();
    rig.deploy("web-2", 2.0).await.unwrap();
    let path = rig.dir.path().join("run/simulated/web-3.json");
    std::fs::write(&path, "{").unwrap();
    let Rig { dir, driver } = rig;
    drop(driver);
    let driver = SimulatedDriver::new(SimulatedOptions::from_dir(dir.path()).unwrap()).unwrap();
    let report = driver.recover(at(20.0)).await.unwrap();
    assert_eq!(
        (report.adopted, report.ended),
        (vec!["web-0".into(), "web-2".into()], vec!["job-0".into(), "web-1".into()])
    );
    assert!(report.unreadable[0].contains("web-3.json") && !path.exists(), "{:?}", report.unreadable);
    let rig = Rig { dir, driver };
    assert_eq!(rig.deploy("web-0", 20.0).await.unwrap(), handle);
    assert_eq!(rig.look("web-0", 20.0).await.unwrap().past_runs, []);
    let ended = |exit, end| Phase::Exited { exit, at: at(end), asked: None };
    assert_eq!(rig.phase("job-0", 20.0).await, ended(Exit::Code(0), 10.0));
    assert_eq!(rig.phase("web-1", 20.0).await, ended(Exit::Code(3), 5.0));
    // What hit the run before does not hit the one after it.
    assert_eq!(rig.look("web-2", 20.0).await.unwrap().past_runs.len(), 1);
    rig.stop("web-2", 21.0).await.unwrap();
    assert!(matches!(rig.phase("web-2", 21.0).await, Phase::Exited { exit: Exit::Code(0), .. }));
    // Nor does the same driver once more.
    let rig = rig.again(30.0).await;
    rig.deploy("web-1", 30.0).await.unwrap();
    assert_eq!(rig.phase("web-1", 40.0).await, Phase::Running);
}

#[tokio::test]
async fn a_thousand_replicas_are_looked_at_and_nothing_is_written() {
    let rig = Rig::new("").await;
    let service = rig.service("web");
    let metadata = describe(&rig.driver, &service, 0).await.unwrap();
    for ordinal in 0..1000 {
        let replica = format!("web-{ordinal}");
        let log = metadata.log.with_file_name(format!("{replica}.log"));
        let deployment = Deployment { replica, ordinal, log, ..metadata.clone() };
        rig.driver.deploy(&deployment, &SecretValues::new(), at(0.0)).await.unwrap();
    }
    let records = rig.dir.path().join("run/simulated");
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 1000);
    for entry in std::fs::read_dir(&records).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let begin = std::time::Instant::now();
    for look in 1..=100 {
        let states = rig.driver.observe(at(f64::from(look) / 10.0)).await.unwrap();
        assert_eq!(states.iter().filter(|state| state.phase == Phase::Running).count(), 1000);
    }
    println!("a look at 1,000 replicas takes {:?}", begin.elapsed() / 100);
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 0, "only what changes is written");
    rig.stop("web-7", 11.0).await.unwrap();
    rig.look("web-7", 12.0).await.unwrap();
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 1);
}

#[tokio::test]
async fn logs_tell_what_happened_and_when() {
    let rig = Rig::new(r#"{"after": "5s", "fault": "crash", "code": 3}"#).await;
    rig.deploy("web-0", 1.0).await.unwrap();
    rig.look("web-0", 60.0).await.unwrap();
    rig.deploy("web-0", 61.0).await.unwrap();
    rig.stop("web-0", 62.0).await.unwrap();
    rig.look("web-0", 62.0).await.unwrap();
    let driver = AnyDriver::Simulated(rig.driver.clone());
    let sources = driver.log_sources(&TimeZone::UTC).await.unwrap();
    let query = LogQuery { newest_first: false, ..LogQuery::default() };
    let records = search(&sources, &query).unwrap().records;
    let told: Vec<_> =
        records.iter().map(|r| (r.time.unwrap(), r.level.unwrap(), r.message.as_str())).collect();
    let expected = [
        (at(1.0), Level::Info, "web-0 started"),
        (at(5.0), Level::Warn, "web-0 injected fault: crash with code 3"),
        (at(5.0), Level::Error, "web-0 ended with code 3"),
        (at(61.0), Level::Info, "web-0 started"),
        (at(62.0), Level::Info, "web-0 asked to stop: roll"),
        (at(62.0), Level::Info, "web-0 ended with code 0"),
    ];
    assert_eq!(told, expected);
    assert_eq!((records[0].service.as_str(), records[0].replica.as_str()), ("web", "web-0"));
}

#[tokio::test]
async fn ports_do_not_collide_and_are_kept_also_when_another_program_listens() {
    let rig = Rig::new("").await;
    let request = PortRequest { name: "http".into(), port: None };
    let service = ServiceConfig { ports: vec![request], ..rig.service("web") };
    let mut ports = vec![];
    for ordinal in 0..20 {
        let deployment = describe(&rig.driver, &service, ordinal).await.unwrap();
        rig.driver.deploy(&deployment, &SecretValues::new(), at(0.0)).await.unwrap();
        ports.push(deployment.ports["http"]);
    }
    let _listener = std::net::TcpListener::bind(("127.0.0.1", ports[3])).unwrap();
    rig.driver.kill("web-3", at(1.0)).await.unwrap();
    assert_eq!(describe(&rig.driver, &service, 3).await.unwrap().ports["http"], ports[3]);
    let stale = describe(&rig.driver, &service, 4).await.unwrap();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 20);
    // A description of before, with a port that another replica has by now.
    let stolen = Deployment { replica: "web-20".into(), ordinal: 20, ..stale };
    let error = rig.driver.deploy(&stolen, &SecretValues::new(), at(1.0)).await.unwrap_err();
    assert!(error.full().contains("replica web-4"), "{error}");
}

#[tokio::test]
async fn memory_is_not_limited_to_less_than_is_held() {
    let rig = Rig::new("").await;
    rig.deploy("web-0", 0.0).await.unwrap();
    let small = Limits { memory_bytes: Some(1 << 20), ..Limits::default() };
    let error = rig.driver.set_limits("web-0", &small).await.unwrap_err();
    assert!(matches!(error, DriverError::NotInPlace { .. }), "{error}");
    assert_eq!(rig.look("web-0", 1.0).await.unwrap().deployment.limits, Limits::default());
}

#[test]
fn seeded_faults_are_the_same_for_the_same_seed_and_of_all_kinds() {
    let of = |seed| Faults::seeded(seed, 200, seconds(100.0), &["web-0", "web-1"]);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let faults = of(3);
    assert_eq!(faults.all().len(), 200);
    assert!(faults.all().is_sorted_by_key(|fault| fault.time));
    let kinds: BTreeSet<String> = faults
        .all()
        .iter()
        .map(|fault| format!("{:?}", fault.kind).split([' ', '{']).next().unwrap().to_owned())
        .collect();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    assert!(faults.all().iter().all(|fault| fault.time < FaultTime::After(seconds(100.0))));
}
