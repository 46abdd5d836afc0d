//! What is declared of a workflow, ready to run; and what a run keeps of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sos_model::{Declared, Problem, WorkflowLimits, WorkflowSource, WorkflowSpec};
use sos_store::Store;
use sos_workflow::program::{Program, Resources};
use sos_workflow::{Definition, Document};

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

/// Everything that is wrong with the text of a document, in its order; `whole`: its runs wait as a whole.
pub(crate) fn check_document(
    text: &str,
    whole: bool,
    sites: Option<&Sites<'_>>,
) -> Vec<sos_workflow::Problem> {
    let (found, definition) = match sos_workflow::read(text) {
        Ok(document) => (document.all_problems(), document.check().ok()),
        Err(found) => (Some(found), None),
    };
    let mut all = found.as_ref().map_or(Vec::new(), |found| found.all().to_vec());
    all.extend(definition.iter().flat_map(|definition| waiting::check(text, definition, whole, sites)));
    all.sort_by_key(|problem| problem.position);
    if found.is_some_and(|found| found.are_more()) {
        all.push(sos_workflow::Problem {
            kind: sos_workflow::ProblemKind::Text,
            position: sos_model::Position::NONE,
            path: String::new(),
            message: "there are more problems".to_owned(),
            help: "mend these first".to_owned(),
        });
    }
    all
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
                let sites = Sites { declared: [declared, stored] };
                let found = check_document(&text, spec.flexible.is_some(), Some(&sites));
                let of_file = matches!(spec.source, WorkflowSource::File(_));
                problems.extend(found.iter().map(|problem| problem.in_file(&name)).map(|problem| {
                    if of_file { problem } else { one.problem(field, problem.to_string(), "") }
                }));
            }
        }
    }
    problems
}

/// The secrets that a document declares, as far as they are there: what it needs from elsewhere may ask who it is.
fn secrets(store: &Store, definition: &Definition) -> Value {
    let there = definition.r#use.secrets.iter().filter_map(|name| {
        let keys = crate::services::secrets::all(store, name).ok()?;
        Some((name.clone(), keys))
    });
    Value::Object(there.collect())
}

/// A declared workflow, with all that its document needs.
pub(super) async fn read(
    declared: &Declared,
    base: &Path,
    reach: &Reach,
    store: &Store,
) -> Result<Workflow, String> {
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
    let loaded = load(&executor, &definition, &secrets(store, &definition)).await;
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
