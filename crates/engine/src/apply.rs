//! Declaring resources: all of a set or none of it, recorded, with owners respected.

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_model::{Declared, Kind, Referrer};
use sos_store::{AuditEntry, PutOutcome, Resource, Store, StoreError, Tx};

use crate::people::ORDERED_BY;
use crate::resources;

/// What an apply did, or would do, to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// `created`, `configured`, `unchanged` or `pruned`.
    pub action: &'static str,
    /// The version afterwards; 0 when it is gone.
    pub version: u64,
}

/// Who applies, and how.
#[derive(Clone, Debug)]
pub struct Applying<'a> {
    /// The owner: `dir`, `cli`.
    pub manager: &'a str,
    /// The person or program, for the audit record.
    pub who: &'a str,
    /// Why, where somebody said so.
    pub why: Option<&'a str>,
    /// Takes over what another manager owns.
    pub force: bool,
    /// Only says what would happen.
    pub dry_run: bool,
    /// Removes what the manager owned and no longer declares.
    pub prune: bool,
    /// Now.
    pub now: Timestamp,
}

/// Applies all of `declared` in one transaction.
///
/// # Errors
/// [`StoreError::Conflict`] names the owner of a resource that belongs to somebody else; nothing is applied then.
pub fn apply(store: &Store, declared: &[Declared], how: &Applying<'_>) -> Result<Vec<Applied>, StoreError> {
    let gone: Vec<Resource> =
        if how.prune { no_longer_declared(store, declared, how.manager)? } else { Vec::new() };
    let work = |tx: &mut Tx<'_>| {
        let mut applied = Vec::new();
        for one in declared {
            let before = tx.get(one.kind().name(), one.name.as_str())?;
            let put = resources::put(one, how.manager, how.force, how.dry_run);
            let outcome = tx.put(&put)?;
            let result = one_applied(one, &outcome);
            if result.action != "unchanged" && !how.dry_run {
                tx.audit(&entry(how, "apply", &one.id(), before.as_ref(), Some(one.to_json())))?;
                author(tx, one, how)?;
            }
            applied.push(result);
        }
        for resource in &gone {
            if !how.dry_run {
                tx.audit(&entry(
                    how,
                    "prune",
                    &format!("{}/{}", resource.kind, resource.name),
                    Some(resource),
                    None,
                ))?;
                tx.delete(&resource.kind, &resource.name, None)?;
            }
            let (kind, name) = (resource.kind.clone(), resource.name.clone());
            applied.push(Applied { kind, name, action: "pruned", version: 0 });
        }
        Ok(applied)
    };
    store.commit(work)
}

/// Orders of people keep their author, so that everyone who sees one knows whom to ask.
fn author(tx: &mut Tx<'_>, declared: &Declared, how: &Applying<'_>) -> Result<(), StoreError> {
    if declared.kind() == Kind::Override {
        let status = json!({ ORDERED_BY: how.who, "orderedAt": how.now.to_string() });
        tx.put_status(declared.kind().name(), declared.name.as_str(), "sos/apply", &status)?;
    }
    Ok(())
}

fn one_applied(declared: &Declared, outcome: &PutOutcome) -> Applied {
    Applied {
        kind: declared.kind().name().to_owned(),
        name: declared.name.to_string(),
        action: match (outcome.created, outcome.changed) {
            (true, _) => "created",
            (false, true) => "configured",
            (false, false) => "unchanged",
        },
        version: outcome.version,
    }
}

fn no_longer_declared(
    store: &Store,
    declared: &[Declared],
    manager: &str,
) -> Result<Vec<Resource>, StoreError> {
    let still = |resource: &Resource| {
        declared.iter().any(|one| one.kind().name() == resource.kind && one.name.as_str() == resource.name)
    };
    Ok(store.list_owned(manager)?.into_iter().filter(|resource| !still(resource)).collect())
}

fn entry(
    how: &Applying<'_>,
    what: &str,
    target: &str,
    before: Option<&Resource>,
    after: Option<Value>,
) -> AuditEntry {
    AuditEntry {
        time: how.now,
        who: how.who.to_owned(),
        what: what.to_owned(),
        target: target.to_owned(),
        why: how.why.map_or_else(|| format!("declared by {}", how.manager), ToOwned::to_owned),
        before: before.map(resources::manifest),
        after,
    }
}

/// Deletes a resource, unless others refer to it and `force` is not set: then nothing is changed, and the answer is
/// who refers to it. The caller has recorded the command.
///
/// # Errors
/// What the store says.
pub fn delete(store: &Store, kind: Kind, name: &str, force: bool) -> Result<Vec<Referrer>, StoreError> {
    store.commit(|tx| {
        if !force {
            let all = tx.list_all()?;
            let all: Vec<Declared> = all.iter().filter_map(|one| resources::declared(one).ok()).collect();
            let referrers = sos_model::referrers(kind, name, &all);
            if !referrers.is_empty() {
                return Ok(referrers);
            }
        }
        tx.delete(kind.name(), name, None)?;
        Ok(Vec::new())
    })
}

/// What an apply would change, field by field.
///
/// # Errors
/// What the store says.
pub fn diff(
    store: &Store,
    declared: &[Declared],
) -> Result<Vec<(Applied, Vec<sos_model::FieldChange>)>, StoreError> {
    declared
        .iter()
        .map(|one| {
            let stored = store.get(one.kind().name(), one.name.as_str())?;
            let before = stored.as_ref().map_or_else(|| json!({}), canonical);
            let changes = sos_model::diff(&before, &one.to_json());
            let action = match (&stored, changes.is_empty()) {
                (None, _) => "created",
                (Some(_), false) => "configured",
                (Some(_), true) => "unchanged",
            };
            let version = stored.map_or(0, |resource| resource.version);
            let (kind, name) = (one.kind().name().to_owned(), one.name.to_string());
            Ok((Applied { kind, name, action, version }, changes))
        })
        .collect()
}

/// A stored resource as it would be declared now: what it leaves to defaults is no difference from what states them.
fn canonical(resource: &Resource) -> Value {
    resources::declared(resource).map_or_else(|_| resources::manifest(resource), |one| one.to_json())
}

/// All declared resources of a store; those that this version does not understand are left out.
///
/// # Errors
/// What the store says.
pub fn declared(store: &Store) -> Result<Vec<Declared>, StoreError> {
    let all = store.list_all()?;
    Ok(all.iter().filter_map(|resource| resources::declared(resource).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICES: &str = "apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: base}\nspec: {command: [sleep]}\n---\n\
        apiVersion: sos.energy/v1alpha1\nkind: Service\nmetadata: {name: web}\nspec: {command: [sleep], dependsOn: [base]}\n";

    fn declared(text: &str) -> Vec<Declared> {
        sos_model::load_checked(&[("a.yaml".into(), text.into())], &[]).unwrap()
    }

    fn applied(manager: &str, prune: bool) -> Applying<'_> {
        let now = Timestamp::UNIX_EPOCH;
        Applying { manager, who: "test", why: None, force: false, dry_run: false, prune, now }
    }

    #[test]
    fn what_is_stored_does_not_differ_from_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        let declared = declared(SERVICES);
        apply(&store, &declared, &applied("dir", true)).unwrap();
        for (one, changes) in diff(&store, &declared).unwrap() {
            assert_eq!((one.action, changes), ("unchanged", Vec::new()), "{}", one.name);
        }
        let again = apply(&store, &declared, &Applying { dry_run: true, ..applied("cli", false) }).unwrap();
        assert!(again.iter().all(|one| one.action == "unchanged"), "{again:?}");
    }

    #[test]
    fn what_others_refer_to_is_deleted_only_by_force_or_together_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        apply(&store, &declared(SERVICES), &applied("dir", true)).unwrap();
        let referrers = delete(&store, Kind::Service, "base", false).unwrap();
        let expected = Referrer { id: "Service/web".into(), field: "spec.dependsOn[0]".into() };
        assert_eq!(referrers, [expected]);
        assert!(store.get("Service", "base").unwrap().is_some(), "nothing was changed");
        assert_eq!(delete(&store, Kind::Service, "web", false).unwrap(), []);
        assert_eq!(delete(&store, Kind::Service, "base", false).unwrap(), []);
        assert!(store.list_all().unwrap().is_empty());

        apply(&store, &declared(SERVICES), &applied("dir", true)).unwrap();
        assert_eq!(delete(&store, Kind::Service, "base", true).unwrap(), []);
        apply(&store, &declared(SERVICES), &applied("dir", true)).unwrap();
        let other = declared(&SERVICES.replace("base", "b").replace("web", "w"));
        let pruned = apply(&store, &other, &applied("dir", true)).unwrap();
        assert_eq!(pruned.iter().filter(|one| one.action == "pruned").count(), 2, "{pruned:?}");
    }
}
