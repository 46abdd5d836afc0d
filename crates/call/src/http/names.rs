//! Names of hosts to addresses.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;
use url::Host;

use super::egress::plain;

/// Addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 64;

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The address.
    pub ip: IpAddr,
    /// The port in the place of the one that is asked for.
    pub port: Option<u16>,
}

impl FromStr for Resolved {
    type Err = String;

    /// `192.0.2.7`, `192.0.2.7:8443`, `2001:db8::7`, `[2001:db8::7]:8443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.parse().map(|to: SocketAddr| Self { ip: to.ip(), port: Some(to.port()) });
        let bare = || text.parse().map(|ip| Self { ip, port: None });
        whole.or_else(|_| bare()).map_err(|_| "expected an IP address, also with a port".to_owned())
    }
}

/// The names that were given addresses by hand, before the system is asked.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: HashMap<String, Vec<Resolved>>,
}

impl Names {
    pub(super) fn new(given: &[(String, Vec<Resolved>)]) -> Result<Self, String> {
        let mut names = Self::default();
        for (name, addresses) in given {
            let Ok(Host::Domain(host)) = Host::parse(name) else {
                return Err(format!("expected the name of a host to resolve, found `{name}`"));
            };
            if addresses.is_empty() {
                return Err(format!("expected an address for `{name}`, found none"));
            }
            names.given.entry(plain(&host).to_owned()).or_default().extend(addresses);
        }
        Ok(names)
    }

    /// All addresses of a name.
    pub(super) async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Some(given) = self.given.get(plain(name)) {
            let address = |to: &Resolved| SocketAddr::new(to.ip, to.port.unwrap_or(port));
            return Ok(given.iter().map(address).collect());
        }
        match tokio::net::lookup_host((name, port)).await {
            Ok(found) => Ok(found.take(MAX_ADDRESSES).collect()),
            Err(error) => Err(format!("the name `{name}` was not found: {error}")),
        }
    }
}

/// Addresses that were looked up and checked; what connects cannot ask for others.
#[derive(Clone)]
pub(super) struct Given(pub(super) Vec<SocketAddr>);

impl Service<Name> for Given {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0).into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_was_given_an_address_is_not_asked_for() {
        let to: Resolved = "192.0.2.7".parse().unwrap();
        let elsewhere: Resolved = "[2001:db8::7]:8443".parse().unwrap();
        let names = Names::new(&[("Meter.Example".to_owned(), vec![to, elsewhere])]).unwrap();
        let found = names.look_up("meter.example", 80).await.unwrap();
        assert_eq!(found, ["192.0.2.7:80".parse().unwrap(), "[2001:db8::7]:8443".parse().unwrap()]);
        let missing = names.look_up("nobody.invalid", 80).await.unwrap_err();
        assert!(missing.starts_with("the name `nobody.invalid` was not found"), "{missing}");
        assert!(Names::new(&[("10.0.0.1".to_owned(), vec![to])]).is_err());
        assert!(Names::new(&[("a".to_owned(), vec![])]).is_err());
    }
}
