//! Which replica gets a request, and whether it is tried again. Everything here decides and does nothing: time is an argument,
//! counted from the start of the gateway, and chance comes from a seed.

mod balancer;
mod budget;
mod window;

pub(super) use balancer::{Balancer, Member};
pub(super) use budget::Budget;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was answered.
    Good,
    /// It was not, or with a failure of the replica.
    Failed,
    /// Nothing listens there.
    Refused,
    /// It says nothing about the replica: the client went away.
    Unknown,
}
