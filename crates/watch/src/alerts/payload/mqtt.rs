//! Messages over MQTT: a topic per group, so that the last state of each can be retained.

use serde_json::{Value, json};

use super::title;
use super::webhook::{alert, object};
use crate::alerts::{Notification, Reason};

/// Topic and body. The topic is `PREFIX/NOTIFIER/ALERT` of characters that mean nothing to a broker.
pub fn mqtt(notification: &Notification, prefix: &str) -> (String, Value) {
    let common = notification.common_labels();
    let name = common.get(crate::rules::ALERT_NAME).copied().unwrap_or("alerts");
    let topic = format!("{}/{}/{}", prefix.trim_end_matches('/'), level(&notification.notifier), level(name));
    let alerts: Vec<Value> = notification.alerts.iter().map(alert).collect();
    let body = json!({
        "key": notification.key,
        "status": if notification.is_firing() { "firing" } else { "resolved" },
        "reason": reason(notification.reason),
        "title": title(notification),
        "at": super::time(notification.at_ms),
        "groupKey": notification.group,
        "groupLabels": object(notification.group_labels.iter()),
        "alerts": alerts,
    });
    (topic, body)
}

fn reason(reason: Reason) -> Value {
    serde_json::to_value(reason).unwrap_or_default()
}

/// One level of a topic: no `/`, no wildcard, no control character.
fn level(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let level: String = text.chars().take(100).map(plain).collect();
    if level.is_empty() { "_".to_owned() } else { level }
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn topics_have_no_wildcards() {
        let mut notification = nasty();
        let (topic, body) = mqtt(&notification, "sos/alerts/");
        assert_eq!(topic, "sos/alerts/ops/HomeDown");
        assert_eq!((&body["status"], &body["reason"]), (&json!("firing"), &json!("first")));
        notification.alerts.truncate(1);
        notification.alerts[0].labels = Labels::new([("alertname", "#/+ a")]);
        assert_eq!(mqtt(&notification, "sos").0, "sos/ops/____a");
    }
}
