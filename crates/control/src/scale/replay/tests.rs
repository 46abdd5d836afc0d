//! Replays small enough to be checked by hand.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::scale::ScaleMode;

fn policy(mode: ScaleMode) -> ReplayPolicy {
    let start = Timestamp::from_second(0).unwrap();
    serde_json::from_value(serde_json::json!({
        "capacity": 20.0,
        "startUpSeconds": 30,
        "watts": { "idle": 50.0, "busy": 150.0 },
        "carbon": [{ "time": start, "gramsPerKwh": 400.0 }],
        "mode": mode,
    }))
    .unwrap()
}

fn trace(requests: &[f64]) -> Trace {
    Trace {
        start: Timestamp::from_second(0).unwrap(),
        step: SignedDuration::from_mins(1),
        requests: requests.iter().copied().map(Some).collect(),
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn a_jump_is_seen_at_the_next_pass_and_served_a_start_up_later() {
    // 10 requests/s are 50 % of one replica, 40 requests/s need two: seen 15 s in, ready 30 s after that.
    let reactive = ReplayPolicy { target_utilization: Some(100), ..policy(ScaleMode::Reactive) };
    let report = replay(&reactive, &trace(&[600.0, 2400.0]), &mut NoForecast).unwrap();
    close(report.slo_violation_seconds, 45.0);
    close(report.unserved_requests, 45.0 * 20.0);
    close(report.replica_hours, (75.0 + 45.0 * 2.0) / 3600.0);
    assert_eq!((report.steps[1].ready, report.steps[1].replicas), (1, 2));
    let busy = 60.0 * 10.0 + 45.0 * 20.0 + 15.0 * 40.0;
    let energy = (50.0 * (75.0 + 90.0) + 100.0 * busy / 20.0) / 3.6e6;
    close(report.energy_kwh, energy);
    close(report.emissions_kg, energy * 0.4);
}

#[test]
fn a_forecast_that_knows_leaves_no_violation() {
    struct Knows;
    impl DemandForecaster for Knows {
        fn forecast(&mut self, _: &PastDemand<'_>, until: Timestamp, quantiles: &[f64]) -> Option<Vec<f64>> {
            Some(vec![if until > Timestamp::from_second(60).unwrap() { 40.0 } else { 10.0 }; quantiles.len()])
        }
    }
    let report = replay(&policy(ScaleMode::Predictive), &trace(&[600.0, 2400.0]), &mut Knows).unwrap();
    close(report.slo_violation_seconds, 0.0);
    assert_eq!(
        report.changes[0].because,
        "from 1 replica to 2: with a chance of 99 % the demand of the next 60 s stays below 40.0 requests/s, which 2 can serve; the metrics ask for 1."
    );
}

#[test]
fn a_gap_is_neither_demand_nor_a_violation() {
    let mut gap = trace(&[600.0, 600.0, 600.0]);
    gap.requests[1] = None;
    let report = replay(&policy(ScaleMode::Reactive), &gap, &mut NoForecast).unwrap();
    assert_eq!(report.missing_steps, 1);
    close(report.demanded_requests, 1200.0);
    close(report.slo_violation_seconds, 0.0);
}

#[test]
fn what_does_not_hold_together_is_refused_by_name() {
    let refused =
        |policy: ReplayPolicy| replay(&policy, &trace(&[1.0, 1.0]), &mut NoForecast).unwrap_err().to_string();
    let sound = policy(ScaleMode::Reactive);
    assert_eq!(
        refused(ReplayPolicy { capacity: 0.0, ..sound.clone() }),
        "policy, capacity: expected requests/s above 0"
    );
    let late = CarbonValue { time: Timestamp::from_second(1).unwrap(), grams_per_kwh: 1.0 };
    assert_eq!(
        refused(ReplayPolicy { carbon: vec![late], ..sound }),
        "policy, carbon[0].time: expected a time at or before the beginning of the trace"
    );
}
