//! What people ask of rollouts: pause, promote, undo. The loop carries it out, since it alone writes what is remembered of
//! revisions.

use sos_control::{OrderError, RolloutOrder};
use tokio::sync::{mpsc, oneshot};

use super::ServiceLoop;
use crate::clock::wall_now;

/// An order and who waits for what became of it.
#[derive(Debug)]
pub(super) struct Asked {
    service: String,
    order: RolloutOrder,
    who: String,
    answer: oneshot::Sender<Result<(), OrderRefused>>,
}

/// Who waits for what became of an order, and that.
pub(super) type Answer = (oneshot::Sender<Result<(), OrderRefused>>, Result<(), OrderRefused>);

/// Why an order was not carried out; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderRefused {
    /// The service has no revisions yet, or none at all.
    NoRevisions,
    /// It does not fit where the rollout stands.
    Refused(OrderError),
    /// It could not be recorded.
    NotRecorded(String),
    /// The loop has ended.
    Ended,
}

impl std::fmt::Display for OrderRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRevisions => f.write_str("it has no revisions yet"),
            Self::Refused(error) => error.fmt(f),
            Self::NotRecorded(why) => write!(f, "it cannot be recorded: {why}"),
            Self::Ended => f.write_str("services are not looked after any more"),
        }
    }
}
impl std::error::Error for OrderRefused {}

/// Where orders are given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServiceOrders {
    asked: mpsc::Sender<Asked>,
}

impl ServiceOrders {
    pub(super) const fn new(asked: mpsc::Sender<Asked>) -> Self {
        Self { asked }
    }

    /// Has an order carried out; it is stored and acted on when this returns. Not to be called on a thread that serves the network.
    ///
    /// # Errors
    /// Why it was not.
    pub fn rollout(&self, service: &str, order: RolloutOrder, who: &str) -> Result<(), OrderRefused> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { service: service.into(), order, who: who.into(), answer };
        self.asked.blocking_send(asked).map_err(|_| OrderRefused::Ended)?;
        answered.blocking_recv().unwrap_or(Err(OrderRefused::Ended))
    }
}

impl ServiceLoop {
    pub(super) fn obey(&mut self, asked: Asked) {
        let done = self.carry_out(&asked);
        if let Ok(()) = &done {
            tracing::info!(service = asked.service, order = ?asked.order, who = asked.who, "rollout order");
        }
        self.answers.push((asked.answer, done));
    }

    /// Tells those who asked, once a pass has acted on it. They may be gone; it is done all the same.
    pub(super) fn answer(&mut self) {
        for (answer, done) in self.answers.drain(..) {
            let _ = answer.send(done);
        }
    }

    fn carry_out(&mut self, asked: &Asked) -> Result<(), OrderRefused> {
        let memory = self.memories.get(&asked.service).ok_or(OrderRefused::NoRevisions)?;
        let mut new = memory.clone();
        let stored = |hash: &str| memory.configurations.contains_key(hash);
        new.rollout.obey(&asked.order, &asked.who, &stored, wall_now()).map_err(OrderRefused::Refused)?;
        let saved = self.store.commit(|tx| new.save(&asked.service, tx));
        saved.map_err(|error| OrderRefused::NotRecorded(error.to_string()))?;
        self.memories.insert(asked.service.clone(), new);
        Ok(())
    }
}
