//! The report of a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use sos_engine::clock::Speed;
use sos_engine::platform::{Platform, Start};
use sos_engine::report::{
    Cases, CostReport, Deadlines, FeederReport, OwnUse, Report, ServiceReport, SiteReport, Timings,
    ViolationCount,
};
use sos_engine::site::ledger::{Case, FeederSums};
use sos_engine::site::model::SiteFeeder;
use sos_engine::site::reference::{PerfectCase, Period};
use sos_engine::site::task::{Outcome as SiteOutcome, SiteError};
use sos_engine::time_text;
use sos_store::{Resource, Selector, StoreError};
use sos_units::{Energy, Hours};

use super::{Args, Ended};
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Writes the report when one is asked for. A run that Ctrl-C stopped gets one up to the step it had reached; one that
/// SIGTERM stopped goes on with the next start and gets none yet. Either is told.
pub(super) fn report(
    args: &Args,
    start: &Start,
    platform: &Platform,
    outcomes: &mut [Result<SiteOutcome, SiteError>],
    (started, ended): (Instant, Ended),
) -> Outcome {
    let Some(path) = &args.report else { return Ok(()) };
    let finished = outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(|site| site.finished));
    if ended == Ended::Terminated && !finished {
        output::note(format!(
            "no report was written to {}: the run was stopped before its end and goes on with the next `sos up` on this \
             data directory",
            path.display()
        ));
        return Ok(());
    }
    let mut sites: Vec<&mut SiteOutcome> =
        outcomes.iter_mut().flatten().filter(|site| site.from < site.to).collect();
    // What devices never told of a run that was stopped is estimated, as it is at the end of one that was not.
    for site in sites.iter_mut().filter(|site| !site.finished) {
        site.accounts.close(&site.model);
    }
    let sites: Vec<&SiteOutcome> = sites.into_iter().map(|site| &*site).collect();
    let (Some(first), Some(last)) =
        (sites.iter().min_by_key(|site| site.from), sites.iter().max_by_key(|site| site.to))
    else {
        output::note(format!("no report was written to {}: no site has done a step", path.display()));
        return Ok(());
    };
    let (from, to) = (time_text(first.from, &first.model.zone), time_text(last.to, &last.model.zone));
    if !finished {
        output::note(format!("stopped before its end: the report covers {from} to {to}"));
    }
    let stats = sites.iter().map(|site| &site.stats);
    let timings = Timings::of(stats, started.elapsed().as_secs_f64(), peak_rss_mb().unwrap_or(0.0));
    let lockstep = start.running.speed == Some(Speed::LockStep);
    let mut own = OwnUse::default();
    let mut reports = Vec::new();
    for site in &sites {
        let perfect = perfect(start, site);
        if let Err(why) = &perfect {
            tracing::error!(site = site.model.name, why, "the reference case perfect could not be computed");
        }
        let used = own_use(site);
        own.kwh += used.kwh;
        own.kg += used.kg;
        reports.push(site_report(site, perfect.ok()));
    }
    let report = Report {
        from,
        to,
        seed: args.seed,
        finished,
        sites: reports,
        services: services(platform, &sites).map_err(Failure::unsuccessful)?,
        alerts: platform.watch().map(|watch| watch.watcher.report(lockstep)).unwrap_or_default(),
        own: OwnUse { kwh: round(own.kwh), kg: round(own.kg) },
        timings,
    };
    write(path, &report)
}

fn write(path: &Path, report: &Report) -> Outcome {
    let text = serde_json::to_string_pretty(report).map_err(Failure::unsuccessful)? + "\n";
    std::fs::write(path, text).map_err(|error| {
        Failure::unsuccessful(format!("the report cannot be written to {}: {error}", path.display()))
    })
}

/// Figures are printed to a millionth; what they were added up from is exact.
fn round(value: f64) -> f64 {
    (value * 1e6).round() / 1e6 + 0.0
}

fn kwh(energy: Energy) -> f64 {
    round(energy.as_kwh())
}

fn site_report(site: &SiteOutcome, perfect: Option<PerfectCase>) -> SiteReport {
    let (unserved, unserved_worth) = site.work.unserved();
    let totals = site.accounts.totals(&site.model, site.stored, site.worth, unserved_worth);
    let ledger = site.accounts.ledger();
    let cases = |compared: sos_engine::live::Compared, perfect: Option<f64>| Cases {
        actual: round(compared.actual),
        baseline: round(compared.baseline),
        perfect: perfect.map(round),
    };
    let initial = site.accounts.initially_stored(&site.model);
    let losses = ledger.charged.to_energy() - ledger.discharged.to_energy() - (site.stored_at_rest - initial);
    let perfect = perfect.as_ref();
    let objective = cases(totals.objective, perfect.map(|p| p.objective));
    SiteReport {
        name: site.model.name.clone(),
        steps: ledger.steps,
        plans: site.stats.plans,
        cost: CostReport {
            currency: site.model.currency.clone(),
            actual: round(totals.cost.actual),
            baseline: round(totals.cost.baseline),
            perfect: perfect.map(|p| round(p.cost)),
        },
        charges: charges(site, perfect),
        feeders: feeders(site),
        emissions_kg: cases(totals.emissions_kg, perfect.map(|p| p.emissions_kg)),
        saving_share_of_perfect: objective.perfect.and_then(|perfect| {
            let possible = objective.baseline - perfect;
            (possible > 0.0).then(|| round((objective.baseline - objective.actual) / possible))
        }),
        objective,
        import_kwh: kwh(totals.import),
        export_kwh: kwh(totals.export),
        shared_kwh: kwh(totals.shared),
        self_consumption: totals.self_consumption.map(round),
        curtailed_kwh: kwh((ledger.curtailed + ledger.actual.spilled).to_energy()),
        generated_kwh: kwh(ledger.actual.generated.to_energy()),
        starts: ledger.actual.starts,
        lost_load_kwh: Cases {
            actual: kwh(ledger.actual.unserved.to_energy()),
            baseline: kwh(ledger.baseline.unserved.to_energy()),
            perfect: perfect.map(|p| round(p.unserved_kwh)),
        },
        losses_kwh: kwh(losses),
        unserved_kwh: kwh((unserved + ledger.actual.unserved).to_energy()),
        peak_kw: ledger.actual.peak_watts as f64 / 1000.0,
        limit_violations: ViolationCount {
            actual: totals.limit_violations.0,
            baseline: totals.limit_violations.1,
            perfect: perfect.map(|p| p.limit_violations),
        },
        violations: site.accounts.violations().to_vec(),
        fallbacks: site.stats.fallbacks,
        estimated_values: site.accounts.estimated(),
    }
}

/// What each declared charge came to.
fn charges(site: &SiteOutcome, perfect: Option<&PerfectCase>) -> BTreeMap<String, Cases> {
    let ledger = site.accounts.ledger();
    let one = |charge: &sos_model::Charge| {
        let name = charge.name.as_str();
        let of = |case: &Case| round(case.charges.get(name).map_or(0.0, |cost| cost.to_money().get()));
        let perfect = perfect.map(|perfect| round(perfect.charges.get(name).copied().unwrap_or(0.0)));
        (name.to_owned(), Cases { actual: of(&ledger.actual), baseline: of(&ledger.baseline), perfect })
    };
    site.model.charges().map(|(_, charge)| one(charge)).collect()
}

fn feeders(site: &SiteOutcome) -> BTreeMap<String, FeederReport> {
    let sums = site.accounts.ledger().actual.feeders.iter();
    let limit = |power: Option<sos_units::Power>| power.map(sos_units::Power::as_kw);
    let one = |(feeder, sums): (&SiteFeeder, &FeederSums)| FeederReport {
        import_kwh: kwh(sums.import.to_energy()),
        export_kwh: kwh(sums.export.to_energy()),
        peak_kw: sums.peak_watts as f64 / 1000.0,
        import_limit_kw: limit(feeder.import_limit),
        export_limit_kw: limit(feeder.export_limit),
        limit_violations: sums.limit_violations,
    };
    let feeders = site.model.feeders.iter().zip(sums);
    feeders.map(|(feeder, sums)| (feeder.name.clone(), one((feeder, sums)))).collect()
}

/// One entry per declared service. What the service loop has not looked at in this run is as it was noted last.
fn services(platform: &Platform, sites: &[&SiteOutcome]) -> Result<Vec<ServiceReport>, StoreError> {
    let board = platform.board();
    let report = |service: &Resource| {
        let name = &service.name;
        let view = board.services.get(name);
        let noted = || service.status["restarts"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let declared = sos_engine::resources::declared(service).ok();
        let declared =
            declared.as_ref().and_then(sos_model::Declared::service).map_or(0, |spec| spec.replicas);
        let own = sites.iter().flat_map(|site| site.work.totals()).find(|(job, _)| *job == name);
        let own = own.map(|(_, state)| state);
        let not_ready = sites.iter().filter_map(|site| site.stats.not_ready.get(name)).sum();
        ServiceReport {
            name: name.clone(),
            replicas: service.replicas.unwrap_or(declared),
            restarts: view.map_or_else(noted, |view| view.status.restarts),
            energy_kwh: own.map_or(0.0, |state| kwh(-state.energy.to_energy())),
            emissions_kg: own.map_or(0.0, |state| round(state.emissions.to_emissions().as_kg())),
            slo_violation_seconds: not_ready,
            deadlines: own
                .map_or(Deadlines::default(), |state| Deadlines { met: state.met, missed: state.missed }),
        }
    };
    Ok(platform.store().list("Service", &Selector::default())?.iter().map(report).collect())
}

/// What the machine that runs `sos` used, by its declared power and the site's mean carbon intensity.
fn own_use(site: &SiteOutcome) -> OwnUse {
    let hours = Hours::from_seconds(site.to.duration_since(site.from).as_secs_f64());
    let energy = site.model.controller_power * hours;
    let intensity = sos_engine::site::account::mean_carbon(&site.model, site.from, site.to);
    OwnUse { kwh: energy.as_kwh(), kg: (intensity * energy).as_kg() }
}

/// The reference case in a process of its own: its time and memory are not the loop's.
fn perfect(start: &Start, site: &SiteOutcome) -> Result<PerfectCase, String> {
    let socs = site
        .model
        .assets
        .iter()
        .enumerate()
        .map(|(index, asset)| (asset.name.clone(), site.accounts.initial_share(index, asset)));
    let generators = site.accounts.initial_generators(&site.model);
    let period =
        Period { from: site.from, to: site.to, worth: site.worth, initial: socs.collect(), generators };
    let period = serde_json::to_string(&period).map_err(|error| error.to_string())?;
    let output = Command::new(&start.own_binary)
        .args(["internal", "perfect", "--site", &site.model.name, "--period", &period, "--data-dir"])
        .arg(&start.data_dir)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Peak resident memory of this process.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| (kib / 102.4).round() / 10.0)
}
