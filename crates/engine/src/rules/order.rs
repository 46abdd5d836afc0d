//! Orders of rules about assets. An asset has one order: that of a person stands, of rules the one with the highest priority.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Unit};
use serde_json::json;
use sos_model::Kind;

use crate::apply::{self, Applying};
use crate::clock::wall_now;
use crate::people::{self, Ordering, PersonsOrder};
use crate::platform::Platform;

/// Who owns the orders of rules.
pub const MANAGER: &str = "rules";
/// The annotation of an order that holds the priority of its rule.
const PRIORITY: &str = "sos.energy/priority";

/// An order that a rule gives.
pub(super) struct Wanted {
    pub(super) rule: String,
    pub(super) priority: u32,
    pub(super) asset: String,
    /// Positive into the site; none for a hold.
    pub(super) power_kw: Option<f64>,
    pub(super) lasts: SignedDuration,
    pub(super) reason: String,
    pub(super) dry_run: bool,
}

/// Gives an order; what was ordered in words.
///
/// # Errors
/// Who has ordered something of the asset already, or what is wrong with the order.
pub(super) fn order(platform: &Platform, wanted: &Wanted) -> Result<String, String> {
    let store = platform.store();
    let failed = |error: sos_store::StoreError| error.to_string();
    let asset = store.get(Kind::Asset.name(), &wanted.asset).map_err(failed)?;
    let asset = asset.ok_or_else(|| format!("there is no Asset/{}", wanted.asset))?;
    let site = asset.spec["spec"]["site"].as_str().unwrap_or_default().to_owned();
    let now = platform.site_time(&site).ok_or_else(|| format!("Site/{site} does not run"))?;
    let until = now.checked_add(wanted.lasts).and_then(|until| until.round(Unit::Second));
    let until = until.map_err(|error| error.to_string())?;
    let orders = platform.people();
    let before = orders.iter().find(|order| *order.spec.asset == *wanted.asset);
    if let Some(before) = before.filter(|before| before.spec.acts_at(now)) {
        stands(platform, before, wanted)?;
    }
    let name = match before {
        Some(before) => before.name.clone(),
        None => people::free_name(store, &format!("{}-{}", wanted.rule, wanted.asset)).map_err(failed)?,
    };
    let reason: String = wanted.reason.chars().filter(|c| !c.is_control()).take(200).collect();
    let ordering = Ordering {
        name: &name,
        asset: &wanted.asset,
        power_kw: wanted.power_kw,
        until,
        reason: &reason,
        annotations: json!({ PRIORITY: wanted.priority.to_string() }),
    };
    let declared = ordering.declared(store).map_err(|error| error.to_string())?;
    let what = wanted.power_kw.map_or_else(|| "a hold".to_owned(), |kw| format!("{kw} kW"));
    let zone = platform.site_model(&site).map_or(TimeZone::UTC, |model| model.zone.clone());
    let until = crate::time_text(until, &zone);
    if wanted.dry_run {
        return Ok(format!("would order {what} of {} until {until}", wanted.asset));
    }
    let how = Applying {
        manager: MANAGER,
        who: &format!("rule {}", wanted.rule),
        why: Some(&wanted.reason),
        // What stands there is over, or of a rule that gives way.
        force: true,
        dry_run: false,
        prune: false,
        now: wall_now(),
    };
    apply::apply(store, &[declared], &how).map_err(failed)?;
    platform.refresh_sites();
    Ok(format!("ordered {what} of {} until {until}", wanted.asset))
}

/// Whether an order that acts goes before one that is wanted.
fn stands(platform: &Platform, before: &PersonsOrder, wanted: &Wanted) -> Result<(), String> {
    let resource =
        platform.store().get(Kind::Override.name(), &before.name).map_err(|error| error.to_string())?;
    let Some(resource) = resource else { return Ok(()) };
    let asset = &wanted.asset;
    if resource.manager != MANAGER {
        return Err(format!("{asset} is ordered by {} until {}", before.who, before.spec.until));
    }
    let priority = resource.spec["annotations"][PRIORITY].as_str().and_then(|text| text.parse::<u32>().ok());
    let priority = priority.unwrap_or(0);
    let own = before.who == format!("rule {}", wanted.rule);
    if own || wanted.priority > priority {
        return Ok(());
    }
    let (who, until) = (&before.who, before.spec.until);
    Err(format!("{asset} is ordered by {who}, whose priority is {priority}, until {until}"))
}
