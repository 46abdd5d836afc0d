//! E-mails: subject, plain text and HTML.

use super::{SHOWN, labels, more, text, time, title};
use crate::alerts::{Notification, NotifiedAlert};
use crate::template::links::html;

/// An e-mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    pub text: String,
    /// With everything from labels and annotations escaped.
    pub html: String,
}

pub fn mail(notification: &Notification, external_url: &str) -> Mail {
    let subject = title(notification);
    let shown = notification.alerts.iter().take(SHOWN);
    let mut plain = format!("{subject}\n");
    let mut page = format!("<!DOCTYPE html>\n<html><body>\n<h2>{}</h2>\n", html(&subject));
    for alert in shown {
        plain.push_str(&plain_alert(alert));
        page.push_str(&html_alert(alert));
    }
    if let Some(more) = more(notification) {
        plain.push_str(&format!("\n{more}\n"));
        page.push_str(&format!("<p>{more}</p>\n"));
    }
    plain.push_str(&format!("\n-- \nsent by SOS at {external_url} for {}\n", notification.notifier));
    page.push_str(&format!(
        "<p>sent by SOS at {} for {}</p>\n",
        link(external_url),
        html(&notification.notifier)
    ));
    page.push_str("</body></html>\n");
    Mail { subject, text: plain, html: page }
}

fn since(alert: &NotifiedAlert) -> String {
    match alert.ends_at_ms {
        None => format!("firing since {}", time(alert.starts_at_ms)),
        Some(end) => format!("resolved at {}, fired since {}", time(end), time(alert.starts_at_ms)),
    }
}

fn plain_alert(alert: &NotifiedAlert) -> String {
    let mut out = format!("\n{}: {}\n{}\n{}\n", alert.name(), since(alert), text(alert), labels(alert));
    for (name, value) in alert.annotations.iter().filter(|(name, _)| name.as_str() != "description") {
        out.push_str(&format!("{name}: {value}\n"));
    }
    if let Some(by) = &alert.acknowledged_by {
        out.push_str(&format!("acknowledged by {by}\n"));
    }
    out.push_str(&format!("{}\n", alert.generator_url));
    out
}

fn html_alert(alert: &NotifiedAlert) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        rows.push_str(&format!("<tr><th align=\"left\">{}</th><td>{}</td></tr>\n", html(name), html(value)));
    };
    alert.labels.iter().for_each(|(name, value)| row(name, value));
    alert.annotations.iter().for_each(|(name, value)| row(name, value));
    if let Some(by) = &alert.acknowledged_by {
        row("acknowledged by", by);
    }
    let colour = if alert.is_firing() { "#d53a3a" } else { "#2ea043" };
    format!(
        "<h3 style=\"color:{colour}\">{}: {}</h3>\n<p>{}</p>\n<table>\n{rows}</table>\n<p>{}</p>\n",
        html(alert.name()),
        since(alert),
        html(&text(alert)).replace('\n', "<br>"),
        link(&alert.generator_url)
    )
}

/// Only what is surely an address becomes a link.
fn link(url: &str) -> String {
    let shown = html(url);
    if url.starts_with("https://") || url.starts_with("http://") {
        format!("<a href=\"{shown}\">{shown}</a>")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::nasty;
    use super::*;

    #[test]
    fn nothing_of_an_alert_becomes_html_or_a_header() {
        let mut notification = nasty();
        notification.group_labels = notification.alerts[1].labels.clone();
        notification.alerts[0].generator_url = "javascript:alert(1)".to_owned();
        let mail = mail(&notification, "https://sos");
        assert!(!mail.subject.contains(['\r', '\n']), "{}", mail.subject);
        assert!(!mail.html.contains("<script>") && mail.html.contains("&lt;script&gt;1"), "{}", mail.html);
        assert!(!mail.html.contains("<b>") && !mail.html.contains("href=\"javascript"), "{}", mail.html);
        assert!(
            mail.text.contains("home=<script>1")
                && mail.text.contains("resolved at 1970-01-01T00:00:09.000Z")
        );
    }
}
