//! `cargo xtask island-data`: re-tabulates eight days of RTS-GMLC for `examples/island/data`.
//!
//! # Source
//! `RTS_Data` of GridMod/RTS-GMLC: files in `timeseries` as published, in local standard time without clock changes. The notice of
//! NREL that comes with them is shipped beside the tables.
//!
//! # Changes
//! One wind farm, one solar plant and the load of one region, each divided by its largest value of the year and multiplied by the
//! size that it has in the example. The solar plant has no real-time series here: its hourly one is interpolated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use jiff::civil::{Date, date};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::Outcome;

const SHIPPED: &str = "examples/island/data";
/// The days around the largest error of the wind farm's day-ahead forecast: on 18 December it was to be full, and nothing came.
const FIRST: Date = date(2020, 12, 14);
const DAYS: usize = 8;
const OFFSET: Offset = Offset::constant(-8);
/// Steps of a day in the real-time and in the day-ahead files.
const REAL_TIME: usize = 288;
const DAY_AHEAD: usize = 24;

/// Largest values of the year in the example, kW.
const LOAD_KW: f64 = 30.0;
const WIND_KW: f64 = 20.0;
const SOLAR_KW: f64 = 8.0;

/// Writes the shipped files from the folder of RTS-GMLC.
///
/// # Errors
/// When a file or column is missing or a cell is no number.
pub(crate) fn run(from: &Path, root: &Path) -> Result<Outcome, String> {
    let into = root.join(SHIPPED);
    std::fs::create_dir_all(&into).map_err(|e| format!("cannot make {}: {e}", into.display()))?;
    for (name, text) in shipped_files(from)? {
        let path = into.join(name);
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        println!("wrote {SHIPPED}/{name}");
    }
    Ok(Outcome::Done)
}

fn shipped_files(from: &Path) -> Result<Vec<(&'static str, String)>, String> {
    let load = scaled(by_day(from, "RT_NEVP_Promod_2020.csv")?, LOAD_KW);
    let wind = scaled(by_period(from, "REAL_TIME_wind.csv", "309_WIND_1")?, WIND_KW);
    let ahead = scaled(by_period(from, "DAY_AHEAD_wind.csv", "309_WIND_1")?, WIND_KW);
    let solar = scaled(by_period(from, "DAY_AHEAD_pv.csv", "320_PV_1")?, SOLAR_KW);
    let steps = DAYS * REAL_TIME;
    let solar = interpolated(&days(&solar, DAYS)?, REAL_TIME / DAY_AHEAD);
    let powers = [days(&load, DAYS)?, solar, days(&wind, DAYS)?];
    let island = table("load_kw,solar_kw,wind_kw", &powers, steps, REAL_TIME)?;
    // A plan looks beyond the last day.
    let forecast = table("wind_kw", &[days(&ahead, DAYS + 2)?], (DAYS + 2) * DAY_AHEAD, DAY_AHEAD)?;
    Ok(vec![("island.csv", island), ("wind-forecast.csv", forecast), ("LICENSE", notice(from)?)])
}

type ByDay = BTreeMap<Date, Vec<f64>>;

fn rows(from: &Path, name: &str) -> Result<(csv::StringRecord, Vec<csv::StringRecord>), String> {
    let path = from.join("timeseries").join(name);
    let mut reader = csv::Reader::from_path(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let headers = reader.headers().map_err(|e| format!("{name}: {e}"))?.clone();
    let rows = reader.records().collect::<Result<_, _>>().map_err(|e| format!("{name}: {e}"))?;
    Ok((headers, rows))
}

fn number<T: std::str::FromStr>(name: &str, row: &csv::StringRecord, column: usize) -> Result<T, String> {
    let cell = row.get(column).unwrap_or("");
    let line = row.position().map_or(0, csv::Position::line);
    cell.trim().parse().map_err(|_| format!("{name}, line {line}: `{cell}` is no number"))
}

fn day(name: &str, row: &csv::StringRecord) -> Result<Date, String> {
    let (year, month, day) = (number(name, row, 0)?, number(name, row, 1)?, number(name, row, 2)?);
    Date::new(year, month, day).map_err(|e| format!("{name}: {e}"))
}

/// A file with a row for each day.
fn by_day(from: &Path, name: &str) -> Result<ByDay, String> {
    let row = |row: csv::StringRecord| {
        let values = (3..row.len()).map(|column| number(name, &row, column)).collect::<Result<_, _>>()?;
        Ok((day(name, &row)?, values))
    };
    rows(from, name)?.1.into_iter().map(row).collect()
}

/// A column of a file with a row for each step.
fn by_period(from: &Path, name: &str, column: &str) -> Result<ByDay, String> {
    let (headers, rows) = rows(from, name)?;
    let at = headers.iter().position(|header| header == column);
    let at = at.ok_or_else(|| format!("{name} has no column `{column}`"))?;
    let mut found = ByDay::new();
    for row in rows {
        found.entry(day(name, &row)?).or_default().push(number(name, &row, at)?);
    }
    Ok(found)
}

/// With `largest` in place of the largest value.
fn scaled(mut values: ByDay, largest: f64) -> ByDay {
    let most = values.values().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    values.values_mut().flatten().for_each(|value| *value *= largest / most);
    values
}

/// The values of so many days from the first one on.
fn days(values: &ByDay, count: usize) -> Result<Vec<f64>, String> {
    let mut found = Vec::new();
    for ahead in 0..count {
        let day = FIRST.saturating_add(SignedDuration::from_hours(24 * ahead as i64));
        found.extend(values.get(&day).ok_or_else(|| format!("there are no values of {day}"))?);
    }
    Ok(found)
}

/// Lines between the middles of the steps, in `parts` of each step.
fn interpolated(values: &[f64], parts: usize) -> Vec<f64> {
    let value = |index: usize, part: usize| {
        let place = (part as f64 + 0.5) / parts as f64 - 0.5;
        let other = if place < 0.0 { index.saturating_sub(1) } else { (index + 1).min(values.len() - 1) };
        values[index] + (values[other] - values[index]) * place.abs()
    };
    (0..values.len()).flat_map(|index| (0..parts).map(move |part| value(index, part))).collect()
}

/// Times with their values in kW, rounded to watts.
fn table(names: &str, columns: &[Vec<f64>], steps: usize, a_day: usize) -> Result<String, String> {
    if let Some(column) = columns.iter().find(|column| column.len() != steps) {
        return Err(format!("a column of {names} has {} values instead of {steps}", column.len()));
    }
    let start = OFFSET.to_timestamp(FIRST.to_datetime(jiff::civil::Time::midnight()));
    let start: Timestamp = start.map_err(|e| e.to_string())?;
    let mut text = format!("time,{names}\n");
    for step in 0..steps {
        let time = start + SignedDuration::from_secs((step * 86_400 / a_day) as i64);
        let _ = write!(text, "{}", time.display_with_offset(OFFSET));
        for column in columns {
            let watts = (column[step] * 1000.0).round() + 0.0;
            let _ = write!(text, ",{}", watts / 1000.0);
        }
        text.push('\n');
    }
    Ok(text)
}

/// The notice that has to stay with the data.
fn notice(from: &Path) -> Result<String, String> {
    let path = from.join("SOURCE.md");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let at = text.find("## DATA USE DISCLAIMER AGREEMENT");
    at.map(|at| text[at..].to_owned()).ok_or_else(|| "SOURCE.md holds no notice".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_become_lines_between_their_middles() {
        let found = interpolated(&[0.0, 4.0], 4);
        assert_eq!(found, [0.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.0, 4.0]);
    }

    #[test]
    fn the_shipped_tables_hold_the_day_on_which_no_wind_came() {
        let root = crate::repository_root().join(SHIPPED);
        let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let value = |text: &str, time: &str, column: usize| -> f64 {
            let row = text.lines().find(|line| line.starts_with(time)).unwrap();
            row.split(',').nth(column).unwrap().parse().unwrap()
        };
        let (island, forecast) = (read("island.csv"), read("wind-forecast.csv"));
        assert_eq!(island.lines().count(), 1 + DAYS * REAL_TIME);
        assert!(value(&forecast, "2020-12-18T07:00:00-08:00", 1) > 0.98 * WIND_KW);
        assert!(value(&island, "2020-12-18T07:40:00-08:00", 3) < 0.1);
        assert!(read("LICENSE").contains("credit DOE/NREL/ALLIANCE"));
    }
}
