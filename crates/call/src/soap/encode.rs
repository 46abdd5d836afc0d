//! JSON to XML, guided by the types, checked before anything is sent.

use serde_json::{Map, Value};

use super::content::{Item, Unordered, assign, known, order};
use super::generic;
use super::names::{QName, XSI, is_char, listed, short};
use super::values::{plain, to_text, told};
use super::xml::Writer;
use super::xsd::{
    ANY, Complex, Content, ElementDecl, ElementId, Keys, Particle, Schemas, TypeId, TypeKind, equal,
};
use crate::error::{CallError, ErrorKind};

/// How deep a value may be nested.
const DEPTH: usize = 256;

/// What is wrong with an input, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A JSON pointer.
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::BadInput, refusal.pointer, refusal.message)
    }
}

/// Where in an input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    steps: Vec<String>,
    depth: usize,
}

impl Path {
    pub(crate) fn push(&mut self, step: &str) {
        self.steps.push(step.replace('~', "~0").replace('/', "~1"));
    }

    pub(crate) fn pop(&mut self) {
        self.steps.pop();
    }

    pub(crate) fn refuse(&self, message: impl Into<String>) -> Refusal {
        let pointer = self.steps.iter().map(|step| format!("/{step}")).collect();
        Refusal { pointer, message: message.into() }
    }

    pub(crate) fn deeper(&mut self) -> Result<(), Refusal> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.refuse(format!("the input is more than {DEPTH} elements deep")));
        }
        Ok(())
    }

    pub(crate) const fn higher(&mut self) {
        self.depth -= 1;
    }

    /// Refuses what XML cannot hold.
    pub(crate) fn characters(&self, text: &str) -> Result<(), Refusal> {
        match text.chars().find(|char| !is_char(*char)) {
            Some(wrong) => {
                Err(self.refuse(format!("the character U+{:04X}, which XML cannot hold", wrong as u32)))
            }
            None => Ok(()),
        }
    }
}

/// Writes values as elements.
#[derive(Debug)]
pub(crate) struct Encoder<'s> {
    pub(crate) schemas: &'s Schemas,
    pub(crate) writer: Writer,
    pub(crate) path: Path,
}

impl Encoder<'_> {
    /// Writes one element.
    pub(crate) fn element(&mut self, id: ElementId, value: &Value) -> Result<(), Refusal> {
        let schemas = self.schemas;
        let element = schemas.element(id);
        self.path.deeper()?;
        self.writer.start(&element.name);
        self.content(element, value)?;
        self.writer.end();
        self.path.higher();
        Ok(())
    }

    /// Attributes and content of the element just opened.
    pub(crate) fn content(&mut self, element: &ElementDecl, value: &Value) -> Result<(), Refusal> {
        if value.is_null() {
            return self.nil(element);
        }
        let schemas = self.schemas;
        match &schemas.ty(element.ty).kind {
            TypeKind::Any => self.any(value),
            TypeKind::Simple(_) => {
                let text = self.text(element.ty, value)?;
                if element.fixed.as_ref().is_some_and(|fixed| !equal(None, fixed.trim(), text.trim())) {
                    let fixed = element.fixed.as_deref().unwrap_or_default();
                    return Err(self.path.refuse(format!(
                        "expected `{}`, the only value, found {}",
                        short(fixed),
                        told(value)
                    )));
                }
                self.writer.text(&text);
                Ok(())
            }
            TypeKind::Complex(_) => {
                let Value::Object(object) = value else {
                    return Err(self.path.refuse(format!("expected an object, found {}", told(value))));
                };
                self.typed(element, object)
            }
            // Operations that need such a type are refused when the document is read.
            TypeKind::Failed(failure) => Err(self.path.refuse(failure.message.clone())),
            TypeKind::Unread => Err(self.path.refuse("a type that was not read")),
        }
    }

    fn nil(&mut self, element: &ElementDecl) -> Result<(), Refusal> {
        if !element.nillable {
            return Err(self.path.refuse(format!(
                "null, and `{}` is not nillable; leave it out where it is optional",
                element.name.local
            )));
        }
        self.writer.attribute(&QName::new(XSI, "nil"), "true");
        Ok(())
    }

    fn text(&mut self, id: TypeId, value: &Value) -> Result<String, Refusal> {
        let text = to_text(self.schemas, id, value, &mut self.writer);
        let text = text.map_err(|message| self.path.refuse(message))?;
        self.path.characters(&text)?;
        Ok(text)
    }

    /// An object of the element's type or of one derived from it.
    fn typed(&mut self, element: &ElementDecl, object: &Map<String, Value>) -> Result<(), Refusal> {
        let schemas = self.schemas;
        let mut id = element.ty;
        if let Some(name) = object.get("@xsi:type") {
            id = self.chosen(element.ty, name)?;
            let name = schemas.ty(id).name.clone();
            let written = name.map(|name| self.writer.name(&name)).unwrap_or_default();
            self.writer.attribute(&QName::new(XSI, "type"), &written);
        } else if schemas.ty(id).is_abstract {
            let known: Vec<String> =
                schemas.concrete(id).into_iter().map(|id| schemas.type_key(id)).collect();
            let known = listed(known.iter().map(String::as_str));
            return Err(self.path.refuse(format!(
                "type {} is abstract; expected `@xsi:type`, one of {known}",
                schemas.ty(id).label()
            )));
        }
        let TypeKind::Complex(complex) = &schemas.ty(id).kind else {
            return Err(self.path.refuse(format!("type {} is not of elements", schemas.ty(id).label())));
        };
        let nil = match object.get("#nil") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(other) => {
                self.path.push("#nil");
                return Err(self.path.refuse(format!("expected true or false, found {}", told(other))));
            }
        };
        if nil {
            self.nil(element)?;
        }
        self.attributes(complex, object)?;
        self.complex(complex, object, nil)
    }

    /// The type that `@xsi:type` names, which must be the declared one or derived from it.
    fn chosen(&mut self, declared: TypeId, name: &Value) -> Result<TypeId, Refusal> {
        let schemas = self.schemas;
        let all = schemas.concrete(declared);
        let found = name.as_str().and_then(|name| {
            let is = |id: &&TypeId| {
                schemas.type_key(**id) == name
                    || schemas.ty(**id).name.as_ref().is_some_and(|full| full.to_string() == name)
            };
            all.iter().find(is).copied()
        });
        found.ok_or_else(|| {
            self.path.push("@xsi:type");
            let known: Vec<String> = all.iter().map(|id| schemas.type_key(*id)).collect();
            self.path.refuse(format!(
                "expected one of {}, found {}",
                listed(known.iter().map(String::as_str)),
                told(name)
            ))
        })
    }

    fn attributes(&mut self, complex: &Complex, object: &Map<String, Value>) -> Result<(), Refusal> {
        for attribute in &complex.attributes {
            let Some(value) = object.get(&attribute.key) else {
                if attribute.required {
                    return Err(self.path.refuse(format!("`{}` is missing", attribute.key)));
                }
                continue;
            };
            self.path.push(&attribute.key);
            let text = self.text(attribute.ty, value)?;
            if attribute.fixed.as_ref().is_some_and(|fixed| !equal(None, fixed.trim(), text.trim())) {
                let fixed = attribute.fixed.as_deref().unwrap_or_default();
                return Err(self.path.refuse(format!(
                    "expected `{}`, the only value, found {}",
                    short(fixed),
                    told(value)
                )));
            }
            self.writer.attribute(&attribute.name, &text);
            self.path.pop();
        }
        let others = object.iter().filter(|(key, _)| key.starts_with('@') && *key != "@xsi:type");
        for (key, value) in
            others.filter(|(key, _)| complex.attributes.iter().all(|known| known.key != **key))
        {
            let name = QName::clark(&key[1..]);
            let name = name
                .filter(|name| complex.any_attribute.as_ref().is_some_and(|any| any.takes(&name.namespace)));
            let Some(name) = name else {
                self.path.push(key);
                let known = listed(complex.attributes.iter().map(|known| known.key.as_str()));
                return Err(self
                    .path
                    .refuse(format!("`{}` is no attribute here; known: {known}", short(key))));
            };
            self.path.push(key);
            let text = plain(value).map_err(|message| self.path.refuse(message))?;
            self.path.characters(&text)?;
            self.writer.attribute(&name, &text);
            self.path.pop();
        }
        Ok(())
    }

    /// What stands within, `#` and element keys.
    fn complex(&mut self, complex: &Complex, object: &Map<String, Value>, nil: bool) -> Result<(), Refusal> {
        let elements = matches!(complex.content, Content::Elements { .. });
        let text = match complex.content {
            Content::Text(_) => true,
            Content::Elements { mixed, .. } => mixed,
            Content::Empty => false,
        };
        for key in object.keys().filter(|key| !key.starts_with('@')) {
            let good = match key.as_str() {
                "#nil" => true,
                "#text" => text && !nil,
                "#any" => elements && complex.keys.any.1 != Some(0) && !nil,
                "#order" => elements && !nil,
                _ => complex.keys.by_key.contains_key(key) && !nil,
            };
            if !good {
                self.path.push(key);
                let message = if nil {
                    "nothing beside attributes stands in what is nil".to_owned()
                } else {
                    self.unknown(complex, key, text)
                };
                return Err(self.path.refuse(message));
            }
        }
        match &complex.content {
            _ if nil => Ok(()),
            Content::Empty => Ok(()),
            Content::Text(id) => {
                let Some(value) = object.get("#text") else {
                    return Err(self.path.refuse("`#text` is missing"));
                };
                self.path.push("#text");
                let text = self.text(*id, value)?;
                self.writer.text(&text);
                self.path.pop();
                Ok(())
            }
            Content::Elements { particle, .. } => {
                if let Some(value) = object.get("#text") {
                    self.path.push("#text");
                    let text = plain(value).map_err(|message| self.path.refuse(message))?;
                    self.path.characters(&text)?;
                    self.writer.text(&text);
                    self.path.pop();
                }
                self.elements(&complex.keys, particle, object)
            }
        }
    }

    fn unknown(&self, complex: &Complex, key: &str, text: bool) -> String {
        let mut all: Vec<&str> = complex.keys.list.iter().map(|key| key.key.as_str()).collect();
        if text {
            all.push("#text");
        }
        all.extend(complex.attributes.iter().map(|attribute| attribute.key.as_str()));
        if complex.keys.any.1 != Some(0) {
            all.push("#any");
        }
        format!("`{}` is not known here; known: {}", short(key), listed(all))
    }

    fn elements(
        &mut self,
        keys: &Keys,
        particle: &Particle,
        object: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let none = Vec::new();
        let any = match object.get("#any") {
            None => &none,
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.path.push("#any");
                return Err(self.path.refuse(format!("expected a list of elements, found {}", told(other))));
            }
        };
        let counts = self.counts(keys, object, any.len())?;
        let sequence = match object.get("#order") {
            Some(told) => self.told_order(keys, told, &counts)?,
            None => order(self.schemas, keys, particle, &counts)
                .map_err(|problem| self.unordered(keys, problem))?,
        };
        if object.contains_key("#order") || !any.is_empty() {
            self.check_order(keys, particle, &sequence, any)?;
        }
        let mut next = vec![0_usize; counts.len()];
        for key in sequence {
            let slot = if key == ANY { keys.list.len() } else { key as usize };
            let number = next[slot];
            next[slot] += 1;
            if key == ANY {
                self.path.push("#any");
                self.path.push(&number.to_string());
                generic::write(&any[number], &mut self.path, &mut self.writer)?;
                self.path.pop();
                self.path.pop();
            } else {
                self.one(keys, key, number, object)?;
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        keys: &Keys,
        key: u32,
        number: usize,
        object: &Map<String, Value>,
    ) -> Result<(), Refusal> {
        let key = &keys.list[key as usize];
        self.path.push(&key.key);
        match object.get(&key.key) {
            Some(Value::Array(list)) if key.is_list() => {
                self.path.push(&number.to_string());
                self.element(key.element, &list[number])?;
                self.path.pop();
            }
            Some(value) => self.element(key.element, value)?,
            None => {}
        }
        self.path.pop();
        Ok(())
    }

    /// How many of each key there are, those of wildcards last.
    fn counts(&mut self, keys: &Keys, object: &Map<String, Value>, any: usize) -> Result<Vec<u32>, Refusal> {
        let mut counts = vec![0_u32; keys.list.len() + 1];
        for (number, key) in keys.list.iter().enumerate() {
            let Some(value) = object.get(&key.key) else { continue };
            self.path.push(&key.key);
            counts[number] = match value {
                Value::Array(list) if key.is_list() => list.len() as u32,
                other if key.is_list() => {
                    return Err(self.path.refuse(format!("expected a list, found {}", told(other))));
                }
                _ => 1,
            };
            if let Some(max) = key.max.filter(|max| counts[number] > *max) {
                return Err(self.path.refuse(format!("expected {max} or fewer, found {}", counts[number])));
            }
            if counts[number] < key.min {
                return Err(self
                    .path
                    .refuse(format!("expected {} or more, found {}", key.min, counts[number])));
            }
            self.path.pop();
        }
        counts[keys.list.len()] = any as u32;
        Ok(counts)
    }

    fn unordered(&self, keys: &Keys, problem: Unordered) -> Refusal {
        match problem {
            Unordered::Missing(what) => self.path.refuse(format!("{what} is missing; {}", known(keys))),
            Unordered::Surplus(key) => {
                let key = keys.list.get(key as usize).map_or("#any", |key| key.key.as_str());
                let mut path = self.path.clone();
                path.push(key);
                path.refuse(format!(
                    "`{}` has no place beside the others that are given, or there are too many of it",
                    short(key)
                ))
            }
        }
    }

    /// `#order`: the keys in the order in which they are written.
    fn told_order(&mut self, keys: &Keys, told_value: &Value, counts: &[u32]) -> Result<Vec<u32>, Refusal> {
        self.path.push("#order");
        let Value::Array(list) = told_value else {
            return Err(self.path.refuse(format!("expected a list of keys, found {}", told(told_value))));
        };
        let mut sequence = vec![];
        for name in list {
            let key = name
                .as_str()
                .and_then(|name| if name == "#any" { Some(ANY) } else { keys.by_key.get(name).copied() });
            let Some(key) = key else {
                return Err(self.path.refuse(format!(
                    "expected a key, found {}; {}",
                    told(name),
                    known(keys)
                )));
            };
            sequence.push(key);
        }
        let mut left = counts.to_vec();
        for key in &sequence {
            let slot = if *key == ANY { keys.list.len() } else { *key as usize };
            left[slot] = left[slot].wrapping_sub(1);
        }
        if left.iter().any(|left| *left != 0) {
            return Err(self.path.refuse("expected each key as often as it is given"));
        }
        self.path.pop();
        Ok(sequence)
    }

    fn check_order(
        &self,
        keys: &Keys,
        particle: &Particle,
        sequence: &[u32],
        any: &[Value],
    ) -> Result<(), Refusal> {
        let mut wild = any.iter();
        let mut names = vec![];
        for key in sequence {
            names.push(match keys.list.get(*key as usize) {
                Some(key) => self.schemas.element(key.element).name.clone(),
                None => {
                    let mut path = self.path.clone();
                    path.push("#any");
                    path.push(&(any.len() - wild.len()).to_string());
                    generic::name(wild.next().unwrap_or(&Value::Null), &path)?
                }
            });
        }
        let items: Vec<Item<'_>> = sequence
            .iter()
            .zip(&names)
            .map(|(key, name)| Item { key: *key, namespace: &name.namespace })
            .collect();
        assign(self.schemas, particle, &items).map_err(|misfit| {
            let found = names.get(misfit.at).map_or_else(|| "the end".to_owned(), |name| format!("`{name}`"));
            self.path.refuse(format!("expected {}, found {found}", misfit.expected))
        })?;
        Ok(())
    }

    /// A value of `xsd:anyType`.
    fn any(&mut self, value: &Value) -> Result<(), Refusal> {
        let Value::Object(object) = value else {
            let text = plain(value).map_err(|_| {
                self.path.refuse(format!(
                    "expected a text, a number, true, false or an object, found {}",
                    told(value)
                ))
            })?;
            self.path.characters(&text)?;
            self.writer.text(&text);
            return Ok(());
        };
        let schemas = self.schemas;
        let Some(name) = object.get("@xsi:type") else {
            return generic::write_within(object, &[], &mut self.path, &mut self.writer);
        };
        let Some((id, name)) = name.as_str().and_then(|name| schemas.type_by_key(name)) else {
            self.path.push("@xsi:type");
            return Err(self
                .path
                .refuse(format!("expected a known type such as `{{namespace}}name`, found {}", told(name))));
        };
        let written = self.writer.name(&name);
        self.writer.attribute(&QName::new(XSI, "type"), &written);
        match &schemas.ty(id).kind {
            TypeKind::Complex(complex) => {
                self.attributes(complex, object)?;
                self.complex(complex, object, false)
            }
            TypeKind::Simple(_) => {
                if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "#text" | "@xsi:type")) {
                    self.path.push(key);
                    return Err(self.path.refuse("expected `#text` and `@xsi:type` only"));
                }
                let text = self.text(id, object.get("#text").unwrap_or(&Value::Null))?;
                self.writer.text(&text);
                Ok(())
            }
            _ => generic::write_within(object, &["@xsi:type"], &mut self.path, &mut self.writer),
        }
    }
}
