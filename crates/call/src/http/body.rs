//! Bodies of answers, read up to a limit and not a byte further.

use std::io::Write;

use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use super::full;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// More bytes than may be read.
    #[error("the answer is longer than {limit} bytes{}", announced.map_or(String::new(), |n| format!(" ({n} announced)")))]
    TooLong {
        /// What may be read.
        limit: usize,
        /// What the answer said itself.
        announced: Option<u64>,
    },
    /// It ended early.
    #[error("{0}")]
    Broken(String),
    /// All of it came, but it cannot be unpacked.
    #[error("{0}")]
    Unreadable(String),
}

/// The whole body, decompressed; `limit` bounds both what arrives and what becomes of it.
pub(crate) async fn read(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(BodyError::TooLong { limit, announced });
    }
    let coding = headers.get(CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?")).trim();
    let kept = Kept { bytes: vec![], limit };
    if coding.is_empty() || coding.eq_ignore_ascii_case("identity") {
        Ok(copy(body, kept).await?.bytes)
    } else if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
        let decoder = copy(body, MultiGzDecoder::new(kept)).await?;
        decoder.finish().map(|kept| kept.bytes).map_err(|error| broken(&error, limit))
    } else {
        let coding: String = coding.chars().take(40).collect();
        Err(BodyError::Unreadable(format!("expected content-encoding gzip or none, found `{coding}`")))
    }
}

/// The beginning of a body as text, for messages: at most `limit` bytes are read, however many there are.
pub(crate) async fn first_text(mut body: Incoming, limit: usize) -> String {
    let mut kept = vec![];
    while let Some(Ok(frame)) = body.frame().await {
        kept.extend_from_slice(
            frame.data_ref().map_or(&[], |data| &data[..data.len().min(limit - kept.len())]),
        );
        if kept.len() >= limit {
            break;
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

async fn copy<W: Limited>(mut body: Incoming, mut to: W) -> Result<W, BodyError> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| BodyError::Broken(format!("the answer broke off: {}", full(&error))))?;
        if let Some(data) = frame.data_ref() {
            to.write_all(data).map_err(|error| broken(&error, to.limit()))?;
        }
    }
    Ok(to)
}

fn broken(error: &std::io::Error, limit: usize) -> BodyError {
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => BodyError::TooLong { limit, announced: None },
        std::io::ErrorKind::UnexpectedEof => {
            BodyError::Unreadable("the gzip of the answer is cut off".to_owned())
        }
        _ => BodyError::Unreadable(format!("the gzip of the answer is broken: {error}")),
    }
}

/// Where bytes go that are counted.
trait Limited: Write {
    fn limit(&self) -> usize;
}

/// Bytes up to a limit; what goes beyond is an error.
struct Kept {
    bytes: Vec<u8>,
    limit: usize,
}

impl Limited for Kept {
    fn limit(&self) -> usize {
        self.limit
    }
}

impl Limited for MultiGzDecoder<Kept> {
    fn limit(&self) -> usize {
        self.get_ref().limit
    }
}

impl Write for Kept {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
