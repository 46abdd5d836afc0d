//! Metrics of sites, services and the store. Units are in the names; signs follow the one rule (import, discharge and
//! generation above zero).

use std::sync::Mutex;
use std::sync::PoisonError;

use sos_api::Exposition;
use sos_api::wire::{Compared, SiteLive};
use sos_engine::live::SiteState;
use sos_engine::platform::Platform as Engine;
use sos_engine::services::board::{Board, ReplicaView};
use sos_runtime::gateway::{GATEWAY_DURATION_BOUNDS, ServiceMeasures};
use sos_store::{Store, TelemetryStats};

use super::{calling, forecasts, live, watching};

/// What the store holds, counted now and then.
#[derive(Debug, Default)]
pub(super) struct StoreFigures(Mutex<Option<Figures>>);

/// Telemetry, the revision, bytes of the database and bytes free on its disk.
type Figures = (TelemetryStats, u64, u64, Option<u64>);

impl StoreFigures {
    /// Counts anew.
    pub(super) fn count(&self, store: &Store) {
        let size = |name: &str| std::fs::metadata(store.dir().join(name)).map_or(0, |file| file.len());
        let counted = store.telemetry_stats().and_then(|stats| Ok((stats, store.revision()?)));
        match counted {
            Ok((stats, revision)) => {
                let bytes = size("sos.db") + size("sos.db-wal");
                let free = nix::sys::statvfs::statvfs(store.dir()).ok();
                // The types of the fields differ between platforms.
                #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
                let free = free.map(|disk| disk.blocks_available() as u64 * disk.fragment_size() as u64);
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((stats, revision, bytes, free));
            }
            Err(error) => tracing::warn!(%error, "the store cannot be counted"),
        }
    }
}

/// All metrics but the server's own.
pub(super) fn text(engine: &Engine, figures: &StoreFigures) -> String {
    let mut out = Exposition::default();
    out.gauge("sos_build_info", "version of this program, always 1");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let names = engine.site_names();
    let sites: Vec<(SiteLive, _)> =
        names.iter().filter_map(|name| Some((live::site(engine, name)?, engine.site(name)?))).collect();
    let states: Vec<&SiteLive> = sites.iter().map(|(live, _)| live).collect();
    powers(&mut out, &states);
    assets(&mut out, &states);
    sums(&mut out, &states);
    let engine_states: Vec<&SiteState> = sites.iter().map(|(_, state)| state.as_ref()).collect();
    progress(&mut out, &engine_states);
    forecasts::metrics(&mut out, &engine_states);
    services(&mut out, &engine.board());
    store(&mut out, figures);
    watching::metrics(&mut out, engine);
    calling::metrics(&mut out, engine);
    out.finish()
}

type Get = fn(&SiteLive) -> Option<f64>;

fn powers(out: &mut Exposition, sites: &[&SiteLive]) {
    let families: [(&str, &str, Get); 9] = [
        (
            "sos_site_grid_power_kw",
            "mean exchange with the grid over the last step, import above zero",
            |s| s.connection.power_kw,
        ),
        ("sos_site_import_limit_kw", "most that may be imported", |s| s.connection.import_limit_kw),
        ("sos_site_export_limit_kw", "most that may be exported", |s| s.connection.export_limit_kw),
        ("sos_site_solar_power_kw", "generation of all photovoltaics", |s| s.solar_kw),
        ("sos_site_load_power_kw", "power of all loads, consumption below zero", |s| s.load_kw),
        ("sos_site_battery_power_kw", "power of all batteries, discharge above zero", |s| s.battery_kw),
        ("sos_site_soc_ratio", "energy stored over all batteries by their capacity, 0 to 1", |s| s.soc),
        ("sos_site_price_per_kwh", "import price in force, in the site's currency", |s| s.price_per_kwh),
        ("sos_site_carbon_kg_per_kwh", "carbon intensity of import", |s| s.carbon_kg_per_kwh),
    ];
    for (name, help, get) in families {
        out.gauge(name, help);
        for site in sites {
            if let Some(value) = get(site) {
                out.sample(&[("site", &site.site)], value);
            }
        }
    }
}

fn assets(out: &mut Exposition, sites: &[&SiteLive]) {
    type GetAsset = fn(&sos_api::wire::AssetLive) -> Option<f64>;
    let families: [(&str, &str, GetAsset); 4] = [
        ("sos_asset_power_kw", "mean power over the last step, above zero into the site", |a| a.power_kw),
        ("sos_asset_setpoint_kw", "what an asset was last told, same sign as its power", |a| a.setpoint_kw),
        ("sos_asset_soc_ratio", "state of charge, 0 to 1", |a| a.soc),
        ("sos_asset_available", "1 when an asset can be measured", |a| {
            Some(f64::from(u8::from(a.available)))
        }),
    ];
    for (name, help, get) in families {
        out.gauge(name, help);
        for site in sites {
            for asset in &site.assets {
                if let Some(value) = get(asset) {
                    let labels =
                        [("site", site.site.as_str()), ("asset", &asset.name), ("type", &asset.kind)];
                    out.sample(&labels, value);
                }
            }
        }
    }
}

/// Sums may be corrected when a late measurement arrives, and cost may fall, so those are gauges.
fn sums(out: &mut Exposition, sites: &[&SiteLive]) {
    type GetCompared = fn(&SiteLive) -> Compared;
    let families: [(&str, &str, GetCompared); 3] = [
        ("sos_site_cost", "import paid less export earned since the start, in the site's currency", |s| {
            s.totals.cost
        }),
        ("sos_site_emissions_kg", "emissions of what was imported since the start", |s| {
            s.totals.emissions_kg
        }),
        ("sos_site_objective", "cost and priced emissions less the value of what is stored", |s| {
            s.totals.objective
        }),
    ];
    for (name, help, get) in families {
        out.gauge(name, help);
        for site in sites {
            let compared = get(site);
            for (case, value) in [("actual", compared.actual), ("baseline", compared.baseline)] {
                out.sample(&[("site", &site.site), ("case", case), ("currency", &site.currency)], value);
            }
        }
    }
    let energies: [(&str, &str, Get); 4] = [
        ("sos_site_import_kwh", "energy from the grid since the start", |s| Some(s.totals.import_kwh)),
        ("sos_site_export_kwh", "energy to the grid since the start", |s| Some(s.totals.export_kwh)),
        ("sos_site_shared_kwh", "surplus of one group used by another since the start", |s| {
            Some(s.totals.shared_kwh)
        }),
        ("sos_site_self_consumption_ratio", "share of the generation used on site, 0 to 1", |s| {
            s.totals.self_consumption
        }),
    ];
    for (name, help, get) in energies {
        out.gauge(name, help);
        for site in sites {
            if let Some(value) = get(site) {
                out.sample(&[("site", &site.site)], value);
            }
        }
    }
    out.counter("sos_site_limit_violations_total", "steps above a limit of the connection since the start");
    for site in sites {
        let count = site.totals.limit_violations;
        out.sample(&[("site", &site.site), ("case", "actual")], count.actual as f64);
        out.sample(&[("site", &site.site), ("case", "baseline")], count.baseline as f64);
    }
}

fn progress(out: &mut Exposition, sites: &[&SiteState]) {
    type GetCount = fn(&SiteState) -> u64;
    let counters: [(&str, &str, GetCount); 3] = [
        ("sos_site_ticks_total", "ticks since the site's start", |s| s.tick),
        ("sos_site_plans_total", "plans made since the program started", |s| s.plans),
        ("sos_site_plan_fallbacks_total", "plans that a rule made in place of the solver", |s| s.fallbacks),
    ];
    for (name, help, get) in counters {
        out.counter(name, help);
        for site in sites {
            out.sample(&[("site", &site.site)], get(site) as f64);
        }
    }
    out.gauge("sos_site_time_seconds", "site time of the latest tick, since 1970");
    for site in sites {
        out.sample(&[("site", &site.site)], site.time.as_second() as f64);
    }
}

fn services(out: &mut Exposition, board: &Board) {
    type GetService = fn(&sos_control::ServiceStatus) -> u32;
    let gauges: [(&str, &str, GetService); 3] = [
        ("sos_service_replicas", "replicas declared", |s| s.replicas),
        ("sos_service_ready_replicas", "replicas that are ready", |s| s.ready),
        ("sos_service_live_replicas", "replicas with a process", |s| s.live),
    ];
    for (name, help, get) in gauges {
        out.gauge(name, help);
        for (service, view) in &board.services {
            out.sample(&[("service", service)], f64::from(get(&view.status)));
        }
    }
    out.gauge("sos_service_phase", "1 for the phase a service is in");
    for (service, view) in &board.services {
        out.sample(&[("service", service), ("phase", &live::phase(view))], 1.0);
    }
    out.gauge("sos_service_job", "1 when the service is a job that runs when its energy is cheap");
    for (service, view) in &board.services {
        out.sample(&[("service", service)], f64::from(u8::from(view.job)));
    }
    out.counter("sos_service_restarts_total", "restarts after failures over all replicas");
    for (service, view) in &board.services {
        out.sample(&[("service", service)], f64::from(view.status.restarts));
    }
    let replicas = || {
        let all = board.services.iter();
        all.flat_map(|(service, view)| view.replicas.iter().map(move |replica| (service.as_str(), replica)))
    };
    let sample = |out: &mut Exposition, service: &str, replica: &ReplicaView, value: f64| {
        out.sample(&[("service", service), ("replica", &replica.deployment.replica)], value);
    };
    out.counter("sos_replica_cpu_seconds_total", "processor time of the present run");
    for (service, replica) in replicas() {
        if let Some(usage) = replica.usage {
            sample(out, service, replica, usage.cpu_seconds);
        }
    }
    out.gauge("sos_replica_memory_bytes", "resident memory");
    for (service, replica) in replicas() {
        if let Some(usage) = replica.usage {
            sample(out, service, replica, usage.memory_bytes as f64);
        }
    }
    out.gauge("sos_replica_memory_limit_bytes", "memory that a replica may use");
    for (service, replica) in replicas() {
        if let Some(limit) = replica.deployment.limits.memory_bytes {
            sample(out, service, replica, limit as f64);
        }
    }
    gateway(out, board);
    energy(out, board);
    out.gauge("sos_services_pass_seconds", "how long the latest pass over all services took");
    out.sample(&[], board.pass.as_secs_f64());
}

/// Rate, errors and durations of services behind the gateway, as clients saw them.
fn gateway(out: &mut Exposition, board: &Board) {
    let behind = || {
        let all = board.services.iter();
        all.filter_map(|(service, view)| Some((service.as_str(), &view.gateway.as_ref()?.measures)))
    };
    out.counter(
        "sos_gateway_requests_total",
        "requests that ended, by the hundreds of their status; 0: unanswered",
    );
    for (service, measures) in behind() {
        let counts = &measures.requests;
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts.by_class);
        for (class, count) in classes.chain([("0", counts.unanswered), ("cancelled", counts.cancelled)]) {
            out.sample(&[("service", service), ("code", class)], count as f64);
        }
    }
    type Get = fn(&ServiceMeasures) -> u64;
    let counters: [(&str, &str, Get); 4] = [
        ("sos_gateway_errors_total", "requests that failed by the service's fault", |m| m.requests.errors),
        ("sos_gateway_retries_total", "attempts beyond the first of their request", |m| m.retries),
        ("sos_gateway_ejections_total", "times that a replica was left out", |m| m.ejections),
        ("sos_gateway_no_replica_total", "requests refused because no replica took them", |m| {
            m.refused.no_replica
        }),
    ];
    for (name, help, get) in counters {
        out.counter(name, help);
        for (service, measures) in behind() {
            out.sample(&[("service", service)], get(measures) as f64);
        }
    }
    let gauges: [(&str, &str, Get); 2] = [
        ("sos_gateway_in_flight", "requests that clients wait for", |m| m.in_flight),
        ("sos_gateway_held", "requests that wait for a replica", |m| m.held),
    ];
    for (name, help, get) in gauges {
        out.gauge(name, help);
        for (service, measures) in behind() {
            out.sample(&[("service", service)], get(measures) as f64);
        }
    }
    out.histogram("sos_gateway_duration_seconds", "from the head of a request to the end of its answer");
    for (service, measures) in behind() {
        let counts = &measures.requests;
        let sum = counts.duration_sum_us as f64 / 1e6;
        let mut so_far = 0;
        let add = |count: &u64| {
            so_far += count;
            so_far
        };
        let cumulative: Vec<u64> = counts.durations.iter().map(add).collect();
        out.buckets(&[("service", service)], &GATEWAY_DURATION_BOUNDS, &cumulative, sum);
    }
}

/// Energy of services, by processor time on this machine.
fn energy(out: &mut Exposition, board: &Board) {
    let known = || {
        let all = board.services.iter();
        all.filter_map(|(service, view)| Some((service.as_str(), view.energy.as_ref()?)))
    };
    out.counter("sos_service_energy_kwh_total", "energy that a service took of this machine");
    for (service, energy) in known() {
        out.sample(&[("service", service)], energy.line.all.energy.to_energy().as_kwh());
    }
    out.counter(
        "sos_service_emissions_kg_total",
        "emissions of that energy, where the carbon intensity is known",
    );
    for (service, energy) in known() {
        if let Ok(emissions) = energy.line.all.emissions() {
            out.sample(&[("service", service)], emissions.as_kg());
        }
    }
    out.gauge("sos_service_power_watts", "power that a service takes of this machine");
    for (service, energy) in known() {
        if let Some(power) = energy.power {
            out.sample(&[("service", service)], power.as_kw() * 1000.0);
        }
    }
}

fn store(out: &mut Exposition, figures: &StoreFigures) {
    let counted = *figures.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((telemetry, revision, bytes, free)) = counted else { return };
    if let Some(free) = free {
        out.gauge("sos_disk_free_bytes", "bytes free on the disk of the data directory");
        out.sample(&[], free as f64);
    }
    let gauges = [
        ("sos_store_size_bytes", "size of the database on disk", bytes),
        (
            "sos_store_telemetry_samples",
            "samples of telemetry kept",
            telemetry.chunk_samples + telemetry.hot_samples,
        ),
        ("sos_store_telemetry_chunk_bytes", "bytes of compressed telemetry", telemetry.chunk_bytes),
        ("sos_store_series", "series of metrics", telemetry.metric_series),
        ("sos_store_series_limit", "most series of metrics that are taken", telemetry.metric_series_limit),
    ];
    for (name, help, value) in gauges {
        out.gauge(name, help);
        out.sample(&[], value as f64);
    }
    out.counter("sos_store_changes_total", "changes of resources ever made");
    out.sample(&[], revision as f64);
    out.counter("sos_store_watch_overruns_total", "times a follower of changes fell behind");
    out.sample(&[], sos_store::watch_overruns() as f64);
}
