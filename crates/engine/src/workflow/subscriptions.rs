//! Subscriptions of a run: open while it goes on and takes messages, closed while it rests.

use std::task::Poll;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use sos_workflow::jq::Data;
use sos_workflow::machine::{Fault, Id, Run};
use sos_workflow::template::json;
use tokio::task::JoinSet;

use super::drive::Perform;

/// How long those who were subscribed to may take to be told that it is over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Messages, one by one.
pub type Messages = BoxStream<'static, Result<Value, Fault>>;

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribing {
    /// The same whenever it is begun again.
    pub key: String,
    /// The arguments of the call.
    pub with: Value,
    /// What its URI templates are filled from.
    pub input: Value,
    /// The last message that came; none before the first.
    pub last: Option<Value>,
    /// Whether it was begun before.
    pub again: bool,
}

/// Those of one run.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: Vec<Open>,
    leaving: JoinSet<()>,
}

struct Open {
    id: Id,
    key: String,
    with: Data,
    input: Data,
    last: Option<Data>,
    again: bool,
    /// Whether nothing more comes.
    over: bool,
    messages: Option<Messages>,
}

impl Subscriptions {
    pub(super) fn add(&mut self, id: Id, key: String, with: Data, input: Data) {
        let open = Open { id, key, with, input, last: None, again: false, over: false, messages: None };
        self.all.push(open);
    }

    /// After what has happened was gone through again: they were begun before.
    pub(super) fn restored(&mut self) {
        self.all.iter_mut().for_each(|open| open.again = true);
    }

    /// A message was kept.
    pub(super) fn heard(&mut self, id: Id, message: &Data) {
        if let Some(open) = self.all.iter_mut().find(|open| open.id == id) {
            open.last = Some(message.clone());
        }
    }

    /// Nothing more comes.
    pub(super) fn ended(&mut self, id: Id) {
        if let Some(open) = self.all.iter_mut().find(|open| open.id == id) {
            (open.over, open.messages) = (true, None);
        }
    }

    /// It is over; whoever keeps something for it is told.
    pub(super) fn remove(&mut self, id: Id, performer: &dyn Perform) {
        let Some(place) = self.all.iter().position(|open| open.id == id) else { return };
        let open = self.all.remove(place);
        drop(open.messages);
        self.leaving.spawn(performer.unsubscribe(&open.key));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Opens those from which messages are wanted; closes all of a run that is suspended.
    pub(super) fn attend(&mut self, run: &Run, performer: &dyn Perform) {
        for open in &mut self.all {
            if run.is_suspended() {
                open.messages = None;
            } else if open.messages.is_none() && !open.over && run.takes(open.id) {
                open.messages = Some(performer.subscribe(Subscribing {
                    key: open.key.clone(),
                    with: json(&open.with),
                    input: json(&open.input),
                    last: open.last.as_ref().map(json),
                    again: std::mem::replace(&mut open.again, true),
                }));
            }
        }
    }

    /// The next message of any of them that takes one, in turn; none when nothing more comes of it. For ever without one.
    pub(super) async fn next(&mut self, run: &Run) -> (Id, Option<Result<Value, Fault>>) {
        let all = &mut self.all;
        let (place, id, message) = std::future::poll_fn(|context| {
            for (place, open) in all.iter_mut().enumerate() {
                let Some(messages) = open.messages.as_mut().filter(|_| run.takes(open.id)) else { continue };
                if let Poll::Ready(message) = messages.poll_next_unpin(context) {
                    return Poll::Ready((place, open.id, message));
                }
            }
            Poll::Pending
        })
        .await;
        all.rotate_left(place + 1);
        (id, message)
    }

    /// Waits a moment until all have been told that it is over.
    pub(super) async fn leave(&mut self) {
        let told = async { while self.leaving.join_next().await.is_some() {} };
        // Whoever does not answer forgets it by himself, in time.
        let _told = tokio::time::timeout(FAREWELL, told).await;
    }
}
