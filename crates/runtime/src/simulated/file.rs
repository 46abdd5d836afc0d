//! Reading faults and conducts from JSON Lines.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use thiserror::Error;

use super::conduct::Conduct;
use super::faults::{Fault, FaultKind, FaultTarget, FaultTime, Faults};
use crate::kubernetes::quantity;
use crate::shared::file_error;
use crate::{DriverError, Exit};

/// What is wrong in a file of faults and conducts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}: {field} is {found}; expected {expected}")]
pub struct SimulationError {
    /// Name of the file.
    pub file: String,
    /// Number of the line, from 1.
    pub line: usize,
    /// The field, with those around it: `conduct.exit.code`.
    pub field: String,
    /// What stands there, or that nothing does.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// What one line declares.
enum Declared {
    Fault(Fault),
    Conduct(String, Conduct),
}

/// How a value is read, and what is said when it cannot be.
struct Kind<T> {
    expected: &'static str,
    read: fn(&Value) -> Option<T>,
}

const TEXT: Kind<String> = Kind {
    expected: "a text",
    read: |value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned),
};
const NUMBER: Kind<i32> = Kind {
    expected: "a whole number of at most 32 bits",
    read: |value| value.as_i64().and_then(|number| number.try_into().ok()),
};
const SIGNAL: Kind<i32> = Kind {
    expected: "the number of a signal, 1 to 64",
    read: |value| (NUMBER.read)(value).filter(|signal| (1..=64).contains(signal)),
};
const TRUTH: Kind<bool> = Kind { expected: "true or false", read: Value::as_bool };
const SHARE: Kind<f64> = Kind {
    expected: "a number of processors, from 0",
    read: |value| value.as_f64().filter(|share| *share >= 0.0),
};
const TIME: Kind<Timestamp> = Kind {
    expected: "a time such as \"2026-01-01T00:00:05Z\", or instead of it after: a duration",
    read: |value| value.as_str()?.parse().ok(),
};
const DURATION: Kind<SignedDuration> = Kind {
    expected: "a duration such as \"5s\" or \"2 min\"",
    read: |value| value.as_str()?.parse().ok().filter(|duration: &SignedDuration| !duration.is_negative()),
};
const MEMORY: Kind<u64> = Kind {
    expected: "an amount of memory such as \"64 MiB\"",
    // As in manifests (64 MiB) or in Kubernetes (64Mi).
    read: |value| quantity::whole(value.as_str()?.replace(' ', "").trim_end_matches('B')),
};
const OBJECT: Kind<Map<String, Value>> =
    Kind { expected: "an object", read: |value| value.as_object().cloned() };

/// The fields of an object in a line.
struct Fields<'a> {
    file: &'a str,
    line: usize,
    /// The names of the objects around them, each followed by a dot.
    within: String,
    map: Map<String, Value>,
}

impl Fields<'_> {
    fn wrong(&self, field: &str, found: impl Into<String>, expected: impl Into<String>) -> SimulationError {
        SimulationError {
            file: self.file.into(),
            line: self.line,
            field: format!("{}{field}", self.within),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Fails when there are other fields than these.
    fn only(&self, known: &[&str]) -> Result<(), SimulationError> {
        let other = self.map.keys().find(|name| !known.contains(&name.as_str()));
        other.map_or(Ok(()), |name| {
            Err(self.wrong(name, "not known here", format!("one of {}", known.join(", "))))
        })
    }

    fn maybe<T>(&self, field: &str, kind: &Kind<T>) -> Result<Option<T>, SimulationError> {
        let read =
            |value| (kind.read)(value).ok_or_else(|| self.wrong(field, value.to_string(), kind.expected));
        self.map.get(field).map(read).transpose()
    }

    fn need<T>(&self, field: &str, kind: &Kind<T>) -> Result<T, SimulationError> {
        self.maybe(field, kind)?.ok_or_else(|| self.wrong(field, "missing", kind.expected))
    }

    /// The fields of an object among them.
    fn inner(&self, field: &str) -> Result<Option<Self>, SimulationError> {
        let map = self.maybe(field, &OBJECT)?;
        let within = format!("{}{field}.", self.within);
        Ok(map.map(|map| Self { file: self.file, line: self.line, within, map }))
    }

    /// Fails when two fields are given of which each stands for the other.
    fn one_of(&self, one: &str, other: &str) -> Result<(), SimulationError> {
        if self.map.contains_key(one) && self.map.contains_key(other) {
            return Err(self.wrong(other, format!("given beside {one}"), "one of both"));
        }
        Ok(())
    }
}

pub(super) fn text(path: &Path) -> Result<String, DriverError> {
    std::fs::read_to_string(path).map_err(file_error("read", path))
}

/// Faults alone.
pub(super) fn faults(text: &str, name: &str) -> Result<Faults, SimulationError> {
    let fault = |fields: Fields<'_>| match declared(&fields)? {
        Declared::Fault(fault) => Ok(fault),
        Declared::Conduct(..) => Err(fields.wrong("conduct", "not known here", "a fault")),
    };
    lines(text, name).map(|fields| fault(fields?)).collect()
}

/// Faults and, by service, conducts.
pub(super) fn simulation(
    text: &str,
    name: &str,
) -> Result<(Faults, BTreeMap<String, Conduct>), SimulationError> {
    let (mut faults, mut conducts) = (vec![], BTreeMap::new());
    for fields in lines(text, name) {
        let fields = fields?;
        match declared(&fields)? {
            Declared::Fault(fault) => faults.push(fault),
            Declared::Conduct(service, conduct) => {
                if conducts.insert(service.clone(), conduct).is_some() {
                    let found = format!("{service:?}, whose conduct is given twice");
                    return Err(fields.wrong("service", found, "one conduct for each service"));
                }
            }
        }
    }
    Ok((faults.into_iter().collect(), conducts))
}

/// The objects of all lines that hold one.
fn lines<'a>(text: &'a str, file: &'a str) -> impl Iterator<Item = Result<Fields<'a>, SimulationError>> {
    let held = text.lines().zip(1..).map(|(text, line)| (text.trim(), line));
    let held = held.filter(|(text, _)| !text.is_empty() && !text.starts_with('#'));
    held.map(move |(text, line)| {
        let fields = |map| Fields { file, line, within: String::new(), map };
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(fields(map)),
            Ok(other) => Err(fields(Map::new()).wrong("the line", other.to_string(), "a JSON object")),
            Err(error) => {
                Err(fields(Map::new()).wrong("the line", format!("no JSON ({error})"), "a JSON object"))
            }
        }
    })
}

fn declared(fields: &Fields<'_>) -> Result<Declared, SimulationError> {
    let Some(inner) = fields.inner("conduct")? else { return fault(fields).map(Declared::Fault) };
    fields.only(&["service", "conduct"])?;
    Ok(Declared::Conduct(fields.need("service", &TEXT)?, conduct(&inner)?))
}

fn conduct(fields: &Fields<'_>) -> Result<Conduct, SimulationError> {
    fields.only(&["startAfter", "exit", "stopsIn", "deaf", "cpu", "memory"])?;
    fields.one_of("stopsIn", "deaf")?;
    let usual = Conduct::default();
    let deaf = fields.maybe("deaf", &TRUTH)?.unwrap_or(false);
    let stops_in = fields.maybe("stopsIn", &DURATION)?.or(usual.stops_in);
    Ok(Conduct {
        start_after: fields.maybe("startAfter", &DURATION)?.unwrap_or(usual.start_after),
        exit: fields.inner("exit")?.map(|exit| self::exit(&exit)).transpose()?,
        stops_in: stops_in.filter(|_| !deaf),
        cpu: fields.maybe("cpu", &SHARE)?.unwrap_or(usual.cpu),
        memory_bytes: fields.maybe("memory", &MEMORY)?.unwrap_or(usual.memory_bytes),
    })
}

fn exit(fields: &Fields<'_>) -> Result<(SignedDuration, Exit), SimulationError> {
    fields.only(&["after", "code", "signal"])?;
    fields.one_of("code", "signal")?;
    let signal = fields.maybe("signal", &SIGNAL)?.map(Exit::Signal);
    let exit = signal.map_or_else(|| fields.need("code", &NUMBER).map(Exit::Code), Ok)?;
    Ok((fields.maybe("after", &DURATION)?.unwrap_or_default(), exit))
}

fn fault(fields: &Fields<'_>) -> Result<Fault, SimulationError> {
    let (kind, own) = kind(fields)?;
    let mut known = vec!["fault", "at", "after"];
    if !matches!(kind, FaultKind::Away { .. }) {
        known.extend(["replica", "service"]);
    }
    known.extend(own);
    fields.only(&known)?;
    Ok(Fault { time: time(fields)?, target: target(fields)?, kind })
}

/// What goes wrong, and the fields that only this kind has.
fn kind(fields: &Fields<'_>) -> Result<(FaultKind, &'static [&'static str]), SimulationError> {
    let name = fields.need("fault", &TEXT)?;
    Ok(match name.as_str() {
        "crash" => (FaultKind::Crash { code: fields.need("code", &NUMBER)? }, &["code"]),
        "signal" => (FaultKind::Signal { signal: fields.need("signal", &SIGNAL)? }, &["signal"]),
        "out-of-memory" => (FaultKind::OutOfMemory, &[]),
        "not-started" => {
            let reason = fields.maybe("reason", &TEXT)?.unwrap_or_else(|| "an injected fault".into());
            (FaultKind::NotStarted { lasts: fields.need("for", &DURATION)?, reason }, &["for", "reason"])
        }
        "hung" => (FaultKind::Hung { lasts: fields.maybe("for", &DURATION)? }, &["for"]),
        "deaf" => (FaultKind::Deaf, &[]),
        "slow-start" => {
            let (by, lasts) = (fields.need("by", &DURATION)?, fields.need("for", &DURATION)?);
            (FaultKind::SlowStart { by, lasts }, &["by", "for"])
        }
        "away" => (FaultKind::Away { lasts: fields.need("for", &DURATION)? }, &["for"]),
        "lost" => (FaultKind::Lost, &[]),
        "unanswered" => (FaultKind::Unanswered, &[]),
        other => {
            let known = "one of crash, signal, out-of-memory, not-started, hung, deaf, slow-start, away, lost, unanswered";
            return Err(fields.wrong("fault", format!("{other:?}"), known));
        }
    })
}

fn time(fields: &Fields<'_>) -> Result<FaultTime, SimulationError> {
    fields.one_of("at", "after")?;
    match fields.maybe("after", &DURATION)? {
        Some(after) => Ok(FaultTime::After(after)),
        None => Ok(FaultTime::At(fields.need("at", &TIME)?)),
    }
}

fn target(fields: &Fields<'_>) -> Result<FaultTarget, SimulationError> {
    fields.one_of("replica", "service")?;
    let replica = fields.maybe("replica", &TEXT)?.map(FaultTarget::Replica);
    let service = fields.maybe("service", &TEXT)?.map(FaultTarget::Service);
    Ok(replica.or(service).unwrap_or(FaultTarget::All))
}
