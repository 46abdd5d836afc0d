//! The last word before a command: limits in fixed order, each of which can only narrow.
//!
//! Every asset starts with the range its device allows. Then each narrowing cuts the range of an asset, or the
//! range of the exchange with the grid. A cut that would leave nothing keeps the nearest point that is left, so a
//! later (less important) one never undoes an earlier one, and there is always an answer.

use serde::{Deserialize, Serialize};
use sos_units::{Energy, Hours, Power};

use crate::follow::SetPoint;

/// Who narrows, in order of importance: earlier ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// What the device can do.
    Device,
    /// What is in store, or room for more.
    StateOfCharge,
    /// How fast it may change.
    Ramp,
    /// Whether it may be commanded at all, and holds by people on site.
    Mode,
    /// Orders of the grid operator.
    GridOperator,
    /// Limits of the connection.
    Connection,
    /// Frequency support.
    Frequency,
    /// Overrides by people.
    People,
    /// Market commitments.
    Market,
}

/// What a narrowing applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Power of one asset, site sign.
    Asset(String),
    /// Exchange with the grid, import positive.
    Site,
}

/// A range that must be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Narrowing {
    /// Who wants it.
    pub source: Source,
    /// Of what.
    pub target: Target,
    /// At least this, kW; `None` or not finite = no bound.
    pub low: Option<Power>,
    /// At most this, kW; `None` or not finite = no bound.
    pub high: Option<Power>,
    /// Why, for people.
    pub reason: String,
}

/// What is known about an asset that can be commanded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssetState {
    /// The asset.
    pub id: String,
    /// Lowest power of the device, kW, site sign: most charging as a negative number. Not finite = 0.
    pub low: Power,
    /// Highest power of the device, kW. Not finite = 0.
    pub high: Power,
    /// Power now; `None` when it is not known.
    pub power: Option<Power>,
    /// Most change of power within the tick, kW; `None` = no limit.
    pub ramp: Option<Power>,
    /// Energy that can be delivered at the terminals before it is empty, kWh; `None` = not a storage.
    pub deliverable: Option<Energy>,
    /// Energy that can be taken in at the terminals before it is full, kWh; `None` = not a storage.
    pub room: Option<Energy>,
}

/// What is known about the site in this tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuardState {
    /// Assets that can be commanded.
    pub assets: Vec<AssetState>,
    /// Net power of everything else, site sign; `None` when it is not known: the connection cannot be guarded then.
    pub net: Option<Power>,
    /// Most import, kW.
    pub import_limit: Option<Power>,
    /// Most export, kW.
    pub export_limit: Option<Power>,
    /// Length of the tick.
    pub tick: Hours,
}

/// Why a set-point was changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NarrowedBy {
    /// Who.
    pub source: Source,
    /// Why.
    pub reason: String,
}

/// A set-point that may be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guarded {
    /// The asset.
    pub asset: String,
    /// Power to send, kW, site sign; always finite and within the device's limits.
    pub power: Power,
    /// Power that was asked for.
    pub was: Power,
    /// What changed it; empty when nothing did.
    pub narrowed_by: Vec<NarrowedBy>,
}

/// Ranges of assets and of their sum; never empty, and the sum's range is always reachable.
struct Ranges {
    low: Vec<f64>,
    high: Vec<f64>,
    sum_low: f64,
    sum_high: f64,
    notes: Vec<Vec<(NarrowedBy, f64, f64)>>,
    site_notes: Vec<(NarrowedBy, f64, f64)>,
}

/// Narrows set-points to what may be sent. One result per asset of `state`; an asset without a set-point is taken
/// to be asked for 0 kW, and a set-point for an unknown asset is dropped.
///
/// # Guarantees
/// For any input, NaN and infinities included: every power is finite and within its device's limits; where the
/// assets can do it within device, state-of-charge, ramp, mode and operator limits, the connection's limits hold
/// at `state.net`.
#[must_use]
pub fn guard(setpoints: &[SetPoint], narrowings: &[Narrowing], state: &GuardState) -> Vec<Guarded> {
    let mut ranges = Ranges::of_devices(state);
    for narrowing in &in_order(narrowings, state) {
        ranges.narrow(narrowing, state);
    }
    let asked: Vec<f64> = state
        .assets
        .iter()
        .map(|asset| setpoints.iter().find(|s| s.asset == asset.id).map_or(0.0, |s| s.power.as_kw()))
        .collect();
    let clamped: Vec<f64> =
        asked.iter().enumerate().map(|(i, &p)| finite(p).clamp(ranges.low[i], ranges.high[i])).collect();
    let powers = ranges.fit_sum(clamped);
    let result = |(i, asset): (usize, &AssetState)| Guarded {
        asset: asset.id.clone(),
        power: Power::kw(powers[i]),
        was: Power::kw(asked[i]),
        narrowed_by: ranges.why(i, asked[i], powers[i]),
    };
    state.assets.iter().enumerate().map(result).collect()
}

fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-1e9, 1e9) }
}

/// A limit that is not a finite number allows nothing.
fn limit(value: f64) -> f64 {
    if value.is_finite() { value.clamp(-1e9, 1e9) } else { 0.0 }
}

/// Built-in narrowings from the state and those from outside, most important first; equals keep their order.
fn in_order(narrowings: &[Narrowing], state: &GuardState) -> Vec<Narrowing> {
    let mut all: Vec<Narrowing> = state.assets.iter().flat_map(|asset| of_state(asset, state.tick)).collect();
    let bound = |power: Option<Power>| power.filter(|p| p.is_finite());
    if state.import_limit.is_some() || state.export_limit.is_some() {
        let name = |what: &str, limit: Option<Power>| limit.map(|l| format!("{what} limit {l:.1}"));
        let names: Vec<String> = [name("import", state.import_limit), name("export", state.export_limit)]
            .into_iter()
            .flatten()
            .collect();
        all.push(Narrowing {
            source: Source::Connection,
            target: Target::Site,
            low: bound(state.export_limit).map(|p| -p.max(Power::ZERO)),
            high: bound(state.import_limit).map(|p| p.max(Power::ZERO)),
            reason: names.join(", "),
        });
    }
    all.extend(narrowings.iter().cloned());
    all.sort_by_key(|narrowing| narrowing.source);
    all
}

fn of_state(asset: &AssetState, tick: Hours) -> Vec<Narrowing> {
    let target = || Target::Asset(asset.id.clone());
    let mut all = Vec::new();
    let hours = if tick.get().is_finite() && tick.get() > 0.0 { tick.get() } else { 1.0 };
    if asset.deliverable.is_some() || asset.room.is_some() {
        // Energy that is not known allows nothing.
        let power = |energy: Option<Energy>| energy.map(|e| limit(e.as_kwh()).max(0.0) / hours);
        all.push(Narrowing {
            source: Source::StateOfCharge,
            target: target(),
            low: power(asset.room).map(|p| Power::kw(-p)),
            high: power(asset.deliverable).map(Power::kw),
            reason: "state of charge".into(),
        });
    }
    if let (Some(now), Some(ramp)) = (asset.power, asset.ramp)
        && now.is_finite()
        && ramp.is_finite()
    {
        all.push(Narrowing {
            source: Source::Ramp,
            target: target(),
            low: Some(now - ramp.abs()),
            high: Some(now + ramp.abs()),
            reason: format!("changes by at most {:.1} a tick", ramp.abs()),
        });
    }
    all
}

/// Cuts `low..=high` to what lies in `a..=b`, or to the nearest point of it.
fn cut(low: f64, high: f64, a: f64, b: f64) -> (f64, f64) {
    // Crossed bounds are a mistake of the asker; the lower one is kept, as everywhere.
    let b = b.max(a);
    let new_low = low.max(a).min(high);
    let new_high = high.min(b).max(new_low);
    (new_low, new_high)
}

impl Ranges {
    fn of_devices(state: &GuardState) -> Self {
        let low: Vec<f64> = state.assets.iter().map(|a| limit(a.low.as_kw())).collect();
        let high: Vec<f64> =
            state.assets.iter().zip(&low).map(|(a, &low)| limit(a.high.as_kw()).max(low)).collect();
        let (sum_low, sum_high) = (low.iter().sum(), high.iter().sum());
        let device = |(&low, &high): (&f64, &f64)| {
            vec![(NarrowedBy { source: Source::Device, reason: "limit of the device".into() }, low, high)]
        };
        let notes = low.iter().zip(&high).map(device).collect();
        Self { low, high, sum_low, sum_high, notes, site_notes: Vec::new() }
    }

    fn narrow(&mut self, narrowing: &Narrowing, state: &GuardState) {
        let bound = |p: Option<Power>, none: f64| {
            p.map(Power::as_kw).filter(|p| p.is_finite()).map_or(none, |p| p.clamp(-1e9, 1e9))
        };
        let (low, high) = (bound(narrowing.low, -1e12), bound(narrowing.high, 1e12));
        let by = NarrowedBy { source: narrowing.source, reason: narrowing.reason.clone() };
        match &narrowing.target {
            Target::Asset(id) => {
                if let Some(i) = state.assets.iter().position(|a| &a.id == id) {
                    self.narrow_asset(i, low, high, by);
                }
            }
            Target::Site => {
                let Some(net) = state.net.map(Power::as_kw).filter(|net| net.is_finite()) else { return };
                // exchange = −net − sum, so a high exchange is a low sum.
                let net = net.clamp(-1e9, 1e9);
                (self.sum_low, self.sum_high) = cut(self.sum_low, self.sum_high, -net - high, -net - low);
                self.site_notes.push((by, self.sum_low, self.sum_high));
            }
        }
    }

    /// Cuts the range of one asset as far as the sum's range stays reachable.
    fn narrow_asset(&mut self, i: usize, low: f64, high: f64, by: NarrowedBy) {
        let alone = cut(self.low[i], self.high[i], low, high);
        let (new_low, new_high) = alone;
        let others =
            |values: &[f64]| values.iter().enumerate().filter(|&(k, _)| k != i).map(|(_, v)| v).sum::<f64>();
        let need_high = self.sum_low - others(&self.high);
        let need_low = self.sum_high - others(&self.low);
        let new_high = new_high.max(need_high).min(self.high[i]);
        let new_low = new_low.min(need_low).max(self.low[i]);
        let (new_low, new_high) = if new_low > new_high {
            // The site needs a value outside of what is asked: exactly that value, nothing else.
            if need_high > high { (new_high, new_high) } else { (new_low, new_low) }
        } else {
            (new_low, new_high)
        };
        (self.low[i], self.high[i]) = (new_low, new_high);
        self.sum_low = self.sum_low.max(self.low.iter().sum());
        self.sum_high = self.sum_high.min(self.high.iter().sum()).max(self.sum_low);
        // Where the site would not let it be so, that is the reason.
        let moved = (new_low - alone.0).abs() > 1e-9 || (new_high - alone.1).abs() > 1e-9;
        let by = self.site_notes.last().filter(|_| moved).map_or(by, |(site, _, _)| site.clone());
        self.notes[i].push((by, new_low, new_high));
    }

    /// Moves powers within their ranges until their sum lies in its range; everyone gives by what it has.
    fn fit_sum(&self, mut powers: Vec<f64>) -> Vec<f64> {
        let sum: f64 = powers.iter().sum();
        let wanted = sum.max(self.sum_low).min(self.sum_high.max(self.sum_low));
        let change = wanted - sum;
        let room: Vec<f64> = powers
            .iter()
            .enumerate()
            .map(|(i, &p)| if change > 0.0 { self.high[i] - p } else { p - self.low[i] })
            .collect();
        let all: f64 = room.iter().sum();
        if change != 0.0 && all > 0.0 {
            let part = (change.abs() / all).min(1.0) * change.signum();
            for (i, power) in powers.iter_mut().enumerate() {
                *power = (*power + part * room[i]).clamp(self.low[i], self.high[i]);
            }
        }
        powers
    }

    /// The narrowings that moved a set-point: those whose range left it out.
    fn why(&self, i: usize, was: f64, power: f64) -> Vec<NarrowedBy> {
        // Same number, or a difference nobody can measure.
        if (was - power).abs() <= 1e-9 {
            return Vec::new();
        }
        let outside = |&&(_, low, high): &&(NarrowedBy, f64, f64)| {
            was.is_nan() || was < low - 1e-9 || was > high + 1e-9
        };
        let mut by: Vec<NarrowedBy> = Vec::new();
        let mut range = (f64::NEG_INFINITY, f64::INFINITY);
        for (note, low, high) in self.notes[i].iter().filter(outside) {
            // A narrowing that cut nothing has nothing to do with it.
            if (*low, *high) != range {
                by.push(note.clone());
            }
            range = (*low, *high);
        }
        let clamped = finite(was).clamp(self.low[i], self.high[i]);
        if (clamped - power).abs() > 1e-9 {
            by.extend(self.site_notes.last().map(|(note, _, _)| note.clone()));
        }
        by
    }
}
