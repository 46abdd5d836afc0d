//! `Service`: a program that runs, is watched and restarted, and may be a flexible load.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::container::{Build, Container, check_container};
use super::contract::{Calls, ContractSpec, check_service_contract};
use super::flexible::{Batch, Slowdown, check_slowdown_of};
use super::gateway::GatewaySpec;
use super::rollout::RolloutPolicy;
use super::scaling::{Scaling, ScalingMetric, Sizing};
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::problem::{Position, known_list};
use crate::quantity::{Bytes, Cpu};
use crate::scalar::{Name, PortRef, Switch};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

/// The ports a process can listen on.
const PORT: Range = Range::between(1.0, 65535.0);

record! {
    /// A program that runs, is watched and restarted.
    pub struct ServiceSpec checked by check_service {
        /// What runs the program.
        runtime: Runtime = Runtime::Process;
        /// Program and first arguments; the first word `sos` means this very binary. `${port:NAME}`,
        /// `${service:NAME:PORT}`, `${dataDir}` and `${self}` are replaced at deployment. In a container it replaces the
        /// entry point of the image; default there: that of the image.
        command: Vec<String> = Vec::new();
        /// Further arguments; the same references are replaced.
        args: Vec<String> = Vec::new();
        /// Image of the container: `NAME[:TAG][@DIGEST]`. The process runtime passes it over.
        image: Option<String>;
        /// How the image is made from a folder, instead of `image`.
        build: Option<Build>;
        /// How the container is set up.
        container: Option<Container>;
        /// Which cluster of Kubernetes, and where in it.
        kubernetes: Option<Kubernetes>;
        /// Directory the program starts in, relative to the manifest. Default: the manifest's directory.
        working_dir: Option<String>;
        /// Environment variables; values may hold the same references.
        env: Vec<EnvVar> = Vec::new();
        /// Configuration given to the program as environment variables.
        config: BTreeMap<String, String> = BTreeMap::new();
        /// How many copies run, 0 … 1000; with `scaling`, how many at first.
        replicas: u32 = 1, in Range::between(0.0, 1000.0);
        /// How many copies run is decided by load, forecast, carbon and time.
        scaling: Option<Scaling>;
        /// How large copies are is decided by what they use.
        sizing: Option<Sizing>;
        /// How a new revision replaces the old one.
        rollout: RolloutPolicy = RolloutPolicy::default();
        /// One stable address before all copies.
        gateway: Switch<GatewaySpec> = Switch::off();
        /// Ports the program listens on.
        ports: Vec<Port> = Vec::new();
        /// Names of services that must be ready before this one starts.
        depends_on: Vec<Name> = Vec::new();
        /// How health is found out.
        probes: Probes = Probes::default();
        /// Limits of processor and memory.
        resources: Resources = Resources::default();
        /// What happens when the program ends.
        restart: Restart = Restart::default();
        /// How long the program may take to stop before it is killed.
        stop_timeout: SignedDuration = SignedDuration::from_secs(10), in NOT_NEGATIVE;
        /// How much of its output is kept.
        logs: Logs = Logs::default();
        /// Where it tells its measures in the format of Prometheus or OpenMetrics.
        metrics: Option<Metrics>;
        /// The program follows the time of a site: it gets the epoch and factor at its start.
        clock: Option<Clock>;
        /// The program is a job whose run can be moved in time.
        batch: Option<Batch>;
        /// The program may be slower when energy is dear or dirty.
        slowdown: Option<Slowdown>;
        /// The program runs elsewhere: it is registered and probed, never deployed.
        external: Option<External>;
        /// What it can be asked. Default: nothing is known of it.
        contract: Option<ContractSpec>;
        /// How it is called.
        calls: Calls = Calls::default();
        /// Who answers for it: a team or a person.
        owner: Option<String>;
        /// The program speaks the device-adapter protocol on its port named `adapter`.
        adapter: Switch<Adapter> = Switch::off();
    }
}

words! {
    /// What runs a program.
    pub enum Runtime as "runtime" {
        /// A process of this machine.
        Process,
        /// A container of a Docker daemon.
        Docker,
        /// Pods of a cluster of Kubernetes.
        Kubernetes,
        /// Nothing: replicas are played, for exercises and tests.
        Simulated,
    }
}

record! {
    /// Which cluster of Kubernetes, and where in it.
    pub struct Kubernetes {
        /// The kubeconfig, relative to the manifest. Default: `KUBECONFIG`, else `~/.kube/config`, else the account of the pod
        /// that this runs in.
        config: Option<String>;
        /// The context in it. Default: its current one.
        context: Option<String>;
        /// The namespace, which has to exist.
        namespace: String = "default".to_owned();
        /// A workload that runs there already: it is watched and scaled, never applied.
        attach: Option<Attach>;
    }
}

record! {
    /// A workload that somebody else deployed.
    pub struct Attach {
        /// What it is.
        kind: WorkloadKind = WorkloadKind::Deployment;
        /// Its name.
        name: String;
        /// What is done with it.
        mode: AttachMode = AttachMode::Recommend;
    }
}

words! {
    /// Kinds of workloads.
    pub enum WorkloadKind as "kind" {
        /// A `Deployment`.
        Deployment,
        /// A `StatefulSet`.
        StatefulSet,
        /// A `DaemonSet`; it has a replica on each node, so that nothing is scaled.
        DaemonSet,
    }
}

words! {
    /// What is done with a workload that somebody else deployed.
    pub enum AttachMode as "mode" {
        /// It is watched, and what `scaling` would do is told.
        Recommend,
        /// Its number of replicas is set, by its scale subresource.
        Scale,
    }
}

record! {
    /// An environment variable.
    pub struct EnvVar checked by check_env {
        ..source: EnvSource;
        /// Its name, without `=`.
        name: String;
    }
}

choice! {
    /// The value of an environment variable.
    pub enum EnvSource {
        /// The value as text; references are replaced.
        Value(String),
        /// Taken from elsewhere.
        ValueFrom(ValueFrom),
    }
}

choice! {
    /// A value that is taken from elsewhere.
    pub enum ValueFrom {
        /// A key of a `Secret`.
        Secret(SecretKey),
    }
}

record! {
    /// A key of a `Secret`.
    pub struct SecretKey {
        /// Name of the `Secret`.
        name: Name;
        /// Key in its `data`.
        key: String;
    }
}

record! {
    /// A port a program listens on.
    pub struct Port {
        /// Its name, unique in the service.
        name: Name;
        /// Its number, 1 … 65535. Default: a free one is assigned.
        port: Option<u16>, in PORT;
        /// The number that the program listens on inside a container, where the image decides it. Default: the number
        /// outside.
        container_port: Option<u16>, in PORT;
        /// Its protocol.
        protocol: Protocol = Protocol::Tcp;
    }
}

words! {
    /// Protocol of a port.
    pub enum Protocol as "protocol" {
        /// A byte stream.
        Tcp,
    }
}

record! {
    /// How health is found out.
    pub struct Probes {
        /// Until it succeeds the other probes wait; when it fails for good the program is restarted.
        startup: Option<Probe>;
        /// While it fails the program is not used.
        readiness: Option<Probe>;
        /// When it fails the program is restarted.
        liveness: Option<Probe>;
    }
}

record! {
    /// One way to ask a program for its health, with the defaults of Kubernetes.
    pub struct Probe {
        ..action: ProbeAction;
        /// Time between two questions; above zero.
        period: SignedDuration = SignedDuration::from_secs(10), in ABOVE_ZERO;
        /// Time to answer; above zero.
        timeout: SignedDuration = SignedDuration::from_secs(1), in ABOVE_ZERO;
        /// How many failures in a row count as failed, 1 or more.
        failure_threshold: u32 = 3, in Range::between(1.0, 100_000.0);
        /// How many successes in a row count as recovered, 1 or more.
        success_threshold: u32 = 1, in Range::between(1.0, 100_000.0);
        /// Wait after the start before the first question.
        initial_delay: SignedDuration = SignedDuration::ZERO, in NOT_NEGATIVE;
    }
}

choice! {
    /// How a program is asked for its health.
    pub enum ProbeAction {
        /// HTTP GET; a status from 200 to 399 is a success.
        Http(HttpProbe),
        /// A connection that opens is a success.
        Tcp(TcpProbe),
        /// A command that exits with 0 is a success.
        Exec(ExecProbe),
    }
}

record! {
    /// An HTTP GET.
    pub struct HttpProbe {
        /// Path of the request, starting with `/`.
        path: String = "/".to_owned();
        /// Name of the service's port, or a number.
        port: PortRef;
    }
}

record! {
    /// A connection.
    pub struct TcpProbe {
        /// Name of the service's port, or a number.
        port: PortRef;
    }
}

record! {
    /// A command.
    pub struct ExecProbe {
        /// Program and arguments; references are replaced.
        command: Vec<String>;
    }
}

record! {
    /// Limits of processor and memory.
    pub struct Resources {
        /// Share of processors, such as `500m` or `0.5`. Default: no limit.
        cpu: Option<Cpu>;
        /// Memory, such as `64 MiB`. Default: no limit.
        memory: Option<Bytes>, in ABOVE_ZERO;
    }
}

record! {
    /// What happens when the program ends.
    pub struct Restart checked by check_restart {
        /// When it is started again.
        policy: RestartPolicy = RestartPolicy::Always;
        /// Wait before the first restart; it doubles with each further one.
        initial_backoff: SignedDuration = SignedDuration::from_secs(1), in ABOVE_ZERO;
        /// Longest wait before a restart.
        max_backoff: SignedDuration = SignedDuration::from_mins(5), in ABOVE_ZERO;
        /// A program that ran this long starts again with `initialBackoff`.
        reset_after: SignedDuration = SignedDuration::from_mins(10), in ABOVE_ZERO;
    }
}

words! {
    /// When a program that ended is started again.
    pub enum RestartPolicy as "policy" {
        /// Whenever it ends.
        Always,
        /// When it ended with an error.
        OnFailure,
        /// Not at all.
        Never,
    }
}

record! {
    /// How much output of a program is kept.
    pub struct Logs {
        /// Size at which a log file is closed and a new one begun.
        max_size: Bytes = Bytes(10 << 20), in Range { min: Some(1024.0), above: false, max: None };
        /// How many closed files are kept, 0 … 1000.
        keep: u32 = 5, in Range::between(0.0, 1000.0);
    }
}

record! {
    /// Where a program tells its measures, in the format of Prometheus or OpenMetrics.
    pub struct Metrics {
        /// Path of the request, starting with `/`.
        path: String = "/metrics".to_owned();
        /// Name of the service's port, or a number. An external service is asked at its own address.
        port: Option<PortRef>;
        /// How often it is asked, 1 s … 1 h.
        interval: SignedDuration = SignedDuration::from_secs(15), in Range::between(1.0, 3600.0);
        /// Longest time for an answer, 0.1 s … 1 min.
        timeout: SignedDuration = SignedDuration::from_secs(10), in Range::between(0.1, 60.0);
        /// The most samples of an answer; with more none is taken.
        max_samples: u32 = 50_000, in ABOVE_ZERO;
        /// Whether labels `service`, `replica`, `job` and `instance` in the answer count instead of ours.
        honor_labels: bool = false;
        /// Sent as bearer token.
        token: Option<SecretKey>;
    }
}

record! {
    /// The clock a program follows.
    pub struct Clock {
        /// Name of the `Site` whose time it follows.
        site: Name;
        /// Name of the port on which the program takes the site's time in lock-step. Default: it gets only epoch and
        /// factor at its start.
        port: Option<Name>;
    }
}

record! {
    /// A program that runs elsewhere.
    pub struct External checked by check_external {
        /// Its address: `http://HOST:PORT/…`, `https://…` or `tcp://HOST:PORT`.
        url: String;
    }
}

record! {
    /// The device-adapter protocol.
    pub struct Adapter {
        /// Version of the protocol.
        protocol: AdapterProtocol = AdapterProtocol::V1;
    }
}

words! {
    /// Versions of the device-adapter protocol.
    pub enum AdapterProtocol as "protocol" {
        /// The first version.
        V1,
    }
}

#[expect(clippy::derivable_impls, reason = "all records derive the same traits")]
impl Default for Probes {
    fn default() -> Self {
        Self { startup: None, readiness: None, liveness: None }
    }
}

#[expect(clippy::derivable_impls, reason = "all records derive the same traits")]
impl Default for Resources {
    fn default() -> Self {
        Self { cpu: None, memory: None }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            initial_backoff: SignedDuration::from_secs(1),
            max_backoff: SignedDuration::from_mins(5),
            reset_after: SignedDuration::from_mins(10),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { max_size: Bytes(10 << 20), keep: 5 }
    }
}

impl ServiceSpec {
    /// The declared port with this name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name == name)
    }
}

impl Probes {
    /// The declared probes with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Probe)> {
        [("startup", &self.startup), ("readiness", &self.readiness), ("liveness", &self.liveness)]
            .into_iter()
            .filter_map(|(key, probe)| probe.as_ref().map(|probe| (key, probe)))
    }
}

fn check_env(variable: &EnvVar, node: &Node, cx: &mut Cx<'_>) {
    if variable.name.is_empty() || variable.name.contains(['=', ' ']) {
        let position = node.get("name").map_or(node.position, |n| n.position);
        cx.report(position, "name is not the name of a variable", "expected text without = and spaces");
    }
}

fn check_restart(restart: &Restart, node: &Node, cx: &mut Cx<'_>) {
    if restart.max_backoff < restart.initial_backoff {
        let key = if node.get("maxBackoff").is_some() { "maxBackoff" } else { "initialBackoff" };
        let position = node.get(key).map_or(node.position, |n| n.position);
        cx.report(position, "maxBackoff is shorter than initialBackoff", "expected initialBackoff or longer");
    }
}

fn check_external(external: &External, node: &Node, cx: &mut Cx<'_>) {
    let rest = ["http://", "https://", "tcp://"].iter().find_map(|scheme| external.url.strip_prefix(scheme));
    let valid = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
        && !external.url.contains(char::is_whitespace);
    if !valid {
        let position = node.get("url").map_or(node.position, |n| n.position);
        cx.report(position, "url is not an address", "expected http://…, https://… or tcp://HOST:PORT");
    }
}

fn check_service(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    match (&service.external, service.command.is_empty()) {
        (None, true) if service.runtime == Runtime::Process => cx.report(
            node.position,
            "\"command\" is missing",
            "expected the program and its arguments, or external",
        ),
        (Some(_), false) => cx.report(
            at("command"),
            "command and external cannot stand together",
            "an external service is not deployed; remove one",
        ),
        _ => {}
    }
    if service.command.first().is_some_and(|program| program.trim().is_empty()) {
        cx.report(at("command"), "the program is empty text", "expected a program");
    }
    check_unique_ports(service, node, cx);
    check_env_names(service, node, cx);
    check_metrics(service, node, cx);
    check_service_contract(service, node, cx);
    check_container(service, node, cx);
    check_growth(service, node, cx);
    if service.adapter.is_on() && service.port("adapter").is_none() {
        cx.report(
            at("adapter"),
            "adapter without a port named adapter",
            "add it under ports: [{name: adapter}]",
        );
    }
    let most = service.scaling.as_ref().map_or(service.replicas, |scaling| scaling.max);
    let alone = matches!(service.runtime, Runtime::Process | Runtime::Docker);
    if most > 1
        && alone
        && let Some(port) = service.ports.iter().find(|port| port.port.is_some())
    {
        let message = format!("{most} replicas cannot share the fixed port of \"{}\"", port.name);
        let key = if service.scaling.is_some() { "scaling" } else { "replicas" };
        cx.report(at(key), message, "leave the number out, so that each replica gets its own port");
    }
    for (key, probe) in service.probes.iter() {
        if let ProbeAction::Exec(exec) = &probe.action
            && exec.command.is_empty()
        {
            cx.report(
                at("probes"),
                format!("the {key} probe has an empty command"),
                "expected program and arguments",
            );
        }
        if let ProbeAction::Http(http) = &probe.action
            && !http.path.starts_with('/')
        {
            cx.report(
                at("probes"),
                format!("the path of the {key} probe does not start with /"),
                "expected a path such as /healthz",
            );
        }
    }
}

/// What of scaling, rollout and gateway contradicts the rest.
fn check_growth(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    for (key, given) in [
        ("scaling", service.scaling.is_some()),
        ("sizing", service.sizing.is_some()),
        ("slowdown", service.slowdown.is_some()),
        // What is written back has its defaults.
        ("rollout", service.rollout != RolloutPolicy::default()),
        ("gateway", service.gateway.is_on()),
    ] {
        if given && service.external.is_some() {
            let help = "an external service is not deployed; remove one";
            cx.report(at(key), format!("{key} and external cannot stand together"), help);
        }
        if given && service.batch.is_some() && key != "sizing" {
            let help = "a job runs once for each window; remove one";
            cx.report(at(key), format!("{key} and batch cannot stand together"), help);
        }
    }
    if let Some(gateway) = service.gateway.get() {
        if service.ports.is_empty() {
            cx.report(at("gateway"), "gateway without a port", "expected ports, such as [{name: http}]");
        }
        if let Some(to) = gateway.to.as_ref().filter(|to| service.port(to).is_none()) {
            let names = known_list(service.ports.iter().map(|port| port.name.as_str()));
            cx.report(at("gateway"), format!("there is no port \"{to}\""), names);
        }
        if service.ports.iter().any(|port| port.port.is_some() && port.port == gateway.port) {
            let help = "leave out the number under ports, so that replicas get ports of their own";
            cx.report(at("gateway"), "gateway has the number of a port of the replicas", help);
        }
    }
    if let Some(scaling) = &service.scaling {
        check_scaling_of(service, scaling, at("scaling"), cx);
    }
    if let Some(slowdown) = &service.slowdown {
        check_slowdown_of(service, slowdown, at("slowdown"), cx);
    }
}

fn check_scaling_of(service: &ServiceSpec, scaling: &Scaling, position: Position, cx: &mut Cx<'_>) {
    if scaling.asks_demand() && !service.gateway.is_on() && service.runtime != Runtime::Kubernetes {
        let help = "add gateway: true, which counts requests";
        cx.report(position, "scaling by requests without a gateway", help);
    }
    for metric in &scaling.metrics {
        let (what, missing) = match metric {
            ScalingMetric::Cpu(_) => ("cpu", service.resources.cpu.is_none()),
            ScalingMetric::Memory(_) => ("memory", service.resources.memory.is_none()),
            _ => continue,
        };
        if missing {
            let help = format!("expected resources: {{{what}: …}}, of which the target is a share");
            cx.report(position, format!("scaling by {what} without a limit of {what}"), help);
        }
    }
}

fn check_unique_ports(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = node.get("ports").map_or(node.position, |n| n.position);
    for (index, port) in service.ports.iter().enumerate() {
        let earlier = &service.ports[..index];
        if earlier.iter().any(|other| other.name == port.name) {
            cx.report(at, format!("two ports are named \"{}\"", port.name), "expected different names");
        }
        if port.port.is_some() && earlier.iter().any(|other| other.port == port.port) {
            let number = port.port.unwrap_or_default();
            cx.report(at, format!("two ports have the number {number}"), "expected different numbers");
        }
    }
}

fn check_metrics(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let Some(metrics) = &service.metrics else { return };
    let inner = node.get("metrics");
    let at = |key: &str| inner.and_then(|n| n.get(key)).or(inner).map_or(node.position, |n| n.position);
    if !metrics.path.starts_with('/') {
        cx.report(
            at("path"),
            "the path of metrics does not start with /",
            "expected a path such as /metrics",
        );
    }
    match (&service.external, &metrics.port) {
        (None, None) => cx.report(at("port"), "metrics without a port", "expected the name of a port"),
        (Some(_), Some(_)) => {
            let help = "an external service is asked at its own address; remove it";
            cx.report(at("port"), "metrics of an external service with a port", help);
        }
        _ => {}
    }
    if service.external.as_ref().is_some_and(|external| external.url.starts_with("tcp://")) {
        cx.report(
            at("path"),
            "metrics of a service that does not speak HTTP",
            "expected external: {url: http…}",
        );
    }
}

fn check_env_names(service: &ServiceSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = node.get("env").map_or(node.position, |n| n.position);
    let mut seen: std::collections::BTreeSet<&str> = service.config.keys().map(String::as_str).collect();
    for variable in &service.env {
        if !seen.insert(&variable.name) {
            let message = format!("variable \"{}\" is given twice", crate::problem::shown(&variable.name));
            cx.report(at, message, "keep one of them, in env or config");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;
    use crate::node::Value;
    use crate::problem::Position;

    #[test]
    fn the_defaults_of_a_group_are_those_of_its_keys() {
        fn of_an_empty_map<T: Field>() -> Option<T> {
            T::read(&Node { position: Position::NONE, value: Value::Map(Vec::new()) }, &mut Cx::new("test"))
        }
        assert_eq!(of_an_empty_map(), Some(Probes::default()));
        assert_eq!(of_an_empty_map(), Some(Resources::default()));
        assert_eq!(of_an_empty_map(), Some(Restart::default()));
        assert_eq!(of_an_empty_map(), Some(Logs::default()));
    }
}
