//! When work can run: windows, start profiles, and what may be left for the time after the horizon.

use sos_units::FlexibleWork;

use crate::problem::Problem;

/// What a piece of work can do within a horizon. Plain numbers: kW, kWh, currency.
#[derive(Clone, Debug)]
pub(crate) enum Options {
    /// Runs already and may not be interrupted.
    GoesOn(Profile),
    /// One block, one start of several.
    Block(Vec<Profile>),
    /// Any power up to a step's most, mean over the step.
    Free(Free),
}

/// Power over steps when started in a certain step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    /// First step with power; equal to the number of steps when it is left for later.
    pub(crate) start: usize,
    /// Mean power per step from `start` on, kW.
    pub(crate) power: Vec<f64>,
    /// Energy after the horizon, kWh.
    pub(crate) later: f64,
    /// Energy that is not done by the deadline, kWh.
    pub(crate) missed: f64,
}

/// Work that may pause.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Free {
    /// First step in the window.
    pub(crate) start: usize,
    /// Most mean power per step from `start` on, kW.
    pub(crate) most: Vec<f64>,
    /// Most energy that can be left for the time after the horizon, kWh.
    pub(crate) later: f64,
}

const HOURS_PER_SECOND: f64 = 1.0 / 3600.0;

/// Hours of step `i` that lie between two instants.
fn overlap(problem: &Problem, i: usize, from: jiff::Timestamp, to: jiff::Timestamp) -> f64 {
    let step = problem.steps[i];
    let (start, end) = (step.start.max(from), step.end().min(to));
    if end <= start { 0.0 } else { end.duration_since(start).as_secs_f64() * HOURS_PER_SECOND }
}

/// Hours that are left after the horizon until the deadline.
fn hours_after(problem: &Problem, work: &FlexibleWork) -> f64 {
    let end = problem.end().unwrap_or(jiff::Timestamp::MIN).max(work.earliest);
    if work.deadline <= end {
        0.0
    } else {
        work.deadline.duration_since(end).as_secs_f64() * HOURS_PER_SECOND
    }
}

/// What `work` can do within the horizon.
pub(crate) fn options(problem: &Problem, work: &FlexibleWork) -> Options {
    if work.interruptible {
        return Options::Free(free(problem, work));
    }
    if work.running {
        return Options::GoesOn(profile(problem, work, 0, problem.steps[0].start));
    }
    Options::Block(blocks(problem, work))
}

fn free(problem: &Problem, work: &FlexibleWork) -> Free {
    let most: Vec<f64> = (0..problem.len())
        .map(|i| {
            let share = overlap(problem, i, work.earliest, work.deadline) / problem.steps[i].duration.get();
            work.max_power.as_kw() * share.min(1.0)
        })
        .collect();
    let start = most.iter().position(|&p| p > 0.0).unwrap_or(most.len());
    let end = most.iter().rposition(|&p| p > 0.0).map_or(start, |last| last + 1);
    Free {
        start,
        most: most[start..end].to_vec(),
        later: work.max_power.as_kw() * hours_after(problem, work),
    }
}

/// All starts at which the work is done in time. Starts lie at the beginning of a step, the first one also at
/// `earliest` within a step.
fn blocks(problem: &Problem, work: &FlexibleWork) -> Vec<Profile> {
    let power = work.max_power.as_kw();
    let energy = work.energy.as_kwh();
    if power <= 0.0 {
        return Vec::new();
    }
    let mut starts = Vec::new();
    for (i, step) in problem.steps.iter().enumerate() {
        let at = step.start.max(work.earliest);
        if at >= step.end() || at >= work.deadline {
            continue;
        }
        let profile = profile(problem, work, i, at);
        if profile.missed <= 1e-9 * (1.0 + energy) {
            starts.push(Profile { missed: 0.0, ..profile });
        }
    }
    if energy / power <= hours_after(problem, work) + 1e-9 {
        starts.push(Profile { start: problem.len(), power: Vec::new(), later: energy, missed: 0.0 });
    }
    starts
}

/// Runs at full power from `at`, which lies in step `first`, until the energy is used.
fn profile(problem: &Problem, work: &FlexibleWork, first: usize, at: jiff::Timestamp) -> Profile {
    let full = work.max_power.as_kw();
    let mut left = work.energy.as_kwh();
    let mut missed = 0.0;
    let mut power = Vec::new();
    for i in first..problem.len() {
        if left <= 1e-12 {
            break;
        }
        let hours = overlap(problem, i, at, jiff::Timestamp::MAX);
        let energy = left.min(full * hours);
        missed += (energy - full * overlap(problem, i, at, work.deadline)).max(0.0);
        power.push(energy / problem.steps[i].duration.get());
        left -= energy;
    }
    // What is left can only be done in time while there is time after the horizon.
    let later = left.min(full * hours_after(problem, work));
    Profile { start: first, power, later, missed: missed + (left - later).max(0.0) }
}

/// What a kWh after the horizon is taken to cost: the mean full import price of the horizon, weighed by time.
pub(crate) fn price_after(problem: &Problem) -> f64 {
    let hours: f64 = problem.steps.iter().map(|s| s.duration.get()).sum();
    let sum: f64 = (0..problem.len())
        .map(|i| problem.connection.full_import_price(i).as_per_kwh() * problem.steps[i].duration.get())
        .sum();
    sum / hours
}
