//! The Kubernetes driver with real pods.

use std::path::Path;

use jiff::SignedDuration;
use sos_runtime::kubernetes::{
    ClusterStep, KubeconfigSource, KubernetesDriver, KubernetesOptions, Permission, rbac,
};
use sos_runtime::{
    ContainerCheck, ContainerConfig, ContainerProbe, Driver, DriverError, EnvValue, EnvVar, Exit,
    HealthStatus, ImageSource, Phase, PortRequest, PullPolicy, SecretValues, ServiceConfig, WorkdirMount,
    conformance,
};

use super::cluster::TestCluster;
use super::cluster::image::IMAGE;
use super::cluster::programs::wait_until;
use crate::rig::{clock, deploy, describe, exited, is_deaf, plain_service, script, state, until};

const SLEEP: &str = "exec sleep 1000";
const NAMESPACE: &str = "services";

/// A data directory and a cluster in which it may do what the printed role allows, and nothing else.
struct Rig {
    // The driver's watch ends before the cluster does.
    dir: tempfile::TempDir,
    test: TestCluster,
}

impl Rig {
    async fn new() -> Option<Self> {
        let test = TestCluster::with_node()?;
        test.make_namespace(NAMESPACE);
        wait_until("the account of the namespace is there", || {
            test.try_kubectl(&["-n", NAMESPACE, "get", "serviceaccount", "default"], "").ok()
        });
        test.apply(&rbac(NAMESPACE, "sos", &[Permission::Deploy]).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let rig = Self { dir, test };
        rig.write_kubeconfig();
        Some(rig)
    }

    /// That of the account with the role; made again when the server has another certificate.
    fn write_kubeconfig(&self) {
        let token = self.test.kubectl(&["-n", NAMESPACE, "create", "token", "sos"], "");
        let text = self.test.kubeconfig_text(&format!("{{ token: {} }}", token.trim()));
        std::fs::write(self.path().join("kubeconfig"), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn options(&self) -> KubernetesOptions {
        let files = vec![self.path().join("kubeconfig")];
        let source = KubeconfigSource { files, ..KubeconfigSource::default() };
        let namespace = Some(NAMESPACE.into());
        KubernetesOptions { namespace, ..KubernetesOptions::new(self.path().join("data"), source) }
    }

    /// A new driver on the same directory, as after a restart of `sos`.
    async fn driver(&self) -> KubernetesDriver {
        let driver = KubernetesDriver::new(self.options()).unwrap();
        driver.recover(clock()).await.unwrap();
        driver
    }

    fn shell(&self, name: &str, script: &str) -> ServiceConfig {
        let container = ContainerConfig {
            pull: PullPolicy::Never,
            workdir: WorkdirMount::ReadWrite,
            ..ContainerConfig::new(ImageSource::Reference(IMAGE.into()))
        };
        ServiceConfig { container: Some(container), ..plain_service(self.path(), name, script) }
    }

    /// What `kubectl get` prints of a kind, without its own words.
    fn names(&self, kind: &str) -> Vec<String> {
        let text = self.test.kubectl(
            &["-n", NAMESPACE, "get", kind, "-l", "app.kubernetes.io/managed-by=sos", "-o", "name"],
            "",
        );
        text.lines().map(str::to_owned).collect()
    }

    /// Pods of a replica that are not on their way out.
    fn pods(&self, replica: &str) -> Vec<String> {
        let text = self.test.kubectl(
            &["-n", NAMESPACE, "get", "pods", "-l", &format!("sos.energy/replica={replica}"), "-o", PODS],
            "",
        );
        let staying = text.lines().filter_map(|line| line.strip_suffix(' '));
        staying.map(str::to_owned).collect()
    }
}

/// A line for each pod: its name, and when it was asked to end.
const PODS: &str =
    "jsonpath={range .items[*]}{.metadata.name}{\" \"}{.metadata.deletionTimestamp}{\"\\n\"}{end}";

async fn running(driver: &KubernetesDriver, replica: &str) -> String {
    until("it runs", async || {
        let state = state(driver, replica).await?;
        (state.phase == Phase::Running).then(|| state.handle.unwrap().id)
    })
    .await
}

async fn gone(driver: &KubernetesDriver, replica: &str) {
    driver.kill(replica, clock()).await.unwrap();
    exited(driver, replica).await;
    driver.forget(replica).await.unwrap();
}

#[tokio::test]
async fn it_conforms() {
    let Some(rig) = Rig::new().await else { return };
    let open = || KubernetesDriver::new(rig.options());
    conformance(open, |name, conduct| rig.shell(name, &script(conduct)), is_deaf, clock).await.unwrap();
    for kind in
        ["deployments", "services", "secrets", "configmaps", "poddisruptionbudgets", "networkpolicies"]
    {
        assert_eq!(rig.names(kind), Vec::<String>::new());
    }
    let driver = rig.driver().await;
    // What it wrote is there when its end is told; a secret arrives, and nowhere else.
    let secret = EnvVar {
        name: "TOKEN".into(),
        value: EnvValue::Secret { secret: "api".into(), key: "token".into() },
    };
    let script = "echo \"$TOKEN $$(raw)\" | tr a-z A-Z; exit 3";
    let service = ServiceConfig { env: vec![secret], ..rig.shell("talker", script) };
    let deployment = describe(&driver, &service).await;
    let missing = driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap_err();
    assert!(matches!(missing, DriverError::SecretMissing { .. }), "{missing:?}");
    let secrets = SecretValues::new().with("TOKEN", "hunter2");
    driver.deploy(&deployment, &secrets, clock()).await.unwrap();
    let phase = exited(&driver, "talker-0").await;
    assert!(matches!(phase, Phase::Exited { exit: Exit::Code(3), asked: None, .. }), "{phase:?}");
    let log = std::fs::read_to_string(rig.path().join("data/logs/talker-0.log")).unwrap_or_default();
    assert!(log.contains("HUNTER2"), "{log:?}");
    let record = std::fs::read_to_string(rig.path().join("data/run/kubernetes/talker-0.json")).unwrap();
    assert!(!record.contains("hunter2"));
    driver.forget("talker-0").await.unwrap();
}

#[tokio::test]
#[ignore = "slow: starts a cluster with a node"]
async fn a_crash_at_any_step_of_a_start_leaves_at_most_one_copy() {
    let Some(rig) = Rig::new().await else { return };
    for (step, name) in ClusterStep::ALL.into_iter().zip(["a", "b", "c"]) {
        let (service, replica) = (rig.shell(name, SLEEP), format!("{name}-0"));
        let options = KubernetesOptions { interrupt_after: Some(step), ..rig.options() };
        let crashing = KubernetesDriver::new(options).unwrap();
        crashing.recover(clock()).await.unwrap();
        let error = deploy(&crashing, &service).await.unwrap_err();
        assert!(matches!(error, DriverError::Interrupted(_)), "{step:?} {error:?}");
        drop(crashing);
        let driver = rig.driver().await;
        let phase = state(&driver, &replica).await.unwrap().phase;
        if step != ClusterStep::Apply {
            assert!(matches!(phase, Phase::Exited { exit: Exit::NotStarted(_), .. }), "{step:?} {phase:?}");
        }
        let handle = deploy(&driver, &service).await.unwrap();
        assert_eq!(running(&driver, &replica).await, handle.id, "{step:?}");
        assert_eq!(rig.pods(&replica).len(), 1, "{step:?}");
    }
    // A record that is lost: the labels lead to it.
    std::fs::remove_file(rig.path().join("data/run/kubernetes/c-0.json")).unwrap();
    let (before, driver) = (rig.pods("c-0"), KubernetesDriver::new(rig.options()).unwrap());
    let report = driver.recover(clock()).await.unwrap();
    assert_eq!(report.adopted, ["a-0", "b-0", "c-0"]);
    running(&driver, "c-0").await;
    assert_eq!(rig.pods("c-0"), before);
    for replica in ["a-0", "b-0", "c-0"] {
        gone(&driver, replica).await;
    }
}

#[tokio::test]
#[ignore = "slow: starts a cluster with a node"]
async fn what_the_cluster_does_by_itself_is_told_and_an_outage_loses_nothing() {
    let Some(mut rig) = Rig::new().await else { return };
    let driver = rig.driver().await;
    let mut service = rig.shell("web", SLEEP);
    service.ports = vec![PortRequest { name: "http".into(), port: None }];
    deploy(&driver, &service).await.unwrap();
    let first = running(&driver, "web-0").await;
    let told = state(&driver, "web-0").await.unwrap();
    assert!(told.address.is_some() && told.deployment.ports["http"] == 8080, "{told:?}");

    // Traffic is on for the replicas that are to get some.
    let routed = || {
        rig.test.kubectl(&["-n", NAMESPACE, "get", "pods", "-l", "sos.energy/traffic=on", "-o", "name"], "")
    };
    driver.route("web", &["web-0".into()]).await.unwrap();
    until("it gets traffic", async || {
        state(&driver, "web-0").await;
        (routed().lines().count() == 1).then_some(())
    })
    .await;

    // A pod that somebody deletes is replaced: a new run of the same replica, with its traffic.
    let pod = rig.pods("web-0").remove(0);
    rig.test.kubectl(&["-n", NAMESPACE, "delete", "pod", &pod, "--grace-period=1"], "");
    let replaced = until("it was replaced", async || {
        let state = state(&driver, "web-0").await?;
        (state.phase == Phase::Running && state.handle.as_ref()?.id != first).then_some(state)
    })
    .await;
    assert_eq!(replaced.past_runs.len(), 1, "{:?}", replaced.past_runs);
    until("the new pod gets traffic", async || {
        state(&driver, "web-0").await;
        (routed().lines().count() == 1).then_some(())
    })
    .await;

    // What ends is started again by its node: a new run, that of before is told.
    let once = rig.shell("once", "[ -e once ] && exec sleep 1000; : > once; exit 4");
    deploy(&driver, &once).await.unwrap();
    let again = until("it was started again", async || {
        let state = state(&driver, "once-0").await?;
        (state.phase == Phase::Running && !state.past_runs.is_empty()).then_some(state)
    })
    .await;
    assert_eq!(again.past_runs[0].exit, Exit::Code(4), "{:?}", again.past_runs);
    gone(&driver, "once-0").await;

    // An image that is missing is told with what to do, and does not become a loop here.
    let mut missing = rig.shell("missing", SLEEP);
    missing.container.as_mut().unwrap().image = ImageSource::Reference("localhost/none:1".into());
    deploy(&driver, &missing).await.unwrap();
    let Phase::Exited { exit: Exit::NotStarted(why), .. } = exited(&driver, "missing-0").await else {
        panic!("not told")
    };
    assert!(why.contains("localhost/none:1") && why.contains("load the image"), "{why}");
    driver.forget("missing-0").await.unwrap();

    // The cluster goes away and comes back.
    rig.test.kill_api();
    let error = until("the outage is told", async || driver.observe(clock()).await.err()).await;
    assert!(matches!(error, DriverError::Away(_)), "{error:?}");
    let stopped = driver.stop("web-0", SignedDuration::from_secs(1), "roll", clock()).await;
    assert!(matches!(stopped, Err(DriverError::Away(_))), "{stopped:?}");
    rig.test.start_api();
    rig.write_kubeconfig();
    let phase = until("the request to stop is sent", async || {
        let states = driver.observe(clock()).await.ok()?;
        let state = states.into_iter().find(|state| state.deployment.replica == "web-0")?;
        matches!(state.phase, Phase::Exited { .. }).then_some(state.phase)
    })
    .await;
    assert!(matches!(&phase, Phase::Exited { asked: Some(cause), .. } if cause == "roll"), "{phase:?}");
    driver.forget("web-0").await.unwrap();
}

#[tokio::test]
#[ignore = "slow: starts a cluster with a node"]
async fn of_two_replicas_the_one_that_is_meant_ends_and_probes_are_told() {
    let Some(rig) = Rig::new().await else { return };
    let driver = rig.driver().await;
    let service = rig.shell("web", SLEEP);
    let mut handles = vec![];
    for ordinal in 0..2 {
        let config = sos_runtime::load_configuration(&service, ordinal, 1, None).unwrap();
        let metadata = driver.resolve(&config).await.unwrap();
        let deployment = sos_runtime::describe_deployment(&config, &metadata).unwrap();
        handles.push(driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap().id);
    }
    assert_eq!(rig.names("deployments").len(), 1);
    for (ordinal, handle) in handles.iter().enumerate() {
        assert_eq!(running(&driver, &format!("web-{ordinal}")).await, *handle);
    }
    let other = rig.pods("web-1");
    driver.stop("web-0", SignedDuration::from_secs(1), "scale", clock()).await.unwrap();
    exited(&driver, "web-0").await;
    driver.forget("web-0").await.unwrap();
    assert_eq!((running(&driver, "web-1").await, rig.pods("web-1")), (handles[1].clone(), other));
    until("no other pod is left", async || {
        let all = rig.test.kubectl(&["-n", NAMESPACE, "get", "pods", "-o", "name"], "");
        (all.lines().count() == 1).then_some(())
    })
    .await;
    gone(&driver, "web-1").await;

    let mut probed = rig.shell("probed", SLEEP);
    let command = ["sh", "-c", "[ -e well ] || { echo not well; exit 1; }"].map(String::from).into();
    let probe = ContainerProbe {
        every: SignedDuration::from_secs(1),
        failures: 1,
        ..ContainerProbe::new(ContainerCheck::Exec { command })
    };
    probed.container.as_mut().unwrap().probes.readiness = Some(probe);
    deploy(&driver, &probed).await.unwrap();
    let told = async |wanted: HealthStatus, output: &str| {
        until("its health is told", async || {
            let state = state(&driver, "probed-0").await?;
            state.health.filter(|health| health.status == wanted && health.output.contains(output))
        })
        .await
    };
    told(HealthStatus::Starting, "not well").await;
    std::fs::write(rig.path().join("well"), "").unwrap();
    told(HealthStatus::Healthy, "").await;
    std::fs::remove_file(rig.path().join("well")).unwrap();
    told(HealthStatus::Unhealthy, "not well").await;
    gone(&driver, "probed-0").await;

    // What somebody else has under a name is left alone.
    let taken = "apiVersion: v1\nkind: Service\nmetadata: { name: taken, namespace: services }\nspec: { ports: [{ port: 1 }] }\n";
    rig.test.apply(taken);
    let mut service = rig.shell("taken", SLEEP);
    service.ports = vec![PortRequest { name: "http".into(), port: None }];
    let error = deploy(&driver, &service).await.unwrap_err();
    assert!(error.to_string().contains("belongs to somebody else"), "{error}");
    driver.forget("taken-0").await.unwrap();
    assert!(
        rig.test.kubectl(&["-n", NAMESPACE, "get", "services", "-o", "name"], "").contains("service/taken")
    );
}

#[tokio::test]
async fn another_cluster_and_what_may_not_be_done_are_refused_by_name() {
    let Some(test) = TestCluster::shared() else { return };
    test.make_namespace("refused");
    test.apply(&rbac("refused", "sos", &[Permission::Watch]).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let token = test.kubectl(&["-n", "refused", "create", "token", "sos"], "");
    let file = dir.path().join("kubeconfig");
    std::fs::write(&file, test.kubeconfig_text(&format!("{{ token: {} }}", token.trim()))).unwrap();
    let options = |file: &Path| {
        let source = KubeconfigSource { files: vec![file.into()], ..KubeconfigSource::default() };
        let namespace = Some("refused".into());
        KubernetesOptions { namespace, ..KubernetesOptions::new(dir.path().join("data"), source) }
    };
    let error = KubernetesDriver::new(options(&file)).unwrap().recover(clock()).await.unwrap_err().full();
    for word in ["namespaces", "kube-system", "system:serviceaccount:refused:sos", "role"] {
        assert!(error.contains(word), "{error} lacks {word}");
    }
    let admin = options(&test.kubeconfig());
    KubernetesDriver::new(admin.clone()).unwrap().recover(clock()).await.unwrap();
    std::fs::write(dir.path().join("data/run/kubernetes/cluster"), "another").unwrap();
    let error = KubernetesDriver::new(admin.clone()).unwrap().recover(clock()).await.unwrap_err();
    assert!(matches!(error, DriverError::WrongCluster { .. }), "{error:?}");
    let driver = KubernetesDriver::new(admin).unwrap();
    for name in ["a.b", "0a", &"a".repeat(60)] {
        let container = ContainerConfig::new(ImageSource::Reference(IMAGE.into()));
        let service = ServiceConfig { container: Some(container), ..plain_service(dir.path(), name, SLEEP) };
        let config = sos_runtime::load_configuration(&service, 0, 1, None).unwrap();
        let error = driver.resolve(&config).await.unwrap_err();
        assert!(
            matches!(error, DriverError::Unfit { .. }) && error.to_string().contains("expected"),
            "{error}"
        );
    }
}
