//! Public holidays that hold in a whole country: people live them as Sundays.
//!
//! Sources: the countries' laws on public holidays, as in force; days that hold in parts of a country, that are moved
//! by decree or that follow the moon are left out. Easter by the Meeus/Jones/Butcher algorithm.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday};

use Rule::{Easter, Fixed, Nth};

/// When a holiday is.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Month and day.
    Fixed(i8, i8),
    /// Days after Easter Sunday.
    Easter(i32),
    /// Month, weekday and which of them (−1 is the last).
    Nth(i8, Weekday, i8),
}

const NEW_YEAR: Rule = Fixed(1, 1);
const EPIPHANY: Rule = Fixed(1, 6);
const GOOD_FRIDAY: Rule = Easter(-2);
const EASTER_MONDAY: Rule = Easter(1);
const LABOUR: Rule = Fixed(5, 1);
const ASCENSION: Rule = Easter(39);
const WHIT_MONDAY: Rule = Easter(50);
const CORPUS_CHRISTI: Rule = Easter(60);
const ASSUMPTION: Rule = Fixed(8, 15);
const ALL_SAINTS: Rule = Fixed(11, 1);
const IMMACULATE: Rule = Fixed(12, 8);
const CHRISTMAS: Rule = Fixed(12, 25);
const SECOND_CHRISTMAS: Rule = Fixed(12, 26);

/// Countries by their two letters (ISO 3166).
const COUNTRIES: &[(&str, &[Rule])] = &[
    (
        "AT",
        &[
            NEW_YEAR,
            EPIPHANY,
            EASTER_MONDAY,
            LABOUR,
            ASCENSION,
            WHIT_MONDAY,
            CORPUS_CHRISTI,
            ASSUMPTION,
            Fixed(10, 26),
            ALL_SAINTS,
            IMMACULATE,
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "BE",
        &[
            NEW_YEAR,
            EASTER_MONDAY,
            LABOUR,
            ASCENSION,
            WHIT_MONDAY,
            Fixed(7, 21),
            ASSUMPTION,
            ALL_SAINTS,
            Fixed(11, 11),
            CHRISTMAS,
        ],
    ),
    (
        "CA",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            Fixed(7, 1),
            Nth(9, Weekday::Monday, 1),
            Nth(10, Weekday::Monday, 2),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "CH",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            ASCENSION,
            WHIT_MONDAY,
            Fixed(8, 1),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "CZ",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            LABOUR,
            Fixed(5, 8),
            Fixed(7, 5),
            Fixed(7, 6),
            Fixed(9, 28),
            Fixed(10, 28),
            Fixed(11, 17),
            Fixed(12, 24),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "DE",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            LABOUR,
            ASCENSION,
            WHIT_MONDAY,
            Fixed(10, 3),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "DK",
        &[
            NEW_YEAR,
            Easter(-3),
            GOOD_FRIDAY,
            EASTER_MONDAY,
            ASCENSION,
            WHIT_MONDAY,
            Fixed(6, 5),
            Fixed(12, 24),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "ES",
        &[
            NEW_YEAR,
            EPIPHANY,
            GOOD_FRIDAY,
            LABOUR,
            ASSUMPTION,
            Fixed(10, 12),
            ALL_SAINTS,
            Fixed(12, 6),
            IMMACULATE,
            CHRISTMAS,
        ],
    ),
    (
        "FI",
        &[
            NEW_YEAR,
            EPIPHANY,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            LABOUR,
            ASCENSION,
            Fixed(12, 6),
            Fixed(12, 24),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "FR",
        &[
            NEW_YEAR,
            EASTER_MONDAY,
            LABOUR,
            Fixed(5, 8),
            ASCENSION,
            WHIT_MONDAY,
            Fixed(7, 14),
            ASSUMPTION,
            ALL_SAINTS,
            Fixed(11, 11),
            CHRISTMAS,
        ],
    ),
    (
        "GB",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            Nth(5, Weekday::Monday, 1),
            Nth(5, Weekday::Monday, -1),
            Nth(8, Weekday::Monday, -1),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "IE",
        &[
            NEW_YEAR,
            Fixed(3, 17),
            EASTER_MONDAY,
            Nth(5, Weekday::Monday, 1),
            Nth(6, Weekday::Monday, 1),
            Nth(8, Weekday::Monday, 1),
            Nth(10, Weekday::Monday, -1),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "IT",
        &[
            NEW_YEAR,
            EPIPHANY,
            EASTER_MONDAY,
            Fixed(4, 25),
            LABOUR,
            Fixed(6, 2),
            ASSUMPTION,
            ALL_SAINTS,
            IMMACULATE,
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "LU",
        &[
            NEW_YEAR,
            EASTER_MONDAY,
            LABOUR,
            Fixed(5, 9),
            ASCENSION,
            WHIT_MONDAY,
            Fixed(6, 23),
            ASSUMPTION,
            ALL_SAINTS,
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    ("NL", &[NEW_YEAR, EASTER_MONDAY, Fixed(4, 27), ASCENSION, WHIT_MONDAY, CHRISTMAS, SECOND_CHRISTMAS]),
    (
        "NO",
        &[
            NEW_YEAR,
            Easter(-3),
            GOOD_FRIDAY,
            EASTER_MONDAY,
            LABOUR,
            Fixed(5, 17),
            ASCENSION,
            WHIT_MONDAY,
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "PL",
        &[
            NEW_YEAR,
            EPIPHANY,
            EASTER_MONDAY,
            LABOUR,
            Fixed(5, 3),
            CORPUS_CHRISTI,
            ASSUMPTION,
            ALL_SAINTS,
            Fixed(11, 11),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "PT",
        &[
            NEW_YEAR,
            GOOD_FRIDAY,
            Fixed(4, 25),
            LABOUR,
            CORPUS_CHRISTI,
            Fixed(6, 10),
            ASSUMPTION,
            Fixed(10, 5),
            ALL_SAINTS,
            Fixed(12, 1),
            IMMACULATE,
            CHRISTMAS,
        ],
    ),
    (
        "SE",
        &[
            NEW_YEAR,
            EPIPHANY,
            GOOD_FRIDAY,
            EASTER_MONDAY,
            LABOUR,
            ASCENSION,
            Fixed(6, 6),
            Fixed(12, 24),
            CHRISTMAS,
            SECOND_CHRISTMAS,
        ],
    ),
    (
        "US",
        &[
            NEW_YEAR,
            Nth(5, Weekday::Monday, -1),
            Fixed(7, 4),
            Nth(9, Weekday::Monday, 1),
            Nth(11, Weekday::Thursday, 4),
            CHRISTMAS,
        ],
    ),
];

/// Years that are known.
const YEARS: std::ops::RangeInclusive<i16> = 1980..=2060;

/// Two letters of the countries that are known, in order.
pub fn countries() -> impl Iterator<Item = &'static str> {
    COUNTRIES.iter().map(|(name, _)| *name)
}

/// Whether the holidays of a country are known.
pub(crate) fn is_known(country: &str) -> bool {
    countries().any(|name| name.eq_ignore_ascii_case(country))
}

/// Holidays of a country, as days since 1970; none when the country is not known.
pub(crate) fn days(country: &str) -> Option<BTreeSet<i64>> {
    let (_, rules) = COUNTRIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(country))?;
    let dates = YEARS.flat_map(|year| rules.iter().filter_map(move |rule| date(*rule, year)));
    Some(dates.map(number).collect())
}

fn date(rule: Rule, year: i16) -> Option<Date> {
    match rule {
        Fixed(month, day) => Date::new(year, month, day).ok(),
        Easter(days) => easter(year)?.checked_add(jiff::Span::new().days(days)).ok(),
        Nth(month, weekday, nth) => Date::new(year, month, 1).ok()?.nth_weekday_of_month(nth, weekday).ok(),
    }
}

fn easter(year: i16) -> Option<Date> {
    let y = i32::from(year);
    let (a, b, c) = (y % 19, y / 100, y % 100);
    let (d, e) = (b / 4, b % 4);
    let g = (8 * b + 13) / 25;
    let h = (19 * a + b - d - g + 15) % 30;
    let (i, k) = (c / 4, c % 4);
    let l = (32 + 2 * e + 2 * i - h - k) % 7;
    let m = (a + 11 * h + 19 * l) / 433;
    let month = (h + l - 7 * m + 90) / 25;
    let day = (h + l - 7 * m + 33 * month + 19) % 32;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn number(date: Date) -> i64 {
    let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    midnight.map_or(i64::MIN, |time| time.as_second().div_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easter_is_when_it_was() {
        for (year, month, day) in [(2016, 3, 27), (2019, 4, 21), (2020, 4, 12), (2024, 3, 31), (2026, 4, 5)] {
            assert_eq!(easter(year), Date::new(year, month, day).ok());
        }
    }

    #[test]
    fn holidays_of_a_country_are_found_as_days() {
        let days = days("lu").unwrap();
        for (date, is) in
            [((2020, 6, 23), true), ((2020, 6, 1), true), ((2020, 5, 21), true), ((2020, 6, 2), false)]
        {
            let number = number(Date::new(date.0, date.1, date.2).unwrap());
            assert_eq!(days.contains(&number), is, "{date:?}");
        }
        assert!(super::days("XX").is_none());
        let thanksgiving = date(Nth(11, Weekday::Thursday, 4), 2026).unwrap();
        assert_eq!(thanksgiving, Date::new(2026, 11, 26).unwrap());
    }
}
