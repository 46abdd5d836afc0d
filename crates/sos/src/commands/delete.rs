//! `sos delete`.

use reqwest::Method;
use serde_json::Value;

use super::block_on;
use super::resource::{kind_name, parse_one};
use crate::client::{Body, ServerArgs};
use crate::outcome::Outcome;
use crate::output;

/// Arguments of `sos delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kind, also as plural or short name, or KIND/NAME
    kind: String,
    /// Name of the resource
    name: Option<String>,
    /// Also when other resources refer to it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Removes a resource and what runs for it.
pub(crate) fn run(args: &Args) -> Outcome {
    let (kind, name) = parse_one(&args.kind, args.name.as_deref())?;
    let client = args.server.client()?;
    block_on(async {
        let path = ["resources", kind_name(kind), &name];
        let query: Vec<(&str, String)> =
            args.force.then(|| ("force", "true".to_owned())).into_iter().collect();
        let _: Value = client.send(Method::DELETE, &path, &query, Body::None).await?;
        output::text(&format!("{}/{name} deleted\n", kind_name(kind)))
    })
}
