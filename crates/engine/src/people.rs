//! Orders of people about assets, as they are declared: each with its author and its end.

use std::sync::Arc;

use jiff::Timestamp;
use sos_model::{Kind, OverrideSpec};
use sos_store::{Resource, Selector, Store, StoreError};

use crate::resources;

/// The field of an Override's status that names its author.
pub const ORDERED_BY: &str = "orderedBy";

/// An order with its author.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonsOrder {
    /// Name of the Override.
    pub name: String,
    /// What is ordered.
    pub spec: OverrideSpec,
    /// Who declared it: the owner of the token, or `sos up` for a folder's manifests.
    pub who: String,
}

/// All orders, at one moment.
pub type Orders = Arc<Vec<PersonsOrder>>;

/// A hold that acts, for those who would tell alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The asset.
    pub asset: String,
    /// Its end by the real clock; `None` where site time has no pace of its own.
    pub until: Option<Timestamp>,
    /// Who ordered it.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// The orders that are declared, in the order of their names; what this version does not understand is left out.
///
/// # Errors
/// What the store says.
pub fn read(store: &Store) -> Result<Orders, StoreError> {
    let found = store.list(Kind::Override.name(), &Selector::default())?;
    Ok(Arc::new(found.iter().filter_map(order).collect()))
}

fn order(resource: &Resource) -> Option<PersonsOrder> {
    let spec = resources::declared(resource)
        .inspect_err(|problem| tracing::error!(name = resource.name, problem, "an order is not understood"))
        .ok()?
        .overriding()?
        .clone();
    let who = resource.status[ORDERED_BY].as_str().unwrap_or(&resource.manager).to_owned();
    Some(PersonsOrder { name: resource.name.clone(), spec, who })
}
