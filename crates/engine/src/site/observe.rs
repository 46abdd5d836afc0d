//! What a tick sees: time is handed out, every device is read, and what cannot be read is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sos_store::EventType;
use sos_units::{Missing, Power, Reading};

use super::links::{AssetReading, Ticked};
use super::model::{Address, SiteModel};
use super::task::{LONGEST_START, Site};
use super::telemetry::own_power;
use crate::clock::Speed;
use crate::services::board::Board;
use crate::services::secrets::adapter_token;

impl Site {
    /// Hands out the time and reads every device. Returns the jobs that worked in the step.
    pub(super) async fn observe(&mut self, now: Timestamp) -> BTreeSet<String> {
        let lockstep = self.task.clock.speed == Speed::LockStep;
        let mut alive: BTreeSet<String> = self.task.work.at_work().into_iter().collect();
        if lockstep {
            let down = self.advance(now).await;
            alive.retain(|service| !down.contains(service));
            self.count_not_ready(&down, now);
        } else {
            let board = self.task.board.borrow().clone();
            alive.retain(|service| board.services.get(service).is_some_and(|view| view.status.live > 0));
            let down = self.needed().filter(|service| !board.is_ready(service)).cloned().collect();
            self.count_not_ready(&down, now);
        }
        self.read(now, lockstep).await;
        alive
    }

    /// Counts the step that has ended for the services that were wanted in it and not ready.
    pub(super) fn count_not_ready(&mut self, down: &BTreeSet<String>, now: Timestamp) {
        let Some(start) = self.last else { return };
        for service in down {
            *self.stats.not_ready.entry(service.clone()).or_default() += now.duration_since(start).as_secs();
        }
    }

    /// Lock-step: every simulated device lives up to `now`. Site time waits for services that are starting, unless
    /// their outage is injected. Returns those that did not make it.
    pub(super) async fn advance(&mut self, now: Timestamp) -> BTreeSet<String> {
        let mut ticked = self.task.ticked.clone();
        ticked.extend(self.task.work.ticked());
        let outages = self.task.orders.borrow().all_outages();
        ticked.retain(|one| !outages.contains(&one.service));
        let began = Instant::now();
        loop {
            let board = self.task.board.borrow_and_update().clone();
            self.keep_together(&board, &ticked);
            let mut outcome = self.links.advance(&ticked, &board, self.last, now).await;
            // A job whose work was done in this very step has ended already when the step is repeated.
            outcome.failed.retain(|service, _| !board.is_completed(service));
            self.given_up.retain(|service| outcome.failed.contains_key(service));
            if outcome.failed.keys().all(|service| self.given_up.contains(service)) {
                return outages.into_iter().chain(outcome.failed.into_keys()).collect();
            }
            if began.elapsed() > LONGEST_START || *self.task.stop.borrow() {
                self.given_up.extend(outcome.failed.into_keys());
                return outages.into_iter().chain(self.given_up.iter().cloned()).collect();
            }
            self.nudge().await;
        }
    }

    /// Keeps those that take turns in lock-step on one core.
    fn keep_together(&mut self, board: &Board, ticked: &[Ticked]) {
        let Some(mut core) = self.core.take() else { return };
        let adapters = self.task.model.assets.iter().filter_map(|asset| Some(&asset.via.as_ref()?.adapter));
        let turns: BTreeSet<&String> = ticked.iter().map(|one| &one.service).chain(adapters).collect();
        let views = turns.into_iter().filter_map(|service| board.services.get(service));
        let replicas = views.flat_map(|view| &view.replicas).filter(|replica| replica.live);
        core.join(replicas.filter_map(|replica| replica.pid));
        self.core = Some(core);
    }

    /// Waits until something about the services changes, or a moment.
    pub(super) async fn nudge(&mut self) {
        let moment = Duration::from_millis(5);
        let _ = tokio::time::timeout(moment, self.task.board.changed()).await;
    }

    pub(super) async fn read(&mut self, now: Timestamp, lockstep: bool) {
        let model = Arc::clone(&self.task.model);
        let store = self.task.store.clone();
        let outages = self.task.orders.borrow().all_outages();
        let began = Instant::now();
        loop {
            let board = self.task.board.borrow_and_update().clone();
            let token = |service: &str| adapter_token(&store, service);
            (self.readings, self.failures) = self.links.read(&model, &board, token, now).await;
            let waits = lockstep
                && self.failures.keys().any(|index| concerns(&model, *index).all(|s| !outages.contains(s)))
                && began.elapsed() < LONGEST_START
                && !*self.task.stop.borrow();
            if !waits || !self.starting(&outages) {
                break;
            }
            self.nudge().await;
        }
        if began.elapsed() >= LONGEST_START {
            let late = self.needed().filter(|service| !self.task.board.borrow().is_ready(service)).cloned();
            let late: Vec<String> = late.collect();
            self.given_up.extend(late);
        }
        let device: Vec<Reading<Power>> =
            self.readings.iter().map(|reading| reading.map(|r| r.power)).collect();
        self.own = own_power(&model, &device);
        self.socs.clear();
        for (index, asset, _) in model.batteries() {
            if let Ok(AssetReading { soc: Some(soc), .. }) = self.readings[index]
                && asset.mode != sos_model::Mode::Observe
            {
                self.socs.insert(index, soc);
            }
        }
        self.sight = self.movables.see(&model, self.last, now, &self.readings);
        self.socs.extend(&self.sight.socs);
        self.generators = self.book.see(&model, now, &self.readings);
        self.tell_failures();
    }

    /// Whether a service that the site needs is on its way up: then site time waits for it.
    pub(super) fn starting(&self, outages: &BTreeSet<String>) -> bool {
        let board = self.task.board.borrow();
        let waited = |service: &&String| !outages.contains(*service) && !self.given_up.contains(*service);
        let mut needed = self.needed().filter(waited);
        needed.any(|service| board.services.get(service).is_some_and(|view| view.status.ready == 0))
    }

    /// The services that the assets depend on.
    pub(super) fn needed(&self) -> impl Iterator<Item = &String> {
        (0..self.task.model.assets.len()).flat_map(|index| concerns(&self.task.model, index))
    }

    /// Tells when an asset becomes unavailable and when it is back.
    pub(super) fn tell_failures(&mut self) {
        let model = Arc::clone(&self.task.model);
        for (index, asset) in model.assets.iter().enumerate() {
            // Before the first step a device has nothing to measure.
            let early = self.last.is_none() && self.readings[index] == Err(Missing::NotYet);
            let failure = self.failures.get(&index).filter(|_| !early).cloned();
            match (self.told.contains_key(&index), failure) {
                (false, Some(why)) => {
                    self.tell("Asset", &asset.name, EventType::Warning, "Unavailable", why.clone());
                    self.told.insert(index, why);
                }
                (true, None) => {
                    self.told.remove(&index);
                    self.tell(
                        "Asset",
                        &asset.name,
                        EventType::Normal,
                        "Available",
                        "it answers again".to_owned(),
                    );
                }
                _ => {}
            }
        }
    }
}

/// The declared services that an asset depends on.
pub(super) fn concerns(model: &SiteModel, index: usize) -> impl Iterator<Item = &String> {
    let via = model.assets[index].via.as_ref();
    let device = via.and_then(|via| match &via.address {
        Address::Service { service, .. } => Some(service),
        Address::Host { .. } => None,
    });
    via.map(|via| &via.adapter).into_iter().chain(device)
}
