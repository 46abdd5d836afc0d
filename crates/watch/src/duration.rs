//! Durations as Prometheus writes them: `90s`, `1h30m`, `1y2w3d`.

/// Units from the longest to the shortest, in ms. A year has 365 days.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Whole ms of a duration; `0` needs no unit.
///
/// # Errors
/// When it is none, its units are not in descending order, or it is longer than 292 years.
pub fn parse(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0_i64;
    let mut units = &UNITS[..];
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let found = units.iter().position(|(name, _)| *name == unit).filter(|_| !number.is_empty());
        let Some(index) = found else {
            return Err(format!("not a valid duration: {text:?}, expected one like 90s, 5m or 1h30m"));
        };
        let part = number.parse::<i64>().ok().and_then(|number| number.checked_mul(units[index].1));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= i64::MAX / 1_000_000)
            .ok_or_else(|| format!("duration out of range: {text:?} is longer than 292 years"))?;
        units = &units[index + 1..];
        rest = tail;
    }
    if text.is_empty() {
        return Err("empty duration, expected one like 90s, 5m or 1h30m".to_owned());
    }
    Ok(total)
}

/// The shortest way to write a duration of ms; weeks and years only where they are whole.
pub fn format(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms.unsigned_abs();
    let mut text = if ms < 0 { "-".to_owned() } else { String::new() };
    for (unit, size) in UNITS {
        let size = size.unsigned_abs();
        let whole_only = matches!(unit, "y" | "w");
        if rest >= size && (!whole_only || rest.is_multiple_of(size)) {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d12h", 129_600_000),
            ("2w", 1_209_600_000),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(parse(text).unwrap(), ms);
            assert_eq!(format(ms), text);
        }
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(format(-300_000), "-5m");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "m", "5m1h", "5x", "1.5h", "5mm", "300y", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
