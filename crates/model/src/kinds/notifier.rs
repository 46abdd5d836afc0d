//! `Notifier`: who is told of alerts, and how.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::Time;

use super::service::{SecretKey, ValueFrom};
use crate::declare::{choice, record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::scalar::{Name, ZoneName};
use crate::schema::{ABOVE_ZERO, NOT_NEGATIVE, Range};

record! {
    /// Somebody who is told of alerts.
    pub struct NotifierSpec checked by check_notifier {
        ..receiver: Receiver;
        /// Of which alerts: matchers as in PromQL, such as `severity="critical"`; all must hold. Default: of all.
        matchers: Vec<String> = Vec::new();
        /// Is told only when another notifier escalates to it.
        escalation_only: bool = false;
        /// Labels by which alerts are told together; `...` tells of each alert on its own.
        group_by: Vec<String> = ["alertname", "site", "service"].map(str::to_owned).to_vec();
        /// How long the first alert of a group waits for others.
        group_wait: SignedDuration = SignedDuration::from_secs(2), in NOT_NEGATIVE;
        /// How long a group waits after a notification before it tells of changes.
        group_interval: SignedDuration = SignedDuration::from_mins(1), in ABOVE_ZERO;
        /// After how long a group that still fires is told again.
        repeat_interval: SignedDuration = SignedDuration::from_hours(4), in ABOVE_ZERO;
        /// Whether it is told when alerts end.
        send_resolved: bool = true;
        /// Who else is told when nobody acknowledges.
        escalation: Vec<EscalationStep> = Vec::new();
        /// When alerts wait, unless they are critical.
        quiet_hours: Vec<QuietHours> = Vec::new();
    }
}

choice! {
    /// Where notifications go.
    pub enum Receiver {
        /// JSON as Alertmanager posts it.
        Webhook(Webhook),
        /// An incoming webhook of Slack.
        Slack(Chat),
        /// An incoming webhook of Mattermost.
        Mattermost(Chat),
        /// A webhook of Discord.
        Discord(Chat),
        /// A webhook of Microsoft Teams.
        Teams(Chat),
        /// E-mail.
        Email(Email),
        /// An MQTT broker.
        Mqtt(Mqtt),
        /// A sign of life: an outside service that raises the alarm when it no longer comes. It is told of no alerts.
        Heartbeat(HeartbeatSpec),
    }
}

choice! {
    /// An address, or where it is kept when knowing it is all that is needed to use it.
    pub enum UrlSource {
        /// The address, `http://…` or `https://…`.
        Url(String),
        /// Taken from elsewhere.
        UrlFrom(ValueFrom),
    }
}

record! {
    /// JSON as Alertmanager posts it, in its version 4.
    pub struct Webhook {
        ..address: UrlSource;
        /// Sent as bearer token.
        token: Option<SecretKey>;
        /// Further headers.
        headers: BTreeMap<String, String> = BTreeMap::new();
        /// The most alerts in one request; 0: all.
        max_alerts: u32 = 0;
        /// Longest time for one attempt, 1 s … 5 min.
        timeout: SignedDuration = SignedDuration::from_secs(10), in Range::between(1.0, 300.0);
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
    }
}

record! {
    /// An incoming webhook of a chat program.
    pub struct Chat {
        ..address: UrlSource;
        /// Longest time for one attempt, 1 s … 5 min.
        timeout: SignedDuration = SignedDuration::from_secs(10), in Range::between(1.0, 300.0);
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
    }
}

record! {
    /// Mail over SMTP.
    pub struct Email checked by check_email {
        /// Host and port, such as `mail.example.org:587`.
        server: String;
        /// How the connection is protected.
        tls: MailTls = MailTls::Starttls;
        /// Address of the sender.
        from: String;
        /// Addresses of the receivers.
        to: Vec<String>;
        /// Name to log in with.
        username: Option<String>;
        /// Password to log in with.
        password: Option<SecretKey>;
        /// Longest time for one attempt, 1 s … 5 min.
        timeout: SignedDuration = SignedDuration::from_secs(30), in Range::between(1.0, 300.0);
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
    }
}

words! {
    /// How a connection to a mail server is protected.
    pub enum MailTls as "protection" {
        /// Not at all: for a server on this machine.
        None,
        /// Begins in the open and is protected before anything is said; refused where the server cannot.
        Starttls,
        /// From the beginning.
        Tls,
    }
}

record! {
    /// An MQTT broker. The topic is `TOPIC/NOTIFIER/ALERT`.
    pub struct Mqtt checked by check_mqtt {
        /// `mqtt://HOST:1883` or `mqtts://HOST:8883`.
        broker: String;
        /// Begin of the topic.
        topic: String = "sos/alerts".to_owned();
        /// Name to log in with.
        username: Option<String>;
        /// Password to log in with.
        password: Option<SecretKey>;
        /// Whether the broker keeps the last message of a topic for those who come later.
        retain: bool = true;
        /// Longest time for one attempt, 1 s … 5 min.
        timeout: SignedDuration = SignedDuration::from_secs(10), in Range::between(1.0, 300.0);
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
    }
}

record! {
    /// A sign of life. It is given while rules are evaluated, so that silence means that nobody watches any more.
    pub struct HeartbeatSpec {
        ..address: UrlSource;
        /// How often, 1 s or more.
        every: SignedDuration = SignedDuration::from_mins(1), in Range { min: Some(1.0), above: false, max: None };
        /// Longest time for one attempt, 1 s … 5 min.
        timeout: SignedDuration = SignedDuration::from_secs(10), in Range::between(1.0, 300.0);
        /// File with certificates of the authorities that are trusted instead of this machine's, relative to the manifest.
        ca_file: Option<String>;
    }
}

record! {
    /// A further notifier, when nobody acknowledges for a while.
    pub struct EscalationStep {
        /// Time from the first notification.
        after: SignedDuration, in ABOVE_ZERO;
        /// Name of the `Notifier`.
        notifier: Name;
    }
}

record! {
    /// Daily hours in which alerts wait; those that still fire at the end are told then.
    pub struct QuietHours checked by check_quiet {
        /// Begin, such as `"22:00"`.
        from: Time;
        /// End; not after the begin means on the next day.
        to: Time;
        /// Days on which the hours begin. Default: every day.
        days: Vec<Day> = Vec::new();
        /// Where the hours are meant.
        time_zone: Option<ZoneName>;
        /// Which alerts wait. Default: all but `severity="critical"`.
        matchers: Vec<String> = Vec::new();
    }
}

words! {
    /// A day of the week.
    pub enum Day as "day" {
        /// Monday.
        Monday,
        /// Tuesday.
        Tuesday,
        /// Wednesday.
        Wednesday,
        /// Thursday.
        Thursday,
        /// Friday.
        Friday,
        /// Saturday.
        Saturday,
        /// Sunday.
        Sunday,
    }
}

impl Receiver {
    /// The address with its key in the manifest, of those that have one.
    #[must_use]
    pub const fn address(&self) -> Option<(&'static str, &UrlSource)> {
        match self {
            Self::Webhook(webhook) => Some(("webhook", &webhook.address)),
            Self::Slack(chat) => Some(("slack", &chat.address)),
            Self::Mattermost(chat) => Some(("mattermost", &chat.address)),
            Self::Discord(chat) => Some(("discord", &chat.address)),
            Self::Teams(chat) => Some(("teams", &chat.address)),
            Self::Heartbeat(heartbeat) => Some(("heartbeat", &heartbeat.address)),
            Self::Email(_) | Self::Mqtt(_) => None,
        }
    }

    /// The file with further certificates, when one is named.
    pub const fn ca_file_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Webhook(webhook) => webhook.ca_file.as_mut(),
            Self::Slack(chat) | Self::Mattermost(chat) | Self::Discord(chat) | Self::Teams(chat) => {
                chat.ca_file.as_mut()
            }
            Self::Heartbeat(heartbeat) => heartbeat.ca_file.as_mut(),
            Self::Email(email) => email.ca_file.as_mut(),
            Self::Mqtt(mqtt) => mqtt.ca_file.as_mut(),
        }
    }

    /// Every secret it uses, by the path of its key in the spec.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, &SecretKey)> {
        let mut found = Vec::new();
        if let Some((key, UrlSource::UrlFrom(ValueFrom::Secret(secret)))) = self.address() {
            found.push((format!("{key}.urlFrom.secret"), secret));
        }
        let (key, secret) = match self {
            Self::Webhook(webhook) => ("webhook.token", &webhook.token),
            Self::Email(email) => ("email.password", &email.password),
            Self::Mqtt(mqtt) => ("mqtt.password", &mqtt.password),
            _ => return found,
        };
        found.extend(secret.as_ref().map(|secret| (key.to_owned(), secret)));
        found
    }
}

fn check_notifier(notifier: &NotifierSpec, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if let Some((key, UrlSource::Url(url))) = notifier.receiver.address() {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let valid = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':']))
            && !url.contains(char::is_whitespace);
        if !valid {
            let place = node.get(key).and_then(|n| n.get("url")).map_or(node.position, |n| n.position);
            cx.report(place, "url is not an address", "expected http://… or https://…");
        }
    }
    if matches!(notifier.receiver, Receiver::Heartbeat(_)) {
        let told = [
            ("matchers", !notifier.matchers.is_empty()),
            ("escalationOnly", notifier.escalation_only),
            ("escalation", !notifier.escalation.is_empty()),
            ("quietHours", !notifier.quiet_hours.is_empty()),
        ];
        for (key, _) in told.into_iter().filter(|(_, given)| *given) {
            let help = "a heartbeat is told of no alerts; remove it";
            cx.report(at(key), format!("{key} beside heartbeat"), help);
        }
    }
    let mut last = SignedDuration::ZERO;
    for step in &notifier.escalation {
        if step.after <= last {
            cx.report(at("escalation"), "steps of the escalation are not in order", "expected rising times");
        }
        last = step.after;
    }
}

fn check_email(email: &Email, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    if host_and_port(&email.server).is_none() {
        cx.report(at("server"), "server is not host and port", "expected such as mail.example.org:587");
    }
    let address = |text: &str| {
        let inner = text.rsplit_once('<').map_or(text, |(_, rest)| rest.trim_end_matches('>'));
        let parts = inner.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
            && !text.contains(['\n', '\r'])
    };
    if !address(&email.from) {
        cx.report(at("from"), "from is not an address", "expected such as sos@example.org");
    }
    if email.to.is_empty() {
        cx.report(at("to"), "to is empty", "expected at least one address");
    }
    if !email.to.iter().all(|to| address(to)) {
        cx.report(at("to"), "to holds what is not an address", "expected such as operator@example.org");
    }
    if email.username.is_some() != email.password.is_some() {
        cx.report(node.position, "username and password belong together", "expected both or none");
    }
}

fn check_mqtt(mqtt: &Mqtt, node: &Node, cx: &mut Cx<'_>) {
    let at = |key: &str| node.get(key).map_or(node.position, |n| n.position);
    let rest = mqtt.broker.strip_prefix("mqtt://").or_else(|| mqtt.broker.strip_prefix("mqtts://"));
    if rest.and_then(host_and_port).is_none() {
        cx.report(at("broker"), "broker is not an address", "expected mqtt://HOST:PORT or mqtts://HOST:PORT");
    }
    if mqtt.topic.is_empty() || mqtt.topic.contains(['#', '+', '\0']) || mqtt.topic.ends_with('/') {
        cx.report(at("topic"), "topic cannot be used", "expected text without #, + and without / at the end");
    }
    if mqtt.username.is_some() != mqtt.password.is_some() {
        cx.report(node.position, "username and password belong together", "expected both or none");
    }
}

fn check_quiet(quiet: &QuietHours, node: &Node, cx: &mut Cx<'_>) {
    if quiet.from == quiet.to {
        let position = node.get("to").map_or(node.position, |n| n.position);
        cx.report(position, "the hours are empty", "expected another to than from");
    }
}

/// `host:port` with a port of 1 … 65535.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !host.contains(['/', ' ', '@'])).then_some((host, port))
}
