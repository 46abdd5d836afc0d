//! The whole family over one series and its covariates, brought up to date from histories.

use jiff::Timestamp;
use sos_units::Reading;

use crate::blend::Block;
use crate::calendar::Calendar;
use crate::config::{Character, ForecastConfig};
use crate::daily::Daily;
use crate::history::{History, View};
use crate::panel::Panel;
use crate::running::{self, Running};
use crate::wind;

/// Days of data from which blocks of days are compared.
const DAILY_FROM: usize = 15;
/// Horizons from so many hours on are forecast by blocks of days.
const DAILY_HOURS: f64 = 6.0;
/// Longest block of days, in days; what lies beyond repeats its last week.
const MOST_DAYS: usize = 7;
/// Times of day with a family of their own; the one asked for longest ago makes room.
const MOST_PHASES: usize = 8;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Full {
    panel: Panel,
    /// Next step to learn, since 1970.
    next: i64,
    past: Vec<(History, i64)>,
    known: Vec<(History, i64)>,
    /// By time of day, the one asked for last at the end.
    daily: Vec<(usize, Daily)>,
    running: Option<Running>,
    per_day: usize,
}

impl Full {
    pub(crate) fn new(config: &ForecastConfig, calendar: &Calendar) -> Self {
        let per_day = usize::try_from(86_400 / calendar.step).unwrap_or(1).max(1);
        let columns = |ahead: bool| {
            let wanted = config.covariates.iter().filter(|c| c.known_ahead == ahead);
            wanted.map(|_| (History::new(config.step, config.history), i64::MIN)).collect::<Vec<_>>()
        };
        let (past, known) = (columns(false), columns(true));
        let panel = Panel::new(per_day, past.len(), known.len());
        Self { panel, next: i64::MIN, past, known, daily: Vec::new(), running: None, per_day }
    }

    /// Forgets what was learned but not what was observed; learns from the step `since` on.
    pub(crate) fn reset(&mut self, since: Option<i64>) {
        self.panel = Panel::new(self.per_day, self.past.len(), self.known.len());
        self.next = since.unwrap_or(i64::MIN);
        self.past.iter_mut().chain(&mut self.known).for_each(|(_, next)| *next = i64::MIN);
        self.daily.clear();
        self.running = None;
    }

    /// Notes a value of the covariate at `position` in the configuration.
    pub(crate) fn observe(
        &mut self,
        config: &ForecastConfig,
        position: usize,
        time: Timestamp,
        known_at: Timestamp,
        value: Reading<f64>,
    ) {
        let Some(covariate) = config.covariates.get(position) else { return };
        let of_kind = config.covariates[..position].iter().filter(|c| c.known_ahead == covariate.known_ahead);
        let at = of_kind.count();
        let columns = if covariate.known_ahead { &mut self.known } else { &mut self.past };
        if let Some((history, _)) = columns.get_mut(at) {
            history.push(time, known_at, value);
        }
    }

    /// Brings the panel to what `view` and the covariates' histories knew at the issue time.
    pub(crate) fn advance(&mut self, calendar: &Calendar, view: &View<'_>) {
        let now = calendar.index(view.issued_at());
        let local = |index: i64| calendar.local_step(index);
        for (index, sample) in view.since(self.next).take_while(|(index, _)| *index <= now) {
            // A hole before this step is padded, so that what follows stands at its own time.
            self.panel.reach(local(index));
            self.panel.push(local(index), sample.value.ok());
            self.next = index + 1;
        }
        let Some(first) = self.panel.first() else { return };
        let ahead = (self.per_day * (MOST_DAYS + 2)) as i64;
        for (column, (history, next)) in self.past.iter_mut().enumerate() {
            for (index, sample) in history.view(view.issued_at()).since(*next).take_while(|(i, _)| *i <= now)
            {
                *next = index + 1;
                if let (true, Ok(value)) = (local(index) >= first, sample.value) {
                    self.panel.push_past(column, local(index), value);
                }
            }
        }
        for (column, (history, next)) in self.known.iter_mut().enumerate() {
            let until = now.saturating_add(ahead);
            for (index, sample) in
                history.view(view.issued_at()).since(*next).take_while(|(i, _)| *i <= until)
            {
                if let (true, Ok(value)) = (local(index) >= first, sample.value) {
                    self.panel.push_known(column, local(index), value);
                }
            }
            // What lies ahead may be announced anew: it is read again.
            *next = (*next).max(now - self.per_day as i64);
        }
    }

    /// What a wind plant may give while [`Self::forecast`] has nothing to say, with the name of the rung and the reason.
    pub(crate) fn young_wind(
        &self,
        config: &ForecastConfig,
        own: &View<'_>,
        steps: (i64, usize),
    ) -> Option<(Block, &'static str, String)> {
        if config.character != Character::Wind {
            return None;
        }
        let known: Vec<View<'_>> =
            self.known.iter().map(|(history, _)| history.view(own.issued_at())).collect();
        let young = wind::expect(config, own, &known, steps)?;
        let name =
            config.covariates.iter().filter(|c| c.known_ahead).nth(young.column).map_or("", |c| &c.name);
        let hours = young.lessons as f64 * config.step.as_secs() as f64 / 3600.0;
        let (method, because) = if young.lessons == 0 {
            (
                "standard-curve",
                format!("nothing measured yet: power-curve of a standard turbine at the wind of {name}"),
            )
        } else {
            let known = format!("{hours:.0} h known: power-curve of what came at the wind of {name}");
            ("power-curve", format!("{known}, a standard turbine's where it was not seen yet"))
        };
        Some((young.block, method, because))
    }

    /// Steps from `issued` on, if the family has enough to say something; with its name. Horizons of days wait until days
    /// can be compared: before that the profile is better than what steps teach.
    pub(crate) fn forecast(
        &mut self,
        config: &ForecastConfig,
        calendar: &Calendar,
        (first, len): (i64, usize),
    ) -> Option<(Block, &'static str)> {
        let local = |index: i64| calendar.local_step(index);
        self.panel.reach(local(first));
        let end = self.panel.place(local(first))?;
        let offsets: Vec<usize> = (first..first + len as i64)
            .map(|index| usize::try_from(local(index) - local(first)).unwrap_or(0))
            .collect();
        let leads = offsets.iter().copied().max()? + 1;
        let hours = leads as f64 * 24.0 / self.per_day as f64;
        let (block, name) = if hours >= DAILY_HOURS {
            if end < DAILY_FROM * self.per_day {
                return None;
            }
            (self.by_days(config, end, leads), "blend")
        } else if end >= running::FEWEST_ROWS && leads <= running::MOST_LEADS {
            (self.by_steps(config, end, leads), "running-blend")
        } else {
            return None;
        };
        let week = 7 * self.per_day;
        let pick = |row: &[f64]| -> Vec<f64> {
            offsets
                .iter()
                .map(|lead| {
                    let over = (lead + 1).saturating_sub(row.len()).div_ceil(week);
                    row[(lead - (over * week).min(*lead)).min(row.len() - 1)]
                })
                .collect()
        };
        let quantiles = block.quantiles.iter().map(|row| pick(row)).collect();
        Some((Block { mean: pick(&block.mean), quantiles, members: block.members }, name))
    }

    fn by_days(&mut self, config: &ForecastConfig, end: usize, leads: usize) -> Block {
        let leads = leads.min(MOST_DAYS * self.per_day);
        let phase = end % self.per_day;
        let kept = self.daily.iter().position(|(known, _)| *known == phase).map(|at| self.daily.remove(at).1);
        let mut family = kept
            .filter(|f| f.serves(self.per_day, end, leads))
            .unwrap_or_else(|| Daily::new(&self.panel, config, self.per_day, end, leads));
        let block = family.forecast(&self.panel, config, self.per_day, end);
        self.daily.push((phase, family));
        if self.daily.len() > MOST_PHASES {
            self.daily.remove(0);
        }
        block
    }

    fn by_steps(&mut self, config: &ForecastConfig, end: usize, leads: usize) -> Block {
        let kept = self.running.take().filter(|f| f.serves(end, leads));
        let mut family = kept.unwrap_or_else(|| Running::new(&self.panel, config, end, leads));
        let block = family.forecast(&self.panel, config, end);
        self.running = Some(family);
        block
    }
}
