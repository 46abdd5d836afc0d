//! From the planner's actions to jobs of the runtimes, each recorded first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_control::{self as control, Action};
use sos_runtime::{self as runtime, ReplicaState};
use sos_store::{AuditEntry, Event, EventType};

use super::runtimes::{Deploy, Job, Outcome, Place};
use super::show::event;
use super::{Known, ServiceLoop, convert, event_reason, secrets};

impl ServiceLoop {
    /// Hands out what can be done now. A runtime that is at work or away gets nothing: it is planned anew when it tells.
    pub(super) fn perform(
        &mut self,
        plan: &control::Plan,
        known: &BTreeMap<String, Known>,
        states: &[ReplicaState],
        now: Timestamp,
    ) {
        let mut batches: BTreeMap<Place, Vec<Job>> = BTreeMap::new();
        for (action, because) in plan.actions.iter().zip(&plan.because) {
            let Some(place) = self.place(action, known) else { continue };
            if !self.runtimes.is_idle(&place) {
                continue;
            }
            let Some(job) = self.job(action, known, now) else { continue };
            let service = service_of(action, states);
            if !self.record(action, &service, because, known, now) {
                continue;
            }
            if matches!(job, Job::Deploy(_)) {
                // What is left of it where it ran before would come back there as a second copy's history.
                for other in self.runtimes.leftovers(action.replica(), &place) {
                    if self.runtimes.is_idle(&other) {
                        batches
                            .entry(other)
                            .or_default()
                            .push(Job::Forget { replica: action.replica().into() });
                    }
                }
            }
            batches.entry(place).or_default().push(job);
        }
        for (place, jobs) in batches {
            self.runtimes.send(&place, jobs);
        }
    }

    /// Says which replicas get traffic, where what runs them distributes it. A runtime that is at work is told by a later
    /// pass.
    pub(super) fn distribute(&mut self, plan: &control::Plan, known: &BTreeMap<String, Known>) {
        self.distributed.retain(|name, _| known.contains_key(name));
        let mut jobs: BTreeMap<Place, Vec<Job>> = BTreeMap::new();
        for (name, known) in known {
            let Ok((place @ Place::Kubernetes(_), _)) = &known.config else { continue };
            let shares = plan.traffic.get(name).map_or(&[][..], Vec::as_slice);
            let with_some = shares.iter().filter(|share| share.weight > 0);
            let mut replicas: Vec<String> = with_some.flat_map(|share| share.replicas.clone()).collect();
            replicas.sort();
            if self.distributed.get(name) == Some(&replicas) || !self.runtimes.is_idle(place) {
                continue;
            }
            self.distributed.insert(name.clone(), replicas.clone());
            jobs.entry(place.clone()).or_default().push(Job::Route { service: name.clone(), replicas });
        }
        for (place, jobs) in jobs {
            self.runtimes.send(&place, jobs);
        }
    }

    /// Which runtime an action is for.
    fn place(&self, action: &Action, known: &BTreeMap<String, Known>) -> Option<Place> {
        let Action::Deploy { service, description_hash, .. } = action else {
            return self.runtimes.place_of(action.replica());
        };
        self.configuration(service, description_hash, known).map(|(place, _)| place)
    }

    /// The configuration of a revision: the declared one, else one that was kept.
    fn configuration(
        &self,
        service: &str,
        hash: &str,
        known: &BTreeMap<String, Known>,
    ) -> Option<(Place, runtime::ServiceConfig)> {
        let known = known.get(service)?;
        if let Ok((place, config)) = &known.config
            && known.desired.description_hash == hash
        {
            return Some((place.clone(), runtime::ServiceConfig::clone(config)));
        }
        let stored = self.memories.get(service)?.configurations.get(hash)?;
        Some((stored.place.clone(), stored.config.clone()))
    }

    fn job(&self, action: &Action, known: &BTreeMap<String, Known>, now: Timestamp) -> Option<Job> {
        Some(match action {
            Action::Kill { replica } => Job::Kill { replica: replica.clone() },
            Action::Stop { replica, grace, cause } => {
                Job::Stop { replica: replica.clone(), grace: *grace, cause: cause.to_string() }
            }
            Action::Forget { replica } => Job::Forget { replica: replica.clone() },
            Action::Adopt { replica, generation } => {
                Job::Adopt { replica: replica.clone(), generation: *generation }
            }
            Action::Deploy { service, replica, ordinal, generation, description_hash, work, .. } => {
                let (_, config) = self.configuration(service, description_hash, known)?;
                Job::Deploy(Box::new(Deploy {
                    replica: replica.clone(),
                    secrets: secrets::values(&self.store, &config, now),
                    data: self.places.data_dir.join("services").join(service),
                    config,
                    description_hash: description_hash.clone(),
                    ordinal: *ordinal,
                    generation: *generation,
                    run: work.as_ref().map(|work| work.run.clone()),
                }))
            }
        })
    }

    /// Records an action before it is done. What cannot be recorded is not done.
    fn record(
        &mut self,
        action: &Action,
        service: &str,
        because: &str,
        known: &BTreeMap<String, Known>,
        now: Timestamp,
    ) -> bool {
        let replica = action.replica();
        let what = match action {
            Action::Kill { .. } => "kill",
            Action::Stop { .. } => "stop",
            Action::Forget { .. } => "forget",
            Action::Adopt { .. } => "adopt",
            Action::Deploy { .. } => "deploy",
        };
        let entry = AuditEntry {
            time: now,
            who: "sos/services".into(),
            what: what.into(),
            target: format!("Service/{service}"),
            why: because.to_owned(),
            before: None,
            after: Some(serde_json::json!({ "replica": replica })),
        };
        let site_time = known.get(service).and_then(|k| self.orders.borrow().site_time_of(&k.spec));
        let happened = event(service, EventType::Normal, event_reason(action), because, now);
        let event = Event { site_time, ..happened };
        let recorded = self.store.commit(|tx| {
            tx.audit(&entry)?;
            tx.record_event(&event)?;
            Ok(())
        });
        if let Err(error) = recorded {
            tracing::error!(%error, replica, what, "not done, because it cannot be recorded");
            self.unrecorded = true;
            return false;
        }
        tracing::info!(replica, what, because);
        true
    }

    /// Notes how a job went. A deployment that could not be made is for the planner, who knows when to try again.
    pub(super) fn note_outcome(&mut self, outcome: Outcome) {
        let Outcome { job, at, result } = outcome;
        let Err(error) = result else {
            job.replica().map(|replica| self.refusals.remove(replica));
            return;
        };
        let waits = matches!(error, runtime::DriverError::Preparing { .. });
        let message = error.full();
        let deploy = match job {
            Job::Deploy(deploy) => deploy,
            Job::Route { service, .. } => {
                // Said again by the next pass.
                self.distributed.remove(&service);
                self.warn(&service, "Failed", &message, at);
                return;
            }
            other => {
                let replica = other.replica().unwrap_or_default();
                let service = replica.rsplit_once('-').map_or(replica, |(service, _)| service);
                self.warn(service, "Failed", &message, at);
                return;
            }
        };
        let service = deploy.config.service.clone();
        let known = self.refusals.get(&deploy.replica);
        let same = known.filter(|known| known.description_hash == deploy.description_hash);
        let times = if waits { 1 } else { same.map_or(1, |known| known.times.saturating_add(1)) };
        // The same again and again is told once.
        if !waits && same.is_none_or(|known| known.message != message) {
            self.warn(&service, "Failed", &message, at);
        }
        let refusal = control::Refusal {
            service,
            description_hash: deploy.description_hash.clone(),
            problem: convert::problem_of(&error),
            message,
            at,
            times,
        };
        self.refusals.insert(deploy.replica.clone(), refusal);
    }
}

/// The service of an action's replica, as far as anything is known of it.
fn service_of(action: &Action, states: &[ReplicaState]) -> String {
    if let Action::Deploy { service, .. } = action {
        return service.clone();
    }
    let replica = action.replica();
    let state = states.iter().find(|state| state.deployment.replica == replica);
    let by_name = || replica.rsplit_once('-').map_or(replica, |(service, _)| service);
    state.map_or_else(by_name, |state| state.deployment.service.as_str()).to_owned()
}
