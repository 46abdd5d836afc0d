//! Planning again after every step, with everything carried over, comes to what one plan of the whole horizon comes to: what is
//! decided is best from where it is (R. Bellman, "Dynamic Programming", 1957), if nothing of where it is gets lost.

use proptest::prelude::*;
use rand::RngExt;
use sos_dispatch::{
    Before, Budget, CarbonCap, Charge, Charged, CostPoint, Generator, Problem, Ramping, Schedule, Sum,
    emissions, solve, verify,
};
use sos_units::*;

use crate::make;

fn budget() -> Budget {
    Budget { gap: 1e-7, nodes: 10_000, ..Budget::default() }
}

/// The rest of a problem once its first step was done as planned.
fn after_first(problem: &Problem, schedule: &Schedule) -> Problem {
    let mut rest = problem.clone();
    let first = problem.steps[0];
    rest.steps.remove(0);
    rest.fixed.remove(0);
    let c = &mut rest.connection;
    c.import_limit.remove(0);
    c.export_limit.remove(0);
    c.import_price.remove(0);
    c.export_price.remove(0);
    c.carbon_intensity.remove(0);
    let import = schedule.grid[0].as_kw().max(0.0);
    for charge in &mut c.charges {
        for sum in &mut charge.sums {
            let here: f64 =
                sum.steps.iter().filter(|(t, _)| *t == 0).map(|(_, weight)| weight * import).sum();
            sum.so_far += here;
            sum.steps.retain(|(t, _)| *t > 0);
            sum.steps.iter_mut().for_each(|(t, _)| *t -= 1);
        }
        match charge.what {
            // An interval that is over is the peak so far, if it is the highest.
            Charged::Peak => {
                let over = charge.sums.iter().filter(|sum| sum.steps.is_empty()).map(|sum| sum.so_far);
                charge.free = over.fold(charge.free, f64::max);
                charge.sums.retain(|sum| !sum.steps.is_empty());
            }
            Charged::Energy => {
                let used = charge.sums[0].so_far;
                charge.free = (charge.free - used).max(0.0);
                charge.sums[0].so_far = 0.0;
            }
        }
    }
    c.ramping.iter_mut().for_each(|ramping| ramping.before = Some(schedule.grid[0]));
    if let Some(cap) = &mut rest.carbon_cap {
        let mut only = problem.clone();
        only.connection.carbon_intensity.iter_mut().skip(1).for_each(|one| *one = CarbonIntensity::ZERO);
        let burnt: f64 = problem
            .generators
            .iter()
            .map(|g| {
                schedule.generators[&g.id].power[0].as_kw()
                    * first.duration.get()
                    * g.emissions.as_kg_per_kwh()
            })
            .sum();
        only.generators.iter_mut().for_each(|g| g.emissions = CarbonIntensity::ZERO);
        cap.kg = (cap.kg - emissions(&only, schedule) - burnt).max(0.0);
    }
    for storage in &mut rest.storages {
        storage.soc = schedule.storage[&storage.id].soc_after[0];
    }
    for generator in &mut rest.generators {
        generator.before = generator.after(&problem.steps, &schedule.generators[&generator.id], 0);
    }
    rest
}

/// Plans step by step; the first steps of all plans, one after the other.
fn rolled(problem: &Problem) -> Schedule {
    let mut whole = Schedule::default();
    let mut rest = problem.clone();
    loop {
        let plan = solve(&rest, &budget()).unwrap().schedule;
        whole.grid.push(plan.grid[0]);
        for (id, one) in &plan.storage {
            let into = whole.storage.entry(id.clone()).or_default();
            into.power.push(one.power[0]);
            into.stored_after.push(one.stored_after[0]);
            into.soc_after.push(one.soc_after[0]);
        }
        for (id, one) in &plan.generators {
            let into = whole.generators.entry(id.clone()).or_default();
            into.on.push(one.on[0]);
            into.power.push(one.power[0]);
        }
        let step = whole.grid.len() - 1;
        let here = plan.breaches.iter().filter(|breach| breach.step == 0);
        whole.breaches.extend(here.map(|breach| sos_dispatch::Breach { step, ..breach.clone() }));
        if rest.steps.len() == 1 {
            return whole;
        }
        rest = after_first(&rest, &plan);
    }
}

fn generator(id: &str, least: f64, most: f64, price: f64) -> Generator {
    let point = |power: f64| CostPoint { power: Power::kw(power), per_hour: Money::new(0.3 + price * power) };
    Generator {
        id: id.into(),
        curve: vec![point(least), point(most)],
        start_cost: Money::new(0.4),
        emissions: CarbonIntensity::kg_per_kwh(0.6),
        min_up: Hours::new(3.0),
        min_down: Hours::new(2.0),
        ramp_up: Some(Power::kw(1.5)),
        ramp_down: None,
        start_power: None,
        stop_power: None,
        before: Before { on: true, hours: Hours::new(1.0), power: Power::kw(least) },
        available: None,
    }
}

/// Everything that has a memory.
fn anything(seed: u64) -> Problem {
    let mut rng = make::random(seed);
    let n = rng.random_range(3..8);
    let prices: Vec<f64> = (0..n).map(|_| rng.random_range(0.05..0.6)).collect();
    let net: Vec<f64> = (0..n).map(|_| rng.random_range(-6.0..1.0)).collect();
    let mut problem = make::problem(1.0, &prices, &net);
    problem.connection.import_limit = vec![Some(Power::kw(4.0)); n];
    problem.connection.carbon_intensity =
        (0..n).map(|_| CarbonIntensity::kg_per_kwh(rng.random_range(0.1..0.6))).collect();
    let mut battery = make::battery("b", 5.0, 2.0, 0.5);
    battery.dynamics.retention = 0.98;
    problem.storages = vec![battery];
    problem.generators = vec![generator("g", 1.0, 4.0, rng.random_range(0.2..0.5))];
    let pair = |t: usize| Sum { so_far: 0.0, steps: (t..(t + 2).min(n)).map(|t| (t, 0.5)).collect() };
    let peak = Charge {
        id: "peak".into(),
        what: Charged::Peak,
        price: rng.random_range(0.0..1.0),
        free: 1.0,
        sums: (0..n).step_by(2).map(pair).collect(),
    };
    let all = Sum { so_far: 0.0, steps: (0..n).map(|t| (t, 1.0)).collect() };
    let tier = Charge { id: "tier".into(), what: Charged::Energy, price: 0.1, free: 3.0, sums: vec![all] };
    problem.connection.charges = vec![peak, tier];
    problem.connection.ramping = Some(Ramping { price: 0.02, before: Some(Power::kw(1.0)) });
    problem.carbon_cap =
        Some(CarbonCap { kg: rng.random_range(1.0..6.0), price: CarbonPrice::per_kg(0.5), steps: None });
    problem
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rolling_plan_with_perfect_forecasts_is_the_plan_of_the_whole(seed in any::<u64>()) {
        let problem = anything(seed);
        let at_once = solve(&problem, &budget()).unwrap();
        let step_by_step = verify(&problem, &rolled(&problem));
        prop_assert_eq!(&step_by_step.violations, &[]);
        let (whole, rolled) = (at_once.objective.get(), step_by_step.objective.get());
        prop_assert!((whole - rolled).abs() < 1e-4 * (1.0 + whole.abs()), "{whole} at once, {rolled} step by step");
    }
}
