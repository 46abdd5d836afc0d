//! How a service knows who calls it.
//!
//! [`Credentials`] are declared once for each service. What they put into a call, a header or a query parameter, is made
//! by [`Signer`]; neither is ever printed. A [`Wallet`] keeps what many calls share.

mod assertion;
mod issuer;
mod oauth;
mod token;
mod wallet;

use std::sync::Arc;

use crate::call::Pairs;
use crate::error::{CallError, ErrorKind};
use crate::http::{Auth, Transport};
use crate::secret::{Login, Secret};

pub use assertion::{Key, Signing};
pub use token::{ClientAuth, Grant, PassedToken, TokenRequest};
pub use wallet::Wallet;

use oauth::Tokens;

/// How a service knows who calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    #[default]
    None,
    /// `Authorization: Basic …` (RFC 7617).
    Basic(Login),
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer(Secret),
    /// A key of the service's own.
    Key(ApiKey),
    /// A token that a server hands out.
    OAuth(Box<TokenRequest>),
    /// HTTP digest (RFC 7616): `qop=auth` or none, MD5, SHA-256 and SHA-512-256. The first call costs two requests.
    Digest(Login),
}

impl Credentials {
    /// The headers that they put into a request; for what is asked beside the calls, such as server reflection.
    ///
    /// # Errors
    /// `NoCredentials` when they cannot be sent, and what the server of tokens says.
    pub async fn headers(self, transport: &Transport) -> Result<Vec<(String, Secret)>, CallError> {
        let signed = Signer::new(self, transport.clone(), 0)?.sign().await;
        signed.map(|signed| signed.pairs.headers.clone()).map_err(|unsigned| unsigned.error)
    }
}

/// A key of the service's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Where it stands.
    pub place: KeyPlace,
    /// Name of the header, the parameter or the cookie.
    pub name: String,
    /// The key.
    pub value: Secret,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// In a header.
    Header,
    /// In the query of the address. Servers log it; prefer a header.
    Query,
    /// In a cookie.
    Cookie,
}

/// Makes what credentials put into a call.
#[derive(Debug)]
pub(crate) struct Signer {
    how: How,
    /// What calls are made over: it answers the challenges of digests.
    pub(crate) transport: Transport,
    /// What must not come back in errors beside what is sent.
    hidden: Vec<Secret>,
}

#[derive(Debug)]
enum How {
    /// The same for every call.
    Fixed(Signed),
    Digest,
    OAuth(Box<Tokens>),
}

/// What credentials put into one attempt.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signed {
    pub(crate) pairs: Arc<Pairs>,
}

impl From<Pairs> for Signed {
    fn from(pairs: Pairs) -> Self {
        Self { pairs: Arc::new(pairs) }
    }
}

/// Why there are no credentials.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned {
    pub(crate) error: CallError,
    /// Whether a later try may have them.
    pub(crate) temporary: bool,
}

impl Signer {
    /// `seed` makes our part of digests.
    ///
    /// # Errors
    /// `NoCredentials` when they cannot be sent.
    pub(crate) fn new(credentials: Credentials, transport: Transport, seed: u64) -> Result<Self, CallError> {
        let refused = |message| CallError::new(ErrorKind::NoCredentials, "", message);
        let hidden = match &credentials {
            Credentials::None => vec![],
            Credentials::Basic(login) | Credentials::Digest(login) => vec![login.password.clone()],
            Credentials::Bearer(secret) => vec![secret.clone()],
            Credentials::Key(key) => vec![key.value.clone()],
            Credentials::OAuth(request) => request.secrets().cloned().collect(),
        };
        let fixed = match credentials {
            Credentials::None => Ok(Pairs::default()),
            Credentials::Basic(login) => authorization(&Auth::Basic(login)),
            Credentials::Bearer(token) => authorization(&Auth::Bearer(token)),
            Credentials::Key(key) => of_key(&key),
            Credentials::OAuth(request) => {
                let tokens = Tokens::new(*request, &transport).map_err(refused)?;
                return Ok(Self { how: How::OAuth(Box::new(tokens)), transport, hidden });
            }
            Credentials::Digest(login) => {
                let transport = transport.with_digests(login, seed);
                return Ok(Self { how: How::Digest, transport, hidden });
            }
        };
        let how = How::Fixed(fixed.map_err(refused)?.into());
        Ok(Self { how, transport, hidden })
    }

    /// What the next attempt carries, where that is known.
    pub(crate) fn ready(&self) -> Option<Signed> {
        match &self.how {
            How::Fixed(signed) => Some(signed.clone()),
            How::Digest => Some(Signed::default()),
            How::OAuth(tokens) => tokens.living().ok().map(|token| token.signed.clone()),
        }
    }

    /// What the next attempt carries. Waits where a token is fetched; the caller bounds the time.
    pub(crate) async fn sign(&self) -> Result<Signed, Unsigned> {
        match &self.how {
            How::Fixed(signed) => Ok(signed.clone()),
            How::Digest => Ok(Signed::default()),
            How::OAuth(tokens) => Ok(tokens.get().await?.signed.clone()),
        }
    }

    /// Secrets that are not sent as they are.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &Secret> {
        self.hidden.iter()
    }

    /// Told that a service did not take them (401). Whether others can be had: a fresh token, an answered challenge.
    pub(crate) fn rejected(&self, signed: &Signed) -> bool {
        match &self.how {
            How::Fixed(_) => false,
            How::Digest => true,
            How::OAuth(tokens) => {
                tokens.forget(signed);
                true
            }
        }
    }
}

fn authorization(auth: &Auth) -> Result<Pairs, String> {
    let value = auth.header()?;
    let value = value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(Pairs { headers: vec![("authorization".to_owned(), Secret::new(value))], query: vec![] })
}

fn of_key(key: &ApiKey) -> Result<Pairs, String> {
    let ApiKey { place, name, value } = key;
    let known = http::HeaderName::from_bytes(name.as_bytes());
    match place {
        KeyPlace::Query if name.is_empty() => Err("expected the name of the parameter of the key".to_owned()),
        KeyPlace::Query => Ok(Pairs { headers: vec![], query: vec![(name.clone(), value.clone())] }),
        KeyPlace::Header | KeyPlace::Cookie => {
            let known = known.map_err(|_| format!("`{name}` cannot be the name of a header or a cookie"))?;
            let (header, value) = match place {
                KeyPlace::Cookie => ("cookie", Secret::new(format!("{name}={}", value.expose()))),
                _ => (known.as_str(), value.clone()),
            };
            let sendable = http::HeaderValue::from_str(value.expose()).is_ok()
                && (*place == KeyPlace::Header || !value.expose().contains([';', ',', ' ', '"', '\\']));
            if !sendable {
                return Err(format!("the value of `{name}` has characters that cannot be sent"));
            }
            Ok(Pairs { headers: vec![(header.to_owned(), value)], query: vec![] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Settings;

    fn signer(credentials: Credentials) -> Result<Signer, CallError> {
        Signer::new(credentials, Transport::new(&Settings::default()).unwrap(), 1)
    }

    async fn pairs(credentials: Credentials) -> Arc<Pairs> {
        signer(credentials).unwrap().sign().await.unwrap().pairs
    }

    fn key(place: KeyPlace, name: &str, value: &str) -> Credentials {
        Credentials::Key(ApiKey { place, name: name.to_owned(), value: Secret::new(value) })
    }

    #[tokio::test]
    async fn credentials_become_headers_or_parameters() {
        let shown = |pairs: &[(String, Secret)]| -> Vec<String> {
            pairs.iter().map(|(name, value)| format!("{name}: {}", value.expose())).collect()
        };
        let login = Login { user: "Aladdin".into(), password: Secret::new("open sesame") };
        let basic = pairs(Credentials::Basic(login)).await;
        assert_eq!(shown(&basic.headers), ["authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        let bearer = pairs(Credentials::Bearer(Secret::new("t0k"))).await;
        assert_eq!(shown(&bearer.headers), ["authorization: Bearer t0k"]);
        assert_eq!(shown(&pairs(key(KeyPlace::Header, "X-Key", "k")).await.headers), ["x-key: k"]);
        assert_eq!(shown(&pairs(key(KeyPlace::Query, "apiKey", "k&1")).await.query), ["apiKey: k&1"]);
        assert_eq!(shown(&pairs(key(KeyPlace::Cookie, "SESSION", "k")).await.headers), ["cookie: SESSION=k"]);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused_without_showing_it() {
        for credentials in [
            Credentials::Bearer(Secret::new("SECRET\n")),
            key(KeyPlace::Header, "x key", "SECRET"),
            key(KeyPlace::Header, "x-key", "SECRET\r\nx: y"),
            key(KeyPlace::Cookie, "a=b", "SECRET"),
            key(KeyPlace::Cookie, "a", "SECRET; b=c"),
            key(KeyPlace::Query, "", "SECRET"),
        ] {
            let shown = format!("{credentials:?}");
            let error = signer(credentials).unwrap_err();
            assert_eq!(error.kind, ErrorKind::NoCredentials);
            assert!(!format!("{shown}{error}{error:?}").contains("SECRET"), "{error}");
        }
    }
}
