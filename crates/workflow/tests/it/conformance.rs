//! The documents of the specification, and the verdict of its JSON Schema on documents that are broken.
//!
//! They are read from the folder in `WORKFLOW_CASES_DIR`, which has `examples/`, `ctk/features/` and `schema/workflow.yaml`.
//! `WORKFLOW_MUTATIONS` sets how many broken documents are made of each.

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value as Json;
use sos_workflow::{Document, read};

use crate::mutate::Mutator;
use crate::skipped::skipped;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("WORKFLOW_CASES_DIR").map(PathBuf::from);
    if folder.is_none() {
        skipped(
            "WORKFLOW_CASES_DIR names no folder with examples, ctk and schema of the Open Workflow specification",
        );
    }
    folder
}

fn json(text: &str) -> Json {
    read(text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).root().to_json()
}

fn files(folder: &Path, ending: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).expect("the folder exists");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let named = files.into_iter().filter(|path| path.extension().is_some_and(|known| known == ending));
    named.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("text"))).collect()
}

/// The definitions in the scenarios: the first block of text after each `with definition`.
fn scenarios(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in files(&folder.join("ctk/features"), "feature") {
        for (index, part) in text.split("with definition:").skip(1).enumerate() {
            let block = part.split("\"\"\"").nth(1).expect("a block").trim_start_matches("yaml");
            found.push((format!("{path}#{index}"), block.to_owned()));
        }
    }
    found
}

fn documents(folder: &Path) -> Vec<(String, String)> {
    let mut documents = files(&folder.join("examples"), "yaml");
    documents.extend(scenarios(folder));
    documents
}

/// The schema. Formats are not asserted, as draft 2020-12 has it; then two of its rules refuse every expression, since
/// it is text and an expression at once: `time` of events and `instance` of errors. Both are mended to be either.
fn schema(folder: &Path, mended: bool) -> Validator {
    let text = std::fs::read_to_string(folder.join("schema/workflow.yaml")).expect("the schema");
    let mut schema = json(&text);
    if mended {
        for place in ["/$defs/error/properties/instance", "/$defs/eventProperties/properties/time"] {
            let rule = schema.pointer_mut(place).and_then(Json::as_object_mut).expect("the rule");
            let either = rule.remove("oneOf").expect("its choices");
            rule.insert("anyOf".to_owned(), either);
        }
    }
    jsonschema::options().should_validate_formats(false).build(&schema).expect("a schema")
}

#[test]
fn every_document_of_the_specification_is_right() {
    let Some(folder) = folder() else { return };
    let documents = documents(&folder);
    assert!(documents.len() >= 68 + 21, "only {} documents in {}", documents.len(), folder.display());
    let wrong: Vec<String> = documents
        .iter()
        .filter_map(|(path, text)| Some(format!("{path}\n{}", read(text).unwrap().check().err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn two_rules_of_the_schema_refuse_every_expression_and_are_not_followed() {
    let Some(folder) = folder() else { return };
    let head = "document: {dsl: '1.0.3', namespace: a, name: b, version: '1.0.0'}\ndo:\n";
    for task in [
        "- a: {emit: {event: {with: {type: t, time: '${ now | todate }'}}}}",
        "- a: {raise: {error: {type: 'https://a', status: 400, instance: '${ .at }'}}}",
    ] {
        let document = read(&format!("{head}{task}")).expect("a document");
        let json = document.root().to_json();
        assert!(!schema(&folder, false).is_valid(&json) && schema(&folder, true).is_valid(&json), "{task}");
        assert_eq!(document.problems(), None, "{task}");
    }
}

/// What was compared, and what came of it.
#[derive(Default)]
struct Compared {
    all: usize,
    refused: usize,
    /// Documents that only the two mended rules refuse.
    mended: usize,
    differences: Vec<String>,
}

impl Compared {
    fn compare(&mut self, path: &str, broken: &Json, schema: &Validator, as_it_is: &Validator) {
        let expected = schema.is_valid(broken);
        self.all += 1;
        self.refused += usize::from(!expected);
        self.mended += usize::from(expected != as_it_is.is_valid(broken));
        let problems = Document::from_json(broken).map_or_else(Some, |document| document.problems());
        let ours = problems.as_ref().is_none_or(|problems| !problems.breaks_schema());
        if ours != expected {
            let errors = schema.iter_errors(broken).map(|error| format!("{} {error}", error.instance_path()));
            let (errors, ours) = (errors.collect::<Vec<_>>(), problems.map(|problems| problems.to_string()));
            let ours = ours.unwrap_or_default();
            self.differences.push(format!("{path}: the schema {errors:.300?}\nwe {ours}\n{broken}"));
        }
    }
}

#[test]
fn the_verdict_on_broken_documents_is_that_of_the_schema() {
    let Some(folder) = folder() else { return };
    let each: usize = std::env::var("WORKFLOW_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (mended, as_it_is) = (schema(&folder, true), schema(&folder, false));
    let mut documents: Vec<(String, Json)> =
        documents(&folder).into_iter().map(|(path, text)| (path, json(&text))).collect();
    // The one that has much of the DSL counts as much as twenty.
    let everything = json(include_str!("../../../../cases/workflow/everything.yaml"));
    documents.extend((0..20).map(|part| (format!("everything.yaml {part}"), everything.clone())));
    assert!(documents.iter().all(|(_, document)| as_it_is.is_valid(document)));
    let mut mutator = Mutator::new(103);
    let mut compared = Compared::default();
    for (path, document) in &documents {
        for _ in 0..each {
            let donor = &mutator.pick(&documents).1;
            compared.compare(path, &mutator.broken(document, donor), &mended, &as_it_is);
        }
    }
    let Compared { all, refused, mended, differences } = compared;
    println!("{all} broken documents, {refused} refused, {mended} of the rest only by the two mended rules");
    let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} of {all} differ\n{shown}", differences.len());
    assert!(
        refused * 10 > all * 3 && refused * 10 < all * 9,
        "{refused} of {all} are refused: too few or too many"
    );
}
