//! Messages of chat programs, as their incoming webhooks take them.

use serde_json::{Value, json};

use super::{SHOWN, colour, cut, more, text, title};
use crate::alerts::Notification;

/// Slack: `&`, `<` and `>` are its markup, and with them its mentions.
pub fn slack(notification: &Notification) -> Value {
    attachments(notification, |text| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// Mattermost reads Slack's form but Markdown and `@all`; both are disarmed.
pub fn mattermost(notification: &Notification) -> Value {
    attachments(notification, markdown)
}

fn attachments(notification: &Notification, escape: fn(&str) -> String) -> Value {
    let title = escape(&title(notification));
    let attachments: Vec<Value> = notification
        .alerts
        .iter()
        .take(SHOWN)
        .map(|alert| {
            let ended = if alert.is_firing() { "" } else { "resolved: " };
            json!({
                "fallback": title,
                "color": if alert.is_firing() { "#d53a3a" } else { "#2ea043" },
                "title": escape(alert.name()),
                "title_link": alert.generator_url,
                "text": format!("{ended}{}", escape(&cut(&text(alert), 3_000))),
                // Nothing in it is markup.
                "mrkdwn_in": [],
                "ts": alert.ends_at_ms.unwrap_or(alert.starts_at_ms).div_euclid(1000),
            })
        })
        .collect();
    let text = match more(notification) {
        Some(more) => format!("{title}\n{more}"),
        None => title,
    };
    json!({ "text": text, "attachments": attachments })
}

/// Characters with a meaning in Markdown, and mentions, mean themselves.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '|' | '~' | '<' | '>' | '!'
        ) {
            out.push('\\');
        }
        out.push(c);
        if c == '@' {
            // Nobody is called by a label.
            out.push('\u{200b}');
        }
    }
    out
}

/// Discord: no text of it mentions anybody.
pub fn discord(notification: &Notification) -> Value {
    // Ten embeds of at most 6,000 characters together are taken.
    let embeds: Vec<Value> = notification
        .alerts
        .iter()
        .take(10)
        .map(|alert| {
            json!({
                "title": cut(alert.name(), 80),
                "description": cut(&markdown(&text(alert)), 400),
                "color": if alert.is_firing() { 0x00d5_3a3a } else { 0x002e_a043 },
            })
        })
        .collect();
    let rest = notification.alerts.len() - embeds.len();
    let more = if rest == 0 { String::new() } else { format!("\n… and {rest} more") };
    json!({
        "content": format!("{}{more}", markdown(&title(notification))),
        "embeds": embeds,
        "allowed_mentions": { "parse": [] },
    })
}

/// Teams: an adaptive card.
pub fn teams(notification: &Notification) -> Value {
    let style = if notification.is_firing() { "attention" } else { "good" };
    let mut body = vec![json!({
        "type": "TextBlock",
        "text": markdown(&title(notification)),
        "weight": "bolder",
        "size": "medium",
        "color": style,
        "wrap": true,
    })];
    for alert in notification.alerts.iter().take(SHOWN) {
        let state = if alert.is_firing() { "firing" } else { "resolved" };
        let shown = format!("{state}: {}", markdown(&cut(&text(alert), 1_000)));
        body.push(json!({ "type": "TextBlock", "text": shown, "wrap": true }));
    }
    body.extend(more(notification).map(|more| json!({ "type": "TextBlock", "text": more })));
    json!({
        "type": "message",
        "themeColor": format!("{:06x}", colour(notification)),
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::*;

    #[test]
    fn no_text_becomes_markup_or_a_mention() {
        let slack = slack(&nasty())["attachments"][0]["text"].to_string();
        assert!(slack.contains("&lt;!channel&gt;") && !slack.contains('<'), "{slack}");
        let mattermost = mattermost(&nasty())["attachments"][0]["text"].to_string();
        assert!(
            mattermost.contains("@\u{200b}everyone") && mattermost.contains("\\\\*x\\\\*"),
            "{mattermost}"
        );
        let discord = discord(&nasty());
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
        assert_eq!(discord["embeds"][0]["color"], 0x00d5_3a3a);
        let teams = teams(&nasty());
        let blocks = teams["attachments"][0]["content"]["body"].as_array().unwrap();
        assert_eq!(blocks.len(), 3);
        assert!(blocks[1]["text"].as_str().unwrap().contains("\\[a\\]\\(b\\)"));
    }

    #[test]
    fn many_alerts_are_counted_and_not_listed() {
        let mut notification = nasty();
        notification.alerts = vec![notification.alerts[0].clone(); 45];
        assert_eq!(slack(&notification)["attachments"].as_array().unwrap().len(), 20);
        assert!(slack(&notification)["text"].as_str().unwrap().ends_with("… and 25 more"));
        assert!(discord(&notification)["content"].as_str().unwrap().ends_with("… and 35 more"));
    }
}
