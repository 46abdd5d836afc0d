//! The pack: ready alerting and recording rules for services, sites, assets, forecasts and `sos` itself, with a runbook
//! for whoever is called.
//!
//! The files are those of `pack/` beside `src/`: rules in the format that [`crate::rules::read`] takes, with `inhibit`
//! beside `groups`. Each alerting rule has the label `severity` (`critical`, `warning` or `info`) and the annotations
//! `summary`, `description` and `runbook`, the last the name of a text of [`runbook`].
//!
//! # Clocks
//! A group reads either metrics, which run on wall time, or telemetry that sites write, which runs on site time; never both.

macro_rules! files {
    ($($name:literal),+ $(,)?; $folder:literal, $ending:literal) => {
        &[$(($name, include_str!(concat!("../pack/", $folder, $name, $ending)))),+]
    };
}

/// Rule files by name.
const RULES: &[(&str, &str)] = files!("services", "sites", "assets", "forecasts", "sos"; "", ".yaml");

/// Runbooks by name, in order of their names.
#[rustfmt::skip]
const RUNBOOKS: &[(&str, &str)] = files!(
    "ApiAccessRefused", "ApiConnectionsFull", "ApiErrors", "AssetNotFollowing", "AssetReadingFrozen",
    "AssetUnavailable", "BatteryAtBound", "BatterySocMissing", "BatterySocStuck", "DiskSpace",
    "ExternalServiceDown", "ForecastCoverage", "ForecastDrifting", "ForecastWorseThanYesterday",
    "JobFailed", "Notifications", "ReplicaCpuBusy", "ReplicaMemoryNearLimit", "Rules", "ScrapeSlow",
    "ScrapeTargetDown", "Series", "ServiceDegraded", "ServiceDown", "ServiceNotReady",
    "ServiceRestarted", "ServiceRestartsOften", "ServiceRollingLong", "ServiceWaiting", "SiteAssetsUnavailable",
    "SiteControlCostsMore", "SiteExchangeUnknown", "SiteFarFromPlan", "SiteLimitViolationsRise",
    "SiteNearLimit", "SiteOverLimit", "SitePlanFallbacks", "SitePlansStopped", "SiteStalled",
    "SosMetricsMissing", "SosRestartsOften", "TooManyAlerts", "WatchersFallBehind",
    ; "runbooks/", ".md"
);

/// Names of the rule files: `services`, `sites`, `assets`, `forecasts`, `sos`.
pub fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}

/// A rule file as YAML; none when no file of the pack has this name.
pub fn text(name: &str) -> Option<&'static str> {
    RULES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// A runbook as Markdown: what an alert means, how to look and what to do. None when the pack has none of this name.
pub fn runbook(name: &str) -> Option<&'static str> {
    RUNBOOKS.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|index| RUNBOOKS[index].1)
}

/// All runbooks with their names, in order of them.
pub fn runbooks() -> impl Iterator<Item = (&'static str, &'static str)> {
    RUNBOOKS.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_runbooks_are_found_by_their_names() {
        assert_eq!(names().collect::<Vec<_>>(), ["services", "sites", "assets", "forecasts", "sos"]);
        assert!(names().all(|name| text(name).is_some_and(|text| text.contains("groups:"))));
        assert!(RUNBOOKS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(runbooks().all(|(name, text)| runbook(name) == Some(text)));
        assert!(text("none").is_none() && runbook("none").is_none());
    }
}
