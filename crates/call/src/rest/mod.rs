//! REST services, called by their description: OpenAPI 3.0 and 3.1, Swagger 2.
//!
//! # Inputs
//! The input of an operation is one object: its parameters by name, and `body`. A name that occurs in two places, or that
//! is `body`, `Accept` or `Content-Type`, is written with its place: `query.id`, `path.id`, `header.id`, `cookie.id`.
//! `Content-Type` chooses among the media types of the body, `Accept` among those of the answer; without them JSON is
//! preferred. A body is
//! - JSON itself; a list for NDJSON, one item a line;
//! - a map of fields for forms. A file in it is `{"$file": {"name", "contentType", "base64" or "text"}}`, or just text;
//! - text for `text/*`, XML and YAML;
//! - `{"base64": …}` for everything else.
//!
//! # Outputs
//! JSON as it is; a list for NDJSON and server-sent events; text; `{"base64": …}` for other bytes; `null` for nothing.
//!
//! # Guarantees
//! Inputs and JSON answers are held against their schemas, inputs before anything is sent. Formats are not enforced, nor is
//! a discriminator. Nothing is fetched while a description is read; its size, depth and number of values are bounded, and
//! so is the time and memory that reading takes. Redirections are not followed.
//!
//! # Source
//! OpenAPI 3.0.4 and 3.1.1, Swagger 2.0, JSON Schema 2020-12, RFC 9110.

mod answer;
mod check;
mod documents;
mod form;
mod json;
mod media;
mod model;
mod names;
mod publish;
mod read;
mod request;
mod schema;
pub(crate) mod stream;
mod style;
mod walk;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::check::{Checked, Checks, Key, MAX_CHAIN, MAX_PATH};
use self::documents::{Problems, Set};
use self::model::Route;
use self::read::Reader;
use self::schema::{Definition, Schema, Store, chains};
use crate::call::{Answer, Call};
use crate::contract::{Contract, Documents, Protocol};
use crate::error::{CallError, ErrorKind};
use crate::http::{Transport, collect};

pub use model::{KeyPlace, Requirement, Scheme};

/// How long the words of a refusal are awaited: the status has decided.
const EXPLANATION: Duration = Duration::from_secs(2);
/// Characters of a foreign text in messages.
const SHOWN: usize = 200;

/// Calls what one description describes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    contract: Contract,
    servers: Vec<String>,
    notes: Vec<String>,
    numbers: HashMap<String, usize>,
    routes: Vec<Route>,
    definitions: Arc<Vec<Definition>>,
    checks: Checks,
}

/// What is sent for a call, but for its body and its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// The whole address.
    pub uri: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// An answer, and its body as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Whole {
    /// The answer.
    pub answer: Answer,
    /// Its body, decompressed.
    pub bytes: Vec<u8>,
}

impl Client {
    /// Reads a description, JSON or YAML, with the documents that it refers to.
    ///
    /// # Errors
    /// `BadDocument`: the place of the first problem, and in the message, a line each, up to 20 of them. At most 64 MiB,
    /// 4,000,000 values, 120 levels and 50,000 operations are read.
    pub fn read(documents: &Documents) -> Result<Self, CallError> {
        let set = Set::read(documents)?;
        let mut problems = Problems::default();
        let mut store = Store::new(&set);
        let description = Reader { set: &set, store: &mut store, problems: &mut problems }.description();
        let definitions = store.definitions;
        let (chain, path) = chains(&definitions);
        if chain > MAX_CHAIN || path > MAX_PATH {
            let message = format!(
                "its schemas refer to each other in chains of more than {MAX_CHAIN} ({chain}, {path})"
            );
            problems.at(&set.root(0), message);
        }
        let notes = problems.notes(documents);
        if let Some(error) = problems.into_error(documents) {
            return Err(error);
        }
        let operations = publish::operations(&definitions, &description.operations);
        let contract = Contract {
            protocol: Protocol::Rest,
            title: description.title,
            version: description.version,
            operations,
        };
        let routes: Vec<Route> = description.operations.into_iter().map(|(_, route)| route).collect();
        let numbers =
            contract.operations.iter().enumerate().map(|(number, one)| (one.name.clone(), number)).collect();
        let servers = description.servers;
        let (definitions, checks) = (Arc::new(definitions), Checks::new(chain, path));
        Ok(Self { inner: Arc::new(Inner { contract, servers, notes, numbers, routes, definitions, checks }) })
    }

    /// What can be asked. The schemas of very large descriptions are published without what is far away in them; they are
    /// checked as a whole.
    #[must_use]
    pub fn contract(&self) -> &Contract {
        &self.inner.contract
    }

    /// Addresses at which the description says that it is served, with their base paths, the usual one first. Absolute
    /// where it says so or its own name is an address; else only the path. Variables have their defaults.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.inner.servers.clone()
    }

    /// What was left out of the description or taken otherwise than it is written, with its place: a media type that is
    /// none, a name that occurs twice, a pattern that no engine understands. Up to 100 of them.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Addresses at which this operation is served where they are others than [`Self::servers`]; the endpoint of its calls
    /// has to be one of them. Empty: those of the description.
    #[must_use]
    pub fn servers_of(&self, operation: &str) -> &[String] {
        self.route(operation).map_or(&[], |(_, route)| &route.servers)
    }

    /// Credentials that an operation asks for: any one of the list is enough, all within it are needed together. Empty
    /// when it asks for none, or is not known. The caller adds them to [`Call::headers`] and [`Call::query`].
    #[must_use]
    pub fn security(&self, operation: &str) -> &[Vec<Requirement>] {
        self.route(operation).map_or(&[], |(_, route)| &route.security)
    }

    /// What a call asks: its method, its address, and its headers but for those that are secrets.
    ///
    /// # Errors
    /// `BadInput` when there is no such operation or the input cannot be written.
    pub fn sent(&self, call: &Call<'_>) -> Result<Sent, CallError> {
        let (_, route) = self.known(call.operation)?;
        let bare = Call { headers: &[], query: &[], ..*call };
        let request = request::build(route, &bare, call.input)?;
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        Ok(Sent { method, uri, headers: headers(request.headers()) })
    }

    /// One attempt, within [`Call::timeout`]. The endpoint holds the base path of the service already.
    ///
    /// # Errors
    /// Every kind but those of limits and documents. What the service says with a status of 400 or more is a `Fault`.
    pub async fn call(&self, transport: &Transport, call: &Call<'_>) -> Result<Answer, CallError> {
        self.within(transport, call, false).await.map(|whole| whole.answer)
    }

    /// As [`Self::call`], with the bytes of the answer. A redirection is an answer like others, for the caller to judge.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_whole(&self, transport: &Transport, call: &Call<'_>) -> Result<Whole, CallError> {
        self.within(transport, call, true).await
    }

    async fn within(&self, transport: &Transport, call: &Call<'_>, whole: bool) -> Result<Whole, CallError> {
        let result = timeout(call.timeout, self.attempt(transport, call, whole)).await;
        let late = |_| {
            let message = format!("{} did not answer within {} s", call.endpoint, call.timeout.as_secs_f64());
            Err(CallError::new(ErrorKind::TimedOut, "", message))
        };
        let result = result.unwrap_or_else(late);
        result.map_err(|mut error| {
            call.operation.clone_into(&mut error.operation);
            error
        })
    }

    async fn attempt(&self, transport: &Transport, call: &Call<'_>, whole: bool) -> Result<Whole, CallError> {
        let start = Instant::now();
        let (number, route) = self.known(call.operation)?;
        let empty = Value::Object(serde_json::Map::new());
        let input = if call.input.is_null() { &empty } else { call.input };
        self.check_input(number, &route.input, input).await?;
        let request = request::build(route, call, input)?;
        let response = transport.send(request).await?;
        let status = response.status();
        if status.as_u16() >= 400 {
            return Err(refused(response, call, start).await);
        }
        let headers = headers(response.headers());
        let mut body = answer::read(route, response, &call.limits, whole).await?;
        let bytes = std::mem::take(&mut body.raw);
        let output = self.check_answer(number, route, body).await?;
        Ok(Whole { answer: Answer { output, status: status.as_u16().to_string(), headers }, bytes })
    }

    fn route(&self, operation: &str) -> Option<(usize, &Route)> {
        let number = *self.inner.numbers.get(operation)?;
        Some((number, self.inner.routes.get(number)?))
    }

    fn known(&self, operation: &str) -> Result<(usize, &Route), CallError> {
        self.route(operation).ok_or_else(|| {
            let names = self.inner.contract.operations.iter().map(|one| one.name.as_str());
            let known: Vec<&str> = names.take(20).collect();
            let more = if self.inner.routes.len() > known.len() { ", …" } else { "" };
            let message = format!("there is no such operation; known are {}{more}", known.join(", "));
            CallError::new(ErrorKind::BadInput, "", message)
        })
    }

    async fn check_input(&self, number: usize, schema: &Schema, input: &Value) -> Result<(), CallError> {
        let (depth, bytes) = extent(input);
        if depth > 127 {
            let message = format!("the input is nested {depth} levels deep, at most 127 are sent");
            return Err(CallError::new(ErrorKind::BadInput, "", message));
        }
        let inner = &*self.inner;
        let checked = Checked { value: Cow::Borrowed(input), depth, bytes };
        let place = (ErrorKind::BadInput, "");
        inner.checks.check(Key::Input(number), schema, &inner.definitions, checked, place).await.map(drop)
    }

    async fn check_answer(
        &self,
        number: usize,
        route: &Route,
        body: answer::Body,
    ) -> Result<Value, CallError> {
        let answer::Body { value, kind, depth, bytes, described, raw: _ } = body;
        let content = described.and_then(|(answer, content)| {
            let described = route.answers.get(answer)?.contents.get(content)?;
            // A range such as `*/*` may be answered with text or bytes, which its schema says nothing of.
            let checked =
                matches!(kind, media::Kind::Json | media::Kind::Lines) && kind == described.media.kind();
            (checked && described.schema.is_some()).then_some((answer, content, described))
        });
        let Some((answer, content, described)) = content else { return Ok(value) };
        let schema = publish::body(described);
        let inner = &*self.inner;
        let checked = Checked { value: Cow::Owned(value), depth, bytes };
        let place = (ErrorKind::BadAnswer, "/body");
        let key = Key::Answer(number, answer, content);
        let checked = inner.checks.check(key, &schema, &inner.definitions, checked, place).await;
        checked.map(Cow::into_owned)
    }
}

/// The body of a refusal explains it, and may come slowly or not at all.
async fn refused(response: Response<Incoming>, call: &Call<'_>, start: Instant) -> CallError {
    let (status, headers) = (response.status(), response.headers().clone());
    // So that the refusal is told before the time of the call is over.
    let rest = call.timeout.saturating_sub(start.elapsed()).mul_f64(0.8).min(EXPLANATION);
    let said = timeout(rest, collect(response, answer::fault_limit(&call.limits))).await;
    let said = said.ok().and_then(Result::ok);
    answer::fault(status, &headers, said, call)
}

/// Header names are in lower case already; what is no text is left out.
fn headers(headers: &hyper::HeaderMap) -> Vec<(String, String)> {
    let texts = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    texts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Depth of a value, and its bytes as JSON, about. No recursion: values of callers may be as deep as they like.
fn extent(value: &Value) -> (usize, usize) {
    let (mut deepest, mut bytes) = (0, 0);
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(entries) => {
                bytes += entries.keys().map(|key| key.len() + 4).sum::<usize>();
                open.extend(entries.values().map(|item| (item, depth + 1)));
            }
            Value::String(text) => bytes += text.len() + 2,
            _ => bytes += 8,
        }
    }
    (deepest, bytes)
}

/// Other documents that the references of this one lead to, by the names under which [`Client::read`] looks for them:
/// resolved against `name`, each once. Examples are not looked at.
///
/// # Errors
/// `BadDocument` when it is neither JSON nor YAML, or larger than is read.
pub fn references(name: &str, text: &[u8]) -> Result<Vec<String>, CallError> {
    Ok(walk::references(name, &documents::parse(name, text)?))
}

/// A foreign text in a message: one line of bounded length.
fn shown(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut out: String = text.chars().take(SHOWN).map(clean).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
