//! Tests of plans, their check, the follower and the guard.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails loudly, in its helpers too")]

mod brute;
mod cases;
mod checks;
mod follower;
mod generators;
mod guarding;
mod make;
mod orders;
mod properties;
#[path = "../../../../scripts/skipped.rs"]
mod skipped;
