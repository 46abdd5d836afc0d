//! `sos optimize --pareto N`: what fewer emissions cost.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sos_dispatch::{CarbonCap, Planned, Problem, emissions};
use sos_engine::site::case::Case;
use sos_units::{CarbonIntensity, CarbonPrice};

use super::answer::Factor;
use super::search::{self, Deadline};
use crate::outcome::Failure;
use crate::output::{OutputArgs, Table, answer};
use crate::words;

/// Price of a kg at which emissions count before all costs.
const FIRST: f64 = 1e3;
/// Price of a kg that decides between plans of equal cost alone.
const LAST: f64 = 1e-6;

/// A curve from the cheapest plan to the one with the fewest emissions.
#[derive(Debug, Serialize)]
struct Curve {
    currency: String,
    /// What kind of factor import is counted with.
    factor: Factor,
    points: Vec<Point>,
}

/// A plan that no other one beats in both.
#[derive(Debug, Serialize)]
struct Point {
    /// All costs of the plan, without a price on carbon.
    cost: f64,
    emissions_kg: f64,
    /// What one kg less would cost here.
    price_per_kg: f64,
}

/// Plans with caps on emissions, evenly from the cheapest plan to the one with the fewest.
pub(super) fn run(
    case: &Case,
    points: NonZeroUsize,
    gap: f64,
    limit: Duration,
    output: &OutputArgs,
) -> Result<(), Failure> {
    if !emits(&case.problem) {
        let site = &case.model.name;
        let help = "set spec.connection.carbonIntensity of the Site, or emissions of its generators";
        return Err(Failure::input(format!("--pareto: nothing of Site/{site} is known to emit; {help}")));
    }
    let deadline = Deadline::after(limit);
    let plan = |problem: Problem| -> Result<(Problem, Planned), Failure> {
        let problem = Arc::new(problem);
        let (planned, _) = search::plan(&problem, gap, 0, &deadline)?;
        Ok((Arc::unwrap_or_clone(problem), planned))
    };
    let cheapest = plan(priced(&case.problem, LAST, None))?;
    let cleanest = plan(priced(&case.problem, FIRST, None))?;
    let (most, least) = (kg(&cheapest), kg(&cleanest));
    let last = points.get().saturating_sub(1);
    let mut curve = vec![point(&cheapest)];
    for index in 1..last {
        let cap = most + (least - most) * index as f64 / last as f64;
        curve.push(point(&plan(priced(&case.problem, LAST, Some(cap)))?));
    }
    if last > 0 {
        curve.push(point(&plan(priced(&case.problem, LAST, Some(least)))?));
    }
    let curve = Curve {
        currency: case.model.currency.clone(),
        factor: case.model.connection.carbon_factor.into(),
        points: curve,
    };
    answer(output.format(), &table(&curve), &curve).map(drop)
}

/// Whether anything is known to emit at any time.
fn emits(problem: &Problem) -> bool {
    let feeders = problem.feeders.iter().map(|feeder| &feeder.connection);
    let mut intensities = std::iter::once(&problem.connection)
        .chain(feeders)
        .flat_map(|connection| &connection.carbon_intensity);
    intensities.any(|intensity| *intensity > CarbonIntensity::ZERO)
        || problem.generators.iter().any(|generator| generator.emissions > CarbonIntensity::ZERO)
}

/// The problem with this price on carbon and this cap.
fn priced(problem: &Problem, price: f64, cap: Option<f64>) -> Problem {
    let mut problem = problem.clone();
    let price = CarbonPrice::per_kg(price);
    problem.connection.carbon_price = price;
    problem.feeders.iter_mut().for_each(|feeder| feeder.connection.carbon_price = price);
    problem.carbon_cap = cap.map(|kg| CarbonCap { kg, price: CarbonPrice::per_kg(FIRST), steps: None });
    problem
}

fn kg((problem, planned): &(Problem, Planned)) -> f64 {
    emissions(problem, &planned.schedule)
}

fn point(found: &(Problem, Planned)) -> Point {
    let costs = found.1.costs;
    Point {
        cost: (costs.total() - costs.carbon - costs.carbon_cap).get(),
        emissions_kg: kg(found),
        price_per_kg: found.1.schedule.shadow.carbon,
    }
}

fn table(curve: &Curve) -> Table {
    let cost = format!("COST [{}]", curve.currency);
    let price = format!("NEXT [{}/kg]", curve.currency);
    let mut table = Table::new(&[&cost, "EMISSIONS [kg]", &price]);
    for point in &curve.points {
        let figures = [point.cost, point.emissions_kg, point.price_per_kg];
        table.row(figures.iter().map(|figure| words::figure(*figure)).collect());
    }
    table
}
