//! Windows of batch jobs and the flexible work they offer. All times are site time.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sos_units::{Energy, FlexibleWork, Money, Power};

/// When a batch job may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Window {
    /// Every day from one time of day to another on the wall clock of the site. `to` at or before `from` means the
    /// next day, so `22:00`–`06:00` is a night: eight hours, but seven or nine when the clocks change within it.
    /// A time of day that the clocks skip counts as the same distance after the change; of one that they repeat,
    /// the first is meant.
    Daily {
        /// Time of day at which the window opens.
        from: Time,
        /// Time of day at which it closes.
        to: Time,
    },
    /// Once.
    Once {
        /// Not before.
        earliest: Timestamp,
        /// Done at.
        deadline: Timestamp,
    },
}

/// A batch job as declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// The service.
    pub service: String,
    /// Energy of a whole run, kWh, zero or above.
    pub energy: Energy,
    /// Power at the slowest, kW, zero or above as consumption.
    pub min_power: Power,
    /// Power at the fastest, kW, at least `min_power`, as consumption.
    pub max_power: Power,
    /// Whether a run may be paused.
    pub interruptible: bool,
    /// What is lost when a run is not done in time.
    pub value: Money,
    /// Whether a run has to be done, as [`FlexibleWork::required`] says.
    #[serde(default)]
    pub required: bool,
    /// When it may run.
    pub window: Window,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchProgress {
    /// The run.
    pub run: String,
    /// Energy consumed so far, kWh, zero or above.
    pub used: Energy,
    /// Whether its process runs.
    pub running: bool,
    /// Whether it has ended with success.
    pub complete: bool,
}

/// One opening of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWindow {
    /// Identifies the run: the local date on which the window opens, or `once`.
    pub run: String,
    /// The window opens.
    pub earliest: Timestamp,
    /// The window closes.
    pub deadline: Timestamp,
}

/// Why there is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// The time lies beyond the calendar.
    Range,
}

impl std::fmt::Display for WindowError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the window lies beyond representable time")
    }
}
impl std::error::Error for WindowError {}

/// The window that is open at `now`, else the next one to open; `None` when a single window has closed.
///
/// # Errors
/// When the window lies beyond representable time.
pub fn current_window(
    window: &Window,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Option<RunWindow>, WindowError> {
    match window {
        Window::Once { earliest, deadline } => Ok((now < *deadline).then(|| RunWindow {
            run: "once".into(),
            earliest: *earliest,
            deadline: *deadline,
        })),
        Window::Daily { from, to } => {
            let today = zone.to_datetime(now).date();
            // A window that opened yesterday may still be open, and one of today may have closed. The day after
            // tomorrow is reached when the clocks leave a window of tomorrow with no length.
            let mut day = today.yesterday().map_err(|_| WindowError::Range)?;
            for _ in 0..4 {
                let run = opening(day, *from, *to, zone)?;
                if run.deadline > now && run.deadline > run.earliest {
                    return Ok(Some(run));
                }
                day = day.tomorrow().map_err(|_| WindowError::Range)?;
            }
            Ok(None)
        }
    }
}

/// The window that opens on the local date `day`.
fn opening(day: Date, from: Time, to: Time, zone: &TimeZone) -> Result<RunWindow, WindowError> {
    let last = if to <= from { day.tomorrow().map_err(|_| WindowError::Range)? } else { day };
    let at =
        |date: Date, time: Time| zone.to_timestamp(date.to_datetime(time)).map_err(|_| WindowError::Range);
    Ok(RunWindow { run: day.to_string(), earliest: at(day, from)?, deadline: at(last, to)? })
}

/// The work of the run that is open or next, less what was consumed already; after a run is complete, that of the
/// run that follows. `None` when no further run will come or nothing is left to consume.
#[must_use]
pub fn offer(
    spec: &BatchSpec,
    zone: &TimeZone,
    progress: Option<&BatchProgress>,
    now: Timestamp,
) -> Option<FlexibleWork> {
    let window = current_window(&spec.window, zone, now).ok()??;
    let progress = progress.filter(|progress| progress.run == window.run);
    if progress.is_some_and(|progress| progress.complete) {
        let next = current_window(&spec.window, zone, window.deadline).ok()??;
        return work(spec, &next, None);
    }
    work(spec, &window, progress)
}

fn work(spec: &BatchSpec, window: &RunWindow, progress: Option<&BatchProgress>) -> Option<FlexibleWork> {
    let used = progress.map_or(Energy::ZERO, |progress| progress.used.max(Energy::ZERO));
    let energy = (spec.energy - used).max(Energy::ZERO);
    let running = progress.is_some_and(|progress| progress.running);
    // A process that still runs although its declared energy is used up goes on; it is offered with nothing left,
    // so that the site's plan knows of it.
    if energy <= Energy::ZERO && !running {
        return None;
    }
    Some(FlexibleWork {
        id: format!("{}/{}", spec.service, window.run),
        energy,
        earliest: window.earliest,
        deadline: window.deadline,
        min_power: spec.min_power,
        max_power: spec.max_power,
        interruptible: spec.interruptible,
        running,
        value: spec.value,
        required: spec.required,
    })
}

impl RunWindow {
    /// From opening to closing.
    #[must_use]
    pub fn length(&self) -> SignedDuration {
        self.deadline.duration_since(self.earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn night() -> BatchSpec {
        BatchSpec {
            service: "backup".into(),
            energy: Energy::kwh(4.0),
            min_power: Power::kw(1.0),
            max_power: Power::kw(2.0),
            interruptible: true,
            value: Money::new(5.0),
            required: false,
            window: Window::Daily { from: Time::constant(22, 0, 0, 0), to: Time::constant(6, 0, 0, 0) },
        }
    }

    fn zone() -> TimeZone {
        TimeZone::get("America/Los_Angeles").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(now: &str) -> RunWindow {
        current_window(&night().window, &zone(), at(now)).unwrap().unwrap()
    }

    #[test]
    fn a_night_is_open_across_midnight_and_then_the_next_one_comes() {
        assert_eq!(window("2016-08-01T23:30:00-07:00").run, "2016-08-01");
        assert_eq!(window("2016-08-02T05:59:59-07:00").run, "2016-08-01");
        let next = window("2016-08-02T06:00:00-07:00");
        assert_eq!((next.run.as_str(), next.earliest), ("2016-08-02", at("2016-08-02T22:00:00-07:00")));
    }

    #[test]
    fn nights_with_a_clock_change_have_seven_or_nine_hours() {
        let spring = window("2017-03-12T01:00:00-08:00");
        assert_eq!((spring.run.as_str(), spring.length().as_hours()), ("2017-03-11", 7));
        let autumn = window("2016-11-06T00:30:00-07:00");
        assert_eq!((autumn.run.as_str(), autumn.length().as_hours()), ("2016-11-05", 9));
        assert_eq!(autumn.deadline, at("2016-11-06T06:00:00-08:00"));
        assert_eq!(window("2016-11-20T00:00:00-08:00").length().as_hours(), 8);
    }

    #[test]
    fn a_window_inside_the_skipped_hour_moves_behind_the_change() {
        let skipped = Window::Daily { from: Time::constant(2, 15, 0, 0), to: Time::constant(2, 45, 0, 0) };
        let run = current_window(&skipped, &zone(), at("2017-03-12T01:00:00-08:00")).unwrap().unwrap();
        assert_eq!(run.earliest, at("2017-03-12T03:15:00-07:00"));
        assert_eq!(run.length().as_mins(), 30);
    }

    #[test]
    fn a_repeated_hour_opens_at_its_first_occurrence_only() {
        let repeated = Window::Daily { from: Time::constant(1, 0, 0, 0), to: Time::constant(4, 0, 0, 0) };
        let run = current_window(&repeated, &zone(), at("2016-11-06T00:00:00-07:00")).unwrap().unwrap();
        assert_eq!(run.earliest, at("2016-11-06T01:00:00-07:00"));
        assert_eq!(run.length().as_hours(), 4);
        let again = current_window(&repeated, &zone(), at("2016-11-06T01:30:00-08:00")).unwrap().unwrap();
        assert_eq!(again, run, "the second 01:30 lies in the same window");
    }

    #[test]
    fn what_was_consumed_is_no_longer_offered_and_a_complete_run_gives_way_to_the_next() {
        let now = at("2016-08-01T23:00:00-07:00");
        let mut progress = BatchProgress {
            run: "2016-08-01".into(),
            used: Energy::kwh(1.5),
            running: true,
            complete: false,
        };
        let work = offer(&night(), &zone(), Some(&progress), now).unwrap();
        assert_eq!(
            (work.id.as_str(), work.energy, work.running),
            ("backup/2016-08-01", Energy::kwh(2.5), true)
        );
        progress.running = false;
        progress.complete = true;
        let next = offer(&night(), &zone(), Some(&progress), now).unwrap();
        assert_eq!((next.id.as_str(), next.energy), ("backup/2016-08-02", Energy::kwh(4.0)));
    }

    #[test]
    fn progress_of_another_night_does_not_count() {
        let old = BatchProgress {
            run: "2016-07-31".into(),
            used: Energy::kwh(4.0),
            running: false,
            complete: true,
        };
        let work = offer(&night(), &zone(), Some(&old), at("2016-08-01T23:00:00-07:00")).unwrap();
        assert_eq!(work.energy, Energy::kwh(4.0));
    }

    #[test]
    fn a_single_window_is_offered_until_it_closes() {
        let (earliest, deadline) = (at("2016-08-01T00:00:00Z"), at("2016-08-01T04:00:00Z"));
        let spec = BatchSpec { window: Window::Once { earliest, deadline }, ..night() };
        assert_eq!(offer(&spec, &zone(), None, earliest).unwrap().deadline, deadline);
        assert_eq!(offer(&spec, &zone(), None, deadline), None);
    }
}
