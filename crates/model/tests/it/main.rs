//! Tests of the crate as its users see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]

mod fuzz;
mod manifests;
mod schema;
