//! Events: CloudEvents 1.0 over a durable log on this machine, fed by the brokers of others.
//!
//! Every [`Channel`] has a [`Log`] here. Without a broker the log is all there is. With one, [`Channel::publish`] hands
//! events to the [`Broker`], and a [`bridge`] receives from it, appends to the log, and only then acknowledges. All that
//! consumers see (groups, order, repeats, dead letters, replay, lag, back-pressure) is the log's, so a broker is two
//! things: publish and receive. A further one is one file that implements [`Broker`] and passes [`conformance`].
//!
//! # Guarantees
//! At least once from publisher to log, each event once in the log by its [`CloudEvent::dedupe_id`], in order for each
//! [`CloudEvent::key`]. What is no event becomes a dead letter and stops nothing. Memory is bounded by the batch sizes.

mod arrivals;
pub mod asyncapi;
mod backoff;
mod binary;
pub mod bridge;
mod broker;
mod channel;
mod check;
pub mod conformance;
mod consume;
mod error;
mod event;
mod http;
mod identity;
mod json;
mod log;
mod mqtt;
mod nats;
mod schema;

pub use backoff::Backoff;
pub use binary::Binary;
pub use bridge::{BridgeMeasures, BridgeSettings};
pub use broker::{Broker, Content, Malformed, Mode, Plain, Received, Receiver, Token};
pub use channel::{Channel, ChannelParts, Clock, Confirm};
pub use consume::{ConsumeMeasures, ConsumeOptions, Handler, NotHandled};
pub use error::EventError;
pub(crate) use error::shown;
pub use event::{Attribute, CloudEvent, Data};
pub use http::{Headers, HttpMode, from_http, to_http};
pub use identity::BrokerTls;
pub use json::{MAX_BATCH, MAX_EVENT_BYTES};
pub use log::{
    Appended, DeadLetter, Delivery, Lag, Log, LogError, LogErrorKind, LogResult, NewMessage, Settlement,
    Start, Stored,
};
pub(crate) use mqtt::MessageReceiver;
pub use mqtt::{Mqtt, MqttChannelSettings, Retained};
pub use nats::{Nats, NatsAuth, NatsSettings, Stream, StreamMode};
pub use schema::Schema;
