//! What a contract has become since it was last seen: compared, told, kept.

use serde_json::json;
use sos_call::{Contract, Difference, DifferenceKind, compare_contracts};
use sos_store::{EventType, Store};

use super::Calls;
use crate::clock::wall_now;

/// Most differences that one event names.
const NAMED: usize = 5;

fn key(service: &str) -> String {
    format!("contract/{service}")
}

/// The contract as it was last seen.
fn last_seen(store: &Store, service: &str) -> Option<Contract> {
    let kept = store.get_kv(&key(service)).ok().flatten()?;
    // One that an older version kept in another form is as good as none.
    serde_json::from_value(kept).ok()
}

/// Compares a contract with the one that was last seen, tells what changed by an event, and keeps it.
pub(super) fn note(calls: &Calls, service: &str, contract: &Contract) {
    let store = &calls.0.store;
    let before = last_seen(store, service);
    if before.as_ref() == Some(contract) {
        return;
    }
    if let Err(error) = store.commit(|tx| tx.put_kv(&key(service), &json!(contract))) {
        tracing::warn!(%error, service, "the contract cannot be kept to compare it with the next one");
    }
    let Some(before) = before else { return };
    let differences = compare_contracts(&before, contract);
    let breaking = differences.iter().filter(|one| one.kind == DifferenceKind::Breaking).count();
    let level = if breaking > 0 { EventType::Warning } else { EventType::Normal };
    calls.tell(service, level, "ContractChanged", sentence(&differences, breaking), wall_now());
}

/// `2 breaking and 1 compatible changes: getOffer /input: …; …`, the breaking ones first.
fn sentence(differences: &[Difference], breaking: usize) -> String {
    let mut sorted: Vec<&Difference> = differences.iter().collect();
    sorted.sort_by_key(|one| one.kind != DifferenceKind::Breaking);
    let named: Vec<String> = sorted.iter().take(NAMED).map(|one| told(one)).collect();
    let more = differences.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    let others = differences.len() - breaking;
    format!("{breaking} breaking and {others} other changes: {}{rest}", named.join("; "))
}

/// `getOffer /input/kwh: …`
fn told(one: &Difference) -> String {
    let place = [one.operation.as_str(), one.place.as_str()].join(" ");
    format!("{}: {}", place.trim(), one.change)
}
