//! Compiled descriptors of files to one pool of types.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use prost::Message;
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use prost_reflect::{DescriptorPool, Kind};

use super::documents::{bad, built_in, placed};
use super::editions;
use crate::error::CallError;

/// Files that everybody has, those that come with every compiler.
const BUILT_IN: [&str; 11] = [
    "google/protobuf/any.proto",
    "google/protobuf/api.proto",
    "google/protobuf/descriptor.proto",
    "google/protobuf/duration.proto",
    "google/protobuf/empty.proto",
    "google/protobuf/field_mask.proto",
    "google/protobuf/source_context.proto",
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
    "google/protobuf/type.proto",
    "google/protobuf/wrappers.proto",
];

/// `google.protobuf.FileDescriptorSet` whose files are not read yet.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) file: Vec<Vec<u8>>,
}

/// One `google.protobuf.FileDescriptorProto`, as bytes: custom options would be lost otherwise.
#[derive(Clone)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) imports: Vec<String>,
    bytes: Vec<u8>,
}

impl Described {
    /// Reads what is needed to put files in order; `source` names where it came from.
    pub(super) fn read(source: &str, bytes: Vec<u8>) -> Result<Self, CallError> {
        let file = FileDescriptorProto::decode(bytes.as_slice())
            .map_err(|error| bad(source, format!("a file descriptor cannot be read: {error}")))?;
        Ok(Self::of(bytes, &file))
    }

    pub(super) fn of(bytes: Vec<u8>, file: &FileDescriptorProto) -> Self {
        Self { name: file.name().to_owned(), imports: file.dependency.clone(), bytes }
    }
}

/// All files as one pool. Files of `google/protobuf/` that are imported and missing are added.
pub(super) fn pool(mut files: Vec<Described>) -> Result<DescriptorPool, CallError> {
    add_built_in(&mut files);
    let mut set = Set::default();
    for file in ordered(files)? {
        set.file.push(editions::lowered(&file.name, file.bytes)?);
    }
    let pool = guarded(&set.encode_to_vec())?;
    check_maps(&pool)?;
    Ok(pool)
}

/// Adds the imports that files need and do not name, as those of `protobufjs` do (servers of Node, when they describe
/// themselves): each type is looked for in all of the files, then in those that everybody has.
pub(super) fn add_imports(files: &mut [Described]) -> Result<(), CallError> {
    let mut homes: HashMap<String, String> = HashMap::new();
    let mut wanted = vec![];
    for file in &*files {
        let read = FileDescriptorProto::decode(file.bytes.as_slice())
            .map_err(|error| bad(&file.name, format!("a file descriptor cannot be read: {error}")))?;
        let names = Names::of(&read);
        homes.extend(names.defined.into_iter().map(|name| (name, file.name.clone())));
        wanted.push(names.wanted);
    }
    for (file, wanted) in files.iter_mut().zip(wanted) {
        let known: HashSet<&String> = file.imports.iter().collect();
        let homes = wanted.iter().filter_map(|name| {
            let mut candidates = name.candidates();
            candidates.find_map(|name| homes.get(&name).or_else(|| OF_EVERYBODY.get(&name)))
        });
        let missing: BTreeSet<String> =
            homes.filter(|home| **home != file.name && !known.contains(home)).cloned().collect();
        // Messages of protobuf that follow each other are one: what the library does not know in the bytes stays.
        let more = FileDescriptorProto {
            dependency: missing.iter().cloned().collect(),
            ..FileDescriptorProto::default()
        };
        file.bytes.extend(more.encode_to_vec());
        file.imports.extend(missing);
    }
    Ok(())
}

/// Where the types are that everybody has.
static OF_EVERYBODY: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let files = BUILT_IN.iter().filter_map(|name| built_in(name));
    let named = files.flat_map(|file| {
        let name = file.name().to_owned();
        Names::of(&file).defined.into_iter().map(move |defined| (defined, name.clone()))
    });
    named.collect()
});

/// A name as a file writes it, and the message or package that it stands in.
#[derive(PartialEq, Eq, Hash)]
struct Wanted {
    scope: String,
    name: String,
}

impl Wanted {
    /// The full names that may be meant: the name itself when it begins with a dot, else the name within its scope, within
    /// what is around that, and so on (language specification, "Name Resolution").
    fn candidates(&self) -> impl Iterator<Item = String> {
        let full = self.name.starts_with('.').then(|| self.name.clone());
        let outermost = (!self.name.starts_with('.')).then_some(self.scope.as_str());
        let scopes = std::iter::successors(outermost, |scope| Some(&scope[..scope.rfind('.')?]));
        full.into_iter().chain(scopes.map(|scope| format!("{scope}.{}", self.name)))
    }
}

/// What a file defines, by full names that begin with a dot, and what it uses.
#[derive(Default)]
struct Names {
    defined: Vec<String>,
    wanted: HashSet<Wanted>,
}

impl Names {
    fn of(file: &FileDescriptorProto) -> Self {
        let mut this = Self::default();
        let package = if file.package().is_empty() { String::new() } else { format!(".{}", file.package()) };
        let mut messages: Vec<(String, &DescriptorProto)> =
            file.message_type.iter().map(|message| (package.clone(), message)).collect();
        while let Some((scope, message)) = messages.pop() {
            let scope = format!("{scope}.{}", message.name());
            this.fields(&scope, message.field.iter().chain(&message.extension));
            this.defined.extend(message.enum_type.iter().map(|one| format!("{scope}.{}", one.name())));
            messages.extend(message.nested_type.iter().map(|nested| (scope.clone(), nested)));
            this.defined.push(scope);
        }
        this.defined.extend(file.enum_type.iter().map(|one| format!("{package}.{}", one.name())));
        this.fields(&package, file.extension.iter());
        for method in file.service.iter().flat_map(|service| &service.method) {
            this.want(&package, [method.input_type(), method.output_type()]);
        }
        this
    }

    fn fields<'a>(&mut self, scope: &str, fields: impl Iterator<Item = &'a FieldDescriptorProto>) {
        for field in fields {
            self.want(scope, [field.type_name(), field.extendee()]);
        }
    }

    fn want(&mut self, scope: &str, names: [&str; 2]) {
        let names = names.into_iter().filter(|name| !name.is_empty());
        let wanted = names.map(|name| Wanted { scope: scope.to_owned(), name: name.to_owned() });
        self.wanted.extend(wanted);
    }
}

/// The library reads what it wrote itself without doubt: descriptors that redefine `google.protobuf.FieldOptions`, say,
/// make it panic. They come from strangers, so that is an error like others.
fn guarded(set: &[u8]) -> Result<DescriptorPool, CallError> {
    match catch_unwind(AssertUnwindSafe(|| DescriptorPool::decode(set))) {
        Ok(Ok(pool)) => Ok(pool),
        Ok(Err(error)) => {
            let (place, message) = placed(error.file().unwrap_or_default(), &format!("{error:?}"));
            Err(bad(place, message))
        }
        Err(_) => Err(bad("", "the descriptors contradict themselves")),
    }
}

fn add_built_in(files: &mut Vec<Described>) {
    let mut known: HashSet<String> = files.iter().map(|file| file.name.clone()).collect();
    let mut at = 0;
    while at < files.len() {
        for import in files[at].imports.clone() {
            if !known.contains(&import)
                && let Some(file) = built_in(&import)
            {
                known.insert(import);
                files.push(Described::of(file.encode_to_vec(), &file));
            }
        }
        at += 1;
    }
}

/// Each file after those that it imports. What is imported and missing is left to the pool, which names it.
fn ordered(files: Vec<Described>) -> Result<Vec<Described>, CallError> {
    let index: HashMap<String, usize> =
        files.iter().enumerate().map(|(n, file)| (file.name.clone(), n)).collect();
    let mut missing = vec![0_usize; files.len()];
    let mut importers: Vec<Vec<usize>> = vec![vec![]; files.len()];
    for (n, file) in files.iter().enumerate() {
        for import in file.imports.iter().filter_map(|import| index.get(import)) {
            importers[*import].push(n);
            missing[n] += 1;
        }
    }
    let mut ready: VecDeque<usize> = (0..files.len()).filter(|n| missing[*n] == 0).collect();
    let mut order = vec![];
    while let Some(n) = ready.pop_front() {
        order.push(n);
        for importer in &importers[n] {
            missing[*importer] -= 1;
            if missing[*importer] == 0 {
                ready.push_back(*importer);
            }
        }
    }
    if order.len() < files.len() {
        let names: Vec<&str> = files
            .iter()
            .zip(&missing)
            .filter(|(_, n)| **n > 0)
            .map(|(file, _)| file.name.as_str())
            .take(5)
            .collect();
        return Err(bad(names[0], format!("files import each other: {}", names.join(", "))));
    }
    let mut files: Vec<Option<Described>> = files.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|n| files[n].take()).collect())
}

/// Maps are messages with two fields of a certain form (language specification, "Maps"); whoever writes descriptors
/// himself may have left one out, which the library takes for granted.
fn check_maps(pool: &DescriptorPool) -> Result<(), CallError> {
    for message in pool.all_messages().filter(prost_reflect::MessageDescriptor::is_map_entry) {
        let field =
            |number: u32| message.get_field(number).filter(|field| !field.is_list() && !field.is_map());
        let key = field(1).is_some_and(|key| {
            !matches!(key.kind(), Kind::Double | Kind::Float | Kind::Bytes | Kind::Message(_) | Kind::Enum(_))
        });
        if !key || field(2).is_none() {
            let name = message.full_name();
            return Err(bad(
                message.parent_file().name(),
                format!("`{name}` says it is a map, but has no key or value"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost_reflect::prost_types::{DescriptorProto, MessageOptions};

    use super::*;
    use crate::contract::Documents;
    use crate::grpc::Client;
    use crate::grpc::testing;

    #[test]
    fn maps_without_a_key_are_refused() {
        let entry = DescriptorProto {
            name: Some("Entry".to_owned()),
            options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
            ..Default::default()
        };
        let file = FileDescriptorProto {
            name: Some("a.proto".to_owned()),
            message_type: vec![entry],
            ..Default::default()
        };
        let error = pool(vec![Described::of(file.encode_to_vec(), &file)]).unwrap_err();
        assert!(error.message.contains("has no key or value"), "{error}");
    }

    #[test]
    fn a_set_without_an_import_names_it() {
        let file = FileDescriptorProto {
            name: Some("a.proto".to_owned()),
            dependency: vec!["b.proto".to_owned()],
            ..Default::default()
        };
        let error = pool(vec![Described::of(file.encode_to_vec(), &file)]).unwrap_err();
        assert!(error.to_string().contains("b.proto"), "{error}");
    }

    #[test]
    fn imports_that_are_not_named_are_found() {
        let field = |name: &str, number, of: &str| FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(11),
            label: Some(1),
            type_name: Some(of.to_owned()),
            ..FieldDescriptorProto::default()
        };
        let file = |name: &str, package: &str, message: DescriptorProto| {
            let file = FileDescriptorProto {
                name: Some(name.to_owned()),
                package: Some(package.to_owned()),
                message_type: vec![message],
                ..FileDescriptorProto::default()
            };
            Described::of(file.encode_to_vec(), &file)
        };
        let inner = DescriptorProto { name: Some("Inner".to_owned()), ..DescriptorProto::default() };
        let b = DescriptorProto {
            name: Some("B".to_owned()),
            nested_type: vec![inner],
            ..DescriptorProto::default()
        };
        let a = DescriptorProto {
            name: Some("A".to_owned()),
            field: vec![
                field("at", 1, ".google.protobuf.Timestamp"),
                field("b", 2, "y.B.Inner"),
                field("since", 4, "google.protobuf.Duration"),
                field("a", 3, ".x.A"),
            ],
            ..DescriptorProto::default()
        };
        let mut files = vec![file("x.proto", "x", a), file("y.proto", "y", b)];
        add_imports(&mut files).unwrap();
        assert_eq!(
            files[0].imports,
            ["google/protobuf/duration.proto", "google/protobuf/timestamp.proto", "y.proto"]
        );
        assert!(files[1].imports.is_empty());
        let pool = pool(files).unwrap();
        assert_eq!(pool.get_message_by_name("x.A").unwrap().fields().len(), 4);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn descriptors_with_any_byte_changed_are_read_or_refused(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = testing::client().descriptor_set();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _either = Client::read(&Documents::one("set.pb", bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(parts in proptest::collection::vec(proptest::sample::select(vec![
            "syntax = \"proto3\";", "syntax = \"proto2\";", "message", "M", "N", "{", "}", "int32", "x", "=", "1", "2", ";", "repeated",
            "map<", "string", ",", ">", "oneof", "o", "enum", "E", "service", "S", "rpc", "(", ")", "returns", "stream", "option",
            "[", "]", "deprecated", "true", "reserved", "to", "max", "extend", "extensions", "group", "optional", "import", "\"a\"", "-", "\n", "//", "\"",
        ]), 0..40)) {
            let _either = Client::read(&Documents::one("a.proto", parts.join(" ")));
        }
    }
}
