//! What a tick leaves behind: one transaction with the audit entry, the measurements and all that a restart needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sos_control::BatchOrder;
use sos_store::{AuditEntry, Event, EventType, StoreError};
use sos_units::{Energy, Missing, Power, Price, Reading, Soc};

use super::account::{Accounts, Decision, Late};
use super::decide::Order;
use super::model::Kind;
use super::orders::{KeptOrders, orders_key};
use super::task::{Site, SiteError};
use super::telemetry::{Row, grid};
use super::work::JobState;
use crate::clock::wall_now;

/// What is kept with every tick, so that a restart goes on at the next one.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Start of the step that was decided last.
    now: Timestamp,
    tick: u64,
    accounts: Accounts,
    jobs: BTreeMap<String, JobState>,
    /// The controller's decision for the running step.
    decision: Decision,
    plans: u64,
    fallbacks: u64,
    not_ready: BTreeMap<String, i64>,
    /// Energy in the batteries at `now`, and what a kWh of it is worth.
    stored: Energy,
    worth: Price,
}

impl Site {
    pub(super) fn key(&self) -> String {
        format!("site/{}", self.task.model.name)
    }

    /// Goes on where an earlier run stopped: accounts, jobs, and what the forecasters have seen.
    pub(super) fn resume(&mut self) -> Result<(), StoreError> {
        let Some(value) = self.task.store.get_kv(&self.key())? else { return Ok(()) };
        let kept = value.as_str().and_then(|text| serde_json::from_str::<Kept>(text).ok());
        let Some(kept) = kept.filter(|kept| kept.accounts.fits(&self.task.model)) else {
            tracing::warn!(site = self.task.model.name, "the site has changed; its accounts start anew");
            return Ok(());
        };
        self.accounts = kept.accounts;
        self.task.work.restore(kept.jobs);
        self.decision = kept.decision;
        self.last = Some(kept.now);
        self.tick = kept.tick;
        self.stats.plans = kept.plans;
        self.stats.fallbacks = kept.fallbacks;
        self.stats.not_ready = kept.not_ready;
        self.resumed = Some((kept.stored, kept.worth));
        super::view::relearn(&self.task.store, &self.task.model, &mut self.outlook, kept.now)?;
        Ok(())
    }

    /// Commits the tick in one transaction: the audit entry of every command before it is sent, the measurements, the
    /// accounts. What cannot be recorded is not done.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        orders: &[Order],
        decision: Decision,
        late: &[Late],
        batches: &BTreeMap<String, BatchOrder>,
    ) -> Result<(), SiteError> {
        let model = Arc::clone(&self.task.model);
        let known_at = if self.task.model.replay.is_some() { now } else { wall_now().max(now) };
        let device: Vec<Reading<Power>> =
            self.readings.iter().map(|reading| reading.map(|r| r.power)).collect();
        let soc: Vec<Option<Reading<Soc>>> = self.soc_readings();
        let mut setpoint = vec![None; model.assets.len()];
        for order in orders.iter().filter(|order| order.write) {
            setpoint[order.asset] = order.power;
        }
        let mut samples = Vec::new();
        if self.last.is_some() {
            samples = self.ids.samples(&Row {
                now,
                known_at,
                power: &self.own,
                device: &device,
                soc: &soc,
                setpoint: &setpoint,
                grid: grid(&model, &self.own, self.work_power),
                planned: self.planned_grid,
                work: self.work_power,
            });
            samples.extend(self.ids.late(late, known_at));
        }
        let entry = self.audit_entry(now, orders);
        let kept = Kept {
            now,
            tick: self.tick + 1,
            accounts: self.accounts.clone(),
            jobs: self.task.work.states(),
            decision,
            plans: self.stats.plans,
            fallbacks: self.stats.fallbacks,
            not_ready: self.stats.not_ready.clone(),
            stored: super::account::stored(&model, &self.socs),
            worth: self.worth(),
        };
        let unreadable =
            |error: serde_json::Error| SiteError::Setup { site: model.name.clone(), why: error.to_string() };
        let kept = serde_json::to_string(&kept).map_err(unreadable)?;
        let asked = (self.order_key(batches) != self.sent)
            .then(|| serde_json::to_value(KeptOrders { batches: batches.clone() }))
            .transpose()
            .map_err(unreadable)?;
        let key = self.key();
        let written = self.task.store.commit(|tx| {
            if let Some(entry) = &entry {
                tx.audit(entry)?;
            }
            if !samples.is_empty() {
                tx.append_samples(&samples)?;
            }
            if let Some(asked) = &asked {
                tx.put_kv(&orders_key(&model.name), asked)?;
            }
            tx.put_kv(&key, &serde_json::Value::String(kept))
        });
        written.map_err(|source| SiteError::Store { site: model.name.clone(), source })
    }

    pub(super) fn soc_readings(&self) -> Vec<Option<Reading<Soc>>> {
        let assets = self.task.model.assets.iter().zip(&self.readings);
        assets
            .map(|(asset, reading)| match &asset.kind {
                Kind::Battery(_) => Some(reading.and_then(|reading| reading.soc.ok_or(Missing::Invalid))),
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
