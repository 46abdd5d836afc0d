//! A linear or mixed-integer programme in plain lists, and the only place that talks to HiGHS.

use highs::{ColProblem, HighsModelStatus, HighsSolutionStatus, Model, Row, Sense, SolvedModel};

use crate::interior::NO_STEP;
use crate::problem::Budget;

/// Minimise `cost · x` with `low ≤ x ≤ high` and `row_low ≤ A x ≤ row_high`; `A` by columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lp {
    pub(crate) cost: Vec<f64>,
    pub(crate) low: Vec<f64>,
    pub(crate) high: Vec<f64>,
    pub(crate) integer: Vec<bool>,
    starts: Vec<u32>,
    rows: Vec<u32>,
    values: Vec<f64>,
    /// Entries added to columns that were finished before: column, row, value.
    late: Vec<(u32, u32, f64)>,
    pub(crate) row_low: Vec<f64>,
    pub(crate) row_high: Vec<f64>,
    /// The part that a row belongs to, and its place among the rows of that part; none for rows that parts share.
    owners: Vec<Option<(u32, u32)>>,
    /// The step that a row belongs to.
    steps: Vec<u16>,
}

/// Values of columns and marginal values of rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) x: Vec<f64>,
    /// Rise of the objective per unit of right-hand side; only meaningful for a linear programme.
    pub(crate) dual: Vec<f64>,
}

/// Why there is no point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The iterations or nodes of the budget ran out before any point was found.
    Budget,
    /// The programme has no feasible point.
    Infeasible,
    /// Anything else HiGHS may say.
    Solver,
}

/// A result of the search over integers.
#[derive(Clone, Debug)]
pub(crate) struct Mixed {
    pub(crate) x: Vec<f64>,
    /// No point is cheaper than this.
    pub(crate) bound: f64,
}

impl Lp {
    pub(crate) fn add_row(&mut self, low: f64, high: f64) -> usize {
        self.row_low.push(low);
        self.row_high.push(high);
        self.owners.push(None);
        self.steps.push(NO_STEP);
        self.row_low.len() - 1
    }

    /// Gives a row to a part. No column may meet rows of two parts; rows that meet in a column should have places close to each
    /// other.
    pub(crate) fn own(&mut self, row: usize, part: usize, place: usize) {
        self.owners[row] = Some((part as u32, place as u32));
    }

    /// Tells the step that a row belongs to.
    pub(crate) fn at_step(&mut self, row: usize, step: usize) {
        self.steps[row] = u16::try_from(step).unwrap_or(NO_STEP);
    }

    /// The step that a row belongs to.
    pub(crate) fn step_of(&self, row: usize) -> u16 {
        self.steps[row]
    }

    /// The part that a row belongs to, and its place there.
    pub(crate) fn owner(&self, row: usize) -> Option<(u32, u32)> {
        self.owners[row]
    }

    pub(crate) fn add_column(&mut self, cost: f64, low: f64, high: f64, entries: &[(usize, f64)]) -> usize {
        self.cost.push(cost);
        self.low.push(low);
        self.high.push(high);
        self.integer.push(false);
        self.starts.push(self.rows.len() as u32);
        for &(row, value) in entries {
            if value != 0.0 {
                self.rows.push(row as u32);
                self.values.push(value);
            }
        }
        self.cost.len() - 1
    }

    /// Adds an entry to a column that exists already. Call [`Lp::finish`] once after the last one.
    pub(crate) fn append(&mut self, column: usize, row: usize, value: f64) {
        if value != 0.0 {
            self.late.push((column as u32, row as u32, value));
        }
    }

    /// Puts appended entries into their columns, and gives back memory that is not needed.
    pub(crate) fn finish(&mut self) {
        if !self.late.is_empty() {
            self.put_late();
        }
        for values in [&mut self.cost, &mut self.low, &mut self.high, &mut self.values] {
            values.shrink_to_fit();
        }
        self.rows.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.integer.shrink_to_fit();
    }

    fn put_late(&mut self) {
        // Stable, so entries of a column keep the order in which they were added.
        let mut late = std::mem::take(&mut self.late);
        late.sort_by_key(|&(column, _, _)| column);
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        let mut starts = Vec::with_capacity(self.starts.len());
        let mut next = late.into_iter().peekable();
        for column in 0..self.columns() {
            starts.push(rows.len() as u32);
            for (row, value) in self.entries(column) {
                rows.push(row as u32);
                values.push(value);
            }
            while let Some((_, row, value)) = next.next_if(|&(c, _, _)| c as usize == column) {
                rows.push(row);
                values.push(value);
            }
        }
        (self.starts, self.rows, self.values) = (starts, rows, values);
    }

    pub(crate) fn columns(&self) -> usize {
        self.cost.len()
    }

    /// Rows and values of a column.
    pub(crate) fn entries(&self, column: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let end = self.starts.get(column + 1).map_or(self.rows.len(), |&end| end as usize);
        let range = self.starts[column] as usize..end;
        self.rows[range.clone()].iter().zip(&self.values[range]).map(|(&row, &value)| (row as usize, value))
    }

    /// A lower bound of `costs · x` over the relaxation, valid for any `dual` (weak duality): each row is moved
    /// into the objective at its multiplier, each column then goes to its cheaper end.
    pub(crate) fn dual_bound(&self, costs: &[f64], dual: &[f64]) -> f64 {
        let mut bound = 0.0;
        for (row, &y) in dual.iter().enumerate() {
            let side = if y >= 0.0 { self.row_low[row] } else { self.row_high[row] };
            // A multiplier of the wrong sign on a one-sided row is rounding: it is dropped from both sums.
            if side.is_finite() {
                bound += y * side;
            }
        }
        let usable = |row: usize, y: f64| {
            if y >= 0.0 { self.row_low[row].is_finite() } else { self.row_high[row].is_finite() }
        };
        for (column, &cost) in costs.iter().enumerate().take(self.columns()) {
            let moved: f64 = self
                .entries(column)
                .filter(|&(row, _)| usable(row, dual[row]))
                .map(|(row, value)| value * dual[row])
                .sum();
            let reduced = cost - moved;
            bound += reduced * if reduced >= 0.0 { self.low[column] } else { self.high[column] };
        }
        bound
    }

    fn model(&self, costs: &[f64], effort: Effort, budget: &Budget) -> Result<Model, Failure> {
        let with_integers = effort == Effort::Integers;
        let mut problem = ColProblem::new();
        let rows: Vec<Row> = self
            .row_low
            .iter()
            .zip(&self.row_high)
            .map(|(&low, &high)| problem.add_row(low..=high))
            .collect();
        for (column, &cost) in costs.iter().enumerate().take(self.columns()) {
            let bounds = self.low[column]..=self.high[column];
            let entries = self.entries(column).map(|(row, value)| (rows[row], value));
            let integer = with_integers && self.integer[column];
            problem.add_column_with_integrality(cost, bounds, entries.collect::<Vec<_>>(), integer);
        }
        let mut model = problem.try_optimise(Sense::Minimise).map_err(|_| Failure::Solver)?;
        let big = self.columns() > LARGE;
        set(&mut model, "threads", 1)?;
        set(&mut model, "parallel", "off")?;
        set(&mut model, "random_seed", 1)?;
        let iterations = i32::try_from(budget.iterations).unwrap_or(i32::MAX);
        set(&mut model, "simplex_iteration_limit", iterations)?;
        set(&mut model, "mip_max_nodes", i32::try_from(budget.nodes).unwrap_or(i32::MAX))?;
        set(&mut model, "mip_rel_gap", budget.gap.clamp(0.0, 1.0))?;
        // Presolve costs more than it saves on a day's plan; so does the interior-point method.
        set(&mut model, "presolve", if big || effort != Effort::Exact { "on" } else { "off" })?;
        if !big && effort != Effort::Robust {
            set(&mut model, "solver", "simplex")?;
            set(&mut model, "dual_feasibility_tolerance", 1e-9)?;
            set(&mut model, "primal_feasibility_tolerance", 1e-9)?;
        }
        Ok(model)
    }

    /// Solves without integrality.
    pub(crate) fn relaxed(&self, budget: &Budget) -> Result<Relaxed, Failure> {
        let solve = |effort| {
            let solved = self.model(&self.cost, effort, budget)?.try_solve().map_err(|_| Failure::Solver)?;
            Relaxed::new(solved)
        };
        match solve(Effort::Exact) {
            // One plan in ten thousand of random numbers ends here; nine digits are more than its data allow.
            Err(Failure::Solver) => solve(Effort::Robust),
            other => other,
        }
    }

    /// Solves with integrality, by branch and cut, under costs of its own.
    pub(crate) fn mixed(&self, costs: &[f64], budget: &Budget) -> Result<Mixed, Failure> {
        let solved = self.model(costs, Effort::Integers, budget)?.try_solve().map_err(|_| Failure::Solver)?;
        if solved.primal_solution_status() != HighsSolutionStatus::Feasible {
            return Err(match solved.status() {
                HighsModelStatus::Infeasible => Failure::Infeasible,
                HighsModelStatus::ReachedIterationLimit | HighsModelStatus::ReachedSolutionLimit => {
                    Failure::Budget
                }
                _ => Failure::Solver,
            });
        }
        let bound = solved.double_info_value(c"mip_dual_bound").map_err(|_| Failure::Solver)?;
        let x = solved.get_solution().columns().to_vec();
        Ok(Mixed { x, bound: if bound.is_finite() { bound } else { f64::NEG_INFINITY } })
    }
}

/// How a programme is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// Without integers, to nine digits, as fast as can be for a small programme.
    Exact,
    /// Without integers, in the solver's own way and to its own tolerances.
    Robust,
    /// With integers.
    Integers,
}

/// Columns from which presolve pays.
const LARGE: usize = 20_000;

fn set<V: highs::HighsOptionValue>(model: &mut Model, name: &str, value: V) -> Result<(), Failure> {
    model.try_set_option(name, value).map_err(|_| Failure::Solver)
}

/// A solved relaxation that can be solved again from where it stands, with other bounds.
#[derive(Debug)]
pub(crate) struct Relaxed {
    pub(crate) point: Point,
    pub(crate) iterations: i64,
    model: Model,
}

impl Relaxed {
    fn new(solved: SolvedModel) -> Result<Self, Failure> {
        match solved.status() {
            HighsModelStatus::Optimal => {}
            HighsModelStatus::Infeasible => return Err(Failure::Infeasible),
            HighsModelStatus::ReachedIterationLimit => return Err(Failure::Budget),
            _ => return Err(Failure::Solver),
        }
        let solution = solved.get_solution();
        let point = Point { x: solution.columns().to_vec(), dual: solution.dual_rows().to_vec() };
        let iterations = solved.simplex_iteration_count().max(0) + solved.ipm_iteration_count().max(0);
        Ok(Self { point, iterations, model: solved.into() })
    }

    /// Narrows columns to single values and solves on from the present basis.
    pub(crate) fn fix(self, fixed: &[(usize, f64)]) -> Result<Self, Failure> {
        let handles = handles(self.point.x.len());
        let mut model = self.model;
        for &(column, value) in fixed {
            model.change_column_bounds(handles[column], value..=value);
        }
        let before = self.iterations;
        let mut next = Self::new(model.try_solve().map_err(|_| Failure::Solver)?)?;
        next.iterations += before;
        Ok(next)
    }
}

/// Handles of the first columns of any model. The library only hands them out for columns added one by one to a
/// row-wise problem, although they are mere indices; so a throw-away problem makes them.
fn handles(columns: usize) -> Vec<highs::Col> {
    let mut mint = highs::RowProblem::new();
    (0..columns).map(|_| mint.add_column(0.0, 0.0..=0.0)).collect()
}
