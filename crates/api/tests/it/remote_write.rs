use reqwest::{Method, Response};
use sos_watch::STALE;

use crate::messages::{
    Label, Metadata2, MetricMetadata, Request, Sample, TimeSeries, TimeSeries2, WriteRequest, labels, packed,
};
use crate::server::{Server, problem};

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

async fn send(server: &Server, kind: &str, body: Vec<u8>) -> Response {
    let request = server.ask(Method::POST, "/api/v1/write").bearer_auth("operator-token");
    let request = request.header("content-type", kind).header("content-encoding", "snappy");
    request.header("x-prometheus-remote-write-version", "0.1.0").body(body).send().await.unwrap()
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let samples = samples.iter().map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value });
    TimeSeries { labels: labels(pairs), samples: samples.collect(), ..TimeSeries::default() }
}

fn ingested(server: &Server) -> Vec<String> {
    server.fake.ingested.lock().unwrap().iter().map(|(text, samples)| format!("{text} {samples:?}")).collect()
}

#[tokio::test]
async fn samples_of_1_0_are_kept_with_their_labels_and_descriptions() {
    let server = Server::start().await;
    let mut first =
        series(&[("__name__", "up"), ("job", "<b>\"é\n"), ("a", "1")], &[(-5, 1.5), (7, f64::NAN)]);
    first.exemplars.push(Sample { value: 1.0, timestamp: 1 });
    first.histograms.push(Sample { value: 1.0, timestamp: 1 });
    let metadata = MetricMetadata {
        kind: 2,
        metric_family_name: "up".into(),
        help: "whether it answers".into(),
        unit: "ratio".into(),
    };
    let message = WriteRequest {
        timeseries: vec![first, series(&[("__name__", "down")], &[(9, STALE)])],
        metadata: vec![metadata],
    };
    let response = send(&server, V1, packed(&message)).await;
    assert_eq!(response.status(), 204);
    assert!(!response.headers().contains_key("x-prometheus-remote-write-samples-written"));
    assert_eq!(ingested(&server), [r#"up{a="1",job="<b>\"é\n"} [(-5, 1.5), (7, NaN)]"#, "down{} [(9, NaN)]"]);
    let stale = server.fake.ingested.lock().unwrap()[1].1[0].1;
    assert!(sos_watch::series::is_stale(stale), "the marker keeps its bits");
    assert_eq!(*server.fake.described.lock().unwrap(), [r#"up gauge "whether it answers" "ratio""#]);
    let metrics = server.admin(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "sos_api_ingest_samples_total 3",
        "sos_api_ingest_native_histograms_total 1",
        "sos_api_ingest_exemplars_total 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn samples_of_2_0_are_kept_and_counted_in_the_answers_headers() {
    let server = Server::start().await;
    let symbols = ["", "__name__", "up", "job", "a", "help", "s"].map(str::to_owned).to_vec();
    let one = TimeSeries2 {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![Sample { value: 1.0, timestamp: 3 }, Sample { value: 2.0, timestamp: 4 }],
        histograms: vec![Sample { value: 1.0, timestamp: 1 }],
        exemplars: vec![Sample { value: 1.0, timestamp: 1 }; 2],
        metadata: Some(Metadata2 { kind: 1, help_ref: 5, unit_ref: 6 }),
    };
    let mut nameless = one.clone();
    nameless.labels_refs = vec![3, 4];
    let response =
        send(&server, V2, packed(&Request { symbols: symbols.clone(), timeseries: vec![one.clone()] })).await;
    assert_eq!(response.status(), 204);
    let written = |response: &Response| {
        ["samples", "histograms", "exemplars"].map(|what| {
            response.headers()[format!("x-prometheus-remote-write-{what}-written")]
                .to_str()
                .unwrap()
                .to_owned()
        })
    };
    assert_eq!(written(&response), ["2", "0", "0"]);
    assert_eq!(ingested(&server), [r#"up{job="a"} [(3, 1.0), (4, 2.0)]"#]);
    assert_eq!(*server.fake.described.lock().unwrap(), [r#"up counter "help" "s""#]);

    let half = send(
        &server,
        V2,
        packed(&Request { symbols: symbols.clone(), timeseries: vec![nameless, one.clone()] }),
    )
    .await;
    assert_eq!(written(&half), ["2", "0", "0"]);
    let detail = problem(half, 400).await.detail;
    assert!(
        detail.contains("2 samples were kept, 2 samples were refused") && detail.contains("__name__"),
        "{detail}"
    );

    for (refs, symbols, part) in [
        (vec![1, 2, 3], symbols.clone(), "odd length"),
        (vec![1, 7], symbols.clone(), "symbol 7; there are 7"),
        (vec![1, 2], vec!["not empty".to_owned(), "__name__".to_owned(), "up".to_owned()], "first symbol"),
    ] {
        let mut wrong = one.clone();
        wrong.labels_refs = refs;
        let response = send(&server, V2, packed(&Request { symbols, timeseries: vec![wrong] })).await;
        assert_eq!(written(&response), ["0", "0", "0"]);
        let detail = problem(response, 400).await.detail;
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test]
async fn valid_samples_stay_when_others_are_refused() {
    let server = Server::start().await;
    let message = WriteRequest {
        timeseries: vec![
            series(&[("__name__", "good")], &[(1, 1.0)]),
            series(&[("__name__", "bad name")], &[(1, 1.0), (2, 1.0)]),
            series(&[("__name__", "one_too_many")], &[(1, 1.0)]),
            series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(1, 1.0)]),
        ],
        metadata: Vec::new(),
    };
    let detail = problem(send(&server, V1, packed(&message)).await, 400).await.detail;
    for part in
        ["1 samples were kept, 4 samples were refused", "bad name", "too many series of this name", "twice"]
    {
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    assert_eq!(ingested(&server), ["good{} [(1, 1.0)]"]);
}

#[tokio::test]
async fn what_cannot_be_stored_now_is_to_be_sent_again() {
    let server = Server::start().await;
    let message = WriteRequest {
        timeseries: vec![series(&[("__name__", "disk_full")], &[(1, 1.0)])],
        ..Default::default()
    };
    let response = send(&server, V1, packed(&message)).await;
    assert!(response.headers().contains_key("retry-after"));
    assert!(problem(response, 503).await.detail.contains("disk is full"));
}

#[tokio::test]
async fn what_is_no_message_is_refused_for_good() {
    let server = Server::start().await;
    let snappy = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let not_text =
        WriteRequest { timeseries: vec![series(&[("__name__", "aaaa")], &[(1, 1.0)])], ..Default::default() };
    let mut not_text = prost::Message::encode_to_vec(&not_text);
    let at = not_text.windows(4).position(|w| w == b"aaaa").unwrap();
    not_text[at] = 0xff;
    for (body, status, part) in [
        (b"plain text".to_vec(), 400, "snappy"),
        (Vec::new(), 400, "snappy"),
        (snappy(b"\x0a\x05abc"), 400, "malformed protobuf in WriteRequest"),
        (snappy(b"\x0a\x02\x0a\x09"), 400, "malformed protobuf in TimeSeries"),
        (snappy(&not_text), 400, "not UTF-8"),
        // The header announces 4 GB.
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 0x01, 0x00], 413, "4294967295 bytes"),
        (snappy(&vec![0; 33 * 1024 * 1024]), 413, "34603008 bytes"),
        (vec![0; 4 * 1024 * 1024 + 1], 413, "4194304 bytes"),
    ] {
        let detail = problem(send(&server, V1, body).await, status).await.detail;
        assert!(detail.contains(part), "{detail}");
    }
    // Half a million samples of two bytes each, three times: more than one request may bring.
    let empty_samples = [0x12, 0x00].repeat(1_000_001);
    let mut many = vec![0x0a];
    prost::encode_length_delimiter(empty_samples.len(), &mut many).unwrap();
    many.extend(empty_samples);
    let detail = problem(send(&server, V1, snappy(&many)).await, 413).await.detail;
    assert!(detail.contains("more than 1000000 samples"), "{detail}");
    for (kind, encoding) in
        [("application/json", "snappy"), (V1, "gzip"), ("application/x-protobuf;proto=x", "snappy")]
    {
        let request = server.ask(Method::POST, "/api/v1/write").bearer_auth("operator-token");
        let response =
            request.header("content-type", kind).header("content-encoding", encoding).send().await.unwrap();
        assert!(problem(response, 415).await.detail.contains("application/x-protobuf"));
    }
    assert!(ingested(&server).is_empty());
}

#[tokio::test]
async fn requests_beyond_the_places_wait_for_their_turn() {
    let server = Server::with(|options| options.max_ingests = 1).await;
    let one = |n: usize| {
        let labels = vec![Label { name: "__name__".into(), value: format!("m{n}") }];
        let samples = vec![Sample { value: 1.0, timestamp: 1 }];
        let one = TimeSeries { labels, samples, ..Default::default() };
        packed(&WriteRequest { timeseries: vec![one], ..Default::default() })
    };
    let all = futures::future::join_all((0..32).map(|n| send(&server, V1, one(n)))).await;
    assert!(all.iter().all(|response| response.status() == 204));
    assert_eq!(ingested(&server).len(), 32);
}
