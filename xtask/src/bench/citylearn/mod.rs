//! Five homes with solar plants and batteries, a year by the hour: phase 1 of CityLearn's challenge of 2022 through
//! `sos control`. The judge steps the batteries; `sos` sees what an agent of the challenge sees.

mod judge;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use self::judge::{Battery, MONTH, Measures, Study};
use super::control::{Asked, KIND, write};
use super::{Check, built_product, target_folder};
use crate::Outcome;

/// Hours of the study.
const YEAR: usize = 8760;
/// The first row ends at this time, local time of the study without daylight saving.
const FIRST_END: &str = "2016-08-01T00:00:00-08:00";
/// One way, of a battery whose round trip leaves 0.83 to 0.9 by power: the middle, which is what a manifest can say.
const EFFICIENCY: f64 = 0.93;
/// Lines from one to the next that tell what is known ahead, and how many hours that is.
const TOLD_EVERY: usize = 24;
const TOLD_AHEAD: usize = 72;
/// The highest scores that are good enough: with own forecasts, and knowing everything.
const GOALS: [f64; 2] = [0.85, 0.70];

/// How the homes are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    /// A process for each home, which knows nothing of the others.
    Homes,
    /// One process: all homes behind one connection, which counts emissions for their sum.
    District,
    /// One process: each home behind a feeder that counts its emissions, the district's ramping and peak priced.
    Feeders,
}

/// What `sos` is told of the future besides the tariff.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Knowledge {
    loads: bool,
    sun: bool,
    carbon: bool,
    /// Loads and sun of the hour that begins, as a battery that follows its meter would know them.
    hour: bool,
}

const NOTHING: Knowledge = Knowledge { loads: false, sun: false, carbon: false, hour: false };
const EVERYTHING: Knowledge = Knowledge { loads: true, sun: true, carbon: true, hour: false };

#[derive(Clone, Debug)]
struct Options {
    data: PathBuf,
    arrangements: Vec<Arrangement>,
    members: &'static str,
    hours: usize,
    /// Runs instead of the two that have goals: what knowing a part of the future is worth.
    knowing: Option<Knowledge>,
}

/// `--data FOLDER [--homes | --district | --feeders] [--all] [--hours N] [--knowing loads,sun,carbon,hour]`.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let options = options(arguments)?;
    let target = target_folder(root);
    let (sos, folder) = (built_product(&target)?, target.join("bench").join("citylearn"));
    let study = Study::read(&options.data, options.hours)?;
    let idle = study.measures(&study.idle());
    println!(
        "{} hours of {} homes, batteries that rest: cost {:.2}, emissions {:.2} kg, ramping {:.2} kWh, 1 - load factor {:.4}",
        study.hours(),
        study.homes.len(),
        idle.cost,
        idle.emissions,
        idle.ramping,
        idle.unevenness
    );
    let mut checks = Vec::new();
    let runs = [NOTHING, EVERYTHING].into_iter().zip(GOALS.map(Some));
    let runs = options.knowing.map_or_else(|| runs.collect(), |knowing| vec![(knowing, None)]);
    for (knowledge, goal) in runs {
        let mut best = f64::INFINITY;
        for &arrangement in &options.arrangements {
            let bench = Bench { sos: &sos, folder: &folder, study: &study, arrangement, knowledge };
            let driven = bench.drive(options.members)?;
            let ratios = study.measures(&driven.net).over(&idle);
            println!("{}: score {:.4}; {ratios}; {driven}", bench.title(), ratios.score());
            bench.keep(&driven, &ratios)?;
            best = best.min(ratios.score());
        }
        let check = |goal| {
            let text = format!("{}: score {best:.4} (at most {goal:.2})", knowledge.title());
            Check::new(best <= goal, text)
        };
        checks.extend(goal.map(check));
    }
    println!();
    checks.iter().for_each(|check| println!("{check}"));
    Ok(if checks.iter().all(|check| check.met) { Outcome::Done } else { Outcome::Failed })
}

fn options(arguments: &[&str]) -> Result<Options, String> {
    let usage = || {
        "expected --data FOLDER [--homes | --district | --feeders] [--all] [--hours N] [--knowing loads,sun,carbon,hour]"
            .to_owned()
    };
    let mut options = Options {
        data: PathBuf::new(),
        arrangements: vec![Arrangement::Homes, Arrangement::Feeders],
        members: "profile",
        hours: YEAR,
        knowing: None,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--data" => options.data = PathBuf::from(rest.next().ok_or_else(usage)?),
            "--homes" => options.arrangements = vec![Arrangement::Homes],
            "--district" => options.arrangements = vec![Arrangement::District],
            "--feeders" => options.arrangements = vec![Arrangement::Feeders],
            "--all" => options.members = "all",
            "--hours" => options.hours = rest.next().and_then(|n| n.parse().ok()).ok_or_else(usage)?,
            "--knowing" => {
                options.knowing = Some(Knowledge::read(rest.next().ok_or_else(usage)?).ok_or_else(usage)?);
            }
            _ => return Err(usage()),
        }
    }
    if options.data.as_os_str().is_empty() || !(2..=YEAR).contains(&options.hours) {
        return Err(usage());
    }
    Ok(options)
}

impl Arrangement {
    /// Which homes are controlled together.
    fn groups(self, homes: usize) -> Vec<Vec<usize>> {
        match self {
            Self::Homes => (0..homes).map(|home| vec![home]).collect(),
            Self::District | Self::Feeders => vec![(0..homes).collect()],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Homes => "homes",
            Self::District => "district",
            Self::Feeders => "feeders",
        }
    }
}

impl Knowledge {
    /// From a list such as `loads,sun`.
    fn read(list: &str) -> Option<Self> {
        list.split(',').try_fold(NOTHING, |known, part| match part {
            "loads" => Some(Self { loads: true, ..known }),
            "sun" => Some(Self { sun: true, ..known }),
            "carbon" => Some(Self { carbon: true, ..known }),
            "hour" => Some(Self { hour: true, ..known }),
            _ => None,
        })
    }

    fn title(self) -> String {
        match self {
            NOTHING => "own forecasts".to_owned(),
            EVERYTHING => "perfect foresight".to_owned(),
            _ => format!("knowing {}", self.parts().join(" and ")),
        }
    }

    fn name(self) -> String {
        match self {
            NOTHING => "own".to_owned(),
            EVERYTHING => "perfect".to_owned(),
            _ => self.parts().join("-"),
        }
    }

    fn parts(self) -> Vec<&'static str> {
        let parts = [(self.loads, "loads"), (self.sun, "sun"), (self.carbon, "carbon"), (self.hour, "hour")];
        parts.into_iter().filter_map(|(known, name)| known.then_some(name)).collect()
    }
}

/// One run through the study.
struct Bench<'a> {
    sos: &'a Path,
    folder: &'a Path,
    study: &'a Study,
    arrangement: Arrangement,
    knowledge: Knowledge,
}

/// What came of it, by home and hour.
#[derive(Default)]
struct Driven {
    /// kWh from the grid.
    net: Vec<Vec<f64>>,
    /// What batteries were told, as the package takes it; from the second hour on.
    told: Vec<Vec<f64>>,
    /// Their state of charge at the end of each hour.
    soc: Vec<Vec<f64>>,
    seconds: f64,
    slowest: f64,
}

impl std::fmt::Display for Driven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} s, slowest answer {:.2} s", self.seconds, self.slowest)
    }
}

impl Bench<'_> {
    fn title(&self) -> String {
        format!("{}, {}", self.arrangement.name(), self.knowledge.title())
    }

    /// Each hour `sos` is told what was measured in it, and what it answers moves the batteries in the next one.
    fn drive(&self, members: &str) -> Result<Driven, String> {
        let (study, homes) = (self.study, self.study.homes.len());
        let groups = self.arrangement.groups(homes);
        let mut asked = Vec::new();
        for group in &groups {
            let manifest = self.folder.join(format!("{}-{}.yaml", self.arrangement.name(), group[0]));
            write(&manifest, &self.manifest(group, members))?;
            asked.push(Asked::start(self.sos, &manifest)?);
        }
        let mut batteries: Vec<Battery> = study.homes.iter().map(|home| Battery::new(home.battery)).collect();
        let mut driven = Driven { net: study.idle(), ..Driven::default() };
        (driven.told, driven.soc) = (vec![Vec::new(); homes], vec![vec![0.0]; homes]);
        let (mut taken, began) = (vec![0.0; homes], Instant::now());
        for hour in 0..study.hours() - 1 {
            let told = Instant::now();
            for (group, asked) in groups.iter().zip(&mut asked) {
                asked.tell(&self.line(hour, group, &batteries, &taken)?)?;
            }
            for (group, asked) in groups.iter().zip(&mut asked) {
                let answer = asked.answer()?;
                for &home in group {
                    let kw = answer["setpoints"][format!("battery-{home}")].as_f64().ok_or("no set-point")?;
                    // An hour of it, taken from the grid.
                    let share = batteries[home].share(-kw);
                    taken[home] = batteries[home].step(share);
                    driven.net[home][hour + 1] += taken[home];
                    driven.told[home].push(share);
                    driven.soc[home].push(batteries[home].soc());
                }
            }
            driven.slowest = driven.slowest.max(told.elapsed().as_secs_f64());
        }
        driven.seconds = began.elapsed().as_secs_f64();
        asked.into_iter().try_for_each(Asked::end)?;
        Ok(driven)
    }

    /// What an hour that has ended showed, and what is known of those that come.
    fn line(
        &self,
        hour: usize,
        group: &[usize],
        batteries: &[Battery],
        taken: &[f64],
    ) -> Result<Value, String> {
        let study = self.study;
        let mut measured = Map::new();
        for &home in group {
            let of = &study.homes[home];
            measured.insert(format!("load-{home}"), json!({ "power_kw": -of.load[hour] }));
            measured.insert(format!("roof-{home}"), json!({ "power_kw": of.solar[hour] }));
            let battery = json!({ "power_kw": -taken[home], "soc": batteries[home].soc().min(1.0) });
            measured.insert(format!("battery-{home}"), battery);
        }
        let mut line = json!({ "time": end_of(hour)?.to_string(), "measured": measured });
        if !self.knowledge.carbon {
            // What is known of the carbon intensity is that of the hour that has ended.
            line["signals"] = json!({ "carbon": study.carbon[hour] });
        }
        let mut ahead = if hour.is_multiple_of(TOLD_EVERY) { self.ahead(hour, group)? } else { Map::new() };
        if self.knowledge.hour {
            let time = end_of(hour)?.to_string();
            for &home in group {
                let of = &study.homes[home];
                let one = |kw: f64| json!([{ "time": time, "value": kw }]);
                ahead.entry(format!("load-{home}")).or_insert_with(|| one(-of.load[hour + 1]));
                ahead.entry(format!("roof-{home}")).or_insert_with(|| one(of.solar[hour + 1]));
            }
        }
        line["ahead"] = ahead.into();
        Ok(line)
    }

    /// The tariff is published. With perfect foresight all else is, too.
    fn ahead(&self, hour: usize, group: &[usize]) -> Result<Map<String, Value>, String> {
        let study = self.study;
        let hours = hour + 1..study.hours().min(hour + 1 + TOLD_AHEAD);
        let list = |values: &[f64], sign: f64| {
            let one = |hour: usize| {
                Ok(json!({ "time": end_of(hour - 1)?.to_string(), "value": sign * values[hour] }))
            };
            hours.clone().map(one).collect::<Result<Vec<Value>, String>>()
        };
        let mut ahead = Map::from_iter([("price".to_owned(), Value::from(list(&study.price, 1.0)?))]);
        if self.knowledge.carbon {
            ahead.insert("carbon".to_owned(), list(&study.carbon, 1.0)?.into());
        }
        for &home in group {
            let of = &study.homes[home];
            if self.knowledge.loads {
                ahead.insert(format!("load-{home}"), list(&of.load, -1.0)?.into());
            }
            if self.knowledge.sun {
                ahead.insert(format!("roof-{home}"), list(&of.solar, 1.0)?.into());
            }
        }
        Ok(ahead)
    }

    /// Prices that weigh the parts of the score as it does. A kg costs as much as makes the year's emissions without batteries as
    /// dear as its power; so does a kW of ramping, at half the weight, and a kW of a month's peak.
    fn manifest(&self, group: &[usize], members: &str) -> String {
        let idle = self.study.measures(&self.study.idle());
        let published = if self.knowledge.carbon { "always" } else { "false" };
        let of_homes = self.arrangement == Arrangement::Feeders;
        let (grid, carbon) = match of_homes {
            true => (self.charges(&idle), ""),
            false => (String::new(), "    carbonIntensity: { signal: carbon }\n"),
        };
        let mut text = format!(
            "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: district }}\nspec:\n  timeZone: Etc/GMT+8\n  currency: USD\n  tick: 1 h\n  planEvery: 1 h\n  \
             forecasting: {{ members: {members} }}\n  carbonPrice: {:.4} USD/kg\n  connection:\n    importPrice: {{ signal: price }}\n    \
             exportPrice: {{ fixed: 0 USD/kWh }}\n{carbon}{grid}\
             {KIND} Signal\nmetadata: {{ name: price }}\nspec: {{ unit: USD/kWh, knownAhead: always, source: {{ lines: {{}} }} }}\n\
             {KIND} Signal\nmetadata: {{ name: carbon }}\nspec: {{ unit: kg/kWh, knownAhead: {published}, source: {{ lines: {{}} }} }}\n",
            idle.cost / idle.emissions
        );
        for &home in group {
            let of = &self.study.homes[home];
            let (peak, capacity, power) = (of.peak, of.battery.capacity, of.battery.power);
            let behind = if of_homes { format!(", feeder: home-{home}") } else { String::new() };
            let _ = write!(
                text,
                "{KIND} Asset\nmetadata: {{ name: load-{home} }}\nspec: {{ site: district{behind}, type: load }}\n\
                 {KIND} Asset\nmetadata: {{ name: roof-{home} }}\nspec: {{ site: district{behind}, type: solar, solar: {{ peakPower: {peak} kW }} }}\n\
                 {KIND} Asset\nmetadata: {{ name: battery-{home} }}\nspec: {{ site: district{behind}, type: battery, battery: {{ capacity: {capacity} kWh, maxCharge: {power} kW, maxDischarge: {power} kW, \
                 minSoc: 0, maxSoc: 1, initialSoc: 0, chargeEfficiency: {EFFICIENCY}, dischargeEfficiency: {EFFICIENCY} }} }}\n"
            );
        }
        text
    }

    /// What ramping and peaks of the district cost, and a feeder for each home.
    fn charges(&self, idle: &Measures) -> String {
        let net = self.study.sum_of(&self.study.idle());
        let months = net.chunks(MONTH);
        // The load factor of a month falls by mean / peak² for each kW of its peak.
        let fall: f64 = months
            .clone()
            .map(|month| {
                let (mean, peak) = (
                    month.iter().sum::<f64>() / month.len() as f64,
                    month.iter().fold(0.0, |a: f64, &b| a.max(b)),
                );
                mean / (peak * peak)
            })
            .sum::<f64>()
            / months.len() as f64;
        let half = 0.5 * idle.cost;
        let (ramp, peak) = (half / idle.ramping, half / idle.unevenness * fall / months.len() as f64);
        let mut text = format!(
            "    rampPrice: {ramp:.4} USD/kW\n    charges:\n    - {{ name: peak, peak: {{ price: {peak:.4} USD/kW, interval: 1 h, per: month }} }}\n  feeders:\n"
        );
        for home in 0..self.study.homes.len() {
            let _ = writeln!(text, "  - {{ name: home-{home}, carbonIntensity: {{ signal: carbon }} }}");
        }
        text
    }

    /// Writes what batteries were told and how they stood, for the package to go through again.
    fn keep(&self, driven: &Driven, ratios: &Measures) -> Result<(), String> {
        let path = self.folder.join(format!("{}-{}.json", self.arrangement.name(), self.knowledge.name()));
        let Measures { cost, emissions, ramping, unevenness } = ratios;
        let kept = json!({
            "ratios": { "cost": cost, "emissions": emissions, "ramping": ramping, "unevenness": unevenness, "score": ratios.score() },
            "told": driven.told,
            "soc": driven.soc,
        });
        write(&path, &kept.to_string())
    }
}

/// When an hour of the study ends.
fn end_of(hour: usize) -> Result<Timestamp, String> {
    let first: Timestamp = FIRST_END.parse().map_err(|_| "a time")?;
    Ok(first + SignedDuration::from_hours(i64::try_from(hour).map_err(|_| "too many hours")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read() {
        let options = options(&["--data", "folder", "--district", "--hours", "100"]).unwrap();
        assert_eq!(options.arrangements, [Arrangement::District]);
        assert_eq!((options.hours, options.members), (100, "profile"));
        for wrong in [&["--homes"][..], &["--data"], &["--data", "folder", "--hours", "1"]] {
            assert!(super::options(wrong).unwrap_err().contains("--data FOLDER"), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_known_ahead_is_named() {
        assert_eq!(Knowledge::read("loads,sun,carbon"), Some(EVERYTHING));
        assert_eq!(Knowledge::read("sun").unwrap().title(), "knowing sun");
        assert_eq!(Knowledge::read("prices"), None);
    }

    #[test]
    fn rows_are_hours_of_local_time() {
        // Row 0 is hour 24 of 31 July.
        assert_eq!(end_of(0).unwrap().to_string(), "2016-08-01T08:00:00Z");
        assert_eq!(end_of(YEAR - 1).unwrap().to_string(), "2017-08-01T07:00:00Z");
    }
}
