//! The whole year of the example: what it has to save, keep and stay below.

use std::time::Duration;

use serde_json::Value;

use crate::support::Rig;

/// Steps of the year's data.
const YEAR: i64 = 365 * 96;
/// Longer than a year takes on a busy machine; how fast it has to be is measured by `cargo xtask bench loop`.
const LONGEST: Duration = Duration::from_secs(1800);

#[test]
#[ignore = "slow: a year of the example takes some minutes"]
fn a_year_saves_keeps_its_limits_and_meets_its_deadlines() {
    let rig = Rig::new();
    rig.up(YEAR, "r.json", &[]).finish_within(LONGEST);
    let report = rig.report("r.json");
    let number = |pointer: &str| {
        report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {report:#}"))
    };
    let site = |name: &str| number(&format!("/sites/0/{name}"));
    assert_eq!((site("steps"), rig.ledger().steps), (35_040.0, 35_040));
    assert_eq!(rig.ledger().imbalance().as_watt_seconds(), 0);
    assert_eq!((site("estimated_values"), site("fallbacks")), (0.0, 0.0));

    let objective = |case: &str| site(&format!("objective/{case}"));
    let saved = objective("baseline") - objective("actual");
    assert!(saved >= 0.70 * (objective("baseline") - objective("perfect")), "saved {saved}: {report:#}");

    let violations = |case: &str| site(&format!("limit_violations/{case}"));
    assert!(violations("actual") <= 0.05 * violations("baseline"), "{report:#}");
    let told = report["sites"][0]["violations"].as_array().unwrap();
    assert_eq!(told.len() as f64, violations("actual"));
    assert!(
        told.iter().all(|one| one["reason"].as_str().is_some_and(|reason| !reason.is_empty())),
        "{told:?}"
    );

    let services = report["services"].as_array().unwrap();
    let night = services.iter().find(|service| service["name"] == "night-batch").unwrap();
    let deadlines = &night["deadlines"];
    assert_eq!((deadlines["met"].as_u64(), deadlines["missed"].as_u64()), (Some(365), Some(0)), "{night}");
    assert!(number("/timings/rss_mb") < 80.0, "{} MB", number("/timings/rss_mb"));
}
