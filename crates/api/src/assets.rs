//! The dashboard's files: embedded by the build, compressed beforehand, cached by content.

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::fmt::Write;

use crate::Problem;

/// What the build put together (`build.rs`); a file `x` may have `x.br` and `x.gz` beside it.
#[derive(RustEmbed)]
#[folder = "$SOS_DASHBOARD_DIR"]
struct Dashboard;

/// The encodings the build prepares, the smallest first.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Everything that no route takes: a file of the dashboard, or a problem.
///
/// The files hold no data of the installation, so they need no token: the login happens on the page.
pub(crate) async fn serve(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") {
        let detail = format!("there is no `{path}`: /api/v1/openapi.json lists what is");
        return Problem::not_found(detail).into_response();
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Problem::new(StatusCode::METHOD_NOT_ALLOWED, "pages are only read: commands go to /api/v1")
            .into_response();
    }
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let hidden = name.starts_with('.') || name.ends_with(".br") || name.ends_with(".gz");
    match Dashboard::get(name) {
        Some(file) if !hidden => answer(name, file, request.headers()),
        _ => Problem::not_found(format!("there is no page `{path}`: the dashboard is at /")).into_response(),
    }
}

fn answer(name: &str, plain: EmbeddedFile, headers: &HeaderMap) -> Response {
    let mime = plain.metadata.mimetype().to_owned();
    let chosen = ENCODINGS.iter().find_map(|(encoding, suffix)| {
        let file = accepts(headers, encoding).then(|| Dashboard::get(&format!("{name}{suffix}")))??;
        Some((Some(*encoding), file))
    });
    let (encoding, file) = chosen.unwrap_or((None, plain));
    let tag = etag(&file);
    // File names below assets/ carry a hash of their content, so they never change.
    let cache = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = if matches_tag(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match file.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes).into_response(),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes).into_response(),
        }
    };
    let out = response.headers_mut();
    let text = mime.starts_with("text/") || mime.ends_with("javascript") || mime.ends_with("json");
    let mime = if text { format!("{mime}; charset=utf-8") } else { mime };
    let values = [(header::CONTENT_TYPE, mime), (header::ETAG, tag), (header::CACHE_CONTROL, cache.into())];
    for (key, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            out.insert(key, value);
        }
    }
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Differs between encodings of the same file, as their bytes do.
fn etag(file: &EmbeddedFile) -> String {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    let Some(known) = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) else { return false };
    known.split(',').map(|t| t.trim().trim_start_matches("W/")).any(|t| t == tag || t == "*")
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|item| {
        let (name, quality) = item.split_once(';').unwrap_or((item, "q=1"));
        let quality = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        name.trim().eq_ignore_ascii_case(encoding) && quality > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_that_is_refused_is_not_sent() {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, "gzip, br;q=0".parse().unwrap())]);
        assert!(accepts(&headers, "gzip"));
        assert!(!accepts(&headers, "br"));
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }
}
