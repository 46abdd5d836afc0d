//! Notifications as what receivers expect: data only, sent by others.
//!
//! Labels and annotations may hold anything. Each builder escapes what its receiver would take for markup, mentions or
//! an end of a line, and cuts what is too long for it.

mod chat;
mod mail;
mod mqtt;
mod webhook;

pub use chat::{discord, mattermost, slack, teams};
pub use mail::{Mail, mail};
pub use mqtt::mqtt;
pub use webhook::{webhook, webhook_of};

use super::{Notification, NotifiedAlert};

/// Alerts that a message for people lists; of more only the number is told.
const SHOWN: usize = 20;

/// `[FIRING:2] HomeDown (site="fontana")`: in one line.
fn title(notification: &Notification) -> String {
    let firing = notification.alerts.iter().filter(|alert| alert.is_firing()).count();
    let state = if firing > 0 { format!("FIRING:{firing}") } else { "RESOLVED".to_owned() };
    let common = notification.common_labels();
    let name = common.get(crate::rules::ALERT_NAME).copied().unwrap_or("several alerts");
    let others: Vec<String> = notification
        .group_labels
        .iter()
        .filter(|(label, _)| *label != crate::rules::ALERT_NAME)
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let escalated =
        if notification.reason == super::Reason::Escalation { "nobody acknowledged: " } else { "" };
    one_line(&format!("[{state}] {escalated}{name}{others}"))
}

/// The text of an alert for people: its description or summary, else its labels.
fn text(alert: &NotifiedAlert) -> String {
    let annotation = |name: &str| alert.annotations.get(name).filter(|text| !text.is_empty());
    let told = annotation("description").or_else(|| annotation("summary")).or_else(|| annotation("message"));
    told.cloned().unwrap_or_else(|| labels(alert))
}

fn labels(alert: &NotifiedAlert) -> String {
    let others = alert.labels.iter().filter(|(name, _)| *name != crate::rules::ALERT_NAME);
    let pairs: Vec<String> = others.map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(", ")
}

/// Control characters would begin new lines of a header.
fn one_line(text: &str) -> String {
    cut(&text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>(), 240)
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// RFC 3339 in UTC with ms.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.3}"))
}

/// Red while it fires, green when it ended.
fn colour(notification: &Notification) -> u32 {
    if notification.is_firing() { 0x00d5_3a3a } else { 0x002e_a043 }
}

/// A line that says how many alerts are not shown.
fn more(notification: &Notification) -> Option<String> {
    let rest = notification.alerts.len().checked_sub(SHOWN).filter(|rest| *rest > 0)?;
    Some(format!("… and {rest} more"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::alerts::Reason;
    use crate::labels::Labels;

    /// One that fires and one that ended, with markup in every text.
    pub(in crate::alerts) fn nasty() -> Notification {
        let alert = |home: &str, ends_at_ms| NotifiedAlert {
            labels: Labels::new([("alertname", "HomeDown"), ("home", home), ("severity", "page")]),
            annotations: BTreeMap::from([(
                "summary".to_owned(),
                "<b>@everyone</b> & <!channel> *x* [a](b)".to_owned(),
            )]),
            starts_at_ms: 1_500,
            ends_at_ms,
            value: f64::NAN,
            generator_url: "https://sos/graph?g0.expr=up".to_owned(),
            acknowledged_by: None,
        };
        Notification {
            key: "ops/1".to_owned(),
            notifier: "ops".to_owned(),
            group: "{}:{alertname=\"HomeDown\"}".to_owned(),
            group_labels: Labels::new([("alertname", "HomeDown")]),
            reason: Reason::First,
            at_ms: 10_000,
            alerts: vec![alert("<script>1", None), alert("2\r\nBcc: x", Some(9_000))],
        }
    }

    #[test]
    fn titles_are_one_line() {
        let mut notification = nasty();
        assert_eq!(title(&notification), "[FIRING:1] HomeDown");
        notification.group_labels = notification.alerts[1].labels.clone();
        assert_eq!(title(&notification), "[FIRING:1] HomeDown (home=2  Bcc: x, severity=page)");
        notification.alerts.remove(0);
        assert!(title(&notification).starts_with("[RESOLVED] HomeDown"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
