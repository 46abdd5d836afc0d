//! One manifest on processes, Docker and a real Kubernetes, and what runs in a cluster already.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::cluster::TestCluster;
use crate::cluster::image::IMAGE;
use crate::cluster::programs::Tools;
use crate::dockerd::Dockerd;
use crate::skipped::skipped;
use crate::support::{Rig, Up, wait_for};

/// A web server of busybox. Between runtimes one word changes.
fn manifest(runtime: &str, version: &str) -> String {
    format!(
        "apiVersion: sos.energy/v1alpha1
kind: Service
metadata: {{ name: web }}
spec:
  runtime: {runtime}
  image: {IMAGE}
  container: {{ pull: never }}
  command: [busybox, httpd, -f, -v, -p, '${{port:http}}', -h, .]
  config: {{ VERSION: {version} }}
  replicas: 2
  ports: [{{ name: http }}]
  probes:
    readiness: {{ http: {{ path: /index.html, port: http }}, period: 1 s }}
  rollout: {{ drain: 1 s }}
  resources: {{ memory: 64 MiB }}
  stopTimeout: 2 s
"
    )
}

struct Running {
    rig: Rig,
    up: Up,
}

impl Running {
    fn start(files: &[(&str, &str)], env: &[(&str, &str)]) -> Self {
        let rig = Rig::of(files);
        std::fs::write(rig.manifests.join("index.html"), "it works\n").unwrap();
        let up = rig.up_in(&rig.manifests, &["--watch"], env);
        Self { rig, up }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.rig.manifests.join(file), text).unwrap();
    }

    fn service(&self, name: &str) -> Option<Value> {
        self.rig.json(&["get", "Service", name])
    }

    /// Whether so many replicas are ready, and no others are there.
    fn is_settled(&self, name: &str, replicas: u64) -> bool {
        self.service(name).is_some_and(|service| {
            let status = &service["status"];
            status["phase"] == "Running"
                && status["readyReplicas"] == replicas
                && status["replicaStatuses"].as_array().is_some_and(|all| all.len() as u64 == replicas)
        })
    }

    /// Whether it is known what each replica uses.
    fn is_measured(&self, name: &str) -> bool {
        let service = self.service(name).unwrap_or_default();
        let replicas = service["status"]["replicaStatuses"].as_array().cloned().unwrap_or_default();
        let used = |replica: &Value| replica["usage"]["memoryBytes"].as_u64().is_some_and(|bytes| bytes > 0);
        !replicas.is_empty() && replicas.iter().all(used)
    }

    fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        let service = self.service(name)?;
        service["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind).cloned()
    }

    fn end(self) {
        self.up.signal(Signal::SIGINT);
        self.up.finish();
    }

    /// Waits until something is so; what is known of a service is told when it never is.
    fn until(&self, service: &str, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        wait_for(what, || {
            if is_so() {
                return Some(());
            }
            if began.elapsed() > PATIENCE {
                let (_, described) = self.rig.sos(&["describe", "Service", service]);
                panic!("waited in vain for {what}\n{described}");
            }
            None
        });
    }
}

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Containers of ours that run.
fn ids(daemon: &Dockerd) -> Vec<String> {
    daemon.lines(&["ps", "--quiet", "--no-trunc", "--filter", "label=sos.energy/driver=docker"])
}

/// Names of our objects of a kind.
fn ours(test: &TestCluster, kind: &str) -> Vec<String> {
    let label = "app.kubernetes.io/managed-by=sos";
    let text = test.kubectl(&["get", kind, "-l", label, "-o", "name"], "");
    text.lines().map(str::to_owned).collect()
}

/// `PATH` with the busybox that is in the images.
fn path(tools: &Tools) -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{}:{own}", tools.debian.join("bin").display())
}

#[test]
fn a_service_moves_between_all_runtimes_by_one_word() {
    let Some(test) = TestCluster::with_node() else { return };
    let daemon = match Dockerd::start(&[]) {
        Ok(daemon) => daemon,
        Err(why) => return skipped(&why),
    };
    let folder = daemon.busybox("web", "").display().to_string();
    let built = daemon.docker(&["build", "--quiet", "--tag", IMAGE, &folder]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (host, path) = (format!("unix://{}", daemon.socket().display()), path(&test.tools));
    let kubeconfig = test.kubeconfig().display().to_string();
    let env = [("DOCKER_HOST", host.as_str()), ("KUBECONFIG", &kubeconfig), ("PATH", &path)];
    let run = Running::start(&[("web.yaml", &manifest("process", "one"))], &env);
    let settled = |what: &str| run.until("web", what, || run.is_settled("web", 2));
    settled("two processes");
    assert_eq!((run.rig.pids().len(), ids(&daemon).len()), (2, 0));

    run.write("web.yaml", &manifest("docker", "one"));
    run.until("web", "two containers alone", || ids(&daemon).len() == 2 && run.rig.pids().is_empty());
    settled("two containers");

    run.write("web.yaml", &manifest("kubernetes", "one"));
    run.until("web", "no container", || ids(&daemon).is_empty());
    settled("two pods");
    assert_eq!(ours(&test, "pods").len(), 2);
    assert_eq!(ours(&test, "services"), ["service/web"]);
    let endpoints = ["get", "endpoints", "web", "-o", "jsonpath={.subsets[*].addresses[*].ip}"];
    wait_for("traffic to both", || {
        (test.kubectl(&endpoints, "").split_whitespace().count() == 2).then_some(())
    });
    run.until("web", "what pods use", || run.is_measured("web"));
    let (_, log) = run.rig.sos(&["logs", "web"]);
    assert!(log.contains("GET /index.html") || log.contains("response:200"), "{log}");

    // A change of configuration rolls there too.
    let before = ours(&test, "deployments");
    run.write("web.yaml", &manifest("kubernetes", "two"));
    wait_for("another revision alone", || {
        let now = ours(&test, "deployments");
        (now.len() == 1 && now != before).then_some(())
    });
    settled("two new pods");

    run.write("web.yaml", &manifest("process", "two"));
    wait_for("nothing in the cluster", || {
        ours(&test, "deployments,services,configmaps,pods,poddisruptionbudgets,networkpolicies")
            .is_empty()
            .then_some(())
    });
    settled("two processes again");
    assert_eq!(run.rig.pids().len(), 2);
    run.end();
}

/// A Deployment that somebody else made.
fn shop() -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: shop, labels: {{ app: shop }} }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: shop }} }}
  template:
    metadata: {{ labels: {{ app: shop }} }}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        imagePullPolicy: Never
        command: [httpd, -f, -p, '8080', -h, /www]
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /, port: http }}, periodSeconds: 1 }}
        resources: {{ requests: {{ cpu: 100m, memory: 16Mi }} }}
"
    )
}

fn autoscaler() -> &'static str {
    "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: shop-scaler }
spec:
  minReplicas: 1
  maxReplicas: 5
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: shop }
  metrics:
  - { type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 80 } } }
"
}

#[test]
fn what_runs_in_a_cluster_is_imported_watched_and_scaled_but_not_against_an_autoscaler() {
    let Some(test) = TestCluster::with_node() else { return };
    test.apply(&shop());
    let kubeconfig = test.kubeconfig().display().to_string();
    let other = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: other}\nspec: {command: [sleep, '1000']}\n";
    let run = Running::start(&[("other.yaml", other)], &[("KUBECONFIG", &kubeconfig)]);
    let folder = run.rig.manifests.display().to_string();
    let imported = |more: &[&str]| {
        let fixed =
            ["import", "kubernetes", "--namespace", "default", "--kubeconfig", &kubeconfig, "--dir", &folder];
        run.rig.sos(&[&fixed, more].concat())
    };
    let (done, told) = imported(&["-o", "table"]);
    assert!(done && told.contains("shop") && told.contains(IMAGE) && told.contains("written"), "{told}");
    let file: PathBuf = run.rig.manifests.join("kubernetes-default.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("mode: recommend") && text.contains("replicas: 2"), "{text}");
    run.until("shop", "both pods", || run.is_settled("shop", 2));
    let uid = ["get", "deployment", "shop", "-o", "jsonpath={.metadata.generation}"];
    assert_eq!(test.kubectl(&uid, ""), "1", "nothing of it was changed");

    run.until("shop", "what pods use", || run.is_measured("shop"));
    // What is recommended is told, and not done.
    let scaling = "  scaling: { min: 1, max: 5, metrics: [ { cpu: { target: 80 % } } ], every: 5 s }\n";
    run.write("kubernetes-default.yaml", &format!("{text}{scaling}"));
    wait_for("a recommendation", || run.condition("shop", "ScaleRecommended"));
    assert_eq!(test.kubectl(&uid, ""), "1");

    // An import does not write over what somebody has changed.
    let (done, told) = imported(&[]);
    assert!(!done && told.contains("is left as it is"), "{told}");

    run.write(
        "kubernetes-default.yaml",
        &text.replace("mode: recommend", "mode: scale").replace("replicas: 2", "replicas: 3"),
    );
    run.until("shop", "three pods", || run.is_settled("shop", 3));
    let count = ["get", "deployment", "shop", "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(test.kubectl(&count, ""), "3");

    test.apply(autoscaler());
    run.write(
        "kubernetes-default.yaml",
        &text.replace("mode: recommend", "mode: scale").replace("replicas: 2", "replicas: 4"),
    );
    let refused =
        wait_for("a refusal", || run.condition("shop", "AbleToScale").filter(|one| one["status"] == "False"));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("shop-scaler") && message.contains("recommend"), "{message}");
    run.end();
}

/// A Deployment of which one pod alone works, as much as it may, until a file is there: 250 thousandths of a processor where 100 are
/// requested.
fn worker(shared: &std::path::Path) -> String {
    let shared = shared.display();
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: worker }}
spec:
  replicas: 1
  selector: {{ matchLabels: {{ app: worker }} }}
  template:
    metadata: {{ labels: {{ app: worker }} }}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {IMAGE}
        imagePullPolicy: Never
        command:
        - sh
        - -c
        - 'if mkdir /shared/taken; then while [ ! -e /shared/enough ]; do :; done; fi; sleep 10000'
        resources: {{ requests: {{ cpu: 100m }}, limits: {{ cpu: 250m }} }}
        volumeMounts: [{{ name: shared, mountPath: /shared }}]
      volumes: [{{ name: shared, hostPath: {{ path: {shared} }} }}]
"
    )
}

/// Up at once, down at once, at 100 % of what is requested: of the real one and of ours.
const REAL: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: worker }
spec:
  minReplicas: 1
  maxReplicas: 5
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: worker }
  metrics:
  - { type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 100 } } }
  behavior: { scaleDown: { stabilizationWindowSeconds: 0 } }
";
const OURS: &str = "apiVersion: sos.energy/v1alpha1
kind: Service
metadata: { name: worker }
spec:
  runtime: kubernetes
  kubernetes: { attach: { name: worker } }
  resources: { cpu: 100m }
  scaling: { min: 1, max: 5, metrics: [ { cpu: { target: 100 % } } ], down: { window: 0 s }, every: 5 s }
";

/// What an autoscaler has asked for, one after the other.
#[derive(Debug, Default, PartialEq)]
struct Decisions(Vec<u64>);

impl Decisions {
    fn note(&mut self, replicas: Option<u64>) {
        if let Some(replicas) = replicas.filter(|one| self.0.last() != Some(one)) {
            self.0.push(replicas);
        }
    }
}

#[test]
#[ignore = "slow: a real autoscaler looks every 15 s and believes a pod after a while"]
fn a_real_autoscaler_decides_as_ours_on_the_same_load() {
    let Some(mut test) = TestCluster::with_node() else { return };
    test.serve_metrics();
    let shared = tempfile::tempdir().unwrap();
    test.apply(&worker(shared.path()));
    test.apply(REAL);
    let kubeconfig = test.kubeconfig().display().to_string();
    let run = Running::start(&[("worker.yaml", OURS)], &[("KUBECONFIG", &kubeconfig)]);
    let (mut real, mut ours) = (Decisions::default(), Decisions::default());
    let desired = ["get", "hpa", "worker", "-o", "jsonpath={.status.desiredReplicas}"];
    let mut both_decide = |what: &str, replicas: u64| {
        run.until("worker", what, || {
            real.note(test.kubectl(&desired, "").parse().ok().filter(|number| *number > 0));
            let recommended = run.condition("worker", "ScaleRecommended").unwrap_or_default();
            let first = recommended["message"].as_str().and_then(|text| text.split(' ').next()?.parse().ok());
            ours.note(first);
            real.0.last() == Some(&replicas) && ours.0.last() == Some(&replicas)
        });
    };
    both_decide("three pods for the work of two and a half", 3);
    std::fs::write(shared.path().join("enough"), "").unwrap();
    both_decide("one pod when nothing is left to do", 1);
    // A look while the work begins or ends sees a part of it, and asks for two.
    let most = |decisions: &Decisions| decisions.0.iter().copied().max();
    assert_eq!((most(&real), most(&ours)), (Some(3), Some(3)), "{real:?} {ours:?}");
    run.end();
}

/// How many things go wrong in all, half of them in the simulated runtime.
const FAULTS: usize = 200;

/// A service of the chaos on a runtime: two replicas, restarts without long pauses, and no quarantine, since so many faults in a
/// row are what it is for.
fn restless(runtime: &str) -> String {
    manifest(runtime, "one")
        .replace("name: web", &format!("name: {runtime}-web"))
        .replace(
            "  rollout:",
            "  restart: { initialBackoff: 100 ms, maxBackoff: 1 s, resetAfter: 1 s }\n  rollout:",
        )
        .replace(
            "    readiness:",
            "    liveness: { http: { path: /index.html, port: http }, period: 1 s }\n    readiness:",
        )
}

/// Faults of the simulated runtime, some seconds apart, over before the others are.
fn simulated_faults(rng: &mut ChaCha8Rng) -> String {
    let mut lines = String::new();
    for number in 0..FAULTS / 2 {
        let fault = match rng.random_range(0..9) {
            0 => "\"fault\": \"crash\", \"code\": 1".to_owned(),
            1 => "\"fault\": \"signal\", \"signal\": 9".to_owned(),
            2 => "\"fault\": \"out-of-memory\"".to_owned(),
            3 => "\"fault\": \"hung\", \"for\": \"3s\"".to_owned(),
            4 => "\"fault\": \"deaf\"".to_owned(),
            5 => "\"fault\": \"slow-start\", \"by\": \"1s\", \"for\": \"2s\"".to_owned(),
            6 => "\"fault\": \"away\", \"for\": \"1s\"".to_owned(),
            7 => "\"fault\": \"lost\"".to_owned(),
            _ => "\"fault\": \"unanswered\"".to_owned(),
        };
        let replica = format!("\"replica\": \"simulated-web-{}\", ", rng.random_range(0..2));
        // The whole runtime is away, so no replica is named.
        let whom = if fault.contains("away") { "" } else { replica.as_str() };
        let after = 2000 + number * 400;
        let _ = writeln!(lines, "{{\"after\": \"{after}ms\", {whom}{fault}}}");
    }
    lines
}

/// Everything that a fault can hit.
struct Field<'a> {
    run: Running,
    env: &'a [(&'a str, &'a str)],
    daemon: Option<Dockerd>,
    test: Option<TestCluster>,
}

impl Field<'_> {
    /// Lets one thing go wrong; what that is, for the record.
    fn strike(mut self, rng: &mut ChaCha8Rng) -> (Self, String) {
        let chosen = rng.random_range(0..2);
        let what = match rng.random_range(0..12) {
            0..4 => self.strike_process(chosen, Signal::SIGKILL),
            // Hung: its liveness probe finds out.
            4 => self.strike_process(chosen, Signal::SIGSTOP),
            5 => {
                self.run.up.kill();
                self.run.up = self.run.rig.up_in(&self.run.rig.manifests, &["--watch"], self.env);
                "sos is killed".to_owned()
            }
            6 | 7 => self.strike_docker(chosen, "kill", "--signal=KILL"),
            8 => self.strike_docker(chosen, "rm", "--force"),
            9 => {
                if let Some(daemon) = &mut self.daemon {
                    // Killed, it leaves networks of its own behind, which is tested with the driver.
                    daemon.end(Signal::SIGTERM);
                    daemon.launch().unwrap();
                }
                "the Docker daemon is restarted".to_owned()
            }
            10 => self.strike_cluster(&["delete", "pods", "--all", "--wait=false"]),
            _ => self.strike_cluster(&["scale", "deployments", "--all", "--replicas=0"]),
        };
        (self, what)
    }

    fn strike_process(&self, chosen: usize, signal: Signal) -> String {
        let Some((replica, pid)) = self.run.rig.pids().into_iter().nth(chosen) else {
            return "no process is there to be hit".to_owned();
        };
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
        format!("{replica} gets {signal}")
    }

    fn strike_docker(&self, chosen: usize, how: &str, option: &str) -> String {
        let daemon = self.daemon.as_ref().unwrap();
        let Some(id) = ids(daemon).into_iter().nth(chosen) else {
            return "no container is there to be hit".to_owned();
        };
        daemon.docker(&[how, option, &id]);
        format!("docker {how} {}", &id[..12])
    }

    fn strike_cluster(&self, arguments: &[&str]) -> String {
        if let Some(test) = &self.test {
            // Nothing may be there to be hit.
            let _said = test.try_kubectl(arguments, "");
        }
        format!("kubectl {}", arguments.join(" "))
    }
}

#[test]
#[ignore = "slow: 200 faults over all runtimes"]
fn after_two_hundred_faults_observed_equals_declared() {
    let seed = std::env::var("SOS_CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let Some(test) = TestCluster::with_node() else { return };
    let daemon = match Dockerd::start(&[]) {
        Ok(daemon) => daemon,
        Err(why) => return skipped(&why),
    };
    let folder = daemon.busybox("web", "").display().to_string();
    assert!(daemon.docker(&["build", "--quiet", "--tag", IMAGE, &folder]).status.success());
    let (host, path) = (format!("unix://{}", daemon.socket().display()), path(&test.tools));
    let kubeconfig = test.kubeconfig().display().to_string();
    let env = [("DOCKER_HOST", host.as_str()), ("KUBECONFIG", &kubeconfig), ("PATH", &path)];
    let all = ["process", "docker", "kubernetes", "simulated"];
    let texts: Vec<(String, String)> =
        all.iter().map(|runtime| (format!("{runtime}.yaml"), restless(runtime))).collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let rig = Rig::of(&files);
    std::fs::write(rig.manifests.join("index.html"), "it works\n").unwrap();
    std::fs::create_dir_all(&rig.data).unwrap();
    std::fs::write(rig.data.join("simulated.jsonl"), simulated_faults(&mut rng)).unwrap();
    let up = rig.up_in(&rig.manifests, &["--watch"], &env);
    let run = Running { rig, up };
    let settled = |run: &Running, what: &str| {
        for name in all.map(|runtime| format!("{runtime}-web")) {
            run.until(&name, &format!("{name} {what}"), || run.is_settled(&name, 2));
        }
    };
    settled(&run, "at first");
    let mut field = Field { run, env: &env, daemon: Some(daemon), test: Some(test) };
    for number in 0..FAULTS / 2 {
        let what;
        (field, what) = field.strike(&mut rng);
        eprintln!("fault {number}: {what}");
        pause_for(Duration::from_millis(rng.random_range(0..800)));
    }
    let Field { run, daemon, test, .. } = field;
    let (daemon, test) = (daemon.unwrap(), test.unwrap());
    settled(&run, "in the end");
    // What is shown is what there is.
    let pods = ["get", "pods", "-l", "app.kubernetes.io/managed-by=sos", "-o", PODS];
    wait_for("two pods", || {
        (test.kubectl(&pods, "").lines().filter(|line| line.ends_with(' ')).count() == 2).then_some(())
    });
    assert_eq!((ids(&daemon).len(), run.rig.pids().len()), (2, 2));
    run.end();
}

/// A line for each pod: its name, and when it was asked to end.
const PODS: &str =
    "jsonpath={range .items[*]}{.metadata.name}{\" \"}{.metadata.deletionTimestamp}{\"\\n\"}{end}";

#[expect(clippy::disallowed_methods, reason = "faults come at times of their own")]
fn pause_for(time: Duration) {
    std::thread::sleep(time); // between two looks
}
