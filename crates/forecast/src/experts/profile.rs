//! The incremental model of short leads, replayed on what is seen.

use crate::calendar::Calendar;
use crate::config::ForecastConfig;
use crate::panel::Seen;
use crate::state::State;

/// The model and how far it has learned.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    state: State,
    calendar: Calendar,
    next: usize,
}

impl Profile {
    pub(crate) fn new(config: &ForecastConfig, from: usize) -> Self {
        // The panel keeps local time already.
        let local = ForecastConfig { time_zone: jiff::tz::TimeZone::UTC, ..config.clone() };
        let calendar = Calendar::new(&local);
        Self { state: State::new(config, &calendar, None), calendar, next: from }
    }

    pub(crate) fn expect(&mut self, config: &ForecastConfig, seen: &Seen<'_>, leads: usize) -> Vec<f64> {
        let index = |at: usize| seen.index(at);
        for at in self.next..seen.end() {
            let value = seen.raw[at];
            self.state.absorb(&self.calendar, config, index(at), value.is_finite().then_some(value));
        }
        self.next = seen.end();
        let curve = self.state.curve();
        let last = self.state.last.unwrap_or(index(seen.end()) - 1);
        (0..leads)
            .map(|lead| {
                let at = index(seen.end() + lead);
                let place = self.calendar.place(at);
                self.state.mean(&self.calendar, config, &curve, place, (at - last).max(1))
            })
            .collect()
    }
}
