//! The last word before a command: limits in fixed order, each of which can only narrow.
//!
//! Every asset starts with the range its device allows. Then each narrowing cuts the range of an asset, of a feeder, or of
//! the exchange with the grid. A cut that would leave nothing keeps the nearest point that is left, so a later (less
//! important) one never undoes an earlier one, and there is always an answer.
//!
//! Meters are a tree: the connection, feeders behind it, assets behind those. Every node has the range of what the assets
//! behind it may do together, and after each cut all ranges are drawn in to what can still be reached, up the tree and
//! down again. On a tree of sums that leaves exactly what is possible: any value of a range can be had.

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
    /// Market commitments, and peaks that are charged.
    Market,
}

/// What a narrowing applies to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Power of one asset, site sign.
    Asset(String),
    /// What flows into a feeder, import positive.
    Feeder(String),
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
    /// The feeder that it is behind, as a place in [`GuardState::feeders`]; `None`, and a place that is not there = the
    /// site's connection alone.
    #[serde(default)]
    pub feeder: Option<usize>,
}

/// What is known in this tick about a part of the site behind a meter or a fuse of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeederState {
    /// The feeder; unique.
    pub id: String,
    /// The feeder that it is behind, as an earlier place in the list; anything else = the site's connection.
    pub behind: Option<usize>,
    /// Net power of everything else behind it, site sign; `None` when it is not known: it cannot be guarded then.
    pub net: Option<Power>,
    /// Most that may flow in, kW.
    pub import_limit: Option<Power>,
    /// Most that may flow out, kW.
    pub export_limit: Option<Power>,
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
    /// Parts of the site behind meters or fuses of their own; the first ones win where not all limits can be held.
    #[serde(default)]
    pub feeders: Vec<FeederState>,
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

/// Narrows set-points to what may be sent. One result per asset of `state`; an asset without a set-point is taken
/// to be asked for 0 kW, and a set-point for an unknown asset is dropped.
///
/// # Guarantees
/// For any input, NaN and infinities included: every power is finite and within its device's limits; where the
/// assets can do it within device, state-of-charge, ramp, mode and operator limits, the limits of the connection and of
/// every feeder hold at their `net`. What comes after these makes no limit that is exceeded worse.
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
    let (powers, causes) = ranges.fit(&asked);
    let result = |(i, asset): (usize, &AssetState)| Guarded {
        asset: asset.id.clone(),
        power: Power::kw(powers[i]),
        was: Power::kw(asked[i]),
        narrowed_by: ranges.why(i, asked[i], powers[i], causes[i]),
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
    all.extend(of_meter(Target::Site, (state.import_limit, state.export_limit), ""));
    all.extend(state.feeders.iter().filter_map(|feeder| {
        let limits = (feeder.import_limit, feeder.export_limit);
        of_meter(Target::Feeder(feeder.id.clone()), limits, &format!(" of feeder {}", feeder.id))
    }));
    all.extend(narrowings.iter().cloned());
    all.sort_by_key(|narrowing| narrowing.source);
    all
}

/// The limits of the connection or of a feeder, on import and on export.
fn of_meter(target: Target, limits: (Option<Power>, Option<Power>), of: &str) -> Option<Narrowing> {
    let (import, export) = limits;
    let bound = |power: Option<Power>| power.filter(|p| p.is_finite()).map(|p| p.max(Power::ZERO));
    let name = |what: &str, limit: Option<Power>| limit.map(|l| format!("{what} limit {l:.1}{of}"));
    let names: Vec<String> = [name("import", import), name("export", export)].into_iter().flatten().collect();
    (!names.is_empty()).then(|| Narrowing {
        source: Source::Connection,
        target,
        low: bound(export).map(|p| -p),
        high: bound(import),
        reason: names.join(", "),
    })
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

/// More than any sum of powers, kW.
const ANY: f64 = 1e12;

/// A difference that nobody can measure, kW.
const SAME: f64 = 1e-9;

/// What the connection, the feeders and the assets may do, in this order: what flows out of each, never empty, and all of it
/// can be reached.
struct Ranges {
    /// The node that each one is behind; it comes earlier. The connection is behind itself.
    above: Vec<usize>,
    low: Vec<f64>,
    high: Vec<f64>,
    /// What narrowed a node last, or the one above it and so this one.
    by: Vec<Option<NarrowedBy>>,
    /// How many nodes are meters.
    meters: usize,
    /// What cut the range of each asset, and what was left.
    notes: Vec<Vec<(NarrowedBy, f64, f64)>>,
}

impl Ranges {
    fn of_devices(state: &GuardState) -> Self {
        let meters = state.feeders.len() + 1;
        let feeder =
            |place: Option<usize>, most: usize| place.filter(|place| *place < most).map_or(0, |p| p + 1);
        let mut above = vec![0];
        above.extend(state.feeders.iter().enumerate().map(|(i, one)| feeder(one.behind, i)));
        above.extend(state.assets.iter().map(|asset| feeder(asset.feeder, meters - 1)));
        let (mut low, mut high) = (vec![-ANY; meters], vec![ANY; meters]);
        let mut notes = Vec::with_capacity(state.assets.len());
        for asset in &state.assets {
            let least = limit(asset.low.as_kw());
            let most = limit(asset.high.as_kw()).max(least);
            low.push(least);
            high.push(most);
            let by = NarrowedBy { source: Source::Device, reason: "limit of the device".into() };
            notes.push(vec![(by, least, most)]);
        }
        let by = vec![None; above.len()];
        let mut ranges = Self { above, low, high, by, meters, notes };
        ranges.draw_in();
        ranges
    }

    fn narrow(&mut self, narrowing: &Narrowing, state: &GuardState) {
        let bound = |p: Option<Power>, none: f64| {
            p.map(Power::as_kw).filter(|p| p.is_finite()).map_or(none, |p| p.clamp(-1e9, 1e9))
        };
        let (low, high) = (bound(narrowing.low, -ANY), bound(narrowing.high, ANY));
        let by = NarrowedBy { source: narrowing.source, reason: narrowing.reason.clone() };
        let net = |net: Option<Power>| net.map(Power::as_kw).filter(|net| net.is_finite());
        let (node, net) = match &narrowing.target {
            Target::Asset(id) => {
                if let Some(i) = state.assets.iter().position(|a| &a.id == id) {
                    let node = self.meters + i;
                    self.cut(node, low, high, &by);
                    self.notes[i].push((by, self.low[node], self.high[node]));
                }
                return;
            }
            Target::Feeder(id) => {
                let Some(place) = state.feeders.iter().position(|feeder| &feeder.id == id) else { return };
                (place + 1, net(state.feeders[place].net))
            }
            Target::Site => (0, net(state.net)),
        };
        // exchange = −net − sum, so a high exchange is a low sum.
        let Some(net) = net.map(|net| net.clamp(-1e9, 1e9)) else { return };
        self.cut(node, -net - high, -net - low, &by);
    }

    fn cut(&mut self, node: usize, low: f64, high: f64, by: &NarrowedBy) {
        let before = (self.low[node], self.high[node]);
        let after = cut(before.0, before.1, low, high);
        if after != before {
            (self.low[node], self.high[node]) = after;
            self.by[node] = Some(by.clone());
            self.draw_in();
        }
    }

    /// Draws all ranges in to what can be reached: first each meter to what those behind it can do together, then each node to
    /// what the one above it leaves to it.
    fn draw_in(&mut self) {
        let n = self.above.len();
        let (mut least, mut most) = (vec![0.0; n], vec![0.0; n]);
        for node in (0..n).rev() {
            if node < self.meters {
                self.set(node, least[node], most[node]);
            }
            if node > 0 {
                least[self.above[node]] += self.low[node];
                most[self.above[node]] += self.high[node];
            }
        }
        for node in 1..n {
            let (above, was) = (self.above[node], (self.low[node], self.high[node]));
            self.set(
                node,
                self.low[above] - (most[above] - was.1),
                self.high[above] - (least[above] - was.0),
            );
            let drawn = (self.low[node] - was.0).abs().max((self.high[node] - was.1).abs());
            let Some(by) = self.by[above].clone().filter(|_| drawn > SAME) else { continue };
            match node.checked_sub(self.meters) {
                Some(asset) => self.notes[asset].push((by, self.low[node], self.high[node])),
                None => self.by[node] = Some(by),
            }
        }
    }

    /// Draws one range in, never beyond what it was and never to nothing.
    fn set(&mut self, node: usize, low: f64, high: f64) {
        let new = self.low[node].max(low).min(self.high[node]);
        (self.low[node], self.high[node]) = (new, self.high[node].min(high).max(new));
    }

    /// The powers nearest to those that are asked for that hold all ranges, and the meter that moved each one from what its own
    /// range allows. Where a sum has to change, everyone behind it gives by what it has.
    fn fit(&self, asked: &[f64]) -> (Vec<f64>, Vec<Option<usize>>) {
        let n = self.above.len();
        let (mut wanted, mut cause, mut behind) = (vec![0.0; n], vec![None; n], vec![Vec::new(); n]);
        for node in (0..n).rev() {
            let power = match node.checked_sub(self.meters) {
                Some(asset) => finite(asked[asset]),
                None => behind[node].iter().map(|&one: &usize| wanted[one]).sum(),
            };
            wanted[node] = power.max(self.low[node]).min(self.high[node]);
            if node < self.meters && (wanted[node] - power).abs() > SAME {
                cause[node] = Some(node);
            }
            if node > 0 {
                behind[self.above[node]].push(node);
            }
        }
        for node in 0..self.meters {
            let change = wanted[node] - behind[node].iter().map(|&one| wanted[one]).sum::<f64>();
            let room = |one: usize, wanted: &[f64]| match change > 0.0 {
                true => self.high[one] - wanted[one],
                false => wanted[one] - self.low[one],
            };
            let all: f64 = behind[node].iter().map(|&one| room(one, &wanted)).sum();
            if change == 0.0 || all <= 0.0 {
                continue;
            }
            let part = (change.abs() / all).min(1.0) * change.signum();
            for &one in &behind[node] {
                let moved = wanted[one] + part * room(one, &wanted);
                let moved = moved.max(self.low[one]).min(self.high[one]);
                if (moved - wanted[one]).abs() > SAME {
                    cause[one] = cause[node];
                }
                wanted[one] = moved;
            }
        }
        (wanted.split_off(self.meters), cause.split_off(self.meters))
    }

    /// The narrowings that moved a set-point: those whose range left it out.
    fn why(&self, i: usize, was: f64, power: f64, cause: Option<usize>) -> Vec<NarrowedBy> {
        // Same number, or a difference nobody can measure.
        if (was - power).abs() <= SAME {
            return Vec::new();
        }
        let outside = |&&(_, low, high): &&(NarrowedBy, f64, f64)| {
            was.is_nan() || was < low - SAME || was > high + SAME
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
        let cause = cause.and_then(|meter| self.by[meter].clone());
        by.extend(cause.filter(|cause| !by.contains(cause)));
        by
    }
}
