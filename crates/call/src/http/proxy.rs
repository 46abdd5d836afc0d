//! Proxies: servers that connect for us.

use hyper::Uri;
use hyper::header::HeaderValue;
use url::Host;

use super::egress::Pattern;
use super::{Address, Auth};

/// A server that connects for us: `CONNECT` for `https`, whole addresses for `http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is; `https` encrypts the way to it. A login in the address is used where `auth` is none.
    pub address: Address,
    /// Who asks it.
    pub auth: Auth,
    /// What is reached without it: rules as those of [`super::Egress::allow`].
    pub bypass: Vec<String>,
}

/// A proxy that is ready for use.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) address: Address,
    pub(super) auth: Option<HeaderValue>,
    bypass: Vec<Pattern>,
}

impl Route {
    pub(super) fn new(proxy: &Proxy) -> Result<Self, String> {
        let own = proxy.address.auth();
        let auth = if proxy.auth == Auth::None { &own } else { &proxy.auth };
        let auth = auth.header().map_err(|message| format!("the login of the proxy: {message}"))?;
        let bypass = proxy.bypass.iter().map(|rule| Pattern::parse(rule)).collect::<Result<_, _>>();
        let bypass = bypass.map_err(|message| format!("what goes past the proxy: {message}"))?;
        Ok(Self { address: proxy.address.clone(), auth, bypass })
    }

    pub(super) fn is_for(&self, host: &Host<String>, port: u16) -> bool {
        !self.bypass.iter().any(|rule| rule.means(host, port))
    }
}

/// Scheme, host in its one spelling, and port of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) encrypted: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
}

impl Destination {
    pub(super) fn of(uri: &Uri) -> Result<Self, String> {
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("expected http:// or https:// in the address".to_owned()),
        };
        let host = uri.host().unwrap_or_default();
        let host = Host::parse(host).map_err(|error| format!("the host cannot be used: {error}"))?;
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        Ok(Self { encrypted, host, port })
    }

    /// The address that a connection is made for, always with its port.
    pub(super) fn uri(&self) -> Result<Uri, String> {
        let scheme = if self.encrypted { "https" } else { "http" };
        let uri = format!("{scheme}://{}:{}/", self.host, self.port).parse();
        uri.map_err(|error| format!("the address cannot be used: {error}"))
    }

    /// The same, for who knows the port otherwise.
    pub(super) fn uri_without_port(&self) -> Result<Uri, String> {
        let scheme = if self.encrypted { "https" } else { "http" };
        let uri = format!("{scheme}://{}/", self.host).parse();
        uri.map_err(|error| format!("the address cannot be used: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_hosts_are_reached_without_the_proxy() {
        let address = Address::parse("http://ops:hunter2@proxy:3128/").unwrap();
        let bypass =
            ["localhost", "*.home.arpa", "10.0.0.0/8", "example.org:8443"].map(str::to_owned).to_vec();
        let route = Route::new(&Proxy { address, auth: Auth::None, bypass }).unwrap();
        assert_eq!(route.auth.as_ref().unwrap(), "Basic b3BzOmh1bnRlcjI=");
        assert!(!format!("{route:?}").contains("b3Bz"));
        for (uri, expected) in [
            ("http://localhost:8080/", false),
            ("https://inverter.home.arpa/", false),
            ("http://10.1.2.3/", false),
            ("https://example.org:8443/", false),
            ("https://example.org/", true),
            ("http://home.arpa/", true),
        ] {
            let Destination { host, port, .. } = Destination::of(&uri.parse().unwrap()).unwrap();
            assert_eq!(route.is_for(&host, port), expected, "{uri}");
        }
        let address = Address::parse("http://proxy/").unwrap();
        let wrong = Proxy { address, auth: Auth::None, bypass: vec!["*".to_owned()] };
        assert!(Route::new(&wrong).unwrap_err().starts_with("what goes past the proxy: expected"));
    }
}
