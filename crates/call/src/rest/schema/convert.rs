//! One schema as JSON Schema 2020-12.
//!
//! Source: JSON Schema 2020-12 (core and validation), OpenAPI 3.0.4 §4.7.24 "Schema Object", Swagger 2.0 "Schema Object".

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::keyword::{Holds, holds};
use super::{Edge, MAX_VALUES, Mode, Schema, Store, file, memory, object_memory};
use crate::rest::documents::{Dialect, Problems, Spot};
use crate::rest::names::escaped;
use crate::rest::shown;

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];
/// Properties that are looked at to find out which are only sent or only answered, and how far `allOf` is followed.
const LOOKED_AT: usize = 2000;
const FOLLOWED: usize = 6;

pub(super) fn schema<'d>(
    store: &mut Store<'d>,
    spot: &Spot<'d>,
    mode: Mode,
    problems: &mut Problems,
) -> Schema {
    let dialect = store.set.dialect(spot.document);
    let mut work = Work {
        store,
        problems,
        document: spot.document,
        dialect,
        mode,
        pointer: spot.pointer.clone(),
        edges: vec![],
        memory: 0,
        run: 0,
        nested: 1,
    };
    let value = work.schema(spot.value, true, &HashSet::new());
    Schema { value, edges: work.edges, memory: work.memory, nested: work.nested }
}

struct Work<'a, 'd> {
    store: &'a mut Store<'d>,
    problems: &'a mut Problems,
    document: usize,
    dialect: Dialect,
    mode: Mode,
    pointer: String,
    edges: Vec<Edge>,
    memory: usize,
    /// How many schemas around this one are about the same value, and the most so far.
    run: usize,
    nested: usize,
}

/// Names of properties that are not asked for in this direction.
type Hidden = HashSet<String>;

impl<'d> Work<'_, 'd> {
    fn refuse(&mut self, message: impl Into<String>) {
        self.problems.add(self.document, self.pointer.clone(), message);
    }

    /// Does something one key further down.
    fn inside<T>(&mut self, key: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escaped(key));
        let result = act(self);
        self.pointer.truncate(length);
        result
    }

    fn schema(&mut self, value: &'d Value, in_place: bool, hidden: &Hidden) -> Value {
        self.store.values += 1;
        if self.store.values > MAX_VALUES {
            if self.store.values == MAX_VALUES + 1 {
                self.refuse(format!("the schemas have more than {MAX_VALUES} parts"));
            }
            return Value::Bool(true);
        }
        match value {
            Value::Bool(_) => value.clone(),
            Value::Object(entries) => self.object(entries, in_place, hidden),
            _ => {
                self.refuse("expected a schema: a map, or a truth value");
                Value::Bool(true)
            }
        }
    }

    /// A schema within one that is about the same value.
    fn same(&mut self, value: &'d Value, in_place: bool, hidden: &Hidden) -> Value {
        self.run += 1;
        self.nested = self.nested.max(self.run + 1);
        let schema = self.schema(value, in_place, hidden);
        self.run -= 1;
        schema
    }

    /// A schema of a part of the value.
    fn part(&mut self, value: &'d Value) -> Value {
        let run = std::mem::take(&mut self.run);
        let schema = self.schema(value, false, &Hidden::new());
        self.run = run;
        schema
    }

    fn object(&mut self, entries: &'d Map<String, Value>, in_place: bool, hidden: &Hidden) -> Value {
        let mut out = Map::new();
        if self.reference(entries, in_place, &mut out) && self.dialect != Dialect::V31 {
            let value = Value::Object(out);
            return if flag(entries, "nullable") {
                json!({"anyOf": [{"type": "null"}, value]})
            } else {
                value
            };
        }
        if self.mode == Mode::Form && self.is_binary(entries) {
            let mut either = json!({"anyOf": [{"type": "string"}, file()]});
            if let Some(Value::String(text)) = entries.get("description") {
                either["description"] = text.as_str().into();
            }
            self.memory += memory(&either);
            return either;
        }
        let hidden = self.hidden(entries, hidden);
        for (keyword, value) in entries {
            self.inside(keyword, |this| this.keyword(keyword, value, in_place, &hidden, &mut out));
        }
        self.limits(entries, &mut out);
        self.items(entries, &mut out);
        let value = nullable(entries, out);
        self.memory += value.as_object().map_or(0, |entries| object_memory(entries, 0));
        value
    }

    /// Whether there is a `$ref`, which is then resolved.
    fn reference(
        &mut self,
        entries: &Map<String, Value>,
        in_place: bool,
        out: &mut Map<String, Value>,
    ) -> bool {
        let (keyword, reference) = match (entries.get("$ref"), entries.get("$dynamicRef")) {
            (Some(Value::String(reference)), _) => ("$ref", reference),
            // Without any other meaning it is a plain reference; with several, what is meant depends on the way there.
            (None, Some(Value::String(reference))) if !self.store.set.is_ambiguous(reference) => {
                ("$dynamicRef", reference)
            }
            (Some(_), _) => {
                self.inside("$ref", |this| this.refuse("expected text"));
                return false;
            }
            _ => return false,
        };
        match self.store.set.target(self.document, reference) {
            Ok(target) => {
                let to = self.store.definition(target, self.mode);
                self.edges.push(Edge { to, in_place });
                let name = format!("#/$defs/{}", self.store.definitions[to].name);
                self.memory += ENTRY_OF_REFERENCE + name.len();
                out.insert("$ref".to_owned(), name.into());
            }
            Err(message) => self.inside(keyword, |this| this.refuse(message)),
        }
        true
    }

    fn keyword(
        &mut self,
        keyword: &str,
        value: &'d Value,
        in_place: bool,
        hidden: &Hidden,
        out: &mut Map<String, Value>,
    ) {
        match keyword {
            "type" => self.types(value, out),
            "pattern" => self.pattern(value, out),
            "patternProperties" => self.pattern_properties(value, out),
            "dependencies" => self.dependencies(value, in_place, out),
            _ => {
                if let Some(kept) =
                    holds(keyword).and_then(|kind| self.kept(kind, keyword, value, in_place, hidden))
                {
                    out.insert(keyword.to_owned(), kept);
                }
            }
        }
    }

    fn kept(
        &mut self,
        kind: Holds,
        keyword: &str,
        value: &'d Value,
        in_place: bool,
        hidden: &Hidden,
    ) -> Option<Value> {
        let none = Hidden::new();
        match kind {
            Holds::Part => return Some(self.part(value)),
            Holds::Same => return Some(self.same(value, in_place, &none)),
            Holds::Parts => return self.map(value, None),
            Holds::SameMap => return self.map(value, Some(in_place)),
            Holds::PartList => return self.list(value, None, &none),
            Holds::SameList => {
                return self.list(value, Some(in_place), if keyword == "allOf" { hidden } else { &none });
            }
            Holds::Names => return self.names(value, hidden),
            _ => {}
        }
        let wanted = match kind {
            Holds::Number if keyword == "multipleOf" => {
                (value.as_f64().is_some_and(|number| number > 0.0), "a number above zero")
            }
            Holds::Number => (value.is_number(), "a number"),
            Holds::Count => {
                let whole =
                    value.as_f64().is_some_and(|number| number >= 0.0 && number.fract().abs() < f64::EPSILON);
                (whole, "a whole number of zero or more")
            }
            Holds::Flag => (value.is_boolean(), "true or false"),
            Holds::Text => (value.is_string(), "text"),
            Holds::DataList => (value.is_array(), "a list of values"),
            Holds::NameLists => (
                value.as_object().is_some_and(|lists| lists.values().all(is_names)),
                "a map of lists of names",
            ),
            _ => (true, ""),
        };
        if !wanted.0 {
            self.refuse(format!("expected {}", wanted.1));
            return None;
        }
        self.memory += memory(value);
        Some(value.clone())
    }

    /// A map of schemas: for the same value, where `same` is given, or for parts.
    fn map(&mut self, value: &'d Value, same: Option<bool>) -> Option<Value> {
        let Value::Object(entries) = value else {
            self.refuse("expected a map from names to schemas");
            return None;
        };
        let mut out = Map::new();
        for (name, value) in entries {
            let schema = self.inside(name, |this| match same {
                Some(in_place) => this.same(value, in_place, &Hidden::new()),
                None => this.part(value),
            });
            out.insert(name.clone(), schema);
        }
        self.memory += object_memory(&out, 0);
        Some(out.into())
    }

    /// A list of schemas, as those of a map.
    fn list(&mut self, value: &'d Value, same: Option<bool>, hidden: &Hidden) -> Option<Value> {
        let items = value.as_array().filter(|items| !items.is_empty());
        let Some(items) = items else {
            self.refuse("expected a list of one or more schemas");
            return None;
        };
        let schemas = items.iter().enumerate().map(|(index, value)| {
            self.inside(&index.to_string(), |this| match same {
                Some(in_place) => this.same(value, in_place, hidden),
                None => this.part(value),
            })
        });
        Some(schemas.collect::<Vec<_>>().into())
    }

    fn names(&mut self, value: &Value, hidden: &Hidden) -> Option<Value> {
        match value {
            Value::Array(_) if is_names(value) => {
                let mut seen = HashSet::new();
                let names = value.as_array().into_iter().flatten().filter(|name| {
                    let name = name.as_str().unwrap_or_default();
                    !hidden.contains(name) && seen.insert(name.to_owned())
                });
                let names: Vec<Value> = names.cloned().collect();
                self.memory += 64 * names.len();
                (!names.is_empty()).then(|| names.into())
            }
            // Of draft 3, still found at properties: it says nothing in any dialect since.
            Value::Bool(_) if self.dialect != Dialect::V31 => None,
            _ => {
                self.refuse("expected a list of names of properties");
                None
            }
        }
    }

    fn types(&mut self, value: &Value, out: &mut Map<String, Value>) {
        let named = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
        let one = value.as_str();
        if one == Some("file") && self.dialect == Dialect::V2 {
            out.insert("type".to_owned(), "string".into());
            return;
        }
        let listed = value.as_array().filter(|list| !list.is_empty() && list.iter().all(named));
        if let Some(list) = listed {
            let mut unique: Vec<Value> = vec![];
            list.iter().for_each(|name| {
                if !unique.contains(name) {
                    unique.push(name.clone());
                }
            });
            self.memory += 64 * unique.len();
            out.insert("type".to_owned(), unique.into());
        } else if named(value) {
            self.memory += 40;
            out.insert("type".to_owned(), value.clone());
        } else {
            let found = shown(&value.to_string().replace('"', "`"));
            self.refuse(format!("expected one of {}, found {found}", TYPES.join(", ")));
        }
    }

    fn pattern(&mut self, value: &'d Value, out: &mut Map<String, Value>) {
        let Some(pattern) = value.as_str() else { return self.refuse("expected text") };
        if self.store.patterns.works(pattern) {
            out.insert("pattern".to_owned(), pattern.into());
        } else {
            let told =
                format!("not checked, as it is no regular expression that is understood: {}", shown(pattern));
            out.insert("$comment".to_owned(), told.into());
        }
        self.memory += 64 + pattern.len();
    }

    fn pattern_properties(&mut self, value: &'d Value, out: &mut Map<String, Value>) {
        let Some(Value::Object(mut schemas)) = self.map(value, None) else { return };
        schemas.retain(|pattern, _| self.store.patterns.works(pattern));
        out.insert("patternProperties".to_owned(), schemas.into());
    }

    /// Of draft 7 and before: names, or a schema.
    fn dependencies(&mut self, value: &'d Value, in_place: bool, out: &mut Map<String, Value>) {
        let Value::Object(entries) = value else { return self.refuse("expected a map") };
        let (mut names, mut schemas) = (Map::new(), Map::new());
        for (name, value) in entries {
            if is_names(value) {
                names.insert(name.clone(), value.clone());
            } else {
                let schema = self.inside(name, |this| this.same(value, in_place, &Hidden::new()));
                schemas.insert(name.clone(), schema);
            }
        }
        for (keyword, found) in [("dependentRequired", names), ("dependentSchemas", schemas)] {
            if !found.is_empty() {
                self.memory += object_memory(&found, 0);
                out.insert(keyword.to_owned(), found.into());
            }
        }
    }

    /// `exclusiveMinimum` is a truth value beside `minimum` before 3.1, and a number since.
    fn limits(&mut self, entries: &Map<String, Value>, out: &mut Map<String, Value>) {
        for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            match entries.get(exclusive) {
                None | Some(Value::Bool(false)) => {}
                Some(Value::Bool(true)) => {
                    if let Some(limit) = out.remove(inclusive) {
                        out.insert(exclusive.to_owned(), limit);
                    }
                }
                Some(limit @ Value::Number(_)) => {
                    self.memory += 32;
                    out.insert(exclusive.to_owned(), limit.clone());
                }
                Some(_) => self.inside(exclusive, |this| this.refuse("expected a number or a truth value")),
            }
        }
    }

    /// `items` is one schema since 2020-12; a list and `additionalItems` are of drafts before.
    fn items(&mut self, entries: &'d Map<String, Value>, out: &mut Map<String, Value>) {
        match entries.get("items") {
            Some(list @ Value::Array(items)) => {
                if !items.is_empty()
                    && let Some(first) = self.inside("items", |this| this.list(list, None, &Hidden::new()))
                {
                    out.insert("prefixItems".to_owned(), first);
                }
                if let Some(rest) = entries.get("additionalItems") {
                    let rest = self.inside("additionalItems", |this| this.part(rest));
                    out.insert("items".to_owned(), rest);
                }
            }
            Some(one) => {
                let schema = self.inside("items", |this| this.part(one));
                out.insert("items".to_owned(), schema);
            }
            None => {}
        }
    }

    /// Bytes that are no text: `format: binary` before 3.1, a media type without an encoding since.
    fn is_binary(&self, entries: &Map<String, Value>) -> bool {
        is_binary(self.dialect, entries)
    }

    /// The names that are not required in this direction, in this schema and all that it is composed of.
    fn hidden(&self, entries: &Map<String, Value>, inherited: &Hidden) -> Hidden {
        let concerned = entries.contains_key("required") || entries.contains_key("allOf");
        if !concerned {
            return inherited.clone();
        }
        let mut found = inherited.clone();
        self.find_hidden(self.document, entries, FOLLOWED, &mut 0, &mut found);
        found
    }

    fn find_hidden(
        &self,
        document: usize,
        entries: &Map<String, Value>,
        further: usize,
        looked_at: &mut usize,
        found: &mut Hidden,
    ) {
        let mark = if self.mode == Mode::Response { "writeOnly" } else { "readOnly" };
        for (name, property) in entries.get("properties").and_then(Value::as_object).into_iter().flatten() {
            *looked_at += 1;
            if *looked_at > LOOKED_AT {
                return;
            }
            let marked = |value: &Value| value.get(mark) == Some(&Value::Bool(true));
            let by_reference = || {
                let reference = property.get("$ref").and_then(Value::as_str)?;
                self.store.set.target(document, reference).ok()
            };
            if marked(property) || by_reference().is_some_and(|target| marked(target.value)) {
                found.insert(name.clone());
            }
        }
        if further == 0 {
            return;
        }
        for part in entries.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            *looked_at += 1;
            if *looked_at > LOOKED_AT {
                return;
            }
            let target = part.get("$ref").and_then(Value::as_str);
            let target = target.and_then(|reference| self.store.set.target(document, reference).ok());
            let (document, value) = target.map_or((document, part), |spot| (spot.document, spot.value));
            if let Value::Object(entries) = value {
                self.find_hidden(document, entries, further - 1, looked_at, found);
            }
        }
    }
}

const ENTRY_OF_REFERENCE: usize = super::OBJECT + super::ENTRY;

pub(in crate::rest) fn is_binary(dialect: Dialect, entries: &Map<String, Value>) -> bool {
    let text = |key| entries.get(key).and_then(Value::as_str);
    match dialect {
        Dialect::V2 => text("type") == Some("file"),
        Dialect::V30 => matches!(text("type"), Some("string") | None) && text("format") == Some("binary"),
        Dialect::V31 => {
            let untyped = !entries.contains_key("type");
            let bytes = entries.contains_key("contentMediaType") && !entries.contains_key("contentEncoding");
            (untyped || text("type") == Some("string")) && (bytes || text("format") == Some("binary"))
        }
    }
}

fn flag(entries: &Map<String, Value>, key: &str) -> bool {
    entries.get(key) == Some(&Value::Bool(true))
}

fn is_names(value: &Value) -> bool {
    value.as_array().is_some_and(|names| names.iter().all(Value::is_string))
}

/// `nullable` of 3.0, and `x-nullable`, by which Swagger 2 says the same.
fn nullable(entries: &Map<String, Value>, mut out: Map<String, Value>) -> Value {
    if !flag(entries, "nullable") && !flag(entries, "x-nullable") {
        return out.into();
    }
    match out.get_mut("type") {
        Some(Value::Array(types)) if types.iter().any(|name| name == "null") => {}
        Some(Value::Array(types)) => types.push("null".into()),
        Some(one) => *one = json!([one.take(), "null"]),
        None => {}
    }
    let composed = ["allOf", "anyOf", "oneOf", "$ref", "not"].iter().any(|key| out.contains_key(*key));
    if let Some(Value::Array(values)) = out.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    if composed {
        return json!({"anyOf": [{"type": "null"}, out]});
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_apart_from_text_in_each_dialect() {
        let binary = |dialect, schema: Value| is_binary(dialect, schema.as_object().unwrap());
        assert!(binary(Dialect::V2, json!({"type": "file"})));
        assert!(binary(Dialect::V30, json!({"type": "string", "format": "binary"})));
        assert!(!binary(Dialect::V30, json!({"type": "string", "format": "byte"})));
        assert!(binary(Dialect::V31, json!({"contentMediaType": "image/png"})));
        assert!(!binary(Dialect::V31, json!({"contentMediaType": "image/png", "contentEncoding": "base64"})));
        assert!(!binary(Dialect::V31, json!({"type": "object", "contentMediaType": "application/json"})));
    }
}
