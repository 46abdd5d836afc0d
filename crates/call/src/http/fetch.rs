//! One thing behind an address: the document of a service.

use std::time::Duration;

use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use url::Url;

use super::{Address, Transport, collect};
use crate::error::{CallError, ErrorKind, Fault};
use crate::secret::Secret;

/// What was behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes, decompressed.
    pub bytes: Vec<u8>,
    /// What the server says that it is.
    pub content_type: Option<String>,
    /// Where it was in the end, behind all redirects.
    pub address: Address,
}

/// Gets what is behind an address: at most `limit` bytes within `timeout`, behind at most five redirects. Of the headers
/// none goes to another origin but `accept`. A login in the address is used where they have no `authorization`.
///
/// # Errors
/// `BadInput` (a header), `NotAllowed`, `Unreachable`, `Broken`, `TimedOut`, `TooLarge`, `BadAnswer`; `Fault` for each
/// status but 200.
pub async fn fetch(
    transport: &Transport,
    address: &Address,
    headers: &[(String, Secret)],
    limit: usize,
    timeout: Duration,
) -> Result<Fetched, CallError> {
    let request = request(address, headers)?;
    let fetched = tokio::time::timeout(timeout, get(transport, request, limit)).await;
    let fetched = fetched.unwrap_or_else(|_| {
        let message = format!("no whole answer within {} s", timeout.as_secs_f64());
        Err(CallError::new(ErrorKind::TimedOut, "", message))
    });
    fetched.map_err(|mut error| {
        if error.place.is_empty() {
            error.place = address.to_string();
        }
        error
    })
}

fn request(address: &Address, headers: &[(String, Secret)]) -> Result<Request<()>, CallError> {
    let mut request = Request::new(());
    *request.uri_mut() = address.uri().clone();
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    for (name, value) in headers {
        let wrong = |what: &str| {
            let name: String = name.chars().take(40).collect();
            CallError::new(
                ErrorKind::BadInput,
                format!("header {name}"),
                format!("it cannot carry its {what}"),
            )
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| wrong("value"))?;
        value.set_sensitive(name != ACCEPT);
        request.headers_mut().append(name, value);
    }
    let own = address.auth().header();
    let own = own.map_err(|message| CallError::new(ErrorKind::BadInput, "header authorization", message))?;
    if let (Some(own), false) = (own, request.headers().contains_key(AUTHORIZATION)) {
        request.headers_mut().insert(AUTHORIZATION, own);
    }
    Ok(request)
}

async fn get(transport: &Transport, request: Request<()>, limit: usize) -> Result<Fetched, CallError> {
    let (response, uri) = transport.follow(request).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let error = CallError::new(ErrorKind::Fault, "", format!("answered {status}, expected 200 OK"));
        let temporary = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        let (code, detail) = (status.as_u16().to_string(), serde_json::Value::Null);
        return Err(error.with_fault(Fault { code, status: status.as_u16(), temporary, detail }));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(str::to_owned);
    let bytes = collect(response, limit).await?;
    let url = Url::parse(&uri.to_string()).map_err(|error| error.to_string());
    let address = url.and_then(Address::of);
    let address = address.map_err(|message| CallError::new(ErrorKind::BadAnswer, "", message))?;
    Ok(Fetched { bytes, content_type, address })
}
