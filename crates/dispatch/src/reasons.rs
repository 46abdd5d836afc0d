//! Why, in one sentence per asset and step, for people.

use std::collections::{BTreeMap, BTreeSet};

use sos_units::{Power, Price};

use crate::connection::{Behind, Charge, Charged, Connection, Meter, Sum};
use crate::generator::Generator;
use crate::ordered::Ordered;
use crate::problem::{Problem, SocTarget, Storage};
use crate::schedule::{BreachKind, GeneratorSchedule, Reason, ReasonCode, Schedule, StorageSchedule};

/// Power below which an asset counts as idle, kW.
const IDLE: f64 = 1e-3;
/// Energy below which a store counts as empty or full, kWh.
const TRACE: f64 = 1e-2;

/// Finds the reasons of a schedule from prices, binding limits and what comes later.
#[must_use]
pub fn explain(problem: &Problem, schedule: &Schedule) -> BTreeMap<String, Vec<Reason>> {
    let facts = Facts::new(problem, schedule);
    let mut because = BTreeMap::new();
    for storage in &problem.storages {
        if let Some(plan) = schedule.storage.get(&storage.id) {
            because.insert(storage.id.clone(), facts.storage(storage, plan));
        }
    }
    for item in &problem.curtailable {
        let used = schedule.generation.get(&item.id).map_or(&[][..], Vec::as_slice);
        let reasons = used.iter().zip(&item.available).map(|(&used, &available)| generation(used, available));
        because.insert(item.id.clone(), reasons.collect());
    }
    for item in &problem.generators {
        if let Some(plan) = schedule.generators.get(&item.id) {
            because.insert(item.id.clone(), facts.generator(item, plan));
        }
    }
    for work in &problem.work {
        because.insert(work.id.clone(), facts.work(work));
    }
    because
}

fn reason(code: ReasonCode, text: String) -> Reason {
    Reason { code, text }
}

fn generation(used: Power, available: Power) -> Reason {
    let less = (available - used).as_kw();
    if less > IDLE {
        return reason(
            ReasonCode::Curtailed,
            format!("turned down by {less:.1} kW: export is limited or costs money"),
        );
    }
    reason(ReasonCode::Generating, format!("generating {:.1} kW", used.as_kw()))
}

/// A price as people read it; small units need more digits.
fn price(value: Price) -> String {
    format!("{:.2}", value.as_per_kwh())
}

/// By how much a limit is exceeded although something is done for it; nothing where it holds.
fn still(over: f64) -> String {
    if over > IDLE { format!(", and is by {over:.1} kW all the same") } else { String::new() }
}

/// A time of the day as people read it.
fn clock(problem: &Problem, at: jiff::Timestamp) -> String {
    let civil = problem.zone.to_datetime(at);
    format!("{:02}:{:02}", civil.hour(), civil.minute())
}

/// Power of a storage in words.
fn flow(s: &Storage, power: f64) -> String {
    match power {
        p if p > IDLE => format!("{p:.1} kW discharging"),
        p if p < -IDLE => format!("{:.1} kW {}", -p, s.taking()),
        _ => "0 kW".to_owned(),
    }
}

/// A connection or a feeder as a plan uses it.
struct Point<'a> {
    id: &'a str,
    connection: &'a Connection,
    /// What flows in, kW, per step.
    flow: Vec<f64>,
    /// Power of all storages behind it together, kW, discharge positive, per step.
    storages: Vec<f64>,
}

impl Point<'_> {
    /// ` of feeder NAME`, or nothing for the site's connection.
    fn of(&self) -> String {
        if self.id.is_empty() { String::new() } else { format!(" of {}", self.id) }
    }
}

/// What something sees of the connections that it is behind.
struct View {
    /// What a kWh from the grid costs, feeders included, per step.
    prices: Vec<Price>,
    /// Whether carbon is part of that, to be told.
    carbon: Vec<bool>,
    /// What a kWh into the grid earns.
    earns: Vec<Price>,
    /// The points that it is behind, the site's first.
    points: Vec<usize>,
}

impl View {
    fn new(steps: usize, points: &[Point<'_>], behind: &[usize]) -> Self {
        let sum = |each: &dyn Fn(&Connection, usize) -> Price| {
            let at = |t| behind.iter().map(|&point| each(points[point].connection, t)).sum();
            (0..steps).map(at).collect()
        };
        Self {
            prices: sum(&Connection::full_import_price),
            carbon: (0..steps)
                .map(|t| behind.iter().any(|&point| counts_carbon(points[point].connection, t)))
                .collect(),
            earns: sum(&|connection, t| connection.export_price[t]),
            points: behind.to_vec(),
        }
    }

    /// What a kWh costs in a step.
    fn costs(&self, t: usize) -> String {
        let carbon = if self.carbon[t] { " with its carbon" } else { "" };
        format!("{}{carbon}", price(self.prices[t]))
    }
}

/// Whether the price of carbon changes what people read as the price of a kWh.
fn counts_carbon(connection: &Connection, t: usize) -> bool {
    (connection.full_import_price(t) - connection.import_price[t]).as_per_kwh() >= 0.005
}

struct Facts<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    points: Vec<Point<'a>>,
    behind: Behind<'a>,
    /// Of each set of points that something is behind.
    views: BTreeMap<Vec<usize>, View>,
    times: Vec<String>,
}

impl<'a> Facts<'a> {
    fn new(problem: &'a Problem, schedule: &'a Schedule) -> Self {
        let behind = problem.behind();
        let point = |meter: Meter<'a>| {
            let flow = schedule.flow(&meter).iter().map(|power| power.as_kw()).collect();
            let id = meter.feeder.map_or("", |feeder| &feeder.id);
            Point { id, connection: meter.connection, flow, storages: vec![0.0; problem.len()] }
        };
        let mut points: Vec<Point<'a>> = problem.meters().map(point).collect();
        for (id, plan) in &schedule.storage {
            for &m in behind.meters(id) {
                let sums = points[m].storages.iter_mut();
                sums.zip(&plan.power).for_each(|(sum, power)| *sum += power.as_kw());
            }
        }
        let storages = problem.storages.iter().map(|storage| &storage.id);
        let seeing = storages.chain(problem.work.iter().map(|work| &work.id));
        let sets: BTreeSet<&[usize]> = seeing.map(|id| behind.meters(id)).collect();
        let views = sets.into_iter().map(|set| (set.to_vec(), View::new(problem.len(), &points, set)));
        Self {
            problem,
            schedule,
            views: views.collect(),
            points,
            behind,
            times: problem.steps.iter().map(|step| clock(problem, step.start)).collect(),
        }
    }

    fn view(&self, id: &str) -> &View {
        &self.views[self.behind.meters(id)]
    }

    /// The charge on a peak that one kW more of import would raise in a step, with its point.
    fn peak(&self, view: &View, t: usize) -> Option<(&Point<'a>, &'a Charge)> {
        view.points.iter().find_map(|&point| {
            let point = &self.points[point];
            let raises = |charge: &&Charge| {
                let values =
                    self.schedule.shadow.charges.get(&charge.id).map(Vec::as_slice).unwrap_or_default();
                let counts = |(sum, value): (&Sum, &f64)| {
                    *value > 1e-6 * charge.price && sum.steps.iter().any(|&(step, _)| step == t)
                };
                charge.what == Charged::Peak && charge.sums.iter().zip(values).any(counts)
            };
            Some((point, point.connection.charges.iter().find(raises)?))
        })
    }

    fn storage(&self, s: &Storage, plan: &StorageSchedule) -> Vec<Reason> {
        let view = self.view(&s.id);
        // The dearest step in which the energy of now will be used, found from the end.
        let mut use_of: Vec<Option<usize>> = vec![None; plan.power.len()];
        let mut next: Option<usize> = None;
        for t in (0..plan.power.len()).rev() {
            use_of[t] = next;
            if plan.power[t].as_kw() > IDLE && next.is_none_or(|n| view.prices[t] >= view.prices[n]) {
                next = Some(t);
            }
            // Beyond a step in which it is empty nothing of now is left.
            if t > 0 && (plan.stored_after[t - 1] - s.energy_min()).as_kwh() < TRACE {
                next = None;
            }
        }
        (0..plan.power.len()).map(|t| self.storage_step(s, plan, view, t, use_of[t])).collect()
    }

    fn storage_step(
        &self,
        s: &Storage,
        plan: &StorageSchedule,
        view: &View,
        t: usize,
        later: Option<usize>,
    ) -> Reason {
        let power = plan.power[t].as_kw();
        if !s.is_available(t) {
            let back = (t..self.times.len()).find(|&later| s.is_available(later));
            let until = back.map_or("the end of the plan", |later| self.times[later].as_str());
            return reason(ReasonCode::Unavailable, format!("0 kW: not there until {until}"));
        }
        if let Some(ordered) = s.ordered.as_ref().filter(|_| s.ordered_in(t).is_some()) {
            return self.ordered(s, ordered, power, t);
        }
        if later.is_none()
            && let Some(reason) = self.for_use(s, plan, view, t)
        {
            return reason;
        }
        if power < -IDLE {
            self.charging(s, view, t, power, later)
        } else if power > IDLE {
            self.discharging(view, t)
        } else {
            self.idle(s, plan, view, t, later)
        }
    }

    /// Who ordered it and why; and where it cannot be so, what is in the way.
    fn ordered(&self, s: &Storage, ordered: &Ordered, power: f64, t: usize) -> Reason {
        let mut text = format!("{}: {}", flow(s, power), ordered.because);
        let whole = s.ordered_in(t).is_some_and(|(low, high)| low == high);
        let wanted = ordered.power.as_kw();
        if whole && (power - wanted).abs() > IDLE {
            let limit = if wanted < 0.0 { "full" } else { "empty" };
            text = format!("{text}; {} is not possible, it is {limit}", flow(s, wanted));
        }
        let breach = self.schedule.breaches.iter();
        let breach = breach.filter(|b| b.feeder.is_none()).find(|b| b.step == t && b.kind.is_of_connection());
        if let Some(breach) = breach.filter(|b| (b.kind == BreachKind::Import) == (power < 0.0)) {
            let (kind, over) = (if power < 0.0 { "import" } else { "export" }, breach.over.as_kw());
            text = format!("{text}; the {kind} limit would be exceeded by {over:.1} kW and will narrow it");
        }
        reason(ReasonCode::Ordered, text)
    }

    /// Why something charges, waits or keeps what it has whose energy is for a wish or for a use of its own.
    fn for_use(&self, s: &Storage, plan: &StorageSchedule, view: &View, t: usize) -> Option<Reason> {
        let (by, wanted) = self.wanted(s, plan, t)?;
        let (power, now) = (plan.power[t].as_kw(), view.costs(t));
        if power < -IDLE {
            let limited = self.limit(view, t, false).is_some();
            let surplus = view.points.last().is_some_and(|&point| self.points[point].flow[t] < IDLE);
            let more = self.no_more(s, view, t, power);
            let text = format!("{}: {wanted}, power costs {now} now{more}", s.taking());
            return (!limited && !surplus).then(|| reason(ReasonCode::ChargeCheap, text));
        }
        if power > IDLE {
            return None;
        }
        let charges = (t + 1..=by).find(|&later| plan.power[later].as_kw() < -IDLE);
        if let Some(later) = charges {
            let (time, price) = (&self.times[later], view.costs(later));
            let text = match self.full(view, t) {
                Some(full) => format!("0 kW: {full} is reached; waits for {time}, {wanted}"),
                None => format!("0 kW: waits for {time}, when power costs {price}; {wanted}"),
            };
            return Some(reason(ReasonCode::NotWorth, text));
        }
        let kept = (plan.stored_after[t] - s.energy_min()).as_kwh();
        let text = format!("0 kW: keeping {kept:.1} kWh, {wanted}");
        (kept >= TRACE).then(|| reason(ReasonCode::Keep, text))
    }

    /// What the energy of a step is for, and the step in which that is: the next wish that is only just met, or the next use.
    fn wanted(&self, s: &Storage, plan: &StorageSchedule, t: usize) -> Option<(usize, String)> {
        // Wishes of a hundredth of that only say early what a later target or use wants.
        let of_use = s.dynamics.draw.as_ref().map(|draw| draw.price);
        let dearest = s.targets.iter().map(|target| target.price).chain(of_use).fold(Price::ZERO, Price::max);
        let counts = |target: &&SocTarget| target.step >= t && target.price * 100.0 >= dearest;
        let target = s.targets.iter().filter(counts).min_by_key(|target| target.step);
        let target = target
            .filter(|target| (plan.stored_after[target.step] - target.soc * s.capacity).as_kwh() < TRACE);
        let used = (t..self.times.len()).find(|&later| s.draw(later) > TRACE);
        match (target, used) {
            (Some(target), used) if used.is_none_or(|used| target.step < used) => {
                let end = clock(self.problem, self.problem.steps[target.step].end());
                let wanted = target.soc.as_fraction() * 100.0;
                Some((target.step, format!("{wanted:.0} % are wanted by {end}")))
            }
            (_, Some(used)) => {
                let (needed, time) = (s.draw(used), &self.times[used]);
                Some((used, format!("{needed:.1} kWh are needed at {time}")))
            }
            _ => None,
        }
    }

    fn then(&self, view: &View, later: Option<usize>) -> String {
        match later {
            Some(t) => format!("{} at {}", view.costs(t), self.times[t]),
            None => "more after the planned time".into(),
        }
    }

    /// The limit of a point behind which something lies that would be exceeded without what the storages do there, if it holds them
    /// back: more room would change this step.
    fn limit(&self, view: &View, t: usize, import: bool) -> Option<(&Point<'a>, f64, f64)> {
        view.points.iter().find_map(|&index| {
            let point = &self.points[index];
            let moved = point.storages[t];
            let (flow, without, limit) = if import {
                (point.flow[t], point.flow[t] + moved.max(0.0), point.connection.import_limit[t])
            } else {
                (-point.flow[t], -point.flow[t] - moved.min(0.0), point.connection.export_limit[t])
            };
            let limit = limit?.as_kw();
            let binds = flow > limit - IDLE && self.is_dear(index, t, import);
            (without > limit + IDLE && binds).then_some((point, limit, without - limit))
        })
    }

    /// Whether one kWh more at a point is worth more than it costs there, or less than it earns: then a limit is in the way. Without
    /// marginal values any limit that is reached counts.
    fn is_dear(&self, index: usize, t: usize, import: bool) -> bool {
        let (point, shadow) = (&self.points[index], &self.schedule.shadow);
        let values = match index {
            0 => Some(&shadow.site_price),
            _ => shadow.feeder_price.get(point.id),
        };
        let Some(value) = values.and_then(|values| values.get(t)) else { return true };
        let (value, connection) = (value.as_per_kwh(), point.connection);
        let close = 1e-3 * (1.0 + value.abs());
        if import {
            value > connection.full_import_price(t).as_per_kwh() + close
        } else {
            value < connection.export_price[t].as_per_kwh() - close
        }
    }

    /// The limit on import of a point behind which something lies, where it is reached and more would be worth its price.
    fn full(&self, view: &View, t: usize) -> Option<String> {
        view.points.iter().find_map(|&index| {
            let point = &self.points[index];
            let limit = point.connection.import_limit[t]?.as_kw();
            let reached = (point.flow[t] - limit).abs() <= IDLE && self.is_dear(index, t, true);
            reached.then(|| format!("import limit {limit:.1} kW{}", point.of()))
        })
    }

    /// What allows no more than this, where a storage could take more.
    fn no_more(&self, s: &Storage, view: &View, t: usize, power: f64) -> String {
        let full = self.full(view, t).filter(|_| -power < s.max_charge.as_kw() - IDLE);
        full.map_or_else(String::new, |full| format!("; {full} allows no more"))
    }

    fn charging(&self, s: &Storage, view: &View, t: usize, power: f64, later: Option<usize>) -> Reason {
        let taking = s.taking();
        if let Some((point, limit, over)) = self.limit(view, t, false) {
            let (of, still) = (point.of(), still(-point.flow[t] - limit));
            let text =
                format!("{taking}: export limit {limit:.1} kW{of} would be exceeded by {over:.1} kW{still}");
            return reason(ReasonCode::ChargeForLimit, text);
        }
        // What would flow out at the innermost point is surplus of its own.
        let inner = view.points.last().map_or(&self.points[0], |&point| &self.points[point]);
        if inner.flow[t] + inner.storages[t].min(0.0) < -IDLE && inner.flow[t] < IDLE {
            let then = self.then(view, later);
            let text = format!("{taking}: solar surplus now, power costs {then} later");
            return reason(ReasonCode::ChargeSurplus, text);
        }
        let (then, more) = (self.then(view, later), self.no_more(s, view, t, power));
        let text = format!("{taking}: power costs {} now, {then}{more}", view.costs(t));
        reason(ReasonCode::ChargeCheap, text)
    }

    fn discharging(&self, view: &View, t: usize) -> Reason {
        if let Some((point, limit, over)) = self.limit(view, t, true) {
            let (of, still) = (point.of(), still(point.flow[t] - limit));
            let text = format!(
                "discharging: import limit {limit:.1} kW{of} would be exceeded by {over:.1} kW{still}"
            );
            return reason(ReasonCode::DischargeForLimit, text);
        }
        if let Some((point, charge)) = self.peak(view, t) {
            let (of, flow, price) = (point.of(), point.flow[t], charge.price);
            let text = format!(
                "discharging: the peak of import{of} stays at {flow:.1} kW, each kW more costs {price:.2}"
            );
            return reason(ReasonCode::DischargeForPeak, text);
        }
        // The outermost connection through which it flows out says what it earns.
        if self.points[0].flow[t] < -IDLE {
            let earns = price(view.earns[t]);
            return reason(ReasonCode::DischargeExport, format!("discharging: export earns {earns} now"));
        }
        let text = format!("discharging: power costs {} now", view.costs(t));
        reason(ReasonCode::DischargeDear, text)
    }

    fn idle(
        &self,
        s: &Storage,
        plan: &StorageSchedule,
        view: &View,
        t: usize,
        later: Option<usize>,
    ) -> Reason {
        let kept = (plan.stored_after[t] - s.energy_min()).as_kwh();
        if kept < TRACE {
            return reason(ReasonCode::Empty, "0 kW: empty, and charging now would not pay".into());
        }
        if let Some(later) = later {
            let (time, price) = (&self.times[later], view.costs(later));
            let text = format!("0 kW: keeping {kept:.1} kWh for {time}, when power costs {price}");
            return reason(ReasonCode::Keep, text);
        }
        if let Some(need) = self.pessimistic_need(t) {
            let text =
                format!("0 kW: keeping {kept:.1} kWh because the import limit may be exceeded at {need}");
            return reason(ReasonCode::KeepReserve, text);
        }
        if (s.energy_max() - plan.stored_after[t]).as_kwh() < TRACE {
            return reason(ReasonCode::Full, "0 kW: full".into());
        }
        if let Some(full) = self.full(view, t) {
            return reason(ReasonCode::NotWorth, format!("0 kW: {full} is reached"));
        }
        reason(ReasonCode::NotWorth, "0 kW: moving energy now would cost more than it saves".into())
    }

    /// The next time from `t` on at which the pessimistic net alone exceeds the import limit.
    fn pessimistic_need(&self, t: usize) -> Option<&str> {
        let low = self.problem.pessimistic.as_ref()?;
        let limits = &self.problem.connection.import_limit;
        let at = (t..self.times.len().min(t + 100))
            .find(|&k| limits[k].is_some_and(|limit| -low.fixed[k] > limit))?;
        Some(&self.times[at])
    }

    fn generator(&self, generator: &Generator, plan: &GeneratorSchedule) -> Vec<Reason> {
        let pieces = generator.pieces(self.problem.connection.carbon_price);
        let mut reasons = Vec::with_capacity(plan.on.len());
        for (t, (&on, power)) in plan.on.iter().zip(&plan.power).enumerate() {
            let power = power.as_kw();
            let next = (t + 1..plan.on.len()).find(|&later| plan.on[later] != on);
            let until = next.map_or_else(|| "the end of the plan".to_owned(), |t| self.times[t].clone());
            reasons.push(if !generator.is_available(t) {
                reason(ReasonCode::Unavailable, "off: not available".into())
            } else if !on {
                reason(ReasonCode::GeneratorOff, self.off(generator, t, &until))
            } else if power < generator.least() + IDLE && generator.most() > generator.least() {
                let text = format!(
                    "runs at its least, {power:.1} kW, until {until}: to stop and start again would cost more or is not possible"
                );
                reason(ReasonCode::GeneratorStays, text)
            } else {
                let before = self.before(generator, plan, t);
                reason(ReasonCode::GeneratorRuns, self.running(generator, &pieces, power, before, t))
            });
        }
        reasons
    }

    /// Its power in the step before, kW; none when it was off.
    fn before(&self, generator: &Generator, plan: &GeneratorSchedule, t: usize) -> Option<f64> {
        match t.checked_sub(1) {
            Some(before) => plan.on[before].then(|| plan.power[before].as_kw()),
            None => generator.before.on.then(|| generator.before.power.as_kw()),
        }
    }

    fn off(&self, generator: &Generator, t: usize, until: &str) -> String {
        let most = generator.most();
        let own = generator.fuel(Power::kw(most)).get() / most.max(1e-9)
            + (self.problem.connection.carbon_price * generator.emissions).as_per_kwh();
        match self.schedule.shadow.site_price.get(t) {
            Some(site) => format!(
                "off until {until}: a kWh of it costs at least {own:.2} and a start {:.2}, elsewhere it costs {} now",
                generator.start_cost.get(),
                price(*site)
            ),
            None => format!("off until {until}: others are cheaper or it is not needed"),
        }
    }

    fn running(
        &self,
        generator: &Generator,
        pieces: &[(f64, f64)],
        power: f64,
        before: Option<f64>,
        t: usize,
    ) -> String {
        if power > generator.most() - IDLE {
            return match self.schedule.shadow.site_price.get(t) {
                Some(site) => {
                    format!("runs at its most, {power:.1} kW: one kWh more would save {}", price(*site))
                }
                None => format!("runs at its most, {power:.1} kW"),
            };
        }
        let hours = self.problem.steps[t].duration.get();
        let (up, down) = generator.ramps(hours);
        let start = generator.edges(hours).0;
        match before {
            Some(before) if power >= before + up - IDLE => {
                return format!("runs at {power:.1} kW: it rises by {up:.1} kW in a step and no faster");
            }
            Some(before) if power <= before - down + IDLE => {
                return format!("runs at {power:.1} kW: it falls by {down:.1} kW in a step and no faster");
            }
            None if power >= start - IDLE && start < generator.most() - IDLE => {
                return format!("starts with {power:.1} kW, as much as it can at a start");
            }
            _ => {}
        }
        let mut from = generator.least();
        let piece = pieces.iter().find(|(width, _)| {
            from += width;
            power < from - IDLE
        });
        let next = piece.map_or(0.0, |(_, cost)| *cost);
        format!("runs at {power:.1} kW: its next kWh costs {next:.2}, and no other is cheaper")
    }

    fn work(&self, work: &sos_units::FlexibleWork) -> Vec<Reason> {
        let view = self.view(&work.id);
        let none = Vec::new();
        let power = self.schedule.work.get(&work.id).unwrap_or(&none);
        let lost = self.schedule.work_not_done.contains_key(&work.id);
        let mut next: Option<usize> = None;
        let mut reasons: Vec<Reason> = Vec::with_capacity(power.len());
        for t in (0..power.len()).rev() {
            let runs = power[t].as_kw() > IDLE;
            reasons.push(if runs { self.runs(work, view, t) } else { self.waits(view, next, lost) });
            if runs {
                next = Some(t);
            }
        }
        reasons.reverse();
        reasons
    }

    fn runs(&self, work: &sos_units::FlexibleWork, view: &View, t: usize) -> Reason {
        if work.running && !work.interruptible {
            return reason(ReasonCode::WorkGoesOn, "runs: started already and may not be interrupted".into());
        }
        let surplus = view.points.last().is_some_and(|&point| self.points[point].flow[t] < IDLE);
        let what = if surplus { "own power".into() } else { format!("power costs {}", view.costs(t)) };
        reason(ReasonCode::WorkRuns, format!("runs: cheapest time before its deadline, {what}"))
    }

    fn waits(&self, view: &View, next: Option<usize>, lost: bool) -> Reason {
        match next {
            Some(t) => {
                let (time, price) = (&self.times[t], view.costs(t));
                reason(ReasonCode::WorkWaits, format!("waits for {time}, when power costs {price}"))
            }
            None if lost => {
                let text = "not done: it does not fit before its deadline or costs more than it is worth";
                reason(ReasonCode::WorkNotDone, text.into())
            }
            None => reason(ReasonCode::WorkWaits, "nothing is left to do".into()),
        }
    }
}
