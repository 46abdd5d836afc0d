//! One rule about hosts: of egress, and of what goes past a proxy.

use std::net::IpAddr;

use ipnet::IpNet;
use url::Host;

/// One rule about hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Pattern {
    what: What,
    /// `None`: every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A name, lower case, without a dot at its end.
    Name(String),
    /// All names below `.domain`, kept with its leading dot.
    Below(String),
    /// An address or a network.
    Network(IpNet),
}

impl Pattern {
    /// Reads `host`, `*.domain` or an address, each with or without `:port`, or a network (`192.0.2.0/24`).
    pub(in crate::http) fn parse(rule: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            let rule: String = rule.chars().take(80).collect();
            Err(format!(
                "expected `host`, `host:port`, `*.domain`, an address or a network, found `{rule}`: {why}"
            ))
        };
        if rule.contains("://") || rule.contains('@') {
            return wrong("leave out the scheme, the login and the path");
        }
        if rule.contains('/') {
            return match rule.parse::<IpNet>() {
                Ok(network) if network.addr() == network.network() => {
                    Ok(Self { what: What::Network(network), port: None })
                }
                Ok(network) => wrong(&format!("the network is {}", network.trunc())),
                Err(_) => wrong("it is no network"),
            };
        }
        if let Ok(ip) = rule.parse::<IpAddr>() {
            return Ok(Self { what: What::Network(ip.into()), port: None });
        }
        let (host, port) = match rule.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => match digits.parse() {
                Ok(port) if port > 0 => (host, Some(port)),
                _ => return wrong("a port is a number from 1 to 65535"),
            },
            _ => (rule, None),
        };
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        if host.contains('*') {
            return wrong("`*.` stands only at the beginning");
        }
        let what = match (Host::parse(host), below) {
            (Err(error), _) => return wrong(&error.to_string()),
            (Ok(Host::Domain(name)), false) => What::Name(plain(&name).to_owned()),
            (Ok(Host::Domain(name)), true) => What::Below(format!(".{}", plain(&name))),
            (Ok(_), true) => return wrong("an address has no domains below it"),
            (Ok(Host::Ipv4(ip)), false) => What::Network(IpAddr::V4(ip).into()),
            (Ok(Host::Ipv6(ip)), false) => What::Network(IpAddr::V6(ip).into()),
        };
        Ok(Self { what, port })
    }

    /// This host and this port.
    pub(super) fn exactly(host: &Host<String>, port: u16) -> Self {
        let what = match host {
            Host::Domain(name) => What::Name(plain(name).to_owned()),
            Host::Ipv4(ip) => What::Network(IpAddr::V4(*ip).into()),
            Host::Ipv6(ip) => What::Network(IpAddr::V6(*ip).into()),
        };
        Self { what, port: Some(port) }
    }

    pub(super) const fn is_network(&self) -> bool {
        matches!(self.what, What::Network(_))
    }

    /// Whether it names this host, given in lower case.
    pub(super) fn names(&self, name: &str, port: u16) -> bool {
        let name = plain(name);
        self.is_port(port)
            && match &self.what {
                What::Name(known) => known == name,
                What::Below(domain) => name.len() > domain.len() && name.ends_with(domain.as_str()),
                What::Network(_) => false,
            }
    }

    /// Whether it lists this address.
    pub(super) fn covers(&self, ip: IpAddr, port: u16) -> bool {
        self.is_port(port) && matches!(&self.what, What::Network(network) if network.contains(&ip))
    }

    /// Whether all that it lists lies in a network.
    pub(super) fn is_within(&self, outer: &IpNet) -> bool {
        matches!(&self.what, What::Network(own) if outer.contains(own))
    }

    /// Whether it means this host, whatever it resolves to.
    pub(in crate::http) fn means(&self, host: &Host<String>, port: u16) -> bool {
        match host {
            Host::Domain(name) => self.names(name, port),
            Host::Ipv4(ip) => self.covers(IpAddr::V4(*ip), port),
            Host::Ipv6(ip) => self.covers(IpAddr::V6(*ip), port),
        }
    }

    fn is_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

/// A name without the dot that says that it is complete.
pub(in crate::http) fn plain(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_mean_nothing_are_refused_with_the_reason() {
        for (rule, why) in [
            ("", "empty host"),
            ("https://example.org", "leave out the scheme"),
            ("ops@example.org", "leave out the scheme"),
            ("example.org:0", "a port is a number"),
            ("example.org:http", "a port is a number"),
            ("example.org:99999", "a port is a number"),
            ("10.1.2.3/8", "the network is 10.0.0.0/8"),
            ("10.0.0.0/33", "it is no network"),
            ("example.org/x", "it is no network"),
            ("*", "`*.` stands only at the beginning"),
            ("a.*.org", "`*.` stands only at the beginning"),
            ("*.10.0.0.1", "an address has no domains below it"),
            ("exa mple.org", "invalid"),
        ] {
            let message = Pattern::parse(rule).unwrap_err();
            assert!(message.contains(why), "{rule}: {message}");
        }
    }

    #[test]
    fn an_address_is_meant_in_each_of_its_spellings() {
        let local = Host::parse("127.0.0.1").unwrap();
        for rule in ["127.0.0.1", "127.1", "0x7f000001:80", "127.0.0.0/8"] {
            assert!(Pattern::parse(rule).unwrap().means(&local, 80), "{rule}");
        }
        assert!(!Pattern::parse("127.0.0.1:81").unwrap().means(&local, 80));
        let six = Host::parse("[2001:db8::7]").unwrap();
        for rule in ["2001:db8::7", "[2001:db8::7]", "[2001:DB8:0::7]:80", "2001:db8::/32"] {
            assert!(Pattern::parse(rule).unwrap().means(&six, 80), "{rule}");
        }
    }

    #[test]
    fn names_are_compared_as_dns_does() {
        let names = |rule: &str, name: &str| Pattern::parse(rule).unwrap().names(name, 80);
        assert!(names("Example.ORG.", "example.org"));
        assert!(names("bücher.example", "xn--bcher-kva.example."));
        assert!(!names("example.org", "a.example.org"));
    }
}
