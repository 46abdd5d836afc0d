//! The sign of life that an outside watcher waits for: when it stays away, `sos` is dead and cannot say so itself.

/// How often the sign is given, and what must be alive for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// In ms.
    pub every_ms: i64,
    /// Without an evaluation of rules for this long, in ms, there is no sign: what does not evaluate is not alive.
    pub stale_after_ms: i64,
}

/// Whether the sign is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub due: bool,
    /// When to look again, in ms since 1970.
    pub next_ms: i64,
    /// Why there is no sign although it would be time.
    pub withheld: Option<String>,
}

impl Heartbeat {
    /// Of the time of the last sign and of the last evaluation, each in ms since 1970 and none before the first.
    pub fn decide(&self, last_beat_ms: Option<i64>, last_evaluation_ms: Option<i64>, now_ms: i64) -> Beat {
        let every = self.every_ms.max(1_000);
        // A clock that was set back would keep silent for as long: then the sign is due at once.
        let next = last_beat_ms
            .filter(|last| *last <= now_ms)
            .map(|last| last + every)
            .filter(|next| *next > now_ms);
        if let Some(next_ms) = next {
            return Beat { due: false, next_ms, withheld: None };
        }
        let age = last_evaluation_ms.map(|last| now_ms - last);
        let withheld = match age {
            None => Some("no rule was evaluated yet".to_owned()),
            Some(age) if age > self.stale_after_ms => {
                Some(format!("no rule was evaluated for {}", crate::duration::format(age)))
            }
            Some(_) => None,
        };
        let pause = if withheld.is_some() { every.min(10_000) } else { every };
        Beat { due: withheld.is_none(), next_ms: now_ms + pause, withheld }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_given_every_while_and_only_when_rules_are_evaluated() {
        let heartbeat = Heartbeat { every_ms: 60_000, stale_after_ms: 120_000 };
        let beat = |last, evaluated, now| {
            let beat = heartbeat.decide(last, evaluated, now);
            (beat.due, beat.next_ms)
        };
        assert_eq!(beat(None, Some(0), 0), (true, 60_000));
        assert_eq!(beat(Some(0), Some(0), 59_999), (false, 60_000));
        assert_eq!(beat(Some(0), Some(0), 60_000), (true, 120_000));
        assert_eq!(beat(Some(60_000), Some(0), 120_001), (false, 130_001));
        assert_eq!(beat(Some(900_000), Some(0), 1_000), (true, 61_000));
        let late = heartbeat.decide(None, None, 0);
        assert_eq!(late.withheld.as_deref(), Some("no rule was evaluated yet"));
    }
}
