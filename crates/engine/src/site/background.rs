//! All members of the forecasting family, brought up to date beside the loop within a budget of processor time.
//!
//! A thread owns the forecasters; the loop sends it what is measured and asks for a forecast when [`RefitSchedule`] says so. In
//! lock-step the loop waits for the answer at the next tick, so that a replay can be repeated; else it takes what has
//! come. A thread that ends leaves the site with its incremental forecasts.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};

use jiff::{SignedDuration, Timestamp};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use sos_forecast::accuracy::AccuracyRecord;
use sos_forecast::{ConfigError, Family, Forecast, ForecastConfig, Forecaster, RefitSchedule, Rivals};
use sos_model::Members;
use sos_units::Reading;

use super::foresight::{NEED_KIND, Subject};
use super::model::SiteModel;
use super::outlook::{Outlook, count};
use crate::clock::Speed;

/// What may wait for the thread: a minute of ticks of a thousand series, or more than is learned again after a restart
/// while a refit runs. A full queue makes the loop wait.
const QUEUE: usize = 16_384;

enum Job {
    Observe { series: usize, time: Timestamp, known_at: Timestamp, value: Reading<f64> },
    Forecast { series: usize, issued_at: Timestamp, horizon: usize },
}

#[derive(Debug)]
struct Done {
    series: usize,
    forecast: Forecast,
    /// Seconds of processor time.
    seconds: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Background {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    refits: RefitSchedule,
    /// Whether the loop waits for what it asked for.
    lock_step: bool,
}

impl Background {
    /// A thread for the series of these configurations, in which all members are asked.
    ///
    /// # Errors
    /// When a configuration contradicts itself or no thread can be started.
    pub(super) fn start(
        site: &str,
        configs: &[ForecastConfig],
        refits: RefitSchedule,
        lock_step: bool,
    ) -> Result<Self, String> {
        let full = |config: &ForecastConfig| {
            Forecaster::new(ForecastConfig { family: Family::Full, ..config.clone() })
        };
        let forecasters: Result<Vec<Forecaster>, ConfigError> = configs.iter().map(full).collect();
        let mut forecasters = forecasters.map_err(|error| error.to_string())?;
        let (jobs, todo) = sync_channel(QUEUE);
        let (told, done) = sync_channel(configs.len().max(1));
        std::thread::Builder::new()
            .name(format!("forecast-{site}"))
            .spawn(move || work(&mut forecasters, &todo, &told))
            .map_err(|error| format!("no thread for its forecasts can be started: {error}"))?;
        Ok(Self { jobs, done, refits, lock_step })
    }

    /// Hands on what was measured.
    pub(super) fn observe(&self, series: usize, time: Timestamp, known_at: Timestamp, value: Reading<f64>) {
        // A thread that has ended is noticed by `turn`.
        let _ended = self.jobs.send(Job::Observe { series, time, known_at, value });
    }

    /// Wants a series brought up to date as soon as the budget allows.
    pub(super) fn ask(&mut self, series: usize) {
        self.refits.ask(series);
    }

    /// The forecasts that have come, and asks for those that are due, `horizon` steps of each series.
    ///
    /// # Errors
    /// When the thread has ended.
    pub(super) fn turn(
        &mut self,
        now: Timestamp,
        horizon: impl Fn(usize) -> usize,
    ) -> Result<Vec<(usize, Forecast)>, RecvError> {
        let mut come = Vec::new();
        while self.refits.any_running() {
            let done = match self.done.try_recv() {
                Ok(done) => done,
                Err(TryRecvError::Empty) if self.lock_step => self.done.recv()?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(RecvError),
            };
            self.refits.done(done.series, done.seconds);
            come.push((done.series, done.forecast));
        }
        while let Some(series) = self.refits.next(now) {
            let job = Job::Forecast { series, issued_at: now, horizon: horizon(series) };
            self.jobs.send(job).map_err(|_| RecvError)?;
        }
        Ok(come)
    }
}

impl Outlook {
    /// Starts asking all members beside the loop, where that is wanted.
    ///
    /// # Errors
    /// When a configuration contradicts itself or no thread can be started.
    pub(super) fn start(&mut self, model: &SiteModel, speed: Speed) -> Result<(), String> {
        let forecasting = &model.forecasting;
        if forecasting.members == Members::Profile {
            return Ok(());
        }
        for tracked in self.trackeds() {
            tracked.rivals = Some(Rivals::new(tracked.forecaster.config()));
        }
        let configs: Vec<ForecastConfig> =
            self.trackeds().map(|tracked| tracked.forecaster.config().clone()).collect();
        // Of wall time; a second of site time is shorter.
        let share = f64::from(forecasting.cpu.milli) / 1000.0;
        let share = match speed {
            Speed::LockStep => None,
            Speed::Factor(factor) => Some(share / factor),
        };
        let refits = RefitSchedule::new(configs.len(), forecasting.refit_every, share);
        let lock_step = speed == Speed::LockStep;
        self.background = Some(Background::start(&model.name, &configs, refits, lock_step)?);
        Ok(())
    }

    /// Wants a series, which has changed, forecast anew by all members.
    pub(super) fn ask(&mut self, model: &SiteModel, name: &str) {
        let place = self.singles(model).map(|subject| subject.name).position(|one| one == name);
        if let (Some(background), Some(series)) = (&mut self.background, place) {
            background.ask(series);
        }
    }

    /// Takes what all members have said since the last tick, and asks for what is due.
    pub(super) fn refresh(&mut self, model: &SiteModel, now: Timestamp) {
        let Some(background) = &mut self.background else { return };
        let reach = now + model.horizon + model.forecasting.refit_every;
        let members = self.members.iter().flatten().map(|member| &member.tracked);
        let steps: Vec<SignedDuration> =
            members.chain(&self.carbon).map(|tracked| tracked.track.step).collect();
        let Ok(come) = background.turn(now, |series| count(now, reach, steps[series])) else {
            tracing::error!(site = model.name, "the thread of its forecasts has ended; the profile goes on");
            self.background = None;
            self.trackeds().for_each(|tracked| tracked.rivals = None);
            return;
        };
        for (series, forecast) in come {
            if let Some(rivals) = self.trackeds().nth(series).and_then(|tracked| tracked.rivals.as_mut()) {
                rivals.renewed(forecast);
            }
        }
    }

    /// What is forecast by a forecaster of its own, in the order of these.
    pub(super) fn singles(&self, model: &SiteModel) -> impl Iterator<Item = Subject> + use<> {
        self.subjects(model).into_iter().filter(|subject| subject.kind != NEED_KIND)
    }

    /// How good both families were, by series.
    pub(super) fn rivals(&self, model: &SiteModel) -> BTreeMap<String, [AccuracyRecord; 2]> {
        let members = self.members.iter().flatten().map(|member| &member.tracked);
        let rivals = self.singles(model).zip(members.chain(&self.carbon));
        rivals
            .filter_map(|(subject, tracked)| Some((subject.name, tracked.rivals.as_ref()?.record())))
            .collect()
    }

    /// Goes on from what [`Self::rivals`] said.
    pub(super) fn restore_rivals(
        &mut self,
        model: &SiteModel,
        records: &BTreeMap<String, [AccuracyRecord; 2]>,
    ) {
        for (subject, tracked) in self.singles(model).zip(self.trackeds()) {
            if let (Some(rivals), Some(record)) = (&mut tracked.rivals, records.get(&subject.name)) {
                rivals.restore(record);
            }
        }
    }
}

fn work(forecasters: &mut [Forecaster], todo: &Receiver<Job>, told: &SyncSender<Done>) {
    for job in todo {
        match job {
            Job::Observe { series, time, known_at, value } => {
                forecasters[series].observe(time, known_at, value);
            }
            Job::Forecast { series, issued_at, horizon } => {
                let before = processor_seconds();
                let forecast = forecasters[series].forecast(issued_at, horizon);
                let done = Done { series, forecast, seconds: processor_seconds() - before };
                if told.send(done).is_err() {
                    return;
                }
            }
        }
    }
}

/// Processor time of the calling thread; 0 where the system does not tell.
fn processor_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).map(|usage| {
        (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
    });
    usage.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use sos_forecast::Character;

    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(hour: i32) -> Timestamp {
        "2024-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + HOUR * hour
    }

    /// A month of two series in lock-step; the forecasts that came, with the hour in which they did.
    fn run() -> Vec<(i32, usize, Forecast)> {
        let config = ForecastConfig::new(Character::Load, HOUR, TimeZone::UTC);
        let refits = RefitSchedule::new(2, HOUR * 6, None);
        let mut background = Background::start("home", &[config.clone(), config], refits, true).unwrap();
        let mut all = Vec::new();
        for hour in 0..30 * 24 {
            for series in 0..2_i32 {
                let day = f64::from((hour + series) % 24);
                background.observe(usize::try_from(series).unwrap(), at(hour), at(hour + 1), Ok(1.0 + day));
            }
            let come = background.turn(at(hour + 1), |_| 36).unwrap();
            all.extend(come.into_iter().map(|(series, forecast)| (hour, series, forecast)));
        }
        all
    }

    #[test]
    fn every_series_is_refitted_once_a_period_by_all_members_the_same_way_each_time() {
        let all = run();
        assert!(all.len() >= 2 * (30 * 4 - 1), "{}", all.len());
        let (hour, series, last) = all.last().unwrap();
        assert_eq!(last.method, "blend");
        assert_eq!(last.issued_at, at(*hour), "asked for a tick before");
        let first = i32::try_from(*series).unwrap();
        for (lead, mean) in (0..).zip(&last.mean) {
            let truth = 1.0 + f64::from((hour + lead + first) % 24);
            assert!((mean - truth).abs() < 1.0, "{lead} h ahead {mean} of {truth}");
        }
        assert_eq!(all, run());
    }

    #[test]
    fn a_series_asked_for_comes_before_its_time() {
        let config = ForecastConfig::new(Character::Load, HOUR, TimeZone::UTC);
        let refits = RefitSchedule::new(1, HOUR * 24, None);
        let mut background = Background::start("home", &[config], refits, true).unwrap();
        assert!(background.turn(at(0), |_| 24).unwrap().is_empty());
        assert_eq!(background.turn(at(1), |_| 24).unwrap().len(), 1);
        assert!(background.turn(at(2), |_| 24).unwrap().is_empty());
        background.ask(0);
        background.turn(at(3), |_| 24).unwrap();
        assert_eq!(background.turn(at(4), |_| 24).unwrap().len(), 1);
    }
}
