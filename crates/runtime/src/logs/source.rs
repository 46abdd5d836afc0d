//! Which logs there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One log with its rotated files.
#[derive(Clone, Debug)]
pub struct LogSource {
    /// The service.
    pub service: String,
    /// The replica.
    pub replica: String,
    /// The file that is written; rotated ones lie beside it as `PATH.1` (the newest), `PATH.2` and so on.
    pub path: PathBuf,
    /// What times without a zone mean.
    pub zone: TimeZone,
    /// The runs that its replica had, oldest first.
    pub runs: Vec<RunSpan>,
}

/// When a replica worked on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSpan {
    /// The run.
    pub run: String,
    /// From then on.
    pub since: Timestamp,
    /// Up to then; `None` when it goes on.
    pub until: Option<Timestamp>,
}

impl LogSource {
    /// A log with UTC times and no runs.
    #[must_use]
    pub fn new(service: impl Into<String>, replica: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        let (service, replica, path) = (service.into(), replica.into(), path.into());
        Self { service, replica, path, zone: TimeZone::UTC, runs: vec![] }
    }

    /// The run that was under way at a time.
    pub(super) fn run_at(&self, time: Timestamp) -> Option<&str> {
        let under_way = |span: &&RunSpan| span.since <= time && span.until.is_none_or(|until| time <= until);
        self.runs.iter().rev().find(under_way).map(|span| span.run.as_str())
    }

    /// The logs of a folder, by file name: `REPLICA.log` and `REPLICA.log.N`. The service of a replica that is not
    /// known any more is its name without the ordinal.
    pub(crate) fn in_folder(folder: &Path) -> io::Result<BTreeMap<String, Self>> {
        let mut replicas = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            replicas.extend(name.to_str().and_then(replica_of).map(str::to_owned));
        }
        let source = |replica: String| {
            let source = Self::new(service_of(&replica), &replica, folder.join(format!("{replica}.log")));
            (replica, source)
        };
        Ok(replicas.into_iter().map(source).collect())
    }
}

/// The replica whose log or rotated log has this name.
fn replica_of(name: &str) -> Option<&str> {
    let number = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    let log = name.rsplit_once('.').filter(|(_, end)| number(end)).map_or(name, |(log, _)| log);
    log.strip_suffix(".log").filter(|replica| !replica.is_empty())
}

fn service_of(replica: &str) -> &str {
    let number = |end: &str| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    replica.rsplit_once('-').filter(|(_, end)| number(end)).map_or(replica, |(service, _)| service)
}

/// The zone that programs of this machine write their times in: variable `TZ`, else `/etc/localtime`, else UTC.
#[must_use]
pub fn local_zone() -> TimeZone {
    let named = std::env::var("TZ").ok().and_then(|name| zone_named(&name));
    let of_machine = || TimeZone::tzif("Local", &fs::read("/etc/localtime").ok()?).ok();
    named.or_else(of_machine).unwrap_or(TimeZone::UTC)
}

/// What a value of `TZ` means; `None` when it is not known.
pub(crate) fn zone_named(name: &str) -> Option<TimeZone> {
    let name = name.strip_prefix(':').unwrap_or(name);
    match name {
        // The system's C library takes an empty name for UTC.
        "" | "UTC" => Some(TimeZone::UTC),
        path if path.starts_with('/') => TimeZone::tzif("Local", &fs::read(path).ok()?).ok(),
        name => TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_by_their_names_also_when_only_rotated_ones_are_left() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["a-0.log", "a-0.log.1", "b.c-12.log.2", "sos.log", "x.log.copy", ".log", "a-0.txt", "y.log.x"]
        {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found = LogSource::in_folder(dir.path()).unwrap();
        let names: Vec<_> = found.values().map(|s| (s.service.as_str(), s.replica.as_str())).collect();
        assert_eq!(names, [("a", "a-0"), ("b.c", "b.c-12"), ("sos", "sos")]);
    }

    #[test]
    fn a_time_lies_in_the_last_run_that_was_under_way() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let span = |run: &str, since, until: Option<i64>| RunSpan {
            run: run.into(),
            since: at(since),
            until: until.map(at),
        };
        let runs = vec![span("one", 10, Some(20)), span("two", 20, None)];
        let source = LogSource { runs, ..LogSource::new("a", "a-0", "/a") };
        let run = |seconds| source.run_at(at(seconds));
        assert_eq!(
            [run(9), run(10), run(19), run(20), run(99)],
            [None, Some("one"), Some("one"), Some("two"), Some("two")]
        );
    }

    #[test]
    fn zones_are_named_as_in_the_variable_tz() {
        let hour = |name: &str| {
            let zone = zone_named(name)?;
            Some(zone.to_datetime("2026-07-01T00:00:00Z".parse().unwrap()).hour())
        };
        assert_eq!(hour("Europe/Berlin"), Some(2));
        assert_eq!(hour(":Europe/Berlin"), Some(2));
        assert_eq!(hour("CET-1CEST,M3.5.0,M10.5.0/3"), Some(2));
        assert_eq!(hour(""), Some(0));
        assert_eq!(hour("/no/such/file"), None);
        assert_eq!(hour("no zone"), None);
    }
}
