//! The engine's picture of a site in the words of the wire.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_api::Problem;
use sos_api::wire::{
    ActualPoint, AssetLive, CarbonCapLive, ChargeLive, Compared, ComparedCount, Connection, FeederLive,
    PeriodTotals, PlanLive, PlanPoint, PlanStep, ReportPeriod, ServiceLive, SiteChart, SiteLive, SiteReport,
    Totals, WorkLive, wire_time,
};
use sos_engine::live::{self, AssetState, PlanState, PlanStepState, SiteState};
use sos_engine::platform::Platform as Engine;
use sos_engine::services::board::{Board, ServiceView};
use sos_engine::site::periods::{Unit, periods};
use sos_units::{Power, Reading};

use super::store_problem;

/// A site at its latest tick, with the services as they are now.
pub(super) fn site(engine: &Engine, name: &str) -> Option<SiteLive> {
    let state = engine.site(name)?;
    Some(site_live(&state, &engine.board()))
}

fn site_live(state: &SiteState, board: &Board) -> SiteLive {
    SiteLive {
        site: state.site.clone(),
        time: wire_time(state.time, &state.zone),
        tick: state.tick,
        step_seconds: seconds(state.step),
        speed: state.speed.to_string(),
        currency: state.currency.clone(),
        mode_note: mode_note(&state.assets),
        connection: Connection {
            island: state.island,
            ..connection(state.grid, (state.import_limit, state.export_limit))
        },
        feeders: state.feeders.iter().map(feeder).collect(),
        charges: state.charges.iter().map(charge).collect(),
        carbon_cap: state.carbon_cap.map(|(most_kg, so_far_kg)| CarbonCapLive { most_kg, so_far_kg }),
        price_per_kwh: state.price.ok().map(|price| price.as_per_kwh()),
        carbon_kg_per_kwh: state.carbon.ok().map(|carbon| carbon.as_kg_per_kwh()),
        totals: totals(&state.totals),
        solar_kw: kw(state.solar),
        load_kw: kw(state.load),
        battery_kw: kw(state.battery),
        soc: state.soc.ok().map(|soc| soc.as_fraction()),
        work: state.waiting.iter().map(|work| work_live(work, &state.zone)).collect(),
        assets: state.assets.iter().map(asset).collect(),
        plan: state.plan.as_ref().map(|plan| plan_live(state, plan)),
        services: services(board),
    }
}

/// A rounded zero has no sign.
fn plain(value: f64) -> f64 {
    value + 0.0
}

fn kw(reading: Reading<Power>) -> Option<f64> {
    reading.ok().map(|power| plain(power.as_kw()))
}

fn seconds(span: SignedDuration) -> u64 {
    span.as_secs().max(1).unsigned_abs()
}

/// What people must know when nothing of a site is commanded.
fn mode_note(assets: &[AssetState]) -> Option<String> {
    let is = |mode: &str| assets.iter().any(|asset| asset.mode == mode);
    if is("control") || assets.is_empty() {
        return None;
    }
    let note = if is("advise") {
        "Advice only: plans are made and shown, nothing is written to a device."
    } else {
        "Observing only: nothing is written to a device."
    };
    Some(note.to_owned())
}

/// A flow, import positive, with its limits on import and on export.
fn connection(power: Reading<Power>, limits: (Option<Power>, Option<Power>)) -> Connection {
    let power_kw = kw(power);
    let limit = |power: Option<Power>| power.map(Power::as_kw);
    let (import_limit_kw, export_limit_kw) = (limit(limits.0), limit(limits.1));
    let over = |used: f64, limit: Option<f64>| limit.map_or(0.0, |limit| (used - limit).max(0.0));
    let over_limit_kw =
        power_kw.map_or(0.0, |power| over(power, import_limit_kw).max(over(-power, export_limit_kw)));
    Connection { island: false, power_kw, import_limit_kw, export_limit_kw, over_limit_kw }
}

fn feeder(feeder: &live::FeederState) -> FeederLive {
    let limits = (feeder.import_limit, feeder.export_limit);
    FeederLive { name: feeder.name.clone(), connection: connection(feeder.power, limits) }
}

fn charge(charge: &live::ChargeState) -> ChargeLive {
    ChargeLive {
        name: charge.name.clone(),
        feeder: charge.feeder.clone(),
        unit: charge.unit.to_owned(),
        so_far: compared(charge.so_far),
        cost: compared(charge.cost),
    }
}

fn work_live(work: &live::WaitingState, zone: &TimeZone) -> WorkLive {
    WorkLive {
        name: work.name.clone(),
        workflow: work.workflow.clone(),
        running: work.running,
        planned: work.planned.map(|time| wire_time(time, zone)),
        deadline: wire_time(work.deadline, zone),
        energy_kwh: work.energy.as_kwh(),
        left_kwh: work.left.as_kwh(),
        saves: work.saves.map(|(money, _)| plain(money)),
        saves_kg: work.saves.map(|(_, kg)| plain(kg)),
        because: work.because.clone(),
    }
}

fn compared(c: live::Compared) -> Compared {
    Compared { actual: plain(c.actual), baseline: plain(c.baseline) }
}

fn totals(totals: &live::Totals) -> Totals {
    Totals {
        cost: compared(totals.cost),
        emissions_kg: compared(totals.emissions_kg),
        objective: compared(totals.objective),
        saving: plain(totals.objective.baseline - totals.objective.actual),
        import_kwh: totals.import.as_kwh(),
        export_kwh: totals.export.as_kwh(),
        shared_kwh: totals.shared.as_kwh(),
        self_consumption: totals.self_consumption,
        limit_violations: ComparedCount {
            actual: totals.limit_violations.0,
            baseline: totals.limit_violations.1,
        },
    }
}

fn asset(asset: &AssetState) -> AssetLive {
    let missing = asset.unavailable();
    AssetLive {
        name: asset.name.clone(),
        kind: asset.kind.to_owned(),
        mode: asset.mode.clone(),
        group: asset.group.clone(),
        power_kw: kw(asset.power),
        soc: asset.soc.and_then(|soc| soc.ok()).map(|soc| soc.as_fraction()),
        setpoint_kw: asset.setpoint.map(|power| plain(power.as_kw())),
        available: missing.is_none(),
        reason: asset.reason.clone(),
        missing: missing.map(|why| why.to_string()),
    }
}

/// The steps of a plan that are not over, each with its start (not before now) and its length.
fn ahead<'a>(
    state: &'a SiteState,
    plan: &'a PlanState,
) -> impl Iterator<Item = (Timestamp, SignedDuration, &'a PlanStepState)> {
    let starts: Vec<Timestamp> = plan.steps.iter().map(|step| step.time).collect();
    // The last step is as long as the one before; a single step as long as a tick.
    let last = starts.windows(2).last().map_or(state.step, |pair| pair[1].duration_since(pair[0]));
    plan.steps.iter().enumerate().filter_map(move |(i, step)| {
        let end = starts.get(i + 1).copied().unwrap_or(step.time + last);
        let start = step.time.max(state.time);
        (end > start).then(|| (start, end.duration_since(start), step))
    })
}

fn plan_live(state: &SiteState, plan: &PlanState) -> PlanLive {
    let kinds: BTreeMap<&str, &str> = state.assets.iter().map(|a| (a.name.as_str(), a.kind)).collect();
    let steps = ahead(state, plan).map(|(start, _, step)| PlanStep {
        time: wire_time(start, &state.zone),
        grid_kw: plain(step.grid.as_kw()),
        soc: step.soc.map(|soc| soc.as_fraction()),
        price_per_kwh: Some(step.price.as_per_kwh()),
        because: because(step, &kinds),
        binding_limits: step.binding_limits.clone(),
    });
    PlanLive {
        made_at: wire_time(plan.made_at, &state.zone),
        source: plan.source.clone(),
        steps: steps.collect(),
    }
}

/// The reasons of a step as one text: batteries that act alike are told once, others by name.
fn because(step: &PlanStepState, kinds: &BTreeMap<&str, &str>) -> String {
    let mut batteries: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut others = Vec::new();
    for (name, why) in step.because.iter().filter(|(_, why)| !why.is_empty()) {
        if kinds.get(name.as_str()) != Some(&"battery") {
            others.push(format!("{name}: {why}"));
            continue;
        }
        match batteries.iter_mut().find(|(known, _)| known == why) {
            Some((_, names)) => names.push(name),
            None => batteries.push((why, vec![name])),
        }
    }
    // What most of them do comes first.
    batteries.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let alike = batteries.len() == 1;
    let told = batteries.into_iter().map(|(why, names)| match names.as_slice() {
        _ if alike => why.to_owned(),
        [name] => format!("{name}: {why}"),
        names => format!("{} batteries: {why}", names.len()),
    });
    told.chain(others).collect::<Vec<_>>().join("; ")
}

fn services(board: &Board) -> Vec<ServiceLive> {
    board.services.iter().map(|(name, view)| service(name, view)).collect()
}

fn service(name: &str, view: &ServiceView) -> ServiceLive {
    ServiceLive {
        name: name.to_owned(),
        phase: phase(view),
        ready: view.status.ready,
        replicas: view.status.replicas,
        restarts: u64::from(view.status.restarts),
        message: view.message.clone(),
    }
}

/// The planner's one word for a service.
pub(super) fn phase(view: &ServiceView) -> String {
    format!("{:?}", view.status.phase)
}

/// The sums of a site's periods.
pub(super) fn report(engine: &Engine, name: &str, period: ReportPeriod) -> Result<SiteReport, Problem> {
    let model = engine.site_model(name);
    let model = model.ok_or_else(|| Problem::not_found(format!("there is no site `{name}`")))?;
    let unit = match period {
        ReportPeriod::Day => Unit::Day,
        ReportPeriod::Week => Unit::Week,
        ReportPeriod::Month => Unit::Month,
        ReportPeriod::Year => Unit::Year,
    };
    let row = |row: sos_engine::site::periods::PeriodTotals| PeriodTotals {
        first: row.first.to_string(),
        last: row.last.to_string(),
        totals: totals(&row.totals),
    };
    let found = periods(engine.store(), &model, unit).map_err(store_problem)?;
    let rows = found.into_iter().map(row).collect();
    Ok(SiteReport { site: name.to_owned(), currency: model.currency.clone(), periods: rows })
}

/// Plan against actual in a period.
pub(super) fn chart(
    engine: &Engine,
    name: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<SiteChart, Problem> {
    let found = engine.site_model(name).zip(engine.site(name));
    let (model, state) = found.ok_or_else(|| Problem::not_found(format!("there is no site `{name}`")))?;
    // Measured steps end with the latest tick; the rest of the period is the plan's.
    let measured_to = to.min(state.time);
    let points = match from < measured_to {
        true => {
            sos_engine::site::view::chart(engine.store(), &model, from, measured_to).map_err(store_problem)?
        }
        false => Vec::new(),
    };
    let power = |power: Option<Power>| power.map(|power| plain(power.as_kw()));
    let actual = points.iter().map(|point| ActualPoint {
        time: wire_time(point.time, &state.zone),
        grid_kw: power(point.grid),
        planned_grid_kw: power(point.planned_grid),
        solar_kw: power(point.solar),
        load_kw: power(point.load),
        soc: point.soc.map(|soc| soc.as_fraction()),
        price_per_kwh: point.price.map(|price| price.as_per_kwh()),
    });
    let steps = state.plan.iter().flat_map(|plan| ahead(&state, plan));
    let planned = steps.filter(|(start, _, _)| from <= *start && *start < to);
    let plan = planned.map(|(start, length, step)| PlanPoint {
        time: wire_time(start, &state.zone),
        seconds: seconds(length),
        grid_kw: plain(step.grid.as_kw()),
        soc: step.soc.map(|soc| soc.as_fraction()),
        price_per_kwh: Some(step.price.as_per_kwh()),
    });
    Ok(SiteChart {
        site: name.to_owned(),
        step_seconds: seconds(state.step),
        actual: actual.collect(),
        plan: plan.collect(),
    })
}

#[cfg(test)]
mod tests {
    use sos_units::Price;

    use super::*;

    fn step(reasons: &[(&str, &str)]) -> PlanStepState {
        PlanStepState {
            feeders: BTreeMap::new(),
            time: Timestamp::UNIX_EPOCH,
            grid: Power::ZERO,
            soc: None,
            price: Price::ZERO,
            power: BTreeMap::new(),
            because: reasons.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            binding_limits: Vec::new(),
        }
    }

    #[test]
    fn batteries_that_act_alike_share_one_reason() {
        let kinds = BTreeMap::from([("a", "battery"), ("b", "battery"), ("c", "battery")]);
        let text = |reasons: &[(&str, &str)]| because(&step(reasons), &kinds);
        assert_eq!(text(&[("a", "surplus"), ("b", "surplus")]), "surplus");
        assert_eq!(
            text(&[("a", "full"), ("b", "surplus"), ("c", "surplus"), ("job", "cheapest hours")]),
            "2 batteries: surplus; a: full; job: cheapest hours"
        );
        assert_eq!(text(&[("a", ""), ("job", "later")]), "job: later");
    }
}
