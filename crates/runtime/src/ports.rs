//! Assigning ports on the loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use thiserror::Error;

use crate::PortRequest;

/// The lowest port that is assigned where nobody declared one.
const LOWEST: u16 = 20_000;
/// Below this number of ports, those of outgoing connections are assigned, too.
const FEWEST: u16 = 1_000;

/// Why a port cannot be had.
#[derive(Debug, Error)]
pub enum PortError {
    /// Another program or replica has it.
    #[error("port {port} ({name}) of {replica} is in use by {by}; stop that or declare another port")]
    InUse {
        /// The replica that wants it.
        replica: String,
        /// Name of the port.
        name: String,
        /// The port.
        port: u16,
        /// Who has it, as far as known.
        by: String,
    },
    /// It may not be opened.
    #[error("port {port} ({name}) of {replica} cannot be opened")]
    Refused {
        /// The replica that wants it.
        replica: String,
        /// Name of the port.
        name: String,
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The machine has none left.
    #[error("no free port is left for {name} of {replica}")]
    NoneFree {
        /// The replica that wants it.
        replica: String,
        /// Name of the port.
        name: String,
    },
}

/// Ports for one replica: the declared one, else the one it had (`kept`), else a free one. `taken` are the ports of
/// other replicas, which may not be listening at the moment.
///
/// # Errors
/// When a declared or kept port is in use, may not be opened, or none is free.
pub fn assign_ports(
    replica: &str,
    requests: &[PortRequest],
    kept: &BTreeMap<String, u16>,
    taken: &BTreeMap<u16, String>,
) -> Result<BTreeMap<String, u16>, PortError> {
    let mut assigned = BTreeMap::new();
    for request in requests {
        let name = &request.name;
        let mine: BTreeSet<u16> = assigned.values().copied().collect();
        let port = match request.port.or_else(|| kept.get(name).copied()) {
            Some(port) => {
                check_free(replica, name, port, &mine, taken)?;
                port
            }
            None => free_port(replica, name, &mine, taken)?,
        };
        assigned.insert(name.clone(), port);
    }
    Ok(assigned)
}

/// The ports of all replicas but one, whether they run or not.
pub(crate) fn taken_from<'a>(
    replica: &str,
    all: impl Iterator<Item = (&'a String, &'a BTreeMap<String, u16>)>,
) -> BTreeMap<u16, String> {
    let others = all.filter(|(id, _)| *id != replica);
    others.flat_map(|(id, ports)| ports.values().map(|&port| (port, id.clone()))).collect()
}

/// Fails unless `port` can be listened on now.
pub(crate) fn check_free(
    replica: &str,
    name: &str,
    port: u16,
    mine: &BTreeSet<u16>,
    taken: &BTreeMap<u16, String>,
) -> Result<(), PortError> {
    let in_use =
        |by: &str| PortError::InUse { replica: replica.into(), name: name.into(), port, by: by.into() };
    if mine.contains(&port) {
        return Err(in_use("another port of the same replica"));
    }
    if let Some(other) = taken.get(&port) {
        return Err(in_use(&format!("replica {other}")));
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(in_use("another program")),
        Err(source) => Err(PortError::Refused { replica: replica.into(), name: name.into(), port, source }),
    }
}

/// A port below those that the system gives to outgoing connections: one of these could take it between this look and
/// the moment at which the replica listens. Where to begin is chosen at random, so that several programs seldom look at
/// the same port at once.
fn free_port(
    replica: &str,
    name: &str,
    mine: &BTreeSet<u16>,
    taken: &BTreeMap<u16, String>,
) -> Result<u16, PortError> {
    let range = outgoing_from().map_or(LOWEST..u16::MAX, assignable);
    let count = range.end - range.start;
    let random = RandomState::new().hash_one(name);
    let first = u16::try_from(random % u64::from(count)).unwrap_or_default();
    (0..count)
        .map(|step| range.start + ((u32::from(first) + u32::from(step)) % u32::from(count)) as u16)
        .filter(|port| !mine.contains(port) && !taken.contains_key(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| PortError::NoneFree { replica: replica.into(), name: name.into() })
}

fn assignable(outgoing: u16) -> Range<u16> {
    if outgoing >= LOWEST + FEWEST { LOWEST..outgoing } else { LOWEST..u16::MAX }
}

/// The first port that Linux gives to outgoing connections.
fn outgoing_from() -> Option<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(port: Option<u16>) -> Vec<PortRequest> {
        vec![PortRequest { name: "http".into(), port }]
    }

    #[test]
    fn a_port_in_use_is_named_in_the_error() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let error =
            assign_ports("a-0", &request(Some(port)), &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&port.to_string()) && message.contains("another program"), "{message}");
    }

    #[test]
    fn a_port_is_kept_and_those_of_others_are_left_alone() {
        let first = assign_ports("a-0", &request(None), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(assign_ports("a-0", &request(None), &first, &BTreeMap::new()).unwrap(), first);
        let taken = BTreeMap::from([(first["http"], "a-0".to_owned())]);
        let error = assign_ports("b-0", &request(Some(first["http"])), &BTreeMap::new(), &taken).unwrap_err();
        assert!(error.to_string().contains("replica a-0"));
    }

    #[test]
    fn ports_of_outgoing_connections_are_not_assigned_where_others_are_left() {
        assert_eq!(assignable(32_768), 20_000..32_768);
        assert_eq!(assignable(1_024), 20_000..u16::MAX, "too few are left");
        assert_eq!(assignable(20_500), 20_000..u16::MAX, "too few are left");
        let range = outgoing_from().map_or(LOWEST..u16::MAX, assignable);
        let assigned = assign_ports("a-0", &request(None), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert!(range.contains(&assigned["http"]), "{assigned:?} {range:?}");
    }
}
