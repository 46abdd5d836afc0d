//! Keeps `web/src/contract.ts` equal to [`crate::wire`].

use ts_rs::{Config, TS};

use crate::{Role, wire::*};

fn generated() -> String {
    let config = Config::default();
    let mut text = String::from(
        "// Generated from crates/api/src/wire.rs and wire/. Do not edit; after a change there run\n\
         // SOS_WRITE_CONTRACT=1 cargo test --release -p sos-api contract\n",
    );
    let mut add = |declaration: String| {
        text.push_str("\nexport ");
        text.push_str(&declaration);
        text.push('\n');
    };
    add(Compared::decl(&config));
    add(ComparedCount::decl(&config));
    add(Connection::decl(&config));
    add(FeederLive::decl(&config));
    add(ChargeLive::decl(&config));
    add(CarbonCapLive::decl(&config));
    add(Totals::decl(&config));
    add(AssetLive::decl(&config));
    add(PlanStep::decl(&config));
    add(PlanLive::decl(&config));
    add(ServiceLive::decl(&config));
    add(WorkLive::decl(&config));
    add(SiteLive::decl(&config));
    add(ActualPoint::decl(&config));
    add(PlanPoint::decl(&config));
    add(SiteChart::decl(&config));
    add(SiteForecasts::decl(&config));
    add(SeriesForecast::decl(&config));
    add(ForecastStep::decl(&config));
    add(ForecastQuantile::decl(&config));
    add(MeasuredStep::decl(&config));
    add(ForecastAccuracy::decl(&config));
    add(EventRecord::decl(&config));
    add(SiteSummary::decl(&config));
    add(Role::decl(&config));
    add(Session::decl(&config));
    add(Alarms::decl(&config));
    add(Alarm::decl(&config));
    add(AlarmMute::decl(&config));
    add(AlarmTold::decl(&config));
    add(AcknowledgeRequest::decl(&config));
    add(SilenceRequest::decl(&config));
    add(SilenceRecord::decl(&config));
    add(NotificationRecord::decl(&config));
    add(NotifiedRecord::decl(&config));
    text
}

#[test]
fn the_dashboards_contract_is_the_servers() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/src/contract.ts");
    let generated = generated();
    if std::env::var_os("SOS_WRITE_CONTRACT").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(known, generated, "run SOS_WRITE_CONTRACT=1 cargo test --release -p sos-api contract");
}
