//! Services from a cluster: what runs in a namespace as metadata, and manifests that watch it.

use std::path::{Path, PathBuf};

use sos_engine::clock::wall_now;
use sos_runtime::kubernetes::{
    Attach, Cluster, ImportedService, KubeconfigSource, KubernetesError, ManifestOptions, NamespaceImport,
    manifests,
};

use super::report::write;
use crate::commands::block_on;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, OutputArgs, Table};

/// Arguments of `sos import kubernetes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The namespace [default: that of the context]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// What is done with the workloads
    #[arg(long, value_enum, default_value = "recommend")]
    attach: Mode,
    /// Folder of the manifests, where kubernetes-NAMESPACE.yaml is written
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Replace a file that is there and says something else
    #[arg(long)]
    replace: bool,
    /// Only list what runs there
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which cluster, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The kubeconfig [default: KUBECONFIG, else ~/.kube/config, else the account of the pod that this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// They are watched, and what scaling would do is told
    Recommend,
    /// Their number of replicas is set
    Scale,
}

/// Lists what runs in a namespace, and writes manifests of it.
pub(super) fn run(args: &Args) -> Outcome {
    let ClusterArgs { kubeconfig, context } = &args.cluster;
    let source = KubeconfigSource::usual(kubeconfig.clone(), context.clone());
    let import = block_on(async {
        let cluster = Cluster::connect(&source, wall_now()).await.map_err(failure)?;
        let namespace = args.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
        cluster.import(&namespace).await.map_err(failure)
    })?;
    output::answer(args.output.format(), &table(&import), &import)?;
    import.notes.iter().for_each(output::note);
    if import.services.is_empty() {
        output::note(format!("no Deployment, StatefulSet or DaemonSet is in namespace {}", import.namespace));
        return Ok(());
    }
    let config = match kubeconfig {
        Some(file) => Some(absolute(file)?),
        None => None,
    };
    let attach = match args.attach {
        Mode::Recommend => Attach::Recommend,
        Mode::Scale => Attach::Scale,
    };
    let text = manifests(&import, &ManifestOptions { attach, config, context: context.clone() });
    let path = args.dir.join(format!("kubernetes-{}.yaml", import.namespace));
    keep(args, &path, &text)
}

/// A manifest may stand elsewhere than this command runs.
fn absolute(file: &Path) -> Result<String, Failure> {
    let found = std::fs::canonicalize(file);
    let found =
        found.map_err(|error| Failure::input(format!("{} cannot be read: {error}", file.display())))?;
    Ok(found.display().to_string())
}

/// Writes the manifests, unless that would lose what somebody has changed in them.
fn keep(args: &Args, path: &Path, text: &str) -> Outcome {
    let there = std::fs::read_to_string(path).ok();
    let same = there.as_deref() == Some(text);
    if there.is_some() && !same && !args.replace {
        return Err(Failure::unsuccessful(format!(
            "{} is there and says something else, so it is left as it is; write to another --dir and compare, or give \
             --replace",
            path.display()
        )));
    }
    if !args.dry_run && !same {
        write(path, text.as_bytes())?;
    }
    let done = match (args.dry_run, same) {
        (true, _) => "would be written",
        (false, true) => "is as it was",
        (false, false) => "written",
    };
    output::note(format!("{done}: {}", path.display()));
    Ok(())
}

fn table(import: &NamespaceImport) -> Table {
    let mut table = Table::new(&["KIND", "NAME", "READY", "IMAGE", "PORTS", "SERVICES", "REPLICAS BY"]);
    for service in &import.services {
        table.row(row(service));
    }
    table
}

fn row(service: &ImportedService) -> Vec<String> {
    let main = service.main_container();
    let ports = main.map(|main| main.ports.iter().map(|port| port.port.to_string()).collect::<Vec<_>>());
    let addresses: Vec<_> = service.addresses.iter().map(|address| address.name.clone()).collect();
    vec![
        service.workload.kind.as_str().to_owned(),
        service.workload.name.clone(),
        format!("{}/{}", service.replicas.ready, service.replicas.declared),
        main.map(|main| main.image.clone()).unwrap_or_default(),
        ports.unwrap_or_default().join(" "),
        addresses.join(" "),
        service.replica_owner.to_string(),
    ]
}

/// How an error of a cluster ends the command.
fn failure(error: KubernetesError) -> Failure {
    let text = format!("{error}; {}", error.advice());
    match error {
        KubernetesError::Kubeconfig { .. } => Failure::input(text),
        KubernetesError::Denied { .. } | KubernetesError::Unauthorized { .. } => Failure::NotPermitted(text),
        KubernetesError::Unreachable { .. } | KubernetesError::TimedOut { .. } => Failure::Unreachable(text),
        _ => Failure::unsuccessful(text),
    }
}
