//! Values held against schemas.
//!
//! Checking recurses: once for each level of the value and each schema about it. What could need much stack or time is
//! done on a thread of its own with room for it, a few at a time, so that no other call waits and no stack overflows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jsonschema::{Draft, PatternOptions, ValidationOptions, Validator};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use super::schema::{Closure, Definition, Schema};
use crate::error::{CallError, ErrorKind};

/// How long chains of references may be: of schemas about the same value, and of definitions in all.
pub(super) const MAX_CHAIN: usize = 2000;
pub(super) const MAX_PATH: usize = 20_000;
/// Levels of a value times schemas about it, and bytes, that are checked where the call runs.
const SHALLOW: usize = 500;
const SMALL: usize = 128 << 10;
/// Stack of a thread with room: at least, for each level of a value and schema about it, and for each definition of a
/// chain. Only what is used of it takes memory.
const STACK: usize = 64 << 20;
const STACK_OF_LEVEL: usize = 8 << 10;
const STACK_OF_DEFINITION: usize = 4 << 10;
/// Definitions in a chain that can be dropped wherever it is.
const SHORT_PATH: usize = 200;
/// Threads with room of one description.
const THREADS: usize = 4;
/// Definitions of compiled schemas that are kept.
const KEPT: usize = 20_000;
/// Problems of one value that are told, and characters of each.
const TOLD: usize = 20;
const LENGTH: usize = 300;
/// Steps back that a pattern may take, and bytes that it may become.
const BACKTRACKS: usize = 20_000;
const PATTERN: usize = 1 << 20;

/// How schemas are compiled: without fetching anything, with patterns that end.
pub(super) fn options() -> ValidationOptions<'static> {
    let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS).size_limit(PATTERN);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(patterns)
}

/// Which schema: of an operation's input, or of an answer's body (operation, answer, media type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Input(usize),
    Answer(usize, usize, usize),
}

/// Compiled schemas, the last used ones.
#[derive(Debug)]
pub(super) struct Checks {
    kept: Arc<Mutex<Kept>>,
    threads: Arc<Semaphore>,
    /// Schemas about one value, and definitions in a chain, at most.
    chain: usize,
    path: usize,
}

#[derive(Debug, Default)]
struct Kept {
    validators: HashMap<Key, (Arc<Compiled>, u64)>,
    definitions: usize,
    uses: u64,
}

#[derive(Debug)]
struct Compiled {
    validator: Option<Validator>,
    definitions: usize,
    path: usize,
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let validator = self.validator.take();
        // Its parts hold each other: dropping it recurses as well. A thread that cannot be had leaves it to this one.
        if self.path > SHORT_PATH {
            let stack = STACK + self.path * STACK_OF_DEFINITION;
            let _ = std::thread::Builder::new().stack_size(stack).spawn(move || drop(validator));
        }
    }
}

/// A value with how deep it is and how many bytes it was.
pub(super) struct Checked<'v> {
    pub(super) value: Cow<'v, Value>,
    pub(super) depth: usize,
    pub(super) bytes: usize,
}

impl Checks {
    pub(super) fn new(chain: usize, path: usize) -> Self {
        Self { kept: Arc::default(), threads: Arc::new(Semaphore::new(THREADS)), chain, path }
    }

    /// Holds a value against a schema and gives it back.
    ///
    /// # Errors
    /// All problems in one error, with the JSON pointer of the first below `at` as its place.
    pub(super) async fn check<'v>(
        &self,
        key: Key,
        schema: &Schema,
        definitions: &Arc<Vec<Definition>>,
        checked: Checked<'v>,
        (kind, at): (ErrorKind, &'static str),
    ) -> Result<Cow<'v, Value>, CallError> {
        let compiled = self.compiled(key, schema, definitions).await?;
        let Checked { value, depth, bytes } = checked;
        // A schema may be nested in the text of the operation as well.
        let work = (depth + 1).saturating_mul(self.chain + schema.nested);
        if work <= SHALLOW && bytes <= SMALL {
            return judge(&compiled, &value, kind, at).map(|()| value);
        }
        let value = value.into_owned();
        let stack = STACK + work.saturating_mul(STACK_OF_LEVEL);
        self.with_room(stack, move || judge(&compiled, &value, kind, at).map(|()| Cow::Owned(value))).await?
    }

    async fn compiled(
        &self,
        key: Key,
        schema: &Schema,
        definitions: &Arc<Vec<Definition>>,
    ) -> Result<Arc<Compiled>, CallError> {
        if let Some(compiled) = lock(&self.kept).get(key) {
            return Ok(compiled);
        }
        let kept = Arc::clone(&self.kept);
        let (schema, definitions, path) = (schema.clone(), Arc::clone(definitions), self.path);
        let stack = STACK + path * STACK_OF_DEFINITION;
        // Kept from there: a caller that no longer waits has it compiled for the next one.
        self.with_room(stack, move || {
            let compiled = Arc::new(compile(&schema, &definitions, path)?);
            let gone = lock(&kept).add(key, Arc::clone(&compiled));
            drop(gone);
            Ok(compiled)
        })
        .await?
    }

    /// Does something on a thread with room. When the caller stops waiting, the thread still ends its work.
    async fn with_room<T: Send + 'static>(
        &self,
        stack: usize,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let none = |message: String| CallError::new(ErrorKind::Overloaded, "", message);
        let permit = Arc::clone(&self.threads).acquire_owned().await;
        let permit = permit.map_err(|error| none(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name("sos-check".to_owned()).stack_size(stack);
        let spawned = thread.spawn(move || {
            let result = act();
            drop(permit);
            let _ = sender.send(result);
        });
        spawned.map_err(|error| none(format!("no thread to check with can be started: {error}")))?;
        receiver.await.map_err(|_| CallError::new(ErrorKind::BadAnswer, "", "it could not be checked"))
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn get(&mut self, key: Key) -> Option<Arc<Compiled>> {
        self.uses += 1;
        let (compiled, used) = self.validators.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(compiled))
    }

    /// Adds one and gives those that had to go.
    fn add(&mut self, key: Key, compiled: Arc<Compiled>) -> Vec<Arc<Compiled>> {
        let mut gone = vec![];
        self.uses += 1;
        self.definitions += compiled.definitions;
        if let Some((old, _)) = self.validators.insert(key, (compiled, self.uses)) {
            self.definitions -= old.definitions;
            gone.push(old);
        }
        while self.definitions > KEPT && self.validators.len() > 1 {
            let oldest = self.validators.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            let Some((old, _)) = oldest.and_then(|key| self.validators.remove(&key)) else { break };
            self.definitions -= old.definitions;
            gone.push(old);
        }
        gone
    }
}

fn compile(schema: &Schema, definitions: &[Definition], path: usize) -> Result<Compiled, CallError> {
    let closure = Closure::of(definitions, schema, usize::MAX);
    let whole = closure.join(definitions, schema);
    let validator = options().build(&whole).map_err(|error| {
        let message = format!("a schema cannot be used: {}", shortened(&error.masked().to_string()));
        CallError::new(ErrorKind::BadDocument, error.instance_path().to_string(), message)
    })?;
    Ok(Compiled { validator: Some(validator), definitions: 1 + closure.numbers.len(), path })
}

fn judge(compiled: &Compiled, value: &Value, kind: ErrorKind, at: &str) -> Result<(), CallError> {
    let Some(validator) = &compiled.validator else { return Ok(()) };
    if validator.is_valid(value) {
        return Ok(());
    }
    let mut told: Vec<(String, String)> = vec![];
    let mut more = 0;
    for error in validator.iter_errors(value) {
        if told.len() >= TOLD {
            more += 1;
            // A long list with the same mistake everywhere.
            if more >= 1000 {
                break;
            }
            continue;
        }
        // The value itself may be a secret.
        let message = shortened(&error.masked_with(found(error.instance())).to_string());
        told.push((format!("{at}{}", error.instance_path()), message));
    }
    let mut told = told.into_iter();
    let Some((place, mut message)) = told.next() else { return Ok(()) };
    for (place, further) in told {
        message = format!("{message}; {place}: {further}");
    }
    if more > 0 {
        message = format!("{message}; and {more}{} more", if more >= 1000 { " or" } else { "" });
    }
    Err(CallError::new(kind, place, message))
}

/// What stands for a value in messages.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "the truth value",
        Value::Number(_) => "the number",
        Value::String(_) => "the text",
        Value::Array(_) => "the list",
        Value::Object(_) => "the object",
    }
}

fn shortened(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(LENGTH).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn check(schema: Value, value: Value) -> Result<Value, CallError> {
        let checks = Checks::new(10, 10);
        let checked = Checked { value: Cow::Owned(value), depth: 3, bytes: 10 };
        let definitions = Arc::new(vec![]);
        let place = (ErrorKind::BadInput, "/in");
        let checked = checks.check(Key::Input(0), &Schema::own(schema), &definitions, checked, place).await;
        checked.map(Cow::into_owned)
    }

    #[tokio::test]
    async fn all_problems_are_told_with_their_places_and_no_values() {
        let schema =
            json!({"properties": {"a": {"type": "integer"}, "b": {"maxLength": 2}}, "required": ["c"]});
        let error = check(schema, json!({"a": "SECRET", "b": "SECRET"})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadInput);
        let all = error.to_string();
        for part in ["/in/a", "/in/b", "\"c\" is a required property", "the text is not of type"] {
            assert!(all.contains(part), "{all}");
        }
        assert!(!all.contains("SECRET"), "{all}");
    }

    #[tokio::test]
    async fn nothing_is_fetched_for_a_schema() {
        let error = check(json!({"$ref": "http://127.0.0.1:1/x"}), json!(1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadDocument);
    }

    #[tokio::test]
    async fn the_schemas_that_were_used_last_are_kept() {
        let mut kept = Kept::default();
        let one = |definitions| Arc::new(Compiled { validator: None, definitions, path: 0 });
        assert!(kept.add(Key::Input(0), one(KEPT / 2)).is_empty());
        assert!(kept.add(Key::Input(1), one(KEPT / 2)).is_empty());
        assert!(kept.get(Key::Input(0)).is_some());
        assert_eq!(kept.add(Key::Input(2), one(10)).len(), 1);
        assert!(kept.get(Key::Input(0)).is_some() && kept.get(Key::Input(1)).is_none());
    }
}
