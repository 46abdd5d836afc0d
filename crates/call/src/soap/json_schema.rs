//! JSON Schema (2020-12) of what an operation takes and gives.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::values::{self, SAFE};
use super::xsd::{
    Builtin, Complex, Content, Decimal, ElementDecl, ElementId, Facets, Particle, Schemas, Simple, Term,
    TypeId, TypeKind, Variety,
};

/// Values within one schema; a larger one is not told.
const VALUES: usize = 100_000;

/// A schema that says nothing.
pub(crate) fn untold() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "the types are too many to be told here; inputs and answers are checked all the same",
    })
}

/// The schema of the output where nothing is answered.
pub(crate) fn nothing() -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "null"})
}

/// Collects the definitions of one schema.
#[derive(Debug)]
pub(crate) struct Definitions<'s> {
    schemas: &'s Schemas,
    names: HashMap<TypeId, String>,
    /// Types that have more than one shape, as those derived from them may stand for them.
    shapes: HashMap<TypeId, String>,
    taken: HashMap<String, ()>,
    queue: Vec<TypeId>,
    done: Map<String, Value>,
    size: usize,
    /// Types of elements that may be nil.
    nillable: HashSet<TypeId>,
}

impl<'s> Definitions<'s> {
    pub(crate) fn new(schemas: &'s Schemas) -> Self {
        Self {
            schemas,
            names: HashMap::new(),
            shapes: HashMap::new(),
            taken: HashMap::new(),
            queue: vec![],
            done: Map::new(),
            size: 0,
            nillable: schemas.nillable(),
        }
    }

    /// The whole schema, with the definitions that it needs. The second value tells its size.
    pub(crate) fn finish(mut self, root: Value) -> (Value, usize) {
        while let Some(id) = self.queue.pop() {
            let schema = self.defined(id);
            self.size += size(&schema);
            self.done.insert(self.names[&id].clone(), schema);
            if self.size > VALUES {
                return (untold(), self.size);
            }
        }
        let mut whole = Map::new();
        whole.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        match root {
            Value::Object(root) => whole.extend(root),
            other => {
                whole.insert("allOf".to_owned(), json!([other]));
            }
        }
        if !self.done.is_empty() {
            whole.insert("$defs".to_owned(), Value::Object(self.done));
        }
        (Value::Object(whole), self.size)
    }

    /// The schema of an element's value.
    pub(crate) fn element(&mut self, id: ElementId) -> Value {
        let element = self.schemas.element(id);
        let mut schema = self.of(element.ty);
        if element.nillable {
            schema = match schema {
                Value::Object(object) if object.is_empty() => Value::Object(object),
                schema => json!({"anyOf": [schema, {"type": "null"}]}),
            };
        }
        self.described(&mut schema, element);
        schema
    }

    /// The schema of the element that a message is: told in place where it is an object of one shape.
    pub(crate) fn root(&mut self, id: ElementId) -> Value {
        let schemas = self.schemas;
        let element = schemas.element(id);
        let ty = schemas.ty(element.ty);
        match &ty.kind {
            TypeKind::Complex(complex) if ty.derived.is_empty() && !ty.is_abstract && !element.nillable => {
                let mut schema = self.object(element.ty, complex);
                if let (Some(text), Value::Object(object)) =
                    (element.documentation.as_ref().or(ty.documentation.as_ref()), &mut schema)
                {
                    object.insert("description".to_owned(), text.as_str().into());
                }
                schema
            }
            _ => self.element(id),
        }
    }

    fn described(&self, schema: &mut Value, element: &ElementDecl) {
        let Value::Object(object) = schema else { return };
        if let Some(text) = &element.documentation {
            object.insert("description".to_owned(), text.as_str().into());
        }
        if let Some(fixed) = element.fixed.as_ref().and_then(|text| self.sample(element.ty, text)) {
            object.insert("const".to_owned(), fixed);
        } else if let Some(default) = element.default.as_ref().and_then(|text| self.sample(element.ty, text))
        {
            object.insert("default".to_owned(), default);
        }
    }

    /// A text of a simple type as its JSON.
    fn sample(&self, id: TypeId, text: &str) -> Option<Value> {
        values::simple(self.schemas, id)?;
        values::to_json(self.schemas, id, text, &mut AsWritten).ok()
    }

    /// The schema of a type, with those derived from it.
    fn of(&mut self, id: TypeId) -> Value {
        let ty = self.schemas.ty(id);
        match &ty.kind {
            TypeKind::Any => json!({}),
            TypeKind::Simple(simple) if ty.name.is_none() || is_built_in(self.schemas, id) => {
                let simple = simple.clone();
                self.simple(&simple)
            }
            TypeKind::Simple(_) => reference(&self.name(id)),
            TypeKind::Complex(_) if ty.derived.is_empty() && !ty.is_abstract => reference(&self.name(id)),
            TypeKind::Complex(_) => reference(&self.shape(id)),
            TypeKind::Failed(_) | TypeKind::Unread => json!(false),
        }
    }

    /// The name of a type's definition, which is queued when it is first asked for.
    fn name(&mut self, id: TypeId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let ty = self.schemas.ty(id);
        let name = self.fresh(ty.name.as_ref().map_or(&ty.owner, |name| &name.local));
        self.names.insert(id, name.clone());
        self.queue.push(id);
        name
    }

    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.replace(['~', '/', '%'], "_");
        let mut number = 2;
        while self.taken.contains_key(&name) {
            name = format!("{}-{number}", wanted.replace(['~', '/', '%'], "_"));
            number += 1;
        }
        self.taken.insert(name.clone(), ());
        name
    }

    /// A type or one derived from it, told apart by `@xsi:type`.
    fn shape(&mut self, id: TypeId) -> String {
        if let Some(name) = self.shapes.get(&id) {
            return name.clone();
        }
        let ty = self.schemas.ty(id);
        let wanted = format!("{}.any", ty.name.as_ref().map_or(&ty.owner, |name| &name.local));
        let name = self.fresh(&wanted);
        self.shapes.insert(id, name.clone());
        let mut of = vec![];
        for one in self.schemas.concrete(id) {
            let exact = reference(&self.name(one));
            of.push(if one == id { exact } else { json!({"allOf": [exact, {"required": ["@xsi:type"]}]}) });
        }
        self.size += of.len() * 5;
        let schema = if of.is_empty() { json!(false) } else { json!({"anyOf": of}) };
        self.done.insert(name.clone(), schema);
        name
    }

    /// A type's own schema.
    fn defined(&mut self, id: TypeId) -> Value {
        let schemas = self.schemas;
        let ty = schemas.ty(id);
        let mut schema = match &ty.kind {
            TypeKind::Simple(simple) => self.simple(simple),
            TypeKind::Complex(complex) => self.object(id, complex),
            _ => json!({}),
        };
        if let (Some(text), Value::Object(object)) = (&ty.documentation, &mut schema) {
            object.insert("description".to_owned(), text.as_str().into());
        }
        schema
    }

    /// The object of a complex type; `id` tells how `@xsi:type` names it.
    fn object(&mut self, id: TypeId, complex: &Complex) -> Value {
        let schemas = self.schemas;
        let (mut properties, mut required) = (Map::new(), vec![]);
        let ty = schemas.ty(id);
        if ty.name.is_some() && (ty.base.is_some() || !ty.derived.is_empty()) {
            properties.insert("@xsi:type".to_owned(), json!({"const": schemas.type_key(id)}));
        }
        for attribute in &complex.attributes {
            let mut schema = self.of(attribute.ty);
            if let (Some(fixed), Value::Object(object)) =
                (attribute.fixed.as_ref().and_then(|text| self.sample(attribute.ty, text)), &mut schema)
            {
                object.insert("const".to_owned(), fixed);
            } else if let (Some(default), Value::Object(object)) =
                (attribute.default.as_ref().and_then(|text| self.sample(attribute.ty, text)), &mut schema)
            {
                object.insert("default".to_owned(), default);
            }
            properties.insert(attribute.key.clone(), schema);
            if attribute.required {
                required.push(attribute.key.clone());
            }
        }
        let mut choices = vec![];
        match &complex.content {
            Content::Empty => {}
            Content::Text(text) => {
                properties.insert("#text".to_owned(), self.of(*text));
                required.push("#text".to_owned());
            }
            Content::Elements { particle, mixed } => {
                if *mixed {
                    properties.insert("#text".to_owned(), json!({"type": "string"}));
                }
                self.keys(complex, &mut properties, &mut required);
                choices = choices_of(complex, particle);
            }
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if complex.any_attribute.is_some() {
            schema["patternProperties"] = json!({"^@": {"type": ["string", "number", "boolean"]}});
            // What has a schema of its own keeps it: both hold, and a list is no text.
            let own = complex.attributes.iter().any(|attribute| !is_scalar(schemas, attribute.ty));
            if own {
                schema["patternProperties"] = json!({"^@": true});
            }
        }
        if self.nillable.contains(&id) && has_attributes(complex) {
            // An element that is nil is null unless it has attributes.
            schema["properties"]["#nil"] = json!({"type": "boolean"});
            let always: Vec<&String> = required.iter().filter(|key| key.starts_with('@')).collect();
            let otherwise: Vec<&String> = required.iter().filter(|key| !key.starts_with('@')).collect();
            let mut then = json!({"required": otherwise});
            if !choices.is_empty() {
                then["allOf"] = choices.into();
            }
            let is_nil = json!({"properties": {"#nil": {"const": true}}, "required": ["#nil"]});
            schema["required"] = json!(always);
            schema["if"] = is_nil;
            schema["else"] = then;
            return schema;
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !choices.is_empty() {
            schema["allOf"] = choices.into();
        }
        schema
    }

    fn keys(&mut self, complex: &Complex, properties: &mut Map<String, Value>, required: &mut Vec<String>) {
        for key in &complex.keys.list {
            let mut schema = self.element(key.element);
            if key.is_list() {
                schema = json!({"type": "array", "items": schema});
                if key.min > 0 {
                    schema["minItems"] = key.min.into();
                }
                if let Some(max) = key.max {
                    schema["maxItems"] = max.into();
                }
            }
            properties.insert(key.key.clone(), schema);
            if key.min > 0 {
                required.push(key.key.clone());
            }
        }
        let (min, max) = complex.keys.any;
        if max != Some(0) {
            let mut schema = json!({"type": "array", "items": generic()});
            if let Some(max) = max {
                schema["maxItems"] = max.into();
            }
            if min > 0 {
                schema["minItems"] = min.into();
                required.push("#any".to_owned());
            }
            properties.insert("#any".to_owned(), schema);
        }
        if complex.keys.loose {
            properties.insert("#order".to_owned(), json!({"type": "array", "items": {"type": "string"}}));
        }
    }

    fn simple(&mut self, simple: &Simple) -> Value {
        let mut schema = match &simple.variety {
            Variety::Atomic(builtin) => atomic(*builtin),
            Variety::List(item) => json!({"type": "array", "items": self.of(*item)}),
            Variety::Union(members) => {
                json!({"anyOf": members.iter().map(|id| self.of(*id)).collect::<Vec<_>>()})
            }
        };
        if let Value::Object(object) = &mut schema {
            self.facets(simple, &simple.facets, object);
        }
        schema
    }

    fn facets(&self, simple: &Simple, facets: &Facets, object: &mut Map<String, Value>) {
        if let Some(values) = &facets.enumeration {
            let told = |text: &String| match &simple.variety {
                Variety::Atomic(Builtin::QName) => Some(Value::String(text.clone())),
                _ => values::simple_json(self.schemas, simple, text),
            };
            let mut list: Vec<Value> = vec![];
            for value in values.iter().filter_map(told) {
                // Numbers are also taken as strings.
                let text = value.as_number().map(|number| Value::String(number.to_string()));
                let wide = matches!(simple.variety, Variety::Atomic(builtin) if builtin.takes_digits());
                for value in std::iter::once(value).chain(text.filter(|_| wide)) {
                    if !list.contains(&value) {
                        list.push(value);
                    }
                }
            }
            object.insert("enum".to_owned(), list.into());
        }
        match simple.variety {
            Variety::List(_) => lengths(facets, object, "minItems", "maxItems"),
            Variety::Atomic(Builtin::Hex | Builtin::Base64) => {
                // Bytes as they are written: two digits each, or four for three.
                let hex = matches!(simple.variety, Variety::Atomic(Builtin::Hex));
                let digits = |bytes: u64| {
                    if hex { bytes.saturating_mul(2) } else { bytes.div_ceil(3).saturating_mul(4) }
                };
                if let Some(bytes) = facets.min_length.filter(|bytes| *bytes > 0) {
                    object.insert("minLength".to_owned(), digits(bytes).into());
                    // No keyword of JSON Schema, so that it is said at least.
                    object.insert("minBytes".to_owned(), bytes.into());
                }
                if let Some(bytes) = facets.max_length {
                    object.insert("maxBytes".to_owned(), bytes.into());
                }
            }
            Variety::Atomic(Builtin::QName) | Variety::Union(_) => {}
            Variety::Atomic(builtin) if builtin.is_decimal() || builtin.is_float() => ranges(facets, object),
            Variety::Atomic(_) => lengths(facets, object, "minLength", "maxLength"),
        }
        let text = matches!(simple.variety, Variety::Atomic(builtin) if !builtin.is_decimal() && !builtin.is_float());
        let patterns: Vec<&String> =
            facets.patterns.iter().filter_map(|pattern| pattern.ecma.as_ref()).collect();
        if text && !patterns.is_empty() {
            let own = object.remove("pattern").into_iter();
            let all: Vec<Value> = patterns.into_iter().map(|pattern| json!({"pattern": pattern})).collect();
            match (own.count(), all.len()) {
                (0, 1) => object.extend(all.into_iter().filter_map(|one| one.as_object().cloned()).flatten()),
                _ => {
                    object.insert("allOf".to_owned(), all.into());
                }
            }
        }
    }
}

fn is_built_in(schemas: &Schemas, id: TypeId) -> bool {
    schemas.ty(id).name.as_ref().is_some_and(|name| *name.namespace == *super::names::XSD)
}

fn is_scalar(schemas: &Schemas, id: TypeId) -> bool {
    values::simple(schemas, id).is_some_and(|simple| matches!(simple.variety, Variety::Atomic(_)))
}

/// Whether an object of this type says something where the element is nil.
fn has_attributes(complex: &Complex) -> bool {
    !complex.attributes.is_empty() || complex.any_attribute.is_some()
}

fn reference(name: &str) -> Value {
    let encoded: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_alphanumeric() || "-_.".contains(char) {
                char.to_string()
            } else {
                percent(char)
            }
        })
        .collect();
    json!({"$ref": format!("#/$defs/{encoded}")})
}

fn percent(char: char) -> String {
    let mut bytes = [0; 4];
    char.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// An element of no known type; see `generic`.
fn generic() -> Value {
    json!({
        "type": "object",
        "properties": {"#name": {"type": "string"}, "#content": {"type": "array"}},
        "patternProperties": {"^@": {"type": "string"}},
        "additionalProperties": false,
        "required": ["#name"],
    })
}

fn atomic(builtin: Builtin) -> Value {
    let example =
        |example: &str, name: &str| json!({"type": "string", "$comment": name, "examples": [example]});
    match builtin {
        Builtin::AnySimple => json!({"type": ["string", "number", "boolean"]}),
        Builtin::String | Builtin::Normalized | Builtin::Token => json!({"type": "string"}),
        Builtin::AnyUri => json!({"type": "string", "$comment": "anyURI"}),
        Builtin::Language => example("en", "language"),
        Builtin::Name | Builtin::NcName | Builtin::NmToken => example("name", "name"),
        Builtin::QName => {
            json!({"type": "string", "pattern": "^(\\{[^{}]*\\})?[^{}:\\s]+$", "$comment": "QName", "examples": ["{urn:x}name"]})
        }
        Builtin::Boolean => json!({"type": "boolean"}),
        Builtin::Decimal => {
            json!({"type": ["number", "string"], "pattern": "^\\s*[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)\\s*$"})
        }
        Builtin::Integer(range) => {
            let bound = |text: Option<&str>| {
                text.and_then(|text| text.parse::<i64>().ok()).filter(|value| value.abs() <= SAFE)
            };
            let mut schema = json!({"type": "integer"});
            if builtin.takes_digits() {
                schema = json!({"type": ["integer", "string"], "pattern": "^\\s*[+-]?[0-9]+\\s*$"});
            }
            if let Some(min) = bound(range.min) {
                schema["minimum"] = min.into();
            }
            if let Some(max) = bound(range.max) {
                schema["maximum"] = max.into();
            }
            schema
        }
        Builtin::Float | Builtin::Double => {
            json!({"anyOf": [{"type": "number"}, {"enum": ["INF", "-INF", "NaN"]}]})
        }
        Builtin::Duration => example("P1DT2H", "duration"),
        Builtin::DateTime => example("2026-11-29T12:00:00Z", "dateTime"),
        Builtin::Time => example("12:00:00", "time"),
        Builtin::Date => example("2026-11-29", "date"),
        Builtin::YearMonth => example("2026-11", "gYearMonth"),
        Builtin::Year => example("2026", "gYear"),
        Builtin::MonthDay => example("--11-29", "gMonthDay"),
        Builtin::Day => example("---29", "gDay"),
        Builtin::Month => example("--11", "gMonth"),
        Builtin::Hex => {
            json!({"type": "string", "contentEncoding": "base16", "pattern": "^\\s*([0-9a-fA-F]{2})*\\s*$"})
        }
        Builtin::Base64 => json!({"type": "string", "contentEncoding": "base64"}),
    }
}

fn lengths(facets: &Facets, object: &mut Map<String, Value>, min: &str, max: &str) {
    if let Some(length) = facets.min_length.filter(|length| *length > 0) {
        object.insert(min.to_owned(), length.into());
    }
    if let Some(length) = facets.max_length {
        object.insert(max.to_owned(), length.into());
    }
}

fn ranges(facets: &Facets, object: &mut Map<String, Value>) {
    for (bound, inclusive, exclusive) in
        [(&facets.min, "minimum", "exclusiveMinimum"), (&facets.max, "maximum", "exclusiveMaximum")]
    {
        let Some((text, with)) = bound else { continue };
        let number =
            Decimal::read(text).and_then(|value| value.exact()).and_then(serde_json::Number::from_f64);
        let whole =
            text.parse::<i64>().ok().filter(|value| value.abs() <= SAFE).map(serde_json::Number::from);
        if let Some(number) = whole.or(number) {
            object.remove(inclusive);
            object.insert(if *with { inclusive } else { exclusive }.to_owned(), number.into());
        }
    }
}

/// What choices say beyond the numbers of their keys.
fn choices_of(complex: &Complex, particle: &Particle) -> Vec<Value> {
    let mut found = vec![];
    look_for_choices(complex, particle, &mut found);
    found
}

fn look_for_choices(complex: &Complex, particle: &Particle, found: &mut Vec<Value>) {
    match &particle.term {
        Term::Sequence(list) | Term::All(list) if particle.min > 0 => {
            list.iter().for_each(|part| look_for_choices(complex, part, found));
        }
        Term::Choice(list) => {
            let branches: Option<Vec<Vec<Branch>>> =
                list.iter().map(|part| branches(complex, part)).collect();
            let branches = branches.map(|branches| branches.into_iter().flatten().collect::<Vec<_>>());
            found.extend(branches.and_then(|branches| one_of(complex, particle, &branches)));
        }
        // Elements that may stand for each other are a choice, too.
        Term::Element(_, keys) if keys.len() > 1 => {
            let branches = branches(complex, particle);
            found.extend(branches.and_then(|branches| one_of(complex, particle, &branches)));
        }
        _ => {}
    }
}

/// All keys of a branch of a choice, and those that it needs.
struct Branch {
    names: Vec<String>,
    needed: Vec<String>,
}

/// A choice that stands once: one of its branches, or none where that is allowed. One that may stand more often, or whose
/// keys have other places: any of its branches, where one has to be.
fn one_of(complex: &Complex, particle: &Particle, branches: &[Branch]) -> Option<Value> {
    let any =
        |names: &[String]| json!(names.iter().map(|name| json!({"required": [name]})).collect::<Vec<_>>());
    let may_be_empty =
        particle.min == 0 || branches.is_empty() || branches.iter().any(|one| one.needed.is_empty());
    if particle.max != Some(1) || complex.keys.loose {
        let of: Vec<Value> = branches.iter().map(|one| json!({"required": one.needed})).collect();
        return (!may_be_empty).then(|| json!({"anyOf": of}));
    }
    let of = branches.iter().filter(|one| !one.names.is_empty());
    let mut of: Vec<Value> =
        of.map(|one| json!({"anyOf": any(&one.names), "required": one.needed})).collect();
    if of.is_empty() {
        return None;
    }
    if may_be_empty {
        let all: Vec<String> = branches.iter().flat_map(|one| one.names.clone()).collect();
        of.push(json!({"not": {"anyOf": any(&all)}}));
    }
    Some(json!({"oneOf": of}))
}

/// A branch, or one for each of the elements that may stand for each other. `None` where it says too little: wildcards, and
/// such elements among others.
fn branches(complex: &Complex, particle: &Particle) -> Option<Vec<Branch>> {
    if let Term::Element(_, keys) = &particle.term
        && keys.len() > 1
    {
        let name = |key: &u32| vec![complex.keys.list[*key as usize].key.clone()];
        let needed = |key: &u32| if particle.min > 0 { name(key) } else { vec![] };
        return Some(keys.iter().map(|key| Branch { names: name(key), needed: needed(key) }).collect());
    }
    let mut branch = Branch { names: vec![], needed: vec![] };
    walk(complex, particle, true, &mut branch)?;
    Some(vec![branch])
}

fn walk(complex: &Complex, particle: &Particle, always: bool, branch: &mut Branch) -> Option<()> {
    let always = always && particle.min > 0;
    match &particle.term {
        Term::Element(_, keys) => {
            let [key] = **keys else { return None };
            let key = &complex.keys.list[key as usize].key;
            branch.names.push(key.clone());
            if always {
                branch.needed.push(key.clone());
            }
            Some(())
        }
        Term::Sequence(list) | Term::All(list) => {
            list.iter().try_for_each(|part| walk(complex, part, always, branch))
        }
        Term::Choice(list) => list.iter().try_for_each(|part| walk(complex, part, false, branch)),
        Term::Any(_) => None,
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(object) => 1 + object.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Names that stand in a schema document are told as they are.
#[derive(Debug)]
pub(crate) struct AsWritten;

impl values::Names for AsWritten {
    fn name(&mut self, name: &str) -> Result<String, String> {
        Ok(name.to_owned())
    }
}
