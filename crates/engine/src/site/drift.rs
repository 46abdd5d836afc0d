//! Tells when the forecasts of a series have become far worse than usual, and when they are as usual again: a condition
//! of the asset (of the site for its carbon intensity) and an event.

use std::sync::Arc;

use serde_json::json;
use sos_forecast::accuracy::Accuracy;
use sos_model::{Condition, ConditionStatus};
use sos_store::{Event, EventType, StoreError};

use super::foresight::{NEED_KIND, Subject};
use super::model::SiteModel;
use super::task::Site;
use crate::clock::wall_now;
use crate::sites::CONDITIONS;

/// Type of the condition.
pub const DRIFTING: &str = "ForecastDrifting";

/// What is to be told of a series.
struct Told {
    series: String,
    kind: &'static str,
    name: String,
    drifting: bool,
    message: String,
}

impl Site {
    /// Compares what was told with what is, once an hour.
    pub(super) fn tell_drift(&mut self) {
        let model = Arc::clone(&self.task.model);
        let tracks = self.outlook.tracks(&model);
        let told = |series: &str, drifting| self.drift_told.get(series) == Some(&drifting);
        let news: Vec<Told> = tracks
            // The need of a site is the sum of what is told of each.
            .filter(|(subject, _)| subject.kind != NEED_KIND)
            .filter(|(subject, track)| !told(&subject.name, track.accuracy.drifting()))
            .map(|(subject, track)| news(&model, &subject, &track.accuracy))
            .collect();
        for one in news {
            match self.put_drift(&one) {
                Ok(()) => {
                    if one.drifting {
                        self.outlook.ask(&model, &one.series);
                    }
                    self.drift_told.insert(one.series, one.drifting);
                }
                Err(error) => tracing::error!(%error, series = one.series, "a condition cannot be written"),
            }
        }
    }

    /// Writes condition and event where the resource does not say so already.
    fn put_drift(&self, told: &Told) -> Result<(), StoreError> {
        let store = &self.task.store;
        let Some(resource) = store.get(told.kind, &told.name)? else { return Ok(()) };
        let mut conditions = crate::resources::conditions(&resource.status);
        let said = conditions.iter().find(|one| one.kind == DRIFTING);
        if said.is_some_and(|one| one.status == ConditionStatus::True) == told.drifting {
            return Ok(());
        }
        let (status, reason, event_type) = match told.drifting {
            true => (ConditionStatus::True, "ForecastDrifting", EventType::Warning),
            false => (ConditionStatus::False, "ForecastAsUsual", EventType::Normal),
        };
        let time = wall_now();
        let condition = Condition {
            kind: DRIFTING.into(),
            status,
            reason: reason.into(),
            message: told.message.clone(),
            last_transition_time: time,
        };
        sos_model::set_condition(&mut conditions, condition);
        let event = Event {
            time,
            site_time: Some(self.now),
            kind: told.kind.into(),
            name: told.name.clone(),
            event_type,
            reason: reason.into(),
            message: told.message.clone(),
        };
        tracing::info!(kind = told.kind, name = told.name, reason, message = told.message);
        store.commit(|tx| {
            tx.put_status(told.kind, &told.name, CONDITIONS, &json!({ "conditions": conditions }))?;
            tx.record_event(&event)
        })
    }
}

fn news(model: &SiteModel, subject: &Subject, accuracy: &Accuracy) -> Told {
    let (kind, name) = subject.resource(model);
    let what = match subject.kind {
        "load" => format!("the consumption of {name}"),
        "solar" => format!("the generation of {name}"),
        _ => format!("the carbon intensity of {name}"),
    };
    let drifting = accuracy.drifting();
    let message = match accuracy.worse() {
        Some(times) if drifting => {
            format!("{what} differs from its forecasts {times:.1} times as much as usual")
        }
        None if drifting => format!("{what} differs from its forecasts far more than usual"),
        _ => format!("{what} is as close to its forecasts as usual again"),
    };
    Told { series: subject.name.clone(), kind, name: name.to_owned(), drifting, message }
}
