//! Dates, times and durations as XML Schema writes them.

use super::builtin::Builtin;

/// Seconds since year 0 began, and billionths of them, for comparing; a time zone that is not told is UTC. `None` where
/// the text is none of this type.
pub(crate) fn order(builtin: Builtin, text: &str) -> Option<(i64, u32)> {
    let mut scan = Scan { rest: text.as_bytes() };
    let (mut year, mut month, mut day) = (2000, 1, 1);
    let mut time = (0, 0, 0, 0);
    match builtin {
        Builtin::DateTime | Builtin::Date => {
            year = scan.year()?;
            month = scan.after(b"-")?.two()?;
            day = scan.after(b"-")?.two()?;
            if builtin == Builtin::DateTime {
                time = scan.after(b"T")?.time()?;
            }
        }
        Builtin::Time => time = scan.time()?,
        Builtin::YearMonth => {
            year = scan.year()?;
            month = scan.after(b"-")?.two()?;
        }
        Builtin::Year => year = scan.year()?,
        Builtin::MonthDay => {
            month = scan.after(b"--")?.two()?;
            day = scan.after(b"-")?.two()?;
        }
        Builtin::Day => day = scan.after(b"---")?.two()?,
        Builtin::Month => {
            month = scan.after(b"--")?.two()?;
            // The first edition wrote `--11--`.
            if scan.rest.starts_with(b"--") {
                scan.after(b"--")?;
            }
        }
        _ => return None,
    }
    let offset = scan.zone()?;
    if !scan.rest.is_empty() || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let (hour, minute, second, billionths) = time;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60;
    Some((seconds, billionths))
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar before this one, counted from March of year 0.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (month * 153 + 2) / 5
        + day
}

/// Whether this is a duration: `-P1Y2M3DT4H5M6.7S`, with at least one part, and one after `T`.
pub(crate) fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('-').unwrap_or(text).strip_prefix('P') else { return false };
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return false,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    !rest.is_empty() && parts(date, "YMD") && parts(time, "HMS")
}

/// Numbers with these letters in their order, each at most once; only seconds have a fraction.
fn parts(mut text: &str, letters: &str) -> bool {
    for letter in letters.chars() {
        let Some((number, rest)) = text.split_once(letter) else { continue };
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if letter == 'S' => (whole, fraction),
            Some(_) => return false,
            None => (number, "0"),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return false;
        }
        text = rest;
    }
    text.is_empty()
}

struct Scan<'t> {
    rest: &'t [u8],
}

impl Scan<'_> {
    fn after(&mut self, mark: &[u8]) -> Option<&mut Self> {
        self.rest = self.rest.strip_prefix(mark)?;
        Some(self)
    }

    fn digits(&mut self, most: usize) -> Option<(i64, usize)> {
        let count = self.rest.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let value = std::str::from_utf8(&self.rest[..count]).ok()?.parse().ok()?;
        self.rest = &self.rest[count..];
        Some((value, count))
    }

    fn two(&mut self) -> Option<i64> {
        self.digits(2).filter(|(_, count)| *count == 2).map(|(value, _)| value)
    }

    /// Four digits or more, without leading zeros beyond four.
    fn year(&mut self) -> Option<i64> {
        let negative = self.rest.first() == Some(&b'-');
        if negative {
            self.rest = &self.rest[1..];
        }
        let zero = self.rest.first() == Some(&b'0');
        let (value, count) = self.digits(9)?;
        let good = count == 4 || (count > 4 && !zero);
        good.then_some(if negative { -value } else { value })
    }

    fn time(&mut self) -> Option<(i64, i64, i64, u32)> {
        let hour = self.two()?;
        let minute = self.after(b":")?.two()?;
        let second = self.after(b":")?.two()?;
        let mut billionths = 0;
        if self.rest.first() == Some(&b'.') {
            self.rest = &self.rest[1..];
            let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 {
                return None;
            }
            let (digits, rest) = self.rest.split_at(count);
            self.rest = rest;
            for place in 0..9 {
                billionths = billionths * 10 + u32::from(digits.get(place).map_or(0, |digit| digit - b'0'));
            }
        }
        let midnight = hour == 24 && minute == 0 && second == 0 && billionths == 0;
        (midnight || (hour < 24 && minute < 60 && second < 60)).then_some((hour, minute, second, billionths))
    }

    /// Minutes before UTC's time: `Z`, `+02:00`, or nothing.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.rest.first() {
            None => return Some(0),
            Some(b'Z') => {
                self.rest = &self.rest[1..];
                return Some(0);
            }
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.rest = &self.rest[1..];
        let hours = self.two()?;
        let minutes = self.after(b":")?.two()?;
        (hours < 14 && minutes < 60 || hours == 14 && minutes == 0).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_told_from_others() {
        for (builtin, good, bad) in [
            (
                Builtin::DateTime,
                &["2026-11-29T12:00:00", "-0044-03-15T24:00:00Z", "12026-01-01T00:00:00.123456789012+14:00"]
                    [..],
                &[
                    "2026-11-29",
                    "2026-02-29T00:00:00",
                    "2026-11-29T24:00:01",
                    "2026-11-29T12:00",
                    "2026-11-29T12:00:00.",
                    "2026-11-29T12:00:00+14:01",
                    "2026-11-29 12:00:00",
                    "26-11-29T12:00:00",
                    "02026-11-29T12:00:00",
                ][..],
            ),
            (
                Builtin::Date,
                &["2024-02-29", "2026-11-29+02:00"],
                &["2026-13-01", "2026-00-01", "2026-1-1", ""],
            ),
            (Builtin::Time, &["12:00:00", "23:59:59.5Z"], &["24:00:01", "12:60:00", "12:00:60"]),
            (Builtin::YearMonth, &["2026-11"], &["2026", "2026-13"]),
            (Builtin::Year, &["2026", "-0001Z"], &["26", "2026-"]),
            (Builtin::MonthDay, &["--02-29"], &["--02-30", "-02-29"]),
            (Builtin::Day, &["---31"], &["---32", "--31"]),
            (Builtin::Month, &["--11", "--11--"], &["--13", "11"]),
        ] {
            for text in good {
                assert!(order(builtin, text).is_some(), "{builtin:?} {text}");
            }
            for text in bad {
                assert!(order(builtin, text).is_none(), "{builtin:?} {text}");
            }
        }
    }

    #[test]
    fn later_is_more() {
        let of = |text| order(Builtin::DateTime, text).unwrap();
        assert!(of("2026-11-29T12:00:00.5Z") > of("2026-11-29T12:00:00Z"));
        assert_eq!(of("2026-11-29T12:00:00+02:00"), of("2026-11-29T10:00:00Z"));
        assert_eq!(of("2026-12-31T24:00:00Z"), of("2027-01-01T00:00:00Z"));
        assert_eq!(of("2024-03-01T00:00:00Z").0 - of("2024-02-28T00:00:00Z").0, 2 * 86_400);
    }

    #[test]
    fn durations_have_their_parts_in_order() {
        for text in ["P1Y2M3DT4H5M6.7S", "-P1D", "PT0S", "P1M", "PT1M"] {
            assert!(is_duration(text), "{text}");
        }
        for text in ["P", "PT", "P1DT", "1D", "P1H", "P1M1Y", "P-1D", "PT1.5M", "P1.5D", "PT.5S", ""] {
            assert!(!is_duration(text), "{text}");
        }
    }
}
