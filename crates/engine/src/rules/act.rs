//! What rules do: each action with a key, so that one that is repeated after a crash does nothing twice.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sos_call::events::CloudEvent;
use sos_model::RuleSeverity;
use sos_watch::Labels;
use sos_watch::alerts::{Notification, NotifiedAlert, Reason};
use sos_workflow::rule::{Cause, evaluate};
use sos_workflow::template::{Template, data};

use super::Rules;
use super::order::{self, Wanted};
use super::ready::{Action, Order, Ready};
use crate::calls::Wanted as Call;
use crate::clock::wall_now;
use crate::workflow::NewStart;

/// Does something; what was done, or would have been, in words.
///
/// # Errors
/// Why it was not done.
pub(super) async fn act(
    rules: &Rules,
    rule: &Ready,
    action: &Action,
    cause: &Cause,
    index: usize,
) -> Result<String, String> {
    let key = format!("rule/{}/{}/{index}", rule.name, cause.key);
    let of = |template: &Template| value(template, cause);
    match action {
        Action::Workflow { name, input } => {
            let input = input.as_ref().map_or_else(|| Ok(cause.value.clone()), of)?;
            if rule.dry_run {
                return Ok(format!("would start workflow {name} with {}", shown(&input)));
            }
            let start =
                NewStart { input, key: Some(key), by: format!("rule {}", rule.name), ..NewStart::default() };
            let begun = platform(rules)?.runs().start(name, start).await?;
            Ok(format!("started run {} of workflow {name}", begun.name))
        }
        Action::Call { service, operation, input } => {
            let input = input.as_ref().map_or_else(|| Ok(json!({})), of)?;
            if rule.dry_run {
                return Ok(format!("would call {operation} of service {service} with {}", shown(&input)));
            }
            let wanted = Call { operation: operation.clone(), input, key: Some(key), ..Call::default() };
            let called = platform(rules)?.calls().call(service, &wanted).await;
            let called = called.map_err(|error| format!("{operation} of service {service}: {error}"))?;
            Ok(format!("called {operation} of service {service}: {}", shown(&called.answer.output)))
        }
        Action::Override { asset, what, lasts, reason } => {
            let reason = reason.as_ref().map(|reason| words(&of(reason)?)).transpose()?;
            let power_kw = match &**what {
                Order::Hold => None,
                Order::Power(power) => Some(power.as_kw()),
                Order::Kw(kw) => Some(number(&of(kw)?)?),
            };
            let wanted = Wanted {
                rule: rule.name.clone(),
                priority: rule.priority,
                asset: words(&of(asset)?)?,
                power_kw,
                lasts: *lasts,
                reason: reason.unwrap_or_else(|| format!("rule {}", rule.name)),
                dry_run: rule.dry_run,
            };
            let platform = platform(rules)?;
            let ordered = tokio::task::spawn_blocking(move || order::order(&platform, &wanted));
            ordered.await.map_err(|error| error.to_string())?
        }
        Action::Publish { channel, event_type, data } => {
            let data = data.as_ref().map_or_else(|| Ok(cause.value.clone()), of)?;
            if rule.dry_run {
                return Ok(format!("would publish {event_type} to {channel} with {}", shown(&data)));
            }
            let event = json!({
                "specversion": "1.0",
                // A repetition has the same id and is dropped by the channel.
                "id": key,
                "source": format!("/rules/{}", rule.name),
                "type": event_type,
                "time": wall_now().to_string(),
                "datacontenttype": "application/json",
                "data": data,
            });
            let event =
                CloudEvent::from_json(event.to_string().as_bytes()).map_err(|error| error.to_string())?;
            let published = platform(rules)?.channels().publish(channel, &[event]).await;
            published.map_err(|error| format!("channel {channel}: {error}"))?;
            Ok(format!("published {event_type} to {channel} with {}", shown(&data)))
        }
        Action::Notify { notifier, text, severity } => {
            let text = words(&of(text)?)?;
            if rule.dry_run {
                return Ok(format!("would tell {notifier}: {text}"));
            }
            let told = notification(rule, &key, notifier, &text, *severity);
            let platform = platform(rules)?;
            let watch = platform.watch().ok_or("nobody is told before the server has started")?;
            watch.tell(&told).map_err(|error| error.to_string())?;
            Ok(format!("told {notifier}: {text}"))
        }
    }
}

fn platform(rules: &Rules) -> Result<std::sync::Arc<crate::platform::Platform>, String> {
    rules.0.platform.upgrade().ok_or_else(|| "the server stops".to_owned())
}

fn value(template: &Template, cause: &Cause) -> Result<Value, String> {
    evaluate(template, &data(&cause.value), wall_now()).map_err(|why| why.to_string())
}

fn words(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("expected a text and not {}", shown(other))),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    let number = value.as_f64().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("expected a power in kW as a number and not {}", shown(value)))
}

/// A value as a short text.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 120;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

fn notification(rule: &Ready, key: &str, notifier: &str, text: &str, severity: RuleSeverity) -> Notification {
    let now = wall_now().as_millisecond();
    let severity = severity.word();
    let labels = Labels::new([
        ("alertname", rule.name.as_str()),
        ("rule", rule.name.as_str()),
        ("severity", &severity),
    ]);
    let alert = NotifiedAlert {
        labels: labels.clone(),
        annotations: BTreeMap::from([("summary".to_owned(), text.to_owned())]),
        starts_at_ms: now,
        ends_at_ms: None,
        value: 1.0,
        generator_url: String::new(),
        acknowledged_by: None,
    };
    Notification {
        key: key.to_owned(),
        notifier: notifier.to_owned(),
        group: format!("{{}}:{{rule=\"{}\"}}", rule.name),
        group_labels: labels,
        reason: Reason::First,
        at_ms: now,
        alerts: vec![alert],
    }
}
