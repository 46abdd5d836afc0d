//! The file: which columns it has, and which of them may help.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sos_model::Problem;
use sos_model::series::{Columns, MAX_SERIES_BYTES, Table, read_table};
use sos_units::{Missing, Reading, TimeGrid};

use super::Args;
use crate::outcome::Failure;
use crate::output::note;

/// Names that a column with times usually has.
const TIME_NAMES: [&str; 9] =
    ["time", "time_utc", "timestamp", "datetime", "date", "date_time", "period", "ds", "valid_at"];
/// Rows that are looked at to see whether another column holds numbers.
const SAMPLE_ROWS: usize = 200;

/// Another column.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) known_ahead: bool,
    pub(crate) values: Vec<Reading<f64>>,
}

/// The file on a regular grid.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) path: String,
    pub(crate) name: String,
    grid: TimeGrid,
    /// `NAN` where missing.
    pub(crate) target: Vec<f64>,
    pub(crate) covariates: Vec<Column>,
    /// Columns whose day the target begins with; `NAN` where missing.
    pub(crate) siblings: Vec<(String, Vec<f64>)>,
    pub(crate) zone: TimeZone,
}

impl Input {
    /// Reads target, columns known ahead and other columns of numbers.
    pub(crate) fn read(args: &Args) -> Result<Self, Failure> {
        let path = args.file.display().to_string();
        let zone = match &args.zone {
            Some(name) => TimeZone::get(name).map_err(|_| {
                Failure::input(format!(
                    "--zone {name}: no such time zone; expected a name such as Europe/Luxembourg"
                ))
            })?,
            None => TimeZone::UTC,
        };
        let bytes = read_bytes(args, &path)?;
        let header = Header::read(&bytes);
        let time = args.time.clone().unwrap_or_else(|| header.time());
        let mut wanted = vec![args.target.clone()];
        for name in args.known.iter().filter(|name| !name.is_empty()) {
            if !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        let known = wanted.len();
        for name in args.siblings.iter().filter(|name| !name.is_empty()) {
            check_sibling(args, name)?;
            if !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        let strict = wanted.len();
        let passed_over = |name: &String| {
            *name == time || wanted.contains(name) || args.ignore.contains(name) || name.is_empty()
        };
        let others: Vec<String> = header.numbers.iter().filter(|name| !passed_over(name)).cloned().collect();
        wanted.extend(others);
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let columns = Columns { path: &path, time: &time, values: &names, zone: Some(&zone), step: None };
        let table = read_table(&columns, Cursor::new(&bytes)).map_err(|problems| bad(&problems))?;
        Self::from_table(path, table, &wanted, known..strict, zone)
    }

    fn from_table(
        path: String,
        mut table: Table,
        wanted: &[String],
        siblings: std::ops::Range<usize>,
        zone: TimeZone,
    ) -> Result<Self, Failure> {
        let mut take = |name: &String| table.columns.remove(name).unwrap_or_default();
        let target: Vec<f64> = take(&wanted[0]).into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        // A series that has not begun yet can begin with the day of its siblings.
        if siblings.is_empty() && target.iter().all(|v| v.is_nan()) {
            let why = if table.notes.repeated > 0 {
                " that is not contradicted by a row of the same time"
            } else {
                ""
            };
            let name = &wanted[0];
            return Err(Failure::input(format!(
                "{path}: column \"{name}\" has no value{why}; expected at least one"
            )));
        }
        let (mut covariates, mut lending) = (Vec::new(), Vec::new());
        for (at, name) in wanted.iter().enumerate().skip(1) {
            let values = take(name);
            if siblings.contains(&at) {
                let values = values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect();
                lending.push((name.clone(), values));
            } else {
                let known_ahead = at < siblings.start;
                covariates.push(Column { name: name.clone(), known_ahead, values });
            }
        }
        let notes = table.notes;
        let unusual = [
            (notes.gaps, "steps without a row"),
            (notes.repeated, "rows with the time of the row before"),
            (notes.nonexistent, "rows with a local time that does not exist"),
            (notes.off_grid, "rows between two steps"),
        ];
        let unusual: Vec<String> =
            unusual.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if !unusual.is_empty() {
            note(format_args!("{path}: {}", unusual.join(", ")));
        }
        let step = table.grid.step().as_secs();
        if step <= 0 || 86_400 % step != 0 {
            let length = sos_model::duration_text(table.grid.step());
            return Err(Failure::input(format!(
                "{path}: rows are {length} apart, which does not divide a day; expected for example 1 min, 15 min or 1 h"
            )));
        }
        Ok(Self {
            path,
            name: wanted[0].clone(),
            grid: table.grid,
            target,
            covariates,
            siblings: lending,
            zone,
        })
    }

    pub(crate) fn step(&self) -> SignedDuration {
        self.grid.step()
    }

    pub(crate) fn per_day(&self) -> usize {
        usize::try_from(86_400 / self.step().as_secs().max(1)).unwrap_or(1).max(1)
    }

    pub(crate) fn rows(&self) -> usize {
        self.grid.len()
    }

    pub(crate) fn time(&self, row: usize) -> Timestamp {
        self.grid.at(row)
    }

    /// What tells the kind of series as known when `row` was complete: the target, or a sibling while the target is young.
    pub(crate) fn telling(&self, row: usize) -> &[f64] {
        let known = |values: &[f64]| values[..=row].iter().filter(|v| v.is_finite()).count();
        let young = known(&self.target) < 3 * self.per_day();
        let sibling = self.siblings.iter().map(|(_, values)| values).max_by_key(|values| known(values));
        &sibling.filter(|_| young).unwrap_or(&self.target)[..=row]
    }

    pub(crate) fn reading(&self, row: usize) -> Reading<f64> {
        self.target.get(row).copied().filter(|v| v.is_finite()).ok_or(Missing::Gap)
    }

    /// The last row with a value; the last one when there is none.
    pub(crate) fn last_row(&self) -> usize {
        self.target.iter().rposition(|v| v.is_finite()).unwrap_or(self.rows().saturating_sub(1))
    }

    /// The last row at or before a time.
    pub(crate) fn row_at(&self, option: &str, text: &str) -> Result<usize, Failure> {
        let local = || text.parse::<DateTime>().ok().and_then(|t| self.zone.to_timestamp(t).ok());
        let Some(time) = text.parse::<Timestamp>().ok().or_else(local) else {
            return Err(Failure::input(format!(
                "{option} {text}: not a time; expected RFC 3339, such as {}",
                self.time(self.last_row())
            )));
        };
        if time < self.grid.start() || time >= self.grid.end() {
            return Err(Failure::input(format!(
                "{option} {text}: {} has rows from {} to {}",
                self.path,
                self.grid.start(),
                self.time(self.rows() - 1)
            )));
        }
        Ok(self.grid.index_of(time).unwrap_or(self.rows() - 1))
    }
}

/// A sibling is nothing else at the same time.
fn check_sibling(args: &Args, name: &String) -> Result<(), Failure> {
    let other = if *name == args.target {
        "is the target"
    } else if args.known.contains(name) {
        "is given with --known too"
    } else if args.ignore.contains(name) {
        "is given with --ignore too"
    } else {
        return Ok(());
    };
    Err(Failure::input(format!("--siblings {name}: this column {other}; expected columns of similar series")))
}

fn bad(problems: &[Problem]) -> Failure {
    Failure::BadInput(problems.iter().map(ToString::to_string).collect())
}

fn read_bytes(args: &Args, path: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let cannot = |error: std::io::Error| Failure::input(format!("{path}: cannot be read: {error}"));
    let limit = MAX_SERIES_BYTES + 1;
    if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        let file = File::open(&args.file).map_err(cannot)?;
        BufReader::new(file).take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    }
    if bytes.len() as u64 > MAX_SERIES_BYTES {
        return Err(bad(&[sos_model::too_large(path, bytes.len() as u64, MAX_SERIES_BYTES)]));
    }
    Ok(bytes)
}

/// Column names, and which columns hold numbers as far as can be seen.
struct Header {
    names: Vec<String>,
    numbers: Vec<String>,
}

impl Header {
    fn read(bytes: &[u8]) -> Self {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let names: Vec<String> = reader
            .byte_headers()
            .map(|h| h.iter().map(|f| String::from_utf8_lossy(f).trim().to_owned()).collect())
            .unwrap_or_default();
        let rows: Vec<csv::ByteRecord> =
            reader.byte_records().take(SAMPLE_ROWS).map_while(Result::ok).collect();
        let cells = |at: usize| {
            rows.iter()
                .filter_map(move |row| row.get(at))
                .map(|cell| String::from_utf8_lossy(cell.trim_ascii()).into_owned())
        };
        let is_number = |text: String| text.is_empty() || text.parse::<f64>().is_ok_and(f64::is_finite);
        let once = |name: &String| names.iter().filter(|n| *n == name).count() == 1;
        let numbers = names
            .iter()
            .enumerate()
            .filter(|(at, name)| once(name) && cells(*at).all(is_number) && cells(*at).any(|c| !c.is_empty()))
            .map(|(_, name)| name.clone())
            .collect();
        Self { names, numbers }
    }

    fn time(&self) -> String {
        let usual = |name: &&String| TIME_NAMES.contains(&name.to_lowercase().as_str());
        self.names.iter().find(usual).or(self.names.first()).cloned().unwrap_or_default()
    }
}
