//! How many replicas run, where that is decided: requests are counted, the decision is taken at its times, recorded with its
//! reason, and remembered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sos_control::Truth;
use sos_control::scale::hpa::{
    ContainerRequests, MetricReading, PodPhase, PodView, ReadyCondition, Sample as PodSample,
};
use sos_control::scale::replay::{DemandForecaster, PastDemand, RecentDemand};
use sos_control::scale::{
    DemandOutlook, ScaleDecision, ScaleInputs, ScaleMode, ScalePolicy, ScaleState, decide,
};
use sos_model::{Scaling, ScalingMetric, ServiceSpec};
use sos_runtime::gateway::Measures;
use sos_runtime::{Phase, ReplicaState};
use sos_store::{AuditEntry, EventType, Store};
use sos_units::CarbonIntensity;
use sos_watch::{Answer, Options, Query};

use super::board::Orders;
use super::memory::{Memory, Scale};
use super::show::event;
use super::usage::CpuMeter;
use super::{Known, ServiceLoop, attached, is_live};
use crate::policy::scale_policy;
use crate::query::Stored;

/// Steps in which requests are counted for the forecast.
const STEP: SignedDuration = SignedDuration::from_secs(60);
/// Steps after which the counts are begun anew with the last half day of them.
const MOST_STEPS: usize = 20_000;
const KEPT_STEPS: usize = 720;
/// Start-up times that are remembered.
const START_UPS: usize = 20;
/// The start-up time as long as none was measured, s.
const USUAL_START_UP: f64 = 30.0;
/// A query that takes longer is given up.
const LONGEST_QUERY: Duration = Duration::from_secs(1);

/// Everything about scaling that need not outlive the program.
#[derive(Debug, Default)]
pub(super) struct Autoscaling {
    services: BTreeMap<String, Live>,
}

/// Where a decision begins.
#[derive(Clone, Copy, Debug)]
struct Current {
    replicas: u32,
    /// Nothing was decided before.
    is_new: bool,
    /// What is decided is done, and not only recommended.
    acts: bool,
}

#[derive(Debug)]
struct Live {
    due: Timestamp,
    demand: Demand,
    state: ScaleState,
    /// Times from start to readiness of the latest replicas, in seconds.
    start_ups: Vec<f64>,
    cpu: CpuMeter,
    /// Replicas that have become ready, by the start of the run, and since when.
    ready: BTreeMap<String, (Timestamp, Timestamp)>,
    decision: Option<(Timestamp, ScaleDecision)>,
}

/// The requests of a service.
#[derive(Debug)]
struct Demand {
    /// When the first step began.
    start: Timestamp,
    ended: Vec<Option<f64>>,
    forecaster: RecentDemand,
    /// When requests were last counted, and how many had come by then.
    counted: Option<(Timestamp, u64)>,
    /// Requests of the step that runs.
    running: f64,
    /// Requests/s between the last two looks.
    latest: Option<f64>,
    /// Of which step that is.
    latest_step: usize,
}

impl Demand {
    fn new(now: Timestamp) -> Self {
        Self {
            start: now,
            ended: Vec::new(),
            forecaster: RecentDemand::default(),
            counted: None,
            running: 0.0,
            latest: None,
            latest_step: 0,
        }
    }

    /// Takes in that `arrived` requests have come since the gateway began.
    fn count(&mut self, arrived: u64, now: Timestamp) {
        let Some((at, before)) = self.counted.replace((now, arrived)) else { return };
        let elapsed = now.duration_since(at).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        // A gateway that was begun anew counts from zero.
        let new = arrived.checked_sub(before).unwrap_or(arrived) as f64;
        self.latest = Some(new / elapsed);
        self.close_steps(now);
        self.running += new;
        self.latest_step = self.ended.len();
    }

    fn close_steps(&mut self, now: Timestamp) {
        let seconds = STEP.as_secs_f64();
        let steps = (now.duration_since(self.start).as_secs_f64() / seconds).floor().max(0.0) as usize;
        while self.ended.len() < steps {
            // Whole steps in which nobody looked were not measured.
            let last = self.ended.len() + 1 == steps;
            let rate = std::mem::take(&mut self.running) / seconds;
            self.ended.push((last || rate > 0.0).then_some(rate));
        }
        if self.ended.len() > MOST_STEPS {
            let gone = self.ended.len() - KEPT_STEPS;
            self.ended.drain(..gone);
            self.start += STEP * i32::try_from(gone).unwrap_or(i32::MAX);
            self.forecaster = RecentDemand::default();
        }
    }

    fn outlook(
        &mut self,
        policy: &ScalePolicy,
        ahead: SignedDuration,
        now: Timestamp,
    ) -> Option<DemandOutlook> {
        if policy.mode == ScaleMode::Reactive && policy.cap.is_none() {
            return None;
        }
        let past = PastDemand {
            now,
            start: self.start,
            step: STEP,
            ended: &self.ended,
            latest: self.latest,
            latest_is_running: self.latest_step == self.ended.len(),
        };
        let quantile = policy.predictive.quantile;
        let level = policy.cap.as_ref().map_or(quantile, |cap| cap.guarantee.level);
        let rates = self.forecaster.forecast(&past, now.checked_add(ahead).ok()?, &[quantile, level])?;
        let [rate, guaranteed_rate] = rates[..] else { return None };
        Some(DemandOutlook { rate, guaranteed_rate, ahead })
    }
}

impl Autoscaling {
    /// When the next decision is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.services.values().map(|live| live.due).min()
    }

    /// The latest decision about a service and when it was taken.
    pub(super) fn decision(&self, service: &str) -> Option<&(Timestamp, ScaleDecision)> {
        self.services.get(service)?.decision.as_ref()
    }
}

impl ServiceLoop {
    /// Puts the decided numbers of replicas into what is known, after deciding those that are due.
    pub(super) fn decide_scale(
        &mut self,
        known: &mut BTreeMap<String, Known>,
        states: &[ReplicaState],
        measures: &Measures,
        orders: &Orders,
        now: Timestamp,
    ) {
        // What somebody ordered is not decided here, so no decision is due.
        let decides = |one: &Known| one.spec.scaling.is_some() && one.ordered.is_none();
        self.scaling.services.retain(|name, _| known.get(name).is_some_and(decides));
        for (name, one) in known.iter_mut() {
            let replicas = match (one.ordered, one.spec.scaling.clone()) {
                (Some(ordered), _) => ordered,
                (None, Some(scaling)) => {
                    // The cluster may not have told yet how many there are.
                    let Some(current) = self.current(name, &one.spec, &scaling) else { continue };
                    self.decided(name, &scaling, current, states, measures, orders, now)
                }
                (None, None) => one.spec.replicas,
            };
            if attached::is_scaled(&one.spec) {
                // What was decided last holds until the next decision: until the cluster tells of it, the number there is the
                // one before.
                let decided = self.scaling.decision(name).map(|(_, decision)| decision.replicas);
                let decides = one.spec.scaling.is_some() && one.ordered.is_none();
                self.workloads.order(name, if decides { decided } else { Some(replicas) });
            }
            if one.desired.kind == sos_control::ServiceKind::LongRunning {
                one.desired.replicas = replicas;
            }
        }
    }

    /// How many replicas there are to be as long as nothing else is decided; none while that is not known.
    fn current(&self, name: &str, spec: &ServiceSpec, scaling: &Scaling) -> Option<Current> {
        if attached::attach(spec).is_some() {
            let acts = attached::is_scaled(spec) && !self.workloads.is_refused(name);
            let replicas = self.workloads.declared(name)?;
            return Some(Current { replicas, is_new: false, acts });
        }
        let kept = self.memories.get(name).and_then(|memory| memory.scale.as_ref());
        let initial = spec.replicas.clamp(scaling.min, scaling.max);
        let replicas = kept.map_or(initial, |kept| kept.replicas);
        Some(Current { replicas, is_new: kept.is_none(), acts: true })
    }

    /// The decided number of replicas of one service.
    #[expect(clippy::too_many_arguments, reason = "all of the snapshot of a pass")]
    fn decided(
        &mut self,
        name: &str,
        scaling: &Scaling,
        Current { replicas: current, is_new, acts }: Current,
        states: &[ReplicaState],
        measures: &Measures,
        orders: &Orders,
        now: Timestamp,
    ) -> u32 {
        let kept = self.memories.get(name).and_then(|memory| memory.scale.as_ref());
        let live = self.scaling.services.entry(name.to_owned()).or_insert_with(|| Live {
            due: now,
            demand: Demand::new(now),
            state: kept.map(|kept| kept.state.clone()).unwrap_or_default(),
            start_ups: kept.map(|kept| kept.start_ups.clone()).unwrap_or_default(),
            cpu: CpuMeter::default(),
            ready: BTreeMap::new(),
            decision: None,
        });
        let own: Vec<&ReplicaState> =
            states.iter().filter(|state| state.deployment.service == name && is_live(&state.phase)).collect();
        let ready = self.statuses.get(name).map_or(&[][..], |status| status.ready_replicas.as_slice());
        live.note_ready(ready, &own, now);
        let measured = measures.services.get(name);
        let held = measured.map_or(0, |measured| measured.held);
        if now < live.due && !(current == 0 && held > 0) {
            return current;
        }
        live.due = now.checked_add(scaling.every).unwrap_or(Timestamp::MAX);
        let policy = scale_policy(scaling);
        if let Some(measured) = measured {
            live.demand.count(measured.requests.total() + measured.in_flight, now);
        }
        let longest = live.start_ups.iter().copied().fold(f64::NAN, f64::max);
        let start_up = if longest.is_nan() { USUAL_START_UP } else { longest };
        let margin = SignedDuration::from_secs(policy.predictive.margin_seconds);
        let ahead = SignedDuration::from_secs_f64(start_up) + scaling.every + margin;
        let outlook = live.demand.outlook(&policy, ahead, now);
        let pods = live.pods(&own);
        // What waits is demand, even where nothing was counted yet.
        let waiting = (held > 0).then_some(held as f64 / scaling.every.as_secs_f64());
        let demand = match (live.demand.latest, waiting) {
            (Some(latest), Some(waiting)) => Some(latest.max(waiting)),
            (latest, waiting) => latest.or(waiting),
        };
        let readings = live.readings(scaling, demand, &self.store, &own, now);
        let inputs = ScaleInputs {
            current,
            status_replicas: u32::try_from(pods.len()).unwrap_or(u32::MAX),
            ready: Some(u32::try_from(ready.len()).unwrap_or(u32::MAX)),
            pods,
            readings,
            demand,
            outlook,
            intensity: intensity(scaling, orders),
        };
        let decision = decide(&policy, &live.state, &inputs, now);
        live.state = decision.state.clone();
        let replicas = decision.replicas;
        let before = live.decision.replace((now, decision.clone()));
        if !acts {
            let same = before.is_some_and(|(_, before)| before.replicas == replicas);
            if replicas != current && !same {
                self.tell(name, "Recommended", &decision.because, now);
            }
            return replicas;
        }
        if replicas == current && !is_new {
            return current;
        }
        let scale = Scale { replicas, state: decision.state.clone(), start_ups: live.start_ups.clone() };
        let memory = self.memories.get(name).cloned().unwrap_or_default();
        self.take_decision(name, Memory { scale: Some(scale), ..memory }, current, &decision, now)
    }

    /// Records a change before it is made; one that cannot be recorded is not made.
    fn take_decision(
        &mut self,
        name: &str,
        memory: Memory,
        before: u32,
        decision: &ScaleDecision,
        now: Timestamp,
    ) -> u32 {
        let changes = before != decision.replicas;
        let entry = AuditEntry {
            time: now,
            who: "sos/scale".into(),
            what: "scale".into(),
            target: format!("Service/{name}"),
            why: decision.because.clone(),
            before: Some(serde_json::json!({ "replicas": before })),
            after: Some(serde_json::json!({ "replicas": decision.replicas, "details": decision.details })),
        };
        let event = event(name, EventType::Normal, "Scaled", &decision.because, now);
        let recorded = self.store.commit(|tx| {
            memory.save(name, tx)?;
            if changes {
                tx.audit(&entry)?;
                tx.record_event(&event)?;
            }
            Ok(())
        });
        if let Err(error) = recorded {
            tracing::error!(%error, service = name, "not scaled, because it cannot be recorded");
            return before;
        }
        if changes {
            tracing::info!(service = name, from = before, to = decision.replicas, because = decision.because);
        }
        self.memories.insert(name.to_owned(), memory);
        decision.replicas
    }
}

/// The carbon intensity that a cap goes by: that of the named site, or of the only one.
fn intensity(scaling: &Scaling, orders: &Orders) -> Option<CarbonIntensity> {
    let cap = scaling.cap.as_ref()?;
    match &cap.site {
        Some(site) => orders.intensity.get(site.as_str()).copied(),
        None => super::only(&orders.intensity),
    }
}

impl Live {
    /// Notes replicas that have become ready, and how long that took.
    fn note_ready(&mut self, ready: &[String], own: &[&ReplicaState], now: Timestamp) {
        self.ready.retain(|id, (started, _)| {
            let state = own.iter().find(|state| state.deployment.replica == *id);
            state.is_some_and(|state| state.started_at == *started) && ready.contains(id)
        });
        for id in ready {
            let Some(state) = own.iter().find(|state| state.deployment.replica == *id) else { continue };
            if self.ready.contains_key(id) {
                continue;
            }
            self.ready.insert(id.clone(), (state.started_at, now));
            let took = now.duration_since(state.started_at).as_secs_f64();
            // One that was adopted started long before it was looked at.
            if self.decision.is_some() && (0.0..=3600.0).contains(&took) {
                self.start_ups.push(took);
            }
        }
        let surplus = self.start_ups.len().saturating_sub(START_UPS);
        self.start_ups.drain(..surplus);
    }

    fn pods(&self, own: &[&ReplicaState]) -> Vec<PodView> {
        own.iter()
            .map(|state| {
                let id = state.deployment.replica.clone();
                let since = self.ready.get(&id).map(|(_, since)| *since);
                let limits = state.deployment.limits;
                let requests = [
                    ("cpu", limits.cpu_millis.map(|millis| i64::try_from(millis).unwrap_or(i64::MAX))),
                    ("memory", limits.memory_bytes.map(thousandfold)),
                ];
                PodView {
                    name: id,
                    phase: match state.phase {
                        Phase::Starting => PodPhase::Pending,
                        _ => PodPhase::Running,
                    },
                    deleted: matches!(state.phase, Phase::Stopping { .. }),
                    started_at: Some(state.started_at),
                    ready: Some(match since {
                        Some(since) => ReadyCondition { status: Truth::True, since },
                        None => ReadyCondition { status: Truth::False, since: state.started_at },
                    }),
                    containers: vec![ContainerRequests {
                        name: "main".into(),
                        requests: requests
                            .into_iter()
                            .filter_map(|(resource, request)| Some((resource.to_owned(), request?)))
                            .collect(),
                    }],
                    pod_requests: None,
                }
            })
            .collect()
    }

    fn readings(
        &mut self,
        scaling: &Scaling,
        demand: Option<f64>,
        store: &Store,
        own: &[&ReplicaState],
        now: Timestamp,
    ) -> Vec<MetricReading> {
        let failed = |reason: &str| MetricReading::Failed { reason: reason.into() };
        let requests = || {
            demand.map_or_else(
                || failed("requests were not counted yet"),
                |rate| MetricReading::Values { values: vec![(rate * 1000.0).round() as i64] },
            )
        };
        if scaling.metrics.is_empty() {
            return vec![requests()];
        }
        let cpu = self.cpu_samples(own, now);
        let mut readings = Vec::new();
        for metric in &scaling.metrics {
            readings.push(match metric {
                ScalingMetric::Cpu(_) => MetricReading::Samples { samples: cpu.clone() },
                ScalingMetric::Memory(_) => MetricReading::Samples { samples: memory_samples(own, now) },
                ScalingMetric::Requests(_) => requests(),
                ScalingMetric::Query(query) => match value_of(store, &query.promql, now) {
                    Ok(value) => MetricReading::Values { values: vec![(value * 1000.0).round() as i64] },
                    Err(reason) => MetricReading::Failed { reason },
                },
            });
        }
        readings
    }

    /// Thousandths of processors used by each replica since it was last looked at.
    fn cpu_samples(&mut self, own: &[&ReplicaState], now: Timestamp) -> BTreeMap<String, PodSample> {
        let uses = self.cpu.look(own, now).into_iter();
        let long = uses.filter(|used| used.window >= SignedDuration::from_secs(1));
        long.map(|used| {
            let value = (used.cores * 1000.0).round() as i64;
            let sample = PodSample { value, at: now, window: used.window };
            (used.state.deployment.replica.clone(), sample)
        })
        .collect()
    }
}

fn memory_samples(own: &[&ReplicaState], now: Timestamp) -> BTreeMap<String, PodSample> {
    let sample = |state: &&ReplicaState| {
        let value = thousandfold(state.usage?.memory_bytes);
        Some((state.deployment.replica.clone(), PodSample { value, at: now, window: SignedDuration::ZERO }))
    };
    own.iter().filter_map(sample).collect()
}

fn thousandfold(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// The one value of a query, or the sum of its values.
fn value_of(store: &Store, promql: &str, now: Timestamp) -> Result<f64, String> {
    let query = Query::parse(promql).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let stop = || began.elapsed() > LONGEST_QUERY;
    let options = Options { stop: &stop, ..Options::default() };
    let source = Stored::new(store.clone());
    let answer = query.instant(&source, now.as_millisecond(), &options).map_err(|error| error.to_string())?;
    let value = match answer {
        Answer::Scalar(sample) => sample.v,
        Answer::Vector(rows) if rows.is_empty() => return Err("the query has no value".into()),
        Answer::Vector(rows) => rows.iter().filter_map(|row| row.samples.last()).map(|sample| sample.v).sum(),
        Answer::Text(..) | Answer::Matrix(_) => return Err("the query gives no numbers at one time".into()),
    };
    if value.is_finite() { Ok(value) } else { Err(format!("the query gives {value}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn requests_are_counted_in_steps_of_a_minute() {
        let mut demand = Demand::new(at(0));
        for (second, arrived) in [(0, 5), (15, 5), (30, 35), (75, 80), (200, 80)] {
            demand.count(arrived, at(second));
        }
        assert_eq!(demand.latest, Some(0.0));
        let ended: Vec<_> = demand.ended.iter().map(|step| step.map(|rate| (rate * 60.0).round())).collect();
        assert_eq!(ended, [Some(30.0), Some(45.0), Some(0.0)]);
        demand.count(10, at(215));
        assert_eq!(demand.latest.map(|rate| (rate * 15.0).round()), Some(10.0), "the gateway was begun anew");
    }
}
