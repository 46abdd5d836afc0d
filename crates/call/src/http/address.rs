//! Addresses whose secret parts are never shown.

use std::fmt;

use hyper::Uri;
use url::{Host, Url};

use super::Auth;
use crate::secret::{Login, Secret};

/// An `http` or `https` address. Those of chat webhooks are secrets, so only scheme, host and port are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    uri: Uri,
    login: Option<Login>,
}

impl Address {
    /// Reads an address. User and password in it (`https://user:password@host/`) become basic authentication.
    ///
    /// # Errors
    /// When it is no URL, has no host, or another scheme. The text itself is not repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("the address is no URL: {error}"))?;
        Self::of(url)
    }

    pub(super) fn of(mut url: Url) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("expected http:// or https://, found {}://", url.scheme()));
        }
        let login = login(&url);
        // Neither fails for a URL with a host.
        let _with_host = (url.set_username(""), url.set_password(None));
        url.set_fragment(None);
        let uri = url.as_str().parse().map_err(|error| format!("the address cannot be used: {error}"))?;
        Ok(Self { url, uri, login })
    }

    /// All of it but a login: for who knows the address already.
    #[must_use]
    pub fn text(&self) -> &str {
        self.url.as_str()
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What the address itself says about who asks.
    pub(crate) fn auth(&self) -> Auth {
        self.login.clone().map_or(Auth::None, Auth::Basic)
    }

    /// The host in its one spelling.
    pub(crate) fn host(&self) -> Option<Host<String>> {
        self.url.host().map(|host| host.to_owned())
    }

    /// The port, also where it is that of the scheme.
    pub(crate) fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }

    /// Path and query, which may be the secret of a webhook.
    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

fn login(url: &Url) -> Option<Login> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return None;
    }
    // Both are percent-encoded; what decodes to no text stays as it is.
    let decoded = |text: &str| {
        let form = format!("v={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(form.as_bytes())
            .next()
            .map_or(String::new(), |(_, value)| value.into_owned())
    };
    Some(Login { user: decoded(url.username()), password: Secret::new(decoded(password)) })
}

/// Scheme, host and port.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_shown() {
        let address =
            Address::parse("https://ops:pass%20word@hooks.example.org:8443/services/T0/SECRET?k=1").unwrap();
        assert_eq!(address.to_string(), "https://hooks.example.org:8443");
        assert_eq!(format!("{address:?}"), "https://hooks.example.org:8443/…");
        assert_eq!(address.uri(), "https://hooks.example.org:8443/services/T0/SECRET?k=1");
        let Auth::Basic(login) = address.auth() else { panic!("no login") };
        assert_eq!((login.user.as_str(), login.password.expose()), ("ops", "pass word"));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_without_repeating_it() {
        for text in ["ftp://host/SECRET", "SECRET", "http://", "mailto:SECRET@x"] {
            let message = Address::parse(text).unwrap_err();
            assert!(!message.contains("SECRET"), "{message}");
        }
        assert!(Address::parse("ftp://host/").unwrap_err().contains("expected http:// or https://"));
    }
}
