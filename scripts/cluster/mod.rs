//! A real Kubernetes in a folder of its own, for the test binaries that include this file with `#[path]`: the API server with
//! its store, and on demand a node that runs pods.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sos_runtime::kubernetes::{Cluster, KubeconfigSource};
use sos_runtime::{PortRequest, assign_ports};

pub(crate) mod image;
pub(crate) mod node;
pub(crate) mod programs;

use node::Node;
use programs::{Running, Tools};

/// The token of the administrator of a test's own cluster.
const TOKEN: &str = "token-of-the-administrator";

/// A running cluster. What it started is ended when it goes.
pub(crate) struct TestCluster {
    // In the order in which they are ended.
    node: Option<Node>,
    controllers: Vec<Running>,
    api: Option<Running>,
    _etcd: Running,
    pub(crate) tools: Tools,
    ports: BTreeMap<String, u16>,
    folder: tempfile::TempDir,
}

/// The cluster without a node that tests share while one of them runs: none is left behind by the last.
static SHARED: Mutex<Weak<TestCluster>> = Mutex::new(Weak::new());

impl TestCluster {
    /// An API server alone, shared with other tests: each uses namespaces of its own. `None`, and the test counts as skipped,
    /// where it cannot be had.
    pub(crate) fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cluster) = shared.upgrade() {
            return Some(cluster);
        }
        let cluster = Arc::new(Self::start(Tools::find(false)?));
        *shared = Arc::downgrade(&cluster);
        Some(cluster)
    }

    /// An API server of the test's own.
    pub(crate) fn alone() -> Option<Self> {
        Some(Self::start(Tools::find(false)?))
    }

    /// A whole cluster of the test's own: controllers, scheduler, and a node with real pods.
    pub(crate) fn with_node() -> Option<Self> {
        let mut cluster = Self::start(Tools::find(true)?);
        cluster.start_controllers();
        let kubeconfig = cluster.kubeconfig();
        cluster.node =
            Some(Node::start(&cluster.tools, cluster.folder.path(), &kubeconfig, cluster.ports["kubelet"]));
        Some(cluster)
    }

    /// Serves `metrics.k8s.io`, which a HorizontalPodAutoscaler asks: metrics-server, asked by the API server.
    #[allow(dead_code, reason = "shared with tests that need no autoscaler")]
    pub(crate) fn serve_metrics(&mut self) {
        let (kubeconfig, port) = (self.kubeconfig(), self.ports["metrics"]);
        let mut command = self.tools.kubernetes("metrics-server");
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        command.arg(format!("--secure-port={port}"));
        command.args([
            "--bind-address=127.0.0.1",
            "--cert-dir=metrics-certificates",
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-use-node-status-port",
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ]);
        // Nothing routes the addresses of Services here, so it is found by a name that leads back to this machine.
        self.apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{ name: metrics-server, namespace: kube-system }}
spec: {{ type: ExternalName, externalName: localhost, ports: [{{ port: {port} }}] }}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{ name: v1beta1.metrics.k8s.io }}
spec:
  service: {{ name: metrics-server, namespace: kube-system, port: {port} }}
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
"
        ));
        let mut server = Running::start("metrics-server", command, self.folder.path());
        server.until("it is asked through the API server", || {
            let nodes = self.try_kubectl(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"], "");
            nodes.is_ok_and(|text| text.contains("\"cpu\"")).then_some(())
        });
        self.controllers.push(server);
    }

    fn start(tools: Tools) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ["api", "etcd", "peer", "kubelet", "metrics"];
        let wanted: Vec<_> = names.map(|name| PortRequest { name: name.into(), port: None }).into();
        let ports = assign_ports("cluster", &wanted, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        let etcd = start_etcd(&tools, folder.path(), &ports);
        let mut cluster =
            Self { node: None, controllers: vec![], api: None, _etcd: etcd, tools, ports, folder };
        cluster.make_keys();
        cluster.start_api();
        cluster
    }

    fn make_keys(&self) {
        let tokens = format!("{TOKEN},admin,admin,\"system:masters\"\n");
        fs::write(self.path("tokens.csv"), tokens).unwrap();
        self.openssl("genrsa -out sa.key 2048");
        self.openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=test-ca",
        );
        // Whom servers behind the API server believe that it is asking for somebody.
        self.client_certificate("front-proxy", 2);
    }

    /// A client certificate that the cluster knows, valid for some days from now; those of a past one are negative.
    pub(crate) fn client_certificate(&self, user: &str, days: i32) -> (String, String) {
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {user}.key -out {user}.csr -subj /O=system:masters/CN={user} -addext keyUsage=digitalSignature"
        ));
        self.openssl(&format!(
            "x509 -req -in {user}.csr -CA ca.crt -CAkey ca.key -copy_extensions copyall -set_serial 1 -out {user}.crt -days {days}"
        ));
        let read = |end: &str| fs::read(self.path(&format!("{user}.{end}"))).unwrap();
        (STANDARD.encode(read("crt")), STANDARD.encode(read("key")))
    }

    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn start_api(&mut self) {
        let port = self.ports["api"];
        let mut command = self.tools.kubernetes("kube-apiserver");
        command.arg(format!("--etcd-servers=http://127.0.0.1:{}", self.ports["etcd"]));
        command.arg(format!("--secure-port={port}"));
        command.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--cert-dir=certificates",
            "--client-ca-file=ca.crt",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            "--service-account-key-file=sa.key",
            "--service-account-signing-key-file=sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--requestheader-client-ca-file=ca.crt",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--proxy-client-cert-file=front-proxy.crt",
            "--proxy-client-key-file=front-proxy.key",
        ]);
        self.api = Some(Running::start("kube-apiserver", command, self.folder.path()));
        let certificate = self.path("certificates/apiserver.crt");
        self.until_api("its certificate is there", || certificate.exists().then_some(()));
        self.write_kubeconfig();
        let mut api = self.api.take().unwrap();
        let kubectl = || {
            let mut command = self.tools.kubernetes("kubectl");
            command.arg("--kubeconfig").arg(self.kubeconfig()).args(["get", "--raw", "/readyz"]);
            command.output().is_ok_and(|output| output.stdout == b"ok").then_some(())
        };
        api.until("it is ready", kubectl);
        self.api = Some(api);
    }

    fn until_api(&mut self, what: &str, check: impl FnMut() -> Option<()>) {
        self.api.as_mut().unwrap().until(what, check);
    }

    /// Ends the API server at once.
    pub(crate) fn kill_api(&mut self) {
        self.api = None;
    }

    fn start_controllers(&mut self) {
        let kubeconfig = self.kubeconfig();
        let with = |name: &str, more: &[&str]| {
            let mut command = self.tools.kubernetes(name);
            command
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(["--leader-elect=false", "--secure-port=0"])
                .args(more);
            Running::start(name, command, self.folder.path())
        };
        let keys = [
            "--service-account-private-key-file=sa.key",
            "--root-ca-file=certificates/apiserver.crt",
            "--horizontal-pod-autoscaler-sync-period=5s",
        ];
        self.controllers = vec![with("kube-controller-manager", &keys), with("kube-scheduler", &[])];
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the API server listens.
    pub(crate) fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports["api"])
    }

    /// The certificate of the API server with its authority, in base64.
    pub(crate) fn authority(&self) -> String {
        STANDARD.encode(fs::read(self.path("certificates/apiserver.crt")).unwrap())
    }

    fn write_kubeconfig(&self) {
        fs::write(self.kubeconfig(), self.kubeconfig_text(&format!("{{ token: {TOKEN} }}"))).unwrap();
    }

    /// A kubeconfig for a user in YAML, such as `{ token: … }`.
    pub(crate) fn kubeconfig_text(&self, user: &str) -> String {
        let mut text = String::from("apiVersion: v1\nkind: Config\ncurrent-context: test\n");
        text.push_str("contexts:\n- { name: test, context: { cluster: test, user: test } }\n");
        let (server, authority) = (self.server(), self.authority());
        let _ = writeln!(
            text,
            "clusters:\n- {{ name: test, cluster: {{ server: '{server}', certificate-authority-data: {authority} }} }}"
        );
        let _ = writeln!(text, "users:\n- {{ name: test, user: {user} }}");
        text
    }

    /// The kubeconfig of the administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Our client with a kubeconfig of this text.
    pub(crate) async fn connect_with(
        &self,
        text: &str,
    ) -> Result<Cluster, sos_runtime::kubernetes::KubernetesError> {
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        fs::write(file.path(), text).unwrap();
        Cluster::connect(
            &KubeconfigSource { files: vec![file.path().into()], context: None, allow_exec: true },
            now(),
        )
        .await
    }

    /// Our client as the administrator.
    pub(crate) async fn connect(&self) -> Cluster {
        let source = KubeconfigSource { files: vec![self.kubeconfig()], ..KubeconfigSource::default() };
        Cluster::connect(&source, now()).await.unwrap()
    }

    /// Our client as a service account.
    pub(crate) async fn connect_as(&self, namespace: &str, account: &str) -> Cluster {
        let token = self.kubectl(&["-n", namespace, "create", "token", account], "");
        self.connect_with(&self.kubeconfig_text(&format!("{{ token: {} }}", token.trim()))).await.unwrap()
    }

    /// What `kubectl` prints; it must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.try_kubectl(arguments, input).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// What `kubectl` prints, or says when it fails.
    pub(crate) fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = self.tools.kubernetes("kubectl");
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Applies objects in YAML.
    pub(crate) fn apply(&self, yaml: &str) {
        self.kubectl(&["apply", "-f", "-"], yaml);
    }

    /// A namespace whose account `default` is there, also without a controller that makes it.
    pub(crate) fn make_namespace(&self, name: &str) {
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n"));
        if self.controllers.is_empty() {
            self.apply(&format!(
                "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: default, namespace: {name} }}\n"
            ));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the driver is told the time; tests of real clusters use the real one"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn start_etcd(tools: &Tools, folder: &Path, ports: &BTreeMap<String, u16>) -> Running {
    let client = format!("http://127.0.0.1:{}", ports["etcd"]);
    let peer = format!("http://127.0.0.1:{}", ports["peer"]);
    let mut command = tools.kubernetes("etcd");
    command.args(["--name=test", "--data-dir=etcd", "--log-level=warn", "--unsafe-no-fsync"]);
    command.arg(format!("--listen-client-urls={client}")).arg(format!("--advertise-client-urls={client}"));
    command.arg(format!("--listen-peer-urls={peer}")).arg(format!("--initial-advertise-peer-urls={peer}"));
    command.arg(format!("--initial-cluster=test={peer}"));
    Running::start("etcd", command, folder)
}
