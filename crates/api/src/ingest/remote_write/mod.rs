//! The receiver of Prometheus remote write 1.0 and 2.0
//! (<https://prometheus.io/docs/specs/prw/remote_write_spec/>, <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>).

#[cfg(test)]
pub(crate) mod messages;
mod v1;
mod v2;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{Decoded, IngestOutcome, MAX_COMPRESSED, MAX_UNPACKED, decoded, keep, place};
use crate::{Problem, extract, server::App};

/// Which message a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Takes in samples of Prometheus remote write, 1.0 and 2.0.
///
/// Valid samples are kept even when others are refused, which is then answered with 400 and the reasons: sending them
/// again would not help. Native histograms and exemplars are counted and not kept.
#[utoipa::path(post, path = "/api/v1/write", tag = "series",
    request_body(content = Vec<u8>, content_type = "application/x-protobuf",
        description = "prometheus.WriteRequest or io.prometheus.write.v2.Request, packed with snappy"),
    responses((status = 204), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 415, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn write(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let version = match version(&headers) {
        Ok(version) => version,
        Err(problem) => return problem.into_response(),
    };
    let mut written = Written::default();
    let result = take(&app, version, body, &mut written).await;
    let mut response = match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    };
    if version == Version::Two {
        written.tell(response.headers_mut());
    }
    response
}

/// What 2.0 tells its sender.
#[derive(Debug, Default)]
struct Written {
    samples: u64,
}

impl Written {
    fn tell(&self, headers: &mut HeaderMap) {
        let kept = [
            ("x-prometheus-remote-write-samples-written", self.samples),
            ("x-prometheus-remote-write-histograms-written", 0),
            ("x-prometheus-remote-write-exemplars-written", 0),
        ];
        headers.extend(
            kept.map(|(name, count)| (header::HeaderName::from_static(name), HeaderValue::from(count))),
        );
    }
}

async fn take(app: &App, version: Version, body: Body, written: &mut Written) -> Result<(), Problem> {
    let packed = extract::bytes(body, MAX_COMPRESSED).await?;
    let _place = place(app).await?;
    let decoded = decoded(move || read(version, &packed)).await?;
    let IngestOutcome { accepted, refused } = keep(app, decoded).await?;
    written.samples = accepted;
    if refused.samples() == 0 {
        return Ok(());
    }
    Err(Problem::bad_request(format!("{accepted} samples were kept, {refused}")))
}

fn read(version: Version, packed: &[u8]) -> Result<Decoded, Problem> {
    let unpacked = unpack(packed)?;
    Ok(match version {
        Version::One => v1::decode(&unpacked)?,
        Version::Two => v2::decode(&unpacked)?,
    })
}

/// The bytes behind snappy's header, which says how many there will be.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, Problem> {
    let wrong = |error: snap::Error| {
        Problem::bad_request(format!("the body is not a snappy block: {error}; expected one without framing"))
    };
    if packed.is_empty() {
        return Err(wrong(snap::Error::Empty));
    }
    let len = snap::raw::decompress_len(packed).map_err(wrong)?;
    if len > MAX_UNPACKED {
        let detail = format!(
            "the body unpacks to {len} bytes, at most {MAX_UNPACKED} are taken: send fewer samples at once \
             (max_samples_per_send)"
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(wrong)
}

/// What the headers announce; a sender that says nothing means 1.0, as in Prometheus.
fn version(headers: &HeaderMap) -> Result<Version, Problem> {
    let refuse = |what: &str| {
        let detail = format!(
            "{what}: expected `Content-Type: application/x-protobuf`, with `;proto=prometheus.WriteRequest` or \
             `;proto=io.prometheus.write.v2.Request`, and `Content-Encoding: snappy`"
        );
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
    };
    let word = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if let Some(encoding) = word(header::CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("snappy")
    {
        return refuse(&format!("the content encoding is {encoding:?}"));
    }
    let Some(kind) = word(header::CONTENT_TYPE) else { return Ok(Version::One) };
    let mut parts = kind.split(';').map(str::trim);
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf")) {
        return refuse(&format!("the content type is {kind:?}"));
    }
    let proto = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("proto").then(|| value.trim().trim_matches('"'))
    });
    match proto {
        None | Some("prometheus.WriteRequest") => Ok(Version::One),
        Some("io.prometheus.write.v2.Request") => Ok(Version::Two),
        Some(other) => refuse(&format!("the message is {other:?}")),
    }
}

/// Names of the types of metrics in both versions, by their number.
fn kind(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_known_by_its_content_type() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            version(&headers.collect()).map_err(|problem| problem.status)
        };
        let v1 = "application/x-protobuf";
        let v2 = "application/x-protobuf; proto=io.prometheus.write.v2.Request";
        assert_eq!(of(&[]), Ok(Version::One));
        assert_eq!(of(&[("content-type", v1), ("content-encoding", "snappy")]), Ok(Version::One));
        assert_eq!(of(&[("content-type", v2), ("content-encoding", "snappy")]), Ok(Version::Two));
        assert_eq!(of(&[("content-type", "application/x-protobuf;proto=other")]), Err(415));
        assert_eq!(of(&[("content-type", "application/json")]), Err(415));
        assert_eq!(of(&[("content-encoding", "gzip")]), Err(415));
    }

    #[test]
    fn a_block_that_announces_too_much_is_refused_before_it_is_unpacked() {
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 0x01, 0x00];
        assert_eq!(unpack(&bomb).unwrap_err().status, 413);
        for wrong in [&b""[..], b"\x80", b"\x05abc", &[0xff; 12], b"\xff\x06\x00\x00sNaPpY"] {
            assert_eq!(unpack(wrong).unwrap_err().status, 400, "{wrong:?}");
        }
        let whole = snap::raw::Encoder::new().compress_vec(&[7; 1000]).unwrap();
        assert_eq!(unpack(&whole).unwrap(), [7; 1000]);
    }

    /// Series as an exporter of machines has them: ten labels, one sample each.
    fn typical(series: usize) -> messages::WriteRequest {
        let one = |n: usize| {
            let mut labels = messages::labels(&[
                ("__name__", "node_cpu_seconds_total"),
                ("cluster", "europe-west-1"),
                ("cpu", "0"),
                ("environment", "production"),
                ("instance", "10.0.0.7:9100"),
                ("job", "node-exporter"),
                ("mode", "iowait"),
                ("region", "eu-west-1"),
                ("service", "metering"),
                ("team", "platform"),
            ]);
            // In order, as the specification asks.
            labels[2].value = (n % 64).to_string();
            labels[4].value = format!("10.0.{}.7:9100", n / 64);
            let samples = vec![messages::Sample { value: n as f64, timestamp: 1_700_000_000_000 }];
            messages::TimeSeries { labels, samples, exemplars: Vec::new(), histograms: Vec::new() }
        };
        messages::WriteRequest { timeseries: (0..series).map(one).collect(), metadata: Vec::new() }
    }

    /// Samples decoded in a second, the best of ten tries.
    fn rate(count: usize, decode: impl Fn() -> usize) -> f64 {
        let seconds = (0..10).map(|_| {
            let began = std::time::Instant::now();
            assert_eq!(decode(), count);
            began.elapsed().as_secs_f64()
        });
        count as f64 / seconds.fold(f64::INFINITY, f64::min)
    }

    #[test]
    #[ignore = "slow: measures, and needs a core for itself"]
    fn how_fast_samples_are_decoded_on_one_core() {
        use prost::Message;
        let message = typical(10_000);
        let one = messages::packed(&message);
        let mut table = vec![String::new()];
        let mut known = std::collections::BTreeMap::new();
        let mut number = |text: &String| {
            *known.entry(text.clone()).or_insert_with(|| {
                table.push(text.clone());
                u32::try_from(table.len() - 1).unwrap()
            })
        };
        let timeseries = message.timeseries.iter().map(|series| messages::TimeSeries2 {
            labels_refs: series.labels.iter().flat_map(|l| [number(&l.name), number(&l.value)]).collect(),
            samples: series.samples.clone(),
            ..Default::default()
        });
        let timeseries = timeseries.collect();
        let two = messages::packed(&messages::Request { symbols: table, timeseries });
        let ours = |version, bytes: &[u8]| read(version, bytes).unwrap().batch.sample_count();
        let rates = [
            ("1.0", rate(10_000, || ours(Version::One, &one))),
            ("2.0", rate(10_000, || ours(Version::Two, &two))),
            (
                "1.0 by prost into structs",
                rate(10_000, || {
                    messages::WriteRequest::decode(unpack(&one).unwrap().as_slice()).unwrap().timeseries.len()
                }),
            ),
        ];
        for (what, rate) in rates {
            println!("{what}: {rate:.0} samples/s");
        }
    }
}
