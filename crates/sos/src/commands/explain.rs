//! `sos explain` and `sos schema`: what a manifest may say.

use sos_model::Kind;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A kind or one of its fields, e.g. asset.spec.battery
    #[arg(value_name = "KIND[.FIELD]")]
    path: String,
}

/// Arguments of `sos schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    /// The kind
    kind: String,
}

/// Explains a kind or a field.
pub(crate) fn explain(args: &ExplainArgs) -> Outcome {
    output::text(&sos_model::explain(&args.path).map_err(Failure::input)?)
}

/// Prints the JSON Schema of a kind.
pub(crate) fn schema(args: &SchemaArgs) -> Outcome {
    output::json(&sos_model::json_schema(Kind::resolve(&args.kind).map_err(Failure::input)?))
}
