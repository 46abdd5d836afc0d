//! Prometheus text exposition (format 0.0.4) with correct escaping, and the server's own counters.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Builds Prometheus text. Names with characters that the format forbids get `_` in their place; label values and help
/// may hold anything. All samples of a metric belong behind its [`Exposition::counter`] or [`Exposition::gauge`].
///
/// ```
/// let mut text = sos_api::Exposition::default();
/// text.gauge("sos_site_power_kw", "power at the connection, import above zero");
/// text.sample(&[("site", "a\"b")], -1.5);
/// assert!(text.finish().ends_with("sos_site_power_kw{site=\"a\\\"b\"} -1.5\n"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    text: String,
    name: String,
}

impl Exposition {
    /// Starts a metric that only rises; by convention its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str) {
        self.family(name, help, "counter");
    }

    /// Starts a metric that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.family(name, help, "gauge");
    }

    /// Starts a metric that tells how often a value was within bounds; its values are [`Exposition::buckets`].
    pub fn histogram(&mut self, name: &str, help: &str) {
        self.family(name, help, "histogram");
    }

    /// One histogram of the metric started last: how many values there were up to each bound, then how many in all;
    /// and their sum.
    pub fn buckets(&mut self, labels: &[(&str, &str)], bounds: &[f64], counts: &[u64], sum: f64) {
        let name = std::mem::take(&mut self.name);
        self.name = format!("{name}_bucket");
        let bounds = bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.sample(&labels, *count as f64);
        }
        self.name = format!("{name}_sum");
        self.sample(labels, sum);
        self.name = format!("{name}_count");
        self.sample(labels, counts.last().copied().unwrap_or(0) as f64);
        self.name = name;
    }

    /// One value of the metric started last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&self.name);
        for (index, (name, content)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(&safe_name(name, false));
            self.text.push_str("=\"");
            escape(&mut self.text, content, true);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = match value {
            v if v.is_nan() => writeln!(self.text, " NaN"),
            v if v.is_infinite() => writeln!(self.text, " {}Inf", if v > 0.0 { '+' } else { '-' }),
            v => writeln!(self.text, " {v}"),
        };
    }

    /// The text.
    pub fn finish(self) -> String {
        self.text
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        self.name = safe_name(name, true);
        self.text.push_str("# HELP ");
        self.text.push_str(&self.name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        let _ = write!(self.text, "\n# TYPE {} {kind}\n", self.name);
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

fn safe_name(name: &str, colon: bool) -> String {
    let fits = |i: usize, c: char| {
        c == '_' || c.is_ascii_alphabetic() || (colon && c == ':') || (i > 0 && c.is_ascii_digit())
    };
    let safe: String = name.chars().enumerate().map(|(i, c)| if fits(i, c) { c } else { '_' }).collect();
    if safe.is_empty() { "_".into() } else { safe }
}

/// What the server counts about itself. Bounded: label values come from the route table and status codes only.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<(String, String, u16), u64>>,
    pub(crate) stream_refused: AtomicU64,
    pub(crate) stream_skipped: AtomicU64,
    pub(crate) connections_full: AtomicU64,
    pub(crate) ingest_samples: AtomicU64,
    pub(crate) ingest_refused: AtomicU64,
    pub(crate) ingest_histograms: AtomicU64,
    pub(crate) ingest_exemplars: AtomicU64,
}

impl Counters {
    pub(crate) fn request(&self, method: &str, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *requests.entry((method.to_owned(), route.to_owned(), status)).or_default() += 1;
    }

    pub(crate) fn expose(&self, stream_clients: usize) -> String {
        let mut out = Exposition::default();
        out.counter("sos_api_requests_total", "requests answered, by route and status");
        let requests = self.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for ((method, route, status), count) in requests.iter() {
            let status = status.to_string();
            out.sample(&[("method", method), ("route", route), ("status", &status)], *count as f64);
        }
        drop(requests);
        out.gauge("sos_api_stream_clients", "open event streams and followed logs");
        out.sample(&[], stream_clients as f64);
        let totals = [
            (
                &self.stream_refused,
                "sos_api_stream_refused_total",
                "streams refused because too many were open",
            ),
            (&self.stream_skipped, "sos_api_stream_skipped_total", "live events that slow readers skipped"),
            (
                &self.connections_full,
                "sos_api_connections_full_total",
                "times a new connection waited because the limit was reached",
            ),
            (
                &self.ingest_samples,
                "sos_api_ingest_samples_total",
                "samples that others sent and that were kept",
            ),
            (
                &self.ingest_refused,
                "sos_api_ingest_refused_total",
                "samples that others sent and that were refused",
            ),
            (
                &self.ingest_histograms,
                "sos_api_ingest_native_histograms_total",
                "native histograms that others sent; they are not kept",
            ),
            (
                &self.ingest_exemplars,
                "sos_api_ingest_exemplars_total",
                "exemplars that others sent; they are not kept",
            ),
        ];
        for (value, name, help) in totals {
            out.counter(name, help);
            out.sample(&[], value.load(Relaxed) as f64);
        }
        out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut text = Exposition::default();
        text.histogram("t_seconds", "time");
        text.buckets(&[("a", "b")], &[0.1, 1.0], &[2, 2, 3], 3.5);
        let text = text.finish();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "t_seconds_bucket{a=\"b\",le=\"0.1\"} 2",
                "t_seconds_bucket{a=\"b\",le=\"1\"} 2",
                "t_seconds_bucket{a=\"b\",le=\"+Inf\"} 3",
                "t_seconds_sum{a=\"b\"} 3.5",
                "t_seconds_count{a=\"b\"} 3",
            ]
        );
    }

    #[test]
    fn label_values_and_help_are_escaped_as_the_format_asks() {
        let mut out = Exposition::default();
        out.gauge("x", "a\\b\nc \"kept\"");
        out.sample(&[("l", "q\"b\\n\nz"), ("m", "é")], 1.0);
        assert_eq!(
            out.finish(),
            "# HELP x a\\\\b\\nc \"kept\"\n# TYPE x gauge\nx{l=\"q\\\"b\\\\n\\nz\",m=\"é\"} 1\n"
        );
    }

    #[test]
    fn forbidden_characters_in_names_are_replaced() {
        let mut out = Exposition::default();
        out.counter("9 lives-total", "");
        out.sample(&[("a:b", "")], f64::INFINITY);
        out.sample(&[], f64::NAN);
        assert_eq!(
            out.finish(),
            "# HELP __lives_total \n# TYPE __lives_total counter\n__lives_total{a_b=\"\"} +Inf\n__lives_total NaN\n"
        );
    }
}
