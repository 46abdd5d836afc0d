//! Reading a folder of manifests and the series files they name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use sos_model::{
    Declared, MAX_MANIFEST_BYTES, Problem, SignalSource, SignalSpec, SiteSpec, load_checked, series,
    too_large,
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
    let mut declared = match load_checked(&files, stored) {
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
            && let Err(mut found) = load_signal(one.name.as_str(), signal, zone_of(&declared))
        {
            problems.append(&mut found);
        }
    }
    problems.sort();
    if problems.is_empty() { Ok(declared) } else { Err(problems) }
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
        match read_bounded(&name) {
            Ok(bytes) => files.push((shown(&name), bytes)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(files) } else { Err(problems) }
}

/// The zone of local times in series files: that of the first site.
fn zone_of(declared: &[Declared]) -> Option<&TimeZone> {
    declared.iter().find_map(|one| one.site()).map(|site: &SiteSpec| site.time_zone.zone())
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

/// Loads the series of a signal.
///
/// # Errors
/// All problems of its file.
pub fn load_signal(
    name: &str,
    signal: &SignalSpec,
    zone: Option<&TimeZone>,
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
    let found =
        series::read_series(&source.path, source, &signal.unit, zone, signal.step, BufReader::new(file))?;
    Ok(SignalSeries::new(name, found.grid, found.values, signal.known_ahead))
}

/// Loads all signals of a set of resources; those that cannot be read are named with their problems.
#[must_use]
pub fn load_signals(
    declared: &[Declared],
) -> (BTreeMap<String, Arc<SignalSeries>>, BTreeMap<String, Vec<Problem>>) {
    let (mut loaded, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for one in declared {
        let Some(signal) = one.signal() else { continue };
        let name = one.name.to_string();
        match load_signal(&name, signal, zone_of(declared)) {
            Ok(series) => drop(loaded.insert(name, Arc::new(series))),
            Err(problems) => drop(failed.insert(name, problems)),
        }
    }
    (loaded, failed)
}
