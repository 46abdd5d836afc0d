//! Which services there are, where they are reached and who answers for them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::options::{Rules, lasting, within};

/// Services, and replicas of one, that are taken at most.
const MOST: usize = 10_000;

/// Everything the gateway does, as data. A new value replaces the old one as a whole; requests under way end as they began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// By the name of the service.
    pub services: BTreeMap<String, Route>,
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where it is reached. Port 0: a free one, kept as long as the service is there.
    pub listen: SocketAddr,
    /// Clients come by TLS; `None`: without.
    pub tls: Option<TlsFiles>,
    /// What replicas speak.
    pub protocol: Protocol,
    /// By the name of the revision.
    pub revisions: BTreeMap<String, Revision>,
    /// Requests that come while no replica takes any wait; `None`: they are answered with 503.
    pub hold: Option<Hold>,
    /// What holds for its requests.
    pub rules: Rules,
}

/// Files in PEM. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate first, then those between it and the authority.
    pub certificates: PathBuf,
    /// Private key as PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
    pub key: PathBuf,
}

/// What replicas speak. Clients may speak HTTP/1.1 or HTTP/2 anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC by HTTP/2, all else by HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, begun by its preface ("prior knowledge").
    Http2,
}

/// Replicas of one version of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Share of the requests, beside the weights of other revisions that have a replica; 0 … 1,000,000. 0: none.
    pub weight: u32,
    /// By the name of the replica, which no other revision of the service has.
    pub replicas: BTreeMap<String, Replica>,
}

/// A replica that is ready, or leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it listens.
    pub address: SocketAddr,
    /// It takes no new requests; those under way end. See [`super::Gateway::drained`].
    pub draining: bool,
}

/// How requests wait for a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How many; 1 … 100,000. What is beyond is answered with 503.
    pub requests: usize,
    /// How long each; then 503. Above zero.
    pub wait: Duration,
}

impl Routes {
    /// What is wrong, by the name of the service. Services that are not named are right.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<String, String> {
        let mut problems = BTreeMap::new();
        let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
        for (at, (name, route)) in self.services.iter().enumerate() {
            let problem = match taken.get(&route.listen).filter(|_| route.listen.port() != 0) {
                _ if at >= MOST => Some(format!("expected at most {MOST} services")),
                Some(other) => Some(format!("`listen`: {} is that of service `{other}`, too", route.listen)),
                None => route.check().err(),
            };
            taken.entry(route.listen).or_insert(name);
            if let Some(problem) = problem {
                problems.insert(name.clone(), problem);
            }
        }
        problems
    }
}

impl Route {
    /// A service with no replicas and the usual rules.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            protocol: Protocol::Auto,
            revisions: BTreeMap::new(),
            hold: None,
            rules: Rules::default(),
        }
    }

    /// Adds a replica, of a revision of weight 1 unless it is there already.
    #[must_use]
    pub fn with_replica(mut self, revision: &str, replica: &str, address: SocketAddr) -> Self {
        let new = || Revision { weight: 1, replicas: BTreeMap::new() };
        let revision = self.revisions.entry(revision.to_owned()).or_insert_with(new);
        revision.replicas.insert(replica.to_owned(), Replica { address, draining: false });
        self
    }

    fn check(&self) -> Result<(), String> {
        self.rules.check()?;
        if let Some(hold) = self.hold {
            within("hold.requests", hold.requests, 1, 100_000)?;
            lasting("hold.wait", hold.wait)?;
        }
        let mut names = BTreeSet::new();
        for (revision, Revision { weight, replicas }) in &self.revisions {
            within(&format!("revisions.{revision}.weight"), *weight, 0, 1_000_000)?;
            for (name, replica) in replicas {
                if !names.insert(name) {
                    return Err(format!("replica `{name}` is in two revisions; expected each in one"));
                }
                if replica.address.port() == 0 || replica.address.ip().is_unspecified() {
                    return Err(format!(
                        "replica `{name}`: {} cannot be connected to; expected an address with a port",
                        replica.address
                    ));
                }
            }
        }
        within("number of replicas", names.len(), 0, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn problem(route: Route) -> String {
        Routes { services: BTreeMap::from([("web".into(), route)]) }.problems()["web"].clone()
    }

    #[test]
    fn wrong_routes_are_named_and_right_ones_are_not() {
        let right = Route::new(local(8080)).with_replica("1", "web-0", local(9000));
        let mut routes = Routes { services: BTreeMap::from([("web".into(), right.clone())]) };
        assert!(routes.problems().is_empty());
        routes.services.insert("zoo".into(), right.clone());
        let problems = routes.problems();
        assert_eq!(
            problems,
            BTreeMap::from([("zoo".into(), "`listen`: 127.0.0.1:8080 is that of service `web`, too".into())])
        );
        let twice = right.clone().with_replica("2", "web-0", local(9001));
        assert!(problem(twice).contains("`web-0` is in two revisions"));
        let nowhere = right.clone().with_replica("1", "web-1", local(0));
        assert!(problem(nowhere).contains("cannot be connected to"));
        let mut heavy = right.clone();
        heavy.revisions.get_mut("1").unwrap().weight = 2_000_000;
        assert!(problem(heavy).contains("`revisions.1.weight`: expected 0 to 1000000"));
        let held = Route { hold: Some(Hold { requests: 0, wait: Duration::from_secs(1) }), ..right };
        assert!(problem(held).contains("`hold.requests`"));
    }

    #[test]
    fn services_on_free_ports_do_not_collide() {
        let route = Route::new(local(0));
        let services = [("a".to_owned(), route.clone()), ("b".to_owned(), route)].into();
        assert!(Routes { services }.problems().is_empty());
    }
}
