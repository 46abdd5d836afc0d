//! Once a day: a young series takes the shape of the day from its siblings, and one whose forecasts have become much
//! worse is judged anew and may forget what it was.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sos_forecast::{Refit, Shape};
use sos_store::{Event, EventType, Store, StoreError, Tx};

use super::foresight::{Subject, Tracked, kept};
use super::model::SiteModel;
use super::outlook::Outlook;
use super::task::Site;
use crate::clock::wall_now;

/// Adopted decisions kept of one series; a forecaster keeps no more either.
const MOST_REFITS: usize = 8;

/// By series.
type Refits = BTreeMap<String, Vec<Refit>>;

impl Site {
    /// At the first plan of each local day, and after a start.
    pub(super) fn renew_forecasts(&mut self, now: Timestamp) {
        let model = std::sync::Arc::clone(&self.task.model);
        let adopted = self.outlook.renew(&model, now);
        if adopted.is_empty() {
            return;
        }
        let kept = self.task.store.commit(|tx| {
            for (subject, refit) in &adopted {
                tx.record_event(&event(&model, subject, refit, now))?;
            }
            self.outlook.keep_refits(tx, &model)
        });
        if let Err(error) = kept {
            // The forecaster has changed all the same; after a restart it is judged again.
            tracing::error!(%error, site = model.name, "what was decided about changed series is not kept");
        }
    }
}

fn event(model: &SiteModel, subject: &Subject, refit: &Refit, now: Timestamp) -> Event {
    let (kind, name) = subject.resource(model);
    Event {
        time: wall_now(),
        site_time: Some(now),
        kind: kind.into(),
        name: name.into(),
        event_type: EventType::Normal,
        reason: "ForecastRefitted".into(),
        message: format!("{} is learned anew: {}", subject.name, refit.because),
    }
}

impl Outlook {
    /// What is done once on each local day; what was learned anew.
    pub(super) fn renew(&mut self, model: &SiteModel, now: Timestamp) -> Vec<(Subject, Refit)> {
        let today = model.zone.to_datetime(now).date();
        if self.renewed.replace(today) == Some(today) {
            return Vec::new();
        }
        self.lend_shapes(now);
        self.refit_changed(model, now)
    }

    /// What is younger than a week takes the shape of the day from what is older, of the same kind.
    fn lend_shapes(&mut self, now: Timestamp) {
        let mut lent: BTreeMap<bool, Vec<Shape>> = BTreeMap::new();
        let mut young = Vec::new();
        for (place, member) in self.members.iter_mut().enumerate() {
            let Some(member) = member else { continue };
            match member.tracked.forecaster.lend_shape(now) {
                Some(shape) => lent.entry(member.sign > 0.0).or_default().push(shape),
                None => young.push(place),
            }
        }
        for place in young {
            let Some(member) = &mut self.members[place] else { continue };
            if let Some(shapes) = lent.get(&(member.sign > 0.0)) {
                member.tracked.forecaster.take_shapes(shapes);
            }
        }
    }

    /// Judges the series whose forecasts have become much worse; what was adopted.
    fn refit_changed(&mut self, model: &SiteModel, now: Timestamp) -> Vec<(Subject, Refit)> {
        let subjects: Vec<Subject> = self.singles(model).collect();
        let kinds: Vec<&str> = subjects.iter().map(|subject| subject.kind).collect();
        let risen: Vec<bool> = self.trackeds().map(|tracked| tracked.track.accuracy.risen()).collect();
        let own = own_changes(&kinds, &risen);
        let mut adopted = Vec::new();
        for ((subject, tracked), own) in subjects.into_iter().zip(self.trackeds()).zip(own) {
            if !own {
                continue;
            }
            let refit = tracked.forecaster.refit(now);
            tracing::info!(series = subject.name, adopted = refit.adopted, because = refit.because);
            if refit.adopted {
                tracked.refits.push(refit.clone());
                let over = tracked.refits.len().saturating_sub(MOST_REFITS);
                tracked.refits.drain(..over);
                adopted.push((subject, refit));
            }
        }
        for (subject, _) in &adopted {
            self.ask(model, &subject.name);
        }
        adopted
    }

    fn keep_refits(&mut self, tx: &mut Tx<'_>, model: &SiteModel) -> Result<(), StoreError> {
        let of = |(subject, tracked): (Subject, &mut Tracked)| (subject.name, tracked.refits.clone());
        let refits: Refits = self.singles(model).zip(self.trackeds()).map(of).collect();
        let refits = serde_json::to_string(&refits).unwrap_or_default();
        tx.put_kv(&key(model), &serde_json::Value::String(refits))
    }

    /// Goes on from the decisions of earlier runs.
    pub(super) fn restore_refits(&mut self, store: &Store, model: &SiteModel) -> Result<(), StoreError> {
        let mut refits: Refits = kept(store, &key(model))?;
        for (subject, tracked) in self.singles(model).zip(self.trackeds()) {
            tracked.refits = refits.remove(&subject.name).unwrap_or_default();
            tracked.refits.iter().for_each(|refit| tracked.forecaster.adopt(refit));
        }
        Ok(())
    }
}

/// Which series may have changed by themselves: those that have become worse, but for what at least half of the others
/// of their kind share, which is the weather or the season.
fn own_changes(kinds: &[&str], risen: &[bool]) -> Vec<bool> {
    let count = |kind: &str, wanted: &dyn Fn(bool) -> bool| {
        kinds.iter().zip(risen).filter(|(k, risen)| **k == kind && wanted(**risen)).count()
    };
    let own = |(kind, risen): (&&str, &bool)| {
        let (others, worse) = (count(kind, &|_| true) - 1, count(kind, &|risen| risen));
        *risen && (others == 0 || 2 * (worse - 1) < others)
    };
    kinds.iter().zip(risen).map(own).collect()
}

fn key(model: &SiteModel) -> String {
    format!("site/{}/refits", model.name)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use sos_units::{Missing, Power, Reading};

    use super::super::testing;
    use super::*;

    const STEP: SignedDuration = SignedDuration::from_mins(15);

    fn at(step: i32) -> Timestamp {
        "2016-08-01T00:00:00Z".parse::<Timestamp>().unwrap() + STEP * step
    }

    /// Consumption in a quarter of an hour, kW: an evening, and since the 21st day a heat pump at night.
    fn load(step: i32, heat_pump: bool) -> f64 {
        let quarter = step % 96;
        let noise = f64::from(step * 7919 % 13) * 0.03;
        let evening = if (68..88).contains(&quarter) { 2.0 } else { 0.4 };
        evening + noise + if heat_pump && step >= 21 * 96 && quarter < 24 { 2.5 } else { 0.0 }
    }

    /// Days of a site with two loads in which one thing is done an hour, as in the loop.
    fn run(
        outlook: &mut Outlook,
        model: &SiteModel,
        days: std::ops::Range<i32>,
        own: impl Fn(i32) -> [Reading<f64>; 2],
    ) {
        for step in days.start * 96..days.end * 96 {
            if step % 4 == 0 {
                let _ = outlook.trackeds().map(|tracked| tracked.forecast(at(step), 192)).count();
            }
            let [first, second] = own(step).map(|kw| kw.map(|kw| Power::kw(-kw)));
            let mut powers = vec![Err(Missing::Gap); model.assets.len()];
            let loads = model.assets.iter().enumerate().filter(|(_, asset)| asset.kind.word() == "load");
            for ((place, _), power) in loads.zip([first, second]) {
                powers[place] = power;
            }
            outlook.observe(at(step), at(step + 1), at(step + 1), &powers);
        }
    }

    #[test]
    fn what_all_roofs_share_is_the_weather() {
        let kinds = ["load", "load", "solar", "solar", "solar", "carbon"];
        let own = |risen: [bool; 6]| own_changes(&kinds, &risen);
        let all_but_one_roof = [true, false, true, true, false, true];
        assert_eq!(own(all_but_one_roof), [true, false, false, false, false, true]);
        let one_roof = [false, false, true, false, false, false];
        assert_eq!(own(one_roof), one_roof);
    }

    #[test]
    fn a_new_load_begins_with_the_day_of_its_sibling() {
        let model = testing::two_loads();
        let mut outlook = Outlook::new(&model).unwrap();
        run(&mut outlook, &model, 0..10, |step| [Ok(load(step, false)), Err(Missing::Gap)]);
        outlook.lend_shapes(at(960));
        let forecast = outlook.trackeds().nth(1).unwrap().forecast(at(960), 96);
        assert_eq!(forecast.method, "sibling-shape");
        assert!(forecast.mean[75] > 2.0 * forecast.mean[30], "{:?}", forecast.mean);
    }

    #[test]
    fn a_series_that_has_changed_is_learned_anew_and_so_it_is_after_a_restart() {
        let model = testing::two_loads();
        let mut outlook = Outlook::new(&model).unwrap();
        let both = |step| [Ok(load(step, true)), Ok(load(step, false))];
        let mut adopted = Vec::new();
        for day in 0..32 {
            run(&mut outlook, &model, day..day + 1, both);
            adopted.extend(outlook.refit_changed(&model, at((day + 1) * 96)));
        }
        assert!(
            !adopted.is_empty() && adopted.iter().all(|(subject, _)| subject.name == "load-1"),
            "{adopted:?}"
        );
        assert!(adopted[0].1.because.contains("the series has changed"), "{adopted:?}");

        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), sos_store::Options::default()).unwrap();
        store.commit(|tx| outlook.keep_refits(tx, &model)).unwrap();
        let mut again = Outlook::new(&model).unwrap();
        again.restore_refits(&store, &model).unwrap();
        run(&mut again, &model, 0..32, both);
        let night =
            |outlook: &mut Outlook| outlook.trackeds().next().unwrap().forecast(at(32 * 96), 96).mean[10];
        let (kept, restored) = (night(&mut outlook), night(&mut again));
        assert!((kept - restored).abs() < 1e-9 && kept > 2.0, "{kept} {restored}");
    }
}
