//! `sos verify`: whether a solution of `sos optimize` holds, found without the solver that made it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sos_dispatch::{Costs, Schedule, Verification, emissions, relative_gap};
use sos_engine::site::case::Case;
use sos_engine::time_text;

use super::optimize::answer::{Answer, BoundBy, Factor, GivenUp, Status, exceeds, given_up};
use super::optimize::case_of;
use crate::outcome::{Failure, Outcome};
use crate::output::{self, Format, OutputArgs, Table};
use crate::words;

/// Arguments of `sos verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests as for `sos optimize`
    problem: PathBuf,
    /// What `sos optimize -o json` printed
    solution: PathBuf,
    /// Begin of the plan, as it was given to `sos optimize`
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Checked {
    violations: Vec<Broken>,
    /// The objective, added up again; none when the lists do not fit.
    objective: Option<f64>,
    /// The bound that the multipliers prove.
    bound: Option<f64>,
    /// Whether the stated bound is one that the multipliers have to prove.
    bound_checked: bool,
    /// How far the plan may be from the best one, and how far it was allowed to be.
    gap: f64,
    wanted_gap: f64,
    currency: String,
}

/// Something that does not hold.
#[derive(Debug, PartialEq, Serialize)]
struct Broken {
    /// What, of what, in which unit.
    what: String,
    /// Start of the step, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// By how much.
    by: f64,
}

/// Relative difference of two sums of money that is rounding.
const SAME: f64 = 1e-6;
/// A power or an energy may be off by as much, kW or kWh, as `dispatch::verify` lets it be.
const TOLERANCE: f64 = 1e-5;
/// The largest solution that is read, bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Checks, and says what does not hold.
pub(crate) fn run(args: &Args) -> Outcome {
    let case = case_of(&args.problem, args.from.as_deref())?;
    let answer = read(&args.solution)?;
    fits(&args.solution, &case, &answer)?;
    let checked = check(&case, &answer);
    match args.output.format() {
        Format::Table => output::text(&text(&checked))?,
        format => output::answer(format, &table(&checked), &checked)?,
    }
    if checked.violations.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

fn read(path: &Path) -> Result<Answer, Failure> {
    let shown = path.display();
    let cannot = |error: std::io::Error| Failure::input(format!("{shown}: cannot be read: {error}"));
    let size = std::fs::metadata(path).map_err(cannot)?.len();
    if size > MAX_BYTES {
        return Err(Failure::input(format!(
            "{shown}: the file has {size} bytes; expected at most {MAX_BYTES}"
        )));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
        Failure::input(format!(
            "{shown}:{line}:{column}: {message}; expected what sos optimize -o json prints"
        ))
    })
}

/// The solution is one of this problem: the same steps, and no part that the problem does not have.
fn fits(path: &Path, case: &Case, answer: &Answer) -> Result<(), Failure> {
    let shown = path.display();
    let mut wrong = Vec::new();
    let starts = answer.starts().map_err(|why| Failure::input(format!("{shown}: {why}")))?;
    let expected: Vec<_> = case.problem.steps.iter().map(|step| step.start).collect();
    let zone = &case.model.zone;
    match (starts.first(), expected.first()) {
        (Some(first), Some(begin)) if first != begin => wrong.push(format!(
            "{shown}: it begins at {}, the problem at {}; give the same --from as to sos optimize",
            time_text(*first, zone),
            time_text(*begin, zone)
        )),
        _ if starts != expected => wrong.push(format!(
            "{shown}: its {} steps are not the {} of the problem; expected the solution of this problem",
            starts.len(),
            expected.len()
        )),
        _ => {}
    }
    let problem = &case.problem;
    let known: Vec<&str> = case
        .given
        .keys()
        .chain(problem.storages.iter().map(|storage| &storage.id))
        .chain(problem.curtailable.iter().map(|item| &item.id))
        .chain(problem.generators.iter().map(|generator| &generator.id))
        .chain(problem.work.iter().map(|work| &work.id))
        .map(String::as_str)
        .collect();
    for name in answer.solution.keys().filter(|name| !known.contains(&name.as_str())) {
        let help = sos_model::known_list(known.iter().copied());
        wrong.push(format!("{shown}: solution.{name} is not of this problem; {help}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::BadInput(wrong)) }
}

fn check(case: &Case, answer: &Answer) -> Checked {
    let schedule = answer.schedule(&case.problem);
    let verification = sos_dispatch::verify(&case.problem, &schedule);
    let start =
        |step: usize| case.problem.steps.get(step).map(|step| time_text(step.start, &case.model.zone));
    let mut violations: Vec<Broken> = verification
        .violations
        .iter()
        .map(|one| Broken { what: one.what.clone(), step: one.step.and_then(start), by: one.by })
        .collect();
    let whole = whole(case, &schedule);
    violations.extend(given(case, answer));
    if whole {
        violations.extend(money(case, answer, &schedule, &verification));
        violations.extend(owned(case, answer, &schedule));
        violations.extend(unstated(case, answer, &schedule));
    }
    violations.extend(conflict(case, answer));
    let bound_checked = answer.bound_by == BoundBy::Multipliers;
    violations.extend(bound(case, answer, &schedule, &verification));
    Checked {
        violations,
        objective: whole.then(|| verification.objective.get()),
        bound: verification.bound.map(|bound| bound.get()),
        bound_checked,
        gap: answer.gap,
        wanted_gap: answer.wanted_gap,
        currency: case.model.currency.clone(),
    }
}

/// Whether every list has a value per step; else there is nothing to add up.
fn whole(case: &Case, schedule: &Schedule) -> bool {
    let (problem, n) = (&case.problem, case.problem.len());
    let lists = |id: &String| {
        let storage = schedule.storage.get(id).map(|plan| plan.power.len().min(plan.stored_after.len()));
        let powers = schedule.generation.get(id).or_else(|| schedule.work.get(id)).map(Vec::len);
        let runs = schedule.generators.get(id).map(|plan| plan.power.len().min(plan.on.len()));
        storage.or(runs).or(powers)
    };
    let ids = problem.storages.iter().map(|storage| &storage.id);
    let ids = ids.chain(problem.curtailable.iter().map(|item| &item.id));
    let ids = ids.chain(problem.generators.iter().map(|generator| &generator.id));
    let mut ids = ids.chain(problem.work.iter().map(|work| &work.id));
    schedule.grid.len() == n && ids.all(|id| lists(id) == Some(n))
}

fn broken(what: impl Into<String>, by: f64) -> Broken {
    Broken { what: what.into(), step: None, by }
}

/// What cannot be chosen is as it is declared.
fn given(case: &Case, answer: &Answer) -> Vec<Broken> {
    let mut found = Vec::new();
    for (name, declared) in &case.given {
        let stated = answer.solution.get(name).map(|part| part.power_kw.as_slice()).unwrap_or_default();
        if stated.len() != declared.len() {
            let what = format!("power of {name} has {} steps instead of {}", stated.len(), declared.len());
            found.push(broken(what, (stated.len() as f64 - declared.len() as f64).abs()));
            continue;
        }
        for (step, (stated, declared)) in stated.iter().zip(declared).enumerate() {
            let by = (stated - declared.as_kw()).abs();
            if by.is_nan() || by > TOLERANCE {
                let what = format!("power of {name} against what is declared, kW");
                found.push(Broken { what, step: answer.steps.get(step).cloned(), by });
            }
        }
    }
    found
}

/// The objective and each of its causes, added up again, and the emissions.
fn money(case: &Case, answer: &Answer, schedule: &Schedule, verification: &Verification) -> Vec<Broken> {
    let currency = &case.model.currency;
    let mut sums = vec![
        (
            format!("objective against the sum from prices and powers, {currency}"),
            answer.objective,
            verification.objective.get(),
        ),
        (
            format!("objective against the sum by its causes, {currency}"),
            answer.objective,
            answer.costs.total().get(),
        ),
        (
            "emissions added up again, kg".to_owned(),
            answer.carbon.emissions_kg,
            emissions(&case.problem, schedule),
        ),
    ];
    let (stated, added) = (by_cause(&answer.costs), by_cause(&verification.costs));
    sums.extend(added.into_iter().map(|(cause, again)| {
        let stated = stated.get(&cause).copied().unwrap_or(f64::NAN);
        (format!("costs.{cause} added up again, {currency}"), stated, again)
    }));
    let mut found: Vec<Broken> = sums
        .into_iter()
        .map(|(what, stated, again)| (what, (stated - again).abs(), SAME * again.abs().max(1.0)))
        .filter(|(_, by, room)| by.is_nan() || by > room)
        .map(|(what, by, _)| broken(what, by))
        .collect();
    let declared = Factor::from(case.model.connection.carbon_factor);
    if answer.carbon.factor != declared {
        found.push(broken("carbon.factor against what is declared", 1.0));
    }
    found
}

/// Costs by the names they have in an answer.
fn by_cause(costs: &Costs) -> BTreeMap<String, f64> {
    let fields = match serde_json::to_value(costs) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    fields.into_iter().filter_map(|(cause, amount)| Some((cause, amount.as_f64()?))).collect()
}

/// What is given up is owned up to: each limit, target, use and piece of work once, by how much and at which price.
fn owned(case: &Case, answer: &Answer, schedule: &Schedule) -> Vec<Broken> {
    let expected = given_up(&case.problem, schedule, &case.model.zone);
    let key = |one: &GivenUp| (format!("{:?}", one.limit), one.name.clone(), one.step.clone());
    let mut stated: BTreeMap<_, &GivenUp> = answer.given_up.iter().map(|one| (key(one), one)).collect();
    let mut found = Vec::new();
    if stated.len() != answer.given_up.len() {
        found.push(broken(
            "something is listed twice as given up",
            (answer.given_up.len() - stated.len()) as f64,
        ));
    }
    for one in &expected {
        let listed = stated.remove(&key(one));
        let (amount, unit) = one.amount();
        let by = (amount - listed.map_or(0.0, |listed| listed.amount().0)).abs();
        let mut say = |what: &str, by: f64| {
            let what = format!("{} and what is listed as given up{what}", limit(one));
            found.push(Broken { what, step: one.step.clone(), by });
        };
        if by.is_nan() || by > TOLERANCE {
            say(&format!(", {unit}"), by);
        }
        let prices = (one.price().unwrap_or(0.0), listed.and_then(GivenUp::price).unwrap_or(0.0));
        let off = (prices.0 - prices.1).abs();
        if listed.is_some() && (off.is_nan() || off > SAME * prices.0.abs().max(1.0)) {
            let unit = if one.price_per_kg.is_some() { "kg" } else { "kWh" };
            say(&format!(": its price per {unit}"), off);
        }
    }
    for one in stated.into_values() {
        let amount = one.amount().0.abs();
        if amount.is_nan() || amount > TOLERANCE {
            let what = format!("{} is listed as given up and is not", limit(one));
            found.push(Broken { what, step: one.step.clone(), by: amount });
        }
    }
    found
}

/// The limit in words, with what it is one of.
fn limit(one: &GivenUp) -> String {
    let of = one.name.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
    format!("{}{of}", one.limit.word())
}

/// Limits in conflict are in conflict, and the status says so.
fn conflict(case: &Case, answer: &Answer) -> Vec<Broken> {
    let mut found = Vec::new();
    if let Some(stated) = &answer.conflict
        && let Err(why) = sos_dispatch::confirm(&case.problem, &stated.limits(&case.problem))
    {
        found.push(broken(format!("conflict: {why}"), 1.0));
    }
    let expected = Status::of(answer.conflict.is_some(), answer.gap, answer.wanted_gap);
    if answer.status != expected {
        let what = format!(
            "status {} where gap, wanted gap and conflict say {}",
            answer.status.word(),
            expected.word()
        );
        found.push(broken(what, 1.0));
    }
    found
}

/// What is given up where no conflict is stated could have been held.
fn unstated(case: &Case, answer: &Answer, schedule: &Schedule) -> Option<Broken> {
    if answer.conflict.is_some() || !exceeds(&case.problem, schedule) {
        return None;
    }
    sos_dispatch::conflict(&case.problem, 1).ok()??;
    let status = answer.status.word();
    Some(broken(format!("status {status} without a conflict, where no plan holds all limits"), 1.0))
}

/// The bound is proved, the gap is that of objective and bound.
fn bound(case: &Case, answer: &Answer, schedule: &Schedule, verification: &Verification) -> Vec<Broken> {
    let mut found = Vec::new();
    let currency = &case.model.currency;
    let room = SAME * answer.bound.abs().max(1.0);
    let above = answer.bound - answer.objective;
    if above.is_nan() || above > room {
        found.push(broken(format!("bound above the objective, {currency}"), above));
    }
    match (answer.bound_by, verification.bound) {
        (BoundBy::Multipliers, None) => {
            let steps = case.problem.len() as f64;
            found.push(broken("multipliers are missing or have another number of steps", steps));
        }
        (BoundBy::Multipliers, Some(proved)) => {
            let over = answer.bound - proved.get();
            if over.is_nan() || over > room {
                found.push(broken(format!("bound above what the multipliers prove, {currency}"), over));
            }
        }
        (BoundBy::Search, _) => {}
    }
    let gap = relative_gap(&case.problem, &schedule.grid, answer.objective, answer.bound);
    // NaN is not the same.
    let same = (gap - answer.gap).abs() <= SAME * gap.max(1.0);
    if !same {
        found.push(broken("gap against objective and bound", (gap - answer.gap).abs()));
    }
    found
}

fn table(checked: &Checked) -> Table {
    let mut table = Table::new(&["WHAT", "STEP", "BY"]);
    for one in &checked.violations {
        table.row(vec![one.what.clone(), one.step.clone().unwrap_or_default(), one.by.to_string()]);
    }
    table
}

/// A small share as people read it.
fn share(share: f64) -> String {
    format!("{} %", words::figure(share * 100.0))
}

fn text(checked: &Checked) -> String {
    let Checked { currency, violations, .. } = checked;
    let money =
        |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.6} {currency}"));
    let proved =
        if checked.bound_checked { "" } else { "; the stated bound is the search's and was not checked" };
    let sums = format!(
        "objective {}, bound by multipliers {}{proved}; gap {} of at most {} asked for\n",
        money(checked.objective),
        money(checked.bound),
        share(checked.gap),
        share(checked.wanted_gap),
    );
    match violations.len() {
        0 => format!("holds: {sums}"),
        1 => format!("1 violation: {sums}{}", table(checked).aligned()),
        n => format!("{n} violations: {sums}{}", table(checked).aligned()),
    }
}
