//! `run: workflow` without a server: the other document lies in the same folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use sos_workflow::machine::{Begin, Ended, Fault};
use sos_workflow::template::{data, json as to_json};
use sos_workflow::{Definition, ErrorType};

use super::drive::{Drove, Happened, Host, Start, drive, now};
use super::executor::{Executor, text, wrong};
use super::resources::{Unloaded, load};
use super::version::{LATEST, precedence};

/// How deep workflows may run workflows.
const DEEPEST: u32 = 32;
/// The most files that are looked into.
const MOST_FILES: usize = 1_000;

/// What it goes through is not kept: the run that it belongs to begins it anew, with the same keys.
struct Nobody;

impl Host for Nobody {
    async fn keep(&mut self, _: Happened<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Runs another workflow to its end. Boxed, because it may run others.
pub(super) fn run<'a>(
    executor: &'a Executor,
    key: &'a str,
    with: &'a Value,
) -> BoxFuture<'a, Result<Value, Fault>> {
    async move {
        let named = named(with);
        if executor.depth >= DEEPEST {
            let detail = format!("workflows run workflows deeper than {DEEPEST}: one that runs itself?");
            return Err(Fault::of(ErrorType::Runtime, "Too deep", detail));
        }
        let definition = found(&executor.base, named)?;
        if !definition.r#use.secrets.is_empty() {
            return Err(wrong("workflows that are run by others get no secrets without a server"));
        }
        let mut executor = executor.clone();
        executor.depth += 1;
        let loaded = load(&executor, &definition, &json!({})).await;
        let (program, _) = loaded.map_err(|why| match why {
            Unloaded::Unfetched(address, why) => wrong(format!("{address} is needed: {why}")),
            Unloaded::Unbuilt(unbuilt) => {
                let said = unbuilt.refused.iter().map(|one| format!("{}: {}", one.reference, one.why));
                wrong(said.collect::<Vec<_>>().join("; "))
            }
        })?;
        let input = named.get("input").cloned().unwrap_or_else(|| json!({}));
        let (id, secrets) = (key.to_owned(), data(&json!({})));
        let begin = Begin { id, input: data(&input), secrets, at: now(), permit: None };
        let start = Start { program: Arc::new(program), begin, entries: Vec::new(), outside: None };
        match drive(start, Arc::new(executor), &mut Nobody).await {
            Ok(Drove::Ended(Ended::Completed(output))) => Ok(to_json(&output)),
            Ok(Drove::Ended(Ended::Faulted(fault))) => Err(fault),
            Ok(_) => Err(Fault::of(ErrorType::Runtime, "Cancelled", "the workflow was cancelled")),
            Err(why) => Err(Fault::of(ErrorType::Runtime, "The workflow did not end", why)),
        }
    }
    .boxed()
}

/// Which workflow the arguments of a task name.
pub(super) fn named(with: &Value) -> &Value {
    with.get("with").unwrap_or(with)
}

/// The document of a workflow in a folder.
pub(super) fn found(base: &Path, named: &Value) -> Result<Definition, Fault> {
    let (namespace, name) = (text(named, "namespace")?, text(named, "name")?);
    let version = named.get("version").and_then(Value::as_str).unwrap_or(LATEST);
    let mut files: Vec<PathBuf> = match std::fs::read_dir(base) {
        Ok(entries) => entries.take(MOST_FILES).flatten().map(|entry| entry.path()).collect(),
        Err(error) => return Err(wrong(format!("{} cannot be read: {error}", base.display()))),
    };
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
    files.sort();
    let definitions = files.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        sos_workflow::read(&text).ok()?.check().ok()
    });
    let fits = |definition: &Definition| {
        let document = &definition.document;
        document.namespace == namespace
            && document.name == name
            && (version == LATEST || document.version == version)
    };
    let mut fitting = definitions.filter(fits);
    let chosen = if version == LATEST {
        fitting.max_by(|a, b| precedence(&a.document.version).cmp(&precedence(&b.document.version)))
    } else {
        fitting.next()
    };
    chosen.ok_or_else(|| {
        let detail = format!("no document in {} is {namespace}/{name} {version}", base.display());
        Fault::of(ErrorType::Configuration, "No such workflow", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_the_one_with_the_greatest_version() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["0.1.0", "0.10.0", "0.2.0"] {
            let text =
                format!("document: {{dsl: '1.0.3', namespace: n, name: w, version: '{version}'}}\ndo: []\n");
            std::fs::write(folder.path().join(format!("{version}.yaml")), text).unwrap();
        }
        let version = |named: Value| found(folder.path(), &named).map(|found| found.document.version);
        let named = json!({"namespace": "n", "name": "w"});
        assert_eq!(version(named.clone()).unwrap(), "0.10.0");
        assert_eq!(version(json!({"namespace": "n", "name": "w", "version": "latest"})).unwrap(), "0.10.0");
        assert_eq!(version(json!({"namespace": "n", "name": "w", "version": "0.2.0"})).unwrap(), "0.2.0");
        assert!(version(json!({"namespace": "n", "name": "w", "version": "0.3.0"})).is_err());
    }
}
