//! What energy of work costs and emits by a plan: what more of it changes at the connection, all else as planned.

use std::ops::{Add, AddAssign, Sub};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sos_units::{Emissions, Energy, ExactEnergy, Hours, Money, Power};

use super::plan::SitePlan;

/// Money in the site's currency, and emissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    money: Money,
    emissions: Emissions,
}

impl Figures {
    /// Of work that uses its power from `now` on for some seconds, as an alternative to what the plan has it do.
    pub(super) fn at_once(plan: &SitePlan, now: Timestamp, id: &str, power: Power, seconds: i64) -> Self {
        let end = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        let mut sum = Self::default();
        let mut done = 0.0;
        for (t, step) in plan.problem.steps.iter().enumerate() {
            let (from, to) = (step.start.max(now), step.end().min(end));
            if to > from {
                let part = to.duration_since(from).as_secs_f64();
                done += part;
                sum += Self::more(plan, t, own(plan, id, t), power, Hours::from_seconds(part));
            }
        }
        sum + Self::mean(plan, power * Hours::from_seconds((seconds as f64 - done).max(0.0)))
    }

    /// Of what the plan has work do from `now` on; `left`: all that is left, of which the plan may leave a part for later.
    pub(super) fn planned(plan: &SitePlan, now: Timestamp, id: &str, left: Energy) -> Self {
        let (mut sum, mut done) = (Self::default(), Energy::ZERO);
        for (t, step) in plan.problem.steps.iter().enumerate().filter(|(_, step)| step.end() > now) {
            let hours = Hours::from_seconds(step.end().duration_since(step.start.max(now)).as_secs_f64());
            let power = own(plan, id, t);
            let energy = (power * hours).min(left - done);
            if energy > Energy::ZERO {
                done += energy;
                sum += Self::more(plan, t, power, energy / hours, hours);
            }
        }
        sum + Self::mean(plan, (left - done).max(Energy::ZERO))
    }

    /// Of energy that was used in a tick, zero or below.
    pub(super) fn of_tick(
        plan: Option<&SitePlan>,
        start: Timestamp,
        seconds: i64,
        used: ExactEnergy,
    ) -> Self {
        let Some((plan, t)) = plan.and_then(|plan| Some((plan, plan.step_at(start)?))) else {
            return Self::default();
        };
        let hours = Hours::from_seconds(seconds as f64);
        let power = used.to_energy().abs() / hours;
        Self::more(plan, t, power, power, hours)
    }

    /// What `power` adds in a step to what is planned without `own`.
    fn more(plan: &SitePlan, t: usize, own: Power, power: Power, hours: Hours) -> Self {
        let grid = plan.schedule.grid.get(t).copied().unwrap_or(Power::ZERO);
        let without = grid - own;
        Self::exchange(plan, t, without + power, hours) - Self::exchange(plan, t, without, hours)
    }

    fn exchange(plan: &SitePlan, t: usize, grid: Power, hours: Hours) -> Self {
        let connection = &plan.problem.connection;
        let (import, export) = (grid.max(Power::ZERO) * hours, (-grid).max(Power::ZERO) * hours);
        Self {
            money: connection.import_price[t] * import - connection.export_price[t] * export,
            emissions: connection.carbon_intensity[t] * import,
        }
    }

    /// Of energy beyond the plan: at the mean of its prices.
    fn mean(plan: &SitePlan, energy: Energy) -> Self {
        let n = plan.problem.steps.len().max(1) as f64;
        let hours = Hours::new(1.0 / n);
        let power = energy / Hours::new(1.0);
        (0..plan.problem.steps.len())
            .map(|t| Self::exchange(plan, t, power, hours))
            .fold(Self::default(), Add::add)
    }

    /// Money in the site's currency, and kgCO2.
    pub(super) fn money_and_kg(self) -> (f64, f64) {
        (self.money.get(), self.emissions.as_kg())
    }

    pub(super) fn shown(self, currency: &str) -> Value {
        let rounded = |value: f64| (value * 1e4).round() / 1e4;
        json!({ "money": rounded(self.money.get()), "currency": currency, "kgCO2e": rounded(self.emissions.as_kg()) })
    }
}

/// Power that the plan has work use in a step.
fn own(plan: &SitePlan, id: &str, t: usize) -> Power {
    plan.schedule.work.get(id).and_then(|powers| powers.get(t)).copied().unwrap_or(Power::ZERO)
}

impl Add for Figures {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { money: self.money + other.money, emissions: self.emissions + other.emissions }
    }
}
impl Sub for Figures {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { money: self.money - other.money, emissions: self.emissions - other.emissions }
    }
}
impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
