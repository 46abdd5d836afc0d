//! The specs of the declared kinds, one file each.

mod alert_rule;
mod asset;
mod channel;
mod contract;
mod notifier;
mod secret;
mod service;
mod signal;
mod site;

pub use alert_rule::*;
pub use asset::*;
pub use channel::*;
pub use contract::*;
pub use notifier::*;
pub use secret::*;
pub use service::*;
pub use signal::*;
pub use site::*;
