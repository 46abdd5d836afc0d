//! Workflows: what performs the effects of their runs, and what drives a run to its end.

mod authentication;
mod calls;
mod drive;
mod executor;
mod http;
mod journal;
mod resources;
mod shell;
mod uri;

use jiff::Timestamp;

pub use drive::{Journaled, Observer, Start, drive};
pub use executor::{Allowed, Executor, Reach};
pub use journal::{Beginning, Found, Journal};
pub use resources::{Unloaded, load};

/// A name for a run that begins at a time: sorted by it, unique by 80 random bits.
#[must_use]
pub fn run_id(at: Timestamp) -> String {
    let mut random = [0; 10];
    // Without randomness names may meet, which a store refuses.
    let _filled = getrandom::fill(&mut random);
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:012x}{random}", at.as_millisecond())
}
