//! Figures in the words people use: never a sign to remember.

/// Power below this is called none, in kW.
const NOTHING_KW: f64 = 0.05;

/// The amount of a power, such as `2.0 kW`.
pub(crate) fn kw(power_kw: f64) -> String {
    format!("{:.1} kW", power_kw.abs())
}

/// What flows through a connection to the grid; import is above zero.
pub(crate) fn exchange(power_kw: f64) -> String {
    word(power_kw, "imports", "exports", "no exchange")
}

/// What an island does without a connection.
fn alone(power_kw: f64) -> String {
    word(power_kw, "lacks", "loses", "in balance")
}

/// What flows through a connection, or what becomes of it on an island.
pub(crate) fn connection(island: bool) -> fn(f64) -> String {
    if island { alone } else { exchange }
}

/// What a battery does; discharge is above zero.
pub(crate) fn battery(power_kw: f64) -> String {
    word(power_kw, "discharging", "charging", "idle")
}

/// What any asset does, by its declared type; power into the site is above zero.
pub(crate) fn asset(kind: &str, power_kw: f64) -> String {
    match kind {
        "battery" => battery(power_kw),
        "vehicle" => word(power_kw, "discharging", "charging", "not charging"),
        "heatPump" => word(power_kw, "delivers", "heats with", "not heating"),
        "solar" => word(power_kw, "generates", "uses", "no sun"),
        "wind" => word(power_kw, "generates", "uses", "no wind"),
        "generator" => word(power_kw, "generates", "uses", "at rest"),
        _ => word(power_kw, "generates", "uses", "off"),
    }
}

fn word(power_kw: f64, above: &str, below: &str, none: &str) -> String {
    match power_kw {
        p if p >= NOTHING_KW => format!("{above} {}", kw(p)),
        p if p <= -NOTHING_KW => format!("{below} {}", kw(p)),
        _ => none.to_owned(),
    }
}

/// A share of 0…1 as `52 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A figure with three digits that count: `0.0123`, `1.23`, `123`.
pub(crate) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        v if v >= 0.01 => 4,
        _ => 5,
    };
    format!("{value:.decimals$}")
}

/// Money, such as `1.23 USD`; a debt keeps its sign.
pub(crate) fn money(amount: f64, currency: &str) -> String {
    // Rounded first, so that there is no -0.00.
    let cents = (amount * 100.0).round() / 100.0 + 0.0;
    format!("{cents:.2} {currency}")
}

/// A size in bytes, such as `12.5 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const STEPS: [(f64, &str); 3] =
        [(1024.0 * 1024.0 * 1024.0, "GiB"), (1024.0 * 1024.0, "MiB"), (1024.0, "KiB")];
    let step = STEPS.iter().find(|(size, _)| bytes >= *size);
    step.map_or_else(|| format!("{bytes:.0} B"), |(size, unit)| format!("{:.1} {unit}", bytes / size))
}

/// The first `width` characters, with `…` where something was left out.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { String::new() } else { format!("{}…", kept.trim_end()) }
}

/// Reasons of several things as one text: those with the same reason are told together, the most common first.
pub(crate) fn reasons<'a>(each: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let alike = alike(each);
    match alike.as_slice() {
        [(_, why)] => (*why).to_owned(),
        _ => alike.iter().map(|(names, why)| format!("{names}: {why}")).collect::<Vec<_>>().join("; "),
    }
}

/// Things of which the same is said, with what is said of them, the most common first.
pub(crate) fn alike<'a>(each: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, &'a str)> {
    let mut alike: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, said) in each.into_iter().filter(|(_, said)| !said.is_empty()) {
        match alike.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(name),
            None => alike.push((said, vec![name])),
        }
    }
    alike.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let named = alike.into_iter().map(|(said, names)| match names.as_slice() {
        [first, rest @ ..] if !rest.is_empty() => (format!("{first} and {} more", rest.len()), said),
        names => (names.concat(), said),
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_told_in_words() {
        assert_eq!(exchange(2.04), "imports 2.0 kW");
        assert_eq!(exchange(-0.6), "exports 0.6 kW");
        assert_eq!([0.3, 0.004, -2.0].map(connection(true)), ["lacks 0.3 kW", "in balance", "loses 2.0 kW"]);
        assert_eq!(battery(-1.5), "charging 1.5 kW");
        assert_eq!(battery(-0.01), "idle");
        assert_eq!(asset("load", -2.0), "uses 2.0 kW");
        assert_eq!(asset("solar", 0.0), "no sun");
        assert_eq!(money(-0.001, "USD"), "0.00 USD");
        assert_eq!(bytes(13_107_200.0), "12.5 MiB");
    }

    #[test]
    fn long_text_is_cut_to_its_width() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("charging: sun", 10), "charging:…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn equal_reasons_are_told_once() {
        assert_eq!(reasons([("a", "sun"), ("b", "sun")]), "sun");
        assert_eq!(
            reasons([("a", "dear"), ("b", "sun"), ("c", "sun"), ("d", "")]),
            "b and 1 more: sun; a: dear"
        );
    }
}
