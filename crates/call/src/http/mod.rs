//! HTTP: the client of scrapes and deliveries, and connections to services.

mod address;
mod body;
mod client;
mod connect;
mod digest;
mod egress;
mod exchange;
mod fetch;
mod headers;
mod names;
mod proxy;
mod redirect;
mod stream;
mod transport;
mod trouble;

pub use address::Address;
pub use client::{Auth, HttpClient};
pub use egress::Egress;
pub use exchange::{Asked, Exchanged, exchange};
pub use fetch::{Fetched, fetch};
pub use names::Resolved;
pub use proxy::Proxy;
pub use transport::{KeepAlive, Peer, Pool, Settings, Transport, Version};

pub(crate) use body::{BodyError, first_text, read};
pub(crate) use client::Outgoing;
pub(crate) use headers::{FRAMING, retry_after};
pub(crate) use stream::AnyWire;
pub(crate) use transport::{AGENT, Body, collect, whole};
pub(crate) use trouble::full;
