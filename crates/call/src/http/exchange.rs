//! One request of any method, and its answer whatever the status: for who makes something of the status himself.

use std::time::Duration;

use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{Method, Request};

use super::{Address, Transport, collect, whole};
use crate::error::{CallError, ErrorKind};
use crate::secret::Secret;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method, in any case.
    pub method: &'a str,
    /// Where it goes. A login in it is used where there is no `authorization` among the headers.
    pub address: &'a Address,
    /// Its headers.
    pub headers: &'a [(String, Secret)],
    /// Its body.
    pub body: &'a [u8],
    /// The most bytes that are read of the answer, after decompression.
    pub limit: usize,
    /// The time for all of it.
    pub timeout: Duration,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, decompressed.
    pub bytes: Vec<u8>,
}

impl Exchanged {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Asks once; redirects are answers.
///
/// # Errors
/// `BadInput` (method, header), `NotAllowed`, `Unreachable`, `Broken`, `TimedOut`, `TooLarge`, `BadAnswer`. No status is an error.
pub async fn exchange(transport: &Transport, asked: Asked<'_>) -> Result<Exchanged, CallError> {
    let request = request(asked)?;
    let answered = tokio::time::timeout(asked.timeout, async {
        let response = transport.send(request).await?;
        let status = response.status().as_u16();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
        let headers = headers.collect();
        Ok(Exchanged { status, headers, bytes: collect(response, asked.limit).await? })
    });
    let answered = answered.await.unwrap_or_else(|_| {
        let message = format!("no whole answer within {} s", asked.timeout.as_secs_f64());
        Err(CallError::new(ErrorKind::TimedOut, "", message))
    });
    answered.map_err(|mut error| {
        if error.place.is_empty() {
            error.place = asked.address.to_string();
        }
        error
    })
}

fn request(asked: Asked<'_>) -> Result<Request<super::transport::Body>, CallError> {
    let wrong = |place: String, what: &str| CallError::new(ErrorKind::BadInput, place, what);
    let mut request = Request::new(whole(asked.body.to_vec()));
    let method = Method::from_bytes(asked.method.to_ascii_uppercase().as_bytes());
    *request.method_mut() = method.map_err(|_| wrong("method".to_owned(), "no method of HTTP"))?;
    *request.uri_mut() = asked.address.uri().clone();
    let headers = request.headers_mut();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in asked.headers {
        let place = || format!("header {}", name.chars().take(40).collect::<String>());
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(place(), "no name of a header"))?;
        let value = HeaderValue::from_str(value.expose());
        let mut value = value.map_err(|_| wrong(place(), "it cannot carry its value"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let own = asked.address.auth().header().map_err(|why| wrong("header authorization".to_owned(), &why))?;
    if let (Some(own), false) = (own, headers.contains_key(AUTHORIZATION)) {
        headers.insert(AUTHORIZATION, own);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_bad_input() {
        let address = Address::parse("http://ann:pw@a/b").unwrap();
        let asked = |method, headers| {
            let (limit, timeout) = (10, Duration::from_secs(1));
            request(Asked { method, address: &address, headers, body: b"x", limit, timeout })
        };
        let made = asked("post", &[]).unwrap();
        assert_eq!((made.method(), made.uri().path()), (&Method::POST, "/b"));
        assert!(made.headers()[AUTHORIZATION].is_sensitive());
        assert_eq!(asked("a b", &[]).unwrap_err().place, "method");
        let header = |name: &str, value: &str| [(name.to_owned(), Secret::new(value.to_owned()))];
        for (wrong, place) in [(header("a b", "c"), "header a b"), (header("a", "c\n"), "header a")] {
            let (limit, timeout) = (10, Duration::from_secs(1));
            let asked =
                Asked { method: "get", address: &address, headers: &wrong, body: b"", limit, timeout };
            assert_eq!(request(asked).unwrap_err().place, place);
        }
    }
}
