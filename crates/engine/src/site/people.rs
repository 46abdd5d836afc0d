//! Orders of people about the assets of a site: which act now, what they mean for the plan, and what is told of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sos_dispatch::{Ordered, Step, covered};
use sos_model::{Mode, OverrideValue};
use sos_store::EventType;
use sos_units::{Power, Reading};

use super::links::AssetReading;
use super::model::{Kind, SiteModel};
use super::plan::{Expected, SitePlan};
use super::task::Site;
use crate::people::PersonsOrder;

/// An order that acts on an asset. Two are the same when the same person ordered the same for the same reason, in whatever
/// words that is told today.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The asset's index.
    pub asset: usize,
    /// Its power, positive into the site; `None` is a hold: nothing is written to the device.
    pub power: Option<Power>,
    /// Its end.
    pub until: Timestamp,
    /// Who ordered it, and why.
    pub by: [String; 2],
    /// Who, until when and why, in words.
    pub because: String,
}

impl PartialEq for Standing {
    fn eq(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.asset, one.power, one.until);
        key(self) == key(other) && self.by == other.by
    }
}

impl Standing {
    /// Whether nothing may be written to the device.
    #[must_use]
    pub const fn is_hold(&self) -> bool {
        self.power.is_none()
    }
}

/// The orders that act at `now`. One that its asset does not obey, because it is declared otherwise since, does nothing.
#[must_use]
pub fn standing(model: &SiteModel, orders: &[PersonsOrder], now: Timestamp) -> Vec<Standing> {
    let mut found: Vec<Standing> = orders
        .iter()
        .filter(|order| order.spec.acts_at(now))
        .filter_map(|order| {
            let asset = model.assets.iter().position(|asset| asset.name == order.spec.asset.as_str())?;
            let power = match order.spec.what {
                OverrideValue::Hold(_) => None,
                OverrideValue::Power(power) if obeys(model, asset) => Some(power),
                OverrideValue::Power(_) => return None,
            };
            let verb = if power.is_none() { "on hold" } else { "ordered" };
            let until = clock_text(order.spec.until, now, &model.zone);
            let because = format!("{verb} by {} until {until}: {}", order.who, order.spec.reason);
            let by = [order.who.clone(), order.spec.reason.clone()];
            Some(Standing { asset, power, until: order.spec.until, by, because })
        })
        .collect();
    // An asset has one order; should there be two, the hold is the safe one.
    found.sort_by_key(|order| (order.asset, !order.is_hold()));
    found.dedup_by_key(|order| order.asset);
    found
}

/// Whether the power of an asset can be ordered.
fn obeys(model: &SiteModel, index: usize) -> bool {
    let asset = &model.assets[index];
    let curtailable = matches!(asset.kind, Kind::Solar { curtailable: true, .. });
    asset.mode == Mode::Control && (curtailable || asset.is_chosen())
}

/// A time as people say it: the time of day, with the date on another day.
fn clock_text(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (then, today) = (zone.to_datetime(time), zone.to_datetime(now).date());
    let clock = format!("{:02}:{:02}", then.hour(), then.minute());
    if then.date() == today { clock } else { format!("{} {clock}", then.date()) }
}

/// The order about an asset.
pub(super) fn of(standing: &[Standing], asset: usize) -> Option<&Standing> {
    standing.iter().find(|order| order.asset == asset)
}

/// Whether an asset is on hold.
pub(super) fn is_held(standing: &[Standing], asset: usize) -> bool {
    of(standing, asset).is_some_and(Standing::is_hold)
}

/// What an order means for a battery over a plan: its power, or on hold what it does by itself.
pub(super) fn ordered(
    order: &Standing,
    storage: &sos_dispatch::Storage,
    steps: &[Step],
    reading: &Reading<AssetReading>,
) -> Ordered {
    let by_itself = reading.map_or(Power::ZERO, |reading| reading.power);
    Ordered::new(storage, steps, order.power.unwrap_or(by_itself), order.until, order.because.clone())
}

/// What orders mean for solar plants that may be turned down: at most the ordered power, or on hold all there is, which
/// nobody can choose then. Answers what they could give without orders, by name.
pub(super) fn narrow(
    model: &SiteModel,
    standing: &[Standing],
    steps: &[Step],
    expected: &mut Expected,
) -> BTreeMap<String, Vec<Power>> {
    let name = |index: &usize| model.assets[*index].name.clone();
    let could = expected.curtailable.iter().map(|(index, powers)| (name(index), powers.clone())).collect();
    for order in standing {
        let Some(available) = expected.curtailable.get_mut(&order.asset) else { continue };
        for ((step, power), net) in steps.iter().zip(available).zip(&mut expected.net) {
            let share = covered(*step, order.until);
            let free = *power * (1.0 - share);
            match order.power {
                Some(most) => *power = power.min(most.max(Power::ZERO)) * share + free,
                None => {
                    *net += *power * share;
                    *power = free;
                }
            }
        }
    }
    could
}

/// Says of solar plants why they give what they give.
pub(super) fn explain(model: &SiteModel, standing: &[Standing], plan: &mut SitePlan) {
    for order in standing {
        let Kind::Solar { .. } = model.assets[order.asset].kind else { continue };
        let Some(reasons) = plan.schedule.because.get_mut(&model.assets[order.asset].name) else { continue };
        let steps = plan.problem.steps.iter().filter(|step| covered(**step, order.until) > 0.0);
        for (reason, _) in reasons.iter_mut().zip(steps) {
            reason.text = match order.power {
                Some(most) => format!("{}; {}", at_most(most, &order.because), reason.text),
                None => order.because.clone(),
            };
        }
    }
}

/// An order about a solar plant in words.
pub(super) fn at_most(most: Power, because: &str) -> String {
    format!("at most {most:.1}: {because}")
}

impl Site {
    /// Takes over what people order now; tells what has begun and what has ended.
    pub(super) fn hear_people(&mut self, now: Timestamp) {
        let orders = self.task.people.borrow().clone();
        let standing = standing(&self.task.model, &orders, now);
        if standing == self.standing {
            return;
        }
        let before = std::mem::replace(&mut self.standing, standing);
        for order in self.standing.iter().filter(|order| !before.contains(order)) {
            let what = match order.power {
                Some(power) => format!("{power:.3} {}", order.because),
                None => format!("{}; nothing is written to the device", order.because),
            };
            self.tell_order(order, if order.is_hold() { "OnHold" } else { "Ordered" }, what);
        }
        for order in before.iter().filter(|order| of(&self.standing, order.asset).is_none()) {
            self.tell_order(order, "OrderEnded", format!("no longer {}", order.because));
        }
    }

    fn tell_order(&self, order: &Standing, reason: &str, text: String) {
        let name = &self.task.model.assets[order.asset].name;
        self.tell("Asset", name, EventType::Normal, reason, text);
    }
}
