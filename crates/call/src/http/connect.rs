//! How a connection comes to be: name, egress, TCP, proxy, TLS.

use std::fmt;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Host;

use super::egress::{Egress, NotAllowed};
use super::names::{Given, Names};
use super::proxy::{Destination, Route};
use super::stream::{AnyWire, Stream};
use super::trouble::{full, tls_trouble};
use super::{Address, Settings, Version};

/// Makes connections; clones make them alike.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    shared: Arc<Shared>,
    version: Version,
}

#[derive(Debug)]
struct Shared {
    tls: Arc<ClientConfig>,
    egress: Egress,
    names: Names,
    proxy: Option<Route>,
    timeout: Duration,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectError {
    /// The operator does not allow it.
    pub(super) refused: bool,
    /// Names the host and no more of the address.
    pub(super) message: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectError {}

impl From<NotAllowed> for ConnectError {
    fn from(error: NotAllowed) -> Self {
        Self { refused: true, message: error.to_string() }
    }
}

impl From<String> for ConnectError {
    fn from(message: String) -> Self {
        Self { refused: false, message }
    }
}

impl Connector {
    pub(super) fn new(settings: &Settings, tls: ClientConfig) -> Result<Self, String> {
        if settings.connect_timeout.is_zero() {
            return Err("expected more than no time to connect".to_owned());
        }
        let shared = Shared {
            tls: Arc::new(tls),
            egress: settings.egress.clone(),
            names: Names::new(&settings.resolve)?,
            proxy: settings.proxy.as_ref().map(Route::new).transpose()?,
            timeout: settings.connect_timeout,
        };
        Ok(Self { shared: Arc::new(shared), version: settings.version })
    }

    /// The same, speaking another version of HTTP.
    pub(super) fn with_version(&self, version: Version) -> Self {
        Self { shared: Arc::clone(&self.shared), version }
    }

    pub(super) const fn version(&self) -> Version {
        self.version
    }

    pub(super) fn tls(&self) -> &ClientConfig {
        &self.shared.tls
    }

    pub(super) fn has_proxy(&self) -> bool {
        self.shared.proxy.is_some()
    }

    /// The proxy that requests to this address are written for: those that it reads itself.
    pub(super) fn forwarding_proxy(&self, uri: &Uri) -> Option<&Route> {
        let proxy = self.shared.proxy.as_ref()?;
        let to = Destination::of(uri).ok()?;
        (self.forwards(&to) && proxy.is_for(&to.host, to.port)).then_some(proxy)
    }

    /// Proxies understand no HTTP/2 without TLS, so it goes through a tunnel as well.
    fn forwards(&self, to: &Destination) -> bool {
        !to.encrypted && self.version != Version::Http2
    }

    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let to = Destination::of(&uri)?;
        self.in_time(&to, self.make(&to)).await
    }

    async fn in_time<T>(
        &self,
        to: &Destination,
        work: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        let limit = self.shared.timeout;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let (host, port, limit) = (&to.host, to.port, limit.as_secs_f64());
            Err(format!("no connection to {host}:{port} within {limit} s").into())
        })
    }

    /// A connection for what is no request, such as a WebSocket or MQTT; a proxy is asked for a tunnel.
    pub(super) async fn wire(&self, to: &Destination, protocols: &[&[u8]]) -> Result<AnyWire, ConnectError> {
        let made = async {
            let (wire, _) = self.shared.reach(to, false).await?;
            if !to.encrypted {
                return Ok(wire);
            }
            self.shared.encrypt(wire, to, protocols).await.map(|(wire, _)| wire)
        };
        self.in_time(to, made).await
    }

    /// The addresses of a host that may be reached, for who connects by himself and knows no proxy.
    pub(super) async fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>, ConnectError> {
        self.shared.egress.check_host(&to.host, to.port, false)?;
        allowed(self.shared.look_up(to).await?, to, Some(&self.shared.egress))
    }

    async fn make(&self, to: &Destination) -> Result<Stream, ConnectError> {
        let shared = &self.shared;
        let (wire, proxied) = shared.reach(to, self.forwards(to)).await?;
        if !to.encrypted {
            return Ok(Stream { io: TokioIo::new(wire), proxied, http2: false });
        }
        let protocols: &[&[u8]] = match self.version {
            Version::Any => &[b"h2", b"http/1.1"],
            Version::Http1 => &[b"http/1.1"],
            Version::Http2 => &[b"h2"],
        };
        let (wire, http2) = shared.encrypt(wire, to, protocols).await?;
        if self.version == Version::Http2 && !http2 {
            return Err(format!("{}:{} does not speak HTTP/2", to.host, to.port).into());
        }
        Ok(Stream { io: TokioIo::new(wire), proxied: false, http2 })
    }
}

impl Shared {
    /// A connection to a host, and whether a proxy that reads the requests is between.
    async fn reach(&self, to: &Destination, forward: bool) -> Result<(AnyWire, bool), ConnectError> {
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.is_for(&to.host, to.port));
        self.egress.check_host(&to.host, to.port, proxy.is_some())?;
        match proxy {
            None => Ok((Box::new(self.tcp(to, Some(&self.egress)).await?), false)),
            Some(proxy) => Ok((self.through(proxy, to, forward).await?, forward)),
        }
    }

    async fn look_up(&self, to: &Destination) -> Result<Vec<SocketAddr>, ConnectError> {
        Ok(match &to.host {
            Host::Domain(name) => self.names.look_up(name, to.port).await?,
            Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), to.port)],
            Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), to.port)],
        })
    }

    /// Connects to one of the addresses of a host. Addresses that `egress` refuses are left out.
    async fn tcp(&self, to: &Destination, egress: Option<&Egress>) -> Result<TcpStream, ConnectError> {
        let port = to.port;
        let addresses = allowed(self.look_up(to).await?, to, egress)?;
        // By name or not, it connects to these addresses and no others.
        let mut tcp = HttpConnector::new_with_resolver(Given(addresses));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses, so that one that is lost leaves time for the others.
        tcp.set_connect_timeout(Some(self.timeout));
        // A port in the URI would take the place of those of the addresses.
        let uri = if matches!(to.host, Host::Domain(_)) { to.uri_without_port()? } else { to.uri()? };
        let connected = tcp.call(uri).await;
        let stream = connected
            .map_err(|error| format!("no connection to {}:{port}: {}", to.host, full(&error)))?
            .into_inner();
        if let (Some(egress), Ok(peer)) = (egress, stream.peer_addr()) {
            egress.check_address(&to.host, port, peer.ip())?;
        }
        Ok(stream)
    }

    /// A connection to the proxy, or through it. The proxy itself was declared by the operator.
    async fn through(&self, proxy: &Route, to: &Destination, forward: bool) -> Result<AnyWire, ConnectError> {
        let by = Destination::of(proxy.address.uri())?;
        let named = |error: ConnectError| ConnectError {
            message: format!("the proxy {}: {}", proxy.address, error.message),
            ..error
        };
        let mut wire: AnyWire = Box::new(self.tcp(&by, None).await.map_err(named)?);
        if by.encrypted {
            wire = self.encrypt(wire, &by, &[b"http/1.1"]).await.map_err(named)?.0;
        }
        if forward {
            return Ok(wire);
        }
        let mut tunnel = Tunnel::new(by.uri()?, There(Some(TokioIo::new(wire))));
        if let Some(auth) = &proxy.auth {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let through =
            tunnel.call(to.uri()?).await.map_err(|error| tunnel_trouble(&proxy.address, to, &error))?;
        Ok(through.into_inner())
    }

    /// TLS over a connection, and whether it chose HTTP/2.
    async fn encrypt(
        &self,
        wire: AnyWire,
        to: &Destination,
        protocols: &[&[u8]],
    ) -> Result<(AnyWire, bool), ConnectError> {
        let name = match &to.host {
            Host::Domain(name) => ServerName::try_from(name.clone()),
            Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(*ip))),
            Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(*ip))),
        };
        let name = name.map_err(|_| format!("no certificate can be for the name `{}`", to.host))?;
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, wire).await;
        let stream = connected
            .map_err(|error| format!("no TLS with {}:{}: {}", to.host, to.port, tls_trouble(&error)))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), http2))
    }
}

/// The addresses that may be reached; an error where there are none.
fn allowed(
    found: Vec<SocketAddr>,
    to: &Destination,
    egress: Option<&Egress>,
) -> Result<Vec<SocketAddr>, ConnectError> {
    let mut refused = None;
    let check = |address: &SocketAddr| match egress
        .map_or(Ok(()), |egress| egress.check_address(&to.host, to.port, address.ip()))
    {
        Ok(()) => true,
        Err(error) => {
            refused = Some(error);
            false
        }
    };
    let addresses: Vec<_> = found.into_iter().filter(check).collect();
    match (addresses.is_empty(), refused) {
        (false, _) => Ok(addresses),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(format!("the name `{}` has no address", to.host).into()),
    }
}

fn tunnel_trouble(proxy: &Address, to: &Destination, error: &dyn std::error::Error) -> String {
    format!("the proxy {proxy} did not connect to {}:{}: {}", to.host, to.port, full(error))
}

/// A connection that is there already.
struct There(Option<TokioIo<AnyWire>>);

impl Service<Uri> for There {
    type Response = TokioIo<AnyWire>;
    type Error = std::io::Error;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(uri: &str) -> Destination {
        Destination::of(&uri.parse().unwrap()).unwrap()
    }

    fn addresses(ips: &[&str]) -> Vec<SocketAddr> {
        ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
    }

    #[test]
    fn of_several_addresses_only_those_that_are_allowed_are_connected_to() {
        let found = addresses(&["169.254.169.254", "192.0.2.7", "::ffff:169.254.169.254"]);
        let left = allowed(found, &to("http://rebind.example/"), Some(&Egress::open())).unwrap();
        assert_eq!(left, addresses(&["192.0.2.7"]));
        let found = addresses(&["169.254.169.254"]);
        let error = allowed(found, &to("http://rebind.example/"), Some(&Egress::open())).unwrap_err();
        assert!(error.refused && error.message.contains("it resolves to 169.254.169.254"), "{error}");
        let error = allowed(vec![], &to("http://rebind.example/"), Some(&Egress::open())).unwrap_err();
        assert!(!error.refused, "{error}");
    }
}
