//! Reading requests: every refusal is a problem that says what was expected.

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{FromRequestParts, Path as AxumPath, Query as AxumQuery},
    http::{StatusCode, request::Parts},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::Problem;

/// Query parameters; unknown ones are refused with the known names.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match AxumQuery::try_from_uri(&parts.uri) {
            Ok(AxumQuery(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::bad_request(format!("wrong query: {}", error.body_text()))),
        }
    }
}

/// Parts of the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::bad_request(format!("wrong path: {}", error.body_text()))),
        }
    }
}

/// The whole body, at most `limit` bytes.
pub(crate) async fn bytes(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail =
            format!("the body is larger than {limit} bytes, the most that is read: send it in parts");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    // A body that announces its size is refused before a byte of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    to_bytes(body, limit).await.map_err(|error| {
        let first: &dyn std::error::Error = &error;
        let mut causes = std::iter::successors(Some(first), |cause| cause.source());
        if causes.any(|cause| cause.to_string().contains("length limit exceeded")) {
            return too_large();
        }
        Problem::bad_request("the body ended early: send it again")
    })
}

/// A small JSON body. Read as JSON whatever its content type says; browsers are held off by the origin check.
pub(crate) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    json_up_to(body, 16 * 1024).await
}

/// A JSON body of at most so many bytes.
pub(crate) async fn json_up_to<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = bytes(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_request(format!("wrong JSON body: {error}")))
}

/// An RFC 3339 time of the query. A `+` that was not encoded arrives as a space and is taken for what it was.
pub(crate) fn time(name: &str, text: &str) -> Result<Timestamp, Problem> {
    text.replace(' ', "+").parse().map_err(|_| {
        Problem::bad_request(format!(
            "`{name}` is `{text}`: expected a time with offset such as 2016-08-01T00:00:00-08:00"
        ))
    })
}
