//! The receiver of OTLP metrics over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), translated to series as
//! Prometheus does it (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>).
//!
//! - `protobuf.rs`, `json.rs`: the two forms of a request.
//! - `translate.rs`: data points → samples; `names.rs`: names of metrics and labels.

mod json;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the integration tests, which use other parts")]
mod messages;
mod names;
mod point;
mod protobuf;
mod translate;

use std::io::Read;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{MAX_COMPRESSED, MAX_UNPACKED, decoded, keep, place};
use crate::{Problem, extract, server::App};
use translate::Translator;

/// Most bytes of a request in JSON unpacked, 4 MiB: read, it takes up to sixty times that.
const MAX_JSON: usize = 4 * 1024 * 1024;

/// The form of a request, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Takes in metrics of OTLP, under the path that Prometheus has for it.
///
/// Gauges, cumulative sums, histograms with explicit buckets and summaries become series; data points that cannot be kept
/// are counted in the answer's `partialSuccess`.
#[utoipa::path(post, path = "/api/v1/otlp/v1/metrics", tag = "series",
    request_body(content = Vec<u8>, content_type = "application/x-protobuf",
        description = "ExportMetricsServiceRequest, in protobuf or JSON, plain or packed with gzip"),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 413, body = Value),
        (status = 415, body = Value), (status = 503, body = Value)))]
pub(crate) async fn metrics(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    take(&app, &headers, body).await
}

/// Takes in metrics of OTLP, under the usual path of collectors.
#[utoipa::path(post, path = "/v1/metrics", tag = "series",
    request_body(content = Vec<u8>, content_type = "application/x-protobuf",
        description = "ExportMetricsServiceRequest, in protobuf or JSON, plain or packed with gzip"),
    responses((status = 200, body = Value), (status = 400, body = Value), (status = 413, body = Value),
        (status = 415, body = Value), (status = 503, body = Value)))]
pub(crate) async fn metrics_of_collectors(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take(&app, &headers, body).await
}

async fn take(app: &App, headers: &HeaderMap, body: Body) -> Response {
    let form = match form(headers) {
        Ok(form) => form,
        Err(problem) => return status(Form::Protobuf, &problem),
    };
    match taken(app, form, headers, body).await {
        Ok(partial) => success(form, partial),
        Err(problem) => status(form, &problem),
    }
}

/// Rejected data points and why.
type Partial = Option<(u64, String)>;

async fn taken(app: &App, form: Form, headers: &HeaderMap, body: Body) -> Result<Partial, Problem> {
    let gzip = is_gzip(headers)?;
    let packed = extract::bytes(body, MAX_COMPRESSED).await?;
    let _place = place(app).await?;
    let Translator { decoded: batch, rejected, points, .. } =
        decoded(move || read(form, gzip, packed)).await?;
    let refused = keep(app, batch).await?.refused;
    if rejected.points == 0 && refused.samples() == 0 {
        return Ok(None);
    }
    // A point may be several samples: never more points than came.
    let count = rejected.points.saturating_add(refused.samples()).min(points);
    let texts = [rejected.text(), if refused.samples() > 0 { refused.to_string() } else { String::new() }];
    Ok(Some((count, texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; "))))
}

fn read(form: Form, gzip: bool, packed: Bytes) -> Result<Translator, Problem> {
    let most = if form == Form::Json { MAX_JSON } else { MAX_UNPACKED };
    let bytes = if gzip { Bytes::from(unpack(&packed, most)?) } else { packed };
    if bytes.len() > most {
        return Err(too_large(most));
    }
    Ok(match form {
        Form::Protobuf => protobuf::decode(&bytes)?,
        Form::Json => json::decode(&bytes)?,
    })
}

fn too_large(most: usize) -> Problem {
    let detail =
        format!("the body unpacks to more than {most} bytes, the most that is taken: send smaller batches");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn unpack(packed: &[u8], most: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(packed).take(most as u64 + 1);
    reader.read_to_end(&mut bytes).map_err(|error| {
        Problem::bad_request(format!("the body is announced as gzip and is none: {error}"))
    })?;
    if bytes.len() > most { Err(too_large(most)) } else { Ok(bytes) }
}

fn word(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase())
}

fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let kind = word(headers, header::CONTENT_TYPE).unwrap_or_default();
    match kind.split(';').next().map(str::trim) {
        Some("application/x-protobuf") => Ok(Form::Protobuf),
        Some("application/json") => Ok(Form::Json),
        _ => {
            let detail = format!(
                "the content type is `{}`: expected application/x-protobuf or application/json",
                kind.escape_debug()
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    match word(headers, header::CONTENT_ENCODING).as_deref() {
        None | Some("" | "identity") => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => {
            let detail = format!("the content encoding is `{}`: expected gzip or none", other.escape_debug());
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// `ExportMetricsServiceResponse`.
fn success(form: Form, partial: Partial) -> Response {
    let body = match (form, partial) {
        (Form::Json, None) => b"{}".to_vec(),
        (Form::Json, Some((points, message))) => {
            // Integers of 64 bits are texts.
            let partial = json!({ "rejectedDataPoints": points.to_string(), "errorMessage": message });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
        (Form::Protobuf, None) => Vec::new(),
        (Form::Protobuf, Some((points, message))) => message_of(|w| {
            let partial = message_of(|w| {
                w.write_with_tag(8, |w| w.write_uint64(points))?;
                w.write_with_tag(18, |w| w.write_string(&message))
            });
            w.write_with_tag(10, |w| w.write_bytes(&partial))
        }),
    };
    ([(header::CONTENT_TYPE, form.content_type())], body).into_response()
}

/// A refusal as `google.rpc.Status`, with the same HTTP status.
fn status(form: Form, problem: &Problem) -> Response {
    // INVALID_ARGUMENT, UNAVAILABLE, or INTERNAL.
    let code = match problem.status {
        503 => 14,
        400..500 => 3,
        _ => 13,
    };
    let body = match form {
        Form::Json => json!({ "code": code, "message": problem.detail }).to_string().into_bytes(),
        Form::Protobuf => message_of(|w| {
            w.write_with_tag(8, |w| w.write_int32(code))?;
            w.write_with_tag(18, |w| w.write_string(&problem.detail))
        }),
    };
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, form.content_type())], body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
}

/// A small protobuf message; writing to memory cannot fail.
fn message_of(
    write: impl FnOnce(&mut quick_protobuf::Writer<&mut Vec<u8>>) -> quick_protobuf::Result<()>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = write(&mut quick_protobuf::Writer::new(&mut bytes));
    bytes
}

/// A value as the text of a label: a text as it is, nothing as nothing, everything else as JSON.
fn shown(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, sos_watch::format::float)
        }
        other => other.to_string(),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "slow: measures, and needs a core for itself"]
    fn how_fast_points_are_decoded_on_one_core() {
        let message = prost::Message::encode_to_vec(&messages::many(10_000));
        let seconds = (0..10).map(|_| {
            let began = std::time::Instant::now();
            let read = protobuf::decode(&message).unwrap();
            assert_eq!(read.decoded.batch.sample_count(), 10_000);
            began.elapsed().as_secs_f64()
        });
        let rate = 10_000.0 / seconds.fold(f64::INFINITY, f64::min);
        println!("OTLP: {rate:.0} samples/s");
    }

    #[test]
    fn bytes_are_written_in_base64() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes), text);
        }
    }

    #[test]
    fn a_body_that_unpacks_to_too_much_is_not_unpacked_to_its_end() {
        use std::io::Write;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 10_000_000]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(unpack(&packed, 9_999_999).unwrap_err().status, 413);
        assert_eq!(unpack(&packed, 10_000_000).unwrap().len(), 10_000_000);
        assert_eq!(unpack(b"plain", 100).unwrap_err().status, 400);
    }
}
