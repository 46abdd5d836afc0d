//! How simulated replicas behave by themselves.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::Exit;

/// Memory that a simulated replica holds unless declared otherwise, bytes.
const MEMORY: u64 = 8 << 20;

/// How the replicas of a service behave. By default they run at once and for ever, end at once when asked, and use no
/// processor time and 8 MiB of memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conduct {
    /// From the start until a replica runs; not negative.
    pub start_after: SignedDuration,
    /// How long it then runs until it ends by itself, and how; `None` for one that runs for ever.
    pub exit: Option<(SignedDuration, Exit)>,
    /// From the request to stop until it has ended; `None` for one that is deaf to it.
    pub stops_in: Option<SignedDuration>,
    /// Processors that it keeps busy, from 0.
    pub cpu: f64,
    /// Memory that it holds, bytes.
    pub memory_bytes: u64,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            start_after: SignedDuration::ZERO,
            exit: None,
            stops_in: Some(SignedDuration::ZERO),
            cpu: 0.0,
            memory_bytes: MEMORY,
        }
    }
}
