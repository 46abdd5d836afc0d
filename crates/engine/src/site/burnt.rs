//! What generators burn: fuel, starts and emissions of the ticks that are settled, as it was and in merit order without control.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sos_dispatch::{Before, Call, Generator, Merit};
use sos_units::{Emissions, ExactEmissions, ExactEnergy, ExactMoney, Hours, Money, Power};

use super::account::{carbon, price};
use super::model::SiteModel;
use super::plan;

/// What generators gave in a tick, and at what cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burn {
    /// Given to the site, zero or above.
    pub energy: ExactEnergy,
    /// Fuel and starts.
    pub cost: ExactMoney,
    /// Of what was burnt.
    pub emissions: ExactEmissions,
    /// Generators that came on.
    pub starts: u64,
}

/// What is known of the generators at the end of the tick that was settled last, in the order of the site's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Fires {
    /// What each did before the first tick.
    pub(super) initial: Vec<Before>,
    /// Whether each ran.
    on: Vec<bool>,
    baseline: Merit,
}

/// A tick, as far as generators are concerned.
pub(super) struct Tick<'a> {
    pub(super) start: jiff::Timestamp,
    pub(super) seconds: i64,
    /// What each generator gave, by place among the generators.
    pub(super) given: Vec<ExactEnergy>,
    /// Asset indices of those that could not run.
    pub(super) away: &'a [usize],
    /// What lacked without generators when nothing was controlled, zero or below for a surplus.
    pub(super) lacking: ExactEnergy,
}

impl Fires {
    /// Before the first tick; `before` says of each generator what it did.
    pub(super) fn begin(model: &SiteModel, before: impl Fn(usize) -> Option<Before>) -> Self {
        let mut generators: Vec<Generator> = Vec::new();
        for (index, asset, declared) in model.generators() {
            let declared = plan::generator(asset, declared);
            let before = before(index).unwrap_or(declared.before);
            generators.push(Generator { before, ..declared });
        }
        let initial: Vec<Before> = generators.iter().map(|generator| generator.before).collect();
        let on = initial.iter().map(|before| before.on).collect();
        Self { baseline: Merit::new(&generators), on, initial }
    }

    /// Settles a tick: as it was, and in merit order, there with what each generator gives.
    pub(super) fn settle(&mut self, model: &SiteModel, tick: &Tick<'_>) -> (Burn, Burn, Vec<ExactEnergy>) {
        let declared: Vec<(usize, Generator)> = model
            .generators()
            .map(|(index, asset, declared)| (index, plan::generator(asset, declared)))
            .collect();
        if declared.len() != self.on.len() {
            *self = Self::begin(model, |_| None);
        }
        let generators: Vec<Generator> = declared.iter().map(|(_, generator)| generator.clone()).collect();
        let away: BTreeSet<usize> = tick.away.iter().copied().collect();
        let hours = Hours::from_seconds(tick.seconds as f64);
        let mut actual = Burn::default();
        for (at, (generator, &energy)) in generators.iter().zip(&tick.given).enumerate() {
            let on = energy > ExactEnergy::ZERO;
            actual.add(generator, energy.positive_part(), hours, on && !self.on[at]);
            self.on[at] = on;
        }
        let site = &model.connection;
        let intensity = carbon(&site.carbon, tick.start);
        let call = Call {
            duration: hours,
            lacking: tick.lacking.to_energy() / hours,
            limit: site.import_limit.unwrap_or(Power::kw(f64::INFINITY)),
            import_price: price(&site.import_price, tick.start) + model.carbon_price * intensity,
            carbon_price: model.carbon_price,
        };
        let was: Vec<bool> = self.baseline.running().collect();
        let powers = self.baseline.step(&generators, call, |at| !away.contains(&declared[at].0));
        let (mut baseline, mut given) = (Burn::default(), Vec::with_capacity(generators.len()));
        for ((generator, power), was) in generators.iter().zip(&powers).zip(was) {
            let energy = ExactEnergy::from_power(power.unwrap_or(Power::ZERO), tick.seconds);
            baseline.add(generator, energy, hours, power.is_some() && !was);
            given.push(energy);
        }
        (actual, baseline, given)
    }
}

impl Burn {
    fn add(&mut self, generator: &Generator, energy: ExactEnergy, hours: Hours, started: bool) {
        let power = energy.to_energy() / hours;
        let least = Power::kw(generator.least());
        // Below its least power it ran for a part of the tick, at its least.
        let share = if power < least { power / least } else { 1.0 };
        let fuel = if energy > ExactEnergy::ZERO {
            generator.fuel(power.max(least)) * (share * hours.get())
        } else {
            Money::ZERO
        };
        let start = if started { generator.start_cost } else { Money::ZERO };
        self.energy += energy;
        self.cost += ExactMoney::from_money(fuel + start);
        let emissions: Emissions = generator.emissions * energy.to_energy();
        self.emissions += ExactEmissions::from_emissions(emissions);
        self.starts += u64::from(started);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn settle(fires: &mut Fires, kw: f64, lacking: f64, away: &[usize]) -> (Burn, Burn) {
        let model = testing::island();
        let energy = |kw| ExactEnergy::from_power(Power::kw(kw), 900);
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let tick = Tick { start, seconds: 900, given: vec![energy(kw)], away, lacking: energy(lacking) };
        let (actual, baseline, _) = fires.settle(&model, &tick);
        (actual, baseline)
    }

    fn money(burn: Burn) -> f64 {
        (burn.cost.to_money().get() * 1e6).round() / 1e6
    }

    #[test]
    fn fuel_starts_and_emissions_are_those_of_the_curve() {
        let model = testing::island();
        let index = model.generators().next().unwrap().0;
        let mut fires = Fires::begin(&model, |_| None);
        // 9 kW: an idle hour 0.5, 8 kW at 0.3, 1 kW at 0.4, all for a quarter of an hour; and a start.
        let (actual, baseline) = settle(&mut fires, 9.0, 2.0, &[]);
        assert!((money(actual) - (0.25 * (0.5 + 2.4 + 0.4) + 2.0)).abs() < 1e-9);
        assert!((actual.emissions.to_emissions().as_kg() - 0.7 * 2.25).abs() < 1e-9);
        assert_eq!((money(baseline), baseline.starts), (0.25 * (0.5 + 1.2) + 2.0, 1), "its least at least");
        let (actual, baseline) = settle(&mut fires, 2.0, 9.0, &[]);
        assert!((money(actual) - 0.25 * 0.5 * (0.5 + 1.2)).abs() < 1e-9, "half of the tick at its least");
        assert_eq!((money(baseline), baseline.starts), (0.25 * (0.5 + 2.4 + 0.4), 0));
        let (actual, baseline) = settle(&mut fires, 0.0, 9.0, &[index]);
        assert_eq!((actual, baseline), (Burn::default(), Burn::default()), "it is away in both cases");
    }
}
