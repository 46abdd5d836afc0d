//! Tables that a played device reads: CSV with named columns, every wrong line told at once.

use std::ops::RangeInclusive;
use std::path::Path;

use crate::DeviceError;

/// Most problems that are listed.
const MAX_PROBLEMS: usize = 20;

/// A row with the names of its columns.
pub(crate) struct Row<'a> {
    headers: &'a csv::StringRecord,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    /// The text of a column; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        let place = self.headers.iter().position(|header| header == name);
        place.and_then(|place| self.record.get(place)).unwrap_or("")
    }

    /// A number of a column.
    ///
    /// # Errors
    /// What was expected, in words.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
        let text = self.text(name);
        match text.parse::<f64>() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(format!(
                "column {name}: expected a number of {}…{}, found `{text}`",
                range.start(),
                range.end()
            )),
        }
    }

    /// Whether there is such a column.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header == name)
    }
}

/// Reads a table, row by row.
///
/// # Errors
/// When the file cannot be read, a needed column is not there, or rows are wrong: each with its line.
pub(crate) fn read<T>(
    path: &Path,
    needed: &[&str],
    mut each: impl FnMut(&Row<'_>) -> Result<T, String>,
) -> Result<Vec<T>, DeviceError> {
    let action = format!("read `{}`", path.display());
    let file = std::fs::File::open(path).map_err(DeviceError::io(action))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(file);
    let told = |problems: Vec<String>| {
        let lines = problems.iter().map(|problem| format!("{}: {problem}", path.display()));
        DeviceError::BadInput(lines.collect::<Vec<_>>().join("\n"))
    };
    let headers = reader.headers().map_err(|error| told(vec![error.to_string()]))?.clone();
    let missing = needed.iter().filter(|name| !headers.iter().any(|header| header == **name));
    let missing: Vec<String> = missing
        .map(|name| {
            let found = headers.iter().take(8).collect::<Vec<_>>().join(", ");
            format!("line 1: no column `{name}`; needed are {}, found are {found}", needed.join(", "))
        })
        .collect();
    if !missing.is_empty() {
        return Err(told(missing));
    }
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let row = record.map_err(|error| error.to_string()).and_then(|record| {
            let line = record.position().map_or(0, csv::Position::line);
            each(&Row { headers: &headers, record: &record }).map_err(|why| format!("line {line}: {why}"))
        });
        match row {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
        if problems.len() >= MAX_PROBLEMS {
            problems.push("further lines were not read".to_owned());
            break;
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(told(problems)) }
}
