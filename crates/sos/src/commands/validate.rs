//! `sos validate`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sos_model::Problem;

use crate::outcome::{Failure, Outcome};
use crate::output;

/// Arguments of `sos validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests, workflow documents, or folders of them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Reads all manifests, the series they name and all workflow documents, and lists every problem.
pub(crate) fn run(args: &Args) -> Outcome {
    let documents = sos_engine::folder::documents(&args.paths);
    let is_document = |path: &PathBuf| documents.iter().any(|(document, _)| document == path);
    let manifests: Vec<PathBuf> = args.paths.iter().filter(|path| !is_document(path)).cloned().collect();
    let (declared, mut problems) = match manifests.as_slice() {
        [] => (Vec::new(), Vec::new()),
        manifests => match sos_engine::folder::read(manifests, &[]) {
            Ok(declared) => (declared, Vec::new()),
            Err(problems) => (Vec::new(), problems),
        },
    };
    // What a manifest names has been told with it.
    let told: Vec<PathBuf> = problems.iter().map(|problem| whole(Path::new(&problem.path))).collect();
    let untold = documents.iter().filter(|(path, _)| !told.contains(&whole(path)));
    problems.extend(untold.flat_map(|(path, text)| wrong(path, text)));
    if !problems.is_empty() {
        return Err(Failure::BadInput(problems.iter().map(ToString::to_string).collect()));
    }
    let mut kinds = BTreeMap::new();
    for one in &declared {
        *kinds.entry(one.kind()).or_insert(0) += 1;
    }
    let mut kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    if !documents.is_empty() {
        kinds.push(format!("{} workflow documents", documents.len()));
    }
    let count = declared.len() + documents.len();
    output::text(&format!("{count} resources are valid: {}\n", kinds.join(", ")))
}

fn wrong(path: &Path, text: &str) -> Vec<Problem> {
    let name = path.display().to_string();
    sos_engine::workflow::check_document(text).iter().map(|problem| problem.in_file(&name)).collect()
}

/// The same path whatever it was called.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
