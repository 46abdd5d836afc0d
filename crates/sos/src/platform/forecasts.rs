//! The engine's forecasts in the words of the wire, as resources and as metrics.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sos_api::wire::{
    ForecastAccuracy, ForecastQuantile, ForecastStep, MeasuredStep, SeriesForecast, SiteForecasts, wire_time,
};
use sos_api::{Exposition, Problem};
use sos_engine::live::{ForecastState, Score, SiteState};
use sos_engine::platform::Platform as Engine;
use sos_model::{API_VERSION, ReadOnlyKind};

/// How much of a forecast is shown.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What is expected of every series of a site.
pub(super) fn of_site(engine: &Engine, name: &str) -> Result<SiteForecasts, Problem> {
    let state = engine.site(name);
    let state = state.ok_or_else(|| Problem::not_found(format!("there is no site `{name}`")))?;
    Ok(SiteForecasts {
        site: name.to_owned(),
        time: wire_time(state.time, &state.zone),
        series: state.forecasts.iter().map(|one| series(&state, one)).collect(),
    })
}

fn series(state: &SiteState, one: &ForecastState) -> SeriesForecast {
    let time = |time: Timestamp| wire_time(time, &state.zone);
    let forecast = &one.forecast;
    // From a magnitude to the sign rule, in millionths; a rounded zero has no sign.
    let signed = |value: f64| (value * one.sign * 1e6).round() / 1e6 + 0.0;
    let end = forecast.issued_at + AHEAD;
    let shown = (0..forecast.mean.len()).take_while(|at| forecast.grid.at(*at) < end);
    let steps = shown.map(|at| {
        let quantile = |(q, values): &(f64, Vec<f64>)| {
            let q = if one.sign < 0.0 { ((1.0 - q) * 1e6).round() / 1e6 } else { *q };
            ForecastQuantile { q, value: signed(values[at]) }
        };
        let mut quantiles: Vec<ForecastQuantile> = forecast.quantiles.iter().map(quantile).collect();
        quantiles.sort_by(|a, b| a.q.total_cmp(&b.q));
        ForecastStep { valid_at: time(forecast.grid.at(at)), mean: signed(forecast.mean[at]), quantiles }
    });
    let measured =
        |(start, value): &(Timestamp, f64)| MeasuredStep { time: time(*start), value: signed(*value) };
    SeriesForecast {
        name: one.series.clone(),
        asset: one.asset.clone(),
        kind: one.kind.to_owned(),
        unit: one.unit.to_owned(),
        step_seconds: forecast.grid.step().as_secs().max(1).unsigned_abs(),
        method: forecast.method.to_owned(),
        because: forecast.because.clone(),
        issued_at: time(forecast.issued_at),
        steps: steps.collect(),
        actual: one.actual.iter().map(measured).collect(),
        accuracy: one.scores.iter().map(accuracy).collect(),
        error_by_usual: one.worse,
        drifting: one.drifting,
    }
}

fn accuracy(score: &Score) -> ForecastAccuracy {
    ForecastAccuracy {
        horizon: score.horizon.text().to_owned(),
        pairs: score.pairs,
        mae: score.mae,
        mase: score.mase,
        pinball: score.pinball,
        coverage: score.coverage,
    }
}

/// Every series of every site as a resource of the kind Forecast.
pub(super) fn objects(engine: &Engine) -> Result<Vec<Value>, Problem> {
    let mut objects = Vec::new();
    // A site that has had no tick yet forecasts nothing.
    for site in engine.site_names().into_iter().filter(|name| engine.site(name).is_some()) {
        objects.extend(of_site(engine, &site)?.series.iter().map(|one| object(&site, one)));
    }
    Ok(objects)
}

fn object(site: &str, one: &SeriesForecast) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": ReadOnlyKind::Forecast.name(),
        "metadata": { "name": one.name },
        "spec": { "site": site, "asset": one.asset, "type": one.kind, "unit": one.unit },
        "status": {
            "issuedAt": one.issued_at,
            "method": one.method,
            "because": one.because,
            "drifting": one.drifting,
            "errorByUsual": one.error_by_usual,
            "accuracy": one.accuracy,
            "steps": one.steps,
        },
    })
}

/// How good the forecasts of the last weeks were.
pub(super) fn metrics(out: &mut Exposition, sites: &[&SiteState]) {
    type Get = fn(&Score) -> Option<f64>;
    let families: [(&str, &str, Get); 4] = [
        (
            "sos_forecast_mae",
            "mean absolute error of the forecasts of the last weeks, in the unit of the series (kW, kgCO2/kWh)",
            |s| Some(s.mae),
        ),
        (
            "sos_forecast_mase",
            "mean absolute error by that of the same time yesterday, below 1 is better",
            |s| s.mase,
        ),
        ("sos_forecast_pinball", "mean loss over the quantiles, in the unit of the series", |s| s.pinball),
        ("sos_forecast_coverage", "share of outcomes between the quantiles 0.1 and 0.9, 0 to 1", |s| {
            s.coverage
        }),
    ];
    for (name, help, get) in families {
        out.gauge(name, help);
        for (site, one) in each(sites) {
            for score in &one.scores {
                if let Some(value) = get(score) {
                    let labels = [("site", site), ("series", &one.series), ("horizon", score.horizon.text())];
                    out.sample(&labels, value);
                }
            }
        }
    }
    out.gauge("sos_forecast_drifting", "1 while the forecasts of a series are far worse than usual");
    for (site, one) in each(sites) {
        out.sample(&[("site", site), ("series", &one.series)], f64::from(u8::from(one.drifting)));
    }
}

fn each<'a>(sites: &'a [&SiteState]) -> impl Iterator<Item = (&'a str, &'a ForecastState)> {
    sites.iter().flat_map(|site| site.forecasts.iter().map(|one| (site.site.as_str(), one)))
}
