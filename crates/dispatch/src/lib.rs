//! Dispatch: from prices, limits, storages and flexible work to a schedule, its bound and its reasons; an
//! independent verifier; the follower that holds a plan on measured power; the guard behind every command.
//!
//! Pure: no clock, no randomness, no input or output. The same input gives the same output, bit for bit.
//!
//! # Signs
//! Power is positive from the asset into the site; `Schedule::grid` is positive for import. Work states consumption
//! as zero or above.

mod assemble;
mod binding;
mod bound;
mod commitment;
mod conflict;
mod connection;
mod covering;
mod dynamics;
mod exchange;
mod fallback;
mod follow;
mod generator;
mod grid_order;
mod group;
mod guard;
mod interior;
mod lp;
mod merit;
mod model;
mod ordered;
mod place;
mod problem;
mod reasons;
mod recount;
mod redispatch;
mod running;
mod schedule;
mod solve;
mod spinning;
mod verify;
mod work;

pub use binding::binding;
pub use conflict::{Conflict, Limit, confirm, conflict};
pub use connection::{CarbonCap, Charge, Charged, Connection, Feeder, Ramping, Sum};
pub use dynamics::{Draw, Dynamics};
pub use fallback::{PlanSource, Planned, Proof, RULE, rule_plan, solve_or_fallback};
pub use follow::{FollowInput, LiveStorage, PlanStep, SetPoint, StorageIntent, Tuning, follow};
pub use generator::{Before, CostPoint, Generator};
pub use grid_order::{fair_shares, least_power};
pub use guard::{AssetState, FeederState, GuardState, Guarded, NarrowedBy, Narrowing, Source, Target, guard};
pub use merit::{Call, Merit};
pub use ordered::{Ordered, covered};
pub use problem::{Budget, Curtailable, Invalid, Pessimistic, Problem, Reserve, SocTarget, Step, Storage};
pub use reasons::explain;
pub use recount::{emissions, over_cap};
pub use redispatch::{Piece, Supply, redispatch};
pub use schedule::{
    Breach, BreachKind, Costs, GeneratorSchedule, Reason, ReasonCode, Schedule, Shadow, StorageSchedule,
};
pub use solve::{Memory, Solved, Stats, Status, Unsolvable, perfect, relative_gap, solve, solve_again};
pub use spinning::Spinning;
pub use verify::{Verification, Violation, verify};
