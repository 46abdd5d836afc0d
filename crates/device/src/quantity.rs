//! Quantities on the command line carry their unit.

use sos_units::{Energy, Power};

/// Reads a power such as `1.5kW` or `800 W`, zero or above.
pub(crate) fn power(text: &str) -> Result<Power, String> {
    scaled(text, &[("kW", 1.0), ("MW", 1e3), ("W", 1e-3)]).map(Power::kw)
}

/// Reads an energy such as `6.4kWh`, zero or above.
pub(crate) fn energy(text: &str) -> Result<Energy, String> {
    scaled(text, &[("kWh", 1.0), ("MWh", 1e3), ("Wh", 1e-3)]).map(Energy::kwh)
}

/// Reads a span such as `2h`, `15 min` or `90s` into whole seconds, one or more.
pub(crate) fn seconds(text: &str) -> Result<u32, String> {
    let seconds = scaled(text, &[("min", 60.0), ("h", 3600.0), ("d", 86_400.0), ("s", 1.0)])?.round();
    if (1.0..=f64::from(u32::MAX)).contains(&seconds) {
        Ok(seconds as u32)
    } else {
        Err(format!("`{text}` must be between 1 s and {} s", u32::MAX))
    }
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let known = || units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e').unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), &text[split..]);
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{text}` needs a unit, one of {}", known()));
    };
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value * factor),
        _ => Err(format!("`{text}` must be a number of 0 or above with a unit, one of {}", known())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_needs_its_unit() {
        assert_eq!(power("1.5kW"), Ok(Power::kw(1.5)));
        assert_eq!(power("800 W"), Ok(Power::kw(0.8)));
        assert_eq!(energy("6.4 kWh"), Ok(Energy::kwh(6.4)));
        assert_eq!(seconds("2h"), Ok(7200));
        assert_eq!(seconds("15min"), Ok(900));
        for wrong in ["1.5", "kW", "-1kW", "NaNkW", "1.5kWh", "1 kw", "", "infkW"] {
            assert!(power(wrong).is_err(), "{wrong}");
        }
        assert!(seconds("0s").is_err());
    }
}
