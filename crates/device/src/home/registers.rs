//! The SunSpec register map of a home's three units.
//!
//! Unit 1, the solar inverter, and unit 4, the wind turbine: models 1, 702, 704, 701. Unit 2, the battery's inverter: 1, 702, 704, 713, 701.
//! Unit 3, the meter of the home's consumption: 1, 203. The order lets one read of at most 125 registers cover all
//! that changes. Offsets come from the `sunspec` crate, which generates them from the published models; what is not
//! implemented carries the marker of its type.

use sos_plant::whole_watts;
use sos_units::{Energy, Power};
use sunspec::models::model1::Model1;
use sunspec::models::model203::Model203;
use sunspec::models::model701::Model701;
use sunspec::models::model702::Model702;
use sunspec::models::model704::Model704;
use sunspec::models::model713::Model713;
use sunspec::{Group, Model, Point, SUNS_IDENTIFIER, Value};

use super::sim::{Config, Control, Home, Meter, Setpoint};

/// Address of the first register, one of those that SunSpec clients try.
pub(crate) const BASE: u16 = 40_000;
pub(super) const SOLAR: u8 = 1;
pub(super) const BATTERY: u8 = 2;
pub(super) const METER: u8 = 3;
pub(super) const WIND: u8 = 4;

/// Registers count a tenth of a watt-hour.
const WATT_SECONDS_PER_COUNT: i64 = 360;
const TENTH: i16 = -1;
const HUNDREDTH: i16 = -2;

/// Why a write was refused; each is a Modbus exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No such register, or it is read-only.
    Address,
    /// The value is outside what the device can do.
    Value,
}

/// Runs of registers by the marker for "not implemented": all ones (unsigned, enumerations, bit fields), the lowest
/// number (16-bit signed and scale factors; 32-bit signed as two), zeros (text, accumulators).
#[derive(Clone, Copy)]
enum Run {
    Ones(usize),
    Lowest(usize),
    Lowest32(usize),
    Zeros(usize),
}
use Run::{Lowest, Lowest32, Ones, Zeros};

const PHASE: [Run; 2] = [Lowest(5), Ones(18)];
const RUNS_1: &[Run] = &[Zeros(64), Ones(1), Lowest(1)];
const RUNS_701: &[Run] = &[
    Ones(8),
    Lowest(5),
    Ones(20),
    Lowest(6),
    PHASE[0],
    PHASE[1],
    PHASE[0],
    PHASE[1],
    PHASE[0],
    PHASE[1],
    Ones(3),
    Lowest(10),
    Zeros(32),
];
const RUNS_702: &[Run] = &[Ones(43), Lowest(7)];
const RUNS_704: &[Run] =
    &[Ones(22), Lowest32(2), Lowest(2), Ones(8), Lowest32(2), Lowest(2), Ones(9), Lowest(6), Ones(8)];
const RUNS_713: &[Run] = &[Ones(5), Lowest(2)];
const RUNS_203: &[Run] =
    &[Lowest(36), Zeros(16), Lowest(1), Zeros(16), Lowest(1), Zeros(32), Lowest(1), Zeros(2)];

/// The registers of one unit, from [`BASE`], while they are put together.
pub(crate) struct Map {
    words: Vec<u16>,
}

impl Map {
    pub(crate) fn new(serial: &str, product: &str) -> Self {
        let mut map = Self { words: SUNS_IDENTIFIER.to_vec() };
        let common = map.model::<Model1>(RUNS_1);
        map.text(common, &Model1::MN, "SOS");
        map.text(common, &Model1::MD, product);
        map.text(common, &Model1::VR, env!("CARGO_PKG_VERSION"));
        map.text(common, &Model1::SN, serial);
        map
    }

    /// Appends a model without values; where its data begin.
    fn model<M: Model + Group>(&mut self, runs: &[Run]) -> usize {
        let header = self.words.len();
        self.words.extend([M::ID, 0]);
        for run in runs {
            match *run {
                Ones(count) => self.words.extend(std::iter::repeat_n(u16::MAX, count)),
                Lowest(count) => self.words.extend(std::iter::repeat_n(0x8000, count)),
                Lowest32(count) => (0..count).for_each(|_| self.words.extend([0x8000, 0])),
                Zeros(count) => self.words.extend(std::iter::repeat_n(0, count)),
            }
        }
        self.words[header + 1] = (self.words.len() - header - 2) as u16;
        header + 2
    }

    fn put<G: Group, T: Value>(&mut self, model: usize, point: &Point<G, T>, value: T) {
        let at = model + usize::from(point.offset);
        for (word, new) in self.words[at..].iter_mut().zip(value.encode().iter()) {
            *word = *new;
        }
    }

    /// Puts a number over a point whose type is an enumeration.
    fn raw<G: Group, T: Value>(&mut self, model: usize, point: &Point<G, T>, value: u16) {
        self.words[model + usize::from(point.offset)] = value;
    }

    fn text<G: Group, T: Value>(&mut self, model: usize, point: &Point<G, T>, text: &str) {
        let at = model + usize::from(point.offset);
        for (index, byte) in text.bytes().take(usize::from(point.length) * 2).enumerate() {
            self.words[at + index / 2] |= u16::from(byte) << (if index % 2 == 0 { 8 } else { 0 });
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u16> {
        self.words.extend([0xffff, 0]);
        self.words
    }
}

/// The registers of a unit from [`BASE`] on; `None` when there is no such unit.
pub(super) fn image(home: &Home, serial: &str, unit: u8) -> Option<Vec<u16>> {
    match unit {
        SOLAR => {
            let map = Map::new(serial, "home solar inverter");
            let (state, rating) = (&home.state, home.config.solar_rating);
            Some(plant(map, rating, state.limit, (home.shown().solar, state.solar), state.time))
        }
        WIND => {
            let map = Map::new(serial, "home wind turbine");
            let (state, rating) = (&home.state, home.config.wind_rating?);
            Some(plant(map, rating, state.wind_limit, (home.shown().wind, state.wind), state.time))
        }
        BATTERY => Some(battery(home, serial)),
        METER => Some(meter(home, serial)),
        _ => None,
    }
}

/// A plant that may be limited, with what it shows and its counter.
fn plant(
    mut map: Map,
    rating: i64,
    limit: Control<u16>,
    (shown, meter): (Option<i64>, Meter),
    time: i64,
) -> Vec<u16> {
    ratings(&mut map, u16::try_from(rating).ok());
    let controls = map.model::<Model704>(RUNS_704);
    map.raw(controls, &Model704::W_MAX_LIM_PCT_ENA, limit.enabled.into());
    map.put(controls, &Model704::W_MAX_LIM_PCT, Some(limit.value));
    map.put(controls, &Model704::W_MAX_LIM_PCT_RVRT, Some(limit.value_after));
    map.raw(controls, &Model704::W_MAX_LIM_PCT_ENA_RVRT, limit.enabled_after.into());
    map.put(controls, &Model704::W_MAX_LIM_PCT_RVRT_TMS, Some(limit.lease));
    map.put(controls, &Model704::W_MAX_LIM_PCT_RVRT_REM, Some(limit.remaining(time)));
    map.put(controls, &Model704::W_MAX_LIM_PCT_SF, Some(HUNDREDTH));
    measurement(&mut map, shown, meter.watt_seconds, 0);
    map.finish()
}

fn battery(home: &Home, serial: &str) -> Vec<u16> {
    let (state, params) = (&home.state, &home.config.battery);
    let (given, taken) = (state.battery.discharged(), state.battery.charged());
    let shown = Store {
        capacity: params.capacity(),
        stored: Some(state.battery.stored(params)),
        max_charge: params.max_charge(),
        max_discharge: params.max_discharge(),
        watts: state.battery_watts,
        counters: (given.as_watt_seconds(), taken.as_watt_seconds()),
    };
    let map = Map::new(serial, "home battery inverter");
    store(map, &shown, state.setpoint, state.setpoint_is_share, state.time)
}

/// What the unit of something that stores energy shows.
pub(crate) struct Store {
    pub(crate) capacity: Energy,
    /// None while nothing is plugged in.
    pub(crate) stored: Option<Energy>,
    pub(crate) max_charge: Power,
    pub(crate) max_discharge: Power,
    /// Power of its terminals, positive into the site; none before the first interval.
    pub(crate) watts: Option<i64>,
    /// Watt-seconds given to the site and taken from it.
    pub(crate) counters: (i64, i64),
}

/// The registers of a unit that stores energy and follows a set-point.
pub(crate) fn store(
    mut map: Map,
    shown: &Store,
    control: Control<Setpoint>,
    is_share: bool,
    time: i64,
) -> Vec<u16> {
    let watts = |power| u16::try_from(whole_watts(power)).ok();
    let rated = ratings(&mut map, watts(shown.max_discharge.max(shown.max_charge)));
    for point in [&Model702::W_CHA_RTE_MAX_RTG, &Model702::W_CHA_RTE_MAX] {
        map.put(rated, point, watts(shown.max_charge));
    }
    for point in [&Model702::W_DIS_CHA_RTE_MAX_RTG, &Model702::W_DIS_CHA_RTE_MAX] {
        map.put(rated, point, watts(shown.max_discharge));
    }
    setpoint(&mut map, control, is_share, time);
    let storage = map.model::<Model713>(RUNS_713);
    let capacity = shown.capacity.as_kwh() * 1000.0;
    // A 16-bit rating in Wh ends at 65 kWh; larger ones are told in tens, hundreds, ….
    let exponent = (0..7).find(|n| capacity / 10_f64.powi(*n) < 65_000.0).unwrap_or(7);
    let watt_hours = |value: f64| Some((value / 10_f64.powi(exponent)).round() as u16);
    map.put(storage, &Model713::WH_RTG, watt_hours(capacity));
    if let Some(stored) = shown.stored {
        map.put(storage, &Model713::WH_AVAIL, watt_hours(stored.as_kwh() * 1000.0));
        let share = (stored / shown.capacity).clamp(0.0, 1.0);
        map.put(storage, &Model713::SOC, Some((share * 1e4).round() as u16));
    }
    map.put(storage, &Model713::SOH, Some(10_000));
    map.raw(storage, &Model713::STA, 0);
    map.put(storage, &Model713::WH_SF, Some(exponent as i16));
    map.put(storage, &Model713::PCT_SF, Some(HUNDREDTH));
    let model = measurement(&mut map, shown.watts, shown.counters.0, shown.counters.1);
    map.raw(model, &Model701::CONN_ST, shown.stored.is_some().into());
    map.finish()
}

/// The model of ratings with the rated power in watts; where its data begin.
pub(crate) fn ratings(map: &mut Map, watts: Option<u16>) -> usize {
    let rated = map.model::<Model702>(RUNS_702);
    map.put(rated, &Model702::W_MAX_RTG, watts);
    map.put(rated, &Model702::W_MAX, watts);
    map.put(rated, &Model702::W_SF, Some(0));
    rated
}

/// The model of controls with a set-point in watts, or in shares of the rated power.
pub(crate) fn setpoint(map: &mut Map, control: Control<Setpoint>, is_share: bool, time: i64) {
    let controls = map.model::<Model704>(RUNS_704);
    map.raw(controls, &Model704::W_SET_ENA, control.enabled.into());
    map.raw(controls, &Model704::W_SET_MOD, (!is_share).into());
    map.put(controls, &Model704::W_SET, Some(control.value.watts));
    map.put(controls, &Model704::W_SET_RVRT, Some(control.value_after.watts));
    map.put(controls, &Model704::W_SET_PCT, Some(control.value.share));
    map.put(controls, &Model704::W_SET_PCT_RVRT, Some(control.value_after.share));
    map.raw(controls, &Model704::W_SET_ENA_RVRT, control.enabled_after.into());
    map.put(controls, &Model704::W_SET_RVRT_TMS, Some(control.lease));
    map.put(controls, &Model704::W_SET_RVRT_REM, Some(control.remaining(time)));
    map.put(controls, &Model704::W_SET_SF, Some(0));
    map.put(controls, &Model704::W_SET_PCT_SF, Some(HUNDREDTH));
}

/// The model of measurements; where its data begin.
pub(crate) fn measurement(map: &mut Map, watts: Option<i64>, given: i64, taken: i64) -> usize {
    let model = map.model::<Model701>(RUNS_701);
    map.raw(model, &Model701::AC_TYPE, 0);
    map.raw(model, &Model701::ST, 1);
    map.raw(model, &Model701::CONN_ST, 1);
    map.put(model, &Model701::W, watts.and_then(|watts| i16::try_from(watts).ok()));
    map.put(model, &Model701::TOT_WH_INJ, u64::try_from(given / WATT_SECONDS_PER_COUNT).ok());
    map.put(model, &Model701::TOT_WH_ABS, u64::try_from(taken / WATT_SECONDS_PER_COUNT).ok());
    map.put(model, &Model701::W_SF, Some(0));
    map.put(model, &Model701::TOT_WH_SF, Some(TENTH));
    model
}

/// Says of a generator what its engine does.
pub(crate) fn operating(map: &mut Map, model: usize, on: bool, state: u16) {
    map.raw(model, &Model701::ST, on.into());
    map.raw(model, &Model701::INV_ST, state);
}

/// A meter counts what the home takes as import, so its power is positive when the home consumes.
fn meter(home: &Home, serial: &str) -> Vec<u16> {
    let mut map = Map::new(serial, "home load meter");
    let model = map.model::<Model203>(RUNS_203);
    let watts = home.shown().load.and_then(|watts| i16::try_from(watts).ok());
    map.put(model, &Model203::W, watts.unwrap_or(i16::MIN));
    map.put(model, &Model203::W_SF, 0);
    // Accumulators wrap around at 32 bits: after 429 MWh.
    map.put(model, &Model203::TOT_WH_IMP, (home.state.load.watt_seconds / WATT_SECONDS_PER_COUNT) as u32);
    map.put(model, &Model203::TOT_WH_EXP, 0);
    map.put(model, &Model203::TOT_WH_SF, TENTH);
    map.finish()
}

/// Writes registers of a unit. All or nothing: a refused write changes nothing.
pub(super) fn write(
    home: &mut Home,
    serial: &str,
    unit: u8,
    address: u16,
    words: &[u16],
) -> Result<(), Refused> {
    let image = image(home, serial, unit).ok_or(Refused::Address)?;
    if unit == SOLAR || unit == WIND {
        let span = (Model704::W_MAX_LIM_PCT_ENA.offset, Model704::W_MAX_LIM_PCT_RVRT_TMS.offset + 1);
        let limit = limit_of(&written(image, span, address, words)?)?;
        let control = if unit == SOLAR { &mut home.state.limit } else { &mut home.state.wind_limit };
        *control = limit;
        control.renew(home.state.time);
        return Ok(());
    }
    let (setpoint, is_share) = asked(image, address, words, |value| within(&home.config, value))?;
    home.state.setpoint_is_share = is_share;
    home.state.setpoint = setpoint;
    home.state.setpoint.renew(home.state.time);
    home.state.commanded_at = home.shown();
    Ok(())
}

/// The model of controls as it is after a write of registers between two offsets of it.
fn written(
    mut image: Vec<u16>,
    (low, high): (u16, u16),
    address: u16,
    words: &[u16],
) -> Result<Vec<u16>, Refused> {
    let controls = find::<Model704>(&image).ok_or(Refused::Address)?;
    let first = usize::from(address.checked_sub(BASE).ok_or(Refused::Address)?);
    if first < controls + usize::from(low) || first + words.len() > controls + usize::from(high) + 1 {
        return Err(Refused::Address);
    }
    image[first..first + words.len()].copy_from_slice(words);
    Ok(image.split_off(controls))
}

/// Where the data of a model begin.
fn find<M: Model>(image: &[u16]) -> Option<usize> {
    let mut at = 2;
    while *image.get(at)? != M::ID {
        at += 2 + usize::from(*image.get(at + 1)?);
    }
    Some(at + 2)
}

fn limit_of(block: &[u16]) -> Result<Control<u16>, Refused> {
    let control = Control {
        enabled: flag(block, &Model704::W_MAX_LIM_PCT_ENA)?,
        value: number(block, &Model704::W_MAX_LIM_PCT)?,
        enabled_after: flag(block, &Model704::W_MAX_LIM_PCT_ENA_RVRT)?,
        value_after: number(block, &Model704::W_MAX_LIM_PCT_RVRT)?,
        lease: number(block, &Model704::W_MAX_LIM_PCT_RVRT_TMS)?,
        expires: None,
    };
    if control.value > 10_000 || control.value_after > 10_000 {
        return Err(Refused::Value);
    }
    Ok(control)
}

/// The set-point that a write asks for, and whether it is a share.
pub(crate) fn asked(
    image: Vec<u16>,
    address: u16,
    words: &[u16],
    within: impl Fn(Setpoint) -> bool,
) -> Result<(Control<Setpoint>, bool), Refused> {
    let span = (Model704::W_SET_ENA.offset, Model704::W_SET_RVRT_TMS.offset + 1);
    let block = &written(image, span, address, words)?[..];
    let value = |watts, share| {
        let value = Setpoint { watts: number(block, watts)?, share: number(block, share)? };
        within(value).then_some(value).ok_or(Refused::Value)
    };
    let control = Control {
        enabled: flag(block, &Model704::W_SET_ENA)?,
        value: value(&Model704::W_SET, &Model704::W_SET_PCT)?,
        enabled_after: flag(block, &Model704::W_SET_ENA_RVRT)?,
        value_after: value(&Model704::W_SET_RVRT, &Model704::W_SET_PCT_RVRT)?,
        lease: number(block, &Model704::W_SET_RVRT_TMS)?,
        expires: None,
    };
    Ok((control, !flag(block, &Model704::W_SET_MOD)?))
}

fn within(config: &Config, value: Setpoint) -> bool {
    let (low, high) =
        (-whole_watts(config.battery.max_charge()), whole_watts(config.battery.max_discharge()));
    (low..=high).contains(&i64::from(value.watts)) && (-10_000..=10_000).contains(&value.share)
}

fn number<G: Group, T: Value>(block: &[u16], point: &Point<G, Option<T>>) -> Result<T, Refused>
where
    Option<T>: Value,
{
    point.from_data(block).ok().flatten().ok_or(Refused::Value)
}

/// A point that is 0 or 1.
fn flag<G: Group, T: Value>(block: &[u16], point: &Point<G, T>) -> Result<bool, Refused> {
    match block.get(usize::from(point.offset)) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(Refused::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::tests::{HOUR, charge, home};
    use super::*;

    #[test]
    fn every_model_has_the_length_of_its_definition() {
        let home = home();
        for (unit, models) in
            [(SOLAR, &[1, 702, 704, 701][..]), (BATTERY, &[1, 702, 704, 713, 701]), (METER, &[1, 203])]
        {
            let image = image(&home, "x", unit).unwrap();
            let (mut at, mut found) = (2, Vec::new());
            while image[at] != 0xffff {
                let length = match image[at] {
                    1 => 66,
                    701 => 153,
                    702 => 50,
                    704 => 65,
                    713 => 7,
                    203 => 105,
                    other => panic!("model {other}"),
                };
                assert_eq!(image[at + 1], length, "model {}", image[at]);
                found.push(image[at]);
                at += 2 + usize::from(length);
            }
            assert_eq!((&found[..], at + 2), (models, image.len()));
        }
    }

    #[test]
    fn a_written_setpoint_is_read_back_and_lapses() {
        let mut home = home();
        let at = BASE + find::<Model704>(&image(&home, "x", BATTERY).unwrap()).unwrap() as u16;
        let block = [1, 1, 0xffff, 0xf830, 0, 0, 0, 0, 0, 0, 3600];
        write(&mut home, "x", BATTERY, at + Model704::W_SET_ENA.offset, &block).unwrap();
        assert_eq!(home.state.setpoint.value.watts, -2000);
        let image = image(&home, "x", BATTERY).unwrap();
        let set = usize::from(at - BASE + Model704::W_SET_ENA.offset);
        assert_eq!(image[set..set + 11], block);
        let start = home.state.time;
        home.advance(start + HOUR);
        assert!(!home.state.setpoint.enabled);
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_changes_nothing() {
        let mut home = home();
        charge(&mut home, -1000, 60);
        let before = home.state.clone();
        let at = BASE + find::<Model704>(&image(&home, "x", BATTERY).unwrap()).unwrap() as u16;
        let set = at + Model704::W_SET.offset;
        assert_eq!(write(&mut home, "x", BATTERY, set, &[0, 5001]), Err(Refused::Value));
        assert_eq!(write(&mut home, "x", BATTERY, set - 4, &[0, 0]), Err(Refused::Address));
        assert_eq!(write(&mut home, "x", METER, BASE, &[0]), Err(Refused::Address));
        assert_eq!(write(&mut home, "x", 9, BASE, &[0]), Err(Refused::Address));
        assert_eq!(write(&mut home, "x", BATTERY, 0, &[0]), Err(Refused::Address));
        assert_eq!(home.state, before);
    }
}
