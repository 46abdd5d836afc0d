//! The judge of CityLearn's challenge of 2022, phase 1: the physics of its batteries and its three measures, derived anew from
//! what the package `citylearn` 1.3.6 computes. `scripts/citylearn_check.py` holds both against each other.

use std::path::Path;

use serde_json::Value;

/// Share of the energy that a charge and a discharge leave together, by power as a share of the rated one.
const EFFICIENCY: [(f64, f64); 5] = [(0.0, 0.83), (0.3, 0.83), (0.7, 0.9), (0.8, 0.9), (1.0, 0.85)];
/// Share of the rated power that may flow, by state of charge.
const POWER: [(f64, f64); 3] = [(0.0, 1.0), (0.8, 1.0), (1.0, 0.2)];
/// Hours of a month of the load factor.
pub(super) const MONTH: usize = 730;

/// What the study declares of a battery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rated {
    pub(super) capacity: f64,
    pub(super) power: f64,
    /// Share of the capacity that a full charge and discharge costs.
    wear: f64,
    /// Share of what is stored that an hour loses.
    standby: f64,
}

/// A battery as it stands.
#[derive(Clone, Debug)]
pub(super) struct Battery {
    rated: Rated,
    capacity: f64,
    stored: f64,
}

impl Battery {
    /// An empty one, as the study begins.
    pub(super) fn new(rated: Rated) -> Self {
        Self { rated, capacity: rated.capacity, stored: 0.0 }
    }

    pub(super) fn soc(&self) -> f64 {
        self.stored / self.capacity
    }

    /// What `kwh` from the grid are, as the share of the capacity that the package is told.
    pub(super) fn share(&self, kwh: f64) -> f64 {
        kwh / self.capacity
    }

    /// An hour in which it is told to take this share of its capacity, or to give it below zero. Answers what it took, kWh.
    pub(super) fn step(&mut self, share: f64) -> f64 {
        let kept = self.stored * (1.0 - self.rated.standby);
        let most = self.rated.power * curve(&POWER, kept / self.capacity);
        let energy = (share * self.capacity).clamp(-most, most);
        // By the power that is asked for, even where less fits in or is left.
        let one_way = curve(&EFFICIENCY, energy.abs() / self.rated.power).sqrt();
        self.stored = if energy >= 0.0 {
            (kept + energy * one_way).min(self.capacity)
        } else {
            (kept + energy / one_way).max(0.0)
        };
        let change = self.stored - kept;
        let taken = if change >= 0.0 { change / one_way } else { change * one_way };
        self.capacity -= self.rated.wear * self.rated.capacity * taken.abs() / (2.0 * self.capacity);
        taken
    }
}

/// The value of a line through points. Beyond the last one the first piece goes on: a battery whose wear leaves it fuller than
/// full has its rated power again.
fn curve(points: &[(f64, f64)], at: f64) -> f64 {
    let last = points.iter().position(|(x, _)| at <= *x).unwrap_or(0);
    let piece = last.saturating_sub(1);
    let ((x0, y0), (x1, y1)) = (points[piece], points[piece + 1]);
    y0 + (y1 - y0) * (at - x0) / (x1 - x0)
}

/// A home: kWh of each hour.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) load: Vec<f64>,
    pub(super) solar: Vec<f64>,
    /// Rated power of its solar plant, kW.
    pub(super) peak: f64,
    pub(super) battery: Rated,
}

/// The homes of the study, what a kWh cost, and what it emitted.
#[derive(Clone, Debug)]
pub(super) struct Study {
    pub(super) homes: Vec<Home>,
    pub(super) price: Vec<f64>,
    pub(super) carbon: Vec<f64>,
}

impl Study {
    /// The first `hours` of the folder.
    pub(super) fn read(folder: &Path, hours: usize) -> Result<Self, String> {
        let path = folder.join("schema.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let schema: Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let buildings = schema["buildings"].as_object().ok_or("schema.json has no buildings")?;
        let homes = buildings.values().map(|building| home(folder, building, hours));
        let series = |file: &str| Ok::<_, String>(columns(&folder.join(file), [0], hours)?.remove(0));
        Ok(Self {
            homes: homes.collect::<Result<_, String>>()?,
            price: series("pricing.csv")?,
            carbon: series("carbon_intensity.csv")?,
        })
    }

    pub(super) fn hours(&self) -> usize {
        self.price.len()
    }

    /// kWh of each home from the grid with batteries that rest, by home and hour.
    pub(super) fn idle(&self) -> Vec<Vec<f64>> {
        let net = |home: &Home| home.load.iter().zip(&home.solar).map(|(load, solar)| load - solar).collect();
        self.homes.iter().map(net).collect()
    }

    /// What all homes together take from the grid, by hour.
    pub(super) fn sum_of(&self, net: &[Vec<f64>]) -> Vec<f64> {
        (0..self.hours()).map(|hour| net.iter().map(|home| home[hour]).sum()).collect()
    }

    /// The measures of what the homes took from the grid, by home and hour. The district pays for its sum; a home's emissions
    /// count alone.
    pub(super) fn measures(&self, net: &[Vec<f64>]) -> Measures {
        let district = self.sum_of(net);
        let worth = |(kwh, price): (&f64, &f64)| (kwh * price).max(0.0);
        Measures {
            cost: district.iter().zip(&self.price).map(worth).sum(),
            emissions: net.iter().flat_map(|home| home.iter().zip(&self.carbon)).map(worth).sum(),
            ramping: district.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum(),
            unevenness: unevenness(&district, MONTH),
        }
    }
}

/// Mean over the months of 1 − mean / peak.
fn unevenness(district: &[f64], month: usize) -> f64 {
    let months = district.chunks(month);
    let count = months.len() as f64;
    let of = |month: &[f64]| {
        let mean = month.iter().sum::<f64>() / month.len() as f64;
        1.0 - mean / month.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    };
    months.map(of).sum::<f64>() / count
}

fn home(folder: &Path, building: &Value, hours: usize) -> Result<Home, String> {
    let file = building["energy_simulation"].as_str().ok_or("a building without energy_simulation")?;
    let (battery, plant) = (&building["electrical_storage"]["attributes"], &building["pv"]["attributes"]);
    let number = |of: &Value, key: &str| of[key].as_f64().ok_or_else(|| format!("{file}: no {key}"));
    let peak = number(plant, "nominal_power")?;
    let mut series = columns(&folder.join(file), [7, 11], hours)?;
    let watts_per_kw = series.pop().unwrap_or_default();
    Ok(Home {
        solar: watts_per_kw.iter().map(|watts| peak * watts / 1000.0).collect(),
        load: series.pop().unwrap_or_default(),
        peak,
        battery: Rated {
            capacity: number(battery, "capacity")?,
            power: number(battery, "nominal_power")?,
            wear: number(battery, "capacity_loss_coefficient")?,
            standby: number(battery, "loss_coefficient")?,
        },
    })
}

/// Columns of a file by their place, of its first rows.
fn columns<const N: usize>(path: &Path, places: [usize; N], rows: usize) -> Result<Vec<Vec<f64>>, String> {
    let failed = |error: String| format!("{}: {error}", path.display());
    let mut reader = csv::Reader::from_path(path).map_err(|error| failed(error.to_string()))?;
    let mut columns = vec![Vec::with_capacity(rows); N];
    for row in reader.records().take(rows) {
        let row = row.map_err(|error| failed(error.to_string()))?;
        for (column, place) in columns.iter_mut().zip(places) {
            let text = row.get(place).unwrap_or_default();
            column.push(text.parse().map_err(|_| failed(format!("{text:?} is not a number")))?);
        }
    }
    if columns.iter().any(|column| column.len() < rows) {
        return Err(failed(format!("fewer than {rows} rows")));
    }
    Ok(columns)
}

/// What a district is judged by: money, kg, kWh, and the mean of 1 − load factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measures {
    pub(super) cost: f64,
    pub(super) emissions: f64,
    pub(super) ramping: f64,
    pub(super) unevenness: f64,
}

impl Measures {
    /// Each one as a share of that without batteries.
    pub(super) fn over(&self, idle: &Self) -> Self {
        Self {
            cost: self.cost / idle.cost,
            emissions: self.emissions / idle.emissions,
            ramping: self.ramping / idle.ramping,
            unevenness: self.unevenness / idle.unevenness,
        }
    }

    /// Of ratios: that of the grid.
    pub(super) fn grid(&self) -> f64 {
        f64::midpoint(self.ramping, self.unevenness)
    }

    /// Of ratios: the score, which is better when it is lower.
    pub(super) fn score(&self) -> f64 {
        (self.cost + self.emissions + self.grid()) / 3.0
    }
}

impl std::fmt::Display for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cost, emissions, ramping, unevenness } = self;
        write!(
            f,
            "cost {cost:.4}, emissions {emissions:.4}, grid {:.4} (ramping {ramping:.4}, 1 - load factor {unevenness:.4})",
            self.grid()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATED: Rated = Rated { capacity: 6.4, power: 5.0, wear: 1e-5, standby: 0.0 };

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_battery_loses_by_power_and_takes_no_more_than_fits() {
        let mut battery = Battery::new(RATED);
        // 1 kWh at a fifth of its power: 0.83 both ways.
        near(battery.step(1.0 / 6.4), 1.0);
        near(battery.stored, 0.83_f64.sqrt());
        near(battery.capacity, 6.4 - 1e-5 / 2.0);
        // It gives all it has, 0.83 of what it took, and not the 5 kW that it is asked for at 0.85.
        let given = -battery.step(-5.0 / 6.4 * 1.0001);
        near(given, (0.83 * 0.85_f64).sqrt());
        near(battery.stored, 0.0);
        // 5 kW, of which the square root of 0.85 arrives.
        near(battery.step(1.0), 5.0);
        near(battery.stored, 5.0 * 0.85_f64.sqrt());
    }

    #[test]
    fn a_fuller_battery_takes_and_gives_less() {
        let mut battery = Battery::new(RATED);
        battery.stored = 0.9 * 6.4;
        // Half way from 0.8 to 1: 0.6 of 5 kW.
        near(-battery.step(-1.0), 3.0);
        // Worn by half of 1e-5 for 3 kWh of 6.4. Fuller than full, it gives 4 kW again, which is more than the 1 kW of a full one.
        near(battery.capacity, 6.4 - 1e-5 * 6.4 * 3.0 / (2.0 * 6.4));
        battery.stored = battery.capacity * 1.000_001;
        let share = battery.share(-4.0);
        near(-battery.step(share), 4.0);
    }

    #[test]
    fn curves_are_lines_between_points() {
        near(curve(&EFFICIENCY, 0.0), 0.83);
        near(curve(&EFFICIENCY, 0.5), 0.865);
        near(curve(&EFFICIENCY, 1.0), 0.85);
        near(curve(&POWER, 0.95), 0.4);
        near(curve(&POWER, 1.001), 1.0);
    }

    #[test]
    fn a_district_pays_for_its_sum_and_homes_emit_alone() {
        let home =
            |load: [f64; 4]| Home { load: load.to_vec(), solar: vec![0.0; 4], peak: 0.0, battery: RATED };
        let study = Study {
            homes: vec![home([2.0, 1.0, 0.0, 1.0]), home([-1.0, -2.0, 0.0, 3.0])],
            price: vec![0.2, 0.2, 0.4, 0.5],
            carbon: vec![0.1, 0.1, 0.1, 0.2],
        };
        // The sum is 1, −1, 0, 4.
        let found = study.measures(&study.idle());
        near(found.cost, 0.2 + 4.0 * 0.5);
        near(found.emissions, (2.0 + 1.0) * 0.1 + 4.0 * 0.2);
        near(found.ramping, 2.0 + 1.0 + 4.0);
        near(found.unevenness, 1.0 - 1.0 / 4.0);
        near(unevenness(&[1.0, -1.0, 0.0, 4.0], 2), f64::midpoint(1.0, 0.5));
        near(found.over(&found).score(), 1.0);
    }
}
