//! The simulation.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use sos_units::CarbonIntensity;

use super::super::decide::{DemandOutlook, ScaleInputs, ScaleState, decide, needed};
use super::super::hpa::{HpaSpecError, MetricReading, PodShare, PodTotals};
use super::super::policy::{ScaleMode, ScalePolicy};
use super::forecast::{DemandForecaster, PastDemand};
use super::policy::ReplayPolicy;
use super::report::{ReplayChange, ReplayError, ReplayReport, ReplayStep};
use super::trace::Trace;

/// Passes of one replay.
const MOST_PASSES: i64 = 20_000_000;
/// Changes that are told with their reasons.
const MOST_CHANGES: usize = 1000;

/// Plays `policy` over `trace`. `forecaster` is asked at every pass of a policy that looks at a forecast, and sees what was
/// known then.
///
/// # Errors
/// When the policy does not hold together or the trace is longer than can be played.
pub fn replay(
    policy: &ReplayPolicy,
    trace: &Trace,
    forecaster: &mut dyn DemandForecaster,
) -> Result<ReplayReport, ReplayError> {
    policy.validate()?;
    let seconds = trace.step.as_secs().max(0).saturating_mul(trace.requests.len() as i64);
    if trace.step.subsec_nanos() != 0 || seconds <= 0 {
        return Err(ReplayError::Trace("expected steps of whole seconds"));
    }
    if seconds / policy.sync_seconds > MOST_PASSES {
        return Err(ReplayError::Trace("it is too long for passes this short; raise syncSeconds"));
    }
    if policy.carbon[0].time > trace.start {
        let expected = "a time at or before the beginning of the trace";
        return Err(ReplayError::Policy(HpaSpecError::new("carbon[0].time", expected)));
    }
    let mut run = Run::new(policy, trace);
    let mut at = 0;
    while at < seconds {
        run.pass(at, forecaster);
        let until = (at + policy.sync_seconds).min(seconds);
        run.advance(at, until);
        at = until;
    }
    Ok(run.report)
}

/// Replicas that start: when they are ready, and how many.
type Starting = VecDeque<(i64, u32)>;

struct Run<'a> {
    policy: &'a ReplayPolicy,
    scale: ScalePolicy,
    trace: &'a Trace,
    /// Demand of each step, requests/s.
    rates: Vec<Option<f64>>,
    /// Carbon series: second from the beginning, kg/kWh.
    carbon: Vec<(i64, f64)>,
    carbon_at: usize,
    state: ScaleState,
    ready: u32,
    starting: Starting,
    measured_seconds: f64,
    report: ReplayReport,
}

impl<'a> Run<'a> {
    fn new(policy: &'a ReplayPolicy, trace: &'a Trace) -> Self {
        let seconds = trace.step.as_secs() as f64;
        let rates: Vec<_> =
            trace.requests.iter().map(|step| step.map(|requests| requests / seconds)).collect();
        let scale = policy.scale_policy();
        let first = rates.first().copied().flatten().unwrap_or(0.0) * 100.0 / f64::from(policy.target());
        let ready = policy.initial_replicas.unwrap_or_else(|| needed(first, &scale));
        let ready = ready.clamp(policy.min_replicas, policy.max_replicas);
        let relative = |time: Timestamp| time.duration_since(trace.start).as_secs();
        let carbon =
            policy.carbon.iter().map(|one| (relative(one.time), one.grams_per_kwh / 1000.0)).collect();
        let step = |(index, requests): (usize, &Option<f64>)| ReplayStep {
            time: trace.at(index),
            requests: *requests,
            replicas: 0,
            ready: u32::MAX,
            violation_seconds: 0.0,
            unserved_requests: 0.0,
        };
        let report = ReplayReport {
            replica_hours: 0.0,
            slo_violation_seconds: 0.0,
            unserved_requests: 0.0,
            emissions_kg: 0.0,
            energy_kwh: 0.0,
            demanded_requests: 0.0,
            served_requests: 0.0,
            held_share: 1.0,
            peak_replicas: ready,
            scale_changes: 0,
            missing_steps: trace.requests.iter().filter(|step| step.is_none()).count() as u64,
            changes: Vec::new(),
            steps: trace.requests.iter().enumerate().map(step).collect(),
        };
        Self {
            policy,
            scale,
            trace,
            rates,
            carbon,
            carbon_at: 0,
            state: ScaleState::default(),
            ready,
            starting: Starting::new(),
            measured_seconds: 0.0,
            report,
        }
    }

    fn current(&self) -> u32 {
        self.ready + self.starting.iter().map(|(_, count)| count).sum::<u32>()
    }

    fn step_of(&self, second: i64) -> usize {
        usize::try_from(second / self.trace.step.as_secs()).unwrap_or(0)
    }

    /// Mean demand from `from` to `to`, requests/s; nothing where a part of it was not measured.
    fn mean(&self, from: i64, to: i64) -> Option<f64> {
        if from < 0 || to <= from {
            return None;
        }
        let step = self.trace.step.as_secs();
        let (mut at, mut sum) = (from, 0.0);
        while at < to {
            let index = self.step_of(at);
            let until = to.min((index as i64 + 1) * step);
            sum += (*self.rates.get(index)?)? * (until - at) as f64;
            at = until;
        }
        Some(sum / (to - from) as f64)
    }

    /// What the metric says: the requests since the last pass over what the ready replicas can serve.
    fn reading(&self, demand: Option<f64>) -> MetricReading {
        let Some(demand) = demand else {
            return MetricReading::Failed { reason: "the load was not measured".into() };
        };
        if self.ready == 0 {
            return MetricReading::Failed { reason: "no replica is ready".into() };
        }
        let milli = |rate: f64| (rate * 1000.0).round() as i64;
        let ready = i64::from(self.ready);
        let each = milli(self.policy.capacity).max(1);
        let unready = i64::from(self.current() - self.ready);
        MetricReading::Totals {
            totals: PodTotals {
                ready,
                samples: ready,
                matched: ready,
                usage: milli(demand),
                requests: each.saturating_mul(ready),
                unready: PodShare { pods: unready, requests: each.saturating_mul(unready) },
                ..PodTotals::default()
            },
        }
    }

    fn outlook(
        &self,
        at: i64,
        latest: Option<f64>,
        forecaster: &mut dyn DemandForecaster,
    ) -> Option<DemandOutlook> {
        let cap = self.scale.cap.as_ref();
        if self.scale.mode == ScaleMode::Reactive && cap.is_none() {
            return None;
        }
        let ended = self.step_of(at);
        let step = self.trace.step.as_secs();
        let now = self.trace.start.checked_add(SignedDuration::from_secs(at)).ok()?;
        let past = PastDemand {
            now,
            start: self.trace.start,
            step: self.trace.step,
            ended: &self.rates[..ended],
            latest,
            latest_is_running: at - self.policy.sync_seconds >= ended as i64 * step,
        };
        let ahead = self.policy.ahead();
        let quantile = self.scale.predictive.quantile;
        let level = cap.map_or(quantile, |cap| cap.guarantee.level);
        let rates = forecaster.forecast(&past, now.checked_add(ahead).ok()?, &[quantile, level])?;
        let [rate, guaranteed_rate] = rates[..] else { return None };
        Some(DemandOutlook { rate, guaranteed_rate, ahead })
    }

    /// One pass of the autoscaler at second `at`.
    fn pass(&mut self, at: i64, forecaster: &mut dyn DemandForecaster) {
        self.become_ready(at);
        let demand = self.mean(at - self.policy.sync_seconds, at);
        let current = self.current();
        let inputs = ScaleInputs {
            current,
            status_replicas: current,
            pods: Vec::new(),
            ready: Some(self.ready),
            readings: vec![self.reading(demand)],
            demand,
            outlook: self.outlook(at, demand, forecaster),
            intensity: Some(CarbonIntensity::kg_per_kwh(self.intensity(at))),
        };
        let now = self.trace.start.checked_add(SignedDuration::from_secs(at)).unwrap_or(Timestamp::MAX);
        let decision = decide(&self.scale, &self.state, &inputs, now);
        self.state = decision.state;
        if decision.replicas != current {
            self.report.scale_changes += 1;
            if self.report.changes.len() < MOST_CHANGES {
                self.report.changes.push(ReplayChange {
                    time: now,
                    from: current,
                    to: decision.replicas,
                    because: decision.because,
                });
            }
        }
        self.scale_to(decision.replicas, at);
    }

    fn scale_to(&mut self, replicas: u32, at: i64) {
        let current = self.current();
        if replicas > current {
            self.starting.push_back((at + self.policy.start_up_seconds, replicas - current));
            self.become_ready(at);
        }
        let mut surplus = current.saturating_sub(replicas);
        while surplus > 0 {
            let Some((_, count)) = self.starting.back_mut() else { break };
            let gone = surplus.min(*count);
            *count -= gone;
            surplus -= gone;
            if *count == 0 {
                self.starting.pop_back();
            }
        }
        self.ready -= surplus;
        self.report.peak_replicas = self.report.peak_replicas.max(replicas);
    }

    fn become_ready(&mut self, at: i64) {
        while let Some(&(ready_at, count)) = self.starting.front()
            && ready_at <= at
        {
            self.ready += count;
            self.starting.pop_front();
        }
    }

    /// Carbon intensity at second `at`, kg/kWh. Times ask in ascending order.
    fn intensity(&mut self, at: i64) -> f64 {
        while self.carbon.get(self.carbon_at + 1).is_some_and(|(time, _)| *time <= at) {
            self.carbon_at += 1;
        }
        self.carbon[self.carbon_at].1
    }

    /// Lets the time from `at` to `until` pass, in parts within which nothing changes.
    fn advance(&mut self, mut at: i64, until: i64) {
        while at < until {
            self.become_ready(at);
            let intensity = self.intensity(at);
            let index = self.step_of(at);
            let mut end = until.min((index as i64 + 1) * self.trace.step.as_secs());
            if let Some((ready_at, _)) = self.starting.front() {
                end = end.min(*ready_at);
            }
            if let Some((time, _)) = self.carbon.get(self.carbon_at + 1) {
                end = end.min(*time);
            }
            self.account(index, (end - at) as f64, intensity);
            at = end;
        }
        self.report.held_share = if self.measured_seconds > 0.0 {
            1.0 - self.report.slo_violation_seconds / self.measured_seconds
        } else {
            1.0
        };
    }

    /// Books `seconds` of step `index`.
    fn account(&mut self, index: usize, seconds: f64, intensity: f64) {
        let current = self.current();
        let capacity = f64::from(self.ready) * self.policy.capacity;
        let step = &mut self.report.steps[index];
        step.replicas = current;
        step.ready = step.ready.min(self.ready);
        let mut busy = 0.0;
        if let Some(rate) = self.rates[index] {
            let served = rate.min(capacity);
            let unserved = (rate - served) * seconds;
            self.measured_seconds += seconds;
            self.report.demanded_requests += rate * seconds;
            self.report.served_requests += served * seconds;
            self.report.unserved_requests += unserved;
            step.unserved_requests += unserved;
            if rate > capacity {
                step.violation_seconds += seconds;
                self.report.slo_violation_seconds += seconds;
            }
            busy = served / self.policy.capacity;
        }
        let watts = self.policy.watts;
        let power = f64::from(current) * watts.idle + busy * (watts.busy - watts.idle);
        let energy = power * seconds / 3.6e6;
        self.report.replica_hours += f64::from(current) * seconds / 3600.0;
        self.report.energy_kwh += energy;
        self.report.emissions_kg += energy * intensity;
    }
}
