//! The specs of the declared kinds, one file each.

mod alert_rule;
mod asset;
mod channel;
mod connection;
mod container;
mod contract;
mod flexible;
mod gateway;
mod machine;
mod notifier;
mod overriding;
mod rollout;
mod scaling;
mod secret;
mod service;
mod signal;
mod site;
mod storage;

pub use alert_rule::*;
pub use asset::*;
pub use channel::*;
pub use connection::*;
pub use container::*;
pub use contract::*;
pub use flexible::*;
pub use gateway::*;
pub use machine::*;
pub use notifier::*;
pub use overriding::*;
pub use rollout::*;
pub use scaling::*;
pub use secret::*;
pub use service::*;
pub use signal::*;
pub use site::*;
pub use storage::*;
