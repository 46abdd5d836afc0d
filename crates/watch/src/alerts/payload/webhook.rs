//! JSON of Alertmanager's webhooks, version 4.

use serde_json::{Map, Value, json};

use super::time;
use crate::alerts::{Notification, NotifiedAlert, fingerprint};

/// What Alertmanager posts, with every alert.
pub fn webhook(notification: &Notification, external_url: &str) -> Value {
    webhook_of(notification, external_url, usize::MAX)
}

/// The same with at most so many alerts; the number of those left out is in `truncatedAlerts`.
pub fn webhook_of(notification: &Notification, external_url: &str, most: usize) -> Value {
    let alerts: Vec<Value> = notification.alerts.iter().take(most).map(alert).collect();
    json!({
        "version": "4",
        "groupKey": notification.group,
        "truncatedAlerts": notification.alerts.len() - alerts.len(),
        "status": status(notification.is_firing()),
        "receiver": notification.notifier,
        "groupLabels": object(notification.group_labels.iter()),
        "commonLabels": object(notification.common_labels().into_iter()),
        "commonAnnotations": object(notification.common_annotations().into_iter()),
        "externalURL": external_url,
        "alerts": alerts,
    })
}

fn status(firing: bool) -> &'static str {
    if firing { "firing" } else { "resolved" }
}

pub(super) fn object<'n>(pairs: impl Iterator<Item = (&'n str, &'n str)>) -> Value {
    Value::Object(pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>())
}

pub(super) fn alert(alert: &NotifiedAlert) -> Value {
    let annotations = alert.annotations.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    json!({
        "status": status(alert.is_firing()),
        "labels": object(alert.labels.iter()),
        "annotations": object(annotations),
        "startsAt": time(alert.starts_at_ms),
        // The zero time of Go, which receivers know.
        "endsAt": alert.ends_at_ms.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time),
        "generatorURL": alert.generator_url,
        "fingerprint": fingerprint(&alert.labels),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::*;

    #[test]
    fn it_is_what_alertmanager_posts() {
        let body = webhook_of(&nasty(), "https://sos", 1);
        assert_eq!(body["version"], "4");
        assert_eq!(body["status"], "firing");
        assert_eq!(body["truncatedAlerts"], 1);
        assert_eq!(body["commonLabels"], json!({"alertname": "HomeDown", "severity": "page"}));
        assert_eq!(body["alerts"][0]["labels"]["home"], "<script>1");
        assert_eq!(body["alerts"][0]["startsAt"], "1970-01-01T00:00:01.500Z");
        assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
        assert_eq!(webhook(&nasty(), "")["alerts"][1]["endsAt"], "1970-01-01T00:00:09.000Z");
    }
}
