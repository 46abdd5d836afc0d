//! The series a site writes: measured means at the end of their step, with the time they became known.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_store::{Sample, SeriesId, Store, StoreError, Tx};
use sos_units::{Missing, Power, Reading, Soc};

use super::account::Late;
use super::foresight;
use super::model::SiteModel;

/// Name of the series of measured power, kW, positive into the site; of a load it is the load's own.
pub(crate) const POWER: &str = "asset_power_kw";
/// Name of the series of what a device itself measures, kW, positive into the site.
pub(crate) const DEVICE: &str = "device_power_kw";
/// Name of the series of states of charge, 0…1.
pub(crate) const SOC: &str = "asset_soc";
/// Name of the series of set-points, kW, at the start of the step they hold for.
pub(crate) const SETPOINT: &str = "asset_setpoint_kw";
/// Name of the series of the exchange with the grid, kW, import positive.
pub(crate) const GRID: &str = "site_grid_kw";
/// Name of the series of the planned exchange, kW, at the end of its step.
pub(crate) const PLANNED: &str = "site_planned_grid_kw";
/// Name of the series of services' work, kW, zero or below.
pub(crate) const WORK: &str = "site_work_kw";

/// Name of the series of best estimates of what a device would have measured, kW, positive into the site.
pub(crate) const ESTIMATE: &str = "device_estimate_kw";
/// Name of the series of what a plant could have given where it was turned down, kW, zero or above.
pub(crate) const AVAILABLE: &str = "asset_available_kw";

/// What a series of a site holds, for people. All are values of their time, none counts up.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Name of the series.
    pub name: &'static str,
    /// Unit, empty for a share.
    pub unit: &'static str,
    /// What it is, with its sign.
    pub help: &'static str,
}

const fn described(name: &'static str, unit: &'static str, help: &'static str) -> Described {
    Described { name, unit, help }
}

/// All series that a site writes.
pub const DESCRIBED: [Described; 12] = [
    described(POWER, "kW", "mean power of a step, at its end; above zero into the site"),
    described(DEVICE, "kW", "what a device itself measured; above zero into the site"),
    described(ESTIMATE, "kW", "best estimate of what a device would have measured"),
    described(AVAILABLE, "kW", "what a plant could have given where it was turned down"),
    described(SOC, "", "state of charge, 0 to 1"),
    described(SETPOINT, "kW", "set-point, at the start of the step it holds for"),
    described(GRID, "kW", "exchange with the grid, import above zero"),
    described(PLANNED, "kW", "planned exchange with the grid, import above zero"),
    described(WORK, "kW", "power of services' work, zero or below"),
    described(foresight::ASSET, "kW", "forecast up to a day ahead, by statistic; above zero into the site"),
    described(foresight::NEED, "kW", "forecast of what cannot be chosen, by statistic; import above zero"),
    described(foresight::CARBON, "kg/kWh", "forecast of the carbon intensity of import, by statistic"),
];

/// The ids of a site's series.
#[derive(Clone, Debug)]
pub(crate) struct SeriesIds {
    power: Vec<SeriesId>,
    device: Vec<SeriesId>,
    soc: Vec<SeriesId>,
    setpoint: Vec<SeriesId>,
    grid: SeriesId,
    planned: SeriesId,
    work: SeriesId,
}

/// The labels of a site's series, with the asset's where there is one.
#[must_use]
pub(crate) fn labels(site: &str, asset: Option<&str>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("site".to_owned(), site.to_owned())]);
    if let Some(asset) = asset {
        labels.insert("asset".to_owned(), asset.to_owned());
    }
    labels
}

/// What one tick has to tell.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// End of the step that was measured; also the start of the step that was decided.
    pub(crate) now: Timestamp,
    /// When the values became known.
    pub(crate) known_at: Timestamp,
    /// Own power by asset.
    pub(crate) power: &'a [Reading<Power>],
    /// What the devices measured, by asset.
    pub(crate) device: &'a [Reading<Power>],
    /// State of charge by asset, for those that have one.
    pub(crate) soc: &'a [Option<Reading<Soc>>],
    /// Set-points for the step ahead.
    pub(crate) setpoint: &'a [Option<Power>],
    /// Exchange with the grid.
    pub(crate) grid: Reading<Power>,
    /// What was planned for the step that was measured.
    pub(crate) planned: Option<Power>,
    /// Work of services, zero or below.
    pub(crate) work: Power,
}

impl SeriesIds {
    /// Finds or creates the series of a site.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn open(store: &Store, model: &SiteModel) -> Result<Self, StoreError> {
        store.commit(|tx| {
            let site = model.name.as_str();
            let mut each = |name: &str| -> Result<Vec<SeriesId>, StoreError> {
                let assets = model.assets.iter();
                assets.map(|asset| tx.series_id(name, &labels(site, Some(&asset.name)))).collect()
            };
            let power = each(POWER)?;
            let device = each(DEVICE)?;
            let soc = each(SOC)?;
            let setpoint = each(SETPOINT)?;
            let mut one = |name: &str| tx.series_id(name, &labels(site, None));
            Ok(Self {
                power,
                device,
                soc,
                setpoint,
                grid: one(GRID)?,
                planned: one(PLANNED)?,
                work: one(WORK)?,
            })
        })
    }

    /// The samples of a tick.
    #[must_use]
    pub(crate) fn samples(&self, row: &Row<'_>) -> Vec<Sample> {
        let sample = |series: SeriesId, value: Reading<f64>| Sample {
            series,
            time: row.now,
            known_at: row.known_at,
            value,
        };
        let kw = |reading: &Reading<Power>| reading.map(Power::as_kw);
        let mut samples = Vec::with_capacity(self.power.len() * 4 + 4);
        for (index, power) in row.power.iter().enumerate() {
            samples.push(sample(self.power[index], kw(power)));
            samples.push(sample(self.device[index], kw(&row.device[index])));
            if let Some(soc) = &row.soc[index] {
                samples.push(sample(self.soc[index], soc.map(Soc::as_fraction)));
            }
            if let Some(power) = row.setpoint[index] {
                samples.push(sample(self.setpoint[index], Ok(power.as_kw())));
            }
        }
        samples.push(sample(self.grid, kw(&row.grid)));
        samples.push(sample(self.planned, row.planned.map(Power::as_kw).ok_or(Missing::NotYet)));
        samples.push(sample(self.work, Ok(row.work.as_kw())));
        samples
    }

    /// Corrections: what became known after its tick, and estimates of what never did, in a series of their own.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn late(
        &self,
        tx: &mut Tx<'_>,
        model: &SiteModel,
        late: &[Late],
        known_at: Timestamp,
    ) -> Result<Vec<Sample>, StoreError> {
        let correction = |late: &Late| {
            let series = match late.estimated {
                false => self.device[late.asset],
                true => tx.series_id(ESTIMATE, &labels(&model.name, Some(&model.assets[late.asset].name)))?,
            };
            Ok(Sample { series, time: late.time, known_at, value: Ok(late.power.as_kw()) })
        };
        late.iter().map(correction).collect()
    }

    /// What plants that were turned down could have given.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn available(
        tx: &mut Tx<'_>,
        model: &SiteModel,
        available: &[(usize, Power)],
        row: (Timestamp, Timestamp),
    ) -> Result<Vec<Sample>, StoreError> {
        let (time, known_at) = row;
        let sample = |&(index, power): &(usize, Power)| {
            let series = tx.series_id(AVAILABLE, &labels(&model.name, Some(&model.assets[index].name)))?;
            Ok(Sample { series, time, known_at, value: Ok(power.as_kw()) })
        };
        available.iter().map(sample).collect()
    }
}

/// Own power by asset from what the devices measure: a load's meter less what it is measured together with.
#[must_use]
pub(crate) fn own_power(model: &SiteModel, device: &[Reading<Power>]) -> Vec<Reading<Power>> {
    let own = |(asset, reading): (&super::model::Asset, &Reading<Power>)| {
        let super::model::Kind::Load { net_of, .. } = &asset.kind else { return *reading };
        let mut power = (*reading)?;
        for other in net_of {
            power -= device[*other]?;
        }
        // Rounding of two meters never makes a load generate.
        Ok(power.min(Power::ZERO))
    };
    model.assets.iter().zip(device).map(own).collect()
}

/// Exchange with the grid, import positive, when everything that has a device was measured.
pub(crate) fn grid(model: &SiteModel, own: &[Reading<Power>], work: Power) -> Reading<Power> {
    let mut sum = work;
    for (asset, power) in model.assets.iter().zip(own) {
        if asset.via.is_some() {
            sum += (*power)?;
        }
    }
    Ok(-sum)
}
