//! Names of metrics and labels as Prometheus makes them of OpenTelemetry's.

/// Words for units; a unit that is not here is its own word.
const UNITS: [(&str, &str); 32] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("kBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("B", "bytes"),
    ("KB", "kilobytes"),
    ("MB", "megabytes"),
    ("GB", "gigabytes"),
    ("TB", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn word<'u>(known: &[(&str, &'u str)], unit: &'u str) -> &'u str {
    known.iter().find(|(short, _)| *short == unit).map_or(unit, |(_, word)| word)
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).filter(|token| !token.is_empty())
}

/// The word of a unit, cleaned; none for a unit in braces, which only annotates.
fn unit_word(known: &[(&str, &str)], unit: &str) -> Option<String> {
    let unit = unit.trim();
    if unit.is_empty() || unit.contains(['{', '}']) {
        return None;
    }
    let cleaned = tokens(word(known, unit)).collect::<Vec<_>>().join("_");
    (!cleaned.is_empty()).then_some(cleaned)
}

/// The name of a metric: `http.server.duration` in `s` is `http_server_duration_seconds`. `counter`: it only rises;
/// `gauge`: a unit of 1 makes it a ratio. Empty when nothing of the name is left.
pub(super) fn metric(name: &str, unit: &str, counter: bool, gauge: bool) -> String {
    let mut parts: Vec<String> = tokens(name).map(str::to_owned).collect();
    if parts.is_empty() {
        return String::new();
    }
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    if let Some(main) = unit_word(&UNITS, main)
        && !parts.contains(&main)
    {
        parts.push(main);
    }
    if let Some(per) = unit_word(&PER, per)
        && !parts.contains(&per)
    {
        parts.extend(["per".to_owned(), per]);
    }
    for (wanted, last) in [(counter, "total"), (gauge && unit.trim() == "1", "ratio")] {
        if wanted {
            parts.retain(|part| part != last);
            parts.push(last.to_owned());
        }
    }
    let name = parts.join("_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The name of a label: `service.name` is `service_name`.
pub(super) fn label(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let clean: String = name.chars().map(fits).collect();
    match clean.as_bytes() {
        [b'0'..=b'9', ..] => format!("key_{clean}"),
        [b'_', second, ..] if *second != b'_' => format!("key{clean}"),
        _ => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_are_those_of_prometheus() {
        for (name, unit, counter, gauge, expected) in [
            ("http.server.duration", "s", false, false, "http_server_duration_seconds"),
            ("system.network.io", "By", true, false, "system_network_io_bytes_total"),
            ("system.cpu.utilization", "1", false, true, "system_cpu_utilization_ratio"),
            ("queue.size", "{messages}", false, true, "queue_size"),
            ("throughput", "By/s", false, true, "throughput_bytes_per_second"),
            ("requests.total.count", "1", true, false, "requests_count_total"),
            ("wind.speed", "m/s", false, true, "wind_speed_meters_per_second"),
            ("energy", "kWh", true, false, "energy_kWh_total"),
            ("uptime_seconds", "s", false, true, "uptime_seconds"),
            ("5xx errors!", "", true, false, "_5xx_errors_total"),
            ("load", "%", false, true, "load_percent"),
            ("a:b", "", false, true, "a:b"),
            ("…", "s", false, true, ""),
        ] {
            assert_eq!(metric(name, unit, counter, gauge), expected);
        }
    }

    #[test]
    fn names_of_labels_are_those_of_prometheus() {
        for (name, expected) in [
            ("http.status_code", "http_status_code"),
            ("0day", "key_0day"),
            ("_private", "key_private"),
            ("__meta", "__meta"),
            ("größe", "gr__e"),
            ("", ""),
        ] {
            assert_eq!(label(name), expected);
        }
    }
}
