//! A service that may be slower, as work of the site: what it wants beyond its guarantee is offered to the plan and counted in
//! the balance. What the guarantee needs is part of the other consumption.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sos_control::energy::{Guarantee, SlowProgress, Slowdown, offer_slowdown};
use sos_control::{RunWindow, Window, current_window};
use sos_model::{ServiceSpec, SlowdownGuarantee};
use sos_units::{
    Energy, EnvelopeStep, ExactEmissions, ExactEnergy, ExactIntensity, FlexibleWork, Hours, Money, Power,
    PowerEnvelope,
};

use super::work::MUST_BE_DONE_PER_KWH;

/// Less than this share of what it wanted is rounding.
const ROUNDING: f64 = 1e-6;

/// One service with the state of its window.
#[derive(Clone, Debug)]
pub(super) struct Slow {
    pub(super) spec: Slowdown,
    pub(super) state: SlowState,
    /// Power beyond the guarantee that it may use now.
    pub(super) allotted: Power,
}

/// What is kept of it across restarts of the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlowState {
    progress: Option<SlowProgress>,
    /// The uncontrolled case: what it has used at full speed since the window opened.
    baseline: Option<SlowProgress>,
    /// Energy beyond the guarantee since the begin, and that of the uncontrolled case: both as consumption.
    moved: Energy,
    moved_baseline: Energy,
    /// Energy beyond the guarantee, zero or below.
    pub(crate) energy: ExactEnergy,
    /// Emissions of that energy, by the intensity of each tick.
    pub(crate) emissions: ExactEmissions,
    /// Windows in which it got what it wanted, and in which it did not.
    pub(crate) met: u64,
    /// See `met`.
    pub(crate) missed: u64,
    /// What it wanted and did not get, zero or above.
    pub(crate) unserved: ExactEnergy,
}

/// A service's declaration in the terms of the decider, if it may be slower. `None` where it may not.
pub(crate) fn slowdown(name: &str, service: &ServiceSpec) -> Option<Slowdown> {
    let declared = service.slowdown.as_ref()?;
    let replicas = service.scaling.as_ref().map_or(service.replicas, |scaling| scaling.max);
    let value = declared.value.as_ref().map(|amount| amount.value);
    Some(Slowdown {
        service: name.to_owned(),
        guarantee: match declared.guarantee {
            SlowdownGuarantee::MinReplicas(least) => Guarantee::MinReplicas(least),
            SlowdownGuarantee::MinShare(share) => Guarantee::MinShare(share.get()),
        },
        replicas,
        cpu_millis: service.resources.cpu.map_or(1000, |cpu| u64::from(cpu.milli)),
        full_power: declared.power,
        idle_power: declared.idle_power,
        energy: declared.energy,
        value: value.unwrap_or(Money::new(MUST_BE_DONE_PER_KWH * declared.energy.as_kwh())),
        required: value.is_none(),
        window: Window::Daily { from: declared.window.from, to: declared.window.to },
    })
}

/// Adds what was consumed to a sum; zero or below, so that the parts of the sum add up to it exactly.
fn consumed(sum: &mut Energy, energy: Energy) -> ExactEnergy {
    let before = ExactEnergy::from_energy(*sum);
    *sum += energy;
    before - ExactEnergy::from_energy(*sum)
}

impl Slow {
    pub(super) fn new(spec: Slowdown, state: SlowState) -> Self {
        Self { spec, state, allotted: Power::ZERO }
    }

    /// Counts the tick that has ended. Returns the energy beyond the guarantee as it was and in the uncontrolled case, both zero
    /// or below.
    pub(super) fn settle(
        &mut self,
        zone: &TimeZone,
        start: Timestamp,
        seconds: i64,
        carbon: ExactIntensity,
        alive: bool,
    ) -> (ExactEnergy, ExactEnergy) {
        let hours = Hours::from_seconds(seconds as f64);
        let baseline = self.settle_baseline(zone, start, hours);
        if !alive {
            return (ExactEnergy::ZERO, baseline);
        }
        if let Some(progress) = &mut self.state.progress {
            // Before its window opens it wants nothing, so nothing that it uses counts.
            let open = current_window(&self.spec.window, zone, start).ok().flatten();
            if open.is_some_and(|open| open.run == progress.run && open.earliest <= start) {
                progress.used += (self.spec.guaranteed_power() + self.allotted) * hours;
            }
        }
        let energy = consumed(&mut self.state.moved, self.allotted * hours);
        self.state.energy += energy;
        self.state.emissions += carbon * energy.negative_part();
        (energy, baseline)
    }

    /// At full speed from the beginning of the window until it has what it wants.
    fn settle_baseline(&mut self, zone: &TimeZone, start: Timestamp, hours: Hours) -> ExactEnergy {
        let Some(RunWindow { run, earliest, .. }) =
            current_window(&self.spec.window, zone, start).ok().flatten()
        else {
            return ExactEnergy::ZERO;
        };
        if start < earliest {
            return ExactEnergy::ZERO;
        }
        let work = offer_slowdown(&self.spec, zone, self.state.baseline.as_ref(), start);
        let power = work.map_or(Power::ZERO, |work| work.max_power.min(work.energy / hours));
        let before = self.state.baseline.take().filter(|progress| progress.run == run);
        let used = before.map_or(Energy::ZERO, |progress| progress.used);
        self.state.baseline =
            Some(SlowProgress { run, used: used + (self.spec.guaranteed_power() + power) * hours });
        consumed(&mut self.state.moved_baseline, power * hours)
    }

    /// Closes a window that has passed and opens the next. Returns what is worth telling.
    pub(super) fn roll(&mut self, zone: &TimeZone, now: Timestamp) -> Option<String> {
        let window = current_window(&self.spec.window, zone, now).ok()??;
        if self.state.progress.as_ref().is_some_and(|progress| progress.run == window.run) {
            return None;
        }
        let new = SlowProgress { run: window.run, used: Energy::ZERO };
        let before = self.state.progress.replace(new)?;
        let left = self.spec.energy - before.used;
        if left <= self.spec.energy * ROUNDING {
            self.state.met += 1;
            return None;
        }
        self.state.missed += 1;
        self.state.unserved += ExactEnergy::from_energy(left);
        let (left, wanted) = (left.as_kwh(), self.spec.energy);
        Some(format!("in window {} it did not get {left:.3} kWh of the {wanted} it wanted", before.run))
    }

    pub(super) fn offer(&self, zone: &TimeZone, now: Timestamp) -> Option<FlexibleWork> {
        offer_slowdown(&self.spec, zone, self.state.progress.as_ref(), now)
    }

    /// What it may use from now on, by the plan.
    pub(super) fn order(
        &mut self,
        zone: &TimeZone,
        now: Timestamp,
        planned: impl Fn(&str) -> Vec<EnvelopeStep>,
    ) -> PowerEnvelope {
        let envelope = match self.offer(zone, now) {
            Some(work) => PowerEnvelope { steps: planned(&work.id) },
            None => self.nothing_wanted(zone, now),
        };
        // As long as nothing is planned it is as fast as declared.
        let most = self.spec.full_power - self.spec.guaranteed_power();
        let allowed = envelope.at(now).map_or(most, |step| step.max_power);
        self.allotted = allowed.max(Power::ZERO).min(most);
        envelope
    }

    /// No power beyond the guarantee until its window ends. The step begins with the window, so that it stays the same.
    fn nothing_wanted(&self, zone: &TimeZone, now: Timestamp) -> PowerEnvelope {
        let window = current_window(&self.spec.window, zone, now).ok().flatten();
        let start = window.map_or(now, |window| window.earliest.min(now));
        let reason = "it has the energy that it wanted in this window".to_owned();
        PowerEnvelope { steps: vec![EnvelopeStep { start, max_power: Power::ZERO, reason }] }
    }

    /// What it was worth that it did not get.
    pub(super) fn unserved_worth(&self) -> Money {
        self.spec.value * (self.state.unserved.to_energy() / self.spec.energy)
    }

    /// What it wants in a window of its own, as work from `from` on.
    pub(super) fn whole(&self, window: &RunWindow, zone: &TimeZone, from: Timestamp) -> Option<FlexibleWork> {
        let work = offer_slowdown(&self.spec, zone, None, window.earliest.max(from))?;
        Some(FlexibleWork { running: false, earliest: window.earliest.max(from), ..work })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use jiff::civil::Time;
    use sos_units::CarbonIntensity;

    /// 0.4 kW at full speed, 0.1 kW at its guarantee; from 22:00 to 06:00 it wants 2 kWh, of which the guarantee uses 0.8.
    fn slow() -> Slow {
        let spec = Slowdown {
            service: "index".into(),
            guarantee: Guarantee::MinReplicas(1),
            replicas: 4,
            cpu_millis: 1000,
            full_power: Power::kw(0.4),
            idle_power: Power::ZERO,
            energy: Energy::kwh(2.0),
            value: Money::new(3.0),
            required: false,
            window: Window::Daily { from: Time::constant(22, 0, 0, 0), to: Time::constant(6, 0, 0, 0) },
        };
        Slow::new(spec, SlowState::default())
    }

    /// A night by quarters of an hour, with the power of the plan by time.
    fn night(
        slow: &mut Slow,
        plan: impl Fn(Timestamp) -> Option<f64>,
    ) -> (ExactEnergy, ExactEnergy, Vec<String>) {
        let (zone, carbon) =
            (TimeZone::UTC, ExactIntensity::from_intensity(CarbonIntensity::kg_per_kwh(0.5)));
        let mut now: Timestamp = "2016-08-01T21:30:00Z".parse().unwrap();
        let (mut actual, mut baseline, mut told) = (ExactEnergy::ZERO, ExactEnergy::ZERO, Vec::new());
        for _ in 0..36 {
            told.extend(slow.roll(&zone, now));
            let step = |kw: f64| EnvelopeStep { start: now, max_power: Power::kw(kw), reason: String::new() };
            slow.order(&zone, now, |_| plan(now).map(step).into_iter().collect());
            let (one, other) = slow.settle(&zone, now, 900, carbon, true);
            (actual, baseline) = (actual + one, baseline + other);
            now += SignedDuration::from_secs(900);
        }
        told.extend(slow.roll(&zone, now));
        (actual, baseline, told)
    }

    #[test]
    fn what_the_plan_allots_counts_until_it_has_what_it_wanted() {
        let mut slow = slow();
        let (from, to): (Timestamp, Timestamp) =
            ("2016-08-02T01:00:00Z".parse().unwrap(), "2016-08-02T06:00:00Z".parse().unwrap());
        let (actual, baseline, told) =
            night(&mut slow, |now| Some(if now >= from && now < to { 0.3 } else { 0.0 }));
        let moved = ExactEnergy::watt_seconds(4_320_000);
        assert_eq!((actual, baseline), (-moved, -moved), "the same energy, four hours later");
        assert_eq!((slow.state.met, slow.state.missed, told), (1, 0, vec![]));
        let kg = slow.state.emissions.to_emissions().as_kg();
        assert!((kg - 0.6).abs() < 1e-9, "{kg}");
    }

    #[test]
    fn what_it_did_not_get_is_counted_and_told() {
        let mut slow = slow();
        let (actual, _, told) = night(&mut slow, |_| Some(0.0));
        assert_eq!((actual, slow.state.missed), (ExactEnergy::ZERO, 1));
        assert!(told[0].starts_with("in window 2016-08-01 it did not get 1.200 kWh"), "{told:?}");
        assert!((slow.unserved_worth().get() - 1.8).abs() < 1e-6, "{:?}", slow.unserved_worth());
    }

    #[test]
    fn without_a_plan_it_is_as_fast_as_declared() {
        let mut slow = slow();
        let (actual, baseline, _) = night(&mut slow, |_| None);
        // Beyond the window too: half an hour before and after, when nothing has been planned.
        assert!(-actual > -baseline, "{actual:?} {baseline:?}");
        assert_eq!(slow.state.met, 1);
    }
}
