//! The specs of the declared kinds, one file each.

mod asset;
mod secret;
mod service;
mod signal;
mod site;

pub use asset::*;
pub use secret::*;
pub use service::*;
pub use signal::*;
pub use site::*;
