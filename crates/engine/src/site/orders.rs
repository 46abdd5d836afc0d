//! What a site asks of the services: its jobs, and injected outages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use sos_control::BatchOrder;
use sos_store::{EventType, Store, StoreError};
use sos_units::{Energy, PowerEnvelope};

use super::errands::Moment;
use super::task::{LONGEST_START, Site};
use super::work::WorkOrders;
use crate::clock::Speed;
use crate::permits::Permits;

/// What a site that ran before asked of the services when it was last heard of.
///
/// # Errors
/// What the store says.
pub fn kept_orders(store: &Store, site: &str) -> Result<WorkOrders, StoreError> {
    let kept = store.get_kv(&orders_key(site))?;
    let kept = kept.and_then(|value| serde_json::from_value::<WorkOrders>(value).ok());
    Ok(kept.unwrap_or_default())
}

pub(super) fn orders_key(site: &str) -> String {
    format!("orders/{site}")
}

/// What services were told: runs of jobs, each with whether it runs, and power beyond a guarantee.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sent {
    batches: BTreeMap<String, (BatchOrder, bool)>,
    slow: BTreeMap<String, PowerEnvelope>,
}

impl Site {
    pub(super) fn order_work(&mut self, now: Timestamp) -> WorkOrders {
        let planned = self.plan.as_ref().map(|plan| plan.work(now)).unwrap_or_default();
        let model = Arc::clone(&self.task.model);
        let moment = Moment { now, tick: model.tick, zone: &model.zone, plan: self.plan.as_ref() };
        self.task.work.errands.decide(&moment, &planned);
        self.task.work.order(&self.task.model.zone, now, &planned)
    }

    /// Injected outages: the services concerned go down and, when it is over, come back.
    pub(super) async fn ask_outages(&mut self, outages: BTreeSet<String>) {
        let site = self.task.model.name.clone();
        if self.task.orders.borrow().outages.get(&site).unwrap_or(&BTreeSet::new()) == &outages {
            return;
        }
        tracing::info!(site, ?outages, "injected outages");
        self.task.orders.send_modify(|orders| drop(orders.outages.insert(site, outages.clone())));
        let began = Instant::now();
        while began.elapsed() < LONGEST_START && !*self.task.stop.borrow() {
            let board = self.task.board.borrow_and_update().clone();
            let down =
                |service: &String| board.services.get(service).is_none_or(|view| view.status.live == 0);
            if outages.iter().all(down) {
                return;
            }
            self.nudge().await;
        }
    }

    /// Tells the services which jobs may run, and how fast. In lock-step, waits until a job that starts is there.
    pub(super) async fn ask_work(&mut self, now: Timestamp, work: WorkOrders) {
        let running = self.task.work.running();
        let key = self.order_key(&work);
        if key == self.sent {
            return;
        }
        let is_new = |service: &&String| self.sent.batches.get(*service) != key.batches.get(*service);
        let starts: Vec<String> = running.iter().filter(is_new).cloned().collect();
        self.sent = key;
        let site = self.task.model.name.clone();
        self.task.orders.send_modify(|orders| {
            orders.site_time.insert(site, now);
            orders.batches.extend(work.batches);
            orders.slow.extend(work.slow);
        });
        if self.task.clock.speed == Speed::LockStep && !starts.is_empty() {
            self.await_jobs(now, &starts).await;
        }
    }

    /// In lock-step, gives runs that wait for power a moment to ask again before the first tick.
    pub(super) async fn await_runs(&mut self) {
        let permits = self.task.permits.clone();
        let began = Instant::now();
        while self.task.clock.speed == Speed::LockStep
            && permits.awaits(self.task.work.errands.runs())
            && began.elapsed() < LONGEST_START
            && !*self.task.stop.borrow()
        {
            self.nudge().await;
        }
    }

    /// Takes what runs of workflows ask for.
    pub(super) fn hear_runs(&mut self, now: Timestamp) {
        let (model, permits) = (Arc::clone(&self.task.model), self.task.permits.clone());
        let lockstep = self.task.clock.speed == Speed::LockStep;
        self.task.work.errands.hear(&model.name, (now, &model.zone), &permits, lockstep);
    }

    /// Tells runs of workflows what may begin. In lock-step, waits until what began has come to where it only waits.
    pub(super) async fn permit_work(&mut self, now: Timestamp) {
        let (model, permits) = (Arc::clone(&self.task.model), self.task.permits.clone());
        let lockstep = self.task.clock.speed == Speed::LockStep;
        loop {
            let moment = Moment { now, tick: model.tick, zone: &model.zone, plan: self.plan.as_ref() };
            let (given, told) = self.task.work.errands.permit(&moment, &model.currency, &permits, lockstep);
            for (workflow, text) in &told {
                self.tell("Workflow", workflow, EventType::Normal, "WorkBegins", text.clone());
            }
            if !lockstep {
                return;
            }
            self.await_quiet(&permits, &given).await;
            // What begins as a whole asks for its first part at once.
            if told.is_empty() {
                return;
            }
            self.hear_runs(now);
        }
    }

    async fn await_quiet(&mut self, permits: &Permits, given: &[String]) {
        let began = Instant::now();
        while !permits.are_quiet(given) && began.elapsed() < LONGEST_START && !*self.task.stop.borrow() {
            self.nudge().await;
        }
    }

    /// What the services were told, or are to be told.
    pub(super) fn order_key(&self, work: &WorkOrders) -> Sent {
        let running = self.task.work.running();
        let one = |(service, order): (&String, &BatchOrder)| {
            // What remains changes with every tick of work and changes nothing about the order.
            let order = BatchOrder { remaining: Energy::ZERO, ..order.clone() };
            (service.clone(), (order, running.contains(service)))
        };
        Sent { batches: work.batches.iter().map(one).collect(), slow: work.slow.clone() }
    }

    pub(super) async fn await_jobs(&mut self, now: Timestamp, starts: &[String]) {
        let outages = self.task.orders.borrow().all_outages();
        let mut ticked = self.task.ticked.clone();
        ticked.extend(self.task.work.ticked());
        ticked.retain(|one| !outages.contains(&one.service));
        let began = Instant::now();
        while began.elapsed() < LONGEST_START && !*self.task.stop.borrow() {
            let board = self.task.board.borrow_and_update().clone();
            let outcome = self.links.advance(&ticked, &board, None, now).await;
            if starts.iter().all(|service| !outcome.failed.contains_key(service)) {
                return;
            }
            self.nudge().await;
        }
    }
}
