//! Reading, applying and deleting resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use sos_api::wire::{ApplyResult, DiffResult, EventRecord, FieldChange, wire_time};
use sos_api::{ApplyRequest, AuditEntry, Problem};
use sos_control::energy::sci;
use sos_engine::apply::{self, Applied, Applying};
use sos_engine::clock::wall_now;
use sos_engine::live::{ChargeState, FeederState, PlanStepState, SiteState};
use sos_engine::platform::Platform as Engine;
use sos_engine::services::board::{EnergyView, GatewayView, ReplicaView, ServiceView};
use sos_engine::site::model::SiteModel;
use sos_engine::{folder, resources};
use sos_model::{API_VERSION, AnyKind, Declared, Kind, ReadOnlyKind, Referrer};
use sos_store::{EventFilter, EventType, Resource, Selector, Store};
use sos_units::Power;

use super::store_problem;

/// Decisions that one resource shows.
const DECISIONS: usize = 20;
/// Events that the list of the kind Event shows.
const EVENTS: usize = 500;

fn resolve(kind: &str) -> Result<AnyKind, Problem> {
    AnyKind::resolve(kind).map_err(Problem::not_found)
}

/// All resources of a kind that a label selector chooses.
pub(super) fn list(engine: &Engine, kind: &str, selector: &str) -> Result<Vec<Value>, Problem> {
    let chosen: Selector = selector.parse().map_err(store_problem)?;
    match resolve(kind)? {
        AnyKind::Declared(kind) => {
            let found = engine.store().list(kind.name(), &chosen).map_err(store_problem)?;
            Ok(found.iter().map(|resource| object(engine, resource)).collect())
        }
        // These have no labels.
        AnyKind::ReadOnly(_) if !chosen.matches(&BTreeMap::new()) => Ok(Vec::new()),
        AnyKind::ReadOnly(ReadOnlyKind::Plan) => {
            let sites = engine.site_names();
            Ok(sites.iter().filter_map(|name| plan(engine.site(name)?.as_ref())).collect())
        }
        AnyKind::ReadOnly(ReadOnlyKind::Event) => {
            Ok(events(engine, 0, EVENTS)?.iter().map(event_object).collect())
        }
        AnyKind::ReadOnly(ReadOnlyKind::Forecast) => super::forecasts::objects(engine),
        AnyKind::ReadOnly(ReadOnlyKind::Alert) => Ok(super::alarms::objects(engine)),
        // These have their own place: see `runs.rs`.
        AnyKind::ReadOnly(ReadOnlyKind::Run) => Ok(Vec::new()),
    }
}

/// Whether a kind is that of runs, which have their own place.
pub(super) fn is_run(kind: &str) -> bool {
    matches!(resolve(kind), Ok(AnyKind::ReadOnly(ReadOnlyKind::Run)))
}

/// One resource with the decisions that were taken about it.
pub(super) fn get(engine: &Engine, kind: &str, name: &str) -> Result<Value, Problem> {
    match resolve(kind)? {
        AnyKind::Declared(kind) => {
            let resource = stored(engine.store(), kind, name)?;
            let mut object = object(engine, &resource);
            object["decisions"] = decisions(engine, kind, name)?;
            Ok(object)
        }
        AnyKind::ReadOnly(kind) => {
            let all = list(engine, kind.name(), "")?;
            let names: Vec<String> = all.iter().filter_map(name_of).collect();
            let found = all.into_iter().find(|object| name_of(object).as_deref() == Some(name));
            let early = kind == ReadOnlyKind::Plan && engine.site_names().iter().any(|site| site == name);
            found.ok_or_else(|| match early {
                true => {
                    Problem::unavailable(format!("site {name} has made no plan yet: try again in a moment"))
                }
                false => missing(kind.name(), name, &names),
            })
        }
    }
}

fn name_of(object: &Value) -> Option<String> {
    object["metadata"]["name"].as_str().map(ToOwned::to_owned)
}

fn missing(kind: &str, name: &str, known: &[String]) -> Problem {
    let known =
        if known.is_empty() { "none is known".to_owned() } else { format!("known: {}", known.join(", ")) };
    Problem::not_found(format!("there is no {kind}/{name}; {known}"))
}

/// A declared resource, or a problem that names those there are.
pub(super) fn stored(store: &Store, kind: Kind, name: &str) -> Result<Resource, Problem> {
    if let Some(resource) = store.get(kind.name(), name).map_err(store_problem)? {
        return Ok(resource);
    }
    let all = store.list(kind.name(), &Selector::all()).map_err(store_problem)?;
    let known: Vec<String> = all.into_iter().map(|resource| resource.name).collect();
    Err(missing(kind.name(), name, &known))
}

pub(super) fn object(engine: &Engine, resource: &Resource) -> Value {
    let mut object = resources::object(resource);
    if resource.kind == Kind::Override.name() {
        super::people::describe(engine, &mut object, resource);
    }
    let more = match Kind::resolve(&resource.kind) {
        Ok(Kind::Workflow) => engine.runs().status(&resource.name),
        Ok(Kind::Rule) => engine.rules().and_then(|rules| rules.status(&resource.name)),
        _ => None,
    };
    if let Some(Value::Object(more)) = more {
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        if let Some(status) = object["status"].as_object_mut() {
            status.extend(more);
        }
    }
    if resource.kind == Kind::Service.name()
        && let Some(view) = engine.board().services.get(&resource.name)
    {
        if !object["status"].is_object() {
            object["status"] = json!({});
        }
        describe_service(&mut object["status"], view);
    }
    object
}

/// The generated deployment descriptions and what the replicas use now.
fn describe_service(status: &mut Value, view: &ServiceView) {
    let deployments: Vec<_> = view.replicas.iter().map(|replica| &*replica.deployment).collect();
    status["deployments"] = json!(deployments);
    status["replicaStatuses"] = view.replicas.iter().map(replica).collect();
    if let Some(rollout) = &view.rollout {
        status["rollout"] = json!(rollout);
    }
    if let Some((at, decision)) = &view.scale {
        let (replicas, because) = (decision.replicas, &decision.because);
        status["scaling"] =
            json!({ "replicas": replicas, "because": because, "at": at, "details": decision.details });
    }
    if let Some(decision) = &view.sizing {
        status["sizing"] = json!(decision);
    }
    if let Some(gateway) = &view.gateway {
        status["gateway"] = gateway_status(gateway);
    }
    if let Some(energy) = &view.energy {
        status["energy"] = energy_status(energy);
    }
}

/// Rate, errors and durations as the gateway counted them since `sos` started.
fn gateway_status(gateway: &GatewayView) -> Value {
    let measures = &gateway.measures;
    let seconds = |q: f64| measures.requests.quantile_bound(q).filter(|bound| bound.is_finite());
    json!({
        "address": gateway.address,
        "problem": gateway.problem,
        "requests": measures.requests.total(),
        "errors": measures.requests.errors,
        "inFlight": measures.in_flight,
        "held": measures.held,
        "retries": measures.retries,
        "p50Seconds": seconds(0.5),
        "p99Seconds": seconds(0.99),
    })
}

/// Energy, emissions and the score of ISO/IEC 21031; what is not known is left out.
fn energy_status(energy: &EnergyView) -> Value {
    let all = &energy.line.all;
    let mut value = json!({
        "kwh": all.energy.to_energy().as_kwh(),
        "watts": energy.power.map(|power| power.as_kw() * 1000.0),
    });
    if let Ok(emissions) = all.emissions() {
        value["emissionsKg"] = json!(emissions.as_kg());
    }
    if let Ok(each) = energy.line.per_request() {
        value["whPerRequest"] = json!(each.energy.as_kwh() * 1000.0);
        if let Ok(emissions) = each.emissions {
            value["gramsPerRequest"] = json!(emissions.as_kg() * 1000.0);
        }
    }
    match sci(&energy.line.with_requests, energy.line.requests, "request") {
        Ok(score) => value["sciGramsPerRequest"] = json!(score.score.as_kg() * 1000.0),
        Err(why) => value["sciMissing"] = json!(why.to_string()),
    }
    value
}

fn replica(replica: &ReplicaView) -> Value {
    json!({
        "name": replica.deployment.replica,
        "phase": replica.phase,
        "pid": replica.pid,
        "startedAt": replica.started_at,
        "pastRuns": replica.past_runs,
        "limits": replica.limits,
        "usage": replica.usage.map(|usage| json!({
            "cpuSeconds": usage.cpu_seconds,
            "memoryBytes": usage.memory_bytes,
            "wholeGroup": usage.whole_group,
        })),
    })
}

/// The latest entries of the audit record about a resource; those of a site's assets are told at the site.
fn decisions(engine: &Engine, kind: Kind, name: &str) -> Result<Value, Problem> {
    let own = format!("{kind}/{name}");
    // Set-points are decided in the time of their site, all else by the wall clock.
    let mut zone = TimeZone::UTC;
    let mut found = engine.store().recent_audit(Some(&own), DECISIONS).map_err(store_problem)?;
    let site = match kind {
        Kind::Site => Some(name.to_owned()),
        Kind::Asset => site_of(engine.store(), name)?,
        _ => None,
    };
    if let Some(model) = site.as_ref().and_then(|site| engine.site_model(site)) {
        zone = model.zone.clone();
    }
    if let (Kind::Asset, Some(site)) = (kind, site) {
        let told =
            engine.store().recent_audit(Some(&format!("Site/{site}")), DECISIONS).map_err(store_problem)?;
        found.extend(told.into_iter().filter_map(|mut record| {
            let (before, after) = (record.entry.before.as_ref(), record.entry.after.as_ref()?);
            let after = after["assets"].get(name)?.clone();
            record.entry.before = before.and_then(|all| all.get(name)).cloned();
            record.entry.after = Some(after);
            Some(record)
        }));
        found.sort_by_key(|record| record.seq);
    }
    let entries = found.iter().rev().take(DECISIONS).rev().map(|record| {
        let entry = &record.entry;
        let zone = if entry.who == "sos/site" { &zone } else { &TimeZone::UTC };
        json!({
            "seq": record.seq, "time": wire_time(entry.time, zone), "who": entry.who, "what": entry.what, "why": entry.why,
            "before": entry.before, "after": entry.after,
        })
    });
    Ok(entries.collect())
}

fn site_of(store: &Store, asset: &str) -> Result<Option<String>, Problem> {
    let resource = store.get(Kind::Asset.name(), asset).map_err(store_problem)?;
    Ok(resource.and_then(|resource| resource.spec["spec"]["site"].as_str().map(ToOwned::to_owned)))
}

/// The plan in force of a site, with the reason for every asset at every step.
fn plan(state: &SiteState) -> Option<Value> {
    let plan = state.plan.as_ref()?;
    let time = |time| wire_time(time, &state.zone);
    let step = |step: &PlanStepState| {
        let kw = |powers: &BTreeMap<String, Power>| -> BTreeMap<String, f64> {
            powers.iter().map(|(name, power)| (name.clone(), power.as_kw() + 0.0)).collect()
        };
        json!({
            "time": time(step.time),
            "grid_kw": step.grid.as_kw() + 0.0,
            "soc": step.soc.map(|soc| soc.as_fraction()),
            "price_per_kwh": step.price.as_per_kwh(),
            "power_kw": kw(&step.power),
            "feeders_kw": kw(&step.feeders),
            "because": step.because,
            "binding_limits": step.binding_limits,
        })
    };
    let limit = |limit: Option<Power>| limit.map(Power::as_kw);
    let feeder = |feeder: &FeederState| {
        json!({
            "name": feeder.name,
            "import_limit_kw": limit(feeder.import_limit),
            "export_limit_kw": limit(feeder.export_limit),
        })
    };
    let charge = |charge: &ChargeState| {
        json!({
            "name": charge.name,
            "feeder": charge.feeder,
            "unit": charge.unit,
            "so_far": charge.so_far.actual,
            "cost": charge.cost.actual,
        })
    };
    let feeders: Vec<Value> = state.feeders.iter().map(feeder).collect();
    let charges: Vec<Value> = state.charges.iter().map(charge).collect();
    Some(json!({
        "apiVersion": API_VERSION,
        "kind": ReadOnlyKind::Plan.name(),
        "metadata": { "name": state.site },
        "spec": { "site": state.site },
        "status": {
            "madeAt": time(plan.made_at),
            "source": plan.source,
            "currency": state.currency,
            "island": state.island,
            "import_limit_kw": state.import_limit.map(|limit| limit.as_kw()),
            "export_limit_kw": state.export_limit.map(|limit| limit.as_kw()),
            "feeders": feeders,
            "charges": charges,
            "steps": plan.steps.iter().map(step).collect::<Vec<_>>(),
        },
    }))
}

fn event_object(event: &EventRecord) -> Value {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": ReadOnlyKind::Event.name(),
        "metadata": { "name": event.id.to_string() },
        "involvedObject": { "kind": event.kind, "name": event.name },
        "type": event.level,
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
        "lastTimestamp": event.time,
    });
    if let Some(time) = &event.site_time {
        object["siteTime"] = json!(time);
    }
    object
}

/// Events after one, oldest first.
pub(super) fn events(engine: &Engine, since: u64, limit: usize) -> Result<Vec<EventRecord>, Problem> {
    let filter = EventFilter { since: Some(since), limit: Some(limit), ..EventFilter::default() };
    let found = engine.store().list_events(&filter).map_err(store_problem)?;
    let names = engine.site_names();
    let sites: Vec<_> = names.iter().filter_map(|name| engine.site_model(name)).collect();
    let record = |record: sos_store::EventRecord| EventRecord {
        id: record.seq,
        site_time: record.event.site_time.map(|time| wire_time(time, &zone_of(&sites, &record.event))),
        time: wire_time(record.event.time, &TimeZone::UTC),
        level: match record.event.event_type {
            EventType::Normal => "Normal".into(),
            EventType::Warning => "Warning".into(),
        },
        reason: record.event.reason,
        kind: record.event.kind,
        name: record.event.name,
        message: record.event.message,
        count: record.count,
    };
    Ok(found.into_iter().map(record).collect())
}

/// The zone of the site that an event concerns; of the only site where that is not told by its resource.
fn zone_of(sites: &[Arc<SiteModel>], event: &sos_store::Event) -> TimeZone {
    let concerns = |site: &&Arc<SiteModel>| match event.kind.as_str() {
        "Site" => site.name == event.name,
        "Asset" => site.assets.iter().any(|asset| asset.name == event.name),
        _ => sites.len() == 1,
    };
    sites.iter().find(concerns).map_or(TimeZone::UTC, |site| site.zone.clone())
}

/// Reads and checks what a client sent, like a folder's manifests.
fn read(engine: &Engine, manifest: &[u8]) -> Result<Vec<Declared>, Problem> {
    let known = apply::declared(engine.store()).map_err(store_problem)?;
    let files = [("manifest".to_owned(), manifest.to_vec())];
    let mut declared = folder::load(&files, &known).map_err(bad_input)?;
    if declared.is_empty() {
        return Err(Problem::bad_request(
            "the body holds no resource: expected YAML documents with apiVersion, kind, metadata, spec",
        ));
    }
    for one in &mut declared {
        resources::anchor(one, &engine.places().base_dir);
    }
    let users = folder::Users::new(&declared, &known);
    let problems = declared.iter().filter_map(|one| {
        let signal = one.signal()?;
        folder::load_signal(one.name.as_str(), signal, &users).err()
    });
    let over = super::people::over_already(engine, &declared, &known);
    let problems: Vec<_> = problems.flatten().chain(over).collect();
    if problems.is_empty() { Ok(declared) } else { Err(bad_input(problems)) }
}

pub(super) fn bad_input(problems: Vec<sos_model::Problem>) -> Problem {
    let one = |problem: &sos_model::Problem| {
        json!({
            "path": problem.path, "line": problem.line, "column": problem.column,
            "message": problem.message, "help": problem.help, "text": problem.to_string(),
        })
    };
    Problem::bad_input(problems.iter().map(one).collect())
}

/// Applies all documents or none; sites that are declared differently now are started anew.
pub(super) fn apply(engine: &Engine, request: &ApplyRequest) -> Result<Vec<ApplyResult>, Problem> {
    let declared = read(engine, &request.manifest)?;
    let how = Applying {
        manager: &request.manager,
        who: &request.who,
        why: None,
        force: request.force,
        dry_run: request.dry_run,
        prune: false,
        now: wall_now(),
    };
    let applied = apply::apply(engine.store(), &declared, &how).map_err(store_problem)?;
    if !request.dry_run {
        refresh(engine, &applied);
    }
    Ok(applied.into_iter().map(result).collect())
}

/// Starts sites anew when what was applied may concern them.
pub(crate) fn refresh(engine: &Engine, applied: &[Applied]) {
    let concerns = |one: &Applied| one.action != "unchanged" && one.kind != Kind::Secret.name();
    if applied.iter().any(concerns) {
        engine.refresh_sites();
    }
}

fn result(applied: Applied) -> ApplyResult {
    let Applied { kind, name, action, version } = applied;
    ApplyResult { kind, name, action: action.to_owned(), version }
}

/// What an apply would change.
pub(super) fn diff(engine: &Engine, manifest: &[u8]) -> Result<Vec<DiffResult>, Problem> {
    let declared = read(engine, manifest)?;
    let found = apply::diff(engine.store(), &declared).map_err(store_problem)?;
    let change = |change: sos_model::FieldChange| FieldChange {
        path: change.path,
        before: change.before.unwrap_or_default(),
        after: change.after.unwrap_or_default(),
    };
    let one = |(applied, changes): (Applied, Vec<sos_model::FieldChange>)| DiffResult {
        kind: applied.kind,
        name: applied.name,
        action: applied.action.to_owned(),
        changes: changes.into_iter().map(change).collect(),
    };
    Ok(found.into_iter().map(one).collect())
}

/// Deletes a declared resource; the server has recorded it with what stood before ([`audit`]).
pub(super) fn delete(engine: &Engine, kind: &str, name: &str, force: bool) -> Result<(), Problem> {
    let AnyKind::Declared(kind) = resolve(kind)? else {
        return Err(Problem::bad_request(format!(
            "resources of the kind {kind} are written by `sos` itself and cannot be deleted"
        )));
    };
    stored(engine.store(), kind, name)?;
    let referrers = apply::delete(engine.store(), kind, name, force).map_err(store_problem)?;
    if !referrers.is_empty() {
        let used = |one: &Referrer| {
            let text = format!(
                "{kind}/{name} is used by {} ({}): delete that first or with it, or use --force",
                one.id, one.field
            );
            json!({ "message": text, "text": text })
        };
        return Err(Problem::bad_input(referrers.iter().map(used).collect()));
    }
    if kind != Kind::Secret {
        engine.refresh_sites();
    }
    Ok(())
}

/// Records a command with what stood before it.
pub(super) fn audit(store: &Store, entry: &AuditEntry) -> Result<(), Problem> {
    let before = match entry.target.split_once('/') {
        Some((kind, name)) => before(store, entry.action, kind, name)?,
        None => None,
    };
    let record = sos_store::AuditEntry {
        time: wall_now(),
        who: entry.who.clone(),
        what: entry.action.to_owned(),
        target: canonical(&entry.target),
        why: entry.reason.clone().unwrap_or_else(|| format!("asked for with the role {}", entry.role)),
        before,
        after: (!entry.detail.is_null()).then(|| entry.detail.clone()),
    };
    store.audit(&record).map(drop).map_err(store_problem)
}

/// `svc/web` and `Service/web` are the same target.
fn canonical(target: &str) -> String {
    match target.split_once('/').map(|(kind, name)| (Kind::resolve(kind), name)) {
        Some((Ok(kind), name)) => format!("{kind}/{name}"),
        _ => target.to_owned(),
    }
}

fn before(store: &Store, action: &str, kind: &str, name: &str) -> Result<Option<Value>, Problem> {
    let Ok(kind) = Kind::resolve(kind) else { return Ok(None) };
    if matches!(action, "override" | "override-clear" | "hold" | "hold-clear") {
        return super::people::before(store, name);
    }
    let Some(resource) = store.get(kind.name(), name).map_err(store_problem)? else { return Ok(None) };
    Ok(Some(match action {
        "scale" => {
            json!({ "replicas": resource.replicas.map_or_else(|| resource.spec["spec"]["replicas"].clone(), Value::from) })
        }
        "restart" => json!({ "restartedAt": resource.status[sos_engine::services::convert::RESTARTED_AT] }),
        "rollout-undo" => json!({ "revision": resource.generation }),
        _ => resources::manifest(&resource),
    }))
}
