//! The binary as users run it: real processes on the example, each test in a data directory of its own.

mod chaos;
mod devices;
mod peer;
mod replay;
mod support;
