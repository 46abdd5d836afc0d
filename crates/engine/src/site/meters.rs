//! The meters of a site in a tick: what flows through the connection and through feeders beside what is decided, what may flow, and
//! the batteries that follow a feeder instead of the connection.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use sos_dispatch::{
    FeederState, FollowInput, LiveStorage, Narrowing, PlanStep, SetPoint, Source, Target, Tuning, follow,
};
use sos_model::{Charge, Charged};
use sos_units::{Energy, Hours, Power};

use super::decide::{Snapshot, commanded, measured, uncommanded};
use super::feeders;
use super::intervals::periods_between;
use super::outlook::NextTick;

/// A feeder in a tick.
#[derive(Debug)]
pub(super) struct Meter {
    /// What the tick may bring of what cannot be chosen behind it.
    next: NextTick,
    /// Power of batteries and generators behind it that run by themselves.
    idle: Power,
    /// Most that may flow in, by its fuse and by orders of the grid operator.
    import_limit: Option<Power>,
    /// Most that may flow out.
    export_limit: Option<Power>,
}

impl Meter {
    /// The net power that its limits are guarded with.
    fn guarded(&self) -> Power {
        self.next.net + self.idle
    }
}

/// The feeders of a site, in the order of the model.
pub(super) fn meters(snapshot: &Snapshot<'_>) -> Vec<Meter> {
    let model = snapshot.model;
    let (from, until) = tick(snapshot);
    let meter = |place: usize| {
        let inside = |asset: usize| model.is_behind(asset, place);
        let next = snapshot.next_behind.get(place).copied().unwrap_or_else(|| measured(snapshot, &inside));
        Meter {
            // A fuse is held as things are: the largest jump ever seen behind it would keep batteries from charging at all.
            next: next.certain(),
            idle: uncommanded(snapshot, &inside),
            import_limit: feeders::most_import(model, place, from, until),
            export_limit: model.feeders[place].export_limit,
        }
    };
    (0..model.feeders.len()).map(meter).collect()
}

/// Start and end of the tick that is decided.
fn tick(snapshot: &Snapshot<'_>) -> (Timestamp, Timestamp) {
    let seconds = SignedDuration::from_secs(snapshot.model.tick_seconds());
    (snapshot.now, snapshot.now + seconds)
}

/// The feeders as the guard sees them.
pub(super) fn guarded(snapshot: &Snapshot<'_>, meters: &[Meter]) -> Vec<FeederState> {
    let feeders = snapshot.model.feeders.iter().zip(meters);
    let state = |(feeder, meter): (&super::model::SiteFeeder, &Meter)| FeederState {
        id: feeder.name.clone(),
        behind: feeder.behind,
        net: Some(meter.guarded()),
        // Orders of the grid operator come as what they are.
        import_limit: feeder.import_limit,
        export_limit: feeder.export_limit,
    };
    feeders.map(state).collect()
}

/// Orders of the grid operator that hold in the tick: for what flows into a feeder, and for each device that gets a share.
pub(super) fn operator(snapshot: &Snapshot<'_>) -> Vec<Narrowing> {
    let model = snapshot.model;
    let (from, until) = tick(snapshot);
    let narrowing =
        |target, low, high, reason| Narrowing { source: Source::GridOperator, target, low, high, reason };
    let mut all = Vec::new();
    for (place, feeder) in model.feeders.iter().enumerate() {
        if let Some(left) = feeders::reduced(model, place, from, until) {
            let reason = format!("the grid operator leaves {left:.1} to feeder {}", feeder.name);
            all.push(narrowing(Target::Feeder(feeder.name.clone()), None, Some(left), reason));
        }
        for (asset, share) in feeders::most_drawn(model, place, from, until) {
            let name = &model.assets[asset].name;
            let reason = format!("the grid operator leaves {share:.1} to {name}");
            all.push(narrowing(Target::Asset(name.clone()), Some(-share), None, reason));
        }
    }
    all
}

/// Peaks that are charged, held where the plan foresees them, or where they are already: `net` is what is expected of everything
/// that is not guarded at the connection, and what its limits are guarded with.
pub(super) fn peaks(snapshot: &Snapshot<'_>, meters: &[Meter], net: (Power, Power)) -> Vec<Narrowing> {
    let hold = |(place, charge): (Option<usize>, &Charge)| {
        let peak = peak(snapshot, place, charge)?;
        let (model, seconds) = (snapshot.model, snapshot.model.tick_seconds());
        let allowed = snapshot.carried.allowed(charge, &model.zone, snapshot.now, seconds, peak);
        let (expected, worse) = match place {
            None => net,
            Some(place) => (meters[place].next.net + meters[place].idle, meters[place].guarded()),
        };
        Some(Narrowing {
            source: Source::Market,
            target: target(snapshot, place),
            low: None,
            // A peak is a mean: it is held as things are expected, not as bad as they may come.
            high: Some(allowed + (expected - worse)),
            reason: format!("the peak of {} is held at {peak:.1} kW", charge.name),
        })
    };
    snapshot.model.charges().filter_map(hold).collect()
}

fn target(snapshot: &Snapshot<'_>, place: Option<usize>) -> Target {
    place.map_or(Target::Site, |place| Target::Feeder(snapshot.model.feeders[place].name.clone()))
}

/// The peak that the plan in force foresees in the running period, or the one so far if that is higher, kW; none without a plan.
fn peak(snapshot: &Snapshot<'_>, place: Option<usize>, charge: &Charge) -> Option<f64> {
    let Charged::Peak(declared) = &charge.on else { return None };
    let plan = snapshot.plan.filter(|_| declared.price.value.as_per_kw() > 0.0)?;
    let name = place.map(|place| snapshot.model.feeders[place].name.as_str());
    let connection = match name {
        None => &plan.problem.connection,
        Some(name) => &plan.problem.feeders.iter().find(|feeder| feeder.id == name)?.connection,
    };
    let flows = feeders::planned_flows(&plan.schedule, name)?;
    let (steps, zone) = (&plan.problem.steps, &snapshot.model.zone);
    // Of a plan that is over its last period counts.
    let last = steps.last()?;
    let at = if snapshot.now < last.end() { snapshot.now } else { last.start };
    let period = periods_between((steps.first()?.start, at), zone, declared.per);
    let foreseen = feeders::foreseen(connection, flows, charge, period)?;
    Some(foreseen.max(snapshot.carried.of(charge, zone, snapshot.now)))
}

/// Whether a peak is charged on the way from a feeder to the grid, or at the connection.
fn has_peak(snapshot: &Snapshot<'_>, feeder: Option<usize>) -> bool {
    let model = snapshot.model;
    let way = std::iter::successors(feeder, |&place| model.feeders[place].behind);
    let places: BTreeSet<Option<usize>> = way.map(Some).chain([None]).collect();
    let peak = |charge: &Charge| matches!(charge.on, Charged::Peak(_));
    model.charges().any(|(place, charge)| peak(charge) && places.contains(&place))
}

/// The step of the plan in force at a feeder or at the connection, for the storages that follow there. Where a peak is charged
/// energy is for the peak: the follower goes down to what is planned, and covers no dear step whatever it needs.
pub(super) fn step(
    snapshot: &Snapshot<'_>,
    feeder: Option<usize>,
    follows: impl Fn(&str) -> bool,
) -> Option<PlanStep> {
    let plan = snapshot.plan?;
    let name = feeder.map(|place| snapshot.model.feeders[place].name.as_str());
    let step = PlanStep::behind(&plan.problem, &plan.schedule, snapshot.now, name, follows)?;
    Some(PlanStep { dear: step.dear && !has_peak(snapshot, feeder), ..step })
}

/// Whether the plan has a feeder give power to the rest of the site in the step in force.
pub(super) fn gives(snapshot: &Snapshot<'_>, feeder: usize) -> bool {
    let flow = || {
        let plan = snapshot.plan?;
        let flows = feeders::planned_flows(&plan.schedule, Some(&snapshot.model.feeders[feeder].name))?;
        flows.get(plan.step_at(snapshot.now)?).copied()
    };
    flow().is_some_and(|flow| flow < Power::kw(-1e-3))
}

/// Lets the batteries follow that pay at a feeder, the inner feeders first: what those do is part of what flows through the outer.
pub(super) fn follow_feeders(
    snapshot: &Snapshot<'_>,
    meters: &[Meter],
    storages: &[(usize, LiveStorage)],
    points: &mut [Option<SetPoint>],
    hours: Hours,
) {
    let model = snapshot.model;
    for (place, meter) in meters.iter().enumerate().rev() {
        let free = |at: usize| model.paid_at(storages[at].0) == Some(place);
        let free: Vec<usize> = (0..storages.len()).filter(|&at| points[at].is_none() && free(at)).collect();
        if free.is_empty() {
            continue;
        }
        let inside = |asset: usize| model.is_behind(asset, place);
        let given = given(storages, points, hours, inside) + running(snapshot, inside);
        let with = |net: Power| net + meter.idle + given;
        let chosen: Vec<LiveStorage> = free.iter().map(|&at| storages[at].1.clone()).collect();
        let input = FollowInput {
            plan: step(snapshot, Some(place), |id| chosen.iter().any(|one| one.id == id)),
            net: with(meter.next.net),
            net_pessimistic: with(meter.next.pessimistic),
            net_pessimistic_any: with(meter.next.pessimistic_any),
            net_optimistic: with(meter.next.optimistic),
            reserve: share_of_reserve(snapshot, &chosen, storages),
            storages: chosen,
            tick: hours,
            import_limit: meter.import_limit,
            export_limit: meter.export_limit,
            learned: meter.next.learned,
            tuning: Tuning::default(),
        };
        for (at, point) in free.into_iter().zip(follow(&input)) {
            points[at] = Some(point);
        }
    }
}

/// What the storages that are set already give, of those inside.
pub(super) fn given(
    storages: &[(usize, LiveStorage)],
    points: &[Option<SetPoint>],
    hours: Hours,
    inside: impl Fn(usize) -> bool,
) -> Power {
    let set = storages.iter().zip(points).filter(|((asset, _), _)| inside(*asset));
    set.filter_map(|((_, storage), point)| Some(storage.able(point.as_ref()?.power, hours))).sum()
}

/// What the generators give now that are commanded, of those inside.
fn running(snapshot: &Snapshot<'_>, inside: impl Fn(usize) -> bool) -> Power {
    let own = snapshot.generators.iter().filter(|(asset, live)| {
        live.before.on && inside(**asset) && commanded(snapshot, **asset, &snapshot.model.assets[**asset])
    });
    own.map(|(_, live)| live.before.power).sum()
}

/// The energy that some storages keep for the import limit of the site: everyone by its size.
pub(super) fn share_of_reserve(
    snapshot: &Snapshot<'_>,
    some: &[LiveStorage],
    all: &[(usize, LiveStorage)],
) -> Energy {
    let usable = |one: &LiveStorage| (one.max_soc - one.min_soc) * one.capacity;
    let batteries = all.iter().filter(|(asset, _)| !snapshot.model.assets[*asset].kind.is_movable());
    let (own, every): (Energy, Energy) =
        (some.iter().map(usable).sum(), batteries.map(|(_, one)| usable(one)).sum());
    if every > Energy::ZERO { snapshot.reserve * (own / every) } else { snapshot.reserve }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sos_units::{CarbonIntensity, Price, Reading, Soc};

    use super::super::carried::{Carried, Exchange};
    use super::super::decide::{Order, decide};
    use super::super::feeders::ExpectedFeeder;
    use super::super::links::AssetReading;
    use super::super::model::SiteModel;
    use super::super::plan::{self, Caution, Expected, SitePlan};
    use super::super::testing;
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Orders for the battery, with the loads behind the feeder and beside it, kW as sizes.
    fn decided(
        model: &SiteModel,
        loads: [f64; 2],
        soc: f64,
        (plan, carried): (Option<&SitePlan>, &Carried),
        now: &str,
    ) -> Vec<Order> {
        let reading = |kw: f64| {
            Ok(AssetReading {
                power: Power::kw(kw),
                soc: None,
                counter: None,
                counter_range: None,
                setpoint: None,
                engine: None,
            })
        };
        let readings: Vec<Reading<AssetReading>> = vec![reading(0.0), reading(-loads[0]), reading(-loads[1])];
        let (orders, _) = decide(&Snapshot {
            model,
            now: at(now),
            readings: &readings,
            socs: &BTreeMap::from([(0, Soc::fraction(soc))]),
            generators: &BTreeMap::new(),
            plan,
            standing: &[],
            next: None,
            next_behind: &[],
            carried,
            work: Power::ZERO,
            reserve: Energy::ZERO,
        });
        orders
    }

    /// A plan for four hours of a load behind the feeder, from an empty battery, on a working day at noon.
    fn planned(model: &SiteModel, load: f64) -> SitePlan {
        let (now, hour) = (at("2026-01-05T12:00:00Z"), SignedDuration::from_hours(1));
        let steps = plan::steps(now, now, hour, hour * 4);
        let n = steps.len();
        let expected = Expected {
            net: vec![Power::kw(-load); n],
            import_price: vec![Price::per_kwh(0.3); n],
            export_price: vec![Price::ZERO; n],
            carbon: vec![CarbonIntensity::ZERO; n],
            feeders: vec![ExpectedFeeder {
                net: vec![Power::kw(-load); n],
                import_price: vec![Price::ZERO; n],
                export_price: vec![Price::ZERO; n],
                carbon: vec![CarbonIntensity::ZERO; n],
            }],
            ..Expected::default()
        };
        let socs = BTreeMap::from([(0, Soc::ZERO)]);
        let problem = plan::problem(model, steps, &expected, &socs, Vec::new(), Caution::none());
        plan::make(problem, now, None).unwrap()
    }

    #[test]
    fn a_fuse_is_held_on_what_is_measured_and_an_order_of_the_grid_operator_before_it() {
        let (mut model, nothing) = (testing::street(), Carried::default());
        let now = "2026-01-05T12:15:00Z";
        let orders = decided(&model, [4.0, 0.0], 0.9, (None, &nothing), now);
        assert_eq!(orders[0].power, Some(Power::kw(1.0)), "{orders:?}");
        assert!(orders[0].because.ends_with("import limit 3.0 kW of feeder street"), "{orders:?}");
        let orders = decided(&model, [0.0, 3.9], 0.9, (None, &nothing), now);
        assert_eq!(orders[0].power, Some(Power::ZERO), "what is beside the feeder is not behind its fuse");
        model.feeders[0].reductions = vec![sos_model::Reduction {
            to: sos_model::ReducedTo::Power(Power::kw(2.0)),
            from: at("2026-01-05T12:00:00Z"),
            until: at("2026-01-05T13:00:00Z"),
        }];
        let orders = decided(&model, [4.0, 0.0], 0.9, (None, &nothing), now);
        assert_eq!(orders[0].power, Some(Power::kw(2.0)), "{orders:?}");
        assert!(orders[0].because.contains("the grid operator leaves 2.0 kW"), "{orders:?}");
    }

    #[test]
    fn a_peak_does_not_rise_between_plans_where_the_battery_can_help_and_does_where_it_is_higher_already() {
        let model = testing::street();
        let plan = planned(&model, 2.0);
        let mut carried = Carried::default();
        let now = "2026-01-05T12:15:00Z";
        let orders = decided(&model, [2.0, 1.5], 0.5, (Some(&plan), &carried), now);
        assert!((orders[0].power.unwrap().as_kw() - 1.5).abs() < 2e-3, "{orders:?}");
        assert!(orders[0].because.contains("the peak of demand is held at 2.0 kW"), "{orders:?}");
        let kwh = |kwh: f64| sos_units::ExactEnergy::watt_seconds((kwh * 3.6e6) as i64);
        let exchange = Exchange {
            start: at("2026-01-05T08:00:00Z"),
            seconds: 900,
            grid: Some(kwh(0.75)),
            feeders: vec![Some(kwh(0.75))],
            emissions: None,
        };
        carried.observe(&model, &exchange);
        let orders = decided(&model, [2.0, 1.5], 0.5, (Some(&plan), &carried), now);
        assert!((orders[0].power.unwrap().as_kw() - 0.5).abs() < 2e-3, "3 kW are paid already: {orders:?}");
        let orders = decided(&model, [2.0, 1.5], 0.5, (Some(&plan), &carried), "2026-01-06T12:15:00Z");
        assert!(orders[0].power.unwrap() > Power::kw(0.5), "a day later they are not: {orders:?}");
    }

    #[test]
    fn a_surplus_is_taken_up_where_a_peak_is_charged_whatever_the_plan_wants() {
        let (model, carried) = (testing::street(), Carried::default());
        let plan = planned(&model, 2.0);
        let orders = decided(&model, [-1.5, 0.0], 0.5, (Some(&plan), &carried), "2026-01-05T12:15:00Z");
        assert!((orders[0].power.unwrap().as_kw() + 1.5).abs() < 2e-3, "{orders:?}");
    }
}
