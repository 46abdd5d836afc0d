//! Which addresses may be reached.
//!
//! A service's answers, its redirects and the DNS of its name are in the hands of others. Whoever can choose an address
//! must not reach what only this machine reaches: the metadata of its cloud, the routers of its links. So a name is
//! checked before it is resolved, each address that it resolves to is checked before a packet is sent there, and
//! nothing is resolved a second time in between.

mod pattern;
mod special;

use std::fmt;
use std::net::IpAddr;

use url::Host;

use super::Address;
pub(super) use pattern::{Pattern, plain};

/// Which addresses may be reached. Without rules every address but the special ones: link-local, cloud metadata,
/// unspecified, multicast and broadcast, and IPv4 addresses that are written as IPv6.
///
/// A special address is reached only where it is listed itself, or a network that is wholly special: `169.254.1.7` or
/// `169.254.0.0/16`, but neither `0.0.0.0/0` nor a name that leads there. Metadata addresses must be listed one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    reach: Reach,
    rules: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Everything, special addresses too.
    Unchecked,
    /// Everything but special addresses.
    Open,
    /// What is listed.
    Listed,
}

impl Default for Egress {
    fn default() -> Self {
        Self::open()
    }
}

impl Egress {
    /// Every address but the special ones.
    #[must_use]
    pub const fn open() -> Self {
        Self { reach: Reach::Open, rules: vec![] }
    }

    /// No address but those that [`Egress::allow`] and [`Egress::declare`] add.
    #[must_use]
    pub const fn listed() -> Self {
        Self { reach: Reach::Listed, rules: vec![] }
    }

    /// For addresses that the operator wrote down one by one.
    pub(crate) const fn unchecked() -> Self {
        Self { reach: Reach::Unchecked, rules: vec![] }
    }

    /// Allows what a rule says: `host`, `host:port`, `*.domain`, `*.domain:port` (any depth below, not the domain
    /// itself), `192.0.2.7`, `192.0.2.7:port`, `[2001:db8::7]:port`, or a network such as `192.0.2.0/24`. Without a port
    /// every port is meant.
    ///
    /// # Errors
    /// When the rule is none of these.
    pub fn allow(mut self, rule: &str) -> Result<Self, String> {
        self.rules.push(Pattern::parse(rule)?);
        Ok(self)
    }

    /// Allows host and port of an address that the operator declared, such as an endpoint of a service.
    #[must_use]
    pub fn declare(mut self, address: &Address) -> Self {
        if let (Some(host), Some(port)) = (address.host(), address.port()) {
            self.rules.push(Pattern::exactly(&host, port));
        }
        self
    }

    /// What is known before a name is resolved. `via_proxy`: the proxy resolves it, so its addresses are never seen.
    pub(super) fn check_host(
        &self,
        host: &Host<String>,
        port: u16,
        via_proxy: bool,
    ) -> Result<(), NotAllowed> {
        let literal = match host {
            Host::Domain(name) => {
                let unknown_yet = !via_proxy && self.rules.iter().any(Pattern::is_network);
                if self.reach != Reach::Listed || self.names(name, port) || unknown_yet {
                    return Ok(());
                }
                return Err(NotAllowed::new(host, port, None, "it is not among the allowed addresses"));
            }
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
        };
        self.check_address(host, port, literal)
    }

    /// Whether an address that `host` resolved to, or is, may be connected to.
    pub(super) fn check_address(&self, host: &Host<String>, port: u16, ip: IpAddr) -> Result<(), NotAllowed> {
        if self.reach == Reach::Unchecked {
            return Ok(());
        }
        let covers = |ip: IpAddr, rule: &Pattern| rule.covers(ip, port);
        for special in special::of(ip) {
            let listed = |rule: &Pattern| covers(special.address, rule) && rule.is_within(&special.network);
            if !self.rules.iter().any(listed) {
                return Err(NotAllowed::new(host, port, Some(ip), special.what));
            }
        }
        let named = matches!(host, Host::Domain(name) if self.names(name, port));
        if self.reach == Reach::Open || named || self.rules.iter().any(|rule| covers(ip, rule)) {
            return Ok(());
        }
        Err(NotAllowed::new(host, port, Some(ip), "it is not among the allowed addresses"))
    }

    fn names(&self, name: &str, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.names(name, port))
    }
}

/// Why an address is not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotAllowed {
    host: String,
    port: u16,
    ip: Option<IpAddr>,
    why: &'static str,
}

impl NotAllowed {
    fn new(host: &Host<String>, port: u16, ip: Option<IpAddr>, why: &'static str) -> Self {
        // Of a literal the address says it all.
        let ip = ip.filter(|_| matches!(host, Host::Domain(_)));
        Self { host: host.to_string(), port, ip, why }
    }
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, ip, why } = self;
        write!(f, "{host}:{port} may not be reached")?;
        match ip {
            Some(ip) => {
                write!(f, ": it resolves to {ip}, {why}; to allow it, list `{ip}` in the egress rules")
            }
            None => write!(f, ": {why}; to allow it, list `{host}:{port}` in the egress rules"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(text: &str) -> Host<String> {
        Address::parse(&format!("http://{text}/")).unwrap().host().unwrap()
    }

    fn reached(egress: &Egress, name: &str, port: u16, ip: Option<&str>) -> bool {
        let host = host(name);
        let ip = ip.map(|ip| ip.parse().unwrap());
        egress.check_host(&host, port, false).is_ok()
            && ip.is_none_or(|ip| egress.check_address(&host, port, ip).is_ok())
    }

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        for text in [
            "169.254.169.254",
            "0xa9fea9fe",
            "0xa9.254.0xa9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "169.254.43518",
            "\u{ff11}69.254.169.254",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "[::169.254.169.254]",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[febf::1]",
            "[ff02::1]",
            "[::]",
            "0",
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "169.254.170.2",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!reached(&Egress::open(), text, 80, None), "{text}");
            let everything = Egress::listed().allow("0.0.0.0/0").unwrap().allow("::/0").unwrap();
            assert!(!reached(&everything, text, 80, None), "{text}");
            let domain = Egress::listed().allow("*.example.org").unwrap();
            let ip: IpAddr = match host(text) {
                Host::Ipv4(ip) => ip.into(),
                Host::Ipv6(ip) => ip.into(),
                Host::Domain(name) => panic!("{name}"),
            };
            assert!(domain.check_address(&host("a.example.org"), 80, ip).is_err(), "{text}");
        }
        for text in
            ["127.0.0.1", "[::1]", "10.0.0.1", "192.168.1.7", "[fd00::1]", "[2001:db8::1]", "example.org"]
        {
            assert!(reached(&Egress::open(), text, 80, None), "{text}");
        }
    }

    #[test]
    fn a_special_address_is_reached_where_it_is_listed_itself() {
        let inverter = Egress::open().allow("169.254.1.7").unwrap();
        assert!(reached(&inverter, "169.254.1.7", 502, None));
        assert!(!reached(&inverter, "169.254.1.8", 502, None));
        let link = Egress::open().allow("169.254.0.0/16").unwrap();
        assert!(reached(&link, "169.254.1.8", 502, None));
        assert!(!reached(&link, "169.254.169.254", 80, None), "metadata is listed one by one");
        let metadata = Egress::listed().allow("169.254.169.254:80").unwrap();
        assert!(reached(&metadata, "169.254.169.254", 80, None));
        assert!(!reached(&metadata, "169.254.169.254", 8080, None));
        let declared = Egress::listed().declare(&Address::parse("http://169.254.169.254/x").unwrap());
        assert!(reached(&declared, "169.254.169.254", 80, None));
        let mapped = Egress::listed().allow("::ffff:10.0.0.1").unwrap();
        assert!(reached(&mapped, "[::ffff:10.0.0.1]", 80, None));
        let half = Egress::listed().allow("::ffff:169.254.169.254").unwrap();
        assert!(!reached(&half, "[::ffff:169.254.169.254]", 80, None), "the IPv4 address is not listed");
    }

    #[test]
    fn only_what_is_listed_is_reached_where_a_list_is_meant() {
        let list =
            |rules: &[&str]| rules.iter().fold(Egress::listed(), |egress, rule| egress.allow(rule).unwrap());
        let egress = list(&["market.example.org:443", "*.grid.example", "10.1.0.0/16"]);
        for (name, port, ip, expected) in [
            ("market.example.org", 443, Some("203.0.113.7"), true),
            ("MARKET.example.org.", 443, Some("203.0.113.7"), true),
            ("market.example.org", 80, Some("203.0.113.7"), false),
            ("a.b.grid.example", 1, Some("203.0.113.7"), true),
            ("grid.example", 1, Some("203.0.113.7"), false),
            ("evilgrid.example", 1, Some("203.0.113.7"), false),
            ("a.grid.example", 1, Some("169.254.169.254"), false),
            ("other.example", 1, Some("10.1.2.3"), true),
            ("other.example", 1, Some("10.2.2.3"), false),
            ("10.1.2.3", 1, None, true),
            ("10.2.2.3", 1, None, false),
        ] {
            assert_eq!(reached(&egress, name, port, ip), expected, "{name}:{port} {ip:?}");
        }
        assert!(!reached(&Egress::listed(), "example.org", 80, None));
        let via_proxy = egress.check_host(&host("other.example"), 1, true);
        assert!(via_proxy.is_err(), "nobody sees what the proxy resolves it to");
    }

    #[test]
    fn a_refusal_says_what_why_and_how_to_allow_it() {
        let error = Egress::listed().check_host(&host("example.org"), 8443, false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "example.org:8443 may not be reached: it is not among the allowed addresses; to allow it, list \
             `example.org:8443` in the egress rules"
        );
        let metadata = "169.254.169.254".parse().unwrap();
        let error = Egress::open().check_address(&host("example.org"), 80, metadata).unwrap_err();
        assert_eq!(
            error.to_string(),
            "example.org:80 may not be reached: it resolves to 169.254.169.254, an address that hands out the \
             credentials of cloud machines; to allow it, list `169.254.169.254` in the egress rules"
        );
    }

    proptest! {
        #[test]
        fn no_name_that_is_allowed_leads_to_a_link_local_address(a in 0_u8.., b in 0_u8.., low in 0_u128..1 << 64) {
            let egress = Egress::listed().allow("example.org").unwrap().allow("0.0.0.0/0").unwrap();
            let v4 = IpAddr::from([169, 254, a, b]);
            let v6 = IpAddr::from(std::net::Ipv6Addr::from_bits(0xfe80 << 112 | low));
            for ip in [v4, v6] {
                prop_assert!(egress.check_address(&host("example.org"), 80, ip).is_err());
            }
        }
    }
}
