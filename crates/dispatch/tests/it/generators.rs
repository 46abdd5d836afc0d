//! Unit commitment against exhaustive search, against published cases, and with limits that are broken on purpose.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use sos_dispatch::{
    Before, Budget, CostPoint, Generator, PlanSource, Problem, Solved, Step, rule_plan, solve,
    solve_or_fallback, verify,
};
use sos_units::*;

use crate::make;
use crate::skipped::skipped;

/// A generator with a straight cost curve.
pub(crate) fn generator(id: &str, least: f64, most: f64, price: f64) -> Generator {
    let point = |power: f64| CostPoint { power: Power::kw(power), per_hour: Money::new(price * power) };
    Generator {
        id: id.into(),
        curve: if most > least { vec![point(least), point(most)] } else { vec![point(least)] },
        start_cost: Money::ZERO,
        emissions: CarbonIntensity::ZERO,
        min_up: Hours::new(0.0),
        min_down: Hours::new(0.0),
        ramp_up: None,
        ramp_down: None,
        start_power: None,
        stop_power: None,
        before: Before { on: false, hours: Hours::new(100.0), power: Power::ZERO },
        available: None,
    }
}

/// An island: what its generators do not give is not served, at the breach price.
pub(crate) fn island(loads: &[f64], generators: Vec<Generator>) -> Problem {
    let net: Vec<f64> = loads.iter().map(|load| -load).collect();
    let mut problem = make::problem(1.0, &vec![0.0; loads.len()], &net);
    problem.connection.import_limit = vec![Some(Power::ZERO); loads.len()];
    problem.connection.export_limit = vec![Some(Power::ZERO); loads.len()];
    problem.connection.breach_price =
        Price::per_kwh(if loads.iter().any(|load| *load > 100.0) { 1e5 } else { 1e3 });
    problem.generators = generators;
    problem
}

pub(crate) fn proven(problem: &Problem) -> Solved {
    let solved = solve(problem, &Budget { gap: 0.0, nodes: 10_000, ..Budget::default() }).unwrap();
    let found = verify(problem, &solved.schedule);
    assert_eq!(found.violations, []);
    let size = 1.0 + solved.objective.get().abs();
    assert!(
        (found.objective - solved.objective).abs().get() < 1e-6 * size,
        "{found:?} {:?}",
        solved.objective
    );
    assert!(
        found.bound.unwrap().get() <= solved.objective.get() + 1e-6 * size,
        "{:?} {:?}",
        found.bound,
        solved.objective
    );
    solved
}

/// All ways to be on and off that hold shortest runs and rests, for one generator.
fn ways(generator: &Generator, n: usize) -> Vec<Vec<bool>> {
    let all = (0..1_u32 << n).map(|bits| (0..n).map(|t| bits >> t & 1 == 1).collect::<Vec<bool>>());
    let holds = |way: &Vec<bool>| {
        let (mut on, mut hours) = (generator.before.on, generator.before.hours.get());
        for &next in way {
            if next != on {
                let least = if on { generator.min_up } else { generator.min_down };
                if hours < least.get() {
                    return false;
                }
                (on, hours) = (next, 0.0);
            }
            hours += 1.0;
        }
        true
    };
    all.filter(holds).collect()
}

/// The least cost over all commitments; whole numbers, so that powers on a grid of one kW hold a best plan.
fn exhaustive(problem: &Problem) -> f64 {
    let n = problem.steps.len();
    let ways: Vec<Vec<Vec<bool>>> = problem.generators.iter().map(|g| ways(g, n)).collect();
    let mut best = f64::INFINITY;
    let mut chosen = vec![0; ways.len()];
    loop {
        let commitment: Vec<&Vec<bool>> = chosen.iter().zip(&ways).map(|(&c, ways)| &ways[c]).collect();
        let mut starts = 0.0;
        for (generator, way) in problem.generators.iter().zip(&commitment) {
            let before = std::iter::once(&generator.before.on).chain(way.iter());
            let count = before.zip(way.iter()).filter(|(before, now)| !**before && **now).count();
            starts += generator.start_cost.get() * count as f64;
        }
        let powers: Vec<i32> = problem.generators.iter().map(|g| g.before.power.as_kw() as i32).collect();
        best = best.min(starts + dispatch(problem, &commitment, 0, &powers));
        let Some(next) = (0..chosen.len()).find(|&g| chosen[g] + 1 < ways[g].len()) else { break };
        chosen[next] += 1;
        chosen[..next].fill(0);
    }
    best
}

fn dispatch(problem: &Problem, commitment: &[&Vec<bool>], t: usize, before: &[i32]) -> f64 {
    if t == problem.steps.len() {
        return 0.0;
    }
    let mut best = f64::INFINITY;
    let mut powers = vec![0; before.len()];
    each_power(problem, commitment, t, before, 0, &mut powers, &mut |powers| {
        let mut cost = 0.0;
        for ((generator, way), &power) in problem.generators.iter().zip(commitment).zip(powers) {
            cost += if way[t] { generator.fuel(Power::kw(f64::from(power))).get() } else { 0.0 };
        }
        let grid = -problem.fixed[t].as_kw() - f64::from(powers.iter().sum::<i32>());
        let breach = grid.abs() * problem.connection.breach_price.as_per_kwh();
        best = best.min(cost + breach + dispatch(problem, commitment, t + 1, powers));
    });
    best
}

fn each_power(
    problem: &Problem,
    commitment: &[&Vec<bool>],
    t: usize,
    before: &[i32],
    g: usize,
    powers: &mut Vec<i32>,
    visit: &mut dyn FnMut(&[i32]),
) {
    let Some(generator) = problem.generators.get(g) else { return visit(powers) };
    let was_on = if t == 0 { generator.before.on } else { commitment[g][t - 1] };
    let ramp = |limit: Option<Power>| limit.map_or(1000, |limit| limit.as_kw() as i32);
    let least = generator.least() as i32;
    if !commitment[g][t] {
        powers[g] = 0;
        // What stops was no faster than it may be before.
        if !was_on || before[g] <= ramp(generator.ramp_down).max(least) {
            each_power(problem, commitment, t, before, g + 1, powers, visit);
        }
        return;
    }
    for power in least..=generator.most() as i32 {
        let holds = if was_on {
            power - before[g] <= ramp(generator.ramp_up) && before[g] - power <= ramp(generator.ramp_down)
        } else {
            power <= ramp(generator.ramp_up).max(least)
        };
        if holds {
            powers[g] = power;
            each_power(problem, commitment, t, before, g + 1, powers, visit);
        }
    }
}

prop_compose! {
    fn one()(
        least in 0..3_i32, range in 0..4_i32, price in 1..9_i32, start in 0..12_i32,
        up in 0..4_i32, down in 0..4_i32, ramps in (prop::option::of(1..4_i32), prop::option::of(1..4_i32)),
        before in (any::<bool>(), 0..4_i32, 0..4_i32), dearer in 0..4_i32,
    ) -> Generator {
        let mut g = generator("g", f64::from(least), f64::from(least + range), f64::from(price));
        if range > 1 {
            // A kink: what comes after the first kW is dearer.
            let (from, to) = (g.curve[0], g.curve[1]);
            let middle = CostPoint { power: from.power + Power::kw(1.0), per_hour: from.per_hour + Money::new(f64::from(price)) };
            let last = middle.per_hour + Money::new(f64::from((range - 1) * (price + dearer)));
            g.curve = vec![from, middle, CostPoint { per_hour: last, ..to }];
        }
        g.start_cost = Money::new(f64::from(start));
        (g.min_up, g.min_down) = (Hours::new(f64::from(up)), Hours::new(f64::from(down)));
        (g.ramp_up, g.ramp_down) = (ramps.0.map(|r| Power::kw(f64::from(r))), ramps.1.map(|r| Power::kw(f64::from(r))));
        let (on, hours, power) = before;
        let power = if on { (least + power).min(least + range) } else { 0 };
        g.before = Before { on, hours: Hours::new(f64::from(hours)), power: Power::kw(f64::from(power)) };
        g
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_commitment_is_cheaper_than_the_solved_one(
        mut generators in prop::collection::vec(one(), 1..3),
        loads in prop::collection::vec(0..8_i32, 4..=4),
    ) {
        generators.iter_mut().enumerate().for_each(|(i, g)| g.id = format!("g{i}"));
        let loads: Vec<f64> = loads.into_iter().map(f64::from).collect();
        let problem = island(&loads, generators);
        let best = exhaustive(&problem);
        let solved = solve(&problem, &Budget { gap: 0.0, nodes: 10_000, ..Budget::default() }).unwrap();
        let found = verify(&problem, &solved.schedule);
        prop_assert!(found.violations.is_empty(), "{:?}", found.violations);
        let near = 1e-6 * (1.0 + best.abs());
        prop_assert!((solved.objective.get() - best).abs() < 10.0 * near, "solved {} exhaustive {best}", solved.objective.get());
        prop_assert!(solved.bound.get() <= best + near && found.bound.unwrap().get() <= best + near);
        // The rule has a plan too, which holds and is no cheaper.
        let (schedule, costs) = rule_plan(&problem).unwrap();
        let found = verify(&problem, &schedule);
        prop_assert!(found.violations.is_empty(), "rule: {:?}", found.violations);
        prop_assert!(costs.total().get() >= best - near);
    }
}

#[test]
fn a_start_is_paid_once_and_a_run_is_long_enough() {
    let mut dear = generator("dear", 1.0, 5.0, 2.0);
    (dear.start_cost, dear.min_up) = (Money::new(7.0), Hours::new(3.0));
    let problem = island(&[0.0, 4.0, 0.0, 0.0, 0.0], vec![dear, generator("cheap", 0.0, 1.0, 0.5)]);
    let solved = proven(&problem);
    let plan = &solved.schedule.generators["dear"];
    // It has to run for three hours, in two of which nobody needs it: what cannot be used breaches the export limit. Yet not
    // to serve the load would cost more.
    assert_eq!(plan.on.iter().filter(|on| **on).count(), 3, "{:?}", plan.on);
    assert!(plan.on[1]);
    assert_eq!(solved.costs.starts, Money::new(7.0));
    let because = &solved.schedule.because["dear"];
    let told = |start: &str| because.iter().any(|reason| reason.text.starts_with(start));
    assert!(told("off until ") && told("runs at its least, 1.0 kW, until "), "{because:?}");
}

#[test]
fn emissions_decide_where_they_are_priced() {
    let mut coal = generator("coal", 0.0, 10.0, 0.10);
    coal.emissions = CarbonIntensity::kg_per_kwh(1.0);
    let gas = Generator { emissions: CarbonIntensity::kg_per_kwh(0.4), ..generator("gas", 0.0, 10.0, 0.15) };
    let mut problem = island(&[6.0], vec![coal, gas]);
    assert!((proven(&problem).schedule.generators["coal"].power[0] - Power::kw(6.0)).abs().as_kw() < 1e-6);
    problem.connection.carbon_price = CarbonPrice::per_kg(0.1);
    let solved = proven(&problem);
    assert!((solved.schedule.generators["gas"].power[0] - Power::kw(6.0)).abs().as_kw() < 1e-6);
    assert!((solved.costs.carbon.get() - 6.0 * 0.4 * 0.1).abs() < 1e-9, "{:?}", solved.costs);
}

#[test]
fn a_generator_that_is_lost_is_replaced_and_its_run_may_be_short() {
    let mut first = generator("first", 2.0, 10.0, 0.1);
    (first.min_up, first.available) = (Hours::new(4.0), Some(vec![true, true, false, false, true]));
    first.before = Before { on: true, hours: Hours::new(1.0), power: Power::kw(8.0) };
    let problem = island(&[8.0; 5], vec![first, generator("second", 1.0, 10.0, 0.3)]);
    let solved = proven(&problem);
    assert_eq!(solved.schedule.generators["first"].on, [true, true, false, false, true]);
    assert_eq!(solved.schedule.generators["second"].on[2..4], [true, true]);
    assert!(solved.schedule.breaches.is_empty());
}

#[test]
fn what_was_tampered_with_is_found() {
    let mut slow = generator("slow", 2.0, 10.0, 0.1);
    (slow.ramp_up, slow.min_down) = (Some(Power::kw(3.0)), Hours::new(3.0));
    let problem = island(&[3.0, 6.0, 9.0, 9.0], vec![slow]);
    let schedule = proven(&problem).schedule;
    let tampered = |change: &dyn Fn(&mut sos_dispatch::GeneratorSchedule)| {
        let mut schedule = schedule.clone();
        change(schedule.generators.get_mut("slow").unwrap());
        let violations = verify(&problem, &schedule).violations;
        violations.into_iter().map(|v| v.what).collect::<Vec<_>>().join("; ")
    };
    assert!(tampered(&|g| g.power[1] = Power::kw(9.0)).contains("rise of power, kW, of slow"));
    assert!(tampered(&|g| g.power[1] = Power::kw(1.0)).contains("power below the least, kW, of slow"));
    assert!(tampered(&|g| g.power[3] = Power::kw(11.0)).contains("power above the most, kW, of slow"));
    assert!(
        tampered(&|g| (g.on[1], g.power[1]) = (false, Power::ZERO))
            .contains("rest too short, hours, of slow")
    );
    assert!(tampered(&|g| g.on.truncate(3)).contains("state of slow has 3 steps instead of 4"));
}

#[test]
fn a_curve_that_falls_and_a_wrong_length_are_refused_by_name() {
    let mut wrong = generator("g", 1.0, 2.0, 1.0);
    wrong.curve.push(CostPoint { power: Power::kw(3.0), per_hour: Money::new(2.1) });
    let refused = |g: Generator| solve(&island(&[1.0], vec![g]), &Budget::default()).unwrap_err().to_string();
    assert!(refused(wrong.clone()).contains("cost per kWh of g is 0.1"), "{}", refused(wrong.clone()));
    wrong.curve.clear();
    assert!(refused(wrong).contains("points of the cost curve of g"));
    let short = Generator { available: Some(vec![]), ..generator("h", 1.0, 2.0, 1.0) };
    assert!(refused(short).contains("availability of h has 0 values"));
}

#[test]
fn out_of_budget_the_rule_takes_over_by_name() {
    let many: Vec<Generator> = (0..6)
        .map(|i| {
            let i = f64::from(i);
            let mut g = generator(&format!("g{i}"), 2.0 + i, 9.0 + i, 1.0 + 0.01 * i);
            (g.start_cost, g.min_up, g.min_down) = (Money::new(5.0 + i), Hours::new(3.0), Hours::new(2.0));
            g
        })
        .collect();
    let loads: Vec<f64> = (0..24).map(|t| 15.0 + 13.0 * f64::from(t % 7) / 2.0).collect();
    let problem = island(&loads, many);
    let planned =
        solve_or_fallback(&problem, &Budget { gap: 0.0, iterations: 1, nodes: 1, ..Budget::default() }, None)
            .unwrap();
    assert!(matches!(planned.source, PlanSource::Rule { .. }), "{:?}", planned.source);
    assert_eq!(verify(&problem, &planned.schedule).violations, []);
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    input: Input,
    expected: Expected,
}

#[derive(Deserialize)]
struct Input {
    units: Vec<Unit>,
    load: Vec<f64>,
    windows: Option<Vec<Vec<usize>>>,
}

#[derive(Deserialize)]
struct Unit {
    name: String,
    p_min: Option<f64>,
    p_max: Option<f64>,
    marginal_cost: Option<f64>,
    #[serde(default)]
    initially_on: bool,
    hours_on_before: Option<f64>,
    hours_off_before: Option<f64>,
    #[serde(default)]
    start_cost: f64,
    #[serde(default)]
    min_up_h: f64,
    #[serde(default)]
    min_down_h: f64,
    /// A converter is stated by its fuel.
    efficiency: Option<f64>,
    fuel_price: Option<f64>,
    fuel_in_min: Option<f64>,
    fuel_in_max: Option<f64>,
}

impl Unit {
    fn generator(&self) -> Generator {
        let efficiency = self.efficiency.unwrap_or(1.0);
        let power =
            |electric: Option<f64>, fuel: Option<f64>| electric.or(fuel.map(|f| f * efficiency)).unwrap();
        let price = self.marginal_cost.or(self.fuel_price.map(|p| p / efficiency)).unwrap();
        let (least, most) = (power(self.p_min, self.fuel_in_min), power(self.p_max, self.fuel_in_max));
        let mut g = generator(&self.name, least, most, price);
        g.start_cost = Money::new(self.start_cost);
        (g.min_up, g.min_down) = (Hours::new(self.min_up_h), Hours::new(self.min_down_h));
        let hours = self.hours_on_before.or(self.hours_off_before).unwrap_or(100.0);
        let power = Power::kw(if self.initially_on { most } else { 0.0 });
        g.before = Before { on: self.initially_on, hours: Hours::new(hours), power };
        g
    }
}

#[derive(Deserialize)]
struct Expected {
    cost: Option<f64>,
    #[serde(default)]
    status: BTreeMap<String, Vec<u8>>,
    #[serde(default)]
    power: BTreeMap<String, Vec<f64>>,
    turbine_status: Option<Vec<u8>>,
    turbine_electricity: Option<Vec<f64>>,
}

/// Whether each unit is on, and its power, by hour.
type Runs = BTreeMap<String, (Vec<bool>, Vec<f64>)>;

/// Plans window after window, each from the state at the end of the hour before it.
fn rolled(input: &Input) -> (f64, Runs) {
    let all: Vec<usize> = (0..input.load.len()).collect();
    let windows = input.windows.clone().unwrap_or_else(|| vec![all]);
    let mut generators: Vec<Generator> = input.units.iter().map(Unit::generator).collect();
    let mut plans: Runs = generators
        .iter()
        .map(|g| (g.id.clone(), (vec![false; input.load.len()], vec![0.0; input.load.len()])))
        .collect();
    let mut cost = 0.0;
    for (number, window) in windows.iter().enumerate() {
        let loads: Vec<f64> = window.iter().map(|&hour| input.load[hour]).collect();
        let problem = island(&loads, generators.clone());
        let solved = proven(&problem);
        cost = solved.objective.get();
        for generator in &mut generators {
            let plan = &solved.schedule.generators[&generator.id];
            let (on, power) = plans.get_mut(&generator.id).unwrap();
            for (t, &hour) in window.iter().enumerate() {
                (on[hour], power[hour]) = (plan.on[t], plan.power[t].as_kw());
            }
            if let Some(next) = windows.get(number + 1) {
                let last = window.iter().position(|&hour| hour + 1 == next[0]).unwrap();
                generator.before = generator.after(&problem.steps, plan, last);
            }
        }
    }
    (cost, plans)
}

/// The published cases where they lie; their figures are not shipped.
#[test]
fn published_cases_of_unit_commitment() {
    let Ok(folder) = std::env::var("ENERGY_CASES_DIR") else {
        return skipped("ENERGY_CASES_DIR names no folder of published cases");
    };
    let text = std::fs::read_to_string(format!("{folder}/unit-commitment.json")).unwrap();
    let cases: Cases = serde_json::from_str(&text).unwrap();
    // Others are of networks and stores.
    let of_units = |case: &serde_json::Value| case["input"].get("units").is_some();
    let (mut good, mut all) = (0, 0);
    for case in cases.cases.into_iter().filter(of_units) {
        let case: Case = serde_json::from_value(case).unwrap();
        let (cost, mut plans) = rolled(&case.input);
        if let Some((turbine, _)) = plans.clone().into_iter().find(|(name, _)| name.contains("turbine")) {
            plans.insert("turbine".into(), plans[&turbine].clone());
        }
        let Expected { cost: wanted, mut status, mut power, turbine_status, turbine_electricity } =
            case.expected;
        status.extend(turbine_status.map(|status| ("turbine".to_owned(), status)));
        power.extend(turbine_electricity.map(|power| ("turbine".to_owned(), power)));
        let mut wrong = Vec::new();
        if wanted.is_some_and(|wanted| (cost - wanted).abs() > 1e-6 * wanted.abs()) {
            wrong.push(format!("cost {cost} instead of {wanted:?}"));
        }
        for (name, wanted) in status {
            let found: Vec<u8> = plans[&name].0.iter().map(|&on| u8::from(on)).collect();
            if found != wanted {
                wrong.push(format!("{name} {found:?} instead of {wanted:?}"));
            }
        }
        for (name, wanted) in power {
            let found = &plans[&name].1;
            if found.iter().zip(&wanted).any(|(a, b)| (a - b).abs() > 1e-6 * (1.0 + b.abs())) {
                wrong.push(format!("{name} {found:?} instead of {wanted:?}"));
            }
        }
        all += 1;
        good += u32::from(wrong.is_empty());
        wrong.iter().for_each(|wrong| println!("{}: {wrong}", case.id));
    }
    println!("unit commitment: {good}/{all}");
    assert_eq!(good, all);
}

#[test]
fn half_hours_count_as_half_hours() {
    let mut g = generator("g", 1.0, 4.0, 2.0);
    (g.min_up, g.start_cost) = (Hours::new(1.0), Money::new(1.0));
    let mut problem = island(&[0.0, 2.0, 0.0, 0.0], vec![g]);
    let start = problem.steps[0].start;
    problem.steps = (0..4)
        .map(|t| Step { start: start + jiff::SignedDuration::from_mins(30 * t), duration: Hours::new(0.5) })
        .collect();
    let solved = proven(&problem);
    assert_eq!(solved.schedule.generators["g"].on.iter().filter(|on| **on).count(), 2);
    // An hour at 2 € a kWh: half at 2 kW, half at 1 kW.
    assert!((solved.costs.fuel.get() - (0.5 * 4.0 + 0.5 * 2.0)).abs() < 1e-9, "{:?}", solved.costs);
}
