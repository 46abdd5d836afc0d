//! A declared resource: from manifest to typed value, to canonical JSON and back.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use crate::check::check_with;
use crate::declare::record;
use crate::field::{Cx, Field};
use crate::kind::{API_VERSION, Kind};
use crate::kinds::{
    AlertRuleSpec, AssetSpec, ChannelSpec, MachineSpec, NotifierSpec, OverrideSpec, RuleSpec, SecretSpec,
    ServiceSpec, SignalSpec, SiteSpec, WorkflowSpec,
};
use crate::node::{Key, Node, Value};
use crate::problem::{Position, Problem, did_you_mean, known_list, shown};
use crate::scalar::Name;
use crate::schema::{FieldSchema, Object, Schema};
use crate::yaml;

record! {
    /// Name and labels of a resource.
    pub struct Metadata {
        /// Name, unique among resources of the kind: lower-case letters, digits and `-`, at most 63 characters.
        name: Name;
        /// Free keys with values to select resources by.
        labels: BTreeMap<String, String> = BTreeMap::new();
        /// Free keys with values for people and tools.
        annotations: BTreeMap<String, String> = BTreeMap::new();
    }
}

/// The spec of a resource, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A program that runs.
    Service(Box<ServiceSpec>),
    /// A connection to the grid.
    Site(Box<SiteSpec>),
    /// A battery, a solar plant or a load.
    Asset(Box<AssetSpec>),
    /// A series of values from outside.
    Signal(Box<SignalSpec>),
    /// Where secret values come from.
    Secret(Box<SecretSpec>),
    /// Rules that watch series.
    AlertRule(Box<AlertRuleSpec>),
    /// Who is told of alerts.
    Notifier(Box<NotifierSpec>),
    /// Where events flow.
    Channel(Box<ChannelSpec>),
    /// A machine that services run on.
    Machine(MachineSpec),
    /// A person's order about an asset.
    Override(Box<OverrideSpec>),
    /// Work in steps.
    Workflow(Box<WorkflowSpec>),
    /// A rule.
    Rule(Box<RuleSpec>),
}

/// A declared resource with the place it was read from.
#[derive(Clone, Debug)]
pub struct Declared {
    /// Name, unique within the kind.
    pub name: Name,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is declared.
    pub spec: Spec,
    /// Where it was read; empty when it was read from JSON.
    pub source: Source,
}

/// The place a resource was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file as the user named it; empty when there is none.
    pub path: String,
    /// Where the document starts.
    pub position: Position,
    /// Places of all values by their dotted path, such as `spec.ports[0].name`.
    pub fields: BTreeMap<String, Position>,
}

/// Two resources are equal when they declare the same, wherever that was written.
impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.labels == other.labels
            && self.annotations == other.annotations
            && self.spec == other.spec
    }
}

impl Spec {
    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Site(_) => Kind::Site,
            Self::Asset(_) => Kind::Asset,
            Self::Signal(_) => Kind::Signal,
            Self::Secret(_) => Kind::Secret,
            Self::AlertRule(_) => Kind::AlertRule,
            Self::Notifier(_) => Kind::Notifier,
            Self::Channel(_) => Kind::Channel,
            Self::Machine(_) => Kind::Machine,
            Self::Override(_) => Kind::Override,
            Self::Workflow(_) => Kind::Workflow,
            Self::Rule(_) => Kind::Rule,
        }
    }

    fn read(kind: Kind, node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match kind {
            Kind::Service => Box::read(node, cx).map(Self::Service),
            Kind::Site => Box::read(node, cx).map(Self::Site),
            Kind::Asset => Box::read(node, cx).map(Self::Asset),
            Kind::Signal => Box::read(node, cx).map(Self::Signal),
            Kind::Secret => Box::read(node, cx).map(Self::Secret),
            Kind::AlertRule => Box::read(node, cx).map(Self::AlertRule),
            Kind::Notifier => Box::read(node, cx).map(Self::Notifier),
            Kind::Channel => Box::read(node, cx).map(Self::Channel),
            Kind::Machine => MachineSpec::read(node, cx).map(Self::Machine),
            Kind::Override => Box::read(node, cx).map(Self::Override),
            Kind::Workflow => Box::read(node, cx).map(Self::Workflow),
            Kind::Rule => Box::read(node, cx).map(Self::Rule),
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Service(spec) => spec.write(),
            Self::Site(spec) => spec.write(),
            Self::Asset(spec) => spec.write(),
            Self::Signal(spec) => spec.write(),
            Self::Secret(spec) => spec.write(),
            Self::AlertRule(spec) => spec.write(),
            Self::Notifier(spec) => spec.write(),
            Self::Channel(spec) => spec.write(),
            Self::Machine(spec) => spec.write(),
            Self::Override(spec) => spec.write(),
            Self::Workflow(spec) => spec.write(),
            Self::Rule(spec) => spec.write(),
        }
    }

    fn schema(kind: Kind) -> Schema {
        match kind {
            Kind::Service => ServiceSpec::schema(),
            Kind::Site => SiteSpec::schema(),
            Kind::Asset => AssetSpec::schema(),
            Kind::Signal => SignalSpec::schema(),
            Kind::Secret => SecretSpec::schema(),
            Kind::AlertRule => AlertRuleSpec::schema(),
            Kind::Notifier => NotifierSpec::schema(),
            Kind::Channel => ChannelSpec::schema(),
            Kind::Machine => MachineSpec::schema(),
            Kind::Override => OverrideSpec::schema(),
            Kind::Workflow => WorkflowSpec::schema(),
            Kind::Rule => RuleSpec::schema(),
        }
    }
}

macro_rules! spec_getter {
    ($get:ident, $variant:ident, $ty:ty) => {
        /// The spec when it is of this kind.
        #[must_use]
        pub fn $get(&self) -> Option<&$ty> {
            match &self.spec {
                Spec::$variant(spec) => Some(spec),
                _ => None,
            }
        }
    };
}

impl Declared {
    spec_getter!(service, Service, ServiceSpec);
    spec_getter!(site, Site, SiteSpec);
    spec_getter!(asset, Asset, AssetSpec);
    spec_getter!(signal, Signal, SignalSpec);
    spec_getter!(secret, Secret, SecretSpec);
    spec_getter!(alert_rule, AlertRule, AlertRuleSpec);
    spec_getter!(notifier, Notifier, NotifierSpec);
    spec_getter!(channel, Channel, ChannelSpec);
    spec_getter!(machine, Machine, MachineSpec);
    spec_getter!(overriding, Override, OverrideSpec);
    spec_getter!(workflow, Workflow, WorkflowSpec);
    spec_getter!(rule, Rule, RuleSpec);

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }

    /// `Kind/name`, as messages and events name a resource.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.kind(), self.name)
    }

    /// The place of a value by its dotted path, or of the nearest value around it.
    #[must_use]
    pub fn position(&self, field: &str) -> Position {
        let mut path = field;
        loop {
            if let Some(position) = self.source.fields.get(path) {
                return *position;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.source.position,
            }
        }
    }

    /// A problem at one of its values.
    #[must_use]
    pub fn problem(&self, field: &str, message: impl AsRef<str>, help: impl Into<String>) -> Problem {
        let message = format!("{field}: {}", message.as_ref());
        Problem::at(&self.source.path, self.position(field), message, help)
    }

    /// Its spec as it stands in the manifest, for readers of what is [`Verbatim`](crate::Verbatim): every value with its
    /// place, a key with that of its value.
    #[must_use]
    pub fn written(&self) -> Node {
        let mut node = Node::from_json(&self.spec.write());
        node.place("spec", &self.source.fields);
        node
    }

    /// The canonical JSON: every default written out, every quantity in its canonical unit, keys sorted.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let metadata = Metadata {
            name: self.name.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
        };
        json!({
            "apiVersion": API_VERSION,
            "kind": self.kind().name(),
            "metadata": metadata.write(),
            "spec": self.spec.write(),
        })
    }

    /// Reads again what [`Declared::to_json`] wrote, or what a client sent; `label` names it in problems.
    ///
    /// # Errors
    /// All problems, without line and column.
    pub fn from_json(label: &str, json: &Json) -> Result<Self, Vec<Problem>> {
        let node = Node::from_json(json);
        let mut cx = Cx::new(label);
        let declared = read_document(label, &node, &mut cx);
        match (declared, cx.into_problems()) {
            (Some(declared), problems) if problems.is_empty() => Ok(declared),
            (_, problems) => Err(problems),
        }
    }
}

/// Kind and name of a document as far as they can be read, so that references to a wrong resource do not count as
/// missing.
pub(crate) type Outline = (Kind, String);

fn outline(node: &Node) -> Option<Outline> {
    let kind = Kind::resolve(node.get("kind")?.text()?).ok()?;
    Some((kind, node.get("metadata")?.get("name")?.text()?.to_owned()))
}

/// What one file holds.
#[derive(Default)]
pub(crate) struct FileContent {
    /// Resources without a problem.
    pub(crate) declared: Vec<Declared>,
    /// What is left of resources with problems when the wrong values are taken out: their references are still
    /// checked, so that one mistake does not hide another.
    pub(crate) remains: Vec<Declared>,
    /// Kind and name of all resources.
    pub(crate) outlines: Vec<Outline>,
    /// What was wrong.
    pub(crate) problems: Vec<Problem>,
}

/// Reads one file of any number of documents.
pub(crate) fn read_file(path: &str, bytes: &[u8]) -> FileContent {
    let documents = match yaml::parse(path, bytes) {
        Ok(documents) => {
            let resources = resources_of(documents).into_iter();
            resources.map(|node| rules_as_resource(path, node)).collect::<Vec<_>>()
        }
        Err(problems) => return FileContent { problems, ..FileContent::default() },
    };
    let mut content =
        FileContent { outlines: documents.iter().filter_map(outline).collect(), ..FileContent::default() };
    let mut cx = Cx::new(path);
    for node in &documents {
        let before = cx.count();
        match read_document(path, node, &mut cx) {
            Some(declared) => content.declared.push(declared),
            None => content.remains.extend(remains(path, node, cx.problems_since(before))),
        }
    }
    content.problems = cx.into_problems();
    content
}

/// The resource without the values that problems point at, when that is a resource. Ports are what others refer to,
/// so a resource with wrong ports is left alone.
fn remains(path: &str, node: &Node, problems: &[Problem]) -> Option<Declared> {
    let wrong: BTreeSet<Position> =
        problems.iter().map(|problem| Position { line: problem.line, column: problem.column }).collect();
    let pruned = node.without(&wrong);
    let ports = |node: &Node| node.get("spec").and_then(|spec| spec.get("ports")).cloned();
    if ports(&pruned) != ports(node) {
        return None;
    }
    let mut silent = Cx::new(path);
    read_document(path, &pruned, &mut silent)
}

const ENVELOPE: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
/// What the server adds beside the envelope when it shows a resource. It is not declared, so that it is passed over:
/// what `get -o yaml` prints can be applied again.
const READ_ONLY: [&str; 3] = ["decisions", "scale", "status"];
/// What the server adds to the metadata.
const READ_ONLY_METADATA: [&str; 3] = ["generation", "manager", "resourceVersion"];

/// The metadata of a document alone, without what the server adds to it.
fn declared_metadata(node: &Node) -> Node {
    let mut entries: Vec<_> =
        node.entry("metadata").map(|(key, value)| (key.clone(), value.clone())).into_iter().collect();
    for (_, metadata) in &mut entries {
        if let Value::Map(keys) = &mut metadata.value {
            keys.retain(|(key, _)| !READ_ONLY_METADATA.contains(&key.text.as_str()));
        }
    }
    Node { position: node.position, value: Value::Map(entries) }
}

/// Documents, with those taken apart that are lists of resources, as `get KIND -o yaml` prints them.
fn resources_of(documents: Vec<Node>) -> Vec<Node> {
    let apart = |node: Node| match node.value {
        Value::List(items) if !items.is_empty() && items.iter().all(|item| item.get("kind").is_some()) => {
            items
        }
        value => vec![Node { position: node.position, value }],
    };
    documents.into_iter().flat_map(apart).collect()
}

/// A rule file of Prometheus, which has nothing but `groups` (and here `inhibit`), as the `AlertRule` that it stands for, named after the file.
fn rules_as_resource(path: &str, node: Node) -> Node {
    let Value::Map(entries) = &node.value else { return node };
    let known = |key: &Key| key.text == "groups" || key.text == "inhibit";
    let is_rules = entries.iter().all(|(key, _)| known(key)) && node.get("groups").is_some();
    if !is_rules {
        return node;
    }
    let position = node.position;
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_lowercase();
    let name: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let name = match name.trim_matches('-') {
        "" => "rules",
        name => name,
    };
    let map = |entries: Vec<(&str, Node)>| {
        let entry = |(key, value): (&str, Node)| (Key { position, text: key.to_owned() }, value);
        Node { position, value: Value::Map(entries.into_iter().map(entry).collect()) }
    };
    let text = |text: &str| Node { position, value: Value::Scalar(text.to_owned()) };
    map(vec![
        ("apiVersion", text(API_VERSION)),
        ("kind", text(Kind::AlertRule.name())),
        ("metadata", map(vec![("name", text(name))])),
        ("spec", node),
    ])
}

fn read_document(path: &str, node: &Node, cx: &mut Cx<'_>) -> Option<Declared> {
    let Value::Map(entries) = &node.value else {
        cx.report(
            node.position,
            format!("{} here", node.what()),
            "expected a resource: apiVersion, kind, metadata, spec",
        );
        return None;
    };
    let before = cx.count();
    let passed_over = |key: &str| ENVELOPE.contains(&key) || READ_ONLY.contains(&key);
    for (key, _) in entries.iter().filter(|(key, _)| !passed_over(&key.text)) {
        let help = format!("{}{}", did_you_mean(&key.text, ENVELOPE), known_list(ENVELOPE));
        cx.report(key.position, format!("unknown key \"{}\"", shown(&key.text)), help);
    }
    read_version(node, cx);
    let kind = read_kind(node, cx);
    let metadata: Option<Metadata> = cx.key(&declared_metadata(node), "metadata", None, None);
    let spec = kind.and_then(|kind| match node.get("spec") {
        Some(spec) if spec.value != Value::Null => cx.inside("spec", |cx| Spec::read(kind, spec, cx)),
        _ => {
            cx.report(
                node.position,
                "\"spec\" is missing",
                format!("expected {}", Spec::schema(kind).expected()),
            );
            None
        }
    });
    let (metadata, spec) = (metadata?, spec?);
    if cx.count() > before {
        return None;
    }
    let mut fields = BTreeMap::new();
    if node.position != Position::NONE {
        node.positions("", &mut fields);
    }
    let Metadata { name, labels, annotations } = metadata;
    let source = Source { path: path.to_owned(), position: node.position, fields };
    Some(Declared { name, labels, annotations, spec, source })
}

fn read_version(node: &Node, cx: &mut Cx<'_>) {
    let known = [API_VERSION];
    if let Some((version, position)) = envelope_text(node, "apiVersion", &known, cx)
        && version != API_VERSION
    {
        cx.report(position, format!("unknown apiVersion \"{}\"", shown(version)), known_list(known));
    }
}

fn read_kind(node: &Node, cx: &mut Cx<'_>) -> Option<Kind> {
    let names = Kind::ALL.map(Kind::name);
    let (text, position) = envelope_text(node, "kind", &names, cx)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    if kind.is_none() {
        let help = format!("{}{}", did_you_mean(text, names), known_list(names));
        cx.report(position, format!("unknown kind \"{}\"", shown(text)), help);
    }
    kind
}

/// The text of a key of the envelope, or a report that lists what could stand there.
fn envelope_text<'n>(
    node: &'n Node,
    key: &str,
    known: &[&str],
    cx: &mut Cx<'_>,
) -> Option<(&'n str, Position)> {
    let value = node.get(key);
    let text = value.and_then(|value| value.text().map(|text| (text, value.position)));
    if text.is_none() {
        let position = value.map_or(node.position, |value| value.position);
        let message = format!("\"{key}\" is {}", if value.is_some() { "not text" } else { "missing" });
        cx.report(position, message, known_list(known.iter().copied()));
    }
    text
}

/// Reads manifests: `files` are display paths with their bytes. All problems of all files come at once, sorted.
///
/// References between resources are not looked at; [`load_checked`] does both.
///
/// # Errors
/// All problems, sorted by file, line and column.
pub fn load(files: &[(String, Vec<u8>)]) -> Result<Vec<Declared>, Vec<Problem>> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for (path, bytes) in files {
        let content = read_file(path, bytes);
        all.extend(content.declared);
        problems.extend(content.problems);
    }
    finish(all, problems)
}

/// Reads manifests and checks the references among them and to `stored` resources: every problem at once.
///
/// # Errors
/// All problems, sorted by file, line and column.
pub fn load_checked(files: &[(String, Vec<u8>)], stored: &[Declared]) -> Result<Vec<Declared>, Vec<Problem>> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    let mut outlines = BTreeSet::new();
    let mut remains = Vec::new();
    for (path, bytes) in files {
        let content = read_file(path, bytes);
        all.extend(content.declared);
        remains.extend(content.remains);
        outlines.extend(content.outlines);
        problems.extend(content.problems);
    }
    problems.extend(check_with(&all, stored, &outlines, &remains));
    finish(all, problems)
}

fn finish(all: Vec<Declared>, mut problems: Vec<Problem>) -> Result<Vec<Declared>, Vec<Problem>> {
    problems.sort();
    problems.dedup();
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

/// What a manifest of a kind accepts, from the top.
#[must_use]
pub fn kind_schema(kind: Kind) -> Schema {
    let text = |word: &str| crate::field::scalar_schema("text", "text", json!({"const": word}));
    let field = |key: &str, doc: &str, schema: Schema| FieldSchema {
        key: key.to_owned(),
        doc: doc.to_owned(),
        required: true,
        default: None,
        range: None,
        schema,
    };
    let spec = Spec::schema(kind);
    let doc = spec.object().map(|object| object.doc.clone()).unwrap_or_default();
    let fields = vec![
        field("apiVersion", &format!("Always `{API_VERSION}`."), text(API_VERSION)),
        field("kind", &format!("Always `{kind}`."), text(kind.name())),
        field("metadata", "Name and labels.", Metadata::schema()),
        field("spec", &doc, spec),
    ];
    Schema::Object(Object { name: kind.name(), doc, fields, choices: Vec::new() })
}

/// The JSON Schema (draft 2020-12) of manifests of a kind.
#[must_use]
pub fn json_schema(kind: Kind) -> Json {
    let mut schema = kind_schema(kind).to_json_schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["$id"] = json!(format!("https://{API_VERSION}/{}.json", kind.name().to_lowercase()));
    schema["title"] = json!(kind.name());
    // What `get -o yaml` prints can be applied again.
    schema["properties"]["status"] =
        json!({"type": "object", "description": "Written by `sos`, passed over when declared."});
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "apiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {name: a, labels: {x: y}}\n\
        spec: {timeZone: UTC, currency: USD, connection: {importPrice: {fixed: 0.2 USD/kWh}}}\n";

    #[test]
    fn what_the_server_shows_is_declared_again_as_it_was() {
        let declared = load(&[("a".into(), SITE.into())]).unwrap();
        let mut shown = declared[0].to_json();
        shown["metadata"]["generation"] = json!(3);
        shown["metadata"]["resourceVersion"] = json!(17);
        shown["metadata"]["manager"] = json!("dir");
        shown["scale"] = json!({ "replicas": 2 });
        shown["status"] = json!({ "conditions": [{ "type": "Ready" }] });
        shown["decisions"] = json!([{ "why": "a sentence" }]);
        assert_eq!(load(&[("one".into(), shown.to_string().into())]).as_ref(), Ok(&declared));
        let list = json!([shown]).to_string();
        assert_eq!(load(&[("list".into(), list.into())]).as_ref(), Ok(&declared), "as `get sites` shows it");
        shown["metadata"]["generaton"] = json!(3);
        let problems = load(&[("slip".into(), shown.to_string().into())]).unwrap_err();
        assert!(problems[0].message.contains("unknown key \"generaton\""), "{problems:?}");
    }
}
