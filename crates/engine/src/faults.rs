//! Injected outages, for tests and drills: what goes down, when, and for how long, in site time.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use sos_model::{Declared, Outage, Problem, read_outages};

use crate::folder;
use crate::sites::{Running, periods};

/// Outages in no particular order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Vec<Outage>);

impl Faults {
    /// These outages.
    #[must_use]
    pub const fn new(outages: Vec<Outage>) -> Self {
        Self(outages)
    }

    /// Reads a file of outages: a list of maps with `site`, `service`, `at`, `seconds`.
    ///
    /// # Errors
    /// All that is wrong with it, with line, column and the known names.
    pub fn read(path: &Path, declared: &[Declared], running: &Running) -> Result<Self, Vec<Problem>> {
        let bytes = folder::read_bounded(path).map_err(|problem| vec![problem])?;
        let periods = periods(declared, running);
        let shown = path.display().to_string();
        read_outages(&shown, &bytes, declared, |site| periods.get(site).copied()).map(Self)
    }

    /// The services of a site that are down at a time.
    #[must_use]
    pub fn at(&self, now: Timestamp, site: &str) -> BTreeSet<String> {
        let down = |outage: &&Outage| outage.site == *site && outage.at <= now && now < outage.end();
        self.0.iter().filter(down).map(|outage| outage.service.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use sos_model::Name;

    use super::*;

    #[test]
    fn an_outage_begins_and_ends_in_site_time() {
        let at: Timestamp = "2016-08-01T07:00:00Z".parse().unwrap();
        let name = |name| Name::new(name).unwrap();
        let faults = Faults::new(vec![Outage { site: name("s"), service: name("home-1"), at, seconds: 900 }]);
        assert_eq!(faults.at(at, "s").len(), 1);
        assert!(faults.at(at - SignedDuration::from_secs(1), "s").is_empty());
        assert!(faults.at(at + SignedDuration::from_secs(900), "s").is_empty());
        assert!(faults.at(at, "other").is_empty());
    }
}
