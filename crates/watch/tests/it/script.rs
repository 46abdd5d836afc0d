//! The test language of Prometheus: `load`, `eval`, `clear`. `cases/promql/README.md` describes it.

use sos_watch::promql::ast::{At, Expr, Node, Shift};
use sos_watch::{Answer, Labels, Memory, Options, Query, ResultSeries, Sample, duration, notation};

/// Relative error allowed for values.
const EPSILON: f64 = 0.000_001;

/// Around an instant the same query is evaluated as a range, with this step in ms.
const AROUND_MS: i64 = 60_000;

/// What came of the evaluations of a file.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) total: usize,
    /// Line and reason of each evaluation that did not give what was expected.
    pub(crate) failures: Vec<(usize, String)>,
}

/// An `eval` with the lines below it.
struct Eval<'t> {
    query: &'t str,
    fails: Option<Wanted>,
    ordered: bool,
    times: Times,
    expected: Vec<&'t str>,
}

/// What an expected error must contain.
struct Wanted(Option<String>);

enum Times {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// Runs a file: every `eval` counts, whether it passes or cannot even be read.
pub(crate) fn run(text: &str) -> Tally {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let (mut memory, mut tally, mut at) = (Memory::new(), Tally::default(), 0);
    while at < lines.len() {
        let start = at;
        let line = lines[at];
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let block: Vec<&str> = lines[at..].iter().copied().take_while(|line| !line.is_empty()).collect();
        let block_length = block.len();
        let block: Vec<&str> = block.into_iter().filter(|line| !line.starts_with('#')).collect();
        let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
        if word == "clear" {
            memory.clear();
        } else if word == "load" || word == "load_with_nhcb" {
            at += block_length;
            load(&mut memory, line, &block);
        } else if word.starts_with("eval") {
            at += if is_scalar_block(&block) { 1 } else { block_length };
            tally.total += 1;
            if let Err(reason) = evaluate(&memory, line, &block) {
                tally.failures.push((start + 1, format!("{line}: {reason}")));
            }
        } else {
            tally.failures.push((start + 1, format!("unknown command: {line}")));
        }
    }
    tally
}

/// A lone number ends the expectation, even without an empty line behind it.
fn is_scalar_block(block: &[&str]) -> bool {
    block.first().is_some_and(|line| line.parse::<f64>().is_ok())
}

/// A series that cannot be read (native histograms) is left out; the evaluations that miss it then fail.
fn load(memory: &mut Memory, line: &str, block: &[&str]) {
    let step = duration::parse(line.split_whitespace().nth(1).unwrap_or_default()).unwrap_or(0);
    for (labels, values) in block.iter().filter_map(|line| notation::parse(line).ok()) {
        memory.append(&labels, notation::samples(&values, 0, step));
    }
}

fn evaluate(memory: &Memory, line: &str, block: &[&str]) -> Result<(), String> {
    let eval = read(line, block)?;
    let parsed = Query::parse(eval.query);
    if let Some(Wanted(text)) = &eval.fails {
        return expect_failure(memory, &eval, parsed, text.as_deref());
    }
    let query = parsed.map_err(|error| error.to_string())?;
    match eval.times {
        Times::Instant(t) => {
            instant(memory, &eval, &query, t)?;
            for (query, t) in fixed_in_time(&query, t) {
                let context = |reason| format!("with fixed times, as {query} at {t}: {reason}");
                instant(memory, &eval, &query, t).map_err(context)?;
            }
            Ok(())
        }
        Times::Range { start, end, step } => {
            let answer = query.range(memory, start, end, step, &options()).map_err(|e| e.to_string())?;
            compare_range(&eval, &answer, start, step)
        }
    }
}

fn options() -> Options<'static> {
    Options::default()
}

fn expect_failure(
    memory: &Memory,
    eval: &Eval<'_>,
    parsed: Result<Query, sos_watch::Error>,
    text: Option<&str>,
) -> Result<(), String> {
    let outcome = parsed.and_then(|query| match eval.times {
        Times::Instant(t) => query.instant(memory, t, &options()),
        Times::Range { start, end, step } => query.range(memory, start, end, step, &options()),
    });
    match (outcome, text) {
        (Ok(_), _) => Err("expected an error, got none".to_owned()),
        (Err(error), Some(text)) if !error.to_string().contains(text) => {
            Err(format!("expected the error {text:?}, got {error}"))
        }
        (Err(_), _) => Ok(()),
    }
}

/// `eval[_fail|_ordered] instant at TIME QUERY` or `eval[_fail] range from TIME to TIME step STEP QUERY`.
fn read<'t>(line: &'t str, block: &[&'t str]) -> Result<Eval<'t>, String> {
    let (command, rest) = line.split_once(char::is_whitespace).ok_or("expected more behind eval")?;
    let (kind, rest) =
        rest.trim_start().split_once(char::is_whitespace).ok_or("expected instant or range")?;
    let mut rest = rest.trim_start();
    let mut time = |word: &str| -> Result<Option<i64>, String> {
        let Some(behind) = rest.strip_prefix(word).filter(|r| r.starts_with(char::is_whitespace)) else {
            return Ok(None);
        };
        let (text, behind) = behind.trim_start().split_once(char::is_whitespace).ok_or("expected a time")?;
        rest = behind.trim_start();
        signed(text).map(Some)
    };
    let times = match kind {
        "instant" => Times::Instant(time("at")?.unwrap_or(0)),
        "range" => Times::Range {
            start: time("from")?.ok_or("expected from")?,
            end: time("to")?.ok_or("expected to")?,
            step: time("step")?.ok_or("expected step")?,
        },
        _ => return Err(format!("expected instant or range, got {kind}")),
    };
    let mut fails = (command == "eval_fail").then_some(Wanted(None));
    let mut ordered = command == "eval_ordered";
    let mut expected = Vec::new();
    for line in block {
        let message = line.strip_prefix("expected_fail_message");
        if line.starts_with("expect ordered") {
            ordered = true;
        } else if let Some(text) = line.strip_prefix("expect string ") {
            expected.push(text.trim());
        } else if let Some(rest) = line.strip_prefix("expect fail") {
            fails = Some(Wanted(rest.trim_start().strip_prefix("msg:").map(|m| m.trim().to_owned())));
        } else if let Some(message) = message {
            fails = Some(Wanted(Some(message.trim().to_owned())));
        } else if !line.starts_with("expect") {
            expected.push(*line);
        }
    }
    Ok(Eval { query: rest, fails, ordered, times, expected })
}

fn signed(text: &str) -> Result<i64, String> {
    match text.strip_prefix('-') {
        Some(text) => duration::parse(text).map(|ms| -ms),
        None => match text.parse::<f64>() {
            Ok(seconds) => Ok((seconds * 1000.0) as i64),
            Err(_) => duration::parse(text),
        },
    }
}

/// Evaluates at an instant, and again as a range around it, which must give the same there.
fn instant(memory: &Memory, eval: &Eval<'_>, query: &Query, t: i64) -> Result<(), String> {
    let answer = query.instant(memory, t, &options()).map_err(|error| error.to_string())?;
    compare_instant(eval, &answer)?;
    if matches!(answer, Answer::Text(..)) {
        return Ok(());
    }
    let around = query
        .range(memory, t - AROUND_MS, t + AROUND_MS, AROUND_MS, &options())
        .map_err(|error| format!("in range mode: {error}"))?;
    if eval.ordered {
        return Ok(());
    }
    let Answer::Matrix(series) = around else { return Err("a range query gave no matrix".to_owned()) };
    let at = |series: ResultSeries| {
        let sample = series.samples.into_iter().find(|sample| sample.t == t)?;
        Some(ResultSeries { labels: series.labels, samples: vec![sample] })
    };
    let there: Vec<ResultSeries> = series.into_iter().filter_map(at).collect();
    let same_kind = match (&answer, there.first()) {
        (Answer::Scalar(_), Some(first)) => Answer::Scalar(first.samples[0]),
        _ => Answer::Vector(there),
    };
    compare_instant(eval, &same_kind).map_err(|reason| format!("in range mode: {reason}"))
}

fn compare_instant(eval: &Eval<'_>, answer: &Answer) -> Result<(), String> {
    match answer {
        Answer::Scalar(sample) => match eval.expected[..] {
            [line] => match line.parse::<f64>() {
                Ok(value) if near(value, sample.v) => Ok(()),
                _ => Err(format!("expected the scalar {line}, got {}", sample.v)),
            },
            _ => Err(format!("got the scalar {}", sample.v)),
        },
        Answer::Vector(series) => compare_vector(eval, series),
        Answer::Text(_, text) => match eval.expected[..] {
            [line] if line == format!("{text:?}") => Ok(()),
            _ => Err(format!("got the string {text:?}")),
        },
        Answer::Matrix(_) => Err("received a matrix at an instant".to_owned()),
    }
}

fn compare_vector(eval: &Eval<'_>, series: &[ResultSeries]) -> Result<(), String> {
    let mut expected: Vec<(Labels, f64)> = Vec::new();
    for line in &eval.expected {
        let (labels, values) = notation::parse(line)?;
        let [Some(value)] = values[..] else { return Err(format!("expected one value in {line:?}")) };
        // Of a repeated series the last line counts, as in Prometheus.
        expected.retain(|(known, _)| *known != labels);
        expected.push((labels, value));
    }
    for (place, one) in series.iter().enumerate() {
        let Some(wanted) = expected.iter().position(|(labels, _)| *labels == one.labels) else {
            return Err(format!("unexpected series {} with {}", one.labels, one.samples[0].v));
        };
        if eval.ordered && wanted != place {
            return Err(format!("expected {} at place {}, was at {}", one.labels, wanted + 1, place + 1));
        }
        if !near(expected[wanted].1, one.samples[0].v) {
            return Err(format!(
                "expected {} for {}, got {}",
                expected[wanted].1, one.labels, one.samples[0].v
            ));
        }
    }
    match expected.iter().find(|(labels, _)| !series.iter().any(|one| one.labels == *labels)) {
        Some((labels, value)) => Err(format!("missing series {labels} with {value}")),
        None => Ok(()),
    }
}

fn compare_range(eval: &Eval<'_>, answer: &Answer, start: i64, step: i64) -> Result<(), String> {
    let Answer::Matrix(series) = answer else { return Err("a range query gave no matrix".to_owned()) };
    if series.len() != eval.expected.len() {
        return Err(format!("expected {} series, got {}: {series:?}", eval.expected.len(), series.len()));
    }
    for line in &eval.expected {
        let (labels, values) = notation::parse(line)?;
        let wanted: Vec<Sample> = notation::samples(&values, start, step).collect();
        let Some(got) = series.iter().find(|one| one.labels == labels) else {
            return Err(format!("missing series {labels}"));
        };
        let same = wanted.len() == got.samples.len()
            && wanted.iter().zip(&got.samples).all(|(a, b)| a.t == b.t && near(a.v, b.v));
        if !same {
            return Err(format!("expected {wanted:?} for {labels}, got {:?}", got.samples));
        }
    }
    Ok(())
}

/// Equal within the tolerance; NaN is like NaN.
fn near(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    #[expect(clippy::float_cmp, reason = "covers infinities and zeros")]
    if a == b {
        return true;
    }
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || difference < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / (a.abs() + b.abs()) < EPSILON
}

/// The query with every time in it fixed at `t`, to be evaluated at other times: it must give the same there. Nothing
/// when it has a part that looks at the time of evaluation.
fn fixed_in_time(query: &Query, t: i64) -> Vec<(Query, i64)> {
    let mut expr = query.expr().clone();
    if !fix(&mut expr, t) {
        return Vec::new();
    }
    let Ok(query) = Query::of(&expr) else { return Vec::new() };
    let times = if t == 0 { vec![-1000, 0, 1000] } else { vec![-10 * t, 0, t / 5, t, 10 * t] };
    times.into_iter().map(|t| (query.clone(), t)).collect()
}

fn fix(expr: &mut Expr, t: i64) -> bool {
    let set = |shift: &mut Shift| {
        shift.at.get_or_insert(At::Time(t));
        true
    };
    match &mut expr.node {
        Node::Number(_) | Node::Text(_) => true,
        Node::Selector(selector) | Node::Range { selector, .. } => set(&mut selector.shift),
        // What is inside of a fixed subquery moves with its own steps.
        Node::Subquery(subquery) => set(&mut subquery.shift) && !looks_at_time(&subquery.inner),
        Node::Paren(inner) | Node::Unary { operand: inner, .. } => fix(inner, t),
        Node::Binary(binary) => fix(&mut binary.left, t) & fix(&mut binary.right, t),
        Node::Aggregate(aggregate) => {
            aggregate.param.as_mut().is_none_or(|param| fix(param, t)) & fix(&mut aggregate.inner, t)
        }
        Node::Call(call) => !is_timed(call.function.name) && call.args.iter_mut().all(|arg| fix(arg, t)),
    }
}

fn looks_at_time(expr: &Expr) -> bool {
    let here = matches!(&expr.node, Node::Call(call) if is_timed(call.function.name));
    here || expr.node.children().any(looks_at_time)
}

fn is_timed(function: &str) -> bool {
    const TIMED: [&str; 11] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "time",
        "timestamp",
    ];
    TIMED.contains(&function)
}
