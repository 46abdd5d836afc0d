//! Calling services and hearing events: data in, data out.
//!
//! - [`rest`], [`grpc`] and [`soap`] read what a service declares of itself into a [`Contract`] and make calls by it.
//! - [`policy`] is what holds on every call: time-outs, retries, circuits, limits; a [`Caller`] makes calls by it.
//! - [`events`] are CloudEvents over brokers.
//! - [`messages`] are published to, and come from, the operations of AsyncAPI documents.
//! - [`scrape`] fetches metrics over HTTP and reads them ([`exposition`]).
//! - [`deliver`] hands a finished notification to one receiver: a webhook, a mail server, an MQTT broker.
//!
//! # Guarantees
//! Every call ends within the time that its caller gives, reads a bounded number of bytes, and keeps nothing that
//! could hold up another call. Passwords, tokens and the paths of addresses never appear in `Debug` or errors.

mod call;
mod caller;
mod contract;
mod credentials;
pub mod deliver;
mod document;
mod error;
pub mod events;
pub mod exposition;
pub mod grpc;
mod http;
pub mod messages;
mod mqtt;
pub mod policy;
pub mod rest;
pub mod scrape;
mod secret;
pub mod soap;
mod speaker;
mod tls;
mod yaml;

pub use call::{Answer, Call, Limits};
pub use caller::{
    Caller, DURATION_BOUNDS, EndpointMeasures, Measures, OperationMeasures, Outcome, Refused, Request, Speak,
    TraceContext,
};
pub use contract::{
    Contract, Difference, DifferenceKind, Documents, Hit, Operation, Protocol, Streaming, compare_contracts,
    search_contracts,
};
pub use credentials::{
    ApiKey, ClientAuth, Credentials, Grant, Key, KeyPlace, PassedToken, Signing, TokenRequest, Wallet,
};
pub use error::{CallError, ErrorKind, Fault};
pub use http::{
    Address, Asked, Auth, Egress, Exchanged, Fetched, HttpClient, KeepAlive, Peer, Pool, Proxy, Resolved,
    Settings, Transport, Version, exchange, fetch,
};
pub use secret::{Login, Secret};
pub use speaker::Speaker;
pub use tls::{Identity, Trust};
