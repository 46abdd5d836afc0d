//! No input makes the guard send what a device or the connection cannot take.

use proptest::prelude::*;
use sos_dispatch::{
    AssetState, FeederState, GuardState, Guarded, Narrowing, Reason, ReasonCode, SetPoint, Source, Target,
    guard,
};
use sos_units::*;

fn set(asset: &str, kw: f64) -> SetPoint {
    let because = Reason { code: ReasonCode::Keep, text: String::new() };
    SetPoint { asset: asset.into(), power: Power::kw(kw), because }
}

fn battery(id: &str) -> AssetState {
    AssetState {
        id: id.into(),
        low: Power::kw(-5.0),
        high: Power::kw(5.0),
        power: Some(Power::ZERO),
        ramp: None,
        deliverable: Some(Energy::kwh(3.0)),
        room: Some(Energy::kwh(3.0)),
        feeder: None,
    }
}

fn site(assets: Vec<AssetState>, net: f64, import: f64) -> GuardState {
    GuardState {
        assets,
        net: Some(Power::kw(net)),
        import_limit: Some(Power::kw(import)),
        export_limit: None,
        feeders: Vec::new(),
        tick: Hours::new(0.25),
    }
}

fn order(source: Source, target: Target, low: Option<f64>, high: Option<f64>) -> Narrowing {
    let reason = format!("{source:?}");
    Narrowing { source, target, low: low.map(Power::kw), high: high.map(Power::kw), reason }
}

fn powers(guarded: &[Guarded]) -> Vec<f64> {
    guarded.iter().map(|g| g.power.as_kw()).collect()
}

#[test]
fn what_is_allowed_passes_untouched() {
    let state = site(vec![battery("a"), battery("b")], -4.0, 12.0);
    let result = guard(&[set("a", 1.5), set("b", -2.0)], &[], &state);
    assert_eq!(powers(&result), [1.5, -2.0]);
    assert!(result.iter().all(|g| g.narrowed_by.is_empty()));
}

#[test]
fn charging_is_cut_and_reversed_to_hold_the_import_limit() {
    let state = site(vec![battery("a"), battery("b")], -14.0, 12.0);
    let result = guard(&[set("a", -5.0), set("b", -5.0)], &[], &state);
    assert!((powers(&result).iter().sum::<f64>() - 2.0).abs() < 1e-9, "{result:?}");
    assert_eq!(result[0].narrowed_by[0].source, Source::Connection);
    assert_eq!(result[0].narrowed_by[0].reason, "import limit 12.0 kW");
}

#[test]
fn the_grid_operator_wins_over_frequency_and_frequency_over_the_market() {
    let state = site(vec![battery("a")], 0.0, 20.0);
    let asset = || Target::Asset("a".into());
    let orders = [
        order(Source::Market, asset(), Some(4.0), Some(5.0)),
        order(Source::Frequency, asset(), Some(-4.0), Some(-1.0)),
        order(Source::GridOperator, asset(), Some(-2.0), Some(2.0)),
    ];
    let result = guard(&[set("a", 4.0)], &orders, &state);
    // The operator leaves −2…2, frequency −2…−1 of it, the market only the nearest point.
    assert_eq!(powers(&result), [-1.0]);
    let sources: Vec<Source> = result[0].narrowed_by.iter().map(|n| n.source).collect();
    assert!(sources.contains(&Source::GridOperator) && sources.contains(&Source::Frequency), "{sources:?}");
}

#[test]
fn nobody_may_break_the_connection_for_the_market() {
    let state = site(vec![battery("a")], -14.0, 12.0);
    let charge = order(Source::Market, Target::Asset("a".into()), Some(-5.0), Some(-5.0));
    assert_eq!(powers(&guard(&[set("a", -5.0)], &[charge], &state)), [2.0]);
}

#[test]
fn an_operator_may_ask_for_less_import_than_the_connection_allows() {
    let state = site(vec![battery("a")], -6.0, 12.0);
    let less = order(Source::GridOperator, Target::Site, None, Some(4.0));
    assert_eq!(powers(&guard(&[set("a", 0.0)], &[less], &state)), [2.0]);
}

#[test]
fn an_empty_storage_is_not_asked_and_a_slow_one_not_rushed() {
    let mut empty = battery("a");
    empty.deliverable = Some(Energy::ZERO);
    let mut slow = battery("b");
    (slow.power, slow.ramp) = (Some(Power::kw(1.0)), Some(Power::kw(0.5)));
    let result = guard(&[set("a", 5.0), set("b", 5.0)], &[], &site(vec![empty, slow], -9.0, 12.0));
    assert_eq!(powers(&result), [0.0, 1.5]);
    assert_eq!(result[0].narrowed_by[0].source, Source::StateOfCharge);
    assert_eq!(result[1].narrowed_by[0].source, Source::Ramp);
}

#[test]
fn a_set_point_that_is_not_a_number_becomes_zero() {
    let state = site(vec![battery("a"), battery("b")], -4.0, 12.0);
    let result = guard(&[set("a", f64::NAN), set("b", f64::INFINITY)], &[], &state);
    assert_eq!(powers(&result), [0.0, 5.0]);
    assert!(!result[1].narrowed_by.is_empty());
}

fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -30.0..30.0_f64,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, -0.0, 1e-300]),
    ]
}

prop_compose! {
    fn asset(id: &'static str)(
        range in (0.0..8.0_f64, 0.0..8.0_f64),
        power in prop::option::of(wild()),
        ramp in prop::option::of(wild()),
        energy in (prop::option::of(wild()), prop::option::of(wild())),
        feeder in prop::option::of(0..4_usize),
    ) -> AssetState {
        AssetState {
            id: id.into(),
            low: Power::kw(-range.0),
            high: Power::kw(range.1),
            power: power.map(Power::kw),
            ramp: ramp.map(Power::kw),
            deliverable: energy.0.map(Energy::kwh),
            room: energy.1.map(Energy::kwh),
            feeder,
        }
    }
}

prop_compose! {
    fn narrowing()(
        source in prop::sample::select(vec![Source::Mode, Source::GridOperator, Source::Connection, Source::Frequency, Source::People, Source::Market]),
        target in prop::sample::select(vec!["a", "b", "c", "nobody", "", "f0", "f1"]),
        low in prop::option::of(wild()),
        high in prop::option::of(wild()),
    ) -> Narrowing {
        let target = match target {
            "" => Target::Site,
            feeder if feeder.starts_with('f') => Target::Feeder(feeder.into()),
            asset => Target::Asset(asset.into()),
        };
        order(source, target, low, high)
    }
}

/// What people order of an asset moves the others, not the limits.
#[test]
fn an_override_stays_where_it_is_while_others_give_way_and_gives_way_itself_when_they_cannot() {
    let state = site(vec![battery("a"), battery("b")], -10.0, 12.0);
    let ordered = order(Source::People, Target::Asset("a".into()), Some(-4.0), Some(-4.0));
    let result = guard(&[set("a", -4.0), set("b", 0.0)], &[ordered], &state);
    assert_eq!(powers(&result), [-4.0, 2.0]);
    assert!(result[0].narrowed_by.is_empty(), "{result:?}");
    assert_eq!(result[1].narrowed_by[0].source, Source::Connection);
    let alone = site(vec![battery("a")], -10.0, 12.0);
    let ordered = order(Source::People, Target::Asset("a".into()), Some(-4.0), Some(-4.0));
    let result = guard(&[set("a", -4.0)], &[ordered], &alone);
    assert_eq!(powers(&result), [-2.0]);
    assert_eq!(result[0].narrowed_by[0].reason, "import limit 12.0 kW");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No order of people, and no set-point, state or limit with it, leaves the device or an avoidable breach.
    #[test]
    fn no_override_leads_out_of_device_and_connection(
        assets in (asset("a"), asset("b"), asset("c")),
        ordered in (wild(), prop::option::of(wild())),
        asked in wild(),
        net in wild(),
        limit in wild(),
        tick in wild(),
    ) {
        let assets = vec![assets.0, assets.1, assets.2];
        let tick = Hours::new(tick);
        let state =
            GuardState { assets, net: Some(Power::kw(net)), import_limit: Some(Power::kw(limit)), tick, ..GuardState::default() };
        let of = |asset: &str, kw: f64| order(Source::People, Target::Asset(asset.into()), Some(kw), Some(kw));
        let orders: Vec<Narrowing> = std::iter::once(of("a", ordered.0)).chain(ordered.1.map(|kw| of("b", kw))).collect();
        let points = [set("a", ordered.0), set("b", ordered.1.unwrap_or(asked)), set("c", asked)];
        let result = guard(&points, &orders, &state);
        let free = guard(&points, &[], &state);
        let sum = |all: &[Guarded]| all.iter().map(|g| g.power.as_kw()).sum::<f64>();
        for (guarded, asset) in result.iter().zip(&state.assets) {
            prop_assert!(guarded.power.is_finite());
            prop_assert!(asset.low <= guarded.power && guarded.power <= asset.high, "{guarded:?}");
            let changed = (guarded.power - guarded.was).abs().as_kw() > 1e-6;
            prop_assert!(!changed || !guarded.narrowed_by.is_empty(), "{guarded:?}");
        }
        if net.is_finite() && net.abs() < 1e6 && limit.is_finite() && limit.abs() < 1e6 {
            let over = |all: &[Guarded]| (-net - sum(all) - limit.max(0.0)).max(0.0);
            prop_assert!(over(&result) <= over(&free) + 1e-6, "{} over instead of {}", over(&result), over(&free));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_leave_device_limits_or_an_avoidable_breach(
        assets in (asset("a"), asset("b"), asset("c")),
        asked in prop::collection::vec(wild(), 3),
        narrowings in prop::collection::vec(narrowing(), 0..6),
        net in prop::option::of(wild()),
        limits in (prop::option::of(wild()), prop::option::of(wild())),
        tick in wild(),
    ) {
        let assets = vec![assets.0, assets.1, assets.2];
        let state = GuardState {
            assets,
            net: net.map(Power::kw),
            import_limit: limits.0.map(Power::kw),
            export_limit: limits.1.map(Power::kw),
            feeders: Vec::new(),
            tick: Hours::new(tick),
        };
        let points = [set("a", asked[0]), set("b", asked[1]), set("c", asked[2])];
        let result = guard(&points, &narrowings, &state);
        prop_assert_eq!(result.len(), 3);
        for (guarded, asset) in result.iter().zip(&state.assets) {
            prop_assert!(guarded.power.is_finite());
            prop_assert!(asset.low <= guarded.power && guarded.power <= asset.high, "{guarded:?}");
            let changed = (guarded.power - guarded.was).abs().as_kw() > 1e-6;
            prop_assert!(!changed || !guarded.narrowed_by.is_empty(), "{guarded:?}");
        }
        // Physically avoidable: device, state of charge and ramp only, no orders before the connection's.
        let above: Vec<&Narrowing> = narrowings.iter().filter(|n| n.source <= Source::Connection).collect();
        if let (Some(net), true) = (net.filter(|n| n.is_finite() && n.abs() < 1e6), above.is_empty()) {
            let only = GuardState { import_limit: None, export_limit: None, ..state.clone() };
            let reach = |kw: f64| -> f64 {
                let all = [set("a", kw), set("b", kw), set("c", kw)];
                guard(&all, &[], &only).iter().map(|g| g.power.as_kw()).sum()
            };
            let (least, most) = (reach(-1e9), reach(1e9));
            let sum: f64 = result.iter().map(|g| g.power.as_kw()).sum();
            let import = limits.0.filter(|l| l.is_finite() && l.abs() < 1e6).map(|l| l.max(0.0));
            let export = limits.1.filter(|l| l.is_finite() && l.abs() < 1e6).map(|l| l.max(0.0));
            if let Some(limit) = import {
                prop_assert!(-net - sum <= limit + 1e-6 || sum >= most - 1e-6, "import {} over {limit}", -net - sum);
            }
            if let Some(limit) = export {
                prop_assert!(net + sum <= limit + 1e-6 || sum <= least + 1e-6, "export {} over {limit}", net + sum);
            }
        }
    }
}

fn feeder(id: &str, behind: Option<usize>, net: f64, import: f64) -> FeederState {
    let import_limit = Some(Power::kw(import));
    FeederState { id: id.into(), behind, net: Some(Power::kw(net)), import_limit, export_limit: None }
}

fn behind(feeder: usize, asset: AssetState) -> AssetState {
    AssetState { feeder: Some(feeder), ..asset }
}

#[test]
fn the_fuse_of_a_feeder_moves_those_behind_it_alone() {
    let mut state = site(vec![behind(0, battery("a")), battery("b")], -9.0, 20.0);
    state.feeders = vec![feeder("street", None, -8.0, 6.0)];
    let result = guard(&[set("a", -3.0), set("b", -3.0)], &[], &state);
    assert_eq!(powers(&result), [2.0, -3.0]);
    assert_eq!(result[0].narrowed_by[0].reason, "import limit 6.0 kW of feeder street");
    assert!(result[1].narrowed_by.is_empty(), "{result:?}");
}

#[test]
fn inner_and_outer_fuses_hold_together_and_the_operator_goes_before_both() {
    let mut state = site(vec![behind(1, battery("a")), behind(0, battery("b"))], -9.0, 20.0);
    state.feeders = vec![feeder("street", None, -9.0, 8.0), feeder("home", Some(0), -6.0, 5.0)];
    let result = guard(&[set("a", -5.0), set("b", -5.0)], &[], &state);
    let [a, b] = [result[0].power.as_kw(), result[1].power.as_kw()];
    assert!(a >= 1.0 - 1e-9 && (a + b - 1.0).abs() < 1e-9, "{result:?}");
    let less = order(Source::GridOperator, Target::Feeder("home".into()), None, Some(3.0));
    let result = guard(&[set("a", 0.0), set("b", 0.0)], &[less], &state);
    assert_eq!(result[0].power, Power::kw(3.0));
    assert_eq!(result[0].narrowed_by[0].source, Source::GridOperator);
}

prop_compose! {
    fn any_feeder(id: &'static str)(
        behind in prop::option::of(0..3_usize),
        net in prop::option::of(wild()),
        limits in (prop::option::of(wild()), prop::option::of(wild())),
    ) -> FeederState {
        FeederState {
            id: id.into(),
            behind,
            net: net.map(Power::kw),
            import_limit: limits.0.map(Power::kw),
            export_limit: limits.1.map(Power::kw),
        }
    }
}

/// Whether an asset is behind a feeder, by the rule that a feeder can only be behind an earlier one.
fn is_behind(state: &GuardState, asset: &AssetState, feeder: usize) -> bool {
    let mut at = asset.feeder.filter(|place| *place < state.feeders.len());
    while let Some(place) = at {
        if place == feeder {
            return true;
        }
        at = state.feeders[place].behind.filter(|outer| *outer < place);
    }
    false
}

/// By how much each meter, the connection first, is above its limits; none where it cannot be guarded.
fn over(state: &GuardState, powers: &[f64]) -> Vec<Option<f64>> {
    let site = (state.net, state.import_limit, state.export_limit, None);
    let feeders = state.feeders.iter().enumerate();
    let all = feeders.map(|(i, one)| (one.net, one.import_limit, one.export_limit, Some(i)));
    let one = |(net, import, export, place): (Option<Power>, Option<Power>, Option<Power>, Option<usize>)| {
        let net = net.map(Power::as_kw).filter(|net| net.is_finite())?;
        let inside = |asset: &AssetState| place.is_none_or(|place| is_behind(state, asset, place));
        let sum: f64 = state.assets.iter().zip(powers).filter(|(a, _)| inside(a)).map(|(_, p)| p).sum();
        let limit =
            |limit: Option<Power>| limit.map(Power::as_kw).filter(|l| l.is_finite()).map(|l| l.max(0.0));
        let above = |flow: f64, most: Option<f64>| most.map_or(0.0, |most| (flow - most).max(0.0));
        Some(above(-net - sum, limit(import)).max(above(net + sum, limit(export))))
    };
    std::iter::once(site).chain(all).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes in: devices' limits hold, what is less important than the meters makes no breach worse, and where some
    /// powers of the devices hold every meter's limit, these are sent.
    #[test]
    fn every_meter_holds_where_the_devices_can_and_nothing_makes_a_breach_worse(
        assets in (asset("a"), asset("b"), asset("c")),
        feeders in prop::collection::vec(any_feeder("f"), 0..3),
        asked in prop::collection::vec(wild(), 3),
        narrowings in prop::collection::vec(narrowing(), 0..6),
        net in prop::option::of(wild()),
        limits in (prop::option::of(wild()), prop::option::of(wild())),
        tick in wild(),
        tried in prop::collection::vec(0.0..1.0_f64, 3),
    ) {
        let feeders = feeders.into_iter().enumerate().map(|(i, one)| FeederState { id: format!("f{i}"), ..one }).collect();
        let state = GuardState {
            assets: vec![assets.0, assets.1, assets.2],
            net: net.map(Power::kw),
            import_limit: limits.0.map(Power::kw),
            export_limit: limits.1.map(Power::kw),
            feeders,
            tick: Hours::new(tick),
        };
        let points = [set("a", asked[0]), set("b", asked[1]), set("c", asked[2])];
        let result = guard(&points, &narrowings, &state);
        for (guarded, asset) in result.iter().zip(&state.assets) {
            prop_assert!(guarded.power.is_finite());
            prop_assert!(asset.low <= guarded.power && guarded.power <= asset.high, "{guarded:?}");
            let changed = (guarded.power - guarded.was).abs().as_kw() > 1e-6;
            prop_assert!(!changed || !guarded.narrowed_by.is_empty(), "{guarded:?}");
        }
        let first: Vec<Narrowing> = narrowings.iter().filter(|n| n.source <= Source::Connection).cloned().collect();
        let without = over(&state, &powers(&guard(&points, &first, &state)));
        for (with, without) in over(&state, &powers(&result)).into_iter().zip(without) {
            prop_assert!(with.unwrap_or(0.0) <= without.unwrap_or(0.0) + 1e-6, "{with:?} instead of {without:?}");
        }
        // Powers that the devices can do by themselves; if they hold all limits, so does the guard.
        let only = GuardState { import_limit: None, export_limit: None, feeders: Vec::new(), ..state.clone() };
        let ends = [-1e9, 1e9].map(|kw| powers(&guard(&[set("a", kw), set("b", kw), set("c", kw)], &[], &only)));
        let some: Vec<f64> = (0..3).map(|i| ends[0][i] + tried[i] * (ends[1][i] - ends[0][i])).collect();
        let all_hold = |powers: &[f64]| over(&state, powers).into_iter().flatten().all(|over| over <= 1e-6);
        if first.is_empty() && all_hold(&some) {
            prop_assert!(all_hold(&powers(&result)), "{some:?} holds, {result:?} does not");
        }
    }
}
