//! Between the manifest, the planner and the drivers: each has its own plain types, joined here and nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sos_control as control;
use sos_model::{
    EnvSource, PortRef, Probe, ProbeAction, Reference, RestartPolicy, ServiceSpec, ValueFrom,
    resolve_references,
};
use sos_runtime as runtime;

use crate::clock::{SiteClock, Speed};

/// Name of the port on which an adapter serves its protocol.
pub const ADAPTER_PORT: &str = "adapter";
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
    /// Assigned ports of other services' first replicas.
    pub ports: &'a dyn Fn(&str, &str) -> Option<u16>,
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
    let text = |text: &str| expand(text, &data_dir, around);
    let mut words =
        spec.command.iter().chain(&spec.args).map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let mut program = if words.is_empty() { String::new() } else { words.remove(0) };
    if program == "sos" {
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
    })
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
fn expand(text: &str, data_dir: &Path, around: &Surroundings<'_>) -> Result<String, String> {
    // A plain `$(` of the manifest must not become a reference of the driver.
    resolve_references(&text.replace("$(", "$$("), |reference| match reference {
        Reference::Port(name) => Ok(format!("$({})", port_variable(name))),
        Reference::Service { service, port } => match (around.ports)(service, port) {
            Some(number) => Ok(format!("127.0.0.1:{number}")),
            None => Err(format!("waits for port {port} of service {service} to be assigned")),
        },
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

/// What the planner is told about a service.
#[must_use]
pub fn desired(
    generation: u64,
    spec: &ServiceSpec,
    description_hash: String,
    replicas: u32,
    order: Option<control::BatchOrder>,
    suspended: bool,
) -> control::DesiredService {
    let kind = match (&spec.external, &spec.batch) {
        (Some(_), _) => control::ServiceKind::External,
        (None, Some(_)) => control::ServiceKind::Batch { order },
        (None, None) => control::ServiceKind::LongRunning,
    };
    control::DesiredService {
        generation,
        description_hash,
        kind,
        replicas: if spec.external.is_some() { 0 } else { replicas },
        depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
        probes: control::Probes {
            startup: spec.probes.startup.as_ref().map(probe),
            readiness: spec.probes.readiness.as_ref().map(probe),
            liveness: spec.probes.liveness.as_ref().map(probe),
        },
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
    deployment: &runtime::Deployment,
    around: &Surroundings<'_>,
) -> Result<runtime::ProbeTarget, String> {
    let port = |port: &PortRef| match port {
        PortRef::Number(number) => Ok(*number),
        PortRef::Name(name) => deployment.ports.get(name.as_str()).copied().ok_or_else(|| {
            format!("the probe names port {name}, which {} does not have", deployment.replica)
        }),
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
                    let mut text = expand(word, &data_dir, around)?;
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

/// What the planner is told about a replica; `probes` are the results of its present run.
#[must_use]
pub fn observed(state: &runtime::ReplicaState, probes: control::ReplicaProbes) -> control::ObservedReplica {
    let deployment = &state.deployment;
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
