//! Requests over pooled connections.

use std::time::Duration;

use base64::Engine as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::Address;
use crate::secret::{Login, Secret};
use crate::tls::Trust;

/// Connections to one host that wait for the next request, and how long.
const IDLE_PER_HOST: usize = 2;
const IDLE: Duration = Duration::from_secs(90);
/// Time to connect, divided among the addresses of a host, so that one that is lost leaves time for the others.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes that the head of an answer may have.
const HEAD_LIMIT: usize = 64 * 1024;
const AGENT: &str = concat!("sos/", env!("CARGO_PKG_VERSION"));

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// `Authorization: Basic …`
    Basic(Login),
}

impl Auth {
    /// The header, marked so that nobody prints it. `None` without authentication.
    fn header(&self) -> Result<Option<HeaderValue>, String> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Bearer(token) => format!("Bearer {}", token.expose()),
            Self::Basic(login) => {
                let pair = format!("{}:{}", login.user, login.password.expose());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "the token has characters that a header cannot carry".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Asks over HTTP/1.1 and TLS. Uses no proxy. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A request that is made.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) address: &'a Address,
    pub(crate) auth: &'a Auth,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpClient {
    /// A client for all servers that are trusted alike.
    ///
    /// # Errors
    /// When no authority can be trusted, with the reason.
    pub fn new(trust: &Trust) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let https = HttpsConnectorBuilder::new().with_tls_config(trust.client_config()?);
        let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(IDLE_PER_HOST);
        builder.http1_max_buf_size(HEAD_LIMIT);
        Ok(Self { client: builder.build(connector) })
    }

    /// Sends one request and returns when the head of the answer is there. The caller bounds the time.
    ///
    /// # Errors
    /// When nothing came back, with the reason and without the address.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>, String> {
        let mut request = Request::new(Full::new(outgoing.body));
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = outgoing.address.uri().clone();
        *request.headers_mut() = outgoing.headers;
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let own = outgoing.address.auth();
        let auth = if *outgoing.auth == Auth::None { &own } else { outgoing.auth };
        if let Some(value) = auth.header()? {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.client.request(request).await.map_err(|error| full(&error))
    }
}

/// An error with its causes; what a cause says again is left out.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_no_header_carries_are_refused_without_showing_them() {
        let message = Auth::Bearer(Secret::new("abc\r\nx: SECRET")).header().unwrap_err();
        assert!(!message.contains("SECRET"), "{message}");
        let header = Auth::Bearer(Secret::new("SECRET")).header().unwrap().unwrap();
        assert!(!format!("{header:?}").contains("SECRET"));
        let basic = Auth::Basic(Login { user: "Aladdin".into(), password: Secret::new("open sesame") });
        assert_eq!(basic.header().unwrap().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }
}
