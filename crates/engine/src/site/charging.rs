//! What vehicles and heat pumps are set to in a tick. They keep to the energy of the plan, not to its power: a vehicle that got sun
//! early charges less later in the step. A surplus that the batteries cannot take is taken where it is worth more than its export.

use sos_dispatch::{LiveStorage, Reason, ReasonCode, SetPoint};
use sos_units::{Energy, Hours, Power, Price};

use super::decide::Snapshot;
use super::model::{Asset, Kind, SiteModel};

/// Of what it lacks for the planned energy, a device whose least power is more than it can use rests when less than this share of
/// a tick at its least is missing.
const WORTH_A_TICK: f64 = 0.5;

/// Whether a plan says what a vehicle or a heat pump should do now; while none does, its device does what it does by itself.
pub(super) fn is_planned(snapshot: &Snapshot<'_>, asset: &Asset) -> bool {
    let planned = || {
        let plan = snapshot.plan?;
        plan.schedule.storage.get(&asset.name)?.power.get(plan.step_at(snapshot.now)?)
    };
    planned().is_some()
}

/// Least power at which it takes anything.
fn least(model: &SiteModel, index: usize) -> Power {
    match &model.assets[index].kind {
        Kind::Vehicle(vehicle) => vehicle.min_charge,
        Kind::HeatPump(heat) => heat.pump.min_power,
        _ => Power::ZERO,
    }
}

/// A power that the guard has moved: what is less than the device can do is nothing.
pub(super) fn whole_or_nothing(model: &SiteModel, index: usize, power: Power) -> Power {
    let too_little = power < Power::ZERO && -power < least(model, index) - Power::kw(1e-6);
    if too_little { Power::ZERO } else { power }
}

/// Sets those of the storages that are vehicles or heat pumps and that nobody has ordered. `net` is what everything else gives, as
/// far as it is not chosen.
pub(super) fn fill(
    snapshot: &Snapshot<'_>,
    storages: &[(usize, LiveStorage)],
    set: &mut [Option<SetPoint>],
    net: Power,
    tick: Hours,
) {
    let movable = |index: usize| snapshot.model.assets[index].kind.is_movable();
    let others: Power = storages
        .iter()
        .zip(set.iter())
        .map(|((index, storage), set)| match set {
            Some(set) => set.power,
            // What a battery can take comes first: it can give it back.
            None if !movable(*index) => -storage.most(tick).0,
            None => Power::ZERO,
        })
        .sum();
    let mut spare = (net + others).max(Power::ZERO);
    for ((index, storage), set) in storages.iter().zip(set).filter(|((index, _), _)| movable(*index)) {
        if set.is_none() {
            let point = point(snapshot, *index, storage, spare, tick);
            spare = (spare + point.power.min(Power::ZERO)).max(Power::ZERO);
            *set = Some(point);
        }
    }
}

fn point(
    snapshot: &Snapshot<'_>,
    index: usize,
    storage: &LiveStorage,
    spare: Power,
    tick: Hours,
) -> SetPoint {
    let planned = planned(snapshot, index, storage, tick).unwrap_or(Power::ZERO);
    let takes = spare.min(storage.most(tick).0);
    let heats = matches!(snapshot.model.assets[index].kind, Kind::HeatPump(_));
    let asset = storage.id.clone();
    if takes > -planned && takes >= least(snapshot.model, index) && absorbs(snapshot, storage) {
        let verb = if heats { "heating" } else { "charging" };
        let because = Reason { code: ReasonCode::ChargeSurplus, text: format!("{verb}: solar surplus now") };
        return SetPoint { asset, power: -takes, because };
    }
    let because = snapshot
        .plan
        .and_then(|plan| plan.schedule.because.get(&storage.id)?.get(plan.step_at(snapshot.now)?).cloned());
    let because =
        because.unwrap_or(Reason { code: ReasonCode::Keep, text: "0 kW: nothing is planned".into() });
    SetPoint { asset, power: planned, because }
}

/// The planned power, made good for what has happened in the step so far.
fn planned(snapshot: &Snapshot<'_>, index: usize, storage: &LiveStorage, tick: Hours) -> Option<Power> {
    let plan = snapshot.plan?;
    let t = plan.step_at(snapshot.now)?;
    let schedule = plan.schedule.storage.get(&storage.id)?;
    let (power, after) = (*schedule.power.get(t)?, *schedule.stored_after.get(t)?);
    if matches!(snapshot.model.assets[index].kind, Kind::HeatPump(_)) {
        // Heat flows out meanwhile: what is in store says little about what was taken.
        return Some(power);
    }
    let end = plan.problem.steps[t].end();
    let left = Hours::from_seconds(end.duration_since(snapshot.now).as_secs_f64()).max(tick);
    let stored = storage.soc * storage.capacity;
    if power < Power::ZERO {
        let lacks = ((after - stored) / storage.charge_efficiency).max(Energy::ZERO);
        let pace = (lacks / left).min(storage.max_charge);
        let least = least(snapshot.model, index);
        let rest = lacks < least * tick * WORTH_A_TICK;
        return Some(if rest { Power::ZERO } else { -pace.max(least) });
    }
    let free = ((stored - after) * storage.discharge_efficiency).max(Energy::ZERO);
    Some((free / left).min(power.max(Power::ZERO)))
}

/// Whether a surplus is worth more in store than its export earns.
fn absorbs(snapshot: &Snapshot<'_>, storage: &LiveStorage) -> bool {
    let known = || {
        let plan = snapshot.plan?;
        let t = plan.step_at(snapshot.now)?;
        let export = *plan.problem.connection.export_price.get(t)?;
        let value = plan.schedule.shadow.stored_value.get(&storage.id).and_then(|values| values.get(t));
        Some((export, value.copied()))
    };
    let Some((export, value)) = known() else { return false };
    let worth = value.map(|value| value * storage.charge_efficiency - storage.wear_cost);
    export <= Price::ZERO || worth.is_some_and(|worth| worth > export)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn less_than_a_device_can_do_is_nothing() {
        let model = testing::movables();
        let car = model.assets.iter().position(|asset| asset.name == "car").unwrap();
        assert_eq!(whole_or_nothing(&model, car, Power::kw(-1.0)), Power::ZERO);
        assert_eq!(whole_or_nothing(&model, car, Power::kw(-1.4)), Power::kw(-1.4));
        let battery = model.assets.iter().position(|asset| asset.name == "battery").unwrap();
        assert_eq!(whole_or_nothing(&model, battery, Power::kw(-1.0)), Power::kw(-1.0));
    }
}
