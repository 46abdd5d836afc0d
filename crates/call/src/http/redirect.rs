//! Redirects of requests without a body (RFC 9110, section 15.4).

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, LOCATION};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::{Address, Transport, whole};
use crate::error::{CallError, ErrorKind};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

impl Transport {
    /// Sends a request without a body and follows at most five redirects, each checked as the first address was. Another
    /// origin gets no credentials: neither `authorization` and `cookie` nor headers that are marked sensitive. Never from
    /// `https` to `http`. The answer comes with the address that it is from.
    ///
    /// # Errors
    /// Those of [`Transport::send`]; `BadAnswer` for redirects that are not followed.
    pub(crate) async fn follow(&self, request: Request<()>) -> Result<(Response<Incoming>, Uri), CallError> {
        follow(self, &self.without_digests(), request).await
    }
}

/// The same, with other connections for other origins.
pub(super) async fn follow(
    own: &Transport,
    elsewhere: &Transport,
    request: Request<()>,
) -> Result<(Response<Incoming>, Uri), CallError> {
    let (mut head, ()) = request.into_parts();
    let asked = head.uri.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = Request::new(whole(""));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let transport = if same_origin(&head.uri, &asked) { own } else { elsewhere };
        let response = transport.send(request).await?;
        if !is_redirect(response.status()) {
            return Ok((response, head.uri));
        }
        let next = next(&head.uri, &response).map_err(|message| {
            CallError::new(ErrorKind::BadAnswer, "header location", format!("{} {message}", shown(&head.uri)))
        })?;
        if !same_origin(&next, &head.uri) {
            drop_credentials(&mut head.headers);
        }
        if response.status() == StatusCode::SEE_OTHER && head.method != Method::HEAD {
            head.method = Method::GET;
        }
        head.uri = next;
    }
    let message = format!("{} redirects more than {MAX_REDIRECTS} times", shown(&asked));
    Err(CallError::new(ErrorKind::BadAnswer, "", message))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn next(from: &Uri, response: &Response<Incoming>) -> Result<Uri, String> {
    let status = response.status();
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| format!("answered {status} without a `location`"))?;
    redirected(from, location)
}

/// The address that a redirect names. A login in it is left out: strangers choose no credentials.
fn redirected(from: &Uri, location: &str) -> Result<Uri, String> {
    let nowhere = |why: String| format!("redirects to nowhere: {why}");
    let base = url::Url::parse(&from.to_string()).map_err(|error| nowhere(error.to_string()))?;
    let joined = base.join(location).map_err(|error| nowhere(format!("`location` is no URL: {error}")))?;
    let address = Address::of(joined).map_err(nowhere)?;
    if from.scheme_str() == Some("https") && address.uri().scheme_str() != Some("https") {
        return Err(format!("redirects from https to {address}, which is not encrypted"));
    }
    Ok(address.uri().clone())
}

fn drop_credentials(headers: &mut HeaderMap) {
    let mut secret: Vec<_> =
        headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.clone()).collect();
    secret.extend([AUTHORIZATION, COOKIE]);
    for name in secret {
        headers.remove(name);
    }
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    a.scheme() == b.scheme() && a.host() == b.host() && port(a) == port(b)
}

/// Scheme, host and port.
fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    format!("{scheme}://{}", uri.authority().map_or("", |authority| authority.as_str()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let from: Uri = "http://a:1/x/y".parse().unwrap();
        assert_eq!(redirected(&from, "z").unwrap(), "http://a:1/x/z");
        assert_eq!(redirected(&from, "//ops:hunter2@b/?k#f").unwrap(), "http://b/?k");
        assert!(same_origin(&from, &redirected(&from, "http://A:1/").unwrap()));
        assert!(!same_origin(&from, &redirected(&from, "http://a:2/").unwrap()));
        for nowhere in ["file:///etc/passwd", "gopher://a/", "http://", "https://a:b/"] {
            assert!(redirected(&from, nowhere).unwrap_err().contains("redirects to nowhere"), "{nowhere}");
        }
    }

    #[test]
    fn what_is_encrypted_stays_so() {
        let from: Uri = "https://a/x".parse().unwrap();
        assert_eq!(redirected(&from, "//b/").unwrap(), "https://b/");
        let message = redirected(&from, "http://a/SECRET").unwrap_err();
        assert_eq!(message, "redirects from https to http://a, which is not encrypted");
    }

    #[test]
    fn credentials_are_headers_that_are_known_or_marked() {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_static("k");
        key.set_sensitive(true);
        headers.insert("x-key", key);
        headers.insert("authorization", HeaderValue::from_static("Basic x"));
        headers.insert("cookie", HeaderValue::from_static("a=b"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        drop_credentials(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
    }
}
