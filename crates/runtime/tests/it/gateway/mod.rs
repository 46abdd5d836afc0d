//! The gateway with real servers, connections and processes.

mod clients;
mod failures;
mod kill;
mod limits;
mod protocols;
mod rig;
mod routing;
mod scale;
mod tls;
