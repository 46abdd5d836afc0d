//! A service that can slow down: flexible work out, a power envelope in, and a guarantee that holds whatever comes
//! in.
//!
//! What the guarantee needs is no choice and stays with the other consumption of the site. Only what is above it is
//! offered: as work that may be paused. So the plan cannot ask for less than the guarantee.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use sos_units::{Energy, FlexibleWork, Hours, Money, Power, PowerEnvelope, Reading};

use crate::{RunWindow, Window, current_window};

/// What always remains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Slowed down by less processor time: this share of full speed at least, above 0 and up to 1.
    MinShare(f64),
    /// Slowed down by fewer replicas: this many at least, 1 or more.
    MinReplicas(u32),
}

/// A service that can slow down, as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Slowdown {
    /// The service.
    pub service: String,
    /// What always remains.
    pub guarantee: Guarantee,
    /// Replicas at full speed, 1 or more.
    pub replicas: u32,
    /// Processor time of one replica at full speed, thousandths of one processor, above 0.
    pub cpu_millis: u64,
    /// Power of all replicas at full speed, kW, above zero, as consumption.
    pub full_power: Power,
    /// Power of all replicas when they do nothing, kW, zero to `full_power`, as consumption.
    pub idle_power: Power,
    /// Energy that it wants in each window, that of the guarantee included, kWh, zero or above.
    pub energy: Energy,
    /// What is lost when it does not get it.
    pub value: Money,
    /// Whether it has to get it, as [`FlexibleWork::required`] says.
    #[serde(default)]
    pub required: bool,
    /// In which time it wants that energy.
    pub window: Window,
}

/// How much of a window's energy was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlowProgress {
    /// The window, by the name of its run.
    pub run: String,
    /// Energy used in it, kWh, zero or above.
    pub used: Energy,
}

/// How fast a service may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpeedLimit {
    /// Processor time of each replica, thousandths of one processor; `None`: as declared.
    pub cpu_millis: Option<u64>,
    /// Most replicas; `None`: as declared.
    pub replicas: Option<u32>,
    /// Share of full speed, 0 … 1.
    pub share: f64,
    /// Whether more was asked for than the guarantee allows.
    pub guarantee_holds: bool,
    /// One sentence.
    pub because: String,
}

/// A declaration that cannot be: what is expected, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowdownError(pub String);

impl std::fmt::Display for SlowdownError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for SlowdownError {}

impl Slowdown {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn check(&self) -> Result<(), SlowdownError> {
        let wrong = |text: String| Err(SlowdownError(format!("slowdown of {}: {text}", self.service)));
        match self.guarantee {
            Guarantee::MinShare(share) if !(share > 0.0 && share <= 1.0) => {
                return wrong(format!("the least share is {share}, expected above 0 and up to 1"));
            }
            Guarantee::MinReplicas(least) if least == 0 || least > self.replicas => {
                return wrong(format!("at least {least} replicas, expected 1 to {}", self.replicas));
            }
            _ => {}
        }
        if self.replicas == 0 || self.cpu_millis == 0 {
            return wrong("replicas and processor time at full speed must be above zero".into());
        }
        let full = self.full_power;
        if !(full.is_finite() && full > Power::ZERO) {
            return wrong(format!("the power at full speed is {full}, expected above zero"));
        }
        if !(Power::ZERO..=full).contains(&self.idle_power) {
            return wrong(format!("the idle power is {}, expected 0 to {full}", self.idle_power));
        }
        if !(self.energy.is_finite() && self.energy >= Energy::ZERO) {
            return wrong(format!("the energy of a window is {}, expected zero or above", self.energy));
        }
        if !(self.value.is_finite() && self.value >= Money::ZERO) {
            return wrong(format!("the value is {}, expected zero or above", self.value));
        }
        Ok(())
    }

    /// Power at the guarantee, kW, as consumption: no plan goes below it.
    #[must_use]
    pub fn guaranteed_power(&self) -> Power {
        match self.guarantee {
            Guarantee::MinShare(share) => self.idle_power + (self.full_power - self.idle_power) * share,
            Guarantee::MinReplicas(least) => self.full_power * self.part(least),
        }
    }

    fn part(&self, replicas: u32) -> f64 {
        f64::from(replicas) / f64::from(self.replicas)
    }
}

/// What the service offers to move in the window that is open or next: the energy that it still wants beyond that of
/// the guarantee, as far as it can still be used. `None` when there is nothing to move.
#[must_use]
pub fn offer_slowdown(
    spec: &Slowdown,
    zone: &TimeZone,
    progress: Option<&SlowProgress>,
    now: Timestamp,
) -> Option<FlexibleWork> {
    let RunWindow { run, earliest, deadline } = current_window(&spec.window, zone, now).ok()??;
    let used = progress.filter(|progress| progress.run == run).map_or(Energy::ZERO, |progress| progress.used);
    let left = Hours::from_seconds(deadline.duration_since(earliest.max(now)).as_secs_f64());
    let guaranteed = spec.guaranteed_power();
    let max_power = spec.full_power - guaranteed;
    let wanted = spec.energy - used.max(Energy::ZERO) - guaranteed * left;
    let energy = wanted.min(max_power * left);
    // What is left of a sum of floats is not work.
    if !(energy.is_finite() && energy > spec.energy * 1e-9) {
        return None;
    }
    Some(FlexibleWork {
        id: format!("{}/slowdown/{run}", spec.service),
        energy,
        earliest,
        deadline,
        min_power: Power::ZERO,
        max_power,
        interruptible: true,
        running: earliest <= now,
        value: spec.value,
        required: spec.required,
    })
}

/// How fast the service may be at `site`. The envelope is that of the work of [`offer_slowdown`]: power beyond the
/// guarantee. With no step in force the service is as fast as declared; so it is while its service level is known to
/// be missed.
///
/// # Guarantees
/// Never below the guarantee, never above full speed; more power never makes it slower.
#[must_use]
pub fn limit_speed(
    spec: &Slowdown,
    envelope: Option<&PowerEnvelope>,
    level_met: Reading<bool>,
    site: Timestamp,
) -> SpeedLimit {
    let full = |because: String| SpeedLimit {
        cpu_millis: None,
        replicas: None,
        share: 1.0,
        guarantee_holds: false,
        because,
    };
    if level_met == Ok(false) {
        return full("full speed, because its service level is missed".into());
    }
    let Some(step) = envelope.and_then(|envelope| envelope.at(site)) else {
        return full("full speed, because the site's plan has not allotted power yet".into());
    };
    // What is no number is no power.
    let more = Power::ZERO.max(step.max_power);
    let allowed = spec.guaranteed_power() + more;
    let mut limit = match spec.guarantee {
        Guarantee::MinShare(least) => by_share(spec, least, allowed),
        Guarantee::MinReplicas(least) => by_replicas(spec, least, allowed),
    };
    if limit.share >= 1.0 {
        return full(format!("full speed: {}", step.reason));
    }
    limit.guarantee_holds = more <= Power::ZERO;
    limit.because = format!("{}: {}", limit.because, step.reason);
    limit
}

fn by_share(spec: &Slowdown, least: f64, allowed: Power) -> SpeedLimit {
    let room = spec.full_power - spec.idle_power;
    let share = if room > Power::ZERO { (allowed - spec.idle_power) / room } else { 1.0 };
    let share = share.clamp(least.min(1.0), 1.0);
    let full = spec.cpu_millis as f64;
    // Cut to whole thousandths (a product of floats may fall short by its last digit), but never below the guarantee.
    let floor = (full * least - 1e-6).ceil().max(1.0);
    let millis = (full * share + 1e-6).floor().max(floor).min(full);
    let because = format!("{millis:.0}m of {full:.0}m processor time for each replica");
    SpeedLimit { cpu_millis: Some(millis as u64), replicas: None, share, guarantee_holds: false, because }
}

fn by_replicas(spec: &Slowdown, least: u32, allowed: Power) -> SpeedLimit {
    let each = spec.full_power / f64::from(spec.replicas);
    // A sum of floats may fall short of a whole number by its last digit.
    let fit = (allowed / each + 1e-9).floor();
    let replicas = (fit as u32).clamp(least.min(spec.replicas), spec.replicas);
    let because = format!("{replicas} of {} replicas", spec.replicas);
    SpeedLimit {
        cpu_millis: None,
        replicas: Some(replicas),
        share: spec.part(replicas),
        guarantee_holds: false,
        because,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sos_units::{EnvelopeStep, Missing};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn noon() -> Timestamp {
        at("2026-03-01T12:00:00Z")
    }

    /// Four replicas of one processor, 0.4 kW at full speed and 0.1 kW idle, 4 kWh from 10 to 20 o'clock.
    fn service(guarantee: Guarantee) -> Slowdown {
        Slowdown {
            service: "index".into(),
            guarantee,
            replicas: 4,
            cpu_millis: 1000,
            full_power: Power::kw(0.4),
            idle_power: Power::kw(0.1),
            energy: Energy::kwh(3.0),
            value: Money::new(2.0),
            required: false,
            window: Window::Once {
                earliest: at("2026-03-01T10:00:00Z"),
                deadline: at("2026-03-01T20:00:00Z"),
            },
        }
    }

    fn envelope(kw: f64) -> PowerEnvelope {
        let reason = "power is dear until 15:00".to_owned();
        PowerEnvelope { steps: vec![EnvelopeStep { start: noon(), max_power: Power::kw(kw), reason }] }
    }

    fn limit(guarantee: Guarantee, kw: f64) -> SpeedLimit {
        limit_speed(&service(guarantee), Some(&envelope(kw)), Err(Missing::NotYet), noon())
    }

    #[test]
    fn what_is_beyond_the_guarantee_is_offered() {
        let spec = service(Guarantee::MinShare(1.0 / 3.0));
        let work = offer_slowdown(&spec, &TimeZone::UTC, None, at("2026-03-01T09:00:00Z")).unwrap();
        assert_eq!(work.id, "index/slowdown/once");
        assert!((work.max_power.as_kw() - 0.2).abs() < 1e-12 && work.min_power == Power::ZERO);
        assert!((work.energy.as_kwh() - 1.0).abs() < 1e-9, "3 kWh less 10 h of 0.2 kW: {work:?}");
        assert!(work.interruptible && !work.running);
        let progress = SlowProgress { run: "once".into(), used: Energy::kwh(0.5) };
        let later = offer_slowdown(&spec, &TimeZone::UTC, Some(&progress), noon()).unwrap();
        assert!((later.energy.as_kwh() - 0.9).abs() < 1e-9 && later.running, "{later:?}");
        let late = at("2026-03-01T18:00:00Z");
        let cut = offer_slowdown(&spec, &TimeZone::UTC, Some(&progress), late).unwrap();
        assert!((cut.energy.as_kwh() - 0.4).abs() < 1e-9, "what no longer fits is not offered: {cut:?}");
    }

    #[test]
    fn nothing_is_offered_when_the_guarantee_takes_it_all() {
        let satisfied = SlowProgress { run: "once".into(), used: Energy::kwh(3.0) };
        let spec = service(Guarantee::MinReplicas(2));
        assert_eq!(offer_slowdown(&spec, &TimeZone::UTC, Some(&satisfied), noon()), None);
        assert_eq!(offer_slowdown(&service(Guarantee::MinReplicas(4)), &TimeZone::UTC, None, noon()), None);
        assert_eq!(offer_slowdown(&spec, &TimeZone::UTC, None, at("2026-03-01T20:00:00Z")), None);
    }

    #[test]
    fn an_envelope_becomes_processor_time_or_replicas() {
        let slow = limit(Guarantee::MinShare(0.25), 0.075);
        assert_eq!(slow.cpu_millis, Some(500));
        assert_eq!(slow.because, "500m of 1000m processor time for each replica: power is dear until 15:00");
        let few = limit(Guarantee::MinReplicas(1), 0.2);
        assert_eq!((few.replicas, few.cpu_millis), (Some(3), None));
        assert!(few.because.starts_with("3 of 4 replicas: power is dear"), "{}", few.because);
        let full = limit(Guarantee::MinReplicas(1), 0.3);
        assert_eq!((full.replicas, full.because.as_str()), (None, "full speed: power is dear until 15:00"));
    }

    #[test]
    fn the_guarantee_holds_whatever_is_asked() {
        for kw in [0.0, -5.0, f64::NAN] {
            let slow = limit(Guarantee::MinShare(0.3), kw);
            assert_eq!((slow.cpu_millis, slow.guarantee_holds), (Some(300), true));
            assert_eq!(limit(Guarantee::MinReplicas(2), kw).replicas, Some(2));
        }
    }

    #[test]
    fn a_missed_service_level_and_a_missing_plan_give_full_speed() {
        let spec = service(Guarantee::MinShare(0.3));
        let missed = limit_speed(&spec, Some(&envelope(0.0)), Ok(false), noon());
        assert_eq!((missed.cpu_millis, missed.replicas), (None, None));
        assert!(missed.because.contains("service level is missed"), "{}", missed.because);
        for envelope in [None, Some(&envelope(0.0))] {
            let early = limit_speed(&spec, envelope, Ok(true), at("2026-03-01T11:59:00Z"));
            assert_eq!(early.cpu_millis, None);
        }
    }

    #[test]
    fn declarations_out_of_range_are_named() {
        let wrong = |spec: Slowdown| spec.check().unwrap_err().to_string();
        assert!(service(Guarantee::MinShare(1.0)).check().is_ok());
        assert!(wrong(service(Guarantee::MinShare(0.0))).contains("above 0 and up to 1"));
        assert!(wrong(service(Guarantee::MinShare(f64::NAN))).contains("least share"));
        assert!(wrong(service(Guarantee::MinReplicas(5))).contains("expected 1 to 4"));
        let idle_power = Power::kw(1.0);
        assert!(wrong(Slowdown { idle_power, ..service(Guarantee::MinReplicas(1)) }).contains("idle power"));
        let energy = Energy::kwh(f64::INFINITY);
        assert!(
            wrong(Slowdown { energy, ..service(Guarantee::MinReplicas(1)) }).contains("energy of a window")
        );
    }
}
