//! The measured load, solar and wind power of a home, read from a table.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_plant::variation;

use crate::DeviceError;

/// Most problems that are listed; a file of the wrong kind has one per line.
const MAX_PROBLEMS: usize = 20;
/// What a 16-bit register in whole watts can hold.
pub(crate) const MAX_KW: f64 = 32.0;

/// Mean powers of consecutive steps. A gap is data: a row without a value.
#[derive(Debug)]
pub(super) struct Data {
    start: i64,
    step: i64,
    rows: Vec<Row>,
    has_wind: bool,
    variation: Option<Variation>,
}

/// Watts; load and generation are both zero or above here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) load: Option<i64>,
    pub(super) solar: Option<i64>,
    /// Of a wind turbine, where there is one.
    pub(super) wind: Option<i64>,
}

#[derive(Debug)]
struct Variation {
    seed: u64,
    piece: i64,
    /// The pieces of the row that was asked for last.
    cache: std::cell::RefCell<(Option<usize>, Vec<Row>)>,
}

impl Data {
    /// Reads `time,load_kw,solar_kw` and, where there is one, `wind_kw`; all problems at once, with their lines.
    pub(super) fn read(path: &Path) -> Result<Self, DeviceError> {
        let action = format!("read the data file `{}`", path.display());
        let file = std::fs::File::open(path).map_err(DeviceError::io(action))?;
        parse(file).map_err(|problems| {
            let lines = problems.iter().map(|problem| format!("{}: {problem}", path.display()));
            DeviceError::BadInput(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Adds variation within the rows, in pieces of `piece` seconds; a piece must divide the step of the data.
    pub(super) fn vary(&mut self, seed: u64, piece: u32) -> Result<(), DeviceError> {
        let piece = i64::from(piece);
        if self.step % piece != 0 || self.step / piece > 86_400 {
            let step = self.step;
            return Err(DeviceError::BadInput(format!(
                "--variation-step: {piece} s does not divide the data's step of {step} s"
            )));
        }
        self.variation = Some(Variation { seed, piece, cache: std::cell::RefCell::default() });
        Ok(())
    }

    /// Start of the first row, in seconds since 1970.
    pub(super) const fn start(&self) -> i64 {
        self.start
    }

    /// The largest generation, in watts.
    pub(super) fn peak_solar(&self) -> i64 {
        self.rows.iter().filter_map(|row| row.solar).max().unwrap_or(0)
    }

    /// The largest power of the wind turbine, in watts; none where there is none.
    pub(super) fn peak_wind(&self) -> Option<i64> {
        self.has_wind.then(|| self.rows.iter().filter_map(|row| row.wind).max().unwrap_or(0))
    }

    /// The powers in force at a time, and until when; no values outside the table.
    pub(super) fn at(&self, time: i64) -> (Row, i64) {
        let index = (time - self.start).div_euclid(self.step);
        let end = self.start + (index + 1) * self.step;
        let row = usize::try_from(index).ok().and_then(|index| self.rows.get(index).map(|row| (index, *row)));
        match (row, &self.variation) {
            (None, _) if time < self.start => (Row::default(), self.start),
            (None, _) => (Row::default(), i64::MAX),
            (Some((_, row)), None) => (row, end),
            (Some((index, row)), Some(variation)) => {
                let offset = (time - self.start).rem_euclid(self.step) / variation.piece;
                let piece_end = self.start + index as i64 * self.step + (offset + 1) * variation.piece;
                (variation.piece_of(index, row, self.step, offset as usize), piece_end)
            }
        }
    }
}

impl Variation {
    fn piece_of(&self, index: usize, row: Row, step: i64, offset: usize) -> Row {
        let mut cache = self.cache.borrow_mut();
        if cache.0 != Some(index) {
            let load = self.profile(self.seed, index, step, row.load);
            let solar = self.profile(self.seed ^ 0x501a_2b00, index, step, row.solar);
            let wind = self.profile(self.seed ^ 0x0b1e_5200, index, step, row.wind);
            let pieces = load.into_iter().zip(solar).zip(wind);
            let pieces = pieces.map(|((load, solar), wind)| Row { load, solar, wind }).collect();
            *cache = (Some(index), pieces);
        }
        cache.1.get(offset).copied().unwrap_or(row)
    }

    fn profile(&self, seed: u64, index: usize, step: i64, mean: Option<i64>) -> Vec<Option<i64>> {
        let pieces = u32::try_from(step / self.piece).unwrap_or(1);
        let Some(mean) = mean else { return vec![None; pieces as usize] };
        let powers = variation::profile(seed, index as u64, pieces, sos_plant::from_watts(mean));
        powers.into_iter().map(|power| Some(sos_plant::whole_watts(power))).collect()
    }
}

fn parse(input: impl std::io::Read) -> Result<Data, Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(input);
    let headers = reader.headers().map_err(|error| vec![error.to_string()])?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).ok_or_else(|| {
            let found = headers.iter().take(8).collect::<Vec<_>>().join(", ");
            vec![format!("line 1: no column `{name}`; needed are time, load_kw, solar_kw, found are {found}")]
        })
    };
    let wind = headers.iter().position(|header| header == "wind_kw");
    let columns = (column("time")?, column("load_kw")?, column("solar_kw")?, wind);
    let (mut times, mut problems) = (Vec::new(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(record) => match parse_row(&record, columns) {
                Ok(row) => times.push(row),
                Err(problem) => problems.push(problem),
            },
            Err(error) => problems.push(error.to_string()),
        }
        if problems.len() >= MAX_PROBLEMS {
            problems.push("further lines were not read".to_owned());
            return Err(problems);
        }
    }
    if problems.is_empty() { grid(&times, wind.is_some()) } else { Err(problems) }
}

type Parsed = (u64, i64, Row);

fn parse_row(
    record: &csv::StringRecord,
    (time, load, solar, wind): (usize, usize, usize, Option<usize>),
) -> Result<Parsed, String> {
    let line = record.position().map_or(0, csv::Position::line);
    let cell = |index: usize| record.get(index).unwrap_or("");
    let at: Timestamp = cell(time).parse().map_err(|_| {
        format!("line {line}, column time: expected RFC 3339 with an offset, found `{}`", cell(time))
    })?;
    let watts = |index: usize, name: &str, low: f64| match cell(index) {
        "" => Ok(None),
        text => match text.parse::<f64>() {
            Ok(kw) if kw >= low && kw <= MAX_KW => Ok(Some((kw * 1000.0).round() as i64)),
            _ => Err(format!(
                "line {line}, column {name}: expected {low}…{MAX_KW} kW or nothing, found `{text}`"
            )),
        },
    };
    // A solar inverter draws a little at night; the plant counts that as no generation.
    let row = Row {
        load: watts(load, "load_kw", 0.0)?,
        solar: watts(solar, "solar_kw", -1.0)?,
        wind: wind.map_or(Ok(None), |wind| watts(wind, "wind_kw", -1.0))?,
    };
    Ok((line, at.as_second(), row))
}

/// Puts rows on a regular grid; steps that are left out become rows without values.
fn grid(parsed: &[Parsed], has_wind: bool) -> Result<Data, Vec<String>> {
    let [(_, start, _), (_, second, _), ..] = parsed else {
        return Err(vec!["at least two rows are needed, to know the step".to_owned()]);
    };
    let (start, step) = (*start, second - start);
    if step <= 0 {
        return Err(vec!["line 3, column time: times must increase".to_owned()]);
    }
    let mut rows: Vec<Row> = Vec::with_capacity(parsed.len());
    for (line, time, row) in parsed {
        let index = (time - start) / step;
        if (time - start) % step != 0 || index < rows.len() as i64 {
            return Err(vec![format!(
                "line {line}, column time: not a later multiple of the step of {step} s"
            )]);
        }
        if index > 10_000_000 {
            return Err(vec![format!("line {line}, column time: the gap before it is too long")]);
        }
        rows.resize(index as usize, Row::default());
        rows.push(*row);
    }
    Ok(Data { start, step, rows, has_wind, variation: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "time,load_kw,solar_kw\n";

    fn read(rows: &str) -> Result<Data, Vec<String>> {
        parse(format!("{HEAD}{rows}").as_bytes())
    }

    #[test]
    fn a_gap_is_a_row_without_values() {
        let data =
            read("2016-08-01T00:00:00Z,1,0\n2016-08-01T01:00:00Z,2,\n2016-08-01T03:00:00Z,3,1.5\n").unwrap();
        let hour = |n: i64| data.at(data.start() + n * 3600).0;
        assert_eq!(hour(1), Row { load: Some(2000), ..Row::default() });
        assert_eq!(hour(2), Row::default());
        assert_eq!(hour(3), Row { load: Some(3000), solar: Some(1500), wind: None });
        assert_eq!(hour(4), Row::default());
        assert_eq!(data.at(data.start() - 1), (Row::default(), data.start()));
    }

    #[test]
    fn every_wrong_line_is_named() {
        let problems =
            read("yesterday,1,0\n2016-08-01T01:00:00Z,NaN,0\n2016-08-01T02:00:00Z,-1,x\n").unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[0].starts_with("line 2, column time"), "{problems:?}");
        assert!(problems[1].starts_with("line 3, column load_kw"), "{problems:?}");
        assert!(parse(&b"a,b\n1,2\n"[..]).unwrap_err()[0].contains("no column `time`"));
        assert!(read("2016-08-01T01:00:00Z,1,0\n2016-08-01T00:00:00Z,1,0\n").is_err());
        assert!(read("2016-08-01T01:00:00Z,1,0\n").is_err());
        assert!(parse(&[0xff, 0xfe, 0x00, 0x01][..]).is_err());
    }

    #[test]
    fn variation_keeps_the_energy_of_each_row() {
        let mut data = read("2016-08-01T00:00:00Z,1.234,0.5\n2016-08-01T01:00:00Z,2,0\n").unwrap();
        assert!(data.vary(3, 7).is_err());
        data.vary(3, 60).unwrap();
        let pieces: Vec<_> = (0..60).map(|n| data.at(data.start() + n * 60).0).collect();
        assert_eq!(pieces.iter().filter_map(|row| row.load).sum::<i64>(), 1234 * 60);
        assert_eq!(pieces.iter().filter_map(|row| row.solar).sum::<i64>(), 500 * 60);
        assert_eq!(data.at(data.start() + 61).1, data.start() + 120);
    }
}
