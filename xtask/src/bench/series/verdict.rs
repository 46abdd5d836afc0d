//! What is shown, and which targets are met.

use std::fmt::Write as _;
use std::time::Duration;

use super::asked::{Asked, READ_ALL, Way};
use super::data::SAMPLES;
use super::millis;
use super::server::{Kind, Used};
use crate::bench::Check;

/// A day of 1,000 series at 1 min, read for an answer of one number, in ms.
const READ_MS: f64 = 300.0;

/// One shape of requests; lists have an entry for each round.
#[derive(Debug)]
pub(super) struct Ingest {
    name: &'static str,
    seconds: [Vec<f64>; 2],
    cpu_seconds: [Vec<f64>; 2],
}

/// One request of the table; lists have an entry for each repetition, in ms.
#[derive(Debug)]
pub(super) struct Times {
    asked: Asked,
    bytes: usize,
    first: [Vec<f64>; 2],
    whole: [Vec<f64>; 2],
}

/// In bytes, of `sos` and of Prometheus.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// The file of `sos backup`; the blocks of a snapshot.
    pub(super) packed: [u64; 2],
    /// The data folders after both ended.
    pub(super) folder: [u64; 2],
}

/// Everything measured; pairs are of `sos` and of Prometheus.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) ingest: Vec<Ingest>,
    pub(super) times: Vec<Times>,
    pub(super) compared: usize,
    /// Requests whose answers are not the same, with the first difference.
    pub(super) different: Vec<String>,
    pub(super) sizes: Sizes,
    pub(super) after_ingest: [Used; 2],
    pub(super) after_queries: [Used; 2],
}

fn place(kind: Kind) -> usize {
    match kind {
        Kind::Sos => 0,
        Kind::Prometheus => 1,
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn medians(pair: &[Vec<f64>; 2]) -> [f64; 2] {
    [median(&pair[0]), median(&pair[1])]
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files and counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

impl Ingest {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, seconds: Default::default(), cpu_seconds: Default::default() }
    }

    pub(super) fn add(&mut self, kind: Kind, seconds: f64, cpu_seconds: f64) {
        self.seconds[place(kind)].push(seconds);
        self.cpu_seconds[place(kind)].push(cpu_seconds);
    }

    /// Samples a second.
    fn rates(&self) -> [f64; 2] {
        medians(&self.seconds).map(|seconds| float(SAMPLES as u64) / seconds)
    }

    fn ratio(&self) -> f64 {
        let [ours, theirs] = self.rates();
        ours / theirs
    }
}

impl Times {
    pub(super) fn new(asked: Asked, bytes: usize) -> Self {
        Self { asked, bytes, first: Default::default(), whole: Default::default() }
    }

    pub(super) fn add(&mut self, kind: Kind, first: Duration, whole: Duration) {
        self.first[place(kind)].push(millis(first));
        self.whole[place(kind)].push(millis(whole));
    }

    fn ratio(&self) -> f64 {
        let [ours, theirs] = medians(&self.whole);
        ours / theirs
    }
}

/// The table of ingest.
pub(super) fn ingest(all: &[Ingest]) -> String {
    let mut text = format!(
        "{:<48} {:>12} {:>12} {:>6} {:>16}\n",
        "a day of 1,000 series at 1 min, samples/s", "sos", "Prometheus", "ratio", "CPU s (sos, P.)"
    );
    for one in all {
        let ([ours, theirs], [our_cpu, their_cpu]) = (one.rates(), medians(&one.cpu_seconds));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<48} {ours:>12.0} {theirs:>12.0} {:>6.2} {our_cpu:>8.1} {their_cpu:>7.1}",
            one.name,
            one.ratio()
        );
    }
    text
}

/// The tables of times, sizes and memory, and the differences.
pub(super) fn others(figures: &Figures) -> String {
    let mut text = format!(
        "\n{:<34} {:>10} {:>10} {:>6} {:>22} {:>8}\n",
        "median of five, ms", "sos", "Prometheus", "ratio", "first byte (sos, P.)", "kB"
    );
    for times in &figures.times {
        let ([ours, theirs], [our_first, their_first]) = (medians(&times.whole), medians(&times.first));
        let _ = writeln!(
            text,
            "{:<34} {ours:>10.1} {theirs:>10.1} {:>6.2} {our_first:>11.1} {their_first:>10.1} {:>8}",
            times.asked.label(),
            times.ratio(),
            times.bytes / 1000
        );
    }
    let _ = writeln!(text, "\n{:<48} {:>12} {:>12}", "", "sos", "Prometheus");
    let mut row = |what: &str, [ours, theirs]: [f64; 2]| {
        let _ = writeln!(text, "{what:<48} {ours:>12.2} {theirs:>12.2}");
    };
    row("bytes a sample: backup / snapshot", per_sample(figures.sizes.packed));
    row("bytes a sample: data folder after the end", per_sample(figures.sizes.folder));
    row("memory after ingest, MB", figures.after_ingest.map(|used| used.rss_mb));
    row("memory after queries, MB", figures.after_queries.map(|used| used.rss_mb));
    row("peak memory, MB", figures.after_queries.map(|used| used.peak_mb));
    let same = figures.compared - figures.different.len();
    let _ = writeln!(text, "\n{same} of {} answers are the same", figures.compared);
    for difference in &figures.different {
        let _ = writeln!(text, "  {difference}");
    }
    text.push('\n');
    text
}

fn per_sample(bytes: [u64; 2]) -> [f64; 2] {
    bytes.map(|bytes| float(bytes) / float(SAMPLES as u64))
}

/// All targets, in the order in which they are printed. What was not measured is not among them.
pub(super) fn checks(figures: &Figures) -> Vec<Check> {
    let mut checks: Vec<Check> = figures
        .ingest
        .iter()
        .map(|one| {
            let ratio = one.ratio();
            Check::new(
                ratio >= 1.0,
                format!("ingest, {}: {ratio:.2} of Prometheus' rate, at least 1", one.name),
            )
        })
        .collect();
    if figures.compared == 0 {
        return checks;
    }
    let different = figures.different.len();
    checks.push(Check::new(
        different == 0,
        format!("{different} of {} answers differ from Prometheus', none should", figures.compared),
    ));
    let read = figures.times.iter().find(|t| t.asked.way == Way::Instant && t.asked.query == READ_ALL);
    checks.extend(read.map(|times| {
        let ms = median(&times.whole[0]);
        Check::new(ms <= READ_MS, format!("a day of 1,000 series read in {ms:.0} ms, at most {READ_MS}"))
    }));
    let slower: Vec<String> =
        figures.times.iter().filter(|times| times.ratio() > 1.0).map(|times| times.asked.label()).collect();
    let named = if slower.is_empty() { String::new() } else { format!(": {}", slower.join("; ")) };
    checks.push(Check::new(
        slower.is_empty(),
        format!("{} of {} requests take longer than Prometheus'{named}", slower.len(), figures.times.len()),
    ));
    let [ours, theirs] = per_sample(figures.sizes.packed);
    checks.push(Check::new(
        ours <= theirs,
        format!("{ours:.2} bytes a sample, at most Prometheus' {theirs:.2}"),
    ));
    let [ours, theirs] = figures.after_queries.map(|used| used.rss_mb);
    checks
        .push(Check::new(ours <= theirs, format!("{ours:.0} MB of memory, at most Prometheus' {theirs:.0}")));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ours: f64) -> Figures {
        let mut ingest = Ingest::new("shape");
        let asked = Asked { what: "a day read", way: Way::Instant, query: READ_ALL, timed: true };
        let mut times = Times::new(asked, 1);
        for kind in [Kind::Sos, Kind::Prometheus] {
            let seconds = if kind == Kind::Sos { ours } else { 0.25 };
            ingest.add(kind, seconds, 1.0);
            times.add(kind, Duration::ZERO, Duration::from_secs_f64(seconds));
        }
        Figures { ingest: vec![ingest], times: vec![times], compared: 2, ..Figures::default() }
    }

    #[test]
    fn every_target_is_met_or_missed_by_itself() {
        let met = |figures: &Figures| checks(figures).iter().map(|check| check.met).collect::<Vec<_>>();
        assert_eq!(met(&measured(0.2)), [true; 6]);
        assert_eq!(met(&measured(0.28)), [false, true, true, false, true, true]);
        assert_eq!(met(&measured(0.5)), [false, true, false, false, true, true]);
        let mut worse = measured(0.2);
        worse.different.push("x".to_owned());
        worse.sizes.packed = [2, 1];
        worse.after_queries[0].rss_mb = 1.0;
        assert_eq!(met(&worse), [true, false, true, true, false, false]);
        assert_eq!(met(&Figures { compared: 0, ..worse }).len(), 1);
    }

    #[test]
    fn tables_have_medians_and_name_what_differs() {
        let mut figures = measured(0.5);
        figures.different.push("up: 1 series instead of 2".to_owned());
        assert!(
            ingest(&figures.ingest).contains("2880000      5760000   0.50"),
            "{}",
            ingest(&figures.ingest)
        );
        let text = others(&figures);
        assert!(text.contains("1 of 2 answers are the same\n  up: 1 series instead of 2"), "{text}");
        assert!(text.contains("a day read, instant                     500.0      250.0   2.00"), "{text}");
        let middle = median(&[3.0, 1.0, 2.0]);
        assert!((middle - 2.0).abs() < f64::EPSILON);
    }
}
