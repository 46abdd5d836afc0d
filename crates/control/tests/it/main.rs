//! The planner as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod energy;
mod hpa_oracle;
mod properties;
mod recovery;
mod rollout_properties;
mod rollouts;
mod scale;
mod sim;
mod vertical;
mod world;
