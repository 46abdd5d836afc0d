//! The answer for people: a summary, then a line per step.

use sos_engine::site::case::Case;

use super::answer::{Answer, Factor, GivenUp, LimitName, LimitRange, Status};
use crate::output::Table;
use crate::words;

/// What it costs, how good that is, and what was given up.
pub(crate) fn summary(answer: &Answer) -> String {
    let currency = &answer.currency;
    let money = |value: f64| format!("{} {currency}", words::figure(value));
    let mut lines = vec![format!(
        "{}: costs {}, no plan costs less than {} (gap {:.2} %); by {}",
        match answer.status {
            Status::Optimal => "optimal",
            Status::Feasible => "feasible",
            Status::Infeasible => "infeasible, limits are exceeded as cheaply as can be",
        },
        money(answer.objective),
        money(answer.bound),
        answer.gap * 100.0,
        answer.source,
    )];
    let costs = &answer.costs;
    let causes = [
        ("energy", costs.energy),
        ("carbon", costs.carbon),
        ("fuel", costs.fuel),
        ("starts", costs.starts),
        ("charges", costs.charges),
        ("changes of the exchange", costs.ramping),
        ("emissions above the cap", costs.carbon_cap),
        ("wear", costs.wear),
        ("energy held", costs.holding),
        ("exceeded limits", costs.breach),
        ("missing reserve", costs.reserve),
        ("missed targets", costs.targets),
        ("use that goes without", costs.missing),
        ("work not done", costs.work_lost),
        ("work left for later", costs.work_later),
        ("worth of what is stored at the end", costs.end_value),
    ];
    let causes: Vec<String> = causes
        .iter()
        .filter(|(_, cost)| cost.get().abs() > 1e-9)
        .map(|(cause, cost)| format!("{cause} {}", money(cost.get())))
        .collect();
    if !causes.is_empty() {
        lines.push(format!("costs: {}", causes.join(", ")));
    }
    if answer.carbon.emissions_kg.abs() > 1e-9 {
        let factor = if answer.carbon.factor == Factor::Marginal { "marginal" } else { "average" };
        let kg = words::figure(answer.carbon.emissions_kg);
        lines.push(format!("emissions: {kg} kg, import by the {factor} factor"));
    }
    lines.extend(answer.given_up.iter().map(|given| format!("given up: {}", given_up(given, currency))));
    if let Some(conflict) = &answer.conflict {
        let limits: Vec<String> = conflict.limits.iter().map(limit).collect();
        let more = if conflict.irreducible { "" } else { " (fewer may do)" };
        lines.push(format!("cannot hold together{more}: {}", limits.join(" + ")));
    }
    lines.join("\n") + "\n"
}

fn given_up(given: &GivenUp, currency: &str) -> String {
    let step = given.step.as_deref().unwrap_or_default();
    let name = given.name.as_deref().unwrap_or_default();
    let kw = format!("{} kW", words::figure(given.by_kw.unwrap_or_default()));
    let kwh = format!("{} kWh", words::figure(given.by_kwh.unwrap_or_default()));
    let of = given.name.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
    let what = match given.limit {
        LimitName::Import => format!("import limit{of} by {kw} at {step}"),
        LimitName::Export => format!("export limit{of} by {kw} at {step}"),
        LimitName::Use => format!("{kwh} that {name} needs at {step}"),
        LimitName::Target => format!("{kwh} of the target of {name} at the end of the step at {step}"),
        LimitName::Work => format!("{kwh} of {name}"),
        LimitName::SpinningReserve => format!("spinning reserve by {kw} at {step}"),
        LimitName::CarbonCap => format!("carbon cap by {kg} kg", kg = words::figure(given.amount().0)),
    };
    let unit = if given.price_per_kg.is_some() { "kg" } else { "kWh" };
    match given.price() {
        Some(price) => format!("{what}, at {} {currency}/{unit}", words::figure(price)),
        None => what,
    }
}

fn limit(range: &LimitRange) -> String {
    let LimitRange { limit, name, from, to } = range;
    let of = name.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
    match limit {
        LimitName::Import => format!("import limit{of} {from} … {to}"),
        LimitName::Export => format!("export limit{of} {from} … {to}"),
        LimitName::SpinningReserve => format!("spinning reserve {from} … {to}"),
        LimitName::CarbonCap => format!("carbon cap {from} … {to}"),
        LimitName::Target => format!("target{of} by {to}"),
        LimitName::Use => format!("use{of} {from} … {to}"),
        LimitName::Work => format!("work{of} {from} … {to}"),
    }
}

/// A line per step.
pub(crate) fn table(answer: &Answer, case: &Case) -> Table {
    let (problem, island) = (&case.problem, case.model.connection.is_island());
    let mut table = Table::new(&["TIME", "GRID", "STORED", "PRICE", "BECAUSE"]);
    let capacity: f64 = problem.storages.iter().map(|storage| storage.capacity.as_kwh()).sum();
    let price =
        |t: usize| format!("{:.3} {}/kWh", problem.connection.import_price[t].as_per_kwh(), answer.currency);
    for (t, time) in answer.steps.iter().enumerate() {
        let stored = problem.storages.iter().filter_map(|storage| {
            Some(answer.solution.get(&storage.id)?.soc.get(t)? * storage.capacity.as_kwh())
        });
        let stored: f64 = stored.sum();
        let because = answer
            .solution
            .iter()
            .filter_map(|(name, part)| Some((name.as_str(), part.because.get(t)?.as_str())));
        table.row(vec![
            time.clone(),
            words::connection(island)(answer.grid_kw[t]),
            if capacity > 0.0 { words::percent(stored / capacity) } else { String::new() },
            if island { String::new() } else { price(t) },
            words::reasons(because),
        ]);
    }
    table
}

/// A row per step and asset, for programs.
pub(crate) fn rows(answer: &Answer) -> Table {
    let mut table = Table::new(&["TIME", "ASSET", "POWER_KW", "SOC", "BECAUSE"]);
    for (t, time) in answer.steps.iter().enumerate() {
        table.row(vec![
            time.clone(),
            "grid".into(),
            answer.grid_kw[t].to_string(),
            String::new(),
            String::new(),
        ]);
        for (name, part) in &answer.solution {
            let text = |list: &[f64]| list.get(t).map(ToString::to_string).unwrap_or_default();
            let because = part.because.get(t).cloned().unwrap_or_default();
            table.row(vec![time.clone(), name.clone(), text(&part.power_kw), text(&part.soc), because]);
        }
    }
    table
}
