//! `.proto` texts and descriptor sets to descriptors.

use std::collections::{HashSet, VecDeque};

use prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, ServiceDescriptor};
use protox::file::{File, FileResolver as _, GoogleFileResolver};

use super::descriptors::{self, Described};
use crate::contract::Documents;
use crate::error::{CallError, ErrorKind};

/// Bytes that all documents of a contract may have together, and files that it may consist of.
pub(super) const BYTES: usize = 64 << 20;
pub(super) const FILES: usize = 4096;

/// What was read: all types, and the services that are meant.
pub(super) struct Read {
    pub(super) pool: DescriptorPool,
    pub(super) services: Vec<ServiceDescriptor>,
}

pub(super) fn bad(place: impl Into<String>, message: impl Into<String>) -> CallError {
    CallError::new(ErrorKind::BadDocument, place, message)
}

/// Reads `.proto` texts or one compiled `FileDescriptorSet`. Meant are the services of the first document, of all
/// documents where it has none.
pub(super) fn read(documents: &Documents) -> Result<Read, CallError> {
    let Some((name, text)) = documents.all.first() else {
        return Err(bad("", "expected a .proto file or a descriptor set, found no document"));
    };
    let bytes: usize = documents.all.iter().map(|(_, text)| text.len()).sum();
    if bytes > BYTES || documents.all.len() > FILES {
        let found = format!("{bytes} bytes in {} files", documents.all.len());
        return Err(bad(name, format!("expected at most {BYTES} bytes in {FILES} files, found {found}")));
    }
    if documents.all.len() == 1 && is_set(name, text) { read_set(name, text) } else { read_texts(documents) }
}

/// Files that a `.proto` text imports, as it writes them; those of `google/protobuf/` that are there already are left out.
/// A compiled descriptor set imports nothing.
///
/// # Errors
/// `BadDocument` with line and column when the text is no `.proto`.
pub fn imports(name: &str, text: &[u8]) -> Result<Vec<String>, CallError> {
    if is_set(name, text) {
        return Ok(vec![]);
    }
    let file = parse(name, text)?;
    Ok(file.dependency.into_iter().filter(|import| built_in(import).is_none()).collect())
}

/// Whether a document is a compiled descriptor set: it has bytes of one, and its name is not that of a text.
fn is_set(name: &str, text: &[u8]) -> bool {
    !name.ends_with(".proto")
        && descriptors::Set::decode(text)
            .is_ok_and(|set| !set.file.is_empty() && set.file.iter().all(|file| !file.is_empty()))
}

fn read_set(name: &str, text: &[u8]) -> Result<Read, CallError> {
    let set = descriptors::Set::decode(text).map_err(|error| bad(name, error.to_string()))?;
    if set.file.len() > FILES {
        return Err(bad(name, format!("expected at most {FILES} files, found {}", set.file.len())));
    }
    let files =
        set.file.into_iter().map(|bytes| Described::read(name, bytes)).collect::<Result<Vec<_>, _>>()?;
    let pool = descriptors::pool(files)?;
    let services = pool.services().collect();
    Ok(Read { pool, services })
}

fn read_texts(documents: &Documents) -> Result<Read, CallError> {
    let first = canonical(&documents.all[0].0);
    let mut files = vec![];
    let mut wanted = VecDeque::from([(first.to_owned(), String::new())]);
    let mut known: HashSet<String> = HashSet::from([first.to_owned()]);
    let mut rest = documents.all.iter().skip(1);
    loop {
        let Some((name, by)) = wanted.pop_front() else {
            // Nothing more is needed; where no service was found yet, the other documents may have one.
            if files.iter().any(has_service) {
                break;
            }
            let Some((name, _)) = rest.next() else { break };
            if known.insert(canonical(name).to_owned()) {
                wanted.push_back((canonical(name).to_owned(), String::new()));
            }
            continue;
        };
        let file = one(documents, &name, &by)?;
        for import in &file.dependency {
            if known.insert(canonical(import).to_owned()) {
                wanted.push_back((canonical(import).to_owned(), name.clone()));
            }
        }
        files.push(file);
    }
    let meant = meant(first, &files);
    let described = files.into_iter().map(|file| Described::of(file.encode_to_vec(), &file)).collect();
    let pool = descriptors::pool(described)?;
    let services = pool.services().filter(|service| meant.contains(service.parent_file().name())).collect();
    Ok(Read { pool, services })
}

/// Names of the files whose services are meant.
fn meant(first: &str, files: &[FileDescriptorProto]) -> HashSet<String> {
    let with_service = || files.iter().filter(|file| has_service(file)).map(|file| file.name().to_owned());
    if with_service().any(|name| name == first) {
        return HashSet::from([first.to_owned()]);
    }
    with_service().collect()
}

fn has_service(file: &FileDescriptorProto) -> bool {
    !file.service.is_empty()
}

/// `./a.proto` is `a.proto`.
fn canonical(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// The file that somebody imports.
fn one(documents: &Documents, name: &str, by: &str) -> Result<FileDescriptorProto, CallError> {
    let given = documents.all.iter().find(|(known, _)| canonical(known) == name);
    if let Some((_, text)) = given {
        return parse(name, text);
    }
    built_in(name).ok_or_else(|| {
        let names: Vec<&str> = documents.all.iter().take(20).map(|(known, _)| known.as_str()).collect();
        bad(by, format!("`{name}` is imported but not given; given: {}", names.join(", ")))
    })
}

/// A file of `google/protobuf/` that comes with every compiler.
pub(super) fn built_in(name: &str) -> Option<FileDescriptorProto> {
    Some(GoogleFileResolver::new().open_file(name).ok()?.into())
}

fn parse(name: &str, text: &[u8]) -> Result<FileDescriptorProto, CallError> {
    let text = std::str::from_utf8(text).map_err(|error| {
        bad(
            name,
            format!(
                "expected the text of a .proto file, found bytes that are no UTF-8 at {}",
                error.valid_up_to()
            ),
        )
    })?;
    match File::from_source(name, text) {
        Ok(file) => Ok(file.into()),
        Err(error) => {
            let (place, message) = placed(name, &format!("{error:?}"));
            let hint = if message.contains("'edition'") {
                "; editions are read from a compiled set only (protoc --include_imports --descriptor_set_out=FILE)"
            } else {
                ""
            };
            Err(bad(place, format!("{message}{hint}")))
        }
    }
}

/// `FILE:LINE:COLUMN: MESSAGE` as the compiler writes it, taken apart.
pub(super) fn placed(name: &str, text: &str) -> (String, String) {
    let Some(rest) = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) else {
        return (name.to_owned(), text.to_owned());
    };
    let mut parts = rest.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(line), Some(column), Some(message))
            if line.parse::<u32>().is_ok() && column.parse::<u32>().is_ok() =>
        {
            (format!("{name}, line {line}, column {column}"), message.trim().to_owned())
        }
        _ => (name.to_owned(), rest.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::testing::documents;

    const SERVICE: &str = "syntax = \"proto3\"; import \"b.proto\"; service S { rpc M(B) returns (B); }";

    #[test]
    fn imports_are_those_that_somebody_has_to_give() {
        let text = b"syntax = \"proto3\"; import \"google/protobuf/any.proto\"; import public \"x/y.proto\";";
        assert_eq!(imports("a.proto", text).unwrap(), ["x/y.proto"]);
    }

    #[test]
    fn a_missing_import_names_file_and_import() {
        let error = read(&documents(&[("a.proto", SERVICE), ("c.proto", "")])).err().unwrap();
        assert_eq!((error.kind, error.place.as_str()), (ErrorKind::BadDocument, "a.proto"));
        assert_eq!(error.message, "`b.proto` is imported but not given; given: a.proto, c.proto");
    }

    #[test]
    fn errors_have_line_and_column() {
        let error = imports("a.proto", b"syntax = \"proto3\";\nmessage {}").unwrap_err();
        assert_eq!(error.place, "a.proto, line 2, column 9");
        let text =
            "syntax = \"proto3\";\nmessage B {\n  Missing x = 1;\n}\nservice S { rpc M(B) returns (B); }";
        let error = read(&documents(&[("a.proto", text)])).err().unwrap();
        assert!(
            error.place.starts_with("a.proto, line 3, column") && error.message.contains("Missing"),
            "{error}"
        );
        let error = imports("a.proto", b"\xff").unwrap_err();
        assert!(error.message.contains("no UTF-8 at 0"), "{error}");
        let error = imports("a.proto", b"edition = \"2023\";").unwrap_err();
        assert!(error.message.contains("--descriptor_set_out"), "{error}");
    }

    #[test]
    fn files_that_import_each_other_are_refused() {
        let b = "syntax = \"proto3\"; import \"a.proto\"; message B {}";
        let error = read(&documents(&[("a.proto", SERVICE), ("b.proto", b)])).err().unwrap();
        assert!(error.message.contains("import each other"), "{error}");
    }

    #[test]
    fn a_long_chain_of_imports_takes_no_stack() {
        let name = |n: usize| format!("f{n}.proto");
        let mut all = vec![(
            name(0),
            b"syntax = \"proto3\"; import \"f1.proto\"; message B {} service S { rpc M(B) returns (B); }"
                .to_vec(),
        )];
        for n in 1..2000 {
            let next = if n == 1999 { String::new() } else { format!("import \"{}\";", name(n + 1)) };
            all.push((name(n), format!("syntax = \"proto3\"; {next}").into_bytes()));
        }
        assert_eq!(read(&Documents { all }).unwrap().services.len(), 1);
    }

    #[test]
    fn services_are_those_of_the_first_document_that_has_one() {
        let b = "syntax = \"proto3\"; message B {} service Other { rpc M(B) returns (B); }";
        let names = |all: &[(&str, &str)]| -> Vec<String> {
            read(&documents(all)).unwrap().services.iter().map(|s| s.name().to_owned()).collect()
        };
        assert_eq!(names(&[("a.proto", SERVICE), ("b.proto", b)]), ["S"]);
        assert_eq!(names(&[("empty.proto", "syntax = \"proto3\";"), ("./b.proto", b)]), ["Other"]);
    }
}
