//! `sos explain` and `sos schema`: what a kind accepts.

use sos_model::Kind;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A kind, or a field of it such as asset.battery.capacity
    #[arg(value_name = "KIND[.FIELD]")]
    path: String,
}

/// Arguments of `sos schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// A kind such as Site
    kind: String,
}

/// Prints what a kind or field is, its unit, range and default.
pub(crate) fn explain(args: &ExplainArgs) -> Outcome {
    output::text(&sos_model::explain(&args.path).map_err(Failure::input)?)
}

/// Prints the JSON Schema of a kind.
pub(crate) fn schema(args: &SchemaArgs) -> Outcome {
    let kind = Kind::resolve(&args.kind).map_err(Failure::input)?;
    output::json(&sos_model::json_schema(kind))
}
