//! What a site's books say of its days, weeks, months and years: differences of the sums at the ends of civil days.

use jiff::civil::{Date, Weekday};
use serde::{Deserialize, Serialize};
use sos_store::{Store, StoreError};
use sos_units::Money;

use super::account::totals_of;
use super::ledger::Ledger;
use super::model::SiteModel;
use super::record;
use crate::live::Totals;

/// The sums of a site since its start, at the end of a civil day of its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayEnd {
    /// The day.
    pub date: Date,
    /// All steps that began on it or before.
    pub ledger: Ledger,
}

/// How long the periods of a report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Civil days.
    Day,
    /// From Monday to Sunday.
    Week,
    /// Calendar months.
    Month,
    /// Calendar years.
    Year,
}

/// One period of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodTotals {
    /// Its first day with a settled step.
    pub first: Date,
    /// Its last such day.
    pub last: Date,
    /// What was settled on these days. The objective holds no value of what is stored: that is carried over.
    pub totals: Totals,
}

/// The periods of a site, oldest first; the last one is not over.
///
/// # Errors
/// What the store says.
pub fn periods(store: &Store, model: &SiteModel, unit: Unit) -> Result<Vec<PeriodTotals>, StoreError> {
    let ends = record::day_ends(store, &model.name)?;
    let rows = split(&ends, unit).into_iter();
    let row = |(first, last, ledger)| PeriodTotals {
        first,
        last,
        totals: totals_of(model, &ledger, (Money::ZERO, Money::ZERO)),
    };
    Ok(rows.map(row).collect())
}

/// First day, last day and sums of each period.
fn split(ends: &[DayEnd], unit: Unit) -> Vec<(Date, Date, Ledger)> {
    let mut before = Ledger::default();
    let mut periods = Vec::new();
    for days in ends.chunk_by(|a, b| start(a.date, unit) == start(b.date, unit)) {
        let (Some(first), Some(last)) = (days.first(), days.last()) else { continue };
        periods.push((first.date, last.date, last.ledger.since(&before)));
        before.clone_from(&last.ledger);
    }
    periods
}

/// The first day of the period that a day belongs to.
fn start(date: Date, unit: Unit) -> Date {
    match unit {
        Unit::Day => date,
        Unit::Week => {
            date.tomorrow().and_then(|next| next.nth_weekday(-1, Weekday::Monday)).unwrap_or(Date::MIN)
        }
        Unit::Month => date.first_of_month(),
        Unit::Year => date.first_of_year(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use sos_units::ExactEnergy;

    use super::*;

    #[test]
    fn days_add_up_to_weeks_months_and_years() {
        let mut ledger = Ledger::default();
        let ends: Vec<DayEnd> = (0..400)
            .map(|day: i64| {
                ledger.steps += 96;
                ledger.actual.import += ExactEnergy::watt_seconds(day * day);
                ledger.baseline.limit_violations += 1;
                DayEnd { date: date(2016, 7, 31) + jiff::Span::new().days(day), ledger: ledger.clone() }
            })
            .collect();
        for unit in [Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
            let periods = split(&ends, unit);
            let import: ExactEnergy = periods.iter().map(|(_, _, ledger)| ledger.actual.import).sum();
            assert_eq!(import, ledger.actual.import, "{unit:?}");
            assert_eq!(periods.iter().map(|(_, _, ledger)| ledger.steps).sum::<u64>(), ledger.steps);
            assert!(periods.windows(2).all(|pair| pair[0].1.tomorrow().unwrap() == pair[1].0), "{unit:?}");
        }
        let weeks = split(&ends, Unit::Week);
        assert_eq!((weeks[0].0, weeks[0].1), (date(2016, 7, 31), date(2016, 7, 31)), "that was a Sunday");
        assert_eq!((weeks[1].0, weeks[1].1), (date(2016, 8, 1), date(2016, 8, 7)));
        let months = split(&ends, Unit::Month);
        assert_eq!((months[1].0, months[1].1), (date(2016, 8, 1), date(2016, 8, 31)));
        assert_eq!(months[1].2.baseline.limit_violations, 31);
        assert_eq!(split(&ends, Unit::Year).len(), 2);
        assert!(split(&[], Unit::Month).is_empty());
    }
}
