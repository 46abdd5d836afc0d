//! Injected outages, for tests and drills: what goes down, when, and for how long, in site time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// Outages in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

/// One outage of a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Name of the site whose time is meant.
    pub site: String,
    /// Name of the service that goes down.
    pub service: String,
    /// Site time of the first tick without it.
    pub at: Timestamp,
    /// How long it stays down.
    pub seconds: i64,
}

impl Fault {
    /// The first tick with the service again; none when that lies beyond representable time.
    fn end(&self) -> Option<Timestamp> {
        self.at.checked_add(SignedDuration::from_secs(self.seconds)).ok()
    }
}

impl Faults {
    /// Reads a list of outages: a JSON array of objects with `site`, `service`, `at`, `seconds`.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        let faults: Vec<Fault> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let impossible = |fault: &&Fault| fault.seconds <= 0 || fault.end().is_none();
        match faults.iter().find(impossible) {
            Some(fault) => Err(format!(
                "the outage of {} at {} lasts {} s; expected 1 s or more, within the calendar",
                fault.service, fault.at, fault.seconds
            )),
            None => Ok(Self(faults)),
        }
    }

    /// The services of a site that are down at a time.
    #[must_use]
    pub fn at(&self, now: Timestamp, site: &str) -> BTreeSet<String> {
        let down = |fault: &&Fault| {
            fault.site == site && fault.at <= now && fault.end().is_some_and(|end| now < end)
        };
        self.0.iter().filter(down).map(|fault| fault.service.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_and_ends_in_site_time() {
        let text = r#"[{"site":"s","service":"home-1","at":"2016-08-01T07:00:00Z","seconds":900}]"#;
        let faults = Faults::parse(text).unwrap();
        let at: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        assert_eq!(faults.at(at, "s").len(), 1);
        assert!(faults.at(at + SignedDuration::from_secs(900), "s").is_empty());
        assert!(faults.at(at, "other").is_empty());
        assert!(Faults::parse(&text.replace("900", "9000000000000000000")).is_err());
        assert!(
            Faults::parse(&text.replace("900", "0"))
                .unwrap_err()
                .contains("expected 1 s or more, within the calendar")
        );
    }
}
