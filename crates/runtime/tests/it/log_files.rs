//! Logs that services and `sos` wrote, searched; and how long that takes.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sos_runtime::{
    Driver, EnvValue, EnvVar, Level, LogQuery, LogRotation, LogSource, LogStream, RotatingFile, SecretValues,
    describe_deployment, load_configuration, search,
};

use crate::logs::{TRACES, at, rotated};
use crate::rig::{Rig, clock, exited};

/// Writes with tracing's own formatter, as the binary does.
fn log_of_sos(path: &Path, rule: LogRotation, lines: u32) {
    let file = RotatingFile::open(path, rule).unwrap();
    let subscriber = tracing_subscriber::fmt().json().with_writer(Mutex::new(file)).finish();
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..lines {
            let _span = tracing::info_span!("request", trace_id = TRACES[0]).entered();
            tracing::warn!(number, "deployed a service");
        }
        tracing::info!("outside of the trace");
    });
}

#[test]
fn what_sos_logs_is_found_with_level_trace_and_fields() {
    let dir = tempfile::tempdir().unwrap();
    let source = LogSource::new("sos", "sos", dir.path().join("logs/sos.log"));
    let before = clock();
    log_of_sos(&source.path, LogRotation { max_bytes: 10_000, keep: 100 }, 500);
    assert!(rotated(&source.path, 5).exists());
    let query = LogQuery {
        trace_id: Some(TRACES[0].into()),
        level: Some(Level::Warn),
        limit: 1000,
        newest_first: false,
        ..LogQuery::default()
    };
    let answer = search(std::slice::from_ref(&source), &query).unwrap();
    assert_eq!(answer.records.len(), 500);
    for (number, record) in answer.records.iter().enumerate() {
        assert_eq!((record.message.as_str(), record.level), ("deployed a service", Some(Level::Warn)));
        assert_eq!(record.fields["number"], number);
        // tracing writes microseconds.
        assert!(record.time_exact && record.time.unwrap().as_microsecond() >= before.as_microsecond());
    }
    let newest = search(&[source], &LogQuery { limit: 1, ..LogQuery::default() }).unwrap();
    assert_eq!((newest.records[0].message.as_str(), newest.truncated), ("outside of the trace", true));
    assert_eq!(newest.records[0].trace_id, None);
}

#[tokio::test]
async fn a_trace_leads_through_the_logs_of_all_replicas_also_of_those_that_are_gone() {
    let rig = Rig::new();
    let driver = rig.driver().await;
    let trace = TRACES[0];
    let script =
        format!("echo level=warn msg=out trace_id={trace}; echo no trace; echo trace={trace} err >&2");
    for (name, run) in [("a", None), ("job", Some("r-1")), ("job", Some("r-2"))] {
        let mut service = rig.shell(name, &script);
        service.env = vec![EnvVar { name: "TZ".into(), value: EnvValue::Plain("Asia/Tokyo".into()) }];
        let config = load_configuration(&service, 0, 1, run).unwrap();
        let metadata = driver.resolve(&config).await.unwrap();
        let deployment = describe_deployment(&config, &metadata).unwrap();
        driver.deploy(&deployment, &SecretValues::new(), clock()).await.unwrap();
        exited(&driver, &deployment.replica).await;
    }
    driver.forget("a-0").await.unwrap();
    log_of_sos(&rig.path().join("data/logs/sos.log"), LogRotation::default(), 1);

    let sources = driver.log_sources(&TimeZone::UTC).unwrap();
    let names: Vec<_> =
        sources.iter().map(|s| (s.service.as_str(), s.replica.as_str(), s.runs.len())).collect();
    assert_eq!(names, [("a", "a-0", 0), ("job", "job-0", 2), ("sos", "sos", 0)]);
    assert_eq!(sources[1].zone.iana_name(), Some("Asia/Tokyo"));
    assert_eq!(sources[0].zone, TimeZone::UTC);

    let find = async |query: LogQuery| {
        let answer = driver.search_logs(query, TimeZone::UTC).await.unwrap().unwrap();
        assert_eq!((answer.truncated, answer.problems), (false, vec![]));
        answer.records
    };
    let records = find(LogQuery { trace_id: Some(trace.into()), ..LogQuery::default() }).await;
    let mut services: Vec<_> = records.iter().map(|record| record.service.as_str()).collect();
    services.sort_unstable();
    assert_eq!(services, ["a", "a", "job", "job", "job", "job", "sos"]);
    let records = find(LogQuery { services: vec!["job".into()], ..LogQuery::default() }).await;
    assert_eq!(records.len(), 6);
    // Without times of their own, lines of short runs can only be told to be of one of the runs.
    let of_run = find(LogQuery { run: Some("r-2".into()), ..LogQuery::default() }).await;
    assert!(of_run.iter().all(|record| record.replica == "job-0" && record.run.as_deref() == Some("r-2")));
    assert!(
        driver
            .search_logs(LogQuery { limit: 0, ..LogQuery::default() }, TimeZone::UTC)
            .await
            .unwrap()
            .is_err()
    );
}

/// A service's log of about 105 MiB in files of 10 MiB; one line in `every` is of the trace.
fn large_log(folder: &Path, number: usize, every: usize) -> LogSource {
    let source =
        LogSource::new(format!("s{number}"), format!("s{number}-0"), folder.join(format!("s{number}-0.log")));
    let (files, lines) = (10, 52_000);
    for file in 0..=files {
        let path =
            if file == files { source.path.clone() } else { rotated(&source.path, (files - file) as u32) };
        let mut log = std::io::BufWriter::new(File::create(&path).unwrap());
        for line in file * lines..(file + 1) * lines {
            let time = Timestamp::from_millisecond(1_767_323_000_000 + line as i64 * 10).unwrap();
            let trace =
                if line % every == number { TRACES[0].into() } else { format!("{:032x}", line * 7919 + 1) };
            let text = match number % 3 {
                0 => format!(
                    r#"{{"timestamp":"{time}","level":"INFO","fields":{{"message":"handled a request","n":{line}}},"target":"x","span":{{"trace_id":"{trace}","name":"request"}}}}"#
                ),
                1 => format!(
                    "ts={time} level=info msg=\"handled a request of a client\" status=200 duration_ms={line} traceID={trace} path=/api/v1/items"
                ),
                _ => format!(
                    "{time}  INFO service::http: handled a request of a client in {line} ms with status 200 trace_id={trace} and so on"
                ),
            };
            writeln!(log, "{text}").unwrap();
        }
        log.into_inner()
            .unwrap()
            .set_modified(
                SystemTime::UNIX_EPOCH
                    + Duration::from_millis(1_767_323_000_000 + ((file + 1) * lines) as u64 * 10),
            )
            .unwrap();
    }
    source
}

#[test]
#[ignore = "slow: writes a gigabyte"]
fn a_trace_in_a_gigabyte_is_found_in_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<_> = (0..10).map(|number| large_log(dir.path(), number, 500_000)).collect();
    let base = LogQuery::default;
    let at_minute = |minute: i64| at(minute * 60);
    for (what, query) in [
        ("one trace", LogQuery { trace_id: Some(TRACES[0].into()), ..base() }),
        ("one trace again", LogQuery { trace_id: Some(TRACES[0].into()), ..base() }),
        ("a text that is nowhere", LogQuery { contains: Some("Not There".into()), ..base() }),
        ("a text that is everywhere", LogQuery { contains: Some("Handled".into()), limit: 5000, ..base() }),
        ("a level that is nowhere", LogQuery { level: Some(Level::Error), ..base() }),
        ("a stream that is nowhere", LogQuery { stream: Some(LogStream::Stdout), ..base() }),
        ("the newest 100", base()),
        ("the oldest 100", LogQuery { newest_first: false, ..base() }),
        (
            "a minute",
            LogQuery { since: Some(at_minute(50)), until: Some(at_minute(51)), limit: 5000, ..base() },
        ),
    ] {
        let begin = Instant::now();
        let answer = search(&sources, &query).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "{what}: {} records, {} MiB in {seconds:.3} s, bound reached: {}",
            answer.records.len(),
            answer.scanned_bytes >> 20,
            answer.scan_limit_reached,
        );
        if query.trace_id.is_some() {
            assert_eq!(answer.records.len(), 20, "two in each of ten logs");
            assert!(seconds < 10.0, "{seconds}");
        }
    }
}
