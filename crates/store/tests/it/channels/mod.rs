//! Channels as their callers see them.

mod crash;
mod delivery;
mod faults;
mod model;

use std::path::Path;
use std::time::Duration;

use sos_store::{ChannelLimits, ChannelOptions, Channels, Durability, NewMessage, Settlement};

use crate::at;

pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) fn options() -> ChannelOptions {
    ChannelOptions { durability: Durability::Normal, ..ChannelOptions::default() }
}

pub(super) fn open(dir: &Path) -> Channels {
    Channels::open(dir, options()).unwrap()
}

/// Channels with a channel `c` and usual limits.
pub(super) fn with_channel(dir: &Path) -> Channels {
    let channels = open(dir);
    channels.configure("c", ChannelLimits::default()).unwrap();
    channels
}

pub(super) fn message(id: impl ToString, key: &str) -> NewMessage {
    let id = id.to_string();
    let body = format!("body of {id}").into_bytes();
    NewMessage { id, key: (!key.is_empty()).then(|| key.to_owned()), time: at(5), body }
}

pub(super) fn done(positions: impl IntoIterator<Item = u64>) -> Vec<(u64, Settlement)> {
    positions.into_iter().map(|position| (position, Settlement::Done)).collect()
}
