//! From documents to routes.

mod body;
mod parameter;
mod security;
mod servers;
mod template;
mod v2;

use std::collections::HashSet;

use hyper::Method;
use serde_json::Value;

use super::documents::{Dialect, Problems, Set, Spot};
use super::model::{AnswerSpec, Content, Parameter, Place, RequestBody, Route, Statuses};
use super::schema::{Mode, Schema, Store};
use super::{names, publish, shown};

pub(super) use template::literal;

/// Operations of one description.
pub(super) const MAX_OPERATIONS: usize = 50_000;
/// Parameters of one operation.
const MAX_PARAMETERS: usize = 1000;
/// Characters of the name of an operation, and of a summary.
const MAX_NAME: usize = 200;
const METHODS: [(&str, Method); 8] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
    ("trace", Method::TRACE),
];

/// What an operation is besides its route.
pub(super) struct Head {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) summary: String,
    pub(super) deprecated: bool,
    pub(super) output: Schema,
}

/// A description, read.
pub(super) struct Description {
    pub(super) title: String,
    pub(super) version: String,
    pub(super) servers: Vec<String>,
    pub(super) operations: Vec<(Head, Route)>,
}

pub(super) struct Reader<'a, 'd> {
    pub(super) set: &'d Set,
    pub(super) store: &'a mut Store<'d>,
    pub(super) problems: &'a mut Problems,
}

impl<'d> Reader<'_, 'd> {
    pub(super) fn description(&mut self) -> Description {
        let root = self.set.root(0);
        let info = root.get("info");
        let info = |key| info.as_ref().and_then(|info| text_of(info.value.get(key))).unwrap_or_default();
        let (title, version) = (info("title"), info("version"));
        let servers = servers::of_document(self.set);
        let mut operations = vec![];
        match root.get("paths") {
            Some(paths) if paths.value.is_object() => self.paths(&paths, &mut operations),
            Some(paths) => self.problems.at(&paths, "expected a map from paths to their operations"),
            // 3.1 allows descriptions of components or webhooks alone; nothing can be called by them.
            None => self.problems.at(&root, "expected `paths`, found none"),
        }
        self.unique(&mut operations);
        Description { title, version, servers, operations }
    }

    fn paths(&mut self, paths: &Spot<'d>, operations: &mut Vec<(Head, Route)>) {
        for (path, item) in paths.entries() {
            if path.starts_with("x-") {
                continue;
            }
            if !path.starts_with('/') {
                self.problems.at(&item, "expected a path that begins with `/`");
                continue;
            }
            let Some(target) = self.set.follow(item.clone(), self.problems) else { continue };
            for (method, constant) in METHODS {
                // What stands beside a `$ref` wins over what it leads to.
                let Some(operation) = item.get(method).or_else(|| target.get(method)) else { continue };
                if operations.len() >= MAX_OPERATIONS {
                    self.problems.at(&operation, format!("more than {MAX_OPERATIONS} operations"));
                    return;
                }
                if !operation.value.is_object() {
                    self.problems.at(&operation, "expected an operation: a map");
                    continue;
                }
                operations.extend(self.operation(path, constant, &target, &operation));
            }
        }
    }

    fn operation(
        &mut self,
        path: &str,
        method: Method,
        item: &Spot<'d>,
        operation: &Spot<'d>,
    ) -> Option<(Head, Route)> {
        let dialect = self.set.dialect(operation.document);
        let mut declared = self.declared(item, operation);
        let body = if dialect == Dialect::V2 {
            self.body_of_v2(&mut declared, operation)
        } else {
            self.request_body(operation)
        };
        let mut parameters = self.parameters(&declared);
        let template = match template::read(path, &mut parameters) {
            Ok(template) => template,
            Err(message) => {
                self.problems.at(operation, message);
                return None;
            }
        };
        template.notes.iter().for_each(|note| self.problems.note(operation, note.as_str()));
        self.name_keys(&mut parameters, body.is_some());
        let answers = self.answers(operation, dialect);
        let output = publish::output(&method, &answers);
        let input = publish::input(&parameters, body.as_ref(), &answers);
        let id = operation.text("operationId").trim();
        let usable = !id.is_empty() && id.chars().count() <= MAX_NAME && !id.contains(char::is_control);
        let made = || names::operation(method.as_str(), path);
        let head = Head {
            name: if usable { id.to_owned() } else { made() },
            path: format!("{method} {path}"),
            summary: summary(operation),
            deprecated: operation.flag("deprecated").unwrap_or_default(),
            output,
        };
        let route = Route {
            method,
            path: template.pieces,
            query: template.query,
            parameters,
            body,
            accept: publish::accept(&answers),
            answers,
            security: security::of(self.set, operation),
            servers: servers::of_operation(self.set, item, operation),
            input,
        };
        Some((head, route))
    }

    /// Parameters of the path and of the operation, which replace those with the same place and name.
    fn declared(&mut self, item: &Spot<'d>, operation: &Spot<'d>) -> Vec<Spot<'d>> {
        let mut found: Vec<Spot<'d>> = vec![];
        let mut at = std::collections::HashMap::new();
        for holder in [item, operation] {
            let Some(list) = holder.get("parameters") else { continue };
            if !list.value.is_array() {
                self.problems.at(&list, "expected a list of parameters");
            }
            for parameter in list.items() {
                if found.len() >= MAX_PARAMETERS {
                    self.problems.at(&parameter, format!("more than {MAX_PARAMETERS} parameters"));
                    break;
                }
                let Some(parameter) = self.set.follow(parameter, self.problems) else { continue };
                let key = (parameter.text("in").to_owned(), parameter.text("name").to_owned());
                match at.get(&key) {
                    Some(index) => found[*index] = parameter,
                    None => {
                        at.insert(key, found.len());
                        found.push(parameter);
                    }
                }
            }
        }
        found
    }

    /// A name that occurs in two places, or is one of the input's own, is written with its place: `query.id`.
    fn name_keys(&mut self, parameters: &mut [Parameter], has_body: bool) {
        let mut count = std::collections::HashMap::new();
        for parameter in parameters.iter() {
            *count.entry(parameter.name.clone()).or_insert(0) += 1;
        }
        let own = |name: &str| name == "body" && has_body || matches!(name, "Accept" | "Content-Type");
        let mut taken: HashSet<String> = HashSet::new();
        for parameter in parameters.iter_mut() {
            if count.get(&parameter.name) == Some(&1) && !own(&parameter.name) {
                parameter.key = parameter.name.clone();
                taken.insert(parameter.key.clone());
            }
        }
        for parameter in parameters.iter_mut().filter(|parameter| parameter.key.is_empty()) {
            let mut key = format!("{}.{}", parameter.place.word(), parameter.name);
            while !taken.insert(key.clone()) {
                key = format!("{}.{key}", parameter.place.word());
            }
            parameter.key = key;
        }
    }

    fn answers(&mut self, operation: &Spot<'d>, dialect: Dialect) -> Vec<AnswerSpec> {
        let Some(responses) = operation.get("responses") else { return vec![] };
        if !responses.value.is_object() {
            self.problems.at(&responses, "expected a map from statuses to answers");
        }
        let mut answers = vec![];
        for (status, response) in responses.entries() {
            if status.starts_with("x-") {
                continue;
            }
            let Some(status) = Statuses::parse(status) else {
                self.problems.at(&response, "expected a status such as `200`, `2XX` or `default`");
                continue;
            };
            let Some(response) = self.set.follow(response, self.problems) else { continue };
            let contents = if dialect == Dialect::V2 {
                self.answer_of_v2(operation, &response)
            } else {
                response.get("content").map_or(vec![], |content| self.contents(&content, true))
            };
            answers.push(AnswerSpec { status, contents });
        }
        answers
    }

    pub(super) fn request_body(&mut self, operation: &Spot<'d>) -> Option<RequestBody> {
        let body = operation.get("requestBody")?;
        let body = self.set.follow(body, self.problems)?;
        let mut contents = match body.get("content") {
            Some(content) if content.value.is_object() => self.contents(&content, false),
            _ => {
                self.problems.at(&body, "expected `content`: a map from media types");
                vec![]
            }
        };
        if contents.is_empty() {
            // Without a media type nothing can be sent; that is only bad where something has to be.
            if body.flag("required").unwrap_or_default() {
                self.problems.at(&body, "the body is required and has no media type that can be sent");
            }
            return None;
        }
        body::preferred_first(&mut contents);
        Some(RequestBody {
            required: body.flag("required").unwrap_or_default(),
            description: body.text("description").to_owned(),
            contents,
        })
    }

    /// Each name once: a name that is taken gives way to one made of method and path, and that to one with a number.
    fn unique(&mut self, operations: &mut [(Head, Route)]) {
        let mut taken: HashSet<String> = HashSet::new();
        for (head, _) in operations {
            if taken.insert(head.name.clone()) {
                continue;
            }
            let (method, path) = head.path.split_once(' ').unwrap_or_default();
            let made = names::operation(method, path);
            let mut name = made.clone();
            let mut number = 2;
            while !taken.insert(name.clone()) {
                name = format!("{made}{number}");
                number += 1;
            }
            let note = format!(
                "`{}` is called {name}: the name `{}` is taken",
                shown(&head.path),
                shown(&head.name)
            );
            self.problems.note(&self.set.root(0), note);
            head.name = name;
        }
    }

    /// The schema of what is named so in this place.
    pub(super) fn schema(&mut self, spot: &Spot<'d>, mode: Mode) -> Schema {
        self.store.convert(spot, mode, self.problems)
    }
}

/// Text, or a number that was meant as text: `version: 1.0`.
fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn summary(operation: &Spot<'_>) -> String {
    let summary = Some(operation.text("summary")).filter(|text| !text.trim().is_empty());
    let text = summary.unwrap_or_else(|| operation.text("description"));
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    shown(line)
}

/// Media types with what they carry.
type Contents = Vec<Content>;

/// Where parameters may stand.
pub(super) fn place_of(word: &str) -> Option<Place> {
    Some(match word {
        "path" => Place::Path,
        "query" => Place::Query,
        "header" => Place::Header,
        "cookie" => Place::Cookie,
        _ => return None,
    })
}
