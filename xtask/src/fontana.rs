//! `cargo xtask fontana-data`: re-tabulates the five homes of Fontana for `examples/fontana/data`.
//!
//! # Source
//! The folder `citylearn_challenge_2022_phase_1` of the package CityLearn 1.3.6 (MIT). It has no time stamps: row 0
//! is the hour that starts at 2016-07-31T23:00-08:00, and 8,760 consecutive hours follow at this fixed offset.
//!
//! # Rounding
//! Powers and prices keep 4 decimals (0.1 W), carbon intensities 6, weather as many as the source has (1). This moves
//! the yearly reference cost by less than 0.01 USD and the reference emissions by less than 0.01 kg.

use std::fmt::Write as _;
use std::path::Path;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::Outcome;

const SHIPPED: &str = "examples/fontana/data";
const HOMES: usize = 5;
const HOURS: usize = 8760;

/// Start of row 0; the offset −08:00 holds for every row, daylight-saving months included.
const FIRST: &str = "2016-07-31T23:00:00-08:00";
const OFFSET: Offset = Offset::constant(-8);

const POWER_DECIMALS: usize = 4;
const PRICE_DECIMALS: usize = 4;
const CARBON_DECIMALS: usize = 6;
const WEATHER_DECIMALS: usize = 1;

/// Columns shipped of `weather.csv`. All others are named predictions but hold later actual values.
const WEATHER: [(&str, &str); 4] = [
    ("temperature_c", "Outdoor Drybulb Temperature [C]"),
    ("humidity_percent", "Relative Humidity [%]"),
    ("diffuse_w_per_m2", "Diffuse Solar Radiation [W/m2]"),
    ("direct_w_per_m2", "Direct Solar Radiation [W/m2]"),
];

/// A column to write: name, values, decimals.
type Column = (&'static str, Vec<f64>, usize);

/// Writes the shipped files from the original ones in `from`.
///
/// # Errors
/// When a file or column is missing, a cell is no number, or the number of rows is not 8,760.
pub(crate) fn run(from: &Path, root: &Path) -> Result<Outcome, String> {
    let into = root.join(SHIPPED);
    std::fs::create_dir_all(&into).map_err(|e| format!("cannot make {}: {e}", into.display()))?;
    for (name, text) in shipped_files(from)? {
        let path = into.join(&name);
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        println!("wrote {SHIPPED}/{name}");
    }
    Ok(Outcome::Done)
}

fn shipped_files(from: &Path) -> Result<Vec<(String, String)>, String> {
    let schema: Schema =
        serde_json::from_str(&read(from, "schema.json")?).map_err(|e| format!("schema.json: {e}"))?;
    let mut files = Vec::new();
    for number in 1..=HOMES {
        let name = format!("Building_{number}");
        let building =
            schema.buildings.get(&name).ok_or_else(|| format!("schema.json has no building `{name}`"))?;
        files.push((format!("home-{number}.csv"), home(from, &name, building.pv.attributes.nominal_power)?));
    }
    let price = column(from, "pricing.csv", "Electricity Pricing [$]")?;
    let carbon = column(from, "carbon_intensity.csv", "kg_CO2/kWh")?;
    let grid = [("price_usd_per_kwh", price, PRICE_DECIMALS), ("carbon_kg_per_kwh", carbon, CARBON_DECIMALS)];
    files.push(("grid.csv".to_owned(), table(&grid)?));
    let mut weather = Vec::new();
    for (name, original) in WEATHER {
        weather.push((name, column(from, "weather.csv", original)?, WEATHER_DECIMALS));
    }
    files.push(("weather.csv".to_owned(), table(&weather)?));
    files.push(("LICENSE".to_owned(), read(from, "LICENSE")?));
    Ok(files)
}

/// One home: energy of an hour in kWh is its mean power in kW; solar is given in W per kW of nominal power.
fn home(from: &Path, name: &str, nominal_kw: f64) -> Result<String, String> {
    let file = format!("{name}.csv");
    let load = column(from, &file, "Equipment Electric Power [kWh]")?;
    let solar = column(from, &file, "Solar Generation [W/kW]")?;
    let solar = solar.into_iter().map(|w_per_kw| w_per_kw * nominal_kw / 1000.0).collect();
    table(&[("load_kw", load, POWER_DECIMALS), ("solar_kw", solar, POWER_DECIMALS)])
}

#[derive(Deserialize)]
struct Schema {
    buildings: std::collections::BTreeMap<String, Building>,
}

#[derive(Deserialize)]
struct Building {
    pv: Pv,
}

#[derive(Deserialize)]
struct Pv {
    attributes: PvAttributes,
}

#[derive(Deserialize)]
struct PvAttributes {
    /// kW
    nominal_power: f64,
}

fn read(folder: &Path, file: &str) -> Result<String, String> {
    let path = folder.join(file);
    std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// One column of numbers by its heading.
fn column(folder: &Path, file: &str, heading: &str) -> Result<Vec<f64>, String> {
    numbers(&read(folder, file)?, heading).map_err(|e| format!("{file}: {e}"))
}

fn numbers(text: &str, heading: &str) -> Result<Vec<f64>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headings = reader.headers().map_err(|e| e.to_string())?.clone();
    let index = headings.iter().position(|known| known == heading).ok_or_else(|| {
        format!("no column `{heading}`; there are {}", headings.iter().collect::<Vec<_>>().join(", "))
    })?;
    let mut values = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|e| e.to_string())?;
        let cell = record.get(index).unwrap_or_default();
        let value = cell.parse::<f64>().ok().filter(|value| value.is_finite());
        values.push(value.ok_or_else(|| format!("row {}: `{heading}` is `{cell}`, not a number", row + 1))?);
    }
    Ok(values)
}

fn table(columns: &[Column]) -> Result<String, String> {
    let mut text = "time".to_owned();
    for (name, values, _) in columns {
        if values.len() != HOURS {
            return Err(format!("`{name}` has {} rows, expected {HOURS}", values.len()));
        }
        let _ = write!(text, ",{name}");
    }
    text.push('\n');
    for row in 0..HOURS {
        text.push_str(&start_of(row)?);
        for (_, values, decimals) in columns {
            let _ = write!(text, ",{}", rounded(values[row], *decimals));
        }
        text.push('\n');
    }
    Ok(text)
}

/// Start of a row's hour, RFC 3339 at the fixed offset.
fn start_of(row: usize) -> Result<String, String> {
    let first: Timestamp = FIRST.parse().map_err(|e| format!("start of the data: {e}"))?;
    let hours = i64::try_from(row).map_err(|e| e.to_string())?;
    let time = first.checked_add(SignedDuration::from_hours(hours)).map_err(|e| e.to_string())?;
    Ok(time.display_with_offset(OFFSET).to_string())
}

/// Decimal notation without trailing zeros: 0.2200 → `0.22`, 3.0 → `3`.
fn rounded(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if matches!(text, "-0" | "") { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(file: &str, heading: &str) -> Vec<f64> {
        column(&crate::repository_root().join(SHIPPED), file, heading).unwrap()
    }

    fn net_of_homes() -> Vec<Vec<f64>> {
        let net = |n: usize| {
            let file = format!("home-{n}.csv");
            let (load, solar) = (shipped(&file, "load_kw"), shipped(&file, "solar_kw"));
            load.iter().zip(solar).map(|(load, solar)| load - solar).collect()
        };
        (1..=HOMES).map(net).collect()
    }

    /// CityLearn's own yearly figures without batteries: cost of the homes together, import never below zero.
    #[test]
    fn the_shipped_files_cost_what_the_source_says() {
        let price = shipped("grid.csv", "price_usd_per_kwh");
        let homes = net_of_homes();
        let cost: f64 =
            (0..HOURS).map(|t| homes.iter().map(|home| home[t]).sum::<f64>().max(0.0) * price[t]).sum();
        assert!((cost - 8277.7331).abs() < 0.01, "{cost}");
    }

    /// CityLearn's own yearly figures without batteries: emissions of each home's import, never below zero.
    #[test]
    fn the_shipped_files_emit_what_the_source_says() {
        let carbon = shipped("grid.csv", "carbon_kg_per_kwh");
        let homes = net_of_homes();
        let kg: f64 =
            homes.iter().flat_map(|home| home.iter().zip(&carbon).map(|(net, c)| net.max(0.0) * c)).sum();
        assert!((kg - 4627.4874).abs() < 0.01, "{kg}");
    }

    #[test]
    fn every_shipped_table_has_the_same_consecutive_hours() {
        let folder = crate::repository_root().join(SHIPPED);
        let homes = (1..=HOMES).map(|n| format!("home-{n}.csv"));
        for file in homes.chain(["grid.csv", "weather.csv"].map(str::to_owned)) {
            let text = read(&folder, &file).unwrap();
            let times: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
            assert_eq!(times.len(), HOURS, "{file}");
            for (row, time) in times.iter().enumerate() {
                assert_eq!(*time, start_of(row).unwrap(), "{file}");
            }
        }
    }

    #[test]
    fn the_future_is_not_shipped() {
        let text = read(&crate::repository_root().join(SHIPPED), "weather.csv").unwrap();
        let names = WEATHER.map(|(name, _)| name).join(",");
        assert_eq!(text.lines().next(), Some(format!("time,{names}").as_str()));
    }

    #[test]
    fn hours_start_where_the_source_starts_and_keep_their_offset_in_summer() {
        assert_eq!(start_of(0).unwrap(), "2016-07-31T23:00:00-08:00");
        assert_eq!(start_of(HOURS - 1).unwrap(), "2017-07-31T22:00:00-08:00");
    }

    #[test]
    fn numbers_are_rounded_without_trailing_zeros() {
        let cases = [
            (0.22, 4, "0.22"),
            (3.0, 4, "3"),
            (0.0, 4, "0"),
            (-0.00001, 4, "0"),
            (100.0, 1, "100"),
            (1.23456, 4, "1.2346"),
        ];
        for (value, decimals, wanted) in cases {
            assert_eq!(rounded(value, decimals), wanted);
        }
    }

    #[test]
    fn bad_cells_missing_columns_and_short_files_are_named() {
        assert_eq!(numbers("a,b\n1,2\n3,x\n", "b").unwrap_err(), "row 2: `b` is `x`, not a number");
        assert_eq!(numbers("a,b\n1,NaN\n", "b").unwrap_err(), "row 1: `b` is `NaN`, not a number");
        assert!(numbers("a,b\n", "c").unwrap_err().contains("there are a, b"));
        assert!(table(&[("a", vec![1.0], 1)]).unwrap_err().contains("`a` has 1 rows"));
    }
}
