//! Writing what was imported, and telling what it changes.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sos_call::Difference;

use super::Common;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, Table};

/// What an import found and does.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// `Service/market`
    pub(super) resources: Vec<String>,
    /// Operations or channels that were found.
    pub(super) found: Vec<String>,
    /// Files that are written, relative to the folder.
    pub(super) files: Vec<PathBuf>,
    /// What was there before and is different now.
    pub(super) differences: Vec<Changed>,
    /// What people should know.
    pub(super) notes: Vec<String>,
}

/// One difference to what was imported before.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    kind: &'static str,
    operation: String,
    place: String,
    change: String,
}

impl From<Difference> for Changed {
    fn from(difference: Difference) -> Self {
        let kind = difference.kind.word();
        Self { kind, operation: difference.operation, place: difference.place, change: difference.change }
    }
}

/// Writes the files, unless callers would break by them, and tells what was done.
pub(super) fn finish(common: &Common, report: &Report, files: &[(PathBuf, Vec<u8>)]) -> Outcome {
    let breaking = report.differences.iter().filter(|one| one.kind == "breaking").count();
    let refused = breaking > 0 && !common.accept_breaking;
    if !refused && !common.dry_run {
        for (path, text) in files {
            write(&common.dir.join(path), text)?;
        }
    }
    tell(common, report, refused)?;
    if refused {
        return Err(Failure::unsuccessful(format!(
            "{breaking} changes break callers, so nothing was written; look at them, then repeat with --accept-breaking"
        )));
    }
    Ok(())
}

fn tell(common: &Common, report: &Report, refused: bool) -> Outcome {
    for note in &report.notes {
        output::note(note);
    }
    if !report.differences.is_empty() || common.output.format() != Format::Table {
        let mut table = Table::new(&["CHANGE", "OPERATION", "PLACE", "WHAT"]);
        for one in &report.differences {
            table.row(vec![
                one.kind.to_owned(),
                one.operation.clone(),
                one.place.clone(),
                one.change.clone(),
            ]);
        }
        output::answer(common.output.format(), &table, report)?;
    }
    let what = report.resources.join(", ");
    let done = match (refused, common.dry_run) {
        (true, _) => return Ok(()),
        (false, true) => "would be written",
        (false, false) => "written",
    };
    output::note(format!("{what}: {} found", report.found.len()));
    for file in &report.files {
        output::note(format!("{done}: {}", common.dir.join(file).display()));
    }
    Ok(())
}

/// Writes a file as a whole or not at all.
pub(super) fn write(path: &Path, text: &[u8]) -> Outcome {
    let folder = path.parent().unwrap_or(Path::new("."));
    let cannot =
        |error: std::io::Error| Failure::unsuccessful(format!("cannot write {}: {error}", path.display()));
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path)).map_err(cannot)
}

/// A name for a resource, made of a title: `Pet Store (v2)` → `pet-store-v2`.
pub(super) fn name_of(title: &str) -> Option<String> {
    let mut name = String::new();
    for c in title.chars() {
        // `MeterData` is two words.
        let starts = c.is_uppercase() && name.ends_with(|last: char| last.is_ascii_lowercase());
        if (starts || !c.is_ascii_alphanumeric()) && !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        }
    }
    name.truncate(63);
    let name = name.trim_matches('-').to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_names() {
        for (title, name) in [
            ("Pet Store (v2)", Some("pet-store-v2")),
            ("MeterDataService", Some("meter-data-service")),
            ("forecast.v1.Forecast", Some("forecast-v1-forecast")),
            ("…", None),
        ] {
            assert_eq!(name_of(title).as_deref(), name, "{title}");
        }
    }
}
