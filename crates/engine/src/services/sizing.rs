//! How large replicas are, where that is decided: by what they use, of which samples go into a history and whose
//! recommendation is told and applied as declared, or by the power that a site's plan allots to them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sos_control::vertical::{
    Allowed, InPlace, Recommendation, RecommenderSettings, ResourceLimits, Resources, UsageHistory,
    UsageSettings, VerticalChange, VerticalDecision, VerticalFacts, VerticalMode, VerticalPolicy,
    VerticalState, decide_vertical,
};
use sos_model::{Sizing, SizingMode};
use sos_runtime::{Exit, Limits, Phase, ReplicaState};
use sos_store::{AuditEntry, EventType};

use super::memory::{Memory, Size};
use super::runtimes::{Job, Place};
use super::show::event;
use super::usage::CpuMeter;
use super::{Known, ServiceLoop};

/// How often use is sampled.
const SAMPLE: SignedDuration = SignedDuration::from_secs(60);
/// How long limits that did not take are not tried again.
const LIMIT_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// How often the history is stored.
const STORED_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Everything about sizes that need not outlive the program.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    services: BTreeMap<String, Live>,
}

#[derive(Debug)]
struct Live {
    usage: UsageHistory,
    due: Timestamp,
    stored: Timestamp,
    cpu: CpuMeter,
    /// Ends at the memory limit that were counted.
    ooms: BTreeMap<String, Timestamp>,
    decision: Option<VerticalDecision>,
}

impl Sizes {
    /// The latest decision about a service.
    pub(super) fn decision(&self, service: &str) -> Option<&VerticalDecision> {
        self.services.get(service)?.decision.as_ref()
    }
}

impl ServiceLoop {
    /// Takes samples, decides what is due, and gives running replicas the limits that were decided.
    pub(super) fn resize(
        &mut self,
        known: &BTreeMap<String, Known>,
        states: &[ReplicaState],
        now: Timestamp,
    ) {
        self.sizing.services.retain(|name, _| known.get(name).is_some_and(|one| one.spec.sizing.is_some()));
        for (name, one) in known {
            let Ok((place, config)) = &one.config else { continue };
            if one.spec.sizing.is_none() && one.spec.slowdown.is_none() {
                continue;
            }
            let own: Vec<&ReplicaState> =
                states.iter().filter(|state| state.deployment.service == *name).collect();
            if let Some(sizing) = &one.spec.sizing {
                self.decide_size(name, sizing, place, config.limits, &own, now);
            }
            let sized = self.memories.get(name).and_then(|memory| memory.size.as_ref()?.in_place);
            let slowed = self.slowed_limits(name, one, sized.unwrap_or(config.limits));
            if let Some(limits) = slowed.or(sized) {
                self.apply_limits(place, limits, &own, now);
            }
        }
    }

    fn decide_size(
        &mut self,
        name: &str,
        sizing: &Sizing,
        place: &Place,
        declared: Limits,
        own: &[&ReplicaState],
        now: Timestamp,
    ) {
        let kept = self.memories.get(name).and_then(|memory| memory.size.as_ref());
        if !self.sizing.services.contains_key(name) {
            let Some(live) = Live::new(kept, now) else { return };
            self.sizing.services.insert(name.to_owned(), live);
        }
        let Some(live) = self.sizing.services.get_mut(name) else { return };
        live.count_kills(own);
        if now < live.due {
            return;
        }
        live.due = now.checked_add(SAMPLE).unwrap_or(Timestamp::MAX);
        live.sample(own, now);
        let recommendation = RecommenderSettings::default().recommend(&live.usage, now);
        let limits = kept.and_then(|kept| kept.in_place).unwrap_or(declared);
        let in_place = match self.runtimes.capabilities(place).map(|all| all.in_place_limits) {
            Some(can) if can.cpu && can.memory => InPlace::Possible,
            can => InPlace::Impossible(
                can.and_then(|can| can.why_not).unwrap_or_else(|| "what runs it cannot".into()),
            ),
        };
        let state = kept.map_or_else(VerticalState::default, |kept| kept.state);
        let decision = decided(sizing, state, recommendation.as_ref(), limits, own, &in_place, now);
        let mut size = Size {
            usage: live.usage.checkpoint(),
            state,
            in_place: kept.and_then(|kept| kept.in_place),
            rolled: kept.and_then(|kept| kept.rolled),
        };
        let changed = take(sizing.mode, &decision, &mut size, now);
        let due = now.duration_since(live.stored) >= STORED_EVERY;
        live.decision = Some(decision.clone());
        if changed || due || kept.is_none() {
            live.stored = now;
            let memory = self.memories.get(name).cloned().unwrap_or_default();
            self.keep_size(
                name,
                Memory { size: Some(size), ..memory },
                changed.then_some(&decision),
                limits,
                now,
            );
        }
    }

    /// Records a change before it is made.
    fn keep_size(
        &mut self,
        name: &str,
        memory: Memory,
        changed: Option<&VerticalDecision>,
        before: Limits,
        now: Timestamp,
    ) {
        let recorded = self.store.commit(|tx| {
            memory.save(name, tx)?;
            let Some(decision) = changed else { return Ok(()) };
            tx.audit(&AuditEntry {
                time: now,
                who: "sos/sizing".into(),
                what: "resize".into(),
                target: format!("Service/{name}"),
                why: decision.because.clone(),
                before: Some(serde_json::json!(before)),
                after: Some(serde_json::json!(decision.change)),
            })?;
            tx.record_event(&event(name, EventType::Normal, "Resized", &decision.because, now))?;
            Ok(())
        });
        match recorded {
            Ok(()) => drop(self.memories.insert(name.to_owned(), memory)),
            Err(error) => {
                tracing::error!(%error, service = name, "not resized, because it cannot be recorded")
            }
        }
    }

    /// Replicas that start are described with what is declared; what was decided since is given to them while they run.
    fn apply_limits(&mut self, place: &Place, limits: Limits, own: &[&ReplicaState], now: Timestamp) {
        if !self.runtimes.is_idle(place) {
            return;
        }
        let mut jobs = Vec::new();
        for state in own {
            let replica = &state.deployment.replica;
            if state.phase != Phase::Running || state.deployment.limits == limits {
                self.limited.remove(replica);
                continue;
            }
            let tried = self.limited.get(replica);
            if tried.is_some_and(|(before, at)| *before == limits && now.duration_since(*at) < LIMIT_AGAIN) {
                continue;
            }
            self.limited.insert(replica.clone(), (limits, now));
            jobs.push(Job::SetLimits { replica: replica.clone(), limits });
        }
        if !jobs.is_empty() {
            self.runtimes.send(place, jobs);
        }
    }
}

/// What is to be remembered of a decision; whether it changes anything.
fn take(mode: SizingMode, decision: &VerticalDecision, size: &mut Size, now: Timestamp) -> bool {
    let of =
        |limits: ResourceLimits| Limits { cpu_millis: limits.cpu_millis, memory_bytes: limits.memory_bytes };
    match decision.change {
        VerticalChange::InPlace(limits) => {
            size.in_place = Some(of(limits));
            true
        }
        VerticalChange::Roll(limits) if mode == SizingMode::Auto => {
            size.rolled = Some(of(limits));
            size.in_place = None;
            size.state.last_roll = Some(now);
            true
        }
        VerticalChange::Roll(_) | VerticalChange::Keep => false,
    }
}

fn decided(
    sizing: &Sizing,
    state: VerticalState,
    recommendation: Option<&Recommendation>,
    limits: Limits,
    own: &[&ReplicaState],
    in_place: &InPlace,
    now: Timestamp,
) -> VerticalDecision {
    let millis = |cpu: sos_model::Cpu| u64::from(cpu.milli);
    let policy = VerticalPolicy {
        mode: match sizing.mode {
            SizingMode::Recommend => VerticalMode::Recommend,
            SizingMode::InPlace | SizingMode::Auto => VerticalMode::Apply,
        },
        cpu: Some(Allowed { min: sizing.min_cpu.map(millis), max: sizing.max_cpu.map(millis) }),
        memory: Some(Allowed {
            min: sizing.min_memory.map(|bytes| bytes.0),
            max: sizing.max_memory.map(|bytes| bytes.0),
        }),
        ..VerticalPolicy::default()
    };
    let memory_in_use = own.iter().filter_map(|state| Some(state.usage?.memory_bytes)).max();
    let facts = VerticalFacts {
        recommendation,
        limits: ResourceLimits { cpu_millis: limits.cpu_millis, memory_bytes: limits.memory_bytes },
        in_use: memory_in_use.map(|memory_bytes| Resources { cpu_millis: 0, memory_bytes }),
        in_place,
        now,
    };
    decide_vertical(&policy, state, &facts)
}

impl Live {
    /// Goes on with what is stored; what cannot be gone on with is begun anew.
    fn new(kept: Option<&Size>, now: Timestamp) -> Option<Self> {
        let settings = UsageSettings::default();
        let stored = kept.and_then(|kept| UsageHistory::restore(settings, &kept.usage).ok());
        let usage = stored.or_else(|| UsageHistory::new(settings).ok())?;
        let (cpu, ooms) = (CpuMeter::default(), BTreeMap::new());
        Some(Self { usage, due: now, stored: now, cpu, ooms, decision: None })
    }

    /// A kill at the memory limit says that more is needed than was ever seen.
    fn count_kills(&mut self, own: &[&ReplicaState]) {
        for state in own {
            let Phase::Exited { exit: Exit::OutOfMemory, at, .. } = &state.phase else { continue };
            let (id, limit) = (&state.deployment.replica, state.deployment.limits.memory_bytes);
            if self.ooms.get(id) == Some(at) {
                continue;
            }
            self.ooms.insert(id.clone(), *at);
            if let Some(limit) = limit {
                self.usage.record_oom(id, *at, limit);
            }
        }
    }

    fn sample(&mut self, own: &[&ReplicaState], now: Timestamp) {
        for used in self.cpu.look(own, now) {
            let (deployment, begun) = (&used.state.deployment, now - used.window);
            // The mean since the start of a run that was adopted says little about now.
            if !used.is_first {
                let allowed = deployment.limits.cpu_millis.map(|millis| millis as f64 / 1000.0);
                self.usage.add_cpu(&deployment.replica, begun, used.cores, allowed);
            }
            if let Some(usage) = used.state.usage {
                self.usage.add_memory(&deployment.replica, now, usage.memory_bytes);
            }
        }
    }
}
