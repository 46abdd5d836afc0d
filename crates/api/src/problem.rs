//! Errors as `application/problem+json` (RFC 9457): what is wrong, and what to do about it.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Role;

/// Why a request was not done. `detail` says what, where, what was expected and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status and title classify it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The class of problem, equal for equal statuses.
    pub title: String,
    /// HTTP status, 400…599.
    pub status: u16,
    /// This occurrence, for people.
    pub detail: String,
    /// For bad input: every problem found, with file, line, column and known names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<serde_json::Value>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl Problem {
    /// Any status; the title is the status's own name.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Problem").into(),
            status: status.as_u16(),
            detail: detail.into(),
            problems: Vec::new(),
        }
    }

    /// 422: manifests were read and found wrong; `problems` lists all of them.
    pub fn bad_input(problems: Vec<serde_json::Value>) -> Self {
        let detail = match problems.len() {
            1 => "the input has a problem; nothing was changed".to_owned(),
            n => format!("the input has {n} problems; nothing was changed"),
        };
        Self { problems, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404: no such thing; name the known ones in `detail`.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409: another manager owns it, or it changed meanwhile.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 503: something needed does not answer now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 500: a fault of the server.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(crate) fn forbidden(name: &str, have: Role, need: Role) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            format!(
                "`{name}` has the role {have} and this needs {need}: use a token with the role {need} or ask an admin for one"
            ),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sos\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_list_and_leaves_out_an_empty_one() {
        let one = serde_json::to_value(Problem::bad_input(vec![serde_json::json!({"line": 3})])).unwrap();
        assert_eq!(one["problems"][0]["line"], 3);
        assert_eq!(one["status"], 422);
        let none = serde_json::to_value(Problem::conflict("owned by `dir`")).unwrap();
        assert!(none.get("problems").is_none());
        assert_eq!(none["title"], "Conflict");
    }

    #[test]
    fn a_status_out_of_range_becomes_a_server_fault_instead_of_a_panic() {
        let odd = Problem { status: 7, ..Problem::internal("x") };
        assert_eq!(odd.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
