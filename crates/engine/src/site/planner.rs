//! When a plan is made and from what, and what is expected of the next tick: for the loop of a site, and for `sos control`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sos_dispatch::Memory;
use sos_units::{FlexibleWork, Power, Reading, Soc};

use super::carried::Carried;
use super::decide::Order;
use super::generators::{self, Live};
use super::links::AssetReading;
use super::model::{Asset, Kind, SiteModel};
use super::outlook::{NextTick, Outlook};
use super::people::{self, Standing};
use super::plan::{self, SitePlan};

/// Generation within this much of its limit is held back by it: devices count in percent of their rated power.
pub(super) const LIMIT_REACHED: Power = Power::kw(0.05);

/// What a plan is made from, at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basis<'a> {
    pub(super) model: &'a SiteModel,
    pub(super) now: Timestamp,
    pub(super) seen: Seen<'a>,
    /// What charges have counted before.
    pub(super) carried: &'a Carried,
}

/// What is seen of the assets at that time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// What the devices said.
    pub(super) readings: &'a [Reading<AssetReading>],
    /// The power of each asset in the step that has ended, without that of the assets that its device measures too.
    pub(super) own: &'a [Reading<Power>],
    /// States of charge of the batteries, vehicles and stores of heat that can be planned with.
    pub(super) socs: &'a BTreeMap<usize, Soc>,
    /// Vehicles that are expected back, with the state of charge that they are expected to have then.
    pub(super) coming: &'a BTreeMap<usize, Soc>,
    /// Generators that can be planned with.
    pub(super) generators: &'a BTreeMap<usize, Live>,
    /// What people order.
    pub(super) standing: &'a [Standing],
}

impl Seen<'_> {
    /// What stores or generates and can be planned with.
    fn plannable(&self) -> BTreeSet<usize> {
        let storing = self.socs.keys().chain(self.coming.keys());
        storing.chain(self.generators.keys()).copied().collect()
    }
}

impl Basis<'_> {
    /// At every `planEvery`, and whenever what can be planned with has changed since the plan in force was made.
    pub(super) fn is_due(&self, plan: Option<&SitePlan>) -> bool {
        let Some(plan) = plan else { return true };
        let every = self.model.plan_every.as_secs().max(1);
        let boundary = |time: Timestamp| time.as_second().div_euclid(every);
        boundary(plan.made_at) != boundary(self.now)
            || self.seen.plannable() != plan.with
            || self.seen.standing != plan.standing
    }

    /// Plans with what is expected and the work that is offered, from where the search before stood.
    ///
    /// # Errors
    /// When the problem itself makes no sense; the plan before then stays in force.
    pub(super) fn plan(
        &self,
        outlook: &mut Outlook,
        memory: Option<&mut Memory>,
        offers: Vec<FlexibleWork>,
    ) -> Result<SitePlan, String> {
        let Self { model, now, seen, carried } = *self;
        let Seen { readings, generators, standing, .. } = seen;
        let socs = seen.coming.iter().chain(seen.socs).map(|(index, soc)| (*index, *soc)).collect();
        // Steps begin at full hours, as prices do, whenever the site began.
        let steps = plan::steps(now, Timestamp::UNIX_EPOCH, model.plan_every, model.horizon);
        let mut expected = outlook.expected(model, now, &steps);
        expected.carried = carried.clone();
        let could = people::narrow(model, standing, &steps, &mut expected);
        let caution = plan::Caution::of_forecasts();
        let mut problem = plan::problem(model, steps, &expected, &socs, offers, caution);
        plan::order(&mut problem, model, standing, readings);
        problem.generators = generators::planned(model, generators, &problem.steps, now, standing);
        let mut plan = plan::make(problem, now, memory)?;
        plan.batteries = model.batteries().map(|(_, asset, _)| asset.name.clone()).collect();
        (plan.could, plan.with, plan.standing) = (could, seen.plannable(), standing.to_vec());
        people::explain(model, standing, &mut plan);
        Ok(plan)
    }

    /// What the tick that begins now may bring, with the plan in force; `is_measured` says of which assets powers are to be had.
    pub(super) fn next_tick(
        &self,
        outlook: &mut Outlook,
        plan: Option<&SitePlan>,
        is_measured: impl Fn(usize) -> bool,
    ) -> Option<NextTick> {
        // On an island what is measured now has to be met, whatever a plan expects.
        let plan = plan.filter(|_| !self.model.connection.is_island());
        let planned = plan.and_then(|plan| planned_net(plan, self.now));
        let next = outlook.next_tick(self.now, planned, measured_net(self.model, self.seen.own, is_measured));
        next.map(|next| next.at_most(most_from(self.model, |_| true)))
    }

    /// The same for what is behind each feeder, in the order of the model.
    pub(super) fn next_behind(&self, outlook: &mut Outlook, plan: Option<&SitePlan>) -> Vec<NextTick> {
        let plan = plan.filter(|_| !self.model.connection.is_island());
        let planned = |feeder: usize| planned_behind(plan?, self.model, feeder, self.now);
        let last = |feeder: usize| {
            let members = self.model.behind(feeder).into_iter();
            let fixed = members.filter(|&asset| !self.model.assets[asset].is_chosen());
            fixed.map(|asset| self.seen.own[asset].ok()).sum()
        };
        let all = outlook.next_behind(self.now, planned, last).into_iter().enumerate();
        let most = |place: usize| most_from(self.model, |asset| self.model.is_behind(asset, place));
        all.map(|(place, next)| next.at_most(most(place))).collect()
    }
}

/// The most power that can come from what cannot be chosen of these assets: all plants at their peak. None where something that is
/// only observed may give any.
fn most_from(model: &SiteModel, is_meant: impl Fn(usize) -> bool) -> Option<Power> {
    let meant = model.assets.iter().enumerate().filter(|(index, _)| is_meant(*index));
    let most = |(_, asset): (usize, &Asset)| match &asset.kind {
        Kind::Solar { peak, .. } => Some(*peak),
        kind => (!kind.is_movable() || asset.is_chosen()).then_some(Power::ZERO),
    };
    meant.map(most).sum()
}

/// Net power of what cannot be chosen behind a feeder that the plan expects, where one of its steps begins now.
fn planned_behind(plan: &SitePlan, model: &SiteModel, feeder: usize, now: Timestamp) -> Option<Power> {
    let step = plan.step_at(now)?;
    if plan.problem.steps[step].start != now {
        return None;
    }
    let name = &model.feeders[feeder].name;
    let own = plan.problem.feeders.iter().find(|one| one.id == *name)?;
    let flow = *plan.schedule.feeders.get(name)?.get(step)?;
    let stored = plan.schedule.storage.iter().map(|(id, one)| (id, &one.power));
    let burnt = plan.schedule.generators.iter().map(|(id, one)| (id, &one.power));
    let chosen = stored.chain(burnt).filter(|(id, _)| own.members.contains(*id));
    let chosen: Power = chosen.filter_map(|(_, power)| power.get(step)).copied().sum();
    Some(-flow - chosen)
}

/// Net power that the plan expects of loads and plants, where one of its steps begins now.
fn planned_net(plan: &SitePlan, now: Timestamp) -> Option<Power> {
    let step = plan.step_at(now)?;
    let generated = plan.schedule.generation.values().filter_map(|powers| powers.get(step)).copied();
    (plan.problem.steps[step].start == now).then(|| plan.problem.fixed[step] + generated.sum::<Power>())
}

/// Net power of what cannot be chosen in the step that has ended, when all of it was measured.
fn measured_net(
    model: &SiteModel,
    own: &[Reading<Power>],
    is_measured: impl Fn(usize) -> bool,
) -> Option<Power> {
    let fixed = model.assets.iter().zip(own).enumerate();
    let fixed = fixed
        .filter(|(index, (asset, _))| is_measured(*index) && !asset.is_chosen())
        .map(|(_, (_, power))| power.ok());
    fixed.into_iter().try_fold(Power::ZERO, |sum, power| Some(sum + power?))
}

/// What plants that were turned down in the step from `start` could have given, by the forecast that the plan was made
/// with. A plant that gave less than its limit was short of sun, not turned down.
pub(super) fn turned_down(
    model: &SiteModel,
    plan: Option<&SitePlan>,
    orders: &[Order],
    own: &[Reading<Power>],
    start: Timestamp,
) -> Vec<(usize, Power)> {
    let Some(plan) = plan else { return Vec::new() };
    let could = |order: &Order| {
        let asset = &model.assets[order.asset];
        let (Kind::Solar { .. }, Some(limit)) = (&asset.kind, order.power) else { return None };
        let made = own[order.asset].ok()?;
        let available = plan.available(&asset.name, start)?;
        (made >= limit - LIMIT_REACHED && available > made).then_some((order.asset, available))
    };
    orders.iter().filter(|order| order.write).filter_map(could).collect()
}
