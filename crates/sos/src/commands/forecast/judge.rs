//! How good the forecasts were, as far as the file tells, beside the two that cost nothing.

use sos_forecast::{Forecast, metrics};

use super::Issued;
use super::input::Input;
use crate::output::note;

/// Collects forecasts with what came.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    input: &'a Input,
    own: Vec<(f64, f64)>,
    day: Vec<(f64, f64)>,
    week: Vec<(f64, f64)>,
    inside: Vec<f64>,
}

impl<'a> Judge<'a> {
    pub(crate) const fn new(input: &'a Input) -> Self {
        Self { input, own: Vec::new(), day: Vec::new(), week: Vec::new(), inside: Vec::new() }
    }

    /// Compares a forecast issued at `row` with the rows after it.
    pub(crate) fn add(&mut self, row: usize, forecast: &Forecast) {
        let (target, day) = (&self.input.target, self.input.per_day());
        for (lead, mean) in forecast.mean.iter().enumerate() {
            let at = row + 1 + lead;
            let Some(came) = target.get(at).copied().filter(|v| v.is_finite()) else { continue };
            let before = |days: usize| at.checked_sub(days * day).and_then(|at| target.get(at)).copied();
            let days = lead / day + 1;
            self.own.push((*mean, came));
            self.day.push((before(days).unwrap_or(f64::NAN), came));
            self.week.push((before(days.div_ceil(7) * 7).unwrap_or(f64::NAN), came));
            if let [(_, low), .., (_, high)] = forecast.quantiles.as_slice() {
                self.inside.push(f64::from(u8::from(low[lead] <= came && came <= high[lead])));
            }
        }
    }

    /// One line for people; none when the file has nothing to compare with.
    pub(crate) fn tell(&self, issued: &[Issued]) {
        let Some(own) = metrics::mae(&self.own) else { return };
        let reference = |name: &str, pairs: &[(f64, f64)]| {
            metrics::mae(pairs).map(|mae| format!("{name} {}", digits(mae)))
        };
        let parts: Vec<String> =
            [reference("as a day before", &self.day), reference("as a week before", &self.week)]
                .into_iter()
                .flatten()
                .collect();
        let beside = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        let held = if self.inside.is_empty() {
            String::new()
        } else {
            let share = self.inside.iter().sum::<f64>() / self.inside.len() as f64;
            let quantiles = issued.first().map(|i| i.forecast.quantiles.as_slice()).unwrap_or_default();
            let (low, high) = (quantiles.first().map_or(0.0, |q| q.0), quantiles.last().map_or(1.0, |q| q.0));
            format!("; between q{low} and q{high} came {:.1} % of the values", share * 100.0)
        };
        note(format_args!(
            "{}: {} forecasts, mean absolute error {}{beside}{held}",
            self.input.name,
            issued.len(),
            digits(own)
        ));
    }
}

fn digits(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
