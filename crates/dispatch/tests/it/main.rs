//! Tests of plans, their check, the follower and the guard.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly, in its helpers too")]

mod brute;
mod cases;
mod checks;
mod dynamics;
mod follower;
mod generators;
mod guarding;
mod make;
mod meters;
mod orders;
mod properties;
mod published;
mod rolling;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
mod spinning;
