//! The planner as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod properties;
mod world;
