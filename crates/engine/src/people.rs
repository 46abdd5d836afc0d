//! Orders of people and of rules about assets, as they are declared: each with its author and its end.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sos_model::{API_VERSION, Declared, Kind, OverrideSpec, Problem};
use sos_store::{Resource, Selector, Store, StoreError};
use thiserror::Error;

use crate::{apply, resources};

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

/// What an order says.
#[derive(Clone, Debug)]
pub struct Ordering<'a> {
    /// Name of the Override.
    pub name: &'a str,
    /// The asset.
    pub asset: &'a str,
    /// Positive into the site; none for a hold.
    pub power_kw: Option<f64>,
    /// Its end.
    pub until: Timestamp,
    /// Why.
    pub reason: &'a str,
    /// An object of texts.
    pub annotations: Value,
}

/// Why there is no order.
#[derive(Debug, Error)]
pub enum NotOrdered {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is wrong with it.
    #[error("{}", resources::in_one_line(.0))]
    Wrong(Vec<Problem>),
}

impl Ordering<'_> {
    /// The order as a resource that was checked like a manifest.
    ///
    /// # Errors
    /// What is wrong with it, or what the store says.
    pub fn declared(&self, store: &Store) -> Result<Declared, NotOrdered> {
        let mut spec = json!({ "asset": self.asset, "until": self.until.to_string(), "reason": self.reason });
        match self.power_kw {
            Some(kw) => spec["power"] = json!(format!("{kw} kW")),
            None => spec["hold"] = json!(true),
        }
        let manifest = json!({
            "apiVersion": API_VERSION,
            "kind": Kind::Override.name(),
            "metadata": { "name": self.name, "annotations": self.annotations },
            "spec": spec,
        });
        let label = format!("Override/{}", self.name);
        let declared = Declared::from_json(&label, &manifest).map_err(NotOrdered::Wrong)?;
        let known = apply::declared(store)?;
        let problems = sos_model::check(std::slice::from_ref(&declared), &known);
        if problems.is_empty() { Ok(declared) } else { Err(NotOrdered::Wrong(problems)) }
    }
}

/// The longest name from which others are made by a number.
const LONGEST: usize = 58;

/// A name that no order has: this one, shortened, where it is free.
///
/// # Errors
/// What the store says.
pub fn free_name(store: &Store, wanted: &str) -> Result<String, StoreError> {
    let taken = store.list(Kind::Override.name(), &Selector::all())?;
    let short = wanted.get(..LONGEST).unwrap_or(wanted);
    let mut number = 1;
    let mut free = short.to_owned();
    while taken.iter().any(|one| one.name == free) {
        number += 1;
        free = format!("{short}-{number}");
    }
    Ok(free)
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
