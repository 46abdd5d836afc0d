//! `sos scale`.

use reqwest::Method;
use serde_json::json;
use sos_api::wire::Scale;

use super::block_on;
use crate::client::{Body, ServerArgs};
use crate::outcome::Outcome;
use crate::output;

/// Arguments of `sos scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the service
    service: String,
    /// How many replicas are to run
    #[arg(long, value_name = "N")]
    replicas: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sets the number of replicas beside the manifest, whose owner stays.
pub(crate) fn run(args: &Args) -> Outcome {
    let client = args.server.client()?;
    block_on(async {
        let path = ["services", &args.service, "scale"];
        let body = Body::Json(json!({ "replicas": args.replicas }));
        let Scale { replicas } = client.send(Method::PUT, &path, &[], body).await?;
        output::text(&format!("Service/{} scaled to {replicas}\n", args.service))
    })
}
