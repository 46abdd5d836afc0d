//! What no plan can be cheaper than, from the schedule's marginal values alone: for any site price and any value of stored energy,
//! each asset left to itself against those prices cannot do better than its own cheapest reaction, and the sum of these reactions is
//! never dearer than the best plan (Lagrangian relaxation; M. L. Fisher, Management Science 27, 1981). Wrong marginal values only
//! loosen it.

use sos_units::FlexibleWork;

use crate::connection::{Behind, Feeder, Meter};
use crate::problem::{Problem, Storage};
use crate::running::least_cost;
use crate::schedule::Schedule;
use crate::verify::{hours_left, mean_price, most};

/// Marginal values, and what each part of the site would do against them.
pub(crate) struct Bound<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    /// Price per meter and step: the site's, then what feeders add.
    prices: Vec<Vec<f64>>,
    behind: Behind<'a>,
    /// Stored value per storage and step.
    stored: Vec<Vec<f64>>,
    /// Price of a kg under the carbon cap, per step.
    carbon: Vec<f64>,
}

/// The least of a convex piecewise linear function on an interval lies at a kink or an end.
fn least(points: &[f64], low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    let inside = points.iter().copied().filter(|p| *p > low && *p < high);
    inside.chain([low, high]).map(cost).fold(f64::INFINITY, f64::min)
}

/// The least of a linear function on an interval.
fn least_of(slope: f64, low: f64, high: f64) -> f64 {
    (slope * low).min(slope * high)
}

/// The least that charging and discharging cost per hour, where a kWh costs `price` and one in store is worth `value`. Both flows
/// are free of each other, which only lowers it; neither is above its room.
fn flows(s: &Storage, t: usize, price: f64, value: f64, room: (f64, f64)) -> f64 {
    let wear = s.wear_cost.as_per_kwh();
    let gain = s.dynamics.charge_efficiency.as_ref().map_or(s.charge_efficiency, |each| each[t]);
    let range = s.ordered.as_ref().and_then(|ordered| ordered.range[t]);
    let (low, high) = range.map_or_else(
        || (-s.max_charge.as_kw().min(room.0), s.max_discharge.as_kw().min(room.1)),
        |(low, high)| (low.as_kw(), high.as_kw()),
    );
    let kinks: Vec<f64> = s.dynamics.wear_above.iter().map(|(above, _)| above.as_kw()).collect();
    let flow = |each: f64, low: f64, high: f64| {
        least(&kinks, low.max(0.0), high.max(0.0), |power| {
            let above = |(above, more): &(sos_units::Power, sos_units::Price)| {
                more.as_per_kwh() * (power - above.as_kw()).max(0.0)
            };
            each * power + s.dynamics.wear_above.iter().map(above).sum::<f64>()
        })
    };
    flow(price + wear - value * gain, -high, -low)
        + flow(value / s.discharge_efficiency + wear - price, low, high)
}

impl<'a> Bound<'a> {
    /// None without marginal values.
    pub(crate) fn new(problem: &'a Problem, schedule: &'a Schedule) -> Option<Self> {
        let n = problem.steps.len();
        let list = |prices: &[sos_units::Price]| -> Option<Vec<f64>> {
            let values: Vec<f64> = prices.iter().map(|p| p.as_per_kwh()).collect();
            (values.len() == n && values.iter().all(|v| v.is_finite())).then_some(values)
        };
        let site = list(&schedule.shadow.site_price)?;
        let value = |s: &Storage| list(schedule.shadow.stored_value.get(&s.id)?);
        let stored = problem.storages.iter().map(value).collect::<Option<_>>()?;
        let feeder = |feeder: &Feeder| list(schedule.shadow.feeder_price.get(&feeder.id)?);
        let feeders = problem.feeders.iter().map(feeder).collect::<Option<Vec<_>>>()?;
        let prices = std::iter::once(site).chain(feeders).collect();
        let carbon = Some(schedule.shadow.carbon).filter(|value| value.is_finite()).unwrap_or(0.0);
        let most = problem.carbon_cap.map_or(0.0, |cap| cap.price.as_per_kg());
        let counts = |t: usize| problem.carbon_cap.is_some_and(|cap| cap.counts(t));
        let carbon = (0..n).map(|t| if counts(t) { carbon.clamp(0.0, most) } else { 0.0 }).collect();
        let behind = problem.behind();
        Some(Self { problem, schedule, prices, behind, stored, carbon })
    }

    /// No plan costs less than this, in the problem's currency.
    pub(crate) fn value(&self) -> f64 {
        let problem = self.problem;
        let most = self.ranges();
        let mut total: f64 =
            problem.meters().enumerate().map(|(m, meter)| self.meter(m, &meter, &most[m])).sum();
        let capped = self.carbon.iter().copied().fold(0.0, f64::max);
        total -= problem.carbon_cap.map_or(0.0, |cap| capped * cap.kg);
        total += problem.storages.iter().zip(&self.stored).map(|(s, v)| self.storage(s, v)).sum::<f64>();
        for item in &problem.curtailable {
            let prices = self.prices_of(&item.id);
            for ((most, price), step) in item.available.iter().zip(&prices).zip(&problem.steps) {
                total -= (price * most.as_kw() * step.duration.get()).max(0.0);
            }
        }
        for generator in &problem.generators {
            total += least_cost(problem, generator, &self.prices_of(&generator.id), &self.carbon);
        }
        total + problem.work.iter().map(|work| self.work(work)).sum::<f64>()
    }

    /// What a kWh is worth to something: the site's price and what each feeder that it is behind adds.
    fn prices_of(&self, id: &str) -> Vec<f64> {
        let mut prices = self.prices[0].clone();
        for &m in self.behind.meters(id).iter().skip(1) {
            prices.iter_mut().zip(&self.prices[m]).for_each(|(sum, price)| *sum += price);
        }
        prices
    }

    /// A connection sells at its price what is bought behind it at the site's, or at what a feeder adds; fixed power is bought
    /// as it is.
    fn meter(&self, m: usize, meter: &Meter<'_>, most: &[(f64, f64)]) -> f64 {
        let (c, steps) = (meter.connection, &self.problem.steps);
        let (extra, mut total) = self.charged(meter);
        let ramps = self.ramps(meter, &mut total);
        for (t, step) in steps.iter().enumerate() {
            let (h, price) = (step.duration.get(), self.prices[m][t]);
            let carbon =
                (c.carbon_price.as_per_kg() + self.carbon[t]) * c.carbon_intensity[t].as_kg_per_kwh();
            let buy = c.import_price[t].as_per_kwh() + carbon + extra[t] / h;
            let sell = c.export_price[t].as_per_kwh();
            let breach = c.breach_price.as_per_kwh();
            let (most_in, most_out) = most[t];
            let import = c.import_limit[t].map_or(most_in, |l| l.as_kw());
            let export = c.export_limit[t].map_or(most_out, |l| l.as_kw());
            let ramp = (ramps[t] - ramps[t + 1]) / h;
            let cost = |flow: f64| {
                let over = (flow - import).max(0.0) + (-flow - export).max(0.0);
                let own = if flow > 0.0 { flow * buy } else { flow * sell };
                (own + over * breach + flow * (ramp - price)) * h
            };
            let points = [0.0, import, -export];
            total += least(&points, -most_out, most_in, cost) - price * meter.fixed[t].as_kw() * h;
        }
        total
    }

    /// What charges add to the price of import in each step, per kW, and what their free parts give back. Multipliers are cut to what
    /// is allowed: zero or above, and no more than the price together.
    fn charged(&self, meter: &Meter<'_>) -> (Vec<f64>, f64) {
        let (mut extra, mut total) = (vec![0.0; self.problem.steps.len()], 0.0);
        for charge in &meter.connection.charges {
            let Some(found) = self.schedule.shadow.charges.get(&charge.id) else { continue };
            let found =
                |j: usize| found.get(j).copied().filter(|value| value.is_finite()).unwrap_or(0.0).max(0.0);
            let sum: f64 = (0..charge.sums.len()).map(found).sum();
            let factor = if sum > charge.price { charge.price / sum } else { 1.0 };
            for (j, one) in charge.sums.iter().enumerate() {
                one.steps.iter().for_each(|&(t, weight)| extra[t] += factor * found(j) * weight);
                total -= (charge.free - one.so_far) * found(j) * factor;
            }
        }
        (extra, total)
    }

    /// What a kW of rise into each step is charged with, and none after the last one; a fall is given as much.
    fn ramps(&self, meter: &Meter<'_>, total: &mut f64) -> Vec<f64> {
        let n = self.problem.steps.len();
        let Some(ramping) = meter.connection.ramping else { return vec![0.0; n + 1] };
        let found = self.schedule.shadow.ramping.get(meter.id());
        let at = |t: usize| {
            let value = found.and_then(|found| found.get(t)).copied().filter(|value| value.is_finite());
            value.unwrap_or(0.0).clamp(-ramping.price, ramping.price)
        };
        let mut ramps: Vec<f64> = (0..n).map(at).chain([0.0]).collect();
        match ramping.before {
            Some(before) => *total -= ramps[0] * before.as_kw(),
            None => ramps[0] = 0.0,
        }
        ramps
    }

    /// Most that could ever flow in and out, per meter and step.
    fn ranges(&self) -> Vec<Vec<(f64, f64)>> {
        let p = self.problem;
        let fixed = |meter: Meter<'_>| meter.fixed.iter().map(|p| (-p.as_kw(), p.as_kw())).collect();
        let mut ranges: Vec<Vec<(f64, f64)>> = p.meters().map(fixed).collect();
        let mut add = |id: &str, most: &dyn Fn(usize) -> (f64, f64)| {
            for &m in self.behind.meters(id) {
                for (t, range) in ranges[m].iter_mut().enumerate() {
                    let (into, out) = most(t);
                    *range = (range.0 + into, range.1 + out);
                }
            }
        };
        for s in &p.storages {
            add(&s.id, &|_| (s.max_charge.as_kw(), s.max_discharge.as_kw()));
        }
        p.work.iter().for_each(|w| add(&w.id, &|_| (w.max_power.as_kw(), 0.0)));
        p.generators.iter().for_each(|g| add(&g.id, &|_| (0.0, g.most())));
        p.curtailable.iter().for_each(|c| add(&c.id, &|t| (0.0, c.available[t].as_kw())));
        ranges.iter_mut().flatten().for_each(|range| *range = (range.0.max(0.0), range.1.max(0.0)));
        ranges
    }

    /// What a store does at its best against the prices. Powers that fall with the state of charge are left out, which only lowers
    /// the bound.
    fn storage(&self, s: &Storage, value: &[f64]) -> f64 {
        let capacity = s.capacity.as_kwh();
        let start = s.soc.as_fraction();
        let low = capacity * start.min(s.min_soc.as_fraction());
        let high = capacity * start.max(s.max_soc.as_fraction());
        let mut total = -value[0] * start * capacity;
        let prices = self.prices_of(&s.id);
        let mut decayed = 1.0;
        for (t, step) in self.problem.steps.iter().enumerate() {
            let hours = step.duration.get();
            if s.available.as_ref().is_none_or(|a| a[t]) {
                let start = start * capacity;
                let room = match t {
                    0 if s.is_plain() => (
                        (high - start) / (s.charge_efficiency * hours),
                        (start - low) * s.discharge_efficiency / hours,
                    ),
                    _ => (f64::INFINITY, f64::INFINITY),
                };
                total += flows(s, t, prices[t], value[t], room) * hours;
            }
            if let Some(draw) = &s.dynamics.draw {
                let wanted = draw.energy[t].as_kwh();
                total += value[t] * wanted;
                total += least_of(draw.price.as_per_kwh() - value[t], 0.0, wanted.max(0.0));
                total += least_of(value[t], 0.0, (-wanted).max(0.0));
            }
            let left = s.dynamics.retention.powf(hours);
            let next = value.get(t + 1).copied().unwrap_or(s.end_value.as_per_kwh());
            let held = s.dynamics.holding_cost.as_per_kwh() * hours;
            let targets: Vec<_> = s.targets.iter().filter(|target| target.step == t).collect();
            let wanted: Vec<f64> = targets.iter().map(|target| target.soc.as_fraction() * capacity).collect();
            total += least(&wanted, low * decayed * left, high * left, |energy| {
                let missed =
                    targets.iter().zip(&wanted).map(|(t, w)| t.price.as_per_kwh() * (w - energy).max(0.0));
                (value[t] / left - next + held) * energy + missed.sum::<f64>()
            });
            decayed *= left;
        }
        total
    }

    /// Work buys at the site price: the cheapest steps, or the cheapest block; or is left; or is lost.
    fn work(&self, work: &FlexibleWork) -> f64 {
        let problem = self.problem;
        let prices = self.prices_of(&work.id);
        let energy = work.energy.as_kwh();
        let after = mean_price(problem);
        let room = work.max_power.as_kw() * hours_left(problem, work);
        if work.interruptible {
            let lost = if energy > 0.0 { work.value.get() / energy } else { 0.0 };
            let mut offers: Vec<(f64, f64)> = (0..problem.steps.len())
                .map(|t| (prices[t], most(problem, work, t) * problem.steps[t].duration.get()))
                .collect();
            offers.extend([(after, room), (lost, energy)]);
            offers.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut left = energy;
            let mut total = 0.0;
            for (price, most) in offers {
                let taken = left.min(most);
                total += price * taken;
                left -= taken;
            }
            return total;
        }
        if work.running {
            let (money, _, missed) = self.block(work, &prices, 0, true);
            return money + if missed > 1e-9 { work.value.get() } else { 0.0 };
        }
        let starts = (0..problem.steps.len()).filter(|&t| most(problem, work, t) > 0.0);
        let mut best = starts
            .map(|t| self.block(work, &prices, t, false))
            .filter(|&(_, _, missed)| missed <= 1e-6 * (1.0 + energy))
            .map(|(money, _, _)| money)
            .fold(work.value.get(), f64::min);
        if energy <= room + 1e-9 && work.max_power.as_kw() > 0.0 {
            best = best.min(energy * after);
        }
        best
    }

    /// Money, energy after the horizon and energy missed of a block that starts in step `first`.
    fn block(&self, work: &FlexibleWork, prices: &[f64], first: usize, running: bool) -> (f64, f64, f64) {
        let problem = self.problem;
        let full = work.max_power.as_kw();
        let (mut left, mut money, mut missed) = (work.energy.as_kwh(), 0.0, 0.0);
        for t in first..problem.steps.len() {
            let step = problem.steps[t];
            let wait = work.earliest.duration_since(step.start).as_secs_f64() / 3600.0;
            let until = work.deadline.duration_since(step.start).as_secs_f64() / 3600.0;
            let begin = if running { 0.0 } else { wait.clamp(0.0, step.duration.get()) };
            let taken = left.min(full * (step.duration.get() - begin));
            missed += (taken - full * (until.min(step.duration.get()) - begin).max(0.0)).max(0.0);
            money += taken * prices[t];
            left -= taken;
        }
        let later = left.min(full * hours_left(problem, work));
        (money + later * mean_price(problem), later, missed + left - later)
    }
}
