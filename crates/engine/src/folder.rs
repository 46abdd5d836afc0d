//! Reading a folder of manifests and the series files they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use sos_model::{
    AssetSpec, CarbonSource, Declared, HeatPump, MAX_MANIFEST_BYTES, PowerSource, PriceSource, Problem,
    SignalSource, SignalSpec, SiteSpec, load_checked, series, too_large,
};

use crate::resources::anchor;
use crate::signals::SignalSeries;

/// Folders deeper than this are not looked into.
const MAX_DEPTH: usize = 8;
/// More manifests than this are refused.
const MAX_FILES: usize = 10_000;

/// Reads every manifest under the given paths, checks them against each other and against `stored`, reads the series
/// files they name, and makes their paths absolute.
///
/// # Errors
/// All problems of all files at once.
pub fn read(paths: &[PathBuf], stored: &[Declared]) -> Result<Vec<Declared>, Vec<Problem>> {
    read_with_series(paths, stored).map(|(declared, _)| declared)
}

/// Series by the names of their signals.
pub type Series = BTreeMap<String, Arc<SignalSeries>>;

/// As [`read`], with the series of all signals that have a file.
///
/// # Errors
/// All problems of all files at once.
pub fn read_with_series(
    paths: &[PathBuf],
    stored: &[Declared],
) -> Result<(Vec<Declared>, Series), Vec<Problem>> {
    let mut problems = Vec::new();
    let files = match files(paths) {
        Ok(files) => files,
        Err(found) => {
            problems = found;
            Vec::new()
        }
    };
    let mut declared = match load(&files, stored) {
        Ok(declared) => declared,
        Err(mut found) => {
            problems.append(&mut found);
            Vec::new()
        }
    };
    for one in &mut declared {
        let path = one.source.path.clone();
        let base = Path::new(&path).parent().map(absolute).unwrap_or_default();
        anchor(one, &base);
    }
    let (users, mut series) = (Users::new(&declared, stored), Series::new());
    for (name, read) in load_each(&declared, &users) {
        match read {
            Ok(read) => drop(series.insert(name.to_owned(), Arc::new(read))),
            Err(mut found) => problems.append(&mut found),
        }
    }
    problems.extend(crate::calls::check(&declared));
    problems.extend(crate::workflow::check(&declared, stored));
    problems.extend(crate::rules::check(&declared));
    problems.sort();
    // Signals of one file share its problems.
    problems.dedup();
    if problems.is_empty() { Ok((declared, series)) } else { Err(problems) }
}

/// What is declared in these files as far as they can be read, with absolute paths. For those who look something up; what
/// is wrong is [`read`]'s to tell.
#[must_use]
pub fn read_leniently(paths: &[PathBuf]) -> Vec<Declared> {
    let mut declared = Vec::new();
    for path in paths.iter().filter(|path| !is_description(path)) {
        let Ok(text) = read_bounded(path) else { continue };
        let Ok(read) = sos_model::load(&[(shown(path), text)]) else { continue };
        let base = path.parent().map(absolute).unwrap_or_default();
        declared.extend(read.into_iter().map(|mut one| {
            anchor(&mut one, &base);
            one
        }));
    }
    declared
}

/// Reads manifests and checks them against each other, against `stored`, and their rules and routes.
///
/// # Errors
/// All problems of all files at once.
pub fn load(files: &[(String, Vec<u8>)], stored: &[Declared]) -> Result<Vec<Declared>, Vec<Problem>> {
    let (read, mut problems) = match load_checked(files, stored) {
        Ok(declared) => (declared, Vec::new()),
        // The rules of files that are well otherwise are checked too, so that one mistake hides no other.
        Err(found) => {
            let alone = files.iter().filter_map(|file| sos_model::load(std::slice::from_ref(file)).ok());
            (alone.flatten().collect(), found)
        }
    };
    problems.extend(crate::watch::config::check(&read));
    problems.sort();
    problems.dedup();
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// The manifests under a folder, in order of their paths; what cannot be read is left out.
#[must_use]
pub fn manifests(dir: &Path) -> Vec<PathBuf> {
    let (mut names, mut problems) = (Vec::new(), Vec::new());
    collect(dir, 0, true, &mut names, &mut problems);
    names.sort();
    names
}

/// The manifests under some paths, by their names as the user knows them.
///
/// # Errors
/// All files that cannot be read, or that there is none.
fn files(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, Vec<Problem>> {
    let (mut problems, mut names) = (Vec::new(), Vec::new());
    for path in paths {
        collect(path, 0, true, &mut names, &mut problems);
    }
    names.sort();
    names.dedup();
    if names.is_empty() && problems.is_empty() {
        let shown = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        problems.push(Problem::in_file(
            &shown,
            "there is no manifest here",
            "expected files that end in .yaml or .yml",
        ));
    }
    let mut files = Vec::new();
    for name in names {
        if is_description(&name) {
            continue;
        }
        match read_bounded(&name) {
            Ok(bytes) => files.push((shown(&name), bytes)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

/// Whether a file describes the interface of a service or a workflow instead of declaring resources: these lie beside manifests,
/// and many are written in YAML.
fn is_description(path: &Path) -> bool {
    const LOOKED_AT: u64 = 4096;
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut beginning));
    let names = ["openapi:", "swagger:", "asyncapi:", "document:"];
    read.is_ok()
        && String::from_utf8_lossy(&beginning)
            .lines()
            .any(|line| names.iter().any(|name| line.replace(['"', '\''], "").starts_with(name)))
}

/// The workflow documents under some paths, by their names as the user knows them: what has `document` and `do` and is of no kind.
#[must_use]
pub fn documents(paths: &[PathBuf]) -> Vec<(PathBuf, String)> {
    let (mut names, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        collect(path, 0, true, &mut names, &mut problems);
    }
    names.sort();
    names.dedup();
    let text = |path: PathBuf| {
        let text = String::from_utf8(read_bounded(&path).ok()?).ok()?;
        let is_meant = is_workflow(&text, is_description(&path));
        is_meant.then_some((path, text))
    };
    names.into_iter().filter_map(text).collect()
}

/// Whether a text is a workflow document; one that cannot be read is meant as one if it is a description of anything and says `do`.
fn is_workflow(text: &str, is_description: bool) -> bool {
    match sos_workflow::read(text) {
        Ok(read) => {
            let has = |key: &str| read.root().get(key).is_some();
            has("document") && has("do") && !has("kind")
        }
        Err(_) => {
            let says = |key: &str| text.lines().any(|line| line.starts_with(key));
            is_description && says("document:") && says("do:")
        }
    }
}

/// Who may use signals: sites by name, and their assets.
#[derive(Clone, Debug, Default)]
pub struct Users<'a> {
    sites: BTreeMap<&'a str, &'a SiteSpec>,
    /// Sites of the assets whose expected power comes from a signal.
    of_powers: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Users<'a> {
    /// What is declared, and of `stored` what is not declared anew.
    #[must_use]
    pub fn new(declared: &'a [Declared], stored: &'a [Declared]) -> Self {
        let all = || stored.iter().chain(declared);
        let assets: BTreeMap<&str, &AssetSpec> =
            all().filter_map(|one| Some((one.name.as_str(), one.asset()?))).collect();
        let mut of_powers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for asset in assets.values() {
            powers(asset).for_each(|signal| {
                of_powers.entry(signal).or_default().insert(asset.site.as_str());
            });
        }
        let sites = all().filter_map(|one| Some((one.name.as_str(), one.site()?))).collect();
        Self { sites, of_powers }
    }

    /// The sites whose prices, carbon intensity or expected powers come from a signal, with their zones.
    fn of(&self, signal: &str) -> Vec<(&'a str, &'a TimeZone)> {
        let by_asset = self.of_powers.get(signal);
        let users = self
            .sites
            .iter()
            .filter(|(name, site)| uses(site, signal) || by_asset.is_some_and(|sites| sites.contains(*name)));
        users.map(|(name, site)| (*name, site.time_zone.zone())).collect()
    }
}

/// Whether a price or the carbon intensity of a site comes from a signal.
fn uses(site: &SiteSpec, signal: &str) -> bool {
    let of_feeders =
        site.feeders.iter().flat_map(|feeder| feeder.import_price.iter().chain(&feeder.export_price));
    let connection = site.connection.as_ref();
    let of_connection =
        connection.into_iter().flat_map(|one| std::iter::once(&one.import_price).chain(&one.export_price));
    let prices = of_connection.chain(of_feeders);
    let price =
        prices.filter_map(|price| if let PriceSource::Signal(name) = price { Some(name) } else { None });
    let of_feeders = site.feeders.iter().flat_map(|feeder| &feeder.carbon_intensity);
    let of_connection = connection.and_then(|connection| connection.carbon_intensity.as_ref());
    let carbon = of_connection.into_iter().chain(of_feeders).filter_map(|carbon| match carbon {
        CarbonSource::Signal(name) => Some(name),
        CarbonSource::Fixed(_) => None,
    });
    price.chain(carbon).any(|name| name.as_str() == signal)
}

/// The signals that an asset is planned with.
fn powers(asset: &AssetSpec) -> impl Iterator<Item = &str> {
    let available = asset.available_power().map(|(_, source)| source);
    let power = asset.power.iter().chain(available).filter_map(|source| match source {
        PowerSource::Signal(name) => Some(name.as_str()),
        PowerSource::Fixed(_) => None,
    });
    power.chain(asset.heat_pump.iter().flat_map(HeatPump::signals))
}

/// The zone of local times in a signal's file: that of the sites that use it, where they agree.
enum Zone<'a> {
    Of(Option<&'a TimeZone>),
    /// Several, by site.
    Unclear(String),
}

fn zone_of<'a>(signal: &str, all: &Users<'a>) -> Zone<'a> {
    let users = all.of(signal);
    let Some((_, first)) = users.first() else {
        return Zone::Of(all.sites.values().next().map(|site| site.time_zone.zone()));
    };
    if users.iter().all(|(_, zone)| zone == first) {
        return Zone::Of(Some(first));
    }
    let named = |(site, zone): &(&str, &TimeZone)| {
        format!("{site} ({})", zone.iana_name().unwrap_or("a zone of its own"))
    };
    Zone::Unclear(users.iter().map(named).collect::<Vec<_>>().join(", "))
}

fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// Collects manifests; hidden folders (such as the data directory) are passed over, a named file is always taken.
fn collect(path: &Path, depth: usize, named: bool, names: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    let kind = match std::fs::metadata(path) {
        Ok(kind) => kind,
        Err(error) => {
            problems.push(Problem::in_file(&shown(path), format!("cannot be read: {error}"), ""));
            return;
        }
    };
    if kind.is_file() {
        if named || is_manifest(path) {
            names.push(path.to_owned());
        }
        return;
    }
    if !kind.is_dir() {
        if named {
            problems.push(Problem::in_file(
                &shown(path),
                "is neither a file nor a folder",
                "expected manifests",
            ));
        }
        return;
    }
    if depth > MAX_DEPTH || names.len() > MAX_FILES {
        let help = format!("expected at most {MAX_DEPTH} levels and {MAX_FILES} manifests");
        problems.push(Problem::in_file(&shown(path), "too many folders or manifests", help));
        return;
    }
    match std::fs::read_dir(path) {
        Ok(entries) => {
            let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            entries.sort();
            for entry in entries {
                let hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                let folder = std::fs::metadata(&entry).is_ok_and(|kind| kind.is_dir());
                if !hidden && (folder || is_manifest(&entry)) {
                    collect(&entry, depth + 1, false, names, problems);
                }
            }
        }
        Err(error) => problems.push(Problem::in_file(&shown(path), format!("cannot be read: {error}"), "")),
    }
}

/// A file of manifest size.
///
/// # Errors
/// That it cannot be read, or is too large.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, Problem> {
    let max = MAX_MANIFEST_BYTES;
    let unreadable =
        |error: std::io::Error| Problem::in_file(&shown(path), format!("cannot be read: {error}"), "");
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > max {
        return Err(too_large(&shown(path), size, max));
    }
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(too_large(&shown(path), bytes.len() as u64, max));
    }
    Ok(bytes)
}

/// What is wrong with a signal whose values come with lines, where there are none.
#[must_use]
pub fn without_file(name: &str) -> (String, &'static str) {
    let message = format!("signal {name} has its values from the lines of sos control");
    (message, "expected source: { file: … } for every other command")
}

/// Loads the series of a signal. Times without offset in its file are local times of the sites that use it.
///
/// # Errors
/// All problems of its file; also local times when sites of different zones use it.
pub fn load_signal(name: &str, signal: &SignalSpec, users: &Users<'_>) -> Result<SignalSeries, Vec<Problem>> {
    let SignalSource::File(source) = &signal.source else {
        let (message, help) = without_file(name);
        return Err(vec![Problem::in_file("", message, help)]);
    };
    let unreadable = |error: std::io::Error| {
        vec![Problem::in_file(&source.path, format!("signal {name} cannot be read: {error}"), "")]
    };
    let file = File::open(&source.path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(vec![Problem::in_file(
            &source.path,
            format!("signal {name} is not a file"),
            "expected a CSV file",
        )]);
    }
    let read = |zone: Option<&TimeZone>, file: File| {
        series::read_series(&source.path, source, &signal.unit, zone, signal.step, BufReader::new(file))
    };
    let found = match zone_of(name, users) {
        Zone::Of(zone) => read(zone, file)?,
        Zone::Unclear(users) => read(None, file).map_err(|problems| {
            let help = format!(
                "signal {name} is used by sites of different zones, {users}: expected times with an offset, or a \
                 signal for each zone"
            );
            let local = |problem: Problem| {
                if problem.message.ends_with(series::NO_OFFSET) {
                    Problem { help: help.clone(), ..problem }
                } else {
                    problem
                }
            };
            problems.into_iter().map(local).collect::<Vec<_>>()
        })?,
    };
    Ok(SignalSeries::new(name, found.grid, found.values, signal.known_ahead))
}

/// Signals of one file with the same times: its path, their column, zone and step.
type Together<'a> = (&'a str, &'a str, Option<&'a str>, Option<SignedDuration>);

/// A signal with its series, or what is wrong with it.
type Loaded<'a> = (&'a str, Result<SignalSeries, Vec<Problem>>);

/// Reads the series of all signals that have a file, those of one file at once: a community has thousands of columns in one file.
fn load_each<'a>(declared: &'a [Declared], users: &Users<'_>) -> Vec<Loaded<'a>> {
    let mut files: BTreeMap<Together<'_>, Vec<(&str, &SignalSpec)>> = BTreeMap::new();
    let mut read = Vec::new();
    for one in declared {
        let Some(signal) = one.signal() else { continue };
        let (name, SignalSource::File(source)) = (one.name.as_str(), &signal.source) else { continue };
        match zone_of(name, users) {
            Zone::Of(zone) => {
                let key = (&*source.path, &*source.time, zone.and_then(TimeZone::iana_name), signal.step);
                files.entry(key).or_default().push((name, signal));
            }
            Zone::Unclear(_) => read.push((name, load_signal(name, signal, users))),
        }
    }
    for signals in files.into_values() {
        // What is wrong is told signal by signal.
        let together = if signals.len() > 1 { load_together(&signals, users) } else { None };
        match together {
            Some(series) => read.extend(series),
            None => {
                read.extend(signals.iter().map(|(name, signal)| (*name, load_signal(name, signal, users))))
            }
        }
    }
    read
}

/// Series out of one file; none when something is wrong.
fn load_together<'a>(signals: &[(&'a str, &'a SignalSpec)], users: &Users<'_>) -> Option<Vec<Loaded<'a>>> {
    let (first, signal) = signals.first()?;
    let (SignalSource::File(source), Zone::Of(zone)) = (&signal.source, zone_of(first, users)) else {
        return None;
    };
    let column = |(_, signal): &(&'a str, &'a SignalSpec)| match &signal.source {
        SignalSource::File(source) => Some(source.column.as_str()),
        SignalSource::Lines(_) => None,
    };
    let wanted: BTreeSet<&str> = signals.iter().filter_map(column).collect();
    let wanted: Vec<&str> = wanted.into_iter().collect();
    let columns =
        series::Columns { path: &source.path, time: &source.time, values: &wanted, zone, step: signal.step };
    let file =
        File::open(&source.path).ok().filter(|file| file.metadata().is_ok_and(|known| known.is_file()))?;
    let table = series::read_table(&columns, BufReader::new(file)).ok()?;
    let one = |(name, signal): &(&'a str, &'a SignalSpec)| {
        let SignalSource::File(source) = &signal.source else { return None };
        let values = series::signal_values(&table, source, &signal.unit)?;
        Some((*name, Ok(SignalSeries::new(name, table.grid, values, signal.known_ahead))))
    };
    signals.iter().map(one).collect()
}

/// Loads all signals of a set of resources; those that cannot be read are named with their problems.
#[must_use]
pub fn load_signals(
    declared: &[Declared],
) -> (BTreeMap<String, Arc<SignalSeries>>, BTreeMap<String, Vec<Problem>>) {
    let (mut loaded, mut failed) = (BTreeMap::new(), BTreeMap::new());
    let users = Users::new(declared, &[]);
    for (name, read) in load_each(declared, &users) {
        match read {
            Ok(series) => drop(loaded.insert(name.to_owned(), Arc::new(series))),
            Err(problems) => drop(failed.insert(name.to_owned(), problems)),
        }
    }
    for one in declared {
        if one.signal().is_some_and(|signal| matches!(signal.source, SignalSource::Lines(_))) {
            let (message, help) = without_file(one.name.as_str());
            failed.insert(one.name.to_string(), vec![Problem::in_file("", message, help)]);
        }
    }
    (loaded, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    /// Two sites with their zones, one signal for both, whose file has these times.
    fn problems(zones: [&str; 2], times: [&str; 2]) -> Result<Timestamp, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("time,price\n{},0.1\n{},0.2\n", times[0], times[1]);
        std::fs::write(dir.path().join("price.csv"), file).unwrap();
        let site = |name: &str, zone: &str| {
            format!(
                "---\napiVersion: sos.energy/v1alpha1\nkind: Site\nmetadata: {{ name: {name} }}\nspec:\n  timeZone: {zone}\n  currency: EUR\n  connection: {{ importPrice: {{ signal: price }} }}\n"
            )
        };
        let signal = "apiVersion: sos.energy/v1alpha1\nkind: Signal\nmetadata: { name: price }\nspec: { unit: EUR/kWh, source: { file: { path: price.csv, column: price } } }\n";
        let text = format!("{signal}{}{}", site("north", zones[0]), site("south", zones[1]));
        std::fs::write(dir.path().join("all.yaml"), text).unwrap();
        let declared = read(&[dir.path().to_owned()], &[])
            .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(load_signals(&declared).0["price"].start())
    }

    #[test]
    fn local_times_are_those_of_the_sites_that_use_the_signal() {
        let local = ["2026-01-01T00:00:00", "2026-01-01T01:00:00"];
        let start = |zone| problems([zone, zone], local).unwrap().to_string();
        assert_eq!(start("Europe/Helsinki"), "2025-12-31T22:00:00Z");
        assert_eq!(start("America/New_York"), "2026-01-01T05:00:00Z");
        let found = problems(["Europe/Helsinki", "Europe/Madrid"], local).unwrap_err();
        assert!(
            found[0].contains("2026-01-01T00:00:00 has no offset")
                && found[0].contains("north (Europe/Helsinki), south (Europe/Madrid)")
                && found[0].contains("a signal for each zone"),
            "{found:?}"
        );
        let clear = ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"];
        assert!(problems(["Europe/Helsinki", "Europe/Madrid"], clear).is_ok());
    }
}
