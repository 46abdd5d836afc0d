//! `sos generate`: what would be deployed, to be looked at before; and the rights that it takes. No server is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sos_engine::resources::anchor;
use sos_engine::services::convert::{Surroundings, configuration};
use sos_model::{Declared, Runtime, ServiceSpec};
use sos_runtime::kubernetes::{Permission, rbac};
use sos_runtime::{preview, preview_objects};

use crate::outcome::{Failure, Outcome};
use crate::output;
use crate::yaml;

/// Arguments of `sos generate`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Manifests, or a folder of them
    #[arg(short, long, value_name = "PATH", required = true)]
    file: Option<PathBuf>,
    /// Names of services [default: all that are deployed]
    services: Vec<String>,
    /// Generate it for this runtime instead of the declared one
    #[arg(long, value_enum)]
    runtime: Option<To>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Process,
    Docker,
    Kubernetes,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the service account, role and binding that `sos` needs in a namespace, for `kubectl apply -f -`
    Rbac(RbacArgs),
}

/// Arguments of `sos generate rbac`.
#[derive(Debug, clap::Args)]
struct RbacArgs {
    /// The namespace
    #[arg(long, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Name of the service account
    #[arg(long, default_value = "sos", value_name = "NAME")]
    account: String,
    /// What `sos` is to do there; repeat it for several [default: deploy and usage]
    #[arg(long = "to", value_enum, value_name = "WHAT")]
    purposes: Vec<Purpose>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Purpose {
    /// Deploy services
    Deploy,
    /// List what runs there (sos import kubernetes)
    Import,
    /// Watch what runs there (attach: recommend)
    Recommend,
    /// Watch it and set its number of replicas (attach: scale)
    Scale,
    /// See what pods use, by the metrics API
    Usage,
    /// See what pods use where no metrics server runs, by the kubelets: a strong right
    KubeletUsage,
}

impl Purpose {
    fn permissions(self) -> &'static [Permission] {
        match self {
            Self::Deploy => &[Permission::Deploy],
            Self::Import => &[Permission::Import],
            Self::Recommend => &[Permission::Import, Permission::Watch],
            Self::Scale => &[Permission::Import, Permission::Watch, Permission::Scale],
            Self::Usage => &[Permission::Usage],
            Self::KubeletUsage => &[Permission::KubeletUsage],
        }
    }
}

/// Prints what would be deployed, or the rights.
pub(crate) fn run(args: &Args) -> Outcome {
    match (&args.what, &args.file) {
        (Some(What::Rbac(args)), _) => rights(args),
        (None, Some(file)) => descriptions(args, file),
        (None, None) => Err(Failure::input("expected -f PATH, or rbac")),
    }
}

fn rights(args: &RbacArgs) -> Outcome {
    let usual = [Purpose::Deploy, Purpose::Usage];
    let purposes = if args.purposes.is_empty() { &usual[..] } else { &args.purposes };
    let needed: Vec<Permission> =
        purposes.iter().flat_map(|purpose| purpose.permissions()).copied().collect();
    let text = rbac(&args.namespace, &args.account, &needed);
    output::text(&text.map_err(|error| Failure::input(format!("{error}; {}", error.advice())))?)
}

fn descriptions(args: &Args, file: &PathBuf) -> Outcome {
    let mut declared = sos_engine::folder::read(std::slice::from_ref(file), &[])
        .map_err(|problems| Failure::BadInput(problems.iter().map(ToString::to_string).collect()))?;
    let base = if file.is_dir() { file.as_path() } else { file.parent().unwrap_or(Path::new(".")) };
    let base = std::path::absolute(base).map_err(Failure::unsuccessful)?;
    declared.iter_mut().for_each(|one| anchor(one, &base));
    let all: BTreeMap<String, ServiceSpec> = declared.iter().filter_map(service).collect();
    if let Some(unknown) = args.services.iter().find(|name| !all.contains_key(*name)) {
        let known: Vec<_> = all.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Failure::input(format!(
            "there is no service {unknown:?} in the manifests; there are {known}"
        )));
    }
    let wanted = |name: &String| args.services.is_empty() || args.services.contains(name);
    let (mut documents, mut problems) = (Vec::new(), Vec::new());
    for (name, spec) in all.iter().filter(|(name, _)| wanted(name)) {
        match described(name, spec, args.runtime, &all, &base) {
            Ok(found) => documents.extend(found),
            Err(why) => problems.push(format!("Service/{name}: {why}")),
        }
    }
    let text: Vec<String> = documents.iter().map(yaml::to_yaml).collect();
    output::text(&text.join("---\n"))?;
    if problems.is_empty() { Ok(()) } else { Err(Failure::BadInput(problems)) }
}

/// A service that is deployed from here.
fn service(declared: &Declared) -> Option<(String, ServiceSpec)> {
    let spec = declared.service()?;
    let attached = spec.kubernetes.as_ref().is_some_and(|cluster| cluster.attach.is_some());
    (spec.external.is_none() && !attached).then(|| (declared.name.to_string(), spec.clone()))
}

fn described(
    name: &str,
    spec: &ServiceSpec,
    to: Option<To>,
    all: &BTreeMap<String, ServiceSpec>,
    base: &Path,
) -> Result<Vec<Value>, String> {
    let mut spec = spec.clone();
    if let Some(to) = to {
        spec.runtime = match to {
            To::Process => Runtime::Process,
            To::Docker => Runtime::Docker,
            To::Kubernetes => Runtime::Kubernetes,
        };
    }
    let reach = |from: &ServiceSpec, service: &str, port: &str| reached(from, service, port, all);
    let own_binary = std::env::current_exe().map_err(|error| error.to_string())?;
    let around = Surroundings {
        own_binary: &own_binary,
        services_dir: Path::new("DATA_DIR/services"),
        base_dir: base,
        reach: &reach,
        seed: 0,
        clocks: &BTreeMap::new(),
    };
    let config = configuration(name, &spec, &around)?;
    if spec.runtime != Runtime::Kubernetes {
        let description = preview(&config).map_err(|error| error.full())?;
        return Ok(vec![serde_json::to_value(description).map_err(|error| error.to_string())?]);
    }
    let namespace = spec.kubernetes.as_ref().map_or("default", |cluster| cluster.namespace.as_str());
    preview_objects(&config, namespace, spec.replicas).map_err(|error| error.full())
}

/// Where another service is reached: in a cluster at its name, elsewhere at a port that is assigned when it is deployed.
fn reached(
    from: &ServiceSpec,
    service: &str,
    port: &str,
    all: &BTreeMap<String, ServiceSpec>,
) -> Result<String, String> {
    let declared = all.get(service).and_then(|spec| spec.port(port));
    let number = declared.and_then(|declared| match from.runtime {
        Runtime::Kubernetes => declared.container_port.or(declared.port),
        _ => declared.port,
    });
    let host = if from.runtime == Runtime::Kubernetes { service } else { "127.0.0.1" };
    Ok(number.map_or_else(|| format!("${{service:{service}:{port}}}"), |number| format!("{host}:{number}")))
}
