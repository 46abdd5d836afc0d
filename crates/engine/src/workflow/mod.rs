//! Workflows: what performs the effects of their runs, and what drives a run to its end.

mod asyncapi;
mod authentication;
mod calls;
mod container;
mod drive;
mod entry;
mod executor;
mod file;
mod http;
mod local;
mod resources;
mod runs;
mod shell;
mod subscriptions;
mod uri;
mod version;

use jiff::Timestamp;

pub(crate) use drive::until;
pub use drive::{Drove, Entry, Happened, Host, Outside, Page, Perform, Rest, Start, Told, drive};
pub use executor::{Allowed, Executor, Reach, Within};
pub use file::{Beginning, Found, Journal};
pub use resources::{Unloaded, load};
pub use runs::{
    Begun, Doing, NewStart, Order, Ordered, Person, Refusal, RunEnd, RunOptions, RunQuery, RunningRuns, Runs,
    Which, check,
};
pub use subscriptions::{Messages, Subscribing};

/// What is wrong with the tasks of a document that wait for power; whether their sites are declared is not known here.
#[must_use]
pub fn check_waiting(text: &str, definition: &sos_workflow::Definition) -> Vec<sos_workflow::Problem> {
    crate::waiting::check(text, definition, false, None)
}

/// Everything that is wrong with the text of a document: what its schema refuses, what cannot work, expressions. Whether sites are declared
/// and what lies elsewhere is not known here.
#[must_use]
pub fn check_document(text: &str) -> Vec<sos_workflow::Problem> {
    runs::check_document(text, false, None)
}

/// A name for a run that begins at a time: sorted by it, unique by 80 random bits.
#[must_use]
pub fn run_id(at: Timestamp) -> String {
    let mut random = [0; 10];
    // Without randomness names may meet, which a store refuses.
    let _filled = getrandom::fill(&mut random);
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:012x}{random}", at.as_millisecond())
}
