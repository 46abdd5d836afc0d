//! Series in CSV files: a header, a column of times, columns of numbers; read as a stream onto a regular grid.
//!
//! What is data and what is a problem: a gap, a repeated time, an hour that daylight saving repeats or leaves out
//! are data and become readings or [`Missing`] with a reason, counted in [`Notes`]. Text in a number column, NaN,
//! infinity, times that go back and wrong headers are problems with line and column.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read;
use std::rc::Rc;

use csv::ByteRecord;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use sos_units::{Missing, Reading, TimeGrid};

use crate::kinds::{FileSource, SignConvention, SignalUnit};
use crate::problem::{Position, Problem, did_you_mean, known_list, shown, too_large};

/// The largest series file that is read, in bytes (256 MiB).
pub const MAX_SERIES_BYTES: u64 = 256 << 20;
/// The most steps of a grid: a year by seconds does not fit, ten years by minutes do.
pub const MAX_STEPS: usize = 10_000_000;
/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// The most problems that are listed for one file.
const MAX_PROBLEMS: usize = 50;

/// What to read from a file.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Display path of the file.
    pub path: &'a str,
    /// Name of the column with the times; a time is the start of its step.
    pub time: &'a str,
    /// Names of the columns with the values.
    pub values: &'a [&'a str],
    /// Zone of times without offset; without it such times are a problem.
    pub zone: Option<&'a TimeZone>,
    /// Length of a step; without it the most frequent distance of two times.
    pub step: Option<SignedDuration>,
}

/// Columns on a regular grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The steps.
    pub grid: TimeGrid,
    /// The values of each column, one for each step of the grid.
    pub columns: BTreeMap<String, Vec<Reading<f64>>>,
    /// What was unusual.
    pub notes: Notes,
}

/// One column on a regular grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The steps.
    pub grid: TimeGrid,
    /// The values, one for each step of the grid, in the canonical unit and with generation positive.
    pub values: Vec<Reading<f64>>,
    /// What was unusual.
    pub notes: Notes,
}

/// What was unusual in a file, in rows or steps. None of it is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Steps for which there is no row.
    pub gaps: usize,
    /// Rows with the time of the row before. Values that differ make the step [`Missing::Invalid`].
    pub repeated: usize,
    /// Rows with a local time that daylight saving leaves out; they are passed over.
    pub nonexistent: usize,
    /// Rows between two steps; they count for the step they fall into when it has no row of its own.
    pub off_grid: usize,
}

/// Reads the column of a signal's file: unit scaled to the canonical one, generation positive.
///
/// # Errors
/// All problems, as for [`read_table`].
pub fn read_series(
    path: &str,
    source: &FileSource,
    unit: &SignalUnit,
    zone: Option<&TimeZone>,
    step: Option<SignedDuration>,
    input: impl Read,
) -> Result<Series, Vec<Problem>> {
    let columns = Columns { path, time: &source.time, values: &[source.column.as_str()], zone, step };
    let table = read_table(&columns, input)?;
    let values = signal_values(&table, source, unit).unwrap_or_default();
    Ok(Series { grid: table.grid, values, notes: table.notes })
}

/// The values of a signal in a table that holds its column: in the canonical unit and with generation positive.
#[must_use]
pub fn signal_values(table: &Table, source: &FileSource, unit: &SignalUnit) -> Option<Vec<Reading<f64>>> {
    let sign = if source.sign == Some(SignConvention::Consumption) { -1.0 } else { 1.0 };
    let factor = sign * unit.scale;
    // Adding zero turns -0 into 0.
    let scaled = |value: &Reading<f64>| value.map(|value| value * factor + 0.0);
    Some(table.columns.get(&source.column)?.iter().map(scaled).collect())
}

/// Reads columns as a stream; memory grows with the rows of the wanted columns only.
///
/// # Errors
/// All problems up to a bound: unreadable input, too large, wrong header, text in a number column, NaN or infinity,
/// times that go back or cannot be read, a step that cannot be found, too many steps.
pub fn read_table(columns: &Columns<'_>, input: impl Read) -> Result<Table, Vec<Problem>> {
    let since_record = Rc::new(Cell::new(0));
    let bounded = Bounded { input, total: 0, since_record: Rc::clone(&since_record) };
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bounded);
    let mut record = ByteRecord::new();
    let mut rows = Rows::new(columns);
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => rows.record(&record),
            Err(error) => {
                rows.problems.push(read_problem(columns.path, &error));
                return Err(rows.problems);
            }
        }
        since_record.set(0);
        if rows.stopped {
            break;
        }
    }
    rows.finish()
}

/// Markers that [`Bounded`] passes through the CSV reader.
const TOO_LARGE: &str = "too large";
const LINE_TOO_LONG: &str = "line too long";

/// A reader that ends when a bound is crossed, so that no input can fill the memory.
struct Bounded<R> {
    input: R,
    total: u64,
    since_record: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.total += read as u64;
        self.since_record.set(self.since_record.get() + read);
        if self.total > MAX_SERIES_BYTES {
            return Err(std::io::Error::other(TOO_LARGE));
        }
        if self.since_record.get() > MAX_LINE_BYTES {
            return Err(std::io::Error::other(LINE_TOO_LONG));
        }
        Ok(read)
    }
}

fn read_problem(path: &str, error: &csv::Error) -> Problem {
    if let csv::ErrorKind::Io(io) = error.kind() {
        let text = io.to_string();
        return match text.as_str() {
            TOO_LARGE => too_large(path, MAX_SERIES_BYTES + 1, MAX_SERIES_BYTES),
            LINE_TOO_LONG => {
                let message = format!("a line of more than {} KiB", MAX_LINE_BYTES >> 10);
                Problem::in_file(
                    path,
                    message,
                    "expected CSV with short lines; check for a quote that is not closed",
                )
            }
            _ => Problem::in_file(path, format!("cannot be read: {}", shown(&text)), ""),
        };
    }
    Problem::in_file(
        path,
        format!("not CSV: {}", shown(&error.to_string())),
        "expected CSV with a header line",
    )
}

/// The rows read so far.
struct Rows<'a> {
    want: &'a Columns<'a>,
    /// Index of the time column and of each value column, once the header was read.
    header: Option<(usize, Vec<usize>)>,
    width: usize,
    times: Vec<i64>,
    values: Vec<Vec<Reading<f64>>>,
    notes: Notes,
    problems: Vec<Problem>,
    stopped: bool,
}

impl<'a> Rows<'a> {
    fn new(want: &'a Columns<'a>) -> Self {
        Self {
            want,
            header: None,
            width: 0,
            times: Vec::new(),
            values: vec![Vec::new(); want.values.len()],
            notes: Notes::default(),
            problems: Vec::new(),
            stopped: false,
        }
    }

    fn report(&mut self, position: Position, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::at(self.want.path, position, message, help));
        if self.problems.len() == MAX_PROBLEMS {
            let message = format!("more than {MAX_PROBLEMS} problems in this file");
            self.problems.push(Problem::at(
                self.want.path,
                position,
                message,
                "the rest is not listed; correct these first",
            ));
            self.stopped = true;
        }
    }

    fn record(&mut self, record: &ByteRecord) {
        match self.header.take() {
            None => {
                self.header = self.read_header(record);
                self.stopped = self.header.is_none();
            }
            Some((time, values)) => {
                self.row(record, time, &values);
                self.header = Some((time, values));
            }
        }
    }

    fn read_header(&mut self, record: &ByteRecord) -> Option<(usize, Vec<usize>)> {
        let mut names = Vec::with_capacity(record.len());
        for (i, field) in record.iter().enumerate() {
            let clean =
                std::str::from_utf8(field).ok().filter(|text| !text.contains(|c: char| c.is_control()));
            let Some(name) = clean else {
                self.report(
                    place(record, i),
                    "the header is not text",
                    "expected CSV as UTF-8 with a header line",
                );
                return None;
            };
            names.push(name.trim());
        }
        self.width = names.len();
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        names.iter().enumerate().for_each(|(i, name)| places.entry(name).or_default().push(i));
        let time = self.find(record, &places, &names, self.want.time);
        let values: Vec<Option<usize>> =
            self.want.values.iter().map(|name| self.find(record, &places, &names, name)).collect();
        Some((time?, values.into_iter().collect::<Option<_>>()?))
    }

    /// The index of a column that must be there once.
    fn find(
        &mut self,
        record: &ByteRecord,
        places: &BTreeMap<&str, Vec<usize>>,
        names: &[&str],
        wanted: &str,
    ) -> Option<usize> {
        match places.get(wanted.trim()).map(Vec::as_slice).unwrap_or_default() {
            [one] => Some(*one),
            [] => {
                let help = format!(
                    "{}{}",
                    did_you_mean(wanted, names.iter().copied()),
                    known_list(names.iter().copied())
                );
                self.report(place(record, 0), format!("no column is named \"{}\"", shown(wanted)), help);
                None
            }
            [_, second, ..] => {
                let message = format!("two columns are named \"{}\"", shown(wanted));
                self.report(place(record, *second), message, "expected different names");
                None
            }
        }
    }

    fn row(&mut self, record: &ByteRecord, time: usize, values: &[usize]) {
        if record.len() != self.width {
            let message = format!("{} fields, but the header has {}", record.len(), self.width);
            self.report(place(record, 0), message, "expected one field for each column");
            return;
        }
        let seconds = self.time(record, time);
        let readings: Vec<Option<Reading<f64>>> = values.iter().map(|&i| self.value(record, i)).collect();
        let (Some(seconds), Some(readings)) = (seconds, readings.into_iter().collect::<Option<Vec<_>>>())
        else {
            return;
        };
        if self.times.last() == Some(&seconds) {
            self.notes.repeated += 1;
            for (column, new) in self.values.iter_mut().zip(readings) {
                if let Some(old) = column.last_mut() {
                    *old = merged(*old, new);
                }
            }
            return;
        }
        if self.times.len() >= MAX_STEPS {
            self.report(
                place(record, time),
                format!("more than {MAX_STEPS} rows"),
                "expected a shorter or coarser series",
            );
            self.stopped = true;
            return;
        }
        self.times.push(seconds);
        for (column, reading) in self.values.iter_mut().zip(readings) {
            column.push(reading);
        }
    }

    /// The time of a row in seconds; `None` when it was reported or passed over.
    fn time(&mut self, record: &ByteRecord, index: usize) -> Option<i64> {
        let position = place(record, index);
        let text = String::from_utf8_lossy(record.get(index).unwrap_or_default()).trim().to_owned();
        let before = self.times.last().copied();
        let time = match parse_time(&text, self.want.zone, before) {
            Ok(time) => time,
            Err(WrongTime::Nonexistent) => {
                self.notes.nonexistent += 1;
                return None;
            }
            Err(WrongTime::Unreadable(message)) => {
                self.report(position, message, "expected RFC 3339, such as 2016-08-01T00:00:00-08:00");
                return None;
            }
        };
        if time.subsec_nanosecond() != 0 {
            self.report(
                position,
                format!("{} has a fraction of a second", shown(&text)),
                "expected whole seconds",
            );
            return None;
        }
        let seconds = time.as_second();
        if let Some(before) = before.filter(|before| seconds < *before) {
            let earlier = Timestamp::from_second(before).map(|t| t.to_string()).unwrap_or_default();
            let message = format!("{} is before the time of an earlier row", shown(&text));
            self.report(position, message, format!("expected {earlier} or later; sort the rows by time"));
            return None;
        }
        Some(seconds)
    }

    /// The value of a cell; an empty one is a gap. `None` when it was reported.
    fn value(&mut self, record: &ByteRecord, index: usize) -> Option<Reading<f64>> {
        let cell = record.get(index).unwrap_or_default().trim_ascii();
        if cell.is_empty() {
            return Some(Err(Missing::Gap));
        }
        let text = String::from_utf8_lossy(cell);
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => return Some(Ok(value)),
            Ok(_) => {
                let help = "expected a number; leave the cell empty where there is no value";
                self.report(place(record, index), format!("{} is not a finite number", shown(&text)), help);
            }
            Err(_) => {
                let comma = text.replace(',', ".").parse::<f64>().is_ok();
                let help = if comma {
                    "expected a number with a decimal point"
                } else {
                    "expected a number, or an empty cell"
                };
                self.report(place(record, index), format!("\"{}\" is not a number", shown(&text)), help);
            }
        }
        None
    }

    fn finish(mut self) -> Result<Table, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        if self.header.is_none() {
            return Err(vec![Problem::in_file(
                self.want.path,
                "the file is empty",
                "expected CSV with a header line",
            )]);
        }
        let (Some(first), Some(last)) = (self.times.first().copied(), self.times.last().copied()) else {
            return Err(vec![Problem::in_file(
                self.want.path,
                "no row has a time",
                "expected rows below the header",
            )]);
        };
        let step = self.step()?;
        // Whole steps between two times in range always fit.
        let len = usize::try_from((last - first) / step).unwrap_or(usize::MAX).saturating_add(1);
        if len > MAX_STEPS {
            let message = format!("{len} steps of {step} s from the first to the last row");
            return Err(vec![Problem::in_file(
                self.want.path,
                message,
                format!("expected at most {MAX_STEPS}; check for a wrong time"),
            )]);
        }
        let start = Timestamp::from_second(first).unwrap_or(Timestamp::UNIX_EPOCH);
        let grid = TimeGrid::new(start, SignedDuration::from_secs(step), len)
            .map_err(|error| vec![Problem::in_file(self.want.path, error.to_string(), "")])?;
        let mut source = vec![usize::MAX; len];
        for (row, time) in self.times.iter().enumerate() {
            let slot = usize::try_from((time - first) / step).unwrap_or(usize::MAX).min(len - 1);
            self.notes.off_grid += usize::from((time - first) % step != 0);
            if source[slot] == usize::MAX {
                source[slot] = row;
            }
        }
        self.notes.gaps = source.iter().filter(|row| **row == usize::MAX).count();
        let spread = |values: &Vec<Reading<f64>>| {
            source.iter().map(|&row| values.get(row).copied().unwrap_or(Err(Missing::Gap))).collect()
        };
        let names = self.want.values.iter().map(|name| (*name).to_owned());
        let columns = names.zip(self.values.iter().map(spread)).collect();
        Ok(Table { grid, columns, notes: self.notes })
    }

    /// The declared step, or the most frequent distance of two times, the smaller one of equals.
    fn step(&self) -> Result<i64, Vec<Problem>> {
        if let Some(step) = self.want.step {
            let whole = step.as_secs() > 0 && step.subsec_nanos() == 0;
            let wrong = || {
                Problem::in_file(
                    self.want.path,
                    "the step is not a positive number of whole seconds",
                    "expected a step such as 15 min",
                )
            };
            return if whole { Ok(step.as_secs()) } else { Err(vec![wrong()]) };
        }
        let mut distances: BTreeMap<i64, usize> = BTreeMap::new();
        for pair in self.times.windows(2) {
            *distances.entry(pair[1] - pair[0]).or_default() += 1;
        }
        let most = distances.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
        most.map(|(step, _)| *step).ok_or_else(|| {
            vec![Problem::in_file(
                self.want.path,
                "the step cannot be found from one row",
                "expected two rows, or a declared step",
            )]
        })
    }
}

/// Two values of one time: the only one, the common one, or none because they contradict.
fn merged(old: Reading<f64>, new: Reading<f64>) -> Reading<f64> {
    match (old, new) {
        (Ok(a), Ok(b)) if a.total_cmp(&b).is_eq() => Ok(a),
        (Err(Missing::Gap), other) | (other, Err(Missing::Gap)) => other,
        _ => Err(Missing::Invalid),
    }
}

/// What is wrong with a local time where no zone is known.
pub const NO_OFFSET: &str = "has no offset";

enum WrongTime {
    /// A local time that daylight saving leaves out.
    Nonexistent,
    /// Not a time.
    Unreadable(String),
}

/// A time with offset, or a local time: of a repeated hour the first unless the row before has passed it.
fn parse_time(text: &str, zone: Option<&TimeZone>, before: Option<i64>) -> Result<Timestamp, WrongTime> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let Ok(local) = text.parse::<DateTime>() else {
        return Err(WrongTime::Unreadable(format!("\"{}\" is not a time", shown(text))));
    };
    let Some(zone) = zone else {
        return Err(WrongTime::Unreadable(format!("{} {NO_OFFSET}", shown(text))));
    };
    let out_of_range = |_| WrongTime::Unreadable(format!("{} is out of range", shown(text)));
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).map_err(out_of_range),
        AmbiguousOffset::Gap { .. } => Err(WrongTime::Nonexistent),
        AmbiguousOffset::Fold { before: first, after: second } => {
            let early = first.to_timestamp(local).map_err(out_of_range)?;
            if before.is_some_and(|before| early.as_second() <= before) {
                return second.to_timestamp(local).map_err(out_of_range);
            }
            Ok(early)
        }
    }
}

/// Line and column of a field, from the fields before it; quotes count where a field needs them.
fn place(record: &ByteRecord, index: usize) -> Position {
    let width = |field: &[u8]| {
        let quotes = field.iter().filter(|b| **b == b'"').count();
        let quoted = quotes > 0 || field.iter().any(|b| matches!(b, b',' | b'\n' | b'\r'));
        String::from_utf8_lossy(field).chars().count() + quotes + if quoted { 2 } else { 0 } + 1
    };
    let column = 1 + record.iter().take(index).map(width).sum::<usize>();
    let line = record.position().map_or(1, csv::Position::line);
    Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, zone: Option<&str>) -> Result<Table, Vec<String>> {
        let zone = zone.map(|name| TimeZone::get(name).unwrap());
        let columns =
            Columns { path: "a.csv", time: "time", values: &["kw"], zone: zone.as_ref(), step: None };
        read_table(&columns, text.as_bytes()).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_gap_is_missing_and_the_step_is_the_usual_distance() {
        let table = read(
            "time,kw\n2020-01-01T00:00Z,1\n2020-01-01T00:15Z,2\n2020-01-01T00:30Z,\n2020-01-01T01:00Z,4\n",
            None,
        );
        let table = table.unwrap();
        assert_eq!(table.grid.step(), SignedDuration::from_mins(15));
        let gap = Err(Missing::Gap);
        assert_eq!(table.columns["kw"], [Ok(1.0), Ok(2.0), gap, gap, Ok(4.0)]);
        assert_eq!(table.notes, Notes { gaps: 1, ..Notes::default() });
    }

    #[test]
    fn the_hour_that_autumn_repeats_is_two_hours() {
        let rows = "2020-10-25T01:00,1\n2020-10-25T02:00,2\n2020-10-25T02:00,3\n2020-10-25T03:00,4\n";
        let table = read(&format!("time,kw\n{rows}"), Some("Europe/Berlin")).unwrap();
        assert_eq!(table.columns["kw"], [Ok(1.0), Ok(2.0), Ok(3.0), Ok(4.0)]);
        assert_eq!(table.notes, Notes::default());
    }

    #[test]
    fn the_hour_that_spring_leaves_out_is_passed_over() {
        let rows = "2020-03-29T01:00,1\n2020-03-29T02:00,2\n2020-03-29T03:00,3\n2020-03-29T04:00,4\n";
        let table = read(&format!("time,kw\n{rows}"), Some("Europe/Berlin")).unwrap();
        assert_eq!(table.columns["kw"], [Ok(1.0), Ok(3.0), Ok(4.0)]);
        assert_eq!(table.notes.nonexistent, 1);
    }

    #[test]
    fn repeated_times_agree_or_are_invalid() {
        let rows = "2020-01-01T00:00Z,1\n2020-01-01T00:00Z,1\n2020-01-01T01:00Z,2\n2020-01-01T01:00Z,3\n2020-01-01T02:00Z,4\n";
        let table = read(&format!("time,kw\n{rows}"), None).unwrap();
        assert_eq!(table.columns["kw"], [Ok(1.0), Err(Missing::Invalid), Ok(4.0)]);
        assert_eq!(table.notes.repeated, 2);
    }

    #[test]
    fn a_far_away_time_is_refused_before_the_memory_is() {
        let wrong = read(
            "time,kw\n1970-01-01T00:00:00Z,1\n1970-01-01T00:00:01Z,1\n1970-01-01T00:00:02Z,1\n9000-01-01T00:00Z,1\n",
            None,
        );
        assert!(wrong.unwrap_err()[0].contains("steps of 1 s from the first to the last row"));
    }

    #[test]
    fn an_endless_line_and_an_endless_file_are_refused() {
        let columns = Columns { path: "a.csv", time: "time", values: &["kw"], zone: None, step: None };
        let endless = |byte: u8| read_table(&columns, std::io::repeat(byte)).unwrap_err()[0].to_string();
        assert!(endless(b'"').contains("a line of more than 1024 KiB"));
        assert!(endless(b'7').contains("a line of more than 1024 KiB"));
        let lines = Lines(0);
        let wrong = read_table(&columns, b"time,kw\n".chain(lines)).unwrap_err();
        assert!(
            wrong[0].to_string().contains("the file has 256.0 MiB; expected at most 256 MiB"),
            "{}",
            wrong[0]
        );
    }

    /// Endless valid rows of one time.
    struct Lines(usize);
    impl Read for Lines {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            const LINE: &[u8] = b"2020-01-01T00:00:00Z,1\n";
            for byte in buffer.iter_mut() {
                *byte = LINE[self.0 % LINE.len()];
                self.0 += 1;
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn the_unit_is_scaled_and_consumption_turned_into_generation() {
        let source = FileSource {
            path: "a.csv".into(),
            column: "w".into(),
            time: "time".into(),
            sign: Some(SignConvention::Consumption),
        };
        let unit = SignalUnit::new("W").unwrap();
        let text = "time,w\n2020-01-01T00:00Z,1500\n2020-01-01T01:00Z,0\n";
        let series = read_series("a.csv", &source, &unit, None, None, text.as_bytes()).unwrap();
        assert_eq!(series.values, [Ok(-1.5), Ok(0.0)]);
    }
}
