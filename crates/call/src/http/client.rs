//! The client of scrapes and deliveries: HTTP/1.1 to addresses that the operator wrote down.

use std::time::Duration;

use base64::Engine as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};

use super::Address;
use super::egress::Egress;
use super::redirect::follow;
use super::transport::{Pool, Settings, Transport, Version, whole};
use crate::error::CallError;
use crate::secret::{Login, Secret};
use crate::tls::Trust;

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
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, String> {
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
    /// To addresses that the operator wrote down.
    declared: Transport,
    /// To those that a redirect names.
    elsewhere: Transport,
}

/// A request that is made.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) address: &'a Address,
    pub(crate) auth: &'a Auth,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Outgoing<'_> {
    fn request<B>(self, body: impl FnOnce(Bytes) -> B) -> Result<Request<B>, String> {
        let own = self.address.auth();
        let auth = if *self.auth == Auth::None { &own } else { self.auth };
        let auth = auth.header()?;
        let mut request = Request::new(body(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.address.uri().clone();
        *request.headers_mut() = self.headers;
        if let Some(value) = auth {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl HttpClient {
    /// A client for all servers that are trusted alike.
    ///
    /// # Errors
    /// When no authority can be trusted, with the reason.
    pub fn new(trust: &Trust) -> Result<Self, String> {
        let settings = |egress| Settings {
            trust: trust.clone(),
            version: Version::Http1,
            egress,
            pool: Pool { idle_per_host: 2, idle: Duration::from_secs(90) },
            ..Settings::default()
        };
        let transport = |egress| Transport::new(&settings(egress)).map_err(|error| error.message);
        Ok(Self { declared: transport(Egress::unchecked())?, elsewhere: transport(Egress::open())? })
    }

    /// Sends one request and returns when the head of the answer is there. The caller bounds the time.
    ///
    /// # Errors
    /// When nothing came back, with the reason and without the address.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>, String> {
        let sent = self.declared.send(outgoing.request(whole)?).await;
        sent.map_err(|error| error.message)
    }

    /// The same without a body, behind all redirects; those to other origins lead to no special address.
    ///
    /// # Errors
    /// Those of [`follow`].
    pub(crate) async fn follow(&self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>, CallError> {
        let request = outgoing.request(drop);
        let request =
            request.map_err(|message| CallError::new(crate::ErrorKind::NoCredentials, "", message))?;
        Ok(follow(&self.declared, &self.elsewhere, request).await?.0)
    }
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
