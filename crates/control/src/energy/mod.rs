//! Energy and emissions of services on a machine.
//!
//! Processor time and, where it can be read, the energy counter of the processor go into an [`EnergyBook`], one
//! [`Observation`] after the other; out come kWh and kgCO2 of each service, of each request, and the score of
//! ISO/IEC 21031:2024 ([`sci`]). What no service caused stands in a line of its own, so that the lines add up to the
//! machine to the last digit.
//!
//! # Signs
//! As in [`sos_units::FlexibleWork`], consumption is zero or above here.

mod book;
mod carbon;
mod line;
mod power;
mod rapl;
mod sci;
mod share;
mod slowdown;
mod split;

pub use book::{
    BOOK_VERSION, BookError, EnergyBook, MAX_BOOK_SERVICES, Observation, ReplicaUse, Settled, Settlement,
};
pub use carbon::{CarbonStep, StepSignal};
pub use line::{Line, PerRequest, Sums};
pub use power::{Embodied, Machine, MachineError, MachinePower, PowerSource, default_power};
pub use rapl::{CounterReading, NoCounter, counter_energy};
pub use sci::{NoScore, SciScore, sci};
pub use share::apportion;
pub use slowdown::{
    Guarantee, SlowProgress, Slowdown, SlowdownError, SpeedLimit, limit_speed, offer_slowdown,
};
pub use split::{IdlePolicy, Method};
