//! The forecasts as rows.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Issued;
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// Prints one row for each step of each forecast.
pub(crate) fn print(format: Format, issued: &[Issued]) -> Outcome {
    match format {
        Format::Csv => output::text(&csv(issued)),
        Format::Table => output::text(&aligned(&csv(issued))),
        Format::Json | Format::Yaml => output::structured(format, &values(issued)),
    }
}

fn csv(issued: &[Issued]) -> String {
    let mut text = String::from("issued_at,valid_at,mean");
    for (q, _) in issued.first().map(|i| i.forecast.quantiles.as_slice()).unwrap_or_default() {
        let _ = write!(text, ",q{q}");
    }
    text.push_str(",method\n");
    for Issued { at, forecast } in issued {
        for (step, mean) in forecast.mean.iter().enumerate() {
            let _ = write!(text, "{at},{},{}", forecast.grid.at(step), short(*mean));
            for (_, row) in &forecast.quantiles {
                let _ = write!(text, ",{}", short(row[step]));
            }
            let _ = writeln!(text, ",{}", forecast.method);
        }
    }
    text
}

fn values(issued: &[Issued]) -> Vec<Value> {
    let steps = issued.iter().flat_map(|Issued { at, forecast }| {
        (0..forecast.mean.len()).map(move |step| {
            let quantiles: serde_json::Map<String, Value> =
                forecast.quantiles.iter().map(|(q, row)| (q.to_string(), json!(row[step]))).collect();
            json!({
                "issued_at": at.to_string(), "valid_at": forecast.grid.at(step).to_string(),
                "mean": forecast.mean[step], "quantiles": quantiles, "method": forecast.method,
                "because": forecast.because,
            })
        })
    });
    steps.collect()
}

/// Seven significant digits: more than any forecast holds, without noise in the last places.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = 6 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", usize::try_from(digits.clamp(0, 12)).unwrap_or(0));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn aligned(csv: &str) -> String {
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<&str>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:w$}")).collect();
        cells.join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_in_powers_of_ten() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(1_234.567_891), "1234.568");
        assert_eq!(short(-0.000_012_345_678_9), "-0.00001234568");
        assert_eq!(short(2.5e9), "2500000000");
        assert_eq!(short(15.0), "15");
    }
}
