//! Tests of the crate as its users see it.

mod fuzz;
mod manifests;
mod schema;
