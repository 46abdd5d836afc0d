//! Connections to services: one pool for HTTP/1.1, HTTP/2 and gRPC.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use url::Host;

use super::connect::{ConnectError, Connector};
use super::digest::Digests;
use super::egress::Egress;
use super::names::Resolved;
use super::proxy::{Destination, Proxy};
use super::stream::AnyWire;
use super::trouble::sending_trouble;
use super::{BodyError, read};
use crate::error::{CallError, ErrorKind};
use crate::secret::Login;
use crate::tls::{Identity, Trust};

/// What requests say of who sends them.
pub(crate) const AGENT: &str = concat!("sos/", env!("CARGO_PKG_VERSION"));
/// Bytes that a server may send of one answer, and of all answers of a connection, before they are read. `h2` gives a
/// connection up when small frames (messages of gRPC streams, say) that nobody has read yet would cost half of the latter
/// at 256 bytes each, so that one answer alone must not come to that; with a window that adapts these are 128 frames.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;
/// The smallest buffer of `hyper`.
const SMALLEST_HEAD: usize = 8 * 1024;

/// Why a body that is sent broke off.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there as a whole.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// How services are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// Who we are where a server asks for a certificate.
    pub identity: Option<Identity>,
    /// The only version of HTTP that is spoken, also without TLS.
    pub version: Version,
    /// Who connects for us. Variables of the environment such as `HTTPS_PROXY` are not read.
    pub proxy: Option<Proxy>,
    /// Which addresses may be reached.
    pub egress: Egress,
    /// Addresses of hosts that are not looked up: name and addresses, checked by `egress` as those of DNS are.
    pub resolve: Vec<(String, Vec<Resolved>)>,
    /// Time for a connection: name, TCP, proxy and TLS together. Above zero.
    pub connect_timeout: Duration,
    /// Bytes that the head of an answer may have; 8 KiB at least.
    pub head_limit: usize,
    /// Connections that wait for the next request.
    pub pool: Pool,
    /// How a lost HTTP/2 connection is noticed; `None`: by its requests running out of time.
    pub keep_alive: Option<KeepAlive>,
}

/// Connections that wait for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// How many, of each scheme, host and port.
    pub idle_per_host: usize,
    /// How long.
    pub idle: Duration,
}

/// Pings of HTTP/2 (RFC 9113, section 6.7) while requests are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Time between two.
    pub interval: Duration,
    /// How long an answer may take until the connection is given up.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            version: Version::Any,
            proxy: None,
            egress: Egress::open(),
            resolve: vec![],
            connect_timeout: Duration::from_secs(10),
            head_limit: 64 * 1024,
            pool: Pool { idle_per_host: 32, idle: Duration::from_secs(90) },
            keep_alive: Some(KeepAlive {
                // Servers of gRPC end connections that ping more often than every five minutes while a call is quiet
                // (gRFC A8): with `UNAVAILABLE: Too many pings` after three.
                interval: Duration::from_secs(310),
                timeout: Duration::from_secs(10),
            }),
        }
    }
}

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// What the server chooses by TLS; HTTP/1.1 without.
    #[default]
    Any,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS too: gRPC.
    Http2,
}

/// Connections to services. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Transport {
    client: Client<Connector, Body>,
    connector: Connector,
    how: Pooling,
    digests: Option<Digests>,
}

/// What the pool is told.
#[derive(Clone, Copy, Debug)]
struct Pooling {
    head_limit: usize,
    pool: Pool,
    keep_alive: Option<KeepAlive>,
}

impl Transport {
    /// Connections that are made alike.
    ///
    /// # Errors
    /// `NoCredentials` when certificates, keys or the login of the proxy cannot be used; `BadInput` when another setting
    /// makes no sense.
    pub fn new(settings: &Settings) -> Result<Self, CallError> {
        let config = settings.trust.client_config_as(settings.identity.as_ref());
        let config = config.map_err(|message| CallError::new(ErrorKind::NoCredentials, "", message))?;
        let connector = Connector::new(settings, config);
        let connector = connector.map_err(|message| CallError::new(ErrorKind::BadInput, "", message))?;
        let Settings { head_limit, pool, keep_alive, .. } = *settings;
        Ok(Self::over(connector, Pooling { head_limit, pool, keep_alive }))
    }

    fn over(connector: Connector, how: Pooling) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.pool_max_idle_per_host(how.pool.idle_per_host).pool_idle_timeout(how.pool.idle);
        let head_limit = how.head_limit.max(SMALLEST_HEAD);
        builder.http1_max_buf_size(head_limit);
        builder.http2_max_header_list_size(u32::try_from(head_limit).unwrap_or(u32::MAX));
        builder.http2_initial_stream_window_size(STREAM_WINDOW);
        builder.http2_initial_connection_window_size(CONNECTION_WINDOW);
        // Some proxies know `Proxy-Authorization` only as it is written in the RFC.
        builder.http1_title_case_headers(connector.has_proxy());
        if let Some(KeepAlive { interval, timeout }) = how.keep_alive {
            builder.http2_keep_alive_interval(interval).http2_keep_alive_timeout(timeout);
        }
        builder.http2_only(connector.version() == Version::Http2);
        Self { client: builder.build(connector.clone()), connector, how, digests: None }
    }

    /// The same with connections of its own that speak another version: for what stands beside a service and is no
    /// part of it, such as the server of its tokens.
    #[must_use]
    pub fn speaking(&self, version: Version) -> Self {
        if version == self.connector.version() {
            return self.clone();
        }
        Self::over(self.connector.with_version(version), self.how)
    }

    /// The same connections for a user of HTTP digests. `seed` makes our part of them.
    #[must_use]
    pub fn with_digests(&self, login: Login, seed: u64) -> Self {
        Self { digests: Some(Digests::new(login, seed)), ..self.clone() }
    }

    /// Whether a refusal of credentials teaches it how to show them.
    #[must_use]
    pub const fn answers_challenges(&self) -> bool {
        self.digests.is_some()
    }

    /// The same connections for nobody in particular.
    pub(super) fn without_digests(&self) -> Self {
        Self { digests: None, ..self.clone() }
    }

    /// Sends one request and returns when the head of the answer is there. The caller bounds the time.
    ///
    /// # Errors
    /// `NotAllowed`, `Unreachable`, `Broken`, `TooLarge` (the head), `BadAnswer` (it is no HTTP); without the path of the
    /// address.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, CallError> {
        if !request.headers().contains_key(USER_AGENT) {
            request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        }
        if let Some(proxy) = self.connector.forwarding_proxy(request.uri())
            && let Some(auth) = &proxy.auth
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth.clone());
        }
        let Some(digests) = &self.digests else {
            return self.client.request(request).await.map_err(|error| sending_trouble(&error));
        };
        let uri = request.uri().clone();
        if let Some(header) = digests.header(request.method(), &uri) {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let response = self.client.request(request).await.map_err(|error| sending_trouble(&error))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            digests.learn(&uri, response.headers());
        }
        Ok(response)
    }
}

/// Connections for what is no request, reached and checked as services are.
impl Transport {
    /// A connection to a host; over TLS, `protocols` are those that are offered.
    ///
    /// # Errors
    /// `BadInput` for what is no host, `NotAllowed`, `Unreachable`.
    pub(crate) async fn wire(&self, to: &Peer, protocols: &[&[u8]]) -> Result<AnyWire, CallError> {
        self.connector.wire(&to.destination()?, protocols).await.map_err(|error| unconnected(to, error))
    }

    /// The addresses of a host that may be reached.
    ///
    /// # Errors
    /// As [`Self::wire`].
    pub(crate) async fn addresses(&self, to: &Peer) -> Result<Vec<SocketAddr>, CallError> {
        self.connector.addresses(&to.destination()?).await.map_err(|error| unconnected(to, error))
    }

    /// Whose certificates are trusted, and who we are.
    pub(crate) fn tls(&self) -> &ClientConfig {
        self.connector.tls()
    }
}

/// Who is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Name or IP address; IPv6 in brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether TLS is spoken.
    pub encrypted: bool,
}

impl Peer {
    fn destination(&self) -> Result<Destination, CallError> {
        let wrong =
            |error| CallError::new(ErrorKind::BadInput, "", format!("`{}` is no host: {error}", self.host));
        let host = Host::parse(&self.host).map_err(wrong)?;
        Ok(Destination { encrypted: self.encrypted, host, port: self.port })
    }
}

fn unconnected(to: &Peer, error: ConnectError) -> CallError {
    let kind = if error.refused { ErrorKind::NotAllowed } else { ErrorKind::Unreachable };
    CallError::new(kind, format!("{}:{}", to.host, to.port), error.message)
}

/// The whole body of an answer, decompressed, up to `limit` bytes.
///
/// # Errors
/// `TooLarge`, `Broken`, `BadAnswer` when it cannot be unpacked.
pub(crate) async fn collect(response: Response<Incoming>, limit: usize) -> Result<Vec<u8>, CallError> {
    let (head, body) = response.into_parts();
    read(&head.headers, body, limit).await.map_err(|error| {
        let kind = match error {
            BodyError::TooLong { .. } => ErrorKind::TooLarge,
            BodyError::Broken(_) => ErrorKind::Broken,
            BodyError::Unreadable(_) => ErrorKind::BadAnswer,
        };
        CallError::new(kind, "", error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Address, Auth};
    use crate::secret::Secret;

    #[test]
    fn settings_that_cannot_be_used_are_refused_at_once() {
        let refused = |settings: Settings| Transport::new(&settings).unwrap_err();
        let trust = Trust::Authorities(vec![]);
        assert_eq!(refused(Settings { trust, ..Settings::default() }).kind, ErrorKind::NoCredentials);
        let identity = Some(Identity { certificates: vec![], key: Secret::new("SECRET") });
        let error = refused(Settings { identity, ..Settings::default() });
        assert_eq!(error.kind, ErrorKind::NoCredentials);
        let address = Address::parse("http://proxy/").unwrap();
        let proxy = Proxy { address, auth: Auth::Bearer(Secret::new("SECRET\n")), bypass: vec![] };
        let error = refused(Settings { proxy: Some(proxy), ..Settings::default() });
        assert!(error.message.contains("login of the proxy") && !error.message.contains("SECRET"), "{error}");
        let resolve = vec![("127.0.0.1".to_owned(), vec![])];
        assert_eq!(refused(Settings { resolve, ..Settings::default() }).kind, ErrorKind::BadInput);
        let connect_timeout = Duration::ZERO;
        assert_eq!(refused(Settings { connect_timeout, ..Settings::default() }).kind, ErrorKind::BadInput);
    }

    #[tokio::test]
    async fn settings_show_no_secret() {
        let identity = Some(Identity { certificates: b"x".to_vec(), key: Secret::new("SECRET") });
        let address = Address::parse("http://ops:SECRET@proxy/").unwrap();
        let proxy = Some(Proxy { address, auth: Auth::None, bypass: vec![] });
        let settings = Settings { identity, proxy, ..Settings::default() };
        assert!(!format!("{settings:?}").contains("SECRET"));
        let transport = Transport::new(&Settings { identity: None, ..settings }).unwrap();
        assert!(!format!("{transport:?}").contains("SECRET"));
    }
}
