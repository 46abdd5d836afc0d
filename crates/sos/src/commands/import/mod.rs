//! `sos import`: services or channels, from the documents that describe them or the cluster that they run in.

mod asyncapi;
pub(super) mod fetch;
mod kubernetes;
mod report;
mod service;

use std::path::PathBuf;

use crate::outcome::Outcome;
use crate::output::OutputArgs;

/// What is imported.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Import {
    /// A REST service from OpenAPI 3.1, 3.0 or Swagger 2
    Openapi(service::Args),
    /// A SOAP service from a WSDL 1.1, with all it imports
    Wsdl(service::WsdlArgs),
    /// A gRPC service from .proto files, a descriptor set, or the service itself by reflection (http://HOST:PORT)
    Proto(service::ProtoArgs),
    /// Channels from AsyncAPI 3.0 or 2
    Asyncapi(asyncapi::Args),
    /// What runs in a namespace of a Kubernetes cluster, as services that are watched
    Kubernetes(kubernetes::Args),
}

/// What all imports have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// File or address of the document
    source: String,
    /// Folder of the manifests, where everything is written
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Write it even if callers break by it
    #[arg(long)]
    accept_breaking: bool,
    /// Only say what would be written and what it changes
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    from: fetch::FetchArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Imports it.
pub(crate) fn run(import: &Import) -> Outcome {
    match import {
        Import::Openapi(args) => service::openapi(args),
        Import::Wsdl(args) => service::wsdl(args),
        Import::Proto(args) => service::proto(args),
        Import::Asyncapi(args) => asyncapi::run(args),
        Import::Kubernetes(args) => kubernetes::run(args),
    }
}
