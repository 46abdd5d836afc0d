//! The forecasts as rows.

use serde_json::{Value, json};

use super::Issued;
use crate::outcome::Outcome;
use crate::output::{self, Format, Table};

/// Prints one row for each step of each forecast.
pub(crate) fn print(format: Format, issued: &[Issued]) -> Outcome {
    output::answer(format, &table(format, issued), &Values(issued))
}

/// The rows, where they are asked for.
fn table(format: Format, issued: &[Issued]) -> Table {
    let quantiles = issued.first().map(|i| i.forecast.quantiles.as_slice()).unwrap_or_default();
    let names: Vec<String> = quantiles.iter().map(|(q, _)| format!("q{q}")).collect();
    let header = ["issued_at", "valid_at", "mean"].into_iter().chain(names.iter().map(String::as_str));
    let mut table = Table::new(&header.chain(["method"]).collect::<Vec<_>>());
    if matches!(format, Format::Json | Format::Yaml) {
        return table;
    }
    for Issued { at, forecast } in issued {
        for (step, mean) in forecast.mean.iter().enumerate() {
            let mut row = vec![at.to_string(), forecast.grid.at(step).to_string(), short(*mean)];
            row.extend(forecast.quantiles.iter().map(|(_, values)| short(values[step])));
            row.push(forecast.method.to_owned());
            table.row(row);
        }
    }
    table
}

/// The same as values, made when they are written.
struct Values<'a>(&'a [Issued]);

impl serde::Serialize for Values<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().flat_map(|Issued { at, forecast }| {
            (0..forecast.mean.len()).map(move |step| {
                let quantiles: serde_json::Map<String, Value> =
                    forecast.quantiles.iter().map(|(q, row)| (q.to_string(), json!(row[step]))).collect();
                json!({
                    "issued_at": at.to_string(), "valid_at": forecast.grid.at(step).to_string(),
                    "mean": forecast.mean[step], "quantiles": quantiles, "method": forecast.method,
                    "because": forecast.because,
                })
            })
        }))
    }
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
