//! Field devices.
//!
//! * [`adapter`] reads and commands SunSpec devices over Modbus TCP and speaks a small JSON protocol to the engine
//!   (`docs/adapter-protocol.md`); [`protocol`] holds its messages, [`client`] the engine's side.
//! * [`home`] plays the inverter, battery and meter of one home, [`generator`] a generator set, [`vehicle`] a charging point with
//!   its vehicle, [`heat_pump`] a heat pump with what it heats; [`job`] is a batch job that uses real power.
//!
//! Devices that are played run on **site time** ([`clock`]); reading the wall clock happens in one function there.

pub mod adapter;
pub mod checkpoint;
pub mod client;
pub mod clock;
mod error;
mod fault;
pub mod generator;
pub mod heat_pump;
pub mod home;
pub mod job;
mod lines;
pub mod protocol;
mod quantity;
mod single;
mod table;
pub mod vehicle;

pub use error::DeviceError;
