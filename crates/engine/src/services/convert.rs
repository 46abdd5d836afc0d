//! Between the manifest, the planner and the drivers: each has its own plain types, joined here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use sos_control as control;
use sos_model::{
    EnvSource, InconclusivePolicy, MountSource, PortRef, Probe, ProbeAction, Pull, Reference, ReplicaAmount,
    RestartPolicy, RolloutPolicy, RolloutStrategy, Runtime, ServiceSpec, ValueFrom, WorkingDirMount,
    resolve_references,
};
use sos_runtime as runtime;

use super::attached;
use super::board::port_number;
use super::namespace::Namespace;
use crate::clock::{SiteClock, Speed};

/// Name of the port on which an adapter serves its protocol.
pub const ADAPTER_PORT: &str = "adapter";
/// How long the proxies of a cluster may take to send nothing more to a pod.
const PROXIES: SignedDuration = SignedDuration::from_secs(5);
/// The secret that holds the tokens of the adapters, one key per service.
pub const ADAPTER_SECRET: &str = "sos-adapter";

/// What a service's configuration may refer to.
#[expect(missing_debug_implementations, reason = "holds a closure")]
pub struct Surroundings<'a> {
    /// This very binary.
    pub own_binary: &'a Path,
    /// Where services may keep data, one folder each.
    pub services_dir: &'a Path,
    /// The folder of the manifests.
    pub base_dir: &'a Path,
    /// Where a port of another service is reached by this one; an error says what that waits for.
    pub reach: &'a dyn Fn(&ServiceSpec, &str, &str) -> Result<String, String>,
    /// Seed of random choices.
    pub seed: u64,
    /// Clocks of sites.
    pub clocks: &'a BTreeMap<String, SiteClock>,
}

/// The first step of a deployment: what is declared, with its references resolved.
///
/// # Errors
/// A sentence about what is missing, such as a port that is not assigned yet.
pub fn configuration(
    name: &str,
    spec: &ServiceSpec,
    around: &Surroundings<'_>,
) -> Result<runtime::ServiceConfig, String> {
    let data_dir = around.services_dir.join(name);
    let text = |text: &str| expand(text, &data_dir, spec, around);
    let mut words =
        spec.command.iter().chain(&spec.args).map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    // Without a command the image of a container has one, and all words are its arguments.
    let mut program = if spec.command.is_empty() { String::new() } else { words.remove(0) };
    // An image has its own.
    if program == "sos" && matches!(spec.runtime, Runtime::Process | Runtime::Simulated) {
        program = around.own_binary.display().to_string();
    }
    let mut env = Vec::new();
    for (key, value) in &spec.config {
        env.push(runtime::EnvVar { name: key.clone(), value: runtime::EnvValue::Plain(text(value)?) });
    }
    for variable in &spec.env {
        let value = match &variable.source {
            EnvSource::Value(value) => runtime::EnvValue::Plain(text(value)?),
            EnvSource::ValueFrom(ValueFrom::Secret(key)) => {
                runtime::EnvValue::Secret { secret: key.name.to_string(), key: key.key.clone() }
            }
        };
        env.push(runtime::EnvVar { name: variable.name.clone(), value });
    }
    env.extend(clock_variables(name, spec, around)?);
    if spec.adapter.is_on() {
        let value = runtime::EnvValue::Secret { secret: ADAPTER_SECRET.into(), key: name.into() };
        env.push(runtime::EnvVar { name: "SOS_ADAPTER_TOKEN".into(), value });
    }
    let in_container = matches!(spec.runtime, Runtime::Docker | Runtime::Kubernetes);
    Ok(runtime::ServiceConfig {
        service: name.to_owned(),
        program,
        args: words,
        env,
        workdir: spec.working_dir.as_ref().map_or_else(|| around.base_dir.to_owned(), PathBuf::from),
        ports: spec
            .ports
            .iter()
            .map(|port| runtime::PortRequest { name: port.name.to_string(), port: port.port })
            .collect(),
        limits: runtime::Limits {
            cpu_millis: spec.resources.cpu.map(|cpu| u64::from(cpu.milli)),
            memory_bytes: spec.resources.memory.map(|bytes| bytes.0),
        },
        logs: runtime::LogRotation { max_bytes: spec.logs.max_size.0, keep: spec.logs.keep },
        depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
        stop_timeout: spec.stop_timeout,
        labels: BTreeMap::new(),
        container: in_container.then(|| container(spec, &data_dir, around)).transpose()?,
        place: match spec.runtime {
            Runtime::Process | Runtime::Docker => None,
            Runtime::Kubernetes => Some(Namespace::of(spec).shown()),
            Runtime::Simulated => Some("simulated".into()),
        },
    })
}

/// The probes of a container, where whoever runs it asks them: otherwise they are asked from here.
fn container_probes(
    spec: &ServiceSpec,
    data_dir: &Path,
    around: &Surroundings<'_>,
) -> Result<runtime::ContainerProbes, String> {
    if spec.runtime != Runtime::Kubernetes {
        return Ok(runtime::ContainerProbes::default());
    }
    let one = |probe: &Option<Probe>| {
        probe.as_ref().map(|probe| container_probe(probe, spec, data_dir, around)).transpose()
    };
    Ok(runtime::ContainerProbes {
        startup: one(&spec.probes.startup)?,
        readiness: one(&spec.probes.readiness)?,
        liveness: one(&spec.probes.liveness)?,
    })
}

fn container_probe(
    probe: &Probe,
    spec: &ServiceSpec,
    data_dir: &Path,
    around: &Surroundings<'_>,
) -> Result<runtime::ContainerProbe, String> {
    // Pods have addresses of their own, so a number means the port that is declared with it.
    let named = |port: &PortRef| match port {
        PortRef::Name(name) => Ok(name.to_string()),
        PortRef::Number(number) => {
            let inside = |port: &&sos_model::Port| port.container_port.or(port.port) == Some(*number);
            let found = spec.ports.iter().find(inside).map(|port| port.name.to_string());
            found.ok_or_else(|| {
                format!("a probe asks port {number}, which is not among ports; declare it there")
            })
        }
    };
    let check = match &probe.action {
        ProbeAction::Http(http) => {
            runtime::ContainerCheck::Http { port: named(&http.port)?, path: http.path.clone() }
        }
        ProbeAction::Tcp(tcp) => runtime::ContainerCheck::Tcp { port: named(&tcp.port)? },
        ProbeAction::Exec(exec) => {
            let words = exec.command.iter().map(|word| expand(word, data_dir, spec, around));
            runtime::ContainerCheck::Exec { command: words.collect::<Result<_, _>>()? }
        }
    };
    Ok(runtime::ContainerProbe {
        check,
        delay: probe.initial_delay,
        every: probe.period,
        timeout: probe.timeout,
        failures: probe.failure_threshold,
        successes: probe.success_threshold,
    })
}

/// What the container of a service needs.
fn container(
    spec: &ServiceSpec,
    data_dir: &Path,
    around: &Surroundings<'_>,
) -> Result<runtime::ContainerConfig, String> {
    let settings = spec.container_settings();
    let own = uses_data_dir(spec).then(|| runtime::Volume {
        source: runtime::VolumeSource::Path(data_dir.to_owned()),
        target: data_dir.to_owned(),
        read_only: false,
    });
    let image = match (&spec.image, &spec.build) {
        (Some(image), _) => runtime::ImageSource::Reference(image.clone()),
        (None, Some(build)) => runtime::ImageSource::Build(runtime::ImageBuild {
            context: PathBuf::from(&build.context),
            dockerfile: build.dockerfile.clone(),
            args: build.args.clone(),
            target: build.target.clone(),
        }),
        (None, None) => return Err("a container needs an image or a folder to build one from".into()),
    };
    let ports = spec.ports.iter().filter_map(|port| Some((port.name.to_string(), port.container_port?)));
    Ok(runtime::ContainerConfig {
        image,
        pull: match settings.pull {
            Pull::Missing => runtime::PullPolicy::Missing,
            Pull::Always => runtime::PullPolicy::Always,
            Pull::Never => runtime::PullPolicy::Never,
        },
        ports: ports.collect(),
        workdir: match settings.working_dir {
            Some(WorkingDirMount::ReadWrite) => runtime::WorkdirMount::ReadWrite,
            Some(WorkingDirMount::ReadOnly) => runtime::WorkdirMount::ReadOnly,
            // A program that is declared is one of the working directory, as it is for a process.
            None if !spec.command.is_empty() => runtime::WorkdirMount::ReadWrite,
            Some(WorkingDirMount::None) | None => runtime::WorkdirMount::No,
        },
        volumes: settings
            .mounts
            .into_iter()
            .map(|mount| runtime::Volume {
                source: match mount.source {
                    MountSource::Path(path) => runtime::VolumeSource::Path(path.into()),
                    MountSource::Volume(name) => runtime::VolumeSource::Named(name.to_string()),
                },
                target: mount.target.into(),
                read_only: mount.read_only,
            })
            .chain(own)
            .collect(),
        network: match settings.network.as_deref() {
            None => runtime::ContainerNetwork::Shared,
            Some("host") => runtime::ContainerNetwork::Host,
            Some("none") => runtime::ContainerNetwork::Off,
            Some(name) => runtime::ContainerNetwork::Named(name.to_owned()),
        },
        user: settings.user,
        read_only_root: settings.read_only_root,
        init: settings.init,
        probes: container_probes(spec, data_dir, around)?,
    })
}

/// Whether anything of it names the folder where it may keep data.
fn uses_data_dir(spec: &ServiceSpec) -> bool {
    let env = spec.env.iter().filter_map(|variable| match &variable.source {
        EnvSource::Value(value) => Some(value),
        EnvSource::ValueFrom(_) => None,
    });
    let mut texts = spec.command.iter().chain(&spec.args).chain(spec.config.values()).chain(env);
    texts.any(|text| text.contains("${dataDir}"))
}

/// The field of a service's status that says when a restart of all its replicas was last asked for.
pub const RESTARTED_AT: &str = "restartedAt";

/// A restart that was asked for makes another description, so that replicas are rolled like after any other change.
#[must_use]
pub fn restarted(mut config: runtime::ServiceConfig, status: &serde_json::Value) -> runtime::ServiceConfig {
    if let Some(at) = status[RESTARTED_AT].as_str() {
        let value = runtime::EnvValue::Plain(at.to_owned());
        config.env.push(runtime::EnvVar { name: "SOS_RESTARTED_AT".into(), value });
    }
    config
}

/// Replaces `${…}`; what only the machine knows is left to the driver as `$(PORT_NAME)`.
fn expand(
    text: &str,
    data_dir: &Path,
    from: &ServiceSpec,
    around: &Surroundings<'_>,
) -> Result<String, String> {
    // A plain `$(` of the manifest must not become a reference of the driver.
    resolve_references(&text.replace("$(", "$$("), |reference| match reference {
        Reference::Port(name) => Ok(format!("$({})", port_variable(name))),
        Reference::Service { service, port } => (around.reach)(from, service, port),
        Reference::DataDir => Ok(data_dir.display().to_string()),
        Reference::SelfBinary => Ok(around.own_binary.display().to_string()),
    })
}

fn port_variable(name: &str) -> String {
    format!("PORT_{}", name.to_ascii_uppercase().replace(['-', '.'], "_"))
}

/// What a program that follows a site's time is told at its start.
fn clock_variables(
    name: &str,
    spec: &ServiceSpec,
    around: &Surroundings<'_>,
) -> Result<Vec<runtime::EnvVar>, String> {
    let Some(declared) = &spec.clock else { return Ok(Vec::new()) };
    let site = declared.site.as_str();
    let clock = around
        .clocks
        .get(site)
        .ok_or_else(|| format!("service {name} waits for the clock of site {site}"))?;
    let plain = |name: &str, value: String| runtime::EnvVar {
        name: name.into(),
        value: runtime::EnvValue::Plain(value),
    };
    let mut variables = vec![plain("SOS_SEED", around.seed.to_string())];
    if spec.batch.is_some() {
        variables.push(plain("SOS_JOB_RUN", "$(SOS_RUN)".into()));
    }
    // In lock-step a job begins with the first time it is handed, a device at the site's epoch.
    if spec.batch.is_none() || clock.speed != Speed::LockStep {
        variables.push(plain("SOS_SITE_EPOCH", clock.site_epoch.to_string()));
    }
    match clock.speed {
        Speed::LockStep => {
            variables.push(plain("SOS_CLOCK", "lockstep".into()));
            if let Some(port) = &declared.port {
                variables.push(plain("SOS_CLOCK_PORT", format!("$({})", port_variable(port.as_str()))));
            }
        }
        Speed::Factor(factor) => {
            variables.push(plain("SOS_CLOCK", "scaled".into()));
            variables.push(plain("SOS_TIME_EPOCH", clock.wall_epoch.to_string()));
            variables.push(plain("SOS_TIME_FACTOR", factor.to_string()));
        }
    }
    Ok(variables)
}

/// What the planner is told of a service beyond its manifest.
#[derive(Debug)]
pub struct Beside {
    /// The hash of the description, or why there is none.
    pub hash: Result<String, String>,
    /// How many replicas are wanted.
    pub replicas: u32,
    /// The run of a job that is ordered.
    pub order: Option<control::BatchOrder>,
    /// It is to be kept stopped.
    pub suspended: bool,
    /// Hashes of other revisions that can be deployed again.
    pub stored: BTreeSet<String>,
    /// Why the present declaration came to be.
    pub cause: Option<String>,
    /// Why no two revisions can run side by side, beyond what the manifest says.
    pub exclusive: Option<String>,
}

/// What the planner is told about a service.
#[must_use]
pub fn desired(generation: u64, spec: &ServiceSpec, beside: Beside) -> control::DesiredService {
    let Beside { hash, replicas, order, suspended, stored, cause, exclusive } = beside;
    let (description_hash, unresolved) = match hash {
        Ok(hash) => (hash, None),
        Err(why) => (String::new(), Some(why)),
    };
    let kind = match (&spec.external, &spec.batch) {
        // Somebody else deployed it, so there is nothing to deploy.
        _ if attached::attach(spec).is_some() => control::ServiceKind::External,
        (Some(_), _) => control::ServiceKind::External,
        (None, Some(_)) => control::ServiceKind::Batch { order },
        (None, None) => control::ServiceKind::LongRunning,
    };
    control::DesiredService {
        generation,
        description_hash,
        replicas: if matches!(kind, control::ServiceKind::External) { 0 } else { replicas },
        kind,
        depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
        probes: probes(spec),
        restart: control::RestartSpec {
            policy: match spec.restart.policy {
                RestartPolicy::Always => control::RestartPolicy::Always,
                RestartPolicy::OnFailure => control::RestartPolicy::OnFailure,
                RestartPolicy::Never => control::RestartPolicy::Never,
            },
            initial: spec.restart.initial_backoff,
            cap: spec.restart.max_backoff,
            reset_after: spec.restart.reset_after,
        },
        stop_timeout: spec.stop_timeout,
        suspended,
        rollout: rollout(&spec.rollout, has_gateway(spec), spec.runtime == Runtime::Kubernetes),
        exclusive: exclusive.or_else(|| alone(spec)),
        stored,
        unresolved,
        cause,
    }
}

/// The probes that are asked from here. In a cluster its nodes ask, and tell.
fn probes(spec: &ServiceSpec) -> control::Probes {
    if spec.runtime == Runtime::Kubernetes {
        return control::Probes::default();
    }
    control::Probes {
        startup: spec.probes.startup.as_ref().map(probe),
        readiness: spec.probes.readiness.as_ref().map(probe),
        liveness: spec.probes.liveness.as_ref().map(probe),
    }
}

/// Why no two revisions can run side by side.
fn alone(spec: &ServiceSpec) -> Option<String> {
    if spec.adapter.is_on() {
        return Some("an adapter commands its devices alone".into());
    }
    let here = matches!(spec.runtime, Runtime::Process | Runtime::Docker);
    let port = spec.ports.iter().find(|port| port.port.is_some() && here)?;
    Some(format!("port {} ({}) can be had once", port.port.unwrap_or_default(), port.name))
}

/// Whether our gateway is before it: in a cluster its own Services are.
pub(super) fn has_gateway(spec: &ServiceSpec) -> bool {
    spec.gateway.is_on() && spec.runtime != Runtime::Kubernetes
}

fn amount(amount: ReplicaAmount) -> control::Amount {
    match amount {
        ReplicaAmount::Count(count) => control::Amount::Count(count),
        ReplicaAmount::Percent(percent) => control::Amount::Percent(percent),
    }
}

fn rollout(policy: &RolloutPolicy, gateway: bool, in_cluster: bool) -> control::RolloutSpec {
    let strategy = match policy.strategy {
        RolloutStrategy::Rolling => control::Strategy::Rolling,
        RolloutStrategy::Recreate => control::Strategy::Recreate,
        RolloutStrategy::BlueGreen => {
            let waits = policy.blue_green.clone().unwrap_or_default();
            control::Strategy::BlueGreen(control::BlueGreen {
                promote_after: (!waits.manual).then_some(waits.promote_after),
                scale_down_delay: waits.scale_down_delay,
            })
        }
        RolloutStrategy::Canary => control::Strategy::Canary(canary(policy, gateway)),
    };
    control::RolloutSpec {
        strategy,
        max_unavailable: amount(policy.max_unavailable),
        max_surge: amount(policy.max_surge),
        min_ready: policy.min_ready,
        progress_deadline: policy.progress_deadline,
        crash_limit: policy.crash_limit,
        // Pods end what they have when they are asked to stop; only the proxies of the cluster have to learn of it before.
        drain_time: if in_cluster { policy.drain.min(PROXIES) } else { policy.drain },
    }
}

/// Without a gateway there are no requests to judge.
fn canary(policy: &RolloutPolicy, gateway: bool) -> control::Canary {
    let Some(declared) = &policy.canary else { return control::Canary::default() };
    let steps = declared.steps.iter().map(|step| control::CanaryStep {
        // Whole per cent by the check of the manifest; the cast saturates.
        weight: (step.weight.get() * 100.0).round() as u8,
        pause: step.pause,
    });
    let rules = &declared.analysis;
    let tolerance = rules.error_tolerance.get();
    let analysis = control::AnalysisSpec {
        min_requests: u64::from(rules.min_requests),
        max_error_rate: rules.max_error_rate.map(sos_model::Fraction::get),
        error_tolerance: (tolerance < 1.0).then_some(tolerance),
        latency_quantile: rules.latency_quantile.get(),
        max_latency: rules.max_latency,
        max_latency_ratio: rules.max_latency_percent.map(|percent| f64::from(percent) / 100.0),
        patience: rules.patience,
        inconclusive: match rules.inconclusive {
            InconclusivePolicy::Wait => control::Inconclusive::Wait,
            InconclusivePolicy::Continue => control::Inconclusive::Continue,
            InconclusivePolicy::RollBack => control::Inconclusive::RollBack,
        },
    };
    control::Canary { steps: steps.collect(), analysis: gateway.then_some(analysis) }
}

/// What is wrong when a deployment could not be made.
#[must_use]
pub fn problem_of(error: &runtime::DriverError) -> control::Problem {
    use control::Problem as P;
    use runtime::DriverError as E;
    let full_disk = |source: &std::io::Error| source.kind() == std::io::ErrorKind::StorageFull;
    match error {
        E::Describe(_) | E::WrongRuntime { .. } | E::Unfit { .. } | E::Simulation(_) => P::Configuration,
        E::Port(_) => P::PortTaken,
        E::Program { .. } => P::ProgramMissing,
        E::Image { .. } => P::ImageMissing,
        E::Preparing { .. } => P::ImageNotPulled,
        E::Daemon { .. } | E::Away(_) | E::SimulatedAway { .. } => P::RuntimeAway,
        E::Refused { .. } | E::Cluster(_) | E::WrongCluster { .. } => P::NotAllowed,
        E::SecretMissing { .. } => P::SecretMissing,
        E::Start { source, .. } | E::File { source, .. } if full_disk(source) => P::DiskFull,
        _ => P::NotStarted,
    }
}

fn probe(probe: &Probe) -> control::ProbeSpec {
    control::ProbeSpec {
        initial_delay: probe.initial_delay,
        period: probe.period,
        timeout: probe.timeout,
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
    }
}

/// Where a probe of a replica goes.
///
/// # Errors
/// When it names a port that the replica does not have.
pub fn probe_target(
    spec: &Probe,
    service: &ServiceSpec,
    deployment: &runtime::Deployment,
    around: &Surroundings<'_>,
) -> Result<runtime::ProbeTarget, String> {
    let port = |port: &PortRef| {
        let missing = || format!("the probe names port {port}, which {} does not have", deployment.replica);
        port_number(port, deployment).ok_or_else(missing)
    };
    Ok(match &spec.action {
        ProbeAction::Http(http) => {
            runtime::ProbeTarget::Http { url: format!("http://127.0.0.1:{}{}", port(&http.port)?, http.path) }
        }
        ProbeAction::Tcp(tcp) => {
            runtime::ProbeTarget::Tcp { address: format!("127.0.0.1:{}", port(&tcp.port)?) }
        }
        ProbeAction::Exec(exec) => {
            let data_dir = around.services_dir.join(&deployment.service);
            let mut words = exec
                .command
                .iter()
                .map(|word| {
                    let mut text = expand(word, &data_dir, service, around)?;
                    for (name, port) in &deployment.ports {
                        text = text.replace(&format!("$({})", port_variable(name)), &port.to_string());
                    }
                    Ok(text.replace("$$(", "$("))
                })
                .collect::<Result<Vec<_>, String>>()?;
            if words.is_empty() {
                return Err(format!("the probe of {} names no command", deployment.replica));
            }
            let program = words.remove(0);
            runtime::ProbeTarget::Exec { program, args: words, workdir: deployment.workdir.clone() }
        }
    })
}

/// What the planner is told about a replica; `probes` are the results of its present run. Where a readiness probe is
/// declared it decides, and not also the health check of the image.
#[must_use]
pub fn observed(
    state: &runtime::ReplicaState,
    mut probes: control::ReplicaProbes,
    asked_for_readiness: bool,
) -> control::ObservedReplica {
    let deployment = &state.deployment;
    probes.reported = state.health.as_ref().filter(|_| !asked_for_readiness).map(reported);
    control::ObservedReplica {
        service: deployment.service.clone(),
        ordinal: deployment.ordinal,
        generation: deployment.generation,
        description_hash: deployment.description_hash.clone(),
        run: deployment.run.clone(),
        depends_on: deployment.depends_on.clone(),
        stop_timeout: deployment.stop_timeout,
        started_at: state.started_at,
        phase: phase(&state.phase),
        probes,
        past_runs: state.past_runs.iter().map(past_run).collect(),
        older_restarts: older_restarts(&state.older_runs, deployment.run.is_some()),
    }
}

fn reported(health: &runtime::Health) -> control::ProbeRecord {
    control::ProbeRecord {
        failures: health.failures,
        verdict: match health.status {
            runtime::HealthStatus::Starting => None,
            runtime::HealthStatus::Healthy => Some(true),
            runtime::HealthStatus::Unhealthy => Some(false),
        },
        message: health.output.clone(),
        changed_at: health.since,
        was_good: health.since.is_some(),
        ..control::ProbeRecord::default()
    }
}

/// How many runs that are no longer listed were followed by a restart. A batch run that succeeded, or was stopped, is
/// followed by the next one without having failed.
fn older_restarts(older: &runtime::OlderRuns, batch: bool) -> u32 {
    let unhealthy = older.asked.get(&control::StopCause::Unhealthy.to_string()).copied().unwrap_or(0);
    if batch { older.failed } else { older.failed.saturating_add(older.succeeded).saturating_add(unhealthy) }
}

fn phase(phase: &runtime::Phase) -> control::ReplicaPhase {
    match phase {
        runtime::Phase::Starting => control::ReplicaPhase::Starting,
        runtime::Phase::Running => control::ReplicaPhase::Running,
        runtime::Phase::Stopping { since, grace, cause, killed } => control::ReplicaPhase::Stopping {
            since: *since,
            grace: *grace,
            cause: stop_cause(cause),
            killed: *killed,
        },
        runtime::Phase::Exited { exit, at, asked } => control::ReplicaPhase::Exited {
            exit: exit_of(exit),
            at: *at,
            asked: asked.as_deref().map(stop_cause),
        },
    }
}

/// A cause that this version does not know comes from another one; the replica is then simply not wanted.
fn stop_cause(text: &str) -> control::StopCause {
    text.parse().unwrap_or(control::StopCause::NotWanted)
}

pub(super) fn exit_of(exit: &runtime::Exit) -> control::Exit {
    match exit {
        runtime::Exit::Code(code) => control::Exit::Code(*code),
        runtime::Exit::Signal(signal) => control::Exit::Signal(*signal),
        runtime::Exit::OutOfMemory => control::Exit::OutOfMemory,
        runtime::Exit::NotStarted(why) => control::Exit::NotStarted(why.clone()),
        runtime::Exit::Unknown => control::Exit::Unknown,
    }
}

fn past_run(run: &runtime::PastRun) -> control::PastRun {
    control::PastRun {
        started_at: run.started_at,
        ended_at: run.ended_at,
        description_hash: run.description_hash.clone(),
        run: run.run.clone(),
        exit: exit_of(&run.exit),
        asked: run.asked.as_deref().map(stop_cause),
    }
}

/// A condition of the planner with the time of its last change.
#[must_use]
pub fn condition(condition: &control::Condition, now: Timestamp) -> sos_model::Condition {
    sos_model::Condition {
        kind: condition.kind.clone(),
        status: match condition.status {
            control::Truth::True => sos_model::ConditionStatus::True,
            control::Truth::False => sos_model::ConditionStatus::False,
            control::Truth::Unknown => sos_model::ConditionStatus::Unknown,
        },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_among_the_oldest_runs_were_restarts() {
        let asked = [("unhealthy", 3), ("roll", 40), ("not-wanted", 5)];
        let asked = asked.map(|(cause, n)| (cause.to_owned(), n)).into();
        let older = runtime::OlderRuns { succeeded: 20, failed: 7, asked };
        assert_eq!(
            older_restarts(&older, false),
            30,
            "a service that ends by itself is restarted, however it ended"
        );
        assert_eq!(older_restarts(&older, true), 7, "a batch run that succeeded is followed by the next one");
    }
}
