//! What can be asked: methods of the services as operations of a contract.

use std::collections::HashMap;

use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::documents::{Read, bad};
use super::schema::{self, Schemas};
use crate::contract::{Contract, Operation, Protocol, Streaming};
use crate::error::CallError;

/// Methods that a contract may have.
const METHODS: usize = 4096;
/// Characters of a comment that are kept.
const COMMENT: usize = 600;

/// The contract, and the methods in the order of its operations.
pub(super) fn of(read: &Read) -> Result<(Contract, Vec<MethodDescriptor>), CallError> {
    let methods: Vec<MethodDescriptor> =
        read.services.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let Some(service) = read.services.first().filter(|_| !methods.is_empty()) else {
        return Err(bad("", "expected a `service` with an `rpc`, found none"));
    };
    if methods.len() > METHODS {
        return Err(bad("", format!("expected at most {METHODS} methods, found {}", methods.len())));
    }
    let comments = Comments::read(&read.pool);
    let mut schemas = Schemas { comments: &comments, written: 0 };
    let names = names(&methods);
    let mut operations = Vec::with_capacity(methods.len());
    for (method, name) in methods.iter().zip(names) {
        operations.push(operation(name, method, &mut schemas));
        if schemas.written >= schema::MOST {
            let place = method.full_name();
            return Err(bad(
                place,
                format!("the messages have more than {} fields in all operations together", schema::MOST),
            ));
        }
    }
    let package = service.package_name();
    let title = match read.services.as_slice() {
        [only] => only.full_name(),
        _ if package.is_empty() => service.full_name(),
        _ => package,
    };
    let contract =
        Contract { protocol: Protocol::Grpc, title: title.to_owned(), version: version(package), operations };
    Ok((contract, methods))
}

fn operation(name: String, method: &MethodDescriptor, schemas: &mut Schemas<'_>) -> Operation {
    let options = method.method_descriptor_proto().options.clone().unwrap_or_default();
    let service = method.parent_service();
    let of_service = service.service_descriptor_proto().options.as_ref();
    let service_deprecated = of_service.is_some_and(prost_reflect::prost_types::ServiceOptions::deprecated);
    let comment = schemas.comments.of(method.parent_file().name(), method.path()).unwrap_or_default();
    Operation {
        name,
        path: path(method),
        summary: comment.lines().next().unwrap_or_default().to_owned(),
        input: schemas.of(&method.input()),
        output: schemas.of(&method.output()),
        streaming: match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => Streaming::None,
            (true, false) => Streaming::Inputs,
            (false, true) => Streaming::Outputs,
            (true, true) => Streaming::Both,
        },
        repeatable: matches!(
            options.idempotency_level(),
            IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent
        ),
        deprecated: options.deprecated() || service_deprecated,
    }
}

/// `/package.Service/Method`
pub(super) fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// All names of a method, the shortest first.
fn forms(method: &MethodDescriptor) -> [String; 3] {
    let service = method.parent_service();
    let name = method.name();
    [name.to_owned(), format!("{}/{name}", service.name()), format!("{}/{name}", service.full_name())]
}

/// The shortest name of each method that no other method has.
fn names(methods: &[MethodDescriptor]) -> Vec<String> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for method in methods {
        let [short, middle, full] = forms(method);
        // Without a package the last two are the same name of the same method.
        let same = middle == full;
        for form in [Some(short), Some(middle), (!same).then_some(full)].into_iter().flatten() {
            *count.entry(form).or_default() += 1;
        }
    }
    let unique = |form: &String| count.get(form) == Some(&1);
    methods
        .iter()
        .map(|method| forms(method).into_iter().find(unique).unwrap_or_else(|| path(method)))
        .collect()
}

/// Each name that leads to one method only, with the place of the method.
pub(super) fn index(methods: &[MethodDescriptor]) -> HashMap<String, usize> {
    let mut index: HashMap<String, Option<usize>> = HashMap::new();
    for (n, method) in methods.iter().enumerate() {
        for form in forms(method) {
            index.entry(form).and_modify(|at| *at = at.filter(|at| *at == n)).or_insert(Some(n));
        }
    }
    // A full name is always meant, whatever else has the same letters.
    for (n, method) in methods.iter().enumerate() {
        index.insert(path(method).trim_start_matches('/').to_owned(), Some(n));
    }
    index.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}

/// `v1`, `v2beta1`: the last part of a package, where it is a version.
fn version(package: &str) -> String {
    let last = package.rsplit('.').next().unwrap_or_default();
    let digits = last.strip_prefix('v').unwrap_or_default();
    if digits.starts_with(|first: char| first.is_ascii_digit()) { last.to_owned() } else { String::new() }
}

/// Services of a server that only describe or watch the others.
pub(super) fn is_about_others(service: &str) -> bool {
    ["grpc.reflection.", "grpc.health."].iter().any(|prefix| service.starts_with(prefix))
}

/// Comments of `.proto` texts by file and path of what they stand before.
pub(super) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

impl Comments {
    fn read(pool: &DescriptorPool) -> Self {
        let files = pool.file_descriptor_protos().map(|file| {
            let locations = file.source_code_info.iter().flat_map(|info| &info.location);
            let comments = locations
                .filter_map(|location| Some((location.path.clone(), text(location.leading_comments())?)));
            (file.name().to_owned(), comments.collect())
        });
        Self(files.collect())
    }

    /// What stands before a message, a field or a method.
    pub(super) fn of(&self, file: &str, path: &[i32]) -> Option<&str> {
        Some(self.0.get(file)?.get(path)?.as_str())
    }
}

fn text(comment: &str) -> Option<String> {
    let lines: Vec<&str> = comment.lines().map(|line| line.trim().trim_start_matches("* ").trim()).collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then(|| text.chars().take(COMMENT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::Client;
    use crate::grpc::testing::{self, documents};

    #[test]
    fn operations_have_the_shortest_name_that_is_theirs_alone() {
        let a = "syntax = \"proto3\"; package a; import \"b.proto\"; message M {}
            service One { rpc Get(M) returns (M); rpc Put(M) returns (M); }
            service Two { rpc Get(M) returns (M); }";
        let b = "syntax = \"proto3\"; package b;";
        let client = Client::read(&documents(&[("a.proto", a), ("b.proto", b)])).unwrap();
        let names: Vec<&str> = client.contract().operations.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["One/Get", "Put", "Two/Get"]);
        for name in ["Put", "One/Put", "a.One/Put", "/a.One/Put"] {
            assert_eq!(client.operation(name).unwrap().path, "/a.One/Put", "{name}");
        }
        let error = client.operation("Get").unwrap_err();
        assert_eq!(error.message, "there is no operation `Get`; known: One/Get, Put, Two/Get");
    }

    #[test]
    fn what_a_method_says_of_itself_is_told() {
        let client = testing::client();
        let contract = client.contract();
        assert_eq!((contract.title.as_str(), contract.version.as_str()), ("lab.v1.Lab", "v1"));
        let everything = contract.operation("Everything").unwrap();
        assert_eq!(everything.summary, "Takes everything and gives it back.");
        assert!(everything.repeatable && !everything.deprecated);
        let legacy = contract.operation("Legacy").unwrap();
        assert!(!legacy.repeatable && legacy.deprecated && legacy.streaming == Streaming::Both);
    }

    #[test]
    fn versions_are_the_last_part_of_a_package() {
        for (package, expected) in
            [("a.v1", "v1"), ("a.v2beta1", "v2beta1"), ("a.vehicle", ""), ("v1.a", ""), ("", "")]
        {
            assert_eq!(version(package), expected, "{package}");
        }
    }
}
