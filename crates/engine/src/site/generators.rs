//! What the loop knows of generators: whether each runs and since when, which ones can be planned with, and what a plan begins
//! with.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_device::protocol::Engine;
use sos_dispatch::{Before, Generator, Step};
use sos_model::{Initially, Mode};
use sos_units::{Hours, Power, Reading};

use super::links::AssetReading;
use super::model::{Asset, SiteModel};
use super::people::{self, Standing};
use super::plan;

/// Below this a generator that does not tell what its engine does is taken to rest.
const IDLE: Power = Power::kw(1e-3);

/// A generator that answers and can be planned with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Live {
    /// Whether it gives power, for how long it has done so or not, and how much.
    pub before: Before,
    /// While it starts: when it will give power.
    pub ready: Option<Timestamp>,
}

/// Since when each generator runs or rests, by asset index; it outlives a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Book(BTreeMap<usize, Entry>);

/// What was seen of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    phase: Phase,
    since: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Off,
    Starting,
    Running,
}

impl Book {
    /// Takes what the devices say at `now`, and answers which generators can be planned with: those that answer, can start, and
    /// are not only observed.
    pub fn see(
        &mut self,
        model: &SiteModel,
        now: Timestamp,
        readings: &[Reading<AssetReading>],
    ) -> BTreeMap<usize, Live> {
        let mut live = BTreeMap::new();
        for (index, asset, declared) in model.generators() {
            let Ok(reading) = readings[index] else {
                // One that cannot be seen has to be started anew when it is back, if it does not run then.
                self.turn(index, Phase::Off, now, declared.initially.as_ref(), declared.min_down_time);
                continue;
            };
            let runs = if reading.power > IDLE { Engine::Running } else { Engine::Off };
            let engine = reading.engine.unwrap_or(runs);
            let phase = match engine {
                Engine::Running => Phase::Running,
                Engine::Starting => Phase::Starting,
                Engine::Off | Engine::Fault => Phase::Off,
            };
            let since = self.turn(index, phase, now, declared.initially.as_ref(), declared.min_down_time);
            if engine == Engine::Fault || asset.mode == Mode::Observe {
                continue;
            }
            live.insert(index, alive(phase, since, now, reading.power, declared));
        }
        live
    }

    /// Notes what one does; since when.
    fn turn(
        &mut self,
        index: usize,
        phase: Phase,
        now: Timestamp,
        initially: Option<&Initially>,
        rested: SignedDuration,
    ) -> Timestamp {
        let running = phase == Phase::Running;
        // At the first look what is declared says for how long.
        let before = initially.filter(|before| before.running == running).map(|before| before.since);
        let before = before.unwrap_or(if running { SignedDuration::ZERO } else { rested });
        let first = Entry { phase, since: now.checked_sub(before).unwrap_or(now) };
        let entry = self.0.entry(index).or_insert(first);
        if entry.phase != phase {
            *entry = Entry { phase, since: now };
        }
        entry.since
    }
}

fn alive(
    phase: Phase,
    since: Timestamp,
    now: Timestamp,
    power: Power,
    declared: &sos_model::Generator,
) -> Live {
    let hours = Hours::from_seconds(now.duration_since(since).as_secs_f64().max(0.0));
    let least = declared.min_power;
    let rested = Hours::from_seconds(declared.min_down_time.as_secs_f64());
    match phase {
        Phase::Running => {
            let power = power.max(least).min(declared.max_power);
            Live { before: Before { on: true, hours, power }, ready: None }
        }
        // One that starts has rested for long enough.
        Phase::Starting => Live {
            before: Before { on: false, hours: rested, power: Power::ZERO },
            ready: Some((since + declared.start_time).max(now)),
        },
        Phase::Off => Live { before: Before { on: false, hours, power: Power::ZERO }, ready: None },
    }
}

/// The generators of a plan that begins at `now`: as they are, and only where they can have been started. One that people order to
/// rest is not there until the order ends, and one that they order to run goes on until then.
pub(super) fn planned(
    model: &SiteModel,
    live: &BTreeMap<usize, Live>,
    steps: &[Step],
    now: Timestamp,
    standing: &[Standing],
) -> Vec<Generator> {
    let one = |(index, asset, declared): (usize, &Asset, &sos_model::Generator)| {
        let live = live.get(&index)?;
        let ready = live.ready.unwrap_or_else(|| now.checked_add(declared.start_time).unwrap_or(now));
        let order = people::of(standing, index).and_then(|order| Some((order.until, order.power?)));
        let rests = order.filter(|(_, power)| *power <= Power::ZERO).map(|(until, _)| until);
        let there = |step: &Step| {
            (live.before.on || step.start >= ready) && rests.is_none_or(|until| step.start >= until)
        };
        let restricted = !live.before.on || rests.is_some();
        let available = restricted.then(|| steps.iter().map(there).collect());
        let mut generator = Generator { before: live.before, available, ..plan::generator(asset, declared) };
        if let (Some((until, _)), true, None) = (order, live.before.on, rests) {
            let left = Hours::from_seconds(until.duration_since(now).as_secs_f64().max(0.0));
            generator.min_up = generator.min_up.max(live.before.hours + left);
        }
        if rests.is_some() && live.before.on {
            // People may stop one before its shortest run has ended.
            generator.before.hours = generator.before.hours.max(generator.min_up);
        }
        Some(generator)
    };
    model.generators().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use sos_units::Missing;

    fn reading(kw: f64, engine: Engine) -> Reading<AssetReading> {
        Ok(AssetReading {
            power: Power::kw(kw),
            soc: None,
            counter: None,
            counter_range: None,
            setpoint: None,
            engine: Some(engine),
        })
    }

    #[test]
    fn a_generator_is_known_by_what_it_does_and_since_when() {
        let model = testing::island();
        let (index, _, _) = model.generators().next().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let minute = SignedDuration::from_mins(1);
        let mut book = Book::default();
        let mut see = |after: i32, said: Reading<AssetReading>| {
            let mut readings = vec![Err(Missing::NotYet); model.assets.len()];
            readings[index] = said;
            book.see(&model, start + minute * after, &readings).get(&index).copied()
        };
        let off = see(0, reading(0.0, Engine::Off)).unwrap();
        assert_eq!(
            (off.before.on, off.before.hours),
            (false, Hours::new(0.5)),
            "it has rested for long enough"
        );
        let starting = see(1, reading(0.0, Engine::Starting)).unwrap();
        assert_eq!((starting.before.on, starting.ready), (false, Some(start + minute * 3)));
        let running = see(3, reading(0.0, Engine::Running)).unwrap();
        assert_eq!((running.before.on, running.before.power), (true, Power::kw(4.0)), "its least at least");
        let later = see(9, reading(7.0, Engine::Running)).unwrap();
        assert!((later.before.hours.get() - 0.1).abs() < 1e-9 && later.before.power == Power::kw(7.0));
        assert_eq!(see(10, reading(0.0, Engine::Fault)), None);
        assert_eq!(see(11, Err(Missing::Unavailable)), None);
        let back = see(13, reading(0.0, Engine::Off)).unwrap();
        assert!((back.before.hours.get() - 0.05).abs() < 1e-9, "it rests since it failed");
    }
}
