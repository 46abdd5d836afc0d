//! Generators in merit order: the rule where there is no solver's plan, and what runs them in an uncontrolled site.

use serde::{Deserialize, Serialize};
use sos_units::{CarbonPrice, Hours, Power, Price};

use crate::generator::Generator;

/// What is asked of generators in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    /// Length of the step.
    pub duration: Hours,
    /// Power that lacks without them, kW.
    pub lacking: Power,
    /// The most of it that can be imported, zero or above.
    pub limit: Power,
    /// What import costs, with carbon.
    pub import_price: Price,
    /// What emissions are priced at.
    pub carbon_price: CarbonPrice,
}

/// What generators have done so far, in the order of a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Merit {
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    on: bool,
    /// Hours since it came on or went off.
    hours: f64,
    power: f64,
}

impl Merit {
    /// As they are before the first step.
    #[must_use]
    pub fn new(generators: &[Generator]) -> Self {
        let state = |generator: &Generator| {
            let before = generator.before;
            let power = if before.on { before.power.as_kw().max(generator.least()) } else { 0.0 };
            State { on: before.on, hours: before.hours.get(), power }
        };
        Self { states: generators.iter().map(state).collect() }
    }

    /// Which of them run.
    pub fn running(&self) -> impl Iterator<Item = bool> + '_ {
        self.states.iter().map(|state| state.on)
    }

    /// The next step: the power of each, none for one that does not run. Those come first that are cheapest at full power;
    /// `may` says whether one may run at all.
    pub fn step(
        &mut self,
        generators: &[Generator],
        call: Call,
        may: impl Fn(usize) -> bool,
    ) -> Vec<Option<Power>> {
        let hours = call.duration.get();
        let ranges: Vec<Option<(f64, f64)>> = (0..generators.len())
            .map(|g| self.states[g].range(&generators[g], hours).filter(|_| may(g)))
            .collect();
        let mut power = vec![None; ranges.len()];
        let mut left = call.lacking.as_kw();
        // Those that may not stop run at their least.
        for (g, range) in ranges.iter().enumerate() {
            if let (Some((low, _)), true) = (range, self.states[g].must_stay(&generators[g], hours)) {
                power[g] = Some(*low);
                left -= low;
            }
        }
        for g in in_order(generators, call.carbon_price) {
            let Some((low, high)) = ranges[g] else { continue };
            let cheaper = generators[g].full_price(call.carbon_price) < call.import_price;
            let wanted = if cheaper { left } else { left - call.limit.as_kw() };
            let already = power[g].unwrap_or(0.0);
            if wanted > 1e-9 {
                let now = (already + wanted).clamp(low, high);
                left -= now - already;
                power[g] = Some(now);
            }
        }
        for (state, power) in self.states.iter_mut().zip(&power) {
            state.pass(*power, hours);
        }
        power.into_iter().map(|power| power.map(Power::kw)).collect()
    }
}

/// Indices, those first that are cheapest at full power.
fn in_order(generators: &[Generator], carbon: CarbonPrice) -> Vec<usize> {
    let mut order: Vec<usize> = (0..generators.len()).collect();
    let price = |&g: &usize| generators[g].full_price(carbon).as_per_kwh();
    order.sort_by(|a, b| price(a).total_cmp(&price(b)));
    order
}

impl State {
    /// Powers at which it can run in a step; none when it rests still.
    fn range(&self, generator: &Generator, hours: f64) -> Option<(f64, f64)> {
        if !self.on && self.hours < generator.min_down.get() - 1e-6 {
            return None;
        }
        let (up, down) = generator.ramps(hours);
        let (least, most) = (generator.least(), generator.most());
        Some(if self.on {
            ((self.power - down).clamp(least, most), (self.power + up).clamp(least, most))
        } else {
            (least, generator.edges(hours).0)
        })
    }

    fn must_stay(&self, generator: &Generator, hours: f64) -> bool {
        let too_fast = self.power > generator.edges(hours).1 + 1e-9;
        self.on && (self.hours < generator.min_up.get() - 1e-6 || too_fast)
    }

    fn pass(&mut self, power: Option<f64>, hours: f64) {
        if power.is_some() != self.on {
            self.hours = 0.0;
        }
        self.on = power.is_some();
        self.power = power.unwrap_or(0.0);
        self.hours += hours;
    }
}
