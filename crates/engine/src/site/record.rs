//! What a tick leaves behind: one transaction with the audit entry, the measurements and all that a restart needs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sos_store::{AuditEntry, Event, EventType, Sample, Store, StoreError, Tx};
use sos_units::{Energy, FlexibleWork, Missing, Power, Price, Reading, Soc};

use super::account::{Accounts, Decision, KEPT_VIOLATIONS, Late};
use super::decide::Order;
use super::errands::ErrandState;
use super::generators::Book;
use super::model::Kind;
use super::movable::Movables;
use super::orders::orders_key;
use super::periods::DayEnd;
use super::settlement::LONGEST_WAIT;
use super::slow::SlowState;
use super::task::{Site, SiteError};
use super::telemetry::{Row, SeriesIds, grid};
use super::work::{JobState, WorkOrders, WorkStates};
use crate::clock::wall_now;

/// What is kept with every tick, so that a restart goes on at the next one. Its size does not grow with the run: what
/// does is in journals, written when it comes.
#[derive(Debug, Serialize, Deserialize)]
struct Kept<'a> {
    /// Start of the step that was decided last.
    now: Timestamp,
    tick: u64,
    accounts: Cow<'a, Accounts>,
    jobs: BTreeMap<String, JobState>,
    #[serde(default)]
    book: Cow<'a, Book>,
    #[serde(default)]
    movables: Cow<'a, Movables>,
    #[serde(default)]
    slow: BTreeMap<String, SlowState>,
    #[serde(default)]
    errands: BTreeMap<String, ErrandState>,
    /// The controller's decision for the running step.
    decision: Decision,
    plans: u64,
    fallbacks: u64,
    not_ready: Cow<'a, BTreeMap<String, i64>>,
    /// Energy in all stores at `now`, that in the batteries alone, and what a kWh of it is worth.
    stored: Energy,
    #[serde(default)]
    stored_at_rest: Energy,
    worth: Price,
}

/// The kind of a journal's records.
const RECORD: &str = "json";
/// Most days of one reading: a century.
const MOST_DAYS: usize = 36_525;
/// Most pieces of work of workflows that the perfect case takes into account.
const MOST_ERRANDS: usize = 10_000;
/// The version of their encoding.
const VERSION: u32 = 1;

impl Site {
    fn key(&self) -> String {
        format!("site/{}", self.task.model.name)
    }

    /// The journal of ticks that wait for a device.
    fn open_ticks(&self) -> String {
        format!("site/{}/open", self.task.model.name)
    }

    /// The journal of steps above a limit.
    fn violations(&self) -> String {
        format!("site/{}/violations", self.task.model.name)
    }

    /// The journal of the sums at the ends of days.
    fn days(&self) -> String {
        days(&self.task.model.name)
    }

    /// Goes on where an earlier run stopped: accounts, jobs, and what the forecasters have seen.
    pub(super) fn resume(&mut self) -> Result<(), StoreError> {
        let store = self.task.store.clone();
        let Some(value) = store.get_kv(&self.key())? else { return Ok(()) };
        let kept = value.as_str().and_then(|text| serde_json::from_str::<Kept<'_>>(text).ok());
        let Some(kept) = kept.filter(|kept| kept.accounts.fits(&self.task.model)) else {
            tracing::warn!(site = self.task.model.name, "the site has changed; its accounts start anew");
            return Ok(());
        };
        self.accounts = kept.accounts.into_owned();
        let (open, last) = read_journal(&store, &self.open_ticks(), LONGEST_WAIT + 1)?;
        self.accounts.settlement.restore(open);
        self.open_seq = last;
        (self.accounts.violations, _) = read_journal(&store, &self.violations(), KEPT_VIOLATIONS)?;
        self.violations_kept = self.accounts.violations.len();
        self.task.work.restore(WorkStates { jobs: kept.jobs, slow: kept.slow, errands: kept.errands });
        self.book = kept.book.into_owned();
        self.movables = kept.movables.into_owned();
        self.decision = kept.decision;
        self.last = Some(kept.now);
        self.tick = kept.tick;
        self.stats.plans = kept.plans;
        self.stats.fallbacks = kept.fallbacks;
        self.stats.not_ready = kept.not_ready.into_owned();
        self.resumed = Some((kept.stored, kept.stored_at_rest, kept.worth));
        self.outlook.resume(&store, &self.task.model, kept.now)?;
        super::view::relearn(&store, &self.task.model, &mut self.outlook, kept.now)
    }

    /// Commits the tick in one transaction: the audit entry of every command before it is sent, the measurements, the
    /// accounts. What cannot be recorded is not done.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        orders: &[Order],
        decision: Decision,
        late: &[Late],
        work: &WorkOrders,
    ) -> Result<(), SiteError> {
        let model = Arc::clone(&self.task.model);
        let known_at = if model.replay.is_some() { now } else { wall_now().max(now) };
        let samples = self.samples(now, known_at, orders);
        let entry = self.audit_entry(now, orders);
        let unreadable =
            |error: serde_json::Error| SiteError::Setup { site: model.name.clone(), why: error.to_string() };
        let kept = self.kept(now, decision).map_err(unreadable)?;
        let asked = (self.order_key(work) != self.sent)
            .then(|| serde_json::to_value(work))
            .transpose()
            .map_err(unreadable)?;
        let finished = self.task.work.errands.take_finished();
        let grown = self.grown(&finished).map_err(unreadable)?;
        let key = self.key();
        let open_seq = self.task.store.commit(|tx| {
            if let Some(entry) = &entry {
                tx.audit(entry)?;
            }
            let mut samples = samples;
            samples.extend(self.outlook.store(tx, &model)?);
            samples.extend(self.ids.late(tx, &model, late, known_at)?);
            samples.extend(SeriesIds::available(tx, &model, &self.available, (now, known_at))?);
            if !samples.is_empty() {
                tx.append_samples(&samples)?;
            }
            if let Some(asked) = &asked {
                tx.put_kv(&orders_key(&model.name), asked)?;
            }
            tx.put_kv(&key, &serde_json::Value::String(kept))?;
            grown.write(tx)
        });
        self.open_seq = open_seq.map_err(|source| SiteError::Store { site: model.name.clone(), source })?;
        self.outlook.stored();
        self.accounts.settlement.kept();
        self.violations_kept = self.accounts.violations.len();
        self.accounts.ended.clear();
        Ok(())
    }

    /// The measurements of a tick.
    fn samples(&self, now: Timestamp, known_at: Timestamp, orders: &[Order]) -> Vec<Sample> {
        if self.last.is_none() {
            return Vec::new();
        }
        let model = &self.task.model;
        let device: Vec<Reading<Power>> =
            self.readings.iter().map(|reading| reading.map(|r| r.power)).collect();
        let mut setpoint = vec![None; model.assets.len()];
        for order in orders.iter().filter(|order| order.write) {
            setpoint[order.asset] = order.power;
        }
        self.ids.samples(&Row {
            now,
            known_at,
            power: &self.own,
            device: &device,
            soc: &self.soc_readings(),
            setpoint: &setpoint,
            grid: grid(model, &self.own, self.work_power),
            planned: self.planned_grid,
            work: self.work_power,
        })
    }

    fn kept(&self, now: Timestamp, decision: Decision) -> Result<String, serde_json::Error> {
        let WorkStates { jobs, slow, errands } = self.task.work.states();
        serde_json::to_string(&Kept {
            now,
            tick: self.tick + 1,
            accounts: Cow::Borrowed(&self.accounts),
            jobs,
            book: Cow::Borrowed(&self.book),
            movables: Cow::Borrowed(&self.movables),
            slow,
            errands,
            decision,
            plans: self.stats.plans,
            fallbacks: self.stats.fallbacks,
            not_ready: Cow::Borrowed(&self.stats.not_ready),
            stored: self.stored(),
            stored_at_rest: self.stored_at_rest(),
            worth: self.worth(),
        })
    }

    /// What is to be added to the journals: nothing in most ticks.
    fn grown(&self, finished: &[FlexibleWork]) -> Result<Grown, serde_json::Error> {
        let unkept = self.accounts.settlement.unkept();
        let stored = u64::try_from(unkept.stored).unwrap_or_default();
        let drop = u64::try_from(unkept.drop).unwrap_or_default();
        let first = (self.open_seq + 1).saturating_sub(stored);
        // Accounts that start anew leave nothing behind of what there was before.
        let anew = self.tick == 0;
        Ok(Grown {
            open_ticks: self.open_ticks(),
            drop_open: if anew { u64::MAX } else { first + drop },
            any_to_drop: anew || drop > 0,
            open: unkept.append.into_iter().map(serde_json::to_vec).collect::<Result<_, _>>()?,
            open_seq: self.open_seq,
            violations: self.violations(),
            days: self.days(),
            errands: errands(&self.task.model.name),
            finished: finished.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?,
            ended: self.accounts.ended.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?,
            anew,
            exceeded: self
                .accounts
                .violations
                .iter()
                .skip(self.violations_kept)
                .map(serde_json::to_vec)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Keeps the estimates that the end of a run made, so that the reference case rests on the same energies.
    pub(super) fn record_estimates(&self, estimated: &[Late]) {
        if estimated.is_empty() {
            return;
        }
        let known_at = self.last.unwrap_or_else(wall_now);
        let written = self.task.store.commit(|tx| {
            let samples = self.ids.late(tx, &self.task.model, estimated, known_at)?;
            tx.append_samples(&samples)
        });
        if let Err(error) = written {
            tracing::error!(site = self.task.model.name, %error, "estimates cannot be recorded");
        }
    }

    pub(super) fn soc_readings(&self) -> Vec<Option<Reading<Soc>>> {
        let assets = self.task.model.assets.iter().zip(&self.readings);
        assets
            .map(|(asset, reading)| match &asset.kind {
                Kind::Battery(_) | Kind::HeatPump(_) => {
                    Some(reading.and_then(|reading| reading.soc.ok_or(Missing::Invalid)))
                }
                // Nothing is plugged in.
                Kind::Vehicle(_) => Some(reading.and_then(|reading| reading.soc.ok_or(Missing::Unavailable))),
                _ => None,
            })
            .collect()
    }

    /// One entry for all commands of a tick: each with its value before, its value now, and its reason.
    pub(super) fn audit_entry(&self, now: Timestamp, orders: &[Order]) -> Option<AuditEntry> {
        let model = &self.task.model;
        let before: BTreeMap<&str, Option<f64>> = self
            .orders
            .iter()
            .filter(|order| order.write)
            .map(|order| (model.assets[order.asset].name.as_str(), order.power.map(Power::as_kw)))
            .collect();
        let written: Vec<&Order> = orders.iter().filter(|order| order.write).collect();
        if written.is_empty() {
            return None;
        }
        let after: BTreeMap<&str, serde_json::Value> = written
            .iter()
            .map(|order| {
                let command =
                    serde_json::json!({ "kw": order.power.map(Power::as_kw), "because": order.because });
                (model.assets[order.asset].name.as_str(), command)
            })
            .collect();
        Some(AuditEntry {
            time: now,
            who: "sos/site".into(),
            what: "set-point".into(),
            target: format!("Site/{}", model.name),
            why: self.plan.as_ref().map_or_else(
                || "no plan in force".to_owned(),
                |plan| format!("plan of {} by {}", crate::time_text(plan.made_at, &model.zone), plan.source),
            ),
            before: Some(serde_json::json!(before)),
            after: Some(serde_json::json!({ "epoch": self.task.epoch, "assets": after })),
        })
    }

    pub(super) fn tell(&self, kind: &str, name: &str, event_type: EventType, reason: &str, message: String) {
        let event = Event {
            time: wall_now(),
            site_time: Some(self.now),
            kind: kind.into(),
            name: name.into(),
            event_type,
            reason: reason.into(),
            message,
        };
        tracing::info!(kind, name, reason, message = event.message);
        if let Err(error) = self.task.store.commit(|tx| tx.record_event(&event)) {
            tracing::error!(%error, "an event cannot be recorded");
        }
    }
}

/// What a tick adds to the journals.
struct Grown {
    open_ticks: String,
    /// Records of open ticks with numbers below this are dropped.
    drop_open: u64,
    any_to_drop: bool,
    open: Vec<Vec<u8>>,
    open_seq: u64,
    violations: String,
    days: String,
    ended: Vec<Vec<u8>>,
    errands: String,
    finished: Vec<Vec<u8>>,
    anew: bool,
    exceeded: Vec<Vec<u8>>,
}

impl Grown {
    /// Writes it; answers the number of the last record of an open tick.
    fn write(self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        if self.any_to_drop {
            tx.truncate_journal(&self.open_ticks, self.drop_open)?;
        }
        if self.anew {
            tx.truncate_journal(&self.violations, u64::MAX)?;
            tx.truncate_journal(&self.days, u64::MAX)?;
            tx.truncate_journal(&self.errands, u64::MAX)?;
        }
        let mut last = self.open_seq;
        for bytes in &self.open {
            last = tx.journal(&self.open_ticks, RECORD, VERSION, bytes)?;
        }
        for bytes in &self.exceeded {
            tx.journal(&self.violations, RECORD, VERSION, bytes)?;
        }
        for bytes in &self.ended {
            tx.journal(&self.days, RECORD, VERSION, bytes)?;
        }
        for bytes in &self.finished {
            tx.journal(&self.errands, RECORD, VERSION, bytes)?;
        }
        Ok(last)
    }
}

/// The journal of work of workflows that is over.
fn errands(site: &str) -> String {
    format!("site/{site}/errands")
}

/// Work of workflows that is over, as it could have been done.
pub(super) fn done_errands(store: &Store, site: &str) -> Result<Vec<FlexibleWork>, StoreError> {
    Ok(read_journal(store, &errands(site), MOST_ERRANDS)?.0)
}

fn days(site: &str) -> String {
    format!("site/{site}/days")
}

/// The sums at the ends of a site's days, the running one last.
pub(super) fn day_ends(store: &Store, site: &str) -> Result<Vec<DayEnd>, StoreError> {
    let (mut ends, _) = read_journal::<DayEnd>(store, &days(site), MOST_DAYS)?;
    let kept = store.get_kv(&format!("site/{site}"))?;
    let kept = kept.as_ref().and_then(serde_json::Value::as_str);
    let kept = kept.and_then(|text| serde_json::from_str::<Kept<'_>>(text).ok());
    let today = kept.and_then(|kept| kept.accounts.day_so_far());
    // A day may end between the two readings.
    ends.extend(today.filter(|today| ends.last().is_none_or(|last| last.date < today.date)));
    Ok(ends)
}

/// The records of a journal, oldest first, and the number of the last.
fn read_journal<T: DeserializeOwned>(
    store: &Store,
    stream: &str,
    limit: usize,
) -> Result<(Vec<T>, u64), StoreError> {
    let records = store.read_journal(stream, 1, limit)?;
    let last = records.last().map_or(0, |record| record.seq);
    let parsed = records.iter().filter_map(|record| {
        serde_json::from_slice(&record.bytes)
            .inspect_err(|error| tracing::error!(stream, seq = record.seq, %error, "cannot be read"))
            .ok()
    });
    Ok((parsed.collect(), last))
}
