//! Orders of people about assets: overrides and holds.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sos_api::Problem;
use sos_api::wire::{AssetOrder, AssetOrdered, wire_time};
use sos_engine::apply::{self, Applying};
use sos_engine::clock::wall_now;
use sos_engine::people::{self, NotOrdered, ORDERED_BY, Ordering, PersonsOrder};
use sos_engine::platform::Platform as Engine;
use sos_model::{Declared, Kind, OverrideSpec};
use sos_store::{Resource, Store};

use super::resources::{bad_input, stored};
use super::store_problem;

/// The owner of what is ordered by a command, as of what is applied.
const MANAGER: &str = "cli";

/// Puts an order in the place of the one that the asset has; `None` orders a hold.
pub(super) fn order(
    engine: &Engine,
    asset: &str,
    power_kw: Option<f64>,
    order: &AssetOrder,
    who: &str,
) -> Result<AssetOrdered, Problem> {
    let site = site_of(engine.store(), asset)?;
    let until = until(engine, &site, order)?;
    let before = of(engine, asset);
    let acting = before.as_ref().filter(|one| acts(engine, &site, &one.spec));
    if let Some(hold) = acting.filter(|one| one.spec.is_hold() && power_kw.is_some()) {
        return Err(Problem::conflict(format!(
            "Asset/{asset} is on hold by {} until {} ({}): end that first with `sos hold {asset} --clear`",
            hold.who,
            wire_time(hold.spec.until, &zone(engine, &site)),
            hold.spec.reason
        )));
    }
    let replaced = acting.map(|one| object(engine, &one.name)).transpose()?;
    let name = match &before {
        Some(before) => before.name.clone(),
        None => people::free_name(engine.store(), asset).map_err(store_problem)?,
    };
    let (name, reason, annotations) = (&name, &order.reason, json!({}));
    let ordering = Ordering { name, asset, power_kw, until, reason, annotations };
    let declared = ordering.declared(engine.store()).map_err(|error| match error {
        NotOrdered::Store(error) => store_problem(error),
        NotOrdered::Wrong(problems) => bad_input(problems),
    })?;
    let how = Applying {
        manager: MANAGER,
        who,
        why: Some(&order.reason),
        // What a rule ordered gives way to a person.
        force: order.force || before.as_ref().is_some_and(|before| is_of_rule(engine, before)),
        dry_run: false,
        prune: false,
        now: wall_now(),
    };
    apply::apply(engine.store(), &[declared], &how).map_err(store_problem)?;
    engine.refresh_sites();
    Ok(AssetOrdered { order: object(engine, name)?, replaced })
}

fn is_of_rule(engine: &Engine, order: &PersonsOrder) -> bool {
    let stored = engine.store().get(Kind::Override.name(), &order.name).ok().flatten();
    stored.is_some_and(|stored| stored.manager == sos_engine::rules::MANAGER)
}

/// Ends the override (or the hold) of an asset.
pub(super) fn clear(engine: &Engine, asset: &str, hold: bool) -> Result<(), Problem> {
    stored(engine.store(), Kind::Asset, asset)?;
    let word = |hold: bool| if hold { "hold" } else { "override" };
    let Some(order) = of(engine, asset) else {
        return Err(Problem::not_found(format!("Asset/{asset} has no {}", word(hold))));
    };
    if order.spec.is_hold() != hold {
        let other = word(!hold);
        return Err(Problem::conflict(format!(
            "the order of Asset/{asset} is of the kind {other}: end it with `sos {other} {asset} --clear`"
        )));
    }
    apply::delete(engine.store(), Kind::Override, &order.name, true).map_err(store_problem)?;
    engine.refresh_sites();
    Ok(())
}

/// Manifests of orders that are new and over already.
pub(super) fn over_already(
    engine: &Engine,
    declared: &[Declared],
    known: &[Declared],
) -> Vec<sos_model::Problem> {
    let site = |asset: &str| {
        let mut all = declared.iter().chain(known);
        Some(all.find(|one| one.name.as_str() == asset && one.asset().is_some())?.asset()?.site.to_string())
    };
    let problem = |one: &Declared| {
        let spec = one.overriding().filter(|_| !known.contains(one))?;
        let site = site(&spec.asset)?;
        let now = engine.site_time(&site)?;
        (!spec.acts_at(now)).then(|| {
            let now = wire_time(now, &zone(engine, &site));
            one.problem("spec.until", "the end is over already", format!("expected a time after {now}"))
        })
    };
    declared.iter().filter_map(problem).collect()
}

/// What is known of an order beside its manifest: whether it acts, and what became of it in the latest tick.
pub(super) fn describe(engine: &Engine, object: &mut Value, resource: &Resource) {
    let Some(spec) = sos_engine::resources::declared(resource).ok().and_then(|one| one.overriding().cloned())
    else {
        return;
    };
    let Ok(asset) = stored(engine.store(), Kind::Asset, &spec.asset) else { return };
    let site = asset.spec["spec"]["site"].as_str().unwrap_or_default().to_owned();
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    let status = &mut object["status"];
    status["site"] = json!(site);
    status["type"] = asset.spec["spec"]["type"].clone();
    status["until"] = json!(wire_time(spec.until, &zone(engine, &site)));
    let acts = engine.site_time(&site).map(|now| spec.acts_at(now));
    status["state"] = json!(match acts {
        Some(true) => "acting",
        Some(false) => "expired",
        None => "waiting",
    });
    let live = engine.site(&site);
    let asset = live.as_ref().and_then(|state| state.assets.iter().find(|one| one.name == *spec.asset));
    if let Some(asset) = asset.filter(|_| acts == Some(true)) {
        status["setpointKw"] = json!(asset.setpoint.map(|power| power.as_kw()));
        status["now"] = json!(asset.reason);
    }
}

/// The order that an asset has, as a manifest; for the audit record.
pub(super) fn before(store: &Store, asset: &str) -> Result<Option<Value>, Problem> {
    let all = store.list(Kind::Override.name(), &sos_store::Selector::all()).map_err(store_problem)?;
    let found = all.iter().find(|one| one.spec["spec"]["asset"] == asset);
    Ok(found.map(|one| {
        let mut manifest = sos_engine::resources::manifest(one);
        manifest[ORDERED_BY] = one.status[ORDERED_BY].clone();
        manifest
    }))
}

fn of(engine: &Engine, asset: &str) -> Option<PersonsOrder> {
    engine.people().iter().find(|order| order.spec.asset.as_str() == asset).cloned()
}

fn acts(engine: &Engine, site: &str, spec: &OverrideSpec) -> bool {
    engine.site_time(site).is_none_or(|now| spec.acts_at(now))
}

fn object(engine: &Engine, name: &str) -> Result<Value, Problem> {
    let resource = stored(engine.store(), Kind::Override, name)?;
    Ok(super::resources::object(engine, &resource))
}

fn site_of(store: &Store, asset: &str) -> Result<String, Problem> {
    let asset = stored(store, Kind::Asset, asset)?;
    Ok(asset.spec["spec"]["site"].as_str().unwrap_or_default().to_owned())
}

fn zone(engine: &Engine, site: &str) -> TimeZone {
    engine.site_model(site).map_or(TimeZone::UTC, |model| model.zone.clone())
}

/// The end that is meant, after now.
fn until(engine: &Engine, site: &str, order: &AssetOrder) -> Result<Timestamp, Problem> {
    let now = engine.site_time(site).ok_or_else(|| {
        Problem::unavailable(format!(
            "site {site} does not run, so that it has no time: see `sos describe site {site}`"
        ))
    })?;
    let shown = |time| wire_time(time, &zone(engine, site));
    if let Some(text) = &order.until {
        let until: Timestamp = text.parse().map_err(|_| {
            Problem::bad_request(format!(
                "until \"{text}\" is not a time with offset such as 2016-08-01T18:00:00-07:00"
            ))
        })?;
        if until <= now {
            return Err(Problem::bad_request(format!(
                "until {} is over already: it is {} at site {site}",
                shown(until),
                shown(now)
            )));
        }
        return Ok(until);
    }
    let seconds = order.for_seconds.filter(|seconds| *seconds > 0);
    let until = seconds.and_then(|seconds| now.checked_add(SignedDuration::from_secs(seconds)).ok());
    until.ok_or_else(|| Problem::bad_request("the length of the order is not a time above zero"))
}
