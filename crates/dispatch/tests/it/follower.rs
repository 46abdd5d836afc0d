//! The follower holds the plan's intent on measured power.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sos_dispatch::{
    Budget, FollowInput, LiveStorage, PlanStep, ReasonCode, SetPoint, StorageIntent, Tuning, follow, solve,
};
use sos_units::*;

use crate::make;

/// Five batteries of 6.4 kWh at a state of charge, each planned at `power` kW and to an energy.
fn input(soc: f64, net: f64, power: f64, stored_after: f64) -> FollowInput {
    let storages: Vec<LiveStorage> = (0..5)
        .map(|i| LiveStorage::of(&make::battery(&format!("b{i}"), 6.4, 5.0, 0.0), Soc::fraction(soc)))
        .collect();
    let intent = StorageIntent {
        power: Power::kw(power),
        stored_after: Energy::kwh(stored_after),
        value: Some(Price::per_kwh(0.3)),
    };
    let storage: BTreeMap<String, StorageIntent> =
        storages.iter().map(|s| (s.id.clone(), intent.clone())).collect();
    let plan = PlanStep {
        grid: Power::kw(-net - 5.0 * power),
        net: Power::kw(net),
        import_price: Price::per_kwh(0.54),
        export_price: Price::ZERO,
        dear: true,
        storage,
        time_left: Hours::new(1.0),
    };
    FollowInput {
        plan: Some(plan),
        net: Power::kw(net),
        net_pessimistic: Power::kw(net),
        net_pessimistic_any: Power::kw(net),
        net_optimistic: Power::kw(net),
        reserve: Energy::ZERO,
        storages,
        tick: Hours::new(0.25),
        import_limit: Some(Power::kw(12.0)),
        export_limit: None,
        learned: true,
        tuning: Tuning::default(),
    }
}

fn total(points: &[SetPoint]) -> f64 {
    points.iter().map(|p| p.power.as_kw()).sum()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6
}

#[test]
fn in_dear_hours_discharge_follows_the_measured_load() {
    let mut now = input(0.8, -5.0, 1.0, 4.0);
    assert!(near(total(&follow(&now)), 5.0));
    now.net = Power::kw(-7.3);
    (now.net_pessimistic, now.net_pessimistic_any) = (now.net, now.net);
    let points = follow(&now);
    assert!(near(total(&points), 7.3));
    assert_eq!(points[0].because.text, "discharging against the load: power costs 0.54 now");
}

#[test]
fn it_never_discharges_into_worthless_export() {
    let mut now = input(0.8, -5.0, 1.0, 4.0);
    now.net = Power::kw(-2.0);
    (now.net_pessimistic, now.net_pessimistic_any) = (now.net, now.net);
    assert!(near(total(&follow(&now)), 2.0));
}

#[test]
fn surplus_is_absorbed_whatever_was_planned() {
    let now = input(0.5, 4.0, 0.0, 3.2);
    let points = follow(&now);
    assert!(near(total(&points), -4.0));
    assert_eq!(points[0].because.code, ReasonCode::ChargeSurplus);
}

#[test]
fn surplus_is_exported_where_export_earns_more_than_storing() {
    let mut now = input(0.5, 4.0, 0.0, 3.2);
    now.plan.as_mut().unwrap().export_price = Price::per_kwh(0.35);
    assert!(near(total(&follow(&now)), 0.0));
    now.plan.as_mut().unwrap().export_price = Price::per_kwh(0.2);
    assert!(near(total(&follow(&now)), -4.0));
}

#[test]
fn buying_arrives_at_the_planned_energy_gently() {
    let mut now = input(0.5, -2.0, -1.0, 3.2 + 0.95);
    now.plan.as_mut().unwrap().dear = false;
    let points = follow(&now);
    assert!(near(total(&points), -5.0), "{points:?}");
    assert_eq!(points[0].because.code, ReasonCode::ChargeCheap);
    // 2/3 of 12 kW is 8 kW of import: 6 kW are left beside a load of 2 kW.
    let mut fast = input(0.2, -2.0, -4.0, 6.4);
    fast.plan.as_mut().unwrap().dear = false;
    assert!(near(total(&follow(&fast)), -6.0));
}

#[test]
fn outside_dear_hours_a_planned_discharge_goes_to_the_planned_energy_only() {
    let mut now = input(0.5, -8.0, 0.19, 3.0);
    now.plan.as_mut().unwrap().dear = false;
    assert!(near(total(&follow(&now)), 5.0 * 0.2 * 0.95));
}

#[test]
fn economic_discharge_stops_at_the_reserve_and_the_limit_goes_below_it() {
    let mut now = input(0.5, -8.0, 1.6, 0.0);
    now.reserve = Energy::kwh(16.0);
    let points = follow(&now);
    assert!(near(total(&points), 0.0));
    assert_eq!(points[0].because.code, ReasonCode::KeepReserve);
    now.net_pessimistic = Power::kw(-15.5);
    let points = follow(&now);
    assert!(near(total(&points), 3.5));
    assert_eq!(points[0].because.text, "discharging: import limit 12.0 kW could be exceeded by 3.5 kW");
}

#[test]
fn charging_gives_way_before_the_spike_is_seen() {
    let mut now = input(0.2, -2.0, -4.0, 6.4);
    now.plan.as_mut().unwrap().dear = false;
    now.net_pessimistic = Power::kw(-9.0);
    let points = follow(&now);
    assert!(near(total(&points), -3.0));
    assert_eq!(points[0].because.text, "charging less: import limit 12.0 kW could be exceeded by 3.0 kW");
    (now.net_pessimistic, now.net_pessimistic_any) = (Power::kw(-2.0), Power::kw(-10.0));
    assert!(near(total(&follow(&now)), -2.0));
}

#[test]
fn a_storage_that_holds_for_the_limit_says_so() {
    let text = |now: &FollowInput| follow(now)[0].because.text.clone();
    let mut now = input(0.2, -2.0, -4.0, 6.4);
    now.plan.as_mut().unwrap().dear = false;
    now.net_pessimistic = Power::kw(-12.0);
    assert!(near(total(&follow(&now)), 0.0));
    assert_eq!(text(&now), "holding: import limit 12.0 kW could be exceeded by 6.0 kW");
    let mut empty = input(0.0, -2.0, 0.0, 0.0);
    empty.net_pessimistic = Power::kw(-15.0);
    assert_eq!(text(&empty), "0 kW, being empty: import limit 12.0 kW could be exceeded by 3.0 kW");
    // The first ticks: the bounds are as wide as the caution, and no figure of them means anything.
    for cold in [&mut now, &mut empty] {
        cold.learned = false;
        cold.net_pessimistic = Power::kw(-40.0);
        cold.storages.iter_mut().for_each(|storage| storage.soc = Soc::ZERO);
        assert_eq!(
            text(cold),
            "holding: too little is known of the load yet, and the import limit 12.0 kW could be exceeded"
        );
    }
}

#[test]
fn an_export_limit_is_held_with_the_optimistic_net() {
    let mut now = input(0.5, 4.0, 0.0, 3.2);
    now.plan.as_mut().unwrap().export_price = Price::per_kwh(0.5);
    (now.export_limit, now.net_optimistic) = (Some(Power::kw(2.0)), Power::kw(6.0));
    let points = follow(&now);
    assert!(near(total(&points), -4.0), "{points:?}");
    assert_eq!(points[0].because.code, ReasonCode::ChargeForLimit);
}

#[test]
fn without_a_plan_surplus_is_stored_and_the_limit_held() {
    let mut now = input(0.5, 3.0, 0.0, 0.0);
    now.plan = None;
    assert!(near(total(&follow(&now)), -3.0));
    (now.net, now.net_pessimistic) = (Power::kw(-13.0), Power::kw(-14.0));
    assert!(near(total(&follow(&now)), 2.0));
}

#[test]
fn unequal_batteries_become_level() {
    let mut now = input(0.5, -5.0, 1.0, 0.0);
    now.storages[0].soc = Soc::fraction(0.9);
    let points = follow(&now);
    assert!(points[0].power > points[1].power);
    assert!(near(total(&points), 5.0));
}

#[test]
fn a_plan_gives_its_step_in_force() {
    let problem = make::homes(3, 48, 5, 1);
    let solved = solve(&problem, &Budget::default()).unwrap();
    let step = PlanStep::at(&problem, &solved.schedule, make::at(5.25)).unwrap();
    assert!((step.time_left.get() - 0.75).abs() < 1e-9);
    assert_eq!(step.grid, solved.schedule.grid[5]);
    let work = solved.schedule.work["job0"][5];
    assert!(((step.net - (problem.fixed[5] - work)).as_kw()).abs() < 1e-9);
    assert_eq!(PlanStep::at(&problem, &solved.schedule, make::at(48.0)), None);
    assert_eq!(PlanStep::at(&problem, &solved.schedule, make::at(-1.0)), None);
}

fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![8 => -30.0..30.0_f64, 1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_points_are_always_within_what_a_storage_can_do(
        numbers in prop::collection::vec(wild(), 12),
        soc in -0.2..1.2_f64,
        dear: bool,
    ) {
        let mut now = input(soc, numbers[0], numbers[1], numbers[2]);
        now.net_pessimistic = Power::kw(numbers[3]);
        now.net_pessimistic_any = Power::kw(numbers[4]);
        now.net_optimistic = Power::kw(numbers[5]);
        now.reserve = Energy::kwh(numbers[6]);
        (now.import_limit, now.export_limit) = (Some(Power::kw(numbers[7])), Some(Power::kw(numbers[8])));
        let plan = now.plan.as_mut().unwrap();
        (plan.dear, plan.export_price) = (dear, Price::per_kwh(numbers[9] / 50.0));
        (plan.time_left, plan.grid) = (Hours::new(numbers[10]), Power::kw(numbers[11]));
        for (point, s) in follow(&now).iter().zip(&now.storages) {
            let p = point.power.as_kw();
            prop_assert!(p.is_finite() && p.abs() <= 5.0 + 1e-9, "{p}");
            let deliverable = s.soc.as_fraction().max(0.0) * 6.4 * 0.95 / 0.25;
            let room = (1.0 - s.soc.as_fraction()).max(0.0) * 6.4 / 0.95 / 0.25;
            prop_assert!(p <= deliverable + 1e-6 && -p <= room + 1e-6, "{p}");
        }
    }
}
