//! How an MQTT broker is reached, and what is published and received there.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::deliver::MqttVersion;
use crate::events::broker::{Mode, Plain};
use crate::events::error::{EventError, shown};
use crate::events::identity::BrokerTls;
use crate::mqtt::Tls;
use crate::secret::Login;

/// A channel on an MQTT broker.
#[derive(Clone, Debug)]
pub struct MqttChannelSettings {
    /// Its name or IP address; its certificate must be for it.
    pub host: String,
    /// Usually 1883, and 8883 with TLS.
    pub port: u16,
    /// What is spoken.
    pub version: MqttVersion,
    /// TLS; default: the connection is not encrypted.
    pub tls: Option<BrokerTls>,
    /// Who connects.
    pub login: Option<Login>,
    /// Name of the session that receives, for the broker; the one that publishes has `-publisher` behind it. No two
    /// clients of a broker may have the same.
    pub client_id: String,
    /// Topic that events are published to.
    pub topic: String,
    /// Topics that are received; `+` stands for one level, `#` at the end for all below.
    pub filters: Vec<String>,
    /// Name of a group of clients that share what is received, each message for one of them. Then their logs hold parts,
    /// and order is that of each part. MQTT 5 only.
    pub share: Option<String>,
    /// What becomes of messages that were published before somebody listened.
    pub retained: Retained,
    /// How long the broker keeps the session while nobody is connected; MQTT 5 only.
    pub session_expiry: Duration,
    /// Seconds after which a silent connection is checked; 0 never.
    pub keep_alive: u16,
    /// Messages that the broker sends before one is acknowledged.
    pub receive_maximum: u16,
    /// Messages that are published before one is acknowledged.
    pub outstanding: u16,
    /// Bytes of a packet that the broker may send.
    pub max_packet: u32,
    /// How events are put into messages; 3.1.1 knows the structured mode only.
    pub mode: Mode,
    /// What becomes of messages that are no CloudEvents; default: dead letters.
    pub plain: Option<Plain>,
    /// Time to connect, and for the acknowledgement of what is published.
    pub timeout: Duration,
    /// What makes the ids of plain messages differ from those of other starts of this process; random.
    pub seed: u64,
}

/// What becomes of retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Retained {
    /// They are received when a session begins, each content once.
    #[default]
    Receive,
    /// They are not received (MQTT 5), or passed over (3.1.1).
    Ignore,
}

impl MqttChannelSettings {
    /// Usual settings for one topic.
    pub fn new(host: impl Into<String>, port: u16, client_id: &str, topic: &str) -> Self {
        Self {
            host: host.into(),
            port,
            version: MqttVersion::Newest,
            tls: None,
            login: None,
            client_id: client_id.to_owned(),
            topic: topic.to_owned(),
            filters: vec![topic.to_owned()],
            share: None,
            retained: Retained::Receive,
            session_expiry: Duration::from_hours(24 * 7),
            keep_alive: 30,
            receive_maximum: 512,
            outstanding: 512,
            max_packet: 16 << 20,
            mode: Mode::Binary,
            plain: None,
            timeout: Duration::from_secs(10),
            seed: 0,
        }
    }

    /// The broker for people.
    pub(super) fn place(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    pub(super) fn tls(&self) -> Result<Tls, String> {
        let Some(tls) = &self.tls else { return Ok(None) };
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|_| format!("`{}` is no name of a host", shown(&self.host)))?;
        Ok(Some((Arc::new(tls.client_config()?), name)))
    }

    /// Filters as they are subscribed to.
    pub(super) fn subscriptions(&self) -> Vec<String> {
        let shared = |filter: &String| match &self.share {
            Some(group) => format!("$share/{group}/{filter}"),
            None => filter.clone(),
        };
        self.filters.iter().map(shared).collect()
    }

    pub(super) fn check(&self) -> Result<(), EventError> {
        let refuse = |place: &str, message: String| Err(EventError::bad(place, message));
        if self.topic.is_empty() || self.topic.len() > 65_535 || self.topic.contains(['+', '#', '\0']) {
            return refuse("topic", format!("`{}` is no topic that can be published to", shown(&self.topic)));
        }
        if self.filters.len() > 1000 {
            return refuse("filters", format!("{} filters, expected at most 1,000", self.filters.len()));
        }
        if let Some(filter) = self.filters.iter().find(|filter| !is_filter(filter)) {
            return refuse(
                "filters",
                format!("expected `+` as a level and `#` as the last, found `{}`", shown(filter)),
            );
        }
        if let Some(share) = &self.share {
            if share.is_empty() || share.contains(['/', '+', '#', '\0']) {
                return refuse("share", format!("`{}` is no name of a group", shown(share)));
            }
            if self.version != MqttVersion::V5 {
                return refuse("share", "shared subscriptions need MQTT 5: set the version".to_owned());
            }
        }
        if self.client_id.is_empty()
            || self.client_id.len() > 1000
            || self.client_id.contains(char::is_control)
        {
            return refuse("client_id", "expected a name, as the broker keeps the session by it".to_owned());
        }
        let positive = self.receive_maximum > 0 && self.outstanding > 0 && !self.timeout.is_zero();
        if !positive || self.max_packet < 1024 {
            let message = "expected positive numbers, and a max_packet of 1,024 bytes at least";
            return refuse("receive_maximum, outstanding, timeout, max_packet", message.to_owned());
        }
        Ok(())
    }
}

/// MQTT 5, section 4.7.1.
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    let good = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        level => !level.contains(['+', '#', '\0']),
    };
    !filter.is_empty() && filter.len() <= 65_000 && levels.iter().enumerate().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_no_broker_takes_are_refused() {
        let good = MqttChannelSettings::new("localhost", 1883, "sos", "meters/read");
        good.check().unwrap();
        let place = |change: &dyn Fn(&mut MqttChannelSettings)| {
            let mut settings = good.clone();
            change(&mut settings);
            settings.check().unwrap_err().place
        };
        assert_eq!(place(&|all| all.topic = "a/#".into()), "topic");
        assert_eq!(place(&|all| all.filters = vec!["a/#/b".into()]), "filters");
        assert_eq!(place(&|all| all.filters = vec!["a+".into()]), "filters");
        assert_eq!(place(&|all| all.client_id = String::new()), "client_id");
        assert_eq!(place(&|all| all.share = Some("g".into())), "share");
        let mut shared = good;
        (shared.share, shared.version) = (Some("g".into()), MqttVersion::V5);
        shared.filters = vec!["+/a/#".into()];
        shared.check().unwrap();
        assert_eq!(shared.subscriptions(), ["$share/g/+/a/#"]);
    }
}
