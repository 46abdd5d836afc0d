//! Assigning ports on the loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};

use thiserror::Error;

use crate::PortRequest;

/// Attempts to find a port that no other replica has been promised.
const ATTEMPTS: usize = 64;

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

fn free_port(
    replica: &str,
    name: &str,
    mine: &BTreeSet<u16>,
    taken: &BTreeMap<u16, String>,
) -> Result<u16, PortError> {
    // All probes stay open until the end, so that the same port is not offered again.
    let mut probes = vec![];
    for _ in 0..ATTEMPTS {
        let Ok(probe) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { break };
        if let Ok(address) = probe.local_addr()
            && !mine.contains(&address.port())
            && !taken.contains_key(&address.port())
        {
            return Ok(address.port());
        }
        probes.push(probe);
    }
    Err(PortError::NoneFree { replica: replica.into(), name: name.into() })
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
}
