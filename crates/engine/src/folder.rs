//! Reading a folder of manifests and the series files they name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sos_model::{
    CarbonSource, Declared, MAX_MANIFEST_BYTES, PriceSource, Problem, SignalSource, SignalSpec, SiteSpec,
    load_checked, series, too_large,
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
    for one in &declared {
        if let Some(signal) = one.signal()
            && let Err(mut found) = load_signal(one.name.as_str(), signal, &sites(&declared, stored))
        {
            problems.append(&mut found);
        }
    }
    problems.extend(crate::calls::check(&declared));
    problems.sort();
    if problems.is_empty() { Ok(declared) } else { Err(problems) }
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

/// Whether a file describes the interface of a service instead of declaring resources: contracts lie beside manifests,
/// and many are written in YAML.
fn is_description(path: &Path) -> bool {
    const LOOKED_AT: u64 = 4096;
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut beginning));
    let names = ["openapi:", "swagger:", "asyncapi:"];
    read.is_ok()
        && String::from_utf8_lossy(&beginning)
            .lines()
            .any(|line| names.iter().any(|name| line.replace(['"', '\''], "").starts_with(name)))
}

/// The declared sites, and those of `stored` that are not declared anew.
#[must_use]
pub fn sites<'a>(declared: &'a [Declared], stored: &'a [Declared]) -> BTreeMap<&'a str, &'a SiteSpec> {
    let of = |one: &'a Declared| Some((one.name.as_str(), one.site()?));
    stored.iter().chain(declared).filter_map(of).collect()
}

/// The sites whose prices or carbon intensity come from a signal.
fn users<'a>(signal: &str, sites: &BTreeMap<&'a str, &'a SiteSpec>) -> Vec<(&'a str, &'a TimeZone)> {
    let uses = |site: &SiteSpec| {
        let connection = &site.connection;
        let prices = std::iter::once(&connection.import_price).chain(&connection.export_price);
        let price =
            prices.filter_map(|price| if let PriceSource::Signal(name) = price { Some(name) } else { None });
        let carbon = match &connection.carbon_intensity {
            Some(CarbonSource::Signal(name)) => Some(name),
            _ => None,
        };
        price.chain(carbon).any(|name| name.as_str() == signal)
    };
    let users = sites.iter().filter(|(_, site)| uses(site));
    users.map(|(name, site)| (*name, site.time_zone.zone())).collect()
}

/// The zone of local times in a signal's file: that of the sites that use it, where they agree.
enum Zone<'a> {
    Of(Option<&'a TimeZone>),
    /// Several, by site.
    Unclear(String),
}

fn zone_of<'a>(signal: &str, sites: &BTreeMap<&'a str, &'a SiteSpec>) -> Zone<'a> {
    let users = users(signal, sites);
    let Some((_, first)) = users.first() else {
        return Zone::Of(sites.values().next().map(|site| site.time_zone.zone()));
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

/// Loads the series of a signal. Times without offset in its file are local times of the sites that use it.
///
/// # Errors
/// All problems of its file; also local times when sites of different zones use it.
pub fn load_signal(
    name: &str,
    signal: &SignalSpec,
    sites: &BTreeMap<&str, &SiteSpec>,
) -> Result<SignalSeries, Vec<Problem>> {
    let SignalSource::File(source) = &signal.source;
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
    let found = match zone_of(name, sites) {
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

/// Loads all signals of a set of resources; those that cannot be read are named with their problems.
#[must_use]
pub fn load_signals(
    declared: &[Declared],
) -> (BTreeMap<String, Arc<SignalSeries>>, BTreeMap<String, Vec<Problem>>) {
    let (mut loaded, mut failed) = (BTreeMap::new(), BTreeMap::new());
    let sites = sites(declared, &[]);
    for one in declared {
        let Some(signal) = one.signal() else { continue };
        let name = one.name.to_string();
        match load_signal(&name, signal, &sites) {
            Ok(series) => drop(loaded.insert(name, Arc::new(series))),
            Err(problems) => drop(failed.insert(name, problems)),
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
