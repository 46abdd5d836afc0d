//! A contract's documents: collected by what refers to what, kept beside a manifest, read again.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sos_call::{CallError, Documents, grpc, rest, soap};
use url::Url;

/// Most documents of one contract.
const MAX_DOCUMENTS: usize = 500;
/// Most bytes of all documents of one contract.
const MAX_BYTES: usize = 64 << 20;
/// Name of the file that tells which document has which name, where several belong together.
pub const CATALOG: &str = "catalog.json";

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// OpenAPI or Swagger, and what it refers to; AsyncAPI too.
    OpenApi,
    /// WSDL and XSD.
    Wsdl,
    /// `.proto`; names are import paths.
    Proto,
}

impl Notation {
    fn references(self, name: &str, text: &[u8]) -> Result<Vec<String>, CallError> {
        match self {
            Self::OpenApi => rest::references(name, text),
            Self::Wsdl => soap::imports(name, text),
            Self::Proto => grpc::imports(name, text),
        }
    }

    /// The name of what `base` refers to as `reference`.
    fn resolve(self, base: &str, reference: &str) -> String {
        match self {
            // Import paths are relative to one root.
            Self::Proto => reference.to_owned(),
            Self::OpenApi | Self::Wsdl => resolve(base, reference),
        }
    }
}

/// Which document has which name, in a file beside them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    /// The first is the one that is meant.
    documents: Vec<CatalogEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogEntry {
    /// As other documents refer to it.
    name: String,
    /// The file beside the catalog.
    file: String,
}

/// A reference, resolved against the name of the document that it stands in: an address or a relative path.
#[must_use]
pub fn resolve(base: &str, reference: &str) -> String {
    if let Ok(base) = Url::parse(base) {
        return base.join(reference).map_or_else(|_| reference.to_owned(), String::from);
    }
    if Url::parse(reference).is_ok() || reference.starts_with('/') {
        return reference.to_owned();
    }
    let folder = Path::new(base).parent().unwrap_or(Path::new(""));
    normal(&folder.join(reference)).display().to_string()
}

/// A path without `.` and, where that is possible, without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Collects the documents `first`, what they refer to, what that refers to, and so on. What `fetch` says is not there
/// (`None`) is left out: readers say where it is missing, when they need it.
///
/// # Errors
/// What cannot be fetched, too many documents or bytes, or a document in which no references can be found.
pub async fn collect<F>(notation: Notation, first: &[String], mut fetch: F) -> Result<Documents, String>
where
    F: AsyncFnMut(&str) -> Result<Option<Vec<u8>>, String>,
{
    let mut documents = Documents::default();
    let mut known: BTreeSet<String> = first.iter().cloned().collect();
    let mut queue: VecDeque<String> = first.iter().cloned().collect();
    let mut bytes = 0;
    while let Some(name) = queue.pop_front() {
        let Some(text) = fetch(&name).await? else { continue };
        bytes += text.len();
        if bytes > MAX_BYTES || documents.all.len() >= MAX_DOCUMENTS {
            return Err(format!(
                "the contract has more than {MAX_DOCUMENTS} documents or {} MiB; it ends at {name}",
                MAX_BYTES >> 20
            ));
        }
        let named = |error: CallError| {
            let told = error.to_string();
            if told.contains(name.as_str()) { told } else { format!("{name}: {told}") }
        };
        for reference in notation.references(&name, &text).map_err(named)? {
            let reference = notation.resolve(&name, &reference);
            if known.insert(reference.clone()) {
                queue.push_back(reference);
            }
        }
        documents.all.push((name, text));
    }
    Ok(documents)
}

/// Reads the documents of a contract from files: one file with what it refers to beside it, or a catalog.
///
/// # Errors
/// What cannot be read, with the path.
pub fn read_file(notation: Notation, path: &Path) -> Result<Documents, String> {
    let text = read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    if path.file_name().is_some_and(|name| name == CATALOG) {
        let catalog: Catalog = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: no catalog: {error}", path.display()))?;
        let all =
            catalog.documents.into_iter().map(|entry| Ok((entry.name, read(&folder.join(entry.file))?)));
        return Ok(Documents { all: all.collect::<Result<_, String>>()? });
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    read_files(notation, folder, &[name])
}

/// Reads documents below a folder, with all that they refer to there.
///
/// # Errors
/// What cannot be read, with the path.
pub fn read_files(notation: Notation, folder: &Path, names: &[String]) -> Result<Documents, String> {
    let first: BTreeSet<&String> = names.iter().collect();
    let collected = collect(notation, names, async |name: &str| {
        // An address is nothing that is beside a manifest; it was fetched by an import, or is never needed.
        if Url::parse(name).is_ok() {
            return Ok(None);
        }
        let path = folder.join(name);
        // Imports of `.proto` files lead to well-known ones as well, which nobody keeps.
        if !first.contains(&name.to_owned()) && !path.exists() {
            return Ok(None);
        }
        read(&path).map(Some)
    });
    // Nothing is awaited when files are read.
    futures::executor::block_on(collected)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size =
        std::fs::metadata(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?.len();
    if size > MAX_BYTES as u64 {
        return Err(format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20));
    }
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Files to be written below a folder for these documents, and the one that a manifest names. One document is a file
/// of its own; several have a catalog.
#[must_use]
pub fn files(documents: &Documents, stem: &str) -> (Vec<(PathBuf, Vec<u8>)>, PathBuf) {
    if let [(name, text)] = documents.all.as_slice() {
        let file = PathBuf::from(format!("{stem}{}", extension(name)));
        return (vec![(file.clone(), text.clone())], file);
    }
    let folder = PathBuf::from(stem);
    let mut files = Vec::new();
    let mut entries = Vec::new();
    for (index, (name, text)) in documents.all.iter().enumerate() {
        let last = name.rsplit(['/', '?', '=', '\\']).find(|part| !part.is_empty()).unwrap_or("document");
        let safe: String = last
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            .take(60)
            .collect();
        let file = format!("{index:02}-{}", safe.trim_start_matches('.'));
        files.push((folder.join(&file), text.clone()));
        entries.push(CatalogEntry { name: name.clone(), file });
    }
    let catalog = serde_json::to_vec_pretty(&Catalog { documents: entries }).unwrap_or_default();
    let named = folder.join(CATALOG);
    files.push((named.clone(), catalog));
    (files, named)
}

/// `.yaml` of `http://host/openapi.yaml?x`; `.txt` where the name has none.
fn extension(name: &str) -> String {
    let path = name.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let known = ["yaml", "yml", "json", "wsdl", "xml", "proto", "binpb"];
    match last.rsplit_once('.') {
        Some((_, end)) if known.contains(&end.to_lowercase().as_str()) => format!(".{}", end.to_lowercase()),
        _ if name.to_lowercase().ends_with("wsdl") => ".wsdl".to_owned(),
        _ => ".txt".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_relative_to_where_they_stand() {
        for (base, reference, expected) in [
            ("a/b.yaml", "c.yaml", "a/c.yaml"),
            ("a/b.yaml", "./../c.yaml", "c.yaml"),
            ("b.yaml", "../c.yaml", "../c.yaml"),
            ("http://h/a/b?wsdl", "?xsd=1", "http://h/a/b?xsd=1"),
            ("http://h/a/b", "../c", "http://h/c"),
            ("b.yaml", "http://h/c", "http://h/c"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{base} {reference}");
        }
    }

    #[test]
    fn several_documents_are_written_with_a_catalog_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let all = vec![
            ("http://h/ws?wsdl".to_owned(), b"<a/>".to_vec()),
            ("http://h/ws?xsd=../x".to_owned(), b"<b/>".to_vec()),
        ];
        let documents = Documents { all };
        let (files, named) = files(&documents, "meters");
        for (path, text) in &files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(named, Path::new("meters/catalog.json"));
        assert_eq!(read_file(Notation::Wsdl, &dir.path().join(named)).unwrap(), documents);
    }

    #[test]
    fn one_document_is_a_file_with_its_own_ending() {
        for (name, file) in
            [("http://h/api/openapi.json?v=1", "m.json"), ("http://h/ws?WSDL", "m.wsdl"), ("x", "m.txt")]
        {
            let (files, named) = files(&Documents::one(name, "x"), "m");
            assert_eq!((files.len(), named), (1, PathBuf::from(file)), "{name}");
        }
    }
}
