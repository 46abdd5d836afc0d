//! Scrapes: what a target exposes, fetched over HTTP and read.

use std::fmt;
use std::time::Duration;

use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::time::Instant;

use crate::error::ErrorKind;
use crate::exposition::{DEFAULT_SAMPLE_LIMIT, Format, ParseError, ScrapedBody};
use crate::http::{Address, Auth, BodyError, HttpClient, Outgoing, read};

/// OpenMetrics before text, as Prometheus asks.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                        application/openmetrics-text;version=1.0.0;q=0.4,\
                        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                        text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// Who is scraped and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where its metrics are, such as `http://inverter:9100/metrics`.
    pub address: Address,
    /// Who asks; kept from other hosts that a redirect leads to.
    pub auth: Auth,
    /// The whole time from the first packet to the last byte. Above zero.
    pub timeout: Duration,
    /// Bytes that the answer may have, before and after decompression.
    pub body_limit: usize,
    /// Samples that the answer may have.
    pub sample_limit: usize,
    /// Whether samples keep the timestamps that the target gives them.
    pub honor_timestamps: bool,
}

impl Target {
    /// A target with the usual limits: 10 s, 10 MiB, timestamps honoured.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            auth: Auth::None,
            timeout: Duration::from_secs(10),
            body_limit: 10 << 20,
            sample_limit: DEFAULT_SAMPLE_LIMIT,
            honor_timestamps: true,
        }
    }
}

/// What a scrape brought.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// The samples.
    pub body: ScrapedBody,
    /// How long it took, reading included.
    pub duration: Duration,
    /// Bytes of the answer after decompression.
    pub bytes: usize,
    /// Number of samples.
    pub scraped: usize,
}

/// Why a scrape brought nothing. Names the host and no more of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeError {
    /// What failed.
    pub kind: ScrapeErrorKind,
    /// For people.
    pub message: String,
    /// How long it took.
    pub duration: Duration,
}

/// What failed of a scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScrapeErrorKind {
    /// Nobody answered, TLS failed, or the answer broke off.
    Connection,
    /// The time was over.
    TimedOut,
    /// The answer was no 200.
    Status,
    /// More bytes than the limit.
    TooLong,
    /// It is no exposition, or has more samples than the limit.
    Format,
}

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ScrapeError {}

type Failure = (ScrapeErrorKind, String);

/// Fetches a target's metrics and reads them. Ends at the latest after the target's time-out.
///
/// # Errors
/// What failed, with how long it took.
pub async fn scrape(client: &HttpClient, target: &Target) -> Result<Scrape, ScrapeError> {
    let start = Instant::now();
    let fetched = tokio::time::timeout(target.timeout, fetch(client, target)).await.unwrap_or_else(|_| {
        let message =
            format!("{} gave no whole answer within {} s", target.address, target.timeout.as_secs_f64());
        Err((ScrapeErrorKind::TimedOut, message))
    });
    let read = fetched.and_then(|(bytes, format, kind)| parse(target, bytes, format, kind.as_deref()));
    let duration = start.elapsed();
    match read {
        Ok((body, bytes)) => Ok(Scrape { duration, bytes, scraped: body.len(), body }),
        Err((kind, message)) => Err(ScrapeError { kind, message, duration }),
    }
}

/// The bytes of the answer, their form, and what the answer said it is.
async fn fetch(client: &HttpClient, target: &Target) -> Result<(Vec<u8>, Format, Option<String>), Failure> {
    let response = follow(client, target).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let message = format!("{} answered {status}, expected 200 OK", target.address);
        return Err((ScrapeErrorKind::Status, message));
    }
    let (head, body) = response.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let format = Format::announced(kind.as_deref())
        .map_err(|message| (ScrapeErrorKind::Format, format!("{}: {message}", target.address)))?;
    let bytes = read(&head.headers, body, target.body_limit).await.map_err(|error| {
        let kind = match error {
            BodyError::TooLong { .. } => ScrapeErrorKind::TooLong,
            BodyError::Broken(_) | BodyError::Unreadable(_) => ScrapeErrorKind::Connection,
        };
        (kind, format!("{}: {error}", target.address))
    })?;
    Ok((bytes, format, kind))
}

/// The answer behind all redirects.
async fn follow(client: &HttpClient, target: &Target) -> Result<Response<Incoming>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    if let Ok(seconds) = HeaderValue::from_str(&target.timeout.as_secs_f64().to_string()) {
        headers.insert(HeaderName::from_static("x-prometheus-scrape-timeout-seconds"), seconds);
    }
    let (address, auth) = (&target.address, &target.auth);
    let outgoing = Outgoing { method: Method::GET, address, auth, headers, body: Bytes::new() };
    client.follow(outgoing).await.map_err(|error| match error.kind {
        // A redirect that is not followed names its host itself.
        ErrorKind::BadAnswer if error.message.contains("redirects") => {
            (ScrapeErrorKind::Status, error.message)
        }
        _ => (ScrapeErrorKind::Connection, format!("{address} cannot be asked: {}", error.message)),
    })
}

fn parse(
    target: &Target,
    bytes: Vec<u8>,
    format: Format,
    kind: Option<&str>,
) -> Result<(ScrapedBody, usize), Failure> {
    let length = bytes.len();
    let body = ScrapedBody::parse(bytes, format, target.sample_limit);
    let mut body = body.map_err(|error| (ScrapeErrorKind::Format, unreadable(target, &error, kind)))?;
    if !target.honor_timestamps {
        body.drop_timestamps();
    }
    Ok((body, length))
}

/// The content type is told where it may be the reason.
fn unreadable(target: &Target, error: &ParseError, kind: Option<&str>) -> String {
    let kind = kind.unwrap_or("nothing");
    // Bounded: it is what a stranger wrote.
    let kind: String = kind.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("{} cannot be read as metrics: {error} (its content-type is {kind})", target.address)
}
