//! Tests of plans, their check, the follower and the guard.

mod brute;
mod cases;
mod checks;
mod follower;
mod guarding;
mod make;
mod properties;
