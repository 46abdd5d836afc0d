//! Choosing the set-points of a tick: follower, guard, words. Pure: a snapshot goes in, orders come out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sos_dispatch::{
    AssetState as Guardable, FollowInput, GuardState, Guarded, LiveStorage, Narrowing, Reason, ReasonCode,
    SetPoint, Source, Target, Tuning, follow, guard,
};
use sos_model::Mode;
use sos_units::{Energy, Hours, Power, Reading, Soc};

use super::account::Decision;
use super::balance::{Balance, balance};
use super::carried::Carried;
use super::charging;
use super::generators::Live;
use super::links::AssetReading;
use super::meters;
use super::model::{Asset, Kind, SiteModel};
use super::outlook::NextTick;
use super::people::{self, Standing};
use super::plan::SitePlan;
use super::storages;

/// What is asked of an asset in a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The asset's index.
    pub asset: usize,
    /// Power, positive into the site; `None` releases it.
    pub power: Option<Power>,
    /// Whether it is written to the device or only shown.
    pub write: bool,
    /// Why, in words.
    pub because: String,
}

/// Everything a decision sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The site.
    pub model: &'a SiteModel,
    /// Start of the tick that is decided.
    pub now: Timestamp,
    /// What the devices said.
    pub readings: &'a [Reading<AssetReading>],
    /// States of charge of the batteries, the vehicles that are plugged in and the stores of heat that can be commanded.
    pub socs: &'a BTreeMap<usize, Soc>,
    /// Generators that can be commanded, with what they do.
    pub generators: &'a BTreeMap<usize, Live>,
    /// The plan in force.
    pub plan: Option<&'a SitePlan>,
    /// What people order now.
    pub standing: &'a [Standing],
    /// What the tick may bring, work of services not included.
    pub next: Option<NextTick>,
    /// The same behind each feeder; empty: what was measured last goes on.
    pub next_behind: &'a [NextTick],
    /// What charges have counted before.
    pub carried: &'a Carried,
    /// Work of services in this tick, as consumption.
    pub work: Power,
    /// Energy to be kept for the import limit.
    pub reserve: Energy,
}

/// Orders for every asset that may be commanded, and what they rest on.
#[must_use]
pub fn decide(snapshot: &Snapshot<'_>) -> (Vec<Order>, Decision) {
    let model = snapshot.model;
    let tick = Hours::from_seconds(model.tick_seconds() as f64);
    let storages = storages(snapshot);
    let meters = meters::meters(snapshot);
    let next = snapshot.next.unwrap_or_else(|| measured(snapshot, &|_| true));
    let idle: Power = uncommanded(snapshot, &|_| true);
    let others = |net: Power| net + idle - snapshot.work;
    let mut points: Vec<Option<SetPoint>> = storages.iter().map(|one| set(snapshot, one, tick)).collect();
    charging::fill(snapshot, &storages, &mut points, others(next.net), tick);
    meters::follow_feeders(snapshot, &meters, &storages, &mut points, tick);
    let given = meters::given(&storages, &points, tick, |_| true);
    let free = storages.iter().zip(&points).filter(|(_, point)| point.is_none());
    let free: Vec<&LiveStorage> = free.map(|((_, storage), _)| storage).collect();
    let next = if forms_itself(snapshot) { next.certain() } else { next };
    let expected = if model.connection.is_island() { next.pessimistic } else { next.net };
    let balance = balance(snapshot, &free, -(others(expected) + given), tick);
    let moved = balance.generated() + balance.shift;
    let set: BTreeSet<&str> = points.iter().flatten().map(|point| point.asset.as_str()).collect();
    let free: Vec<LiveStorage> = free.into_iter().cloned().collect();
    let with = |net: Power| others(net) + given + moved;
    let mut followed = follow(&FollowInput {
        plan: meters::step(snapshot, None, |id| !set.contains(id)),
        net: with(next.net),
        net_pessimistic: with(next.pessimistic),
        net_pessimistic_any: with(next.pessimistic_any),
        net_optimistic: with(next.optimistic),
        reserve: meters::share_of_reserve(snapshot, &free, &storages),
        storages: free,
        tick,
        import_limit: model.connection.import_limit,
        export_limit: model.connection.export_limit,
        learned: next.learned,
        tuning: Tuning::default(),
    })
    .into_iter();
    let mut wanted: Vec<SetPoint> =
        points.into_iter().filter_map(|point| point.or_else(|| followed.next())).collect();
    wanted.extend(set_points(model, &balance));
    let mut narrowings = narrowings(snapshot, &storages);
    narrowings.extend(meters::operator(snapshot));
    let net = [next.net, next.pessimistic].map(|net| others(net) + balance.shift);
    narrowings.extend(meters::peaks(snapshot, &meters, (net[0], net[1])));
    let mut assets: Vec<Guardable> =
        storages.iter().map(|(index, storage)| guardable(snapshot, *index, storage)).collect();
    assets.extend(running(model, &balance));
    let state = GuardState {
        assets,
        net: Some(net[1]),
        import_limit: model.connection.import_limit,
        export_limit: model.connection.export_limit,
        feeders: meters::guarded(snapshot, &meters),
        tick,
    };
    let guarded = guard(&wanted, &narrowings, &state);
    let mut orders = ordered(model, &storages, &balance, (&wanted, &guarded));
    orders.extend(resting(&balance));
    orders.extend(advice(snapshot));
    orders.extend(match model.connection.is_island() {
        true => turned_down(snapshot, &balance),
        false => curtailments(snapshot),
    });
    orders.sort_by_key(|order| order.asset);
    let need = [others(next.net), others(next.pessimistic)].map(|net| -net);
    let decision = decision(snapshot, need, tick, (&storages, &balance), &orders);
    (orders, decision)
}

/// What the guard lets through, as orders: of storages, then of the generators that run.
fn ordered(
    model: &SiteModel,
    storages: &[(usize, LiveStorage)],
    balance: &Balance,
    (wanted, guarded): (&[SetPoint], &[Guarded]),
) -> Vec<Order> {
    let assets = storages.iter().map(|(index, _)| *index).chain(running_indices(balance));
    let order = |(asset, (wanted, guarded)): (usize, (&SetPoint, &Guarded))| Order {
        asset,
        power: Some(whole_watts(charging::whole_or_nothing(model, asset, guarded.power))),
        write: true,
        because: narrowed_text(&wanted.because.text, guarded),
    };
    assets.zip(wanted.iter().zip(guarded)).map(order).collect()
}

/// Whether an inverter forms the grid of the island, and its battery can: then nothing need be kept back for what the tick
/// may bring.
fn forms_itself(snapshot: &Snapshot<'_>) -> bool {
    let forms = |(index, asset, battery): (usize, &Asset, &sos_model::Battery)| {
        battery.grid_forming && commanded(snapshot, index, asset) && snapshot.socs.contains_key(&index)
    };
    snapshot.model.connection.is_island() && snapshot.model.batteries().any(forms)
}

fn narrowed_text(because: &str, guarded: &Guarded) -> String {
    match guarded.narrowed_by.first() {
        Some(narrowed) => format!("{because}; {}", narrowed.reason),
        None => because.to_owned(),
    }
}

/// The generators that run, as set-points for the guard.
fn set_points(model: &SiteModel, balance: &Balance) -> Vec<SetPoint> {
    let point = |run: &super::balance::Run| SetPoint {
        asset: model.assets[run.index].name.clone(),
        power: run.power,
        because: Reason { code: ReasonCode::GeneratorRuns, text: run.because.clone() },
    };
    balance.runs.iter().filter(|run| run.range.is_some()).map(point).collect()
}

fn running_indices(balance: &Balance) -> impl Iterator<Item = usize> + '_ {
    balance.runs.iter().filter(|run| run.range.is_some()).map(|run| run.index)
}

/// The generators that run, with what they can do in the tick; their ramps are in it already.
fn running(model: &SiteModel, balance: &Balance) -> Vec<Guardable> {
    let guardable = |run: &super::balance::Run| {
        let (low, high) = run.range?;
        let (id, feeder) = (model.assets[run.index].name.clone(), model.assets[run.index].feeder);
        Some(Guardable { id, low, high, power: None, ramp: None, deliverable: None, room: None, feeder })
    };
    balance.runs.iter().filter_map(guardable).collect()
}

/// Orders for generators that start, stop or rest.
fn resting(balance: &Balance) -> Vec<Order> {
    let order = |run: &super::balance::Run| Order {
        asset: run.index,
        power: Some(run.power),
        write: true,
        because: run.because.clone(),
    };
    balance.runs.iter().filter(|run| run.range.is_none()).map(order).collect()
}

/// Limits of plants on an island, where nobody else takes a surplus.
fn turned_down(snapshot: &Snapshot<'_>, balance: &Balance) -> Vec<Order> {
    let order = |(&index, &most): (&usize, &Option<Power>)| {
        let order = people::of(snapshot.standing, index).and_then(|order| order.power);
        let most = match (most, order) {
            (Some(most), Some(order)) => Some(most.min(order.max(Power::ZERO))),
            (most, order) => most.or(order),
        };
        let because = match most {
            Some(most) => format!("at most {most:.1}: nobody can take more"),
            None => "generating all there is".to_owned(),
        };
        Order { asset: index, power: most, write: true, because }
    };
    balance.plants.iter().map(order).collect()
}

/// What is set without the follower: what people order of a battery; and what is planned of one where the plan knows a reason that
/// the follower does not: a price on changes of the exchange, or that it gives to the rest of the site behind the feeder where it pays.
fn set(snapshot: &Snapshot<'_>, (index, storage): &(usize, LiveStorage), tick: Hours) -> Option<SetPoint> {
    let point = |power, because| SetPoint { asset: storage.id.clone(), power, because };
    if let Some((order, power)) =
        people::of(snapshot.standing, *index).and_then(|one| Some((one, one.power?)))
    {
        let text = format!("{}: {}", flow_text(power), order.because);
        return Some(point(power, Reason { code: ReasonCode::Ordered, text }));
    }
    if snapshot.model.assets[*index].kind.is_movable() {
        return None;
    }
    let plan = snapshot.plan?;
    let t = plan.step_at(snapshot.now)?;
    let planned = *plan.schedule.storage.get(&storage.id)?.power.get(t)?;
    let giving = || snapshot.model.paid_at(*index).is_some_and(|feeder| meters::gives(snapshot, feeder));
    if snapshot.model.connection.ramp_price.is_none() && !(planned > Power::ZERO && giving()) {
        return None;
    }
    let because = plan.schedule.because.get(&storage.id).and_then(|reasons| reasons.get(t).cloned())?;
    Some(point(storage.able(planned, tick), because))
}

/// What keeps batteries that people order where they are while the guard moves the others.
fn narrowings(snapshot: &Snapshot<'_>, storages: &[(usize, LiveStorage)]) -> Vec<Narrowing> {
    let ordered = storages.iter().filter_map(|(index, storage)| {
        let order = people::of(snapshot.standing, *index)?;
        Some((storage, order, order.power?))
    });
    let narrowing = |(storage, order, power): (&LiveStorage, &Standing, Power)| Narrowing {
        source: Source::People,
        target: Target::Asset(storage.id.clone()),
        low: Some(power),
        high: Some(power),
        reason: order.because.clone(),
    };
    ordered.map(narrowing).collect()
}

fn flow_text(power: Power) -> String {
    match power.as_kw() {
        kw if kw > 0.0 => format!("discharging {kw:.1} kW"),
        kw if kw < 0.0 => format!("charging {:.1} kW", -kw),
        _ => "0 kW".to_owned(),
    }
}

/// Devices take whole watts; rounding towards zero never leaves a limit. What is a whole watt but for the last digits is it.
pub(super) fn whole_watts(power: Power) -> Power {
    let watts = power.as_kw() * 1000.0;
    let near = watts.round();
    let whole = if (watts - near).abs() < 1e-6 { near } else { watts.trunc() };
    Power::kw(whole / 1000.0 + 0.0)
}

fn storages(snapshot: &Snapshot<'_>) -> Vec<(usize, LiveStorage)> {
    let live = |(index, asset): (usize, &Asset)| {
        let soc = *snapshot.socs.get(&index)?;
        let due = !asset.kind.is_movable() || charging::is_planned(snapshot, asset);
        let storage = storages::live(asset, soc, snapshot.now)?;
        (due && commanded(snapshot, index, asset)).then_some((index, storage))
    };
    snapshot.model.assets.iter().enumerate().filter_map(live).collect()
}

/// Whether anything may be written to an asset's device.
pub(super) fn commanded(snapshot: &Snapshot<'_>, index: usize, asset: &Asset) -> bool {
    asset.mode == Mode::Control && !people::is_held(snapshot.standing, index)
}

/// Without a forecast, what was measured last of those inside goes on.
pub(super) fn measured(snapshot: &Snapshot<'_>, inside: &dyn Fn(usize) -> bool) -> NextTick {
    let devices = snapshot.model.assets.iter().zip(snapshot.readings).enumerate();
    let net: Power = devices
        .filter(|(index, (asset, _))| !asset.is_chosen() && inside(*index))
        .filter_map(|(_, (asset, reading))| {
            let own = reading.ok()?.power;
            let Kind::Load { net_of, .. } = &asset.kind else { return Some(own) };
            let others = net_of.iter().filter_map(|other| Some(snapshot.readings[*other].ok()?.power));
            Some(own - others.sum::<Power>())
        })
        .sum();
    NextTick { net, pessimistic: net, pessimistic_any: net, optimistic: net, learned: true }
}

/// Power of batteries and generators inside that run by themselves: measured but not commanded.
pub(super) fn uncommanded(snapshot: &Snapshot<'_>, inside: &dyn Fn(usize) -> bool) -> Power {
    let by_itself = |(index, asset): &(usize, &Asset)| {
        let known = snapshot.socs.contains_key(index) || snapshot.generators.contains_key(index);
        asset.is_chosen() && inside(*index) && !(commanded(snapshot, *index, asset) && known)
    };
    let assets = snapshot.model.assets.iter().enumerate();
    assets.filter(by_itself).filter_map(|(index, _)| Some(snapshot.readings[index].ok()?.power)).sum()
}

fn guardable(snapshot: &Snapshot<'_>, index: usize, storage: &LiveStorage) -> Guardable {
    let asset = &snapshot.model.assets[index];
    let minutes = snapshot.model.tick_seconds() as f64 / 60.0;
    let ramp = match asset.ramp {
        (None, None) => None,
        (up, down) => {
            let least = |a: Option<Power>, b: Option<Power>| match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            least(up, down).map(|per_minute| per_minute * minutes)
        }
    };
    Guardable {
        id: storage.id.clone(),
        low: -storage.max_charge,
        high: storage.max_discharge,
        power: snapshot.readings[index].ok().map(|reading| reading.power),
        ramp,
        deliverable: Some(storage.deliverable()),
        room: Some(storage.room()),
        feeder: asset.feeder,
    }
}

/// What batteries and generators would do that are planned with but not commanded.
fn advice(snapshot: &Snapshot<'_>) -> Vec<Order> {
    let Some((plan, t)) = snapshot.plan.and_then(|plan| Some((plan, plan.step_at(snapshot.now)?))) else {
        return Vec::new();
    };
    let assets = snapshot.model.assets.iter().enumerate();
    let advised = assets.filter(|(index, asset)| {
        asset.mode == Mode::Advise && asset.is_chosen() && !people::is_held(snapshot.standing, *index)
    });
    advised
        .filter_map(|(index, asset)| {
            let stored = plan.schedule.storage.get(&asset.name).map(|plan| &plan.power);
            let burnt = || plan.schedule.generators.get(&asset.name).map(|plan| &plan.power);
            let power = *stored.or_else(burnt)?.get(t)?;
            let reason = plan.schedule.because.get(&asset.name).and_then(|reasons| reasons.get(t));
            Some(Order {
                asset: index,
                power: Some(whole_watts(power)),
                write: false,
                because: reason.map_or_else(String::new, |reason| reason.text.clone()),
            })
        })
        .collect()
}

/// Limits of solar plants that may be turned down, as planned.
fn curtailments(snapshot: &Snapshot<'_>) -> Vec<Order> {
    let Some(plan) = snapshot.plan else { return Vec::new() };
    let Some(t) = plan.step_at(snapshot.now) else { return Vec::new() };
    let chosen = snapshot.model.assets.iter().enumerate();
    chosen
        .filter_map(|(index, asset)| {
            let Kind::Solar { peak, curtailable: true, .. } = asset.kind else { return None };
            if asset.mode == Mode::Observe || people::is_held(snapshot.standing, index) {
                return None;
            }
            let order = people::of(snapshot.standing, index).and_then(|order| order.power);
            let used = *plan.schedule.generation.get(&asset.name)?.get(t)?;
            let available = plan.available(&asset.name, snapshot.now)?;
            // An order holds when there is more sun than expected too.
            let turned_down = used + Power::kw(1e-3) < available;
            let most = match (turned_down, order) {
                (true, Some(most)) => Some(used.min(most)),
                (true, None) => Some(used),
                (false, order) => order,
            };
            let because = plan.schedule.because.get(&asset.name).and_then(|reasons| reasons.get(t));
            Some(Order {
                asset: index,
                power: most.map(|most| whole_watts(most.clamp(Power::ZERO, peak))),
                write: asset.mode == Mode::Control,
                because: because
                    .map_or_else(|| "generating all there is".to_owned(), |reason| reason.text.clone()),
            })
        })
        .collect()
}

fn decision(
    snapshot: &Snapshot<'_>,
    [expected, at_most]: [Power; 2],
    tick: Hours,
    (storages, balance): (&[(usize, LiveStorage)], &Balance),
    orders: &[Order],
) -> Decision {
    let watts = |power: Power| (power.as_kw() * 1000.0).round() as i64;
    let chosen = |order: &&Order| snapshot.model.assets[order.asset].is_chosen();
    let asked: Power = orders.iter().filter(chosen).filter_map(|order| order.power).sum();
    let able: Power = storages.iter().map(|(_, storage)| storage.most(tick).1).sum();
    let able = able + balance.runs.iter().filter_map(|run| Some(run.range?.1)).sum::<Power>();
    Decision {
        expected_w: watts(expected),
        at_most_w: watts(at_most),
        asked_w: watts(asked),
        able_w: watts(able),
        missing: u32::try_from(snapshot.readings.iter().filter(|reading| reading.is_err()).count())
            .unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sos_units::Missing;

    use crate::site::testing;

    fn readings(model: &SiteModel, powers: &[Option<f64>]) -> Vec<Reading<AssetReading>> {
        let one = |(index, _): (usize, _)| match powers.get(index).copied().flatten() {
            Some(kw) => Ok(AssetReading {
                power: Power::kw(kw),
                soc: None,
                counter: None,
                counter_range: None,
                setpoint: None,
                engine: None,
            }),
            None => Err(Missing::Unavailable),
        };
        model.assets.iter().enumerate().map(one).collect()
    }

    static NONE: BTreeMap<usize, Live> = BTreeMap::new();
    static NOTHING: std::sync::LazyLock<Carried> = std::sync::LazyLock::new(Carried::default);

    fn snapshot<'a>(
        model: &'a SiteModel,
        readings: &'a [Reading<AssetReading>],
        socs: &'a BTreeMap<usize, Soc>,
    ) -> Snapshot<'a> {
        let now: Timestamp = "2016-08-01T19:00:00Z".parse().unwrap();
        Snapshot {
            model,
            now,
            readings,
            socs,
            generators: &NONE,
            plan: None,
            standing: &[],
            next: None,
            next_behind: &[],
            carried: &NOTHING,
            work: Power::ZERO,
            reserve: Energy::ZERO,
        }
    }

    #[test]
    fn an_advised_battery_is_never_written_to_and_without_a_plan_gets_no_advice() {
        let model = testing::site("mode: advise");
        let socs = BTreeMap::from([(0, Soc::fraction(0.5))]);
        let readings = readings(&model, &[Some(0.0), Some(-6.0)]);
        let (orders, _) = decide(&snapshot(&model, &readings, &socs));
        assert!(orders.is_empty(), "{orders:?}");
    }

    #[test]
    fn a_need_above_the_limit_is_covered_from_the_battery() {
        let model = testing::site("mode: control");
        let socs = BTreeMap::from([(0, Soc::fraction(0.9))]);
        let readings = readings(&model, &[Some(0.0), Some(-6.0)]);
        let (orders, decision) = decide(&snapshot(&model, &readings, &socs));
        let power = orders[0].power.unwrap();
        assert!(power >= Power::kw(1.999) && power <= Power::kw(5.0), "{orders:?}");
        assert!(orders[0].write && orders[0].because.contains("limit"), "{orders:?}");
        assert_eq!(decision.expected_w, 6000);
    }

    fn ordered(kw: Option<f64>) -> Standing {
        Standing {
            asset: 0,
            power: kw.map(Power::kw),
            until: "2016-08-01T20:00:00Z".parse().unwrap(),
            by: ["anna".into(), "inspection".into()],
            because: "ordered by anna until 20:00: inspection".into(),
        }
    }

    #[test]
    fn an_order_goes_before_the_follower_and_behind_the_guard() {
        let model = testing::site("mode: control");
        let socs = BTreeMap::from([(0, Soc::fraction(0.5))]);
        let readings = readings(&model, &[Some(0.0), Some(-1.0)]);
        let decided =
            |standing: &[Standing]| decide(&Snapshot { standing, ..snapshot(&model, &readings, &socs) }).0;
        let orders = decided(&[ordered(Some(-2.0))]);
        assert_eq!(orders[0].power, Some(Power::kw(-2.0)));
        assert_eq!(orders[0].because, "charging 2.0 kW: ordered by anna until 20:00: inspection");
        let orders = decided(&[ordered(Some(-4.5))]);
        assert_eq!(orders[0].power, Some(Power::kw(-3.0)));
        assert!(orders[0].because.ends_with("inspection; import limit 4.0 kW"), "{orders:?}");
        assert_eq!(decided(&[ordered(None)]), [], "nothing is written on hold");
    }

    proptest! {
        /// No reading, no state of charge and no order whatever brings a set-point outside the device.
        #[test]
        fn set_points_stay_within_the_device(
            load in prop::option::of(prop::num::f64::ANY),
            battery in prop::option::of(prop::num::f64::ANY),
            soc in prop::num::f64::ANY,
            work in 0.0..50.0f64,
            order in prop::option::of(prop::num::f64::ANY),
        ) {
            let model = testing::site("mode: control");
            let socs = BTreeMap::from([(0, Soc::fraction(soc))]);
            let readings = readings(&model, &[battery, load]);
            let standing: Vec<Standing> = order.into_iter().map(|kw| ordered(Some(kw))).collect();
            let work = Power::kw(work);
            let (orders, _) = decide(&Snapshot { work, standing: &standing, ..snapshot(&model, &readings, &socs) });
            for order in orders {
                let power = order.power.unwrap();
                prop_assert!(power.is_finite() && power.abs() <= Power::kw(5.0), "{power}");
            }
        }
    }
}
