//! What happens to runs, as journals keep it.

use serde_json::{Value, json};
use sos_workflow::machine::{Event, Fault, Permit, Timer};
use sos_workflow::template::{data, json as to_json};

pub(super) const TIMERS: [(Timer, &str); 4] = [
    (Timer::Wait, "wait"),
    (Timer::Retry, "retry"),
    (Timer::Timeout, "timeout"),
    (Timer::Attempt, "attempt"),
];

/// An event as journals keep it.
pub(super) fn written(event: &Event) -> Value {
    match event {
        Event::Started => json!("started"),
        Event::Continued => json!("continued"),
        Event::Cancelled => json!("cancelled"),
        Event::Suspended => json!("suspended"),
        Event::Resumed => json!("resumed"),
        Event::Done { id, outcome: Ok(output) } => json!({"done": id, "output": to_json(output)}),
        Event::Done { id, outcome: Err(fault) } => json!({"done": id, "fault": fault.to_json()}),
        Event::Due { id, timer } => {
            let name = TIMERS.iter().find(|(known, _)| known == timer).map_or("wait", |(_, name)| name);
            json!({"due": id, "timer": name})
        }
        Event::Permitted { id, permit: Ok(permit) } => {
            json!({"permitted": id, "again": permit.again, "because": to_json(&permit.because)})
        }
        Event::Permitted { id, permit: Err(fault) } => json!({"permitted": id, "fault": fault.to_json()}),
        Event::Received { id, event } => json!({"received": id, "event": to_json(event)}),
    }
}

/// The event that was written.
pub(super) fn event(value: &Value) -> Option<Event> {
    let id = |name: &str| value.get(name).and_then(Value::as_u64);
    if let Some(word) = value.as_str() {
        return match word {
            "started" => Some(Event::Started),
            "continued" => Some(Event::Continued),
            "cancelled" => Some(Event::Cancelled),
            "suspended" => Some(Event::Suspended),
            "resumed" => Some(Event::Resumed),
            _ => None,
        };
    }
    if let Some(id) = id("done") {
        let outcome = match value.get("fault") {
            Some(fault) => Err(Fault::from_json(fault)?),
            None => Ok(data(value.get("output")?)),
        };
        return Some(Event::Done { id, outcome });
    }
    if let Some(id) = id("permitted") {
        let permit = match value.get("fault") {
            Some(fault) => Err(Fault::from_json(fault)?),
            None => Ok(Permit {
                again: value.get("again")?.as_bool()?,
                because: data(value.get("because").unwrap_or(&Value::Null)),
            }),
        };
        return Some(Event::Permitted { id, permit });
    }
    if let Some(id) = id("due") {
        let name = value.get("timer")?.as_str()?;
        let timer = TIMERS.iter().find(|(_, known)| *known == name)?.0;
        return Some(Event::Due { id, timer });
    }
    Some(Event::Received { id: id("received")?, event: data(value.get("event")?) })
}

/// The event of a line of a journal.
///
/// # Errors
/// That it is none.
pub(super) fn read(line: &[u8]) -> Result<Event, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    event(&value).ok_or_else(|| "an entry of its journal cannot be read".to_owned())
}
