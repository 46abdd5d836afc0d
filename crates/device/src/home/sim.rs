//! One home as a function of time: what flowed since the last moment, with the commands then in force.

use serde::{Deserialize, Serialize};
use sos_plant::battery::{self, BatteryParams, BatteryState};
use sos_plant::{from_watts, solar, whole_watts};
use sos_units::{Hours, Soc};

use super::data::{Data, Row};

/// What does not change while a home runs.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) battery: BatteryParams,
    /// Rated power of the solar inverter, in watts; limits are a share of it.
    pub(super) solar_rating: i64,
    /// The same of the wind turbine; none where there is none.
    pub(super) wind_rating: Option<i64>,
    /// Whether the battery's inverter forms the grid: it takes up what load and generation of the home do otherwise than
    /// when it was commanded.
    pub(super) forms_grid: bool,
    pub(super) data: Data,
    /// Registers show the mean of the last interval (lock-step) or of the data's present step (scaled).
    pub(super) mean_of_interval: bool,
}

/// A commanded value with its reversion: what SunSpec model 704 keeps per function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control<V> {
    pub(crate) enabled: bool,
    pub(crate) value: V,
    pub(crate) enabled_after: bool,
    pub(crate) value_after: V,
    /// Seconds from a command to its reversion; 0 is never.
    pub(crate) lease: u32,
    /// Site time of the reversion, in seconds since 1970.
    pub(crate) expires: Option<i64>,
}

/// The set-point of the battery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setpoint {
    pub(crate) watts: i32,
    /// Hundredths of a percent of the rated power.
    pub(crate) share: i16,
}

impl<V: Copy> Control<V> {
    /// A command was given: the lease starts anew.
    pub(crate) fn renew(&mut self, now: i64) {
        self.expires = (self.enabled && self.lease > 0).then(|| now + i64::from(self.lease));
    }

    /// Seconds until the reversion; 0 when none is due.
    pub(crate) fn remaining(&self, now: i64) -> u32 {
        self.expires.map_or(0, |at| u32::try_from((at - now).max(0)).unwrap_or(u32::MAX))
    }

    pub(crate) fn lapse(&mut self, now: i64) {
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            self.enabled = self.enabled_after;
            self.value = self.value_after;
        }
    }

    pub(crate) fn until(&self, end: i64) -> i64 {
        self.expires.map_or(end, |at| at.min(end))
    }
}

/// The whole state of a home; everything here survives a kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Site time, in seconds since 1970.
    pub(super) time: i64,
    pub(super) battery: BatteryState,
    pub(super) load: Meter,
    pub(super) solar: Meter,
    pub(super) setpoint: Control<Setpoint>,
    /// Share of the solar rating in hundredths of a percent.
    pub(super) limit: Control<u16>,
    /// Whether the battery's inverter counts percent of the rated power instead of watts.
    pub(super) setpoint_is_share: bool,
    /// Of a wind turbine, as of the solar inverter.
    #[serde(default)]
    pub(super) wind: Meter,
    #[serde(default = "unlimited")]
    pub(super) wind_limit: Control<u16>,
    /// What the meters showed when the battery was commanded.
    #[serde(default)]
    pub(super) commanded_at: Row,
    /// Mean of the last interval; `None` before the first.
    pub(super) battery_watts: Option<i64>,
}

/// A counter and the mean power it was last moved by. Whole watts are reported, and the counter is the sum of what
/// was reported; what rounding left over is reported later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meter {
    pub(crate) watt_seconds: i64,
    pub(crate) watts: Option<i64>,
    carry: i64,
}

impl Meter {
    /// Reports an interval. The carry moves a report by less than a watt per second, and not at all when `fixed`:
    /// a curtailed inverter must not report more than its limit.
    pub(crate) fn report(&mut self, energy: Option<i64>, seconds: i64, fixed: bool) {
        self.watts = energy.map(|energy| {
            let extra = if fixed { 0 } else { self.carry.min(seconds - energy.rem_euclid(seconds)) };
            let watts = (energy + extra).div_euclid(seconds);
            self.carry += energy - watts * seconds;
            self.watt_seconds += watts * seconds;
            watts
        });
    }
}

/// One home.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) config: Config,
    pub(super) state: State,
}

impl State {
    pub(super) fn initial(config: &Config, time: i64, soc: Soc) -> Self {
        Self {
            time,
            battery: BatteryState::at(&config.battery, soc),
            load: Meter::default(),
            solar: Meter::default(),
            setpoint: Control::default(),
            limit: unlimited(),
            setpoint_is_share: false,
            wind: Meter::default(),
            wind_limit: unlimited(),
            commanded_at: Row::default(),
            battery_watts: None,
        }
    }
}

/// A limit at the rated power, which is not in force.
fn unlimited() -> Control<u16> {
    Control { value: 10_000, value_after: 10_000, ..Control::default() }
}

impl Home {
    /// Lives until `now`; a time that is not later than its own changes nothing. True when time has passed.
    ///
    /// Commands whose lease ends on the way stop there. The battery is stepped once with the mean of what it was
    /// asked for: with an idle reversion that fills or empties it exactly as two steps would.
    pub(super) fn advance(&mut self, now: i64) -> bool {
        let seconds = now - self.state.time;
        if seconds <= 0 {
            return false;
        }
        let (mut load, mut solar, mut wind, mut asked) = (Some(0), Some(0), Some(0), 0);
        let (mut curtailed, mut turned_down) = (false, false);
        let mut time = self.state.time;
        while time < now {
            self.lapse(time);
            let (row, end) = self.config.data.at(time);
            let end = self.state.limit.until(self.state.setpoint.until(end.min(now)));
            let end = self.state.wind_limit.until(end);
            let span = end - time;
            let flowing = self.flowing(row);
            curtailed |= flowing.solar < row.solar;
            turned_down |= flowing.wind < row.wind;
            load = add(load, row.load, span);
            solar = add(solar, flowing.solar, span);
            wind = add(wind, flowing.wind, span);
            asked += (self.asked_watts() + self.taken_up(flowing)) * span;
            time = end;
        }
        self.lapse(now);
        self.state.load.report(load, seconds, false);
        self.state.solar.report(solar, seconds, curtailed);
        self.state.wind.report(wind, seconds, turned_down);
        let setpoint = from_watts(asked / seconds);
        let dt = Hours::from_seconds(seconds as f64);
        let (battery, power) = battery::step(&self.config.battery, self.state.battery, setpoint, dt);
        self.state.battery = battery;
        self.state.battery_watts = Some(whole_watts(power));
        self.state.time = now;
        true
    }

    /// What a meter would show now: consumption and generation in watts, both zero or above.
    pub(super) fn shown(&self) -> Row {
        if self.config.mean_of_interval {
            let State { load, solar, wind, .. } = &self.state;
            return Row { load: load.watts, solar: solar.watts, wind: wind.watts };
        }
        self.flowing(self.config.data.at(self.state.time).0)
    }

    /// What flows of what could.
    fn flowing(&self, row: Row) -> Row {
        let limited = |available: Option<i64>, rating: i64, limit: Control<u16>| {
            let allowed = limit.enabled.then(|| from_watts(rating * i64::from(limit.value) / 10_000));
            available.map(|available| whole_watts(solar::step(from_watts(available), allowed)))
        };
        let wind_rating = self.config.wind_rating.unwrap_or(0);
        Row {
            load: row.load,
            solar: limited(row.solar, self.config.solar_rating, self.state.limit),
            wind: limited(row.wind, wind_rating, self.state.wind_limit),
        }
    }

    /// What an inverter that forms the grid gives besides its set-point: what the home lacks now and did not lack when it was
    /// commanded. A plant whose limit is in force was expected at its limit. Without a command it carries the home alone.
    fn taken_up(&self, flowing: Row) -> i64 {
        if !self.config.forms_grid {
            return 0;
        }
        let balance = |row: Row| row.solar.unwrap_or(0) + row.wind.unwrap_or(0) - row.load.unwrap_or(0);
        let State { commanded_at, limit, wind_limit, setpoint, .. } = &self.state;
        let expected = |seen: Option<i64>, rating: i64, limit: &Control<u16>| {
            if limit.enabled { Some(rating * i64::from(limit.value) / 10_000) } else { seen }
        };
        let then = Row {
            load: commanded_at.load,
            solar: expected(commanded_at.solar, self.config.solar_rating, limit),
            wind: expected(commanded_at.wind, self.config.wind_rating.unwrap_or(0), wind_limit),
        };
        let then = if setpoint.enabled { balance(then) } else { 0 };
        then - balance(flowing)
    }

    /// The set-point in force, in watts; 0 (idle) is the safe state without one.
    fn asked_watts(&self) -> i64 {
        let control = self.state.setpoint;
        if !control.enabled {
            0
        } else if self.state.setpoint_is_share {
            i64::from(control.value.share) * whole_watts(self.config.battery.max_discharge()) / 10_000
        } else {
            i64::from(control.value.watts)
        }
    }

    fn lapse(&mut self, now: i64) {
        self.state.setpoint.lapse(now);
        self.state.limit.lapse(now);
        self.state.wind_limit.lapse(now);
    }
}

fn add(sum: Option<i64>, watts: Option<i64>, seconds: i64) -> Option<i64> {
    Some(sum? + watts? * seconds)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use sos_plant::battery::BatterySpec;
    use sos_units::{Energy, Power};

    use super::*;

    pub(crate) const HOUR: i64 = 3600;

    /// Four hours from 2016-08-01T00:00Z: load 1 kW rising by 1 kW, solar 0, 2, 4, 0 kW.
    pub(crate) fn home() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home.csv");
        let rows = [(1, 0), (2, 2), (3, 4), (4, 0)];
        let text =
            (0..).zip(rows).map(|(n, (load, solar))| format!("2016-08-01T0{n}:00:00Z,{load},{solar}\n"));
        std::fs::write(&path, format!("time,load_kw,solar_kw\n{}", text.collect::<String>())).unwrap();
        let battery = BatteryParams::new(BatterySpec {
            capacity: Energy::kwh(6.4),
            max_charge: Power::kw(5.0),
            max_discharge: Power::kw(5.0),
            charge_efficiency: 0.95,
            discharge_efficiency: 0.95,
            min_soc: Soc::ZERO,
            max_soc: Soc::fraction(1.0),
        });
        let data = Data::read(&path).unwrap();
        let start = data.start();
        let config = Config {
            battery: battery.unwrap(),
            solar_rating: 5000,
            wind_rating: None,
            forms_grid: false,
            data,
            mean_of_interval: true,
        };
        let state = State::initial(&config, start, Soc::ZERO);
        Home { config, state }
    }

    pub(crate) fn charge(home: &mut Home, watts: i32, lease: u32) {
        home.state.setpoint =
            Control { enabled: true, value: Setpoint { watts, share: 0 }, lease, ..Control::default() };
        home.state.setpoint.renew(home.state.time);
    }

    #[test]
    fn an_interval_reports_means_and_counts_them() {
        let mut home = home();
        assert_eq!(home.shown(), Row::default());
        let start = home.state.time;
        assert!(home.advance(start + 2 * HOUR));
        assert_eq!(home.shown(), Row { load: Some(1500), solar: Some(1000), wind: None });
        assert_eq!(home.state.load.watt_seconds, 3000 * HOUR);
        assert!(!home.advance(start + HOUR), "an earlier time changes nothing");
        assert_eq!(home.state.time, start + 2 * HOUR);
    }

    #[test]
    fn a_lease_that_ends_inside_an_interval_stops_the_battery_there() {
        let mut home = home();
        charge(&mut home, -4000, 1800);
        let start = home.state.time;
        home.advance(start + HOUR);
        assert_eq!(home.state.battery_watts, Some(-2000), "half an hour at 4 kW");
        assert!(!home.state.setpoint.enabled);
        home.advance(start + 2 * HOUR);
        assert_eq!(home.state.battery_watts, Some(0), "idle is the safe state");
    }

    #[test]
    fn a_curtailment_ends_with_its_lease() {
        let mut home = home();
        let start = home.state.time;
        home.advance(start + HOUR);
        home.state.limit =
            Control { enabled: true, value: 2000, value_after: 10_000, lease: 3600, ..Control::default() };
        home.state.limit.renew(home.state.time);
        home.advance(start + 2 * HOUR);
        assert_eq!(home.shown().solar, Some(1000), "20 % of 5 kW instead of 2 kW");
        home.advance(start + 3 * HOUR);
        assert_eq!(home.shown().solar, Some(4000));
    }

    #[test]
    fn an_inverter_that_forms_the_grid_takes_up_what_changes_after_its_command() {
        let mut home = home();
        home.config.forms_grid = true;
        home.state.battery = BatteryState::at(&home.config.battery, Soc::fraction(0.5));
        let start = home.state.time;
        home.advance(start + HOUR);
        assert_eq!(home.state.battery_watts, Some(1000), "it carries the load alone");
        home.state.commanded_at = home.shown();
        charge(&mut home, 500, 0);
        home.advance(start + 2 * HOUR);
        assert_eq!(
            home.state.battery_watts,
            Some(500 + 1000 - 2000),
            "load 2 kW instead of 1, solar 2 instead of 0"
        );
    }

    #[test]
    fn beyond_the_data_nothing_is_claimed() {
        let mut home = home();
        let start = home.state.time;
        home.advance(start + 5 * HOUR);
        assert_eq!(home.shown(), Row::default());
    }

    proptest! {
        #[test]
        fn counters_are_the_sum_of_the_reports_however_time_is_cut(
            cuts in prop::collection::vec(1_i64..4000, 1..40), seed in any::<u64>(),
        ) {
            let mut home = home();
            home.config.data.vary(seed, 60).unwrap();
            let (start, mut load, mut solar, mut battery) = (home.state.time, 0, 0, 0);
            charge(&mut home, -3000, 7000);
            let ends = cuts.iter().scan(start, |at, cut| { *at += cut; Some(*at) });
            for end in ends.take_while(|end| *end <= start + 4 * HOUR).chain([start + 4 * HOUR]) {
                let seconds = end - home.state.time;
                if home.advance(end) {
                    load += home.state.load.watts.unwrap() * seconds;
                    solar += home.state.solar.watts.unwrap() * seconds;
                    battery += home.state.battery_watts.unwrap() * seconds;
                }
            }
            prop_assert_eq!(home.state.load.watt_seconds, load);
            prop_assert_eq!(home.state.solar.watt_seconds, solar);
            prop_assert_eq!(home.state.battery.charged().as_watt_seconds(), -battery);
            // What is not reported yet is less than a watt over the longest interval.
            prop_assert!((load - 10_000 * HOUR).abs() <= 4 * HOUR && (solar - 6000 * HOUR).abs() <= 4 * HOUR);
        }
    }
}
