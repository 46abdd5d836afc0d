//! What is known of services, told: on the board, as status in the store, as events.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use sos_control as control;
use sos_runtime::gateway::Measures;
use sos_runtime::{self as runtime, ReplicaState};
use sos_store::{Event, EventType};

use super::board::{Board, EnergyView, GatewayView, ReplicaView, ServiceView};
use super::{ServiceLoop, convert, is_live};
use crate::clock::wall_now;

/// How many lines of a replica that ended are kept, and of how many bytes.
const LINES: usize = 10;
const LINE_BYTES: u64 = 16 << 10;

impl ServiceLoop {
    /// Writes what changed to the store and shows everything on the board.
    pub(super) fn publish(
        &mut self,
        statuses: &BTreeMap<String, control::ServiceStatus>,
        states: &[ReplicaState],
        jobs: &BTreeSet<String>,
        measures: &Measures,
        (now, began): (Timestamp, Instant),
    ) {
        let mut board = Board::default();
        let mut by_service: BTreeMap<&str, Vec<&ReplicaState>> = BTreeMap::new();
        for state in states {
            by_service.entry(&state.deployment.service).or_default().push(state);
        }
        for (name, status) in statuses {
            let message = self.problems.get(name).cloned().unwrap_or_else(|| summary(status));
            let own = by_service.get(name.as_str()).into_iter().flatten();
            let replicas: Vec<ReplicaView> = own.map(|state| replica_view(state)).collect();
            let view = ServiceView {
                status: status.clone(),
                message,
                replicas,
                job: jobs.contains(name),
                revisions: self.memories.get(name).map(|memory| memory.rollout.clone()).unwrap_or_default(),
                rollout: self.progress.get(name).cloned(),
                gateway: self.routing.is_before(name).then(|| GatewayView {
                    address: self.routing.address(name),
                    problem: self.routing.problem(name).map(ToOwned::to_owned),
                    measures: measures.services.get(name).cloned().unwrap_or_default(),
                }),
                scale: self.scaling.decision(name).cloned(),
                sizing: self.sizing.decision(name).cloned(),
                energy: self
                    .metering
                    .line(name)
                    .map(|line| EnergyView { line: *line, power: self.metering.power(name) }),
            };
            let besides = (view.revisions.current, view.gateway.as_ref().and_then(|gateway| gateway.address));
            if self.statuses.get(name) != Some(status) || self.told.get(name) != Some(&besides) {
                self.write_status(name, &view, now);
                self.told.insert(name.clone(), besides);
            }
            board.services.insert(name.clone(), view);
        }
        self.statuses = statuses.clone();
        self.told.retain(|name, _| statuses.contains_key(name));
        board.pass = began.elapsed();
        self.board.send_replace(Arc::new(board));
    }

    fn write_status(&self, name: &str, view: &ServiceView, now: Timestamp) {
        let (status, replicas) = (&view.status, &view.replicas);
        let value = serde_json::json!({
            "phase": status.phase,
            "message": view.message,
            "readyReplicas": status.ready,
            "replicas": status.replicas,
            "restarts": status.restarts,
            "observedGeneration": status.observed_generation,
            "deployments": replicas.iter().map(|r| &*r.deployment).collect::<Vec<_>>(),
            "limits": replicas.first().map(|r| &r.limits),
            "revision": view.revisions.current,
            "address": view.gateway.as_ref().and_then(|gateway| gateway.address),
        });
        let written = self.store.commit(|tx| {
            let Some(resource) = tx.get("Service", name)? else { return Ok(()) };
            let mut conditions = crate::resources::conditions(&resource.status);
            for condition in &status.conditions {
                sos_model::set_condition(&mut conditions, convert::condition(condition, now));
            }
            let mut value = value.clone();
            value["conditions"] = serde_json::json!(conditions);
            tx.put_status("Service", name, "sos/services", &value)?;
            Ok(())
        });
        if let Err(error) = written {
            tracing::warn!(%error, service = name, "the status cannot be written");
        }
    }

    pub(super) fn tell_recovery(&self, report: &runtime::RecoveryReport) {
        let now = wall_now();
        for replica in &report.adopted {
            tracing::info!(replica, "adopted");
        }
        for file in &report.unreadable {
            tracing::warn!(file, "set aside: it cannot be read");
            self.warn("sos", "StateUnreadable", &format!("{file} was set aside"), now);
        }
        for orphan in &report.orphans {
            tracing::warn!(orphan, "ended: it had no record");
        }
    }

    /// Tells what happened.
    pub(super) fn tell(&self, service: &str, reason: &str, message: &str, now: Timestamp) {
        tracing::info!(service, reason, message);
        let event = event(service, EventType::Normal, reason, message, now);
        if let Err(error) = self.store.commit(|tx| tx.record_event(&event)) {
            tracing::error!(%error, "an event cannot be recorded");
        }
    }

    pub(super) fn warn(&self, service: &str, reason: &str, message: &str, now: Timestamp) {
        tracing::warn!(service, reason, message);
        let event = event(service, EventType::Warning, reason, message, now);
        if let Err(error) = self.store.commit(|tx| tx.record_event(&event)) {
            tracing::error!(%error, "an event cannot be recorded");
        }
    }

    /// Tells of replicas that ended without being asked to. A job that is done is no news, and that a program could
    /// not be started was told when it was tried.
    pub(super) fn tell_ends(&mut self, states: &[ReplicaState], now: Timestamp) {
        let mut ends = BTreeSet::new();
        for state in states {
            let runtime::Phase::Exited { exit, asked: None, .. } = &state.phase else { continue };
            let done = *exit == runtime::Exit::Code(0) && state.deployment.run.is_some();
            if done || matches!(exit, runtime::Exit::NotStarted(_)) {
                continue;
            }
            let replica = &state.deployment.replica;
            if self.last_lines.get(replica).is_none_or(|(started, _)| *started != state.started_at) {
                let lines = self.last_lines_of(replica);
                self.last_lines.insert(replica.clone(), (state.started_at, lines));
            }
            let end = (replica.clone(), state.started_at);
            if !self.ends.contains(&end) {
                let text = format!("{replica} {}", convert::exit_of(exit));
                self.warn(&state.deployment.service, "Exited", &text, now);
            }
            ends.insert(end);
        }
        self.last_lines.retain(|id, _| states.iter().any(|state| state.deployment.replica == *id));
        self.ends = ends;
    }

    /// What a replica wrote last, for those who ask why it ended.
    fn last_lines_of(&self, replica: &str) -> Vec<String> {
        let read = || {
            let mut reader = self.runtimes.drivers().logs(replica, LINES, LINE_BYTES).ok()?;
            reader.read(LINE_BYTES).ok()
        };
        let text = read().map(|chunk| chunk.text).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }
}

/// Something that happened to a service, in wall time.
pub(super) fn event(
    service: &str,
    event_type: EventType,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Event {
    Event {
        time: now,
        site_time: None,
        kind: "Service".into(),
        name: service.to_owned(),
        event_type,
        reason: reason.into(),
        message: message.to_owned(),
    }
}

/// The sentence of the first condition that asks for attention, else of readiness.
fn summary(status: &control::ServiceStatus) -> String {
    let asks = |c: &&control::Condition| c.status == control::Truth::False;
    let condition = status.conditions.iter().find(asks);
    condition.map(|c| c.message.clone()).unwrap_or_default()
}

fn replica_view(state: &ReplicaState) -> ReplicaView {
    ReplicaView {
        deployment: Arc::clone(&state.deployment),
        phase: match state.phase {
            runtime::Phase::Starting => "Starting",
            runtime::Phase::Running => "Running",
            runtime::Phase::Stopping { .. } => "Stopping",
            runtime::Phase::Exited { .. } => "Exited",
        },
        live: is_live(&state.phase),
        pid: state.handle.as_ref().and_then(|handle| handle.pid),
        started_at: state.started_at,
        past_runs: state.past_runs.len() + state.older_runs.total() as usize,
        usage: state.usage,
        limits: state.limits.clone(),
        address: state.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }
}
