//! What plain messages are known by. MQTT gives them no name, so one is given here that stays the same when the broker
//! sends a message again.

use std::collections::HashMap;

use sha2::Digest as _;

use super::binding::Incoming;

/// Names of messages that are not acknowledged.
#[derive(Debug)]
pub(super) struct Known {
    seed: u64,
    count: u64,
    /// By packet identifier: digest of topic and payload, and the name.
    unacknowledged: HashMap<u16, ([u8; 32], String)>,
}

impl Known {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, count: 0, unacknowledged: HashMap::new() }
    }

    /// The broker has forgotten the session: nothing will be sent again.
    pub(super) fn forget(&mut self) {
        self.unacknowledged.clear();
    }

    /// The name of a message. A retained one is known by its content, as it comes again with every new session.
    pub(super) fn name(&mut self, message: &Incoming) -> String {
        let digest = digest(message);
        if message.retain {
            let hex = digest.iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            return format!("retained-{hex}");
        }
        let same = message.packet_id.and_then(|id| self.unacknowledged.get(&id));
        if let Some((_, name)) = same.filter(|(known, _)| message.dup && *known == digest) {
            return name.clone();
        }
        self.count += 1;
        let name = format!("{:016x}-{}", self.seed, self.count);
        if let Some(id) = message.packet_id {
            self.unacknowledged.insert(id, (digest, name.clone()));
        }
        name
    }

    pub(super) fn acknowledged(&mut self, packet_id: u16) {
        self.unacknowledged.remove(&packet_id);
    }
}

fn digest(message: &Incoming) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    hash.update((message.topic.len() as u64).to_le_bytes());
    hash.update(message.topic.as_bytes());
    hash.update(&message.payload);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_sent_again_has_the_same_name_and_an_equal_one_another() {
        let mut known = Known::new(7);
        let message = |id, dup, retain| Incoming {
            topic: "t".to_owned(),
            payload: b"21.5".to_vec(),
            packet_id: Some(id),
            dup,
            retain,
            ..Incoming::default()
        };
        let first = known.name(&message(1, false, false));
        assert_eq!(known.name(&message(1, true, false)), first);
        assert_ne!(known.name(&message(2, false, false)), first);
        known.acknowledged(1);
        assert_ne!(known.name(&message(1, true, false)), first);
        let second = known.name(&message(1, false, false));
        known.forget();
        assert_ne!(known.name(&message(1, true, false)), second);
        assert_eq!(known.name(&message(3, false, true)), known.name(&message(4, false, true)));
    }
}
