//! What a plan carries over from the time before it: the exchange, peaks and amounts of the running periods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sos_model::{BillingPeriod, Charge, Charged};
use sos_units::Power;

/// The exchange so far, as far as charges and a price on its changes need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Carried {
    /// The last exchange with the grid, import positive.
    pub before: Option<Power>,
    /// Of each charge, by name.
    counted: BTreeMap<String, Counted>,
}

/// What a charge has counted in the running period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counted {
    /// The first day of the period.
    period: Date,
    /// The highest interval, kW, or the amount, kWh.
    pub so_far: f64,
    /// The interval that runs: its begin in seconds after midnight, its day, and what it amounts to, as a mean over the whole of it.
    running: Option<(Date, i64, f64)>,
}

/// Nothing was carried over.
pub(super) static NOTHING: Carried = Carried { before: None, counted: BTreeMap::new() };

impl Carried {
    /// Takes over the import of `start..end` through the connection that has these charges.
    pub fn observe(
        &mut self,
        charges: &[Charge],
        zone: &TimeZone,
        start: Timestamp,
        end: Timestamp,
        import: Power,
    ) {
        let hours = end.duration_since(start).as_secs_f64() / 3600.0;
        let import = import.as_kw().max(0.0);
        for charge in charges {
            let period = period_of(start, zone, per(charge));
            let entry = self.counted.entry(charge.name.to_string());
            let counted =
                entry.or_insert_with(|| Counted { period, so_far: declared(charge), running: None });
            if counted.period != period {
                *counted = Counted { period, so_far: 0.0, running: None };
            }
            match &charge.on {
                Charged::Tier(_) => counted.so_far += import * hours,
                Charged::Peak(peak) => {
                    let length = peak.interval.as_secs().max(1);
                    let (day, from) = interval_of(start, zone, length);
                    let before = match counted.running {
                        Some((date, begin, mean)) if (date, begin) == (day, from) => mean,
                        _ => 0.0,
                    };
                    // What is longer than an interval is one.
                    let mean = before + import * (hours * 3600.0 / length as f64).min(1.0);
                    counted.running = Some((day, from, mean));
                    counted.so_far = counted.so_far.max(mean);
                }
            }
        }
    }

    /// What a charge has counted in the period of a time.
    #[must_use]
    pub fn of(&self, charge: &Charge, zone: &TimeZone, at: Timestamp) -> f64 {
        match self.counted.get(charge.name.as_str()) {
            Some(counted) if counted.period == period_of(at, zone, per(charge)) => counted.so_far,
            Some(_) => 0.0,
            None => declared(charge),
        }
    }

    /// What the interval of a time amounts to already, as a mean over the whole of it, kW.
    #[must_use]
    pub fn running(&self, charge: &Charge, zone: &TimeZone, at: Timestamp) -> f64 {
        let Charged::Peak(peak) = &charge.on else { return 0.0 };
        let here = interval_of(at, zone, peak.interval.as_secs().max(1));
        let running = self.counted.get(charge.name.as_str()).and_then(|counted| counted.running);
        running.filter(|(day, from, _)| (*day, *from) == here).map_or(0.0, |(_, _, mean)| mean)
    }
}

/// What is declared to have been counted in the period in which the first plan begins.
fn declared(charge: &Charge) -> f64 {
    match &charge.on {
        Charged::Peak(peak) => peak.so_far.as_kw(),
        Charged::Tier(tier) => tier.so_far.as_kwh(),
    }
}

fn per(charge: &Charge) -> BillingPeriod {
    match &charge.on {
        Charged::Peak(peak) => peak.per,
        Charged::Tier(tier) => tier.per,
    }
}

/// The first day of the period of a time.
pub(super) fn period_of(at: Timestamp, zone: &TimeZone, per: BillingPeriod) -> Date {
    let date = zone.to_datetime(at).date();
    match per {
        BillingPeriod::Day => date,
        BillingPeriod::Month => date.first_of_month(),
        BillingPeriod::Year => date.first_of_year(),
    }
}

/// The day of an interval and its begin in seconds after local midnight.
pub(super) fn interval_of(at: Timestamp, zone: &TimeZone, length: i64) -> (Date, i64) {
    let local = zone.to_datetime(at);
    let time = local.time();
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    (local.date(), seconds.div_euclid(length) * length)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use sos_model::{Amount, CapacityPrice, Currency, Name, PeakCharge, Tier};
    use sos_units::{Energy, Price};

    use super::*;

    fn currency() -> Currency {
        Currency::new("EUR").unwrap()
    }

    fn peak() -> Charge {
        let on = Charged::Peak(PeakCharge {
            price: Amount { value: CapacityPrice::per_kw(8.0), currency: currency() },
            interval: SignedDuration::from_mins(30),
            per: BillingPeriod::Month,
            so_far: Power::kw(2.0),
        });
        Charge { on, name: Name::new("demand").unwrap() }
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_peak_is_a_mean_over_an_interval_and_ends_with_its_month() {
        let (charges, zone) = ([peak()], TimeZone::UTC);
        let mut carried = Carried::default();
        assert!(near(carried.of(&charges[0], &zone, at("2026-01-31T22:00:00Z")), 2.0));
        let quarter = |carried: &mut Carried, from: &str, kw: f64| {
            carried.observe(
                &charges,
                &zone,
                at(from),
                at(from) + SignedDuration::from_mins(15),
                Power::kw(kw),
            );
        };
        quarter(&mut carried, "2026-01-31T22:30:00Z", 6.0);
        assert!(near(carried.running(&charges[0], &zone, at("2026-01-31T22:45:00Z")), 3.0));
        assert!(near(carried.of(&charges[0], &zone, at("2026-01-31T22:45:00Z")), 3.0));
        quarter(&mut carried, "2026-01-31T22:45:00Z", 2.0);
        assert!(near(carried.of(&charges[0], &zone, at("2026-01-31T23:00:00Z")), 4.0));
        assert!(near(carried.running(&charges[0], &zone, at("2026-01-31T23:00:00Z")), 0.0));
        assert!(near(carried.of(&charges[0], &zone, at("2026-02-01T00:00:00Z")), 0.0), "a month begins anew");
    }

    #[test]
    fn an_amount_adds_up_and_export_takes_nothing_off() {
        let on = Charged::Tier(Tier {
            above: Energy::kwh(10.0),
            price: Amount { value: Price::per_kwh(0.1), currency: currency() },
            per: BillingPeriod::Day,
            so_far: Energy::ZERO,
        });
        let (charges, zone) = ([Charge { on, name: Name::new("tier").unwrap() }], TimeZone::UTC);
        let mut carried = Carried::default();
        for (hour, kw) in [(1, 3.0), (2, -5.0), (3, 1.0)] {
            let from = at(&format!("2026-01-01T0{hour}:00:00Z"));
            carried.observe(&charges, &zone, from, from + SignedDuration::from_hours(1), Power::kw(kw));
        }
        assert!(near(carried.of(&charges[0], &zone, at("2026-01-01T05:00:00Z")), 4.0));
    }
}
