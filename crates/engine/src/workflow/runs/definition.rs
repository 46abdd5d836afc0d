//! What is declared of a workflow, ready to run; and what a run keeps of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sos_model::{Declared, Problem, WorkflowLimits, WorkflowSource, WorkflowSpec};
use sos_workflow::Document;
use sos_workflow::program::{Program, Resources};

use crate::waiting::{self, Sites};
use crate::workflow::executor::{Allowed, Executor, Reach, Within};
use crate::workflow::resources::{Unloaded, load};

/// A workflow that can run.
pub(super) struct Workflow {
    pub(super) name: String,
    pub(super) spec: WorkflowSpec,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) kept: Kept,
    pub(super) executor: Executor,
    /// What is declared of its runs as a whole, when they wait for permits.
    pub(super) permit: Option<Value>,
    text: String,
}

impl Workflow {
    /// Whether its file is no longer what was read.
    pub(super) fn is_changed(&self) -> bool {
        text(&self.name, &self.spec, Path::new(".")).is_ok_and(|(text, ..)| text != self.text)
    }
}

/// What runs keep of what they do.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) program: Arc<Program>,
    pub(super) digest: [u8; 32],
    pub(super) body: Arc<[u8]>,
}

impl Kept {
    fn new(program: Program, resources: &Resources) -> Self {
        let body = json!({ "document": program.definition().json(), "resources": resources }).to_string();
        let digest = Sha256::digest(body.as_bytes()).into();
        Self { program: Arc::new(program), digest, body: Arc::from(body.into_bytes()) }
    }

    /// What was kept, as a program.
    pub(super) fn read(body: &[u8]) -> Result<Program, String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let definition = Document::from_json(&value["document"]).and_then(|document| document.check());
        let definition = definition.map_err(|problems| problems.to_string())?;
        let resources: Resources =
            serde_json::from_value(value["resources"].clone()).map_err(|error| error.to_string())?;
        Program::build(definition, &resources).map_err(|unbuilt| format!("{unbuilt:?}"))
    }
}

/// The text of a document, what it is called, and the folder of what it refers to.
fn text(name: &str, spec: &WorkflowSpec, base: &Path) -> Result<(String, String, PathBuf), String> {
    match &spec.source {
        WorkflowSource::Document(text) => {
            Ok((text.clone(), format!("Workflow/{name}: document"), base.to_owned()))
        }
        WorkflowSource::File(path) => {
            let bytes =
                crate::folder::read_bounded(Path::new(path)).map_err(|problem| problem.to_string())?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{path}: no text in UTF-8"))?;
            let folder = Path::new(path).parent().unwrap_or(base);
            Ok((text, path.clone(), folder.to_owned()))
        }
    }
}

/// What is wrong with the documents of declared workflows, whose paths are absolute; `stored` is what is declared beside them.
pub fn check(declared: &[Declared], stored: &[Declared]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for one in declared {
        let Some(spec) = one.workflow() else { continue };
        let field = match spec.source {
            WorkflowSource::File(_) => "spec.file",
            WorkflowSource::Document(_) => "spec.document",
        };
        match text(&one.name, spec, Path::new(".")) {
            Err(why) => {
                problems.push(one.problem(field, why, "expected a document in the Open Workflow DSL"))
            }
            Ok((text, name, _)) => {
                let read = sos_workflow::read(&text).and_then(|document| document.check());
                let found = match read {
                    Ok(definition) => {
                        let sites = Sites { declared: [declared, stored] };
                        waiting::check(&text, &definition, spec.flexible.is_some(), Some(&sites))
                    }
                    Err(found) => found.all().to_vec(),
                };
                let lines = found.iter().map(|problem| problem.in_file(&name).to_string());
                let of_file = matches!(spec.source, WorkflowSource::File(_));
                problems.extend(lines.map(|line| {
                    if of_file { Problem::in_file("", line, "") } else { one.problem(field, line, "") }
                }));
            }
        }
    }
    problems
}

/// A declared workflow, with all that its document needs.
pub(super) async fn read(declared: &Declared, base: &Path, reach: &Reach) -> Result<Workflow, String> {
    let spec = declared.workflow().ok_or("no workflow")?;
    let (text, name, folder) = text(&declared.name, spec, base)?;
    let told = |problems: sos_workflow::Problems| {
        let lines = problems.all().iter().map(|problem| problem.in_file(&name).to_string());
        lines.collect::<Vec<_>>().join("; ")
    };
    let document = sos_workflow::read(&text).map_err(told)?;
    let definition = document.check().map_err(told)?;
    let wrong = waiting::check(&text, &definition, spec.flexible.is_some(), None);
    if !wrong.is_empty() {
        let lines = wrong.iter().map(|problem| problem.in_file(&name).to_string());
        return Err(lines.collect::<Vec<_>>().join("; "));
    }
    let mut reach = reach.clone();
    for rule in &spec.egress {
        reach.egress = reach.egress.allow(rule).map_err(|why| format!("spec.egress: {why}"))?;
    }
    let within = |limits: &WorkflowLimits| Within {
        memory: limits.memory.0,
        network: limits.network,
        timeout: crate::calls::duration(limits.timeout),
    };
    let allowed =
        Allowed { shell: spec.shell.as_ref().map(within), containers: spec.containers.as_ref().map(within) };
    let executor = Executor::new(&reach, allowed, folder).map_err(|error| error.to_string())?;
    let loaded = load(&executor, &definition).await;
    let (program, resources) = loaded.map_err(|why| match why {
        Unloaded::Unfetched(address, why) => format!("{address} is needed: {why}"),
        Unloaded::Unbuilt(unbuilt) => {
            let lines = unbuilt.refused.iter().map(|one| one.problem(&document).in_file(&name).to_string());
            lines.collect::<Vec<_>>().join("; ")
        }
    })?;
    Ok(Workflow {
        name: declared.name.to_string(),
        spec: spec.clone(),
        labels: declared.labels.clone(),
        kept: Kept::new(program, &resources),
        executor,
        permit: spec.flexible.as_ref().map(sos_model::field::Field::write),
        text,
    })
}
