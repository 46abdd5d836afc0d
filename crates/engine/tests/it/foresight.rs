//! Forecasts are kept with when they were known, compared with what came, across restarts, and drift is told.

use serde_json::Value;
use sos_engine::apply::{Applying, apply};
use sos_engine::resources::conditions;
use sos_engine::site::drift::DRIFTING;
use sos_model::ConditionStatus;
use sos_store::{EventFilter, EventType, Store};

use crate::home::{TICK, epoch};
use crate::kill::{Rig, SITE};

/// Ticks of a day.
const DAY: i32 = 96;

/// The resources of the site, as they are when it was declared.
fn declare(store: &Store) {
    let declared = sos_model::load_checked(&[("site.yaml".into(), SITE.as_bytes().to_vec())], &[]).unwrap();
    let how = Applying {
        manager: "dir",
        who: "test",
        why: None,
        force: false,
        dry_run: false,
        prune: false,
        now: epoch(),
    };
    apply(store, &declared, &how).unwrap();
}

/// What was told of drift: kind, name, whether it began, message.
fn told(store: &Store) -> Vec<(String, String, bool, String)> {
    let events = store.list_events(&EventFilter::default()).unwrap().into_iter().map(|record| record.event);
    let drift = events.filter(|event| event.reason.starts_with("Forecast"));
    drift.map(|e| (e.kind, e.name, e.event_type == EventType::Warning, e.message)).collect()
}

fn drifting(store: &Store, name: &str) -> Option<ConditionStatus> {
    let asset = store.get("Asset", name).unwrap().unwrap();
    conditions(&asset.status).into_iter().find(|one| one.kind == DRIFTING).map(|one| one.status)
}

#[test]
fn a_load_that_no_longer_fits_its_forecasts_is_told_once_and_others_are_not() {
    let rig = Rig::new();
    declare(&rig.store());
    rig.home.lock().unwrap().restless_from = Some(i64::from(24 * DAY));
    rig.run(24 * DAY, None).unwrap();
    assert_eq!((told(&rig.store()), drifting(&rig.store(), "load")), (Vec::new(), None));
    rig.run(30 * DAY, None).unwrap();
    let events = told(&rig.store());
    assert_eq!(events.len(), 1, "{events:?}");
    let (kind, name, began, message) = &events[0];
    assert_eq!((kind.as_str(), name.as_str(), began), ("Asset", "load", &true));
    let words = message.starts_with("the consumption of load differs from its forecasts ")
        && message.ends_with(" times as much as usual");
    assert!(words, "{message}");
    assert_eq!(drifting(&rig.store(), "load"), Some(ConditionStatus::True));
    assert_eq!(drifting(&rig.store(), "solar"), None);
    // Going on does not tell it again.
    rig.run(30 * DAY + 8, None).unwrap();
    assert_eq!(told(&rig.store()).len(), 1);
}

#[test]
fn stored_forecasts_were_known_before_their_time_and_follow_the_sign_rule() {
    let rig = Rig::new();
    rig.run(2 * DAY, None).unwrap();
    let store = rig.store();
    let series = |asset: &str, statistic: &str| {
        let all = store.list_series().unwrap().into_iter().filter(|one| one.name == "asset_forecast_kw");
        let label = |one: &sos_store::SeriesInfo, key: &str, value: &str| {
            one.labels.get(key).is_some_and(|l| l == value)
        };
        let mut found = all.filter(|one| label(one, "asset", asset) && label(one, "statistic", statistic));
        found.next().unwrap_or_else(|| panic!("{asset} {statistic}")).id
    };
    let all = epoch()..epoch() + TICK * (4 * DAY);
    for (asset, sign) in [("load", -1.0), ("solar", 1.0)] {
        let [mean, low, high] = ["mean", "q0.1", "q0.9"]
            .map(|statistic| store.versions(series(asset, statistic), all.clone()).unwrap());
        // One an hour, each for 24 hours, from the first tick to the last.
        assert_eq!((mean.len(), low.len(), high.len()), (49 * 24, 49 * 24, 49 * 24), "{asset}");
        assert!(mean.iter().all(|point| point.known_at < point.time), "{asset}");
        assert!(mean.iter().all(|point| point.value.unwrap() * sign >= 0.0), "{asset}");
        assert!(
            low.iter().zip(&high).all(|(l, h)| l.time == h.time && l.value.unwrap() <= h.value.unwrap()),
            "{asset}"
        );
    }
    // What was expected at noon of the first day, as it was known then.
    let noon = epoch() + TICK * 48;
    let then = store.range(series("load", "mean"), noon..epoch() + TICK * (4 * DAY), Some(noon)).unwrap();
    assert!(
        then.iter().filter(|point| point.time > noon).count() == 24
            && then.iter().all(|p| p.known_at <= noon)
    );
}

/// Pairs of forecast and outcome per horizon, recent and long, of the load.
fn pairs(store: &Store) -> Vec<f64> {
    let kept = store.get_kv("site/home/forecasts").unwrap().unwrap();
    let kept: Value = serde_json::from_str(kept.as_str().unwrap()).unwrap();
    let sums = kept["load"]["sums"].as_array().unwrap();
    sums.iter()
        .flat_map(|both| both.as_array().unwrap())
        .map(|sums| sums["pairs"].as_f64().unwrap())
        .collect()
}

#[test]
fn a_site_that_is_stopped_again_and_again_compares_each_value_once() {
    let (whole, stopped) = (Rig::new(), Rig::new());
    whole.run(2 * DAY, None).unwrap();
    for ticks in [3, 10, 11, 61, 96, 98, 150, 2 * DAY] {
        stopped.run(ticks, None).unwrap();
    }
    let (whole, stopped) = (pairs(&whole.store()), pairs(&stopped.store()));
    assert!(
        whole.iter().zip(&stopped).all(|(a, b)| (a - b).abs() < 1e-6 && *a > 40.0),
        "{whole:?} {stopped:?}"
    );
}

/// Mean absolute errors of the load by horizon, the nearest first: of the profile and of all members.
fn errors(store: &Store) -> Vec<(f64, f64)> {
    let kept = store.get_kv("site/home/rivals").unwrap().unwrap();
    let kept: Value = serde_json::from_str(kept.as_str().unwrap()).unwrap();
    let mae = |family: usize, horizon: usize| {
        let sums = &kept["load"][family]["sums"][horizon][0];
        sums["error"].as_f64().unwrap() / sums["pairs"].as_f64().unwrap()
    };
    (0..4).map(|horizon| (mae(0, horizon), mae(1, horizon))).collect()
}

#[test]
fn all_members_are_judged_beside_the_loop_and_make_nothing_worse() {
    let run = |members: &str| {
        let mut rig = Rig::new();
        rig.site = rig.site.replace("members: profile", members);
        // Stopped in between: what was learned of both families goes on.
        rig.run(20 * DAY, None).unwrap();
        rig.run(24 * DAY, None).unwrap();
        rig
    };
    let all = run("members: all");
    let errors = errors(&all.store());
    assert!(errors.iter().all(|(profile, all)| profile.is_finite() && all.is_finite()), "{errors:?}");
    let day_ahead = |rig: &Rig| {
        let kept = rig.store().get_kv("site/home/forecasts").unwrap().unwrap();
        let kept: Value = serde_json::from_str(kept.as_str().unwrap()).unwrap();
        let sums = &kept["load"]["sums"][3][0];
        sums["error"].as_f64().unwrap() / sums["pairs"].as_f64().unwrap()
    };
    let (with, without) = (day_ahead(&all), day_ahead(&run("members: profile")));
    assert!(with <= without * 1.001, "{with} {without}");
}
