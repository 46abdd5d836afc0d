//! Files of faults and conducts.

use sos_runtime::simulated::{Conduct, Fault, FaultKind, FaultTarget, FaultTime, Faults};
use sos_runtime::{Exit, SimulatedOptions};

use super::{at, seconds};

#[test]
fn a_file_is_read_with_blank_lines_and_comments() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(SimulatedOptions::from_dir(dir.path()).unwrap(), SimulatedOptions::new(dir.path()), "no file");
    let text = r#"
# The first day.
{"at": "2026-01-01T00:00:05Z", "replica": "web-0", "fault": "crash", "code": 1}

  {"after": "2 min", "service": "web", "fault": "hung", "for": "500ms"}
{"after": "1h", "fault": "unanswered"}
{"service": "web", "conduct": {"startAfter": "2s", "deaf": true, "exit": {"code": 7}, "cpu": 0.1, "memory": "64Mi"}}
{"service": "api", "conduct": {}}
"#;
    std::fs::write(dir.path().join("simulated.jsonl"), text).unwrap();
    let options = SimulatedOptions::from_dir(dir.path()).unwrap();
    let faults = [
        Fault {
            time: FaultTime::At(at(5.0)),
            target: FaultTarget::Replica("web-0".into()),
            kind: FaultKind::Crash { code: 1 },
        },
        Fault {
            time: FaultTime::After(seconds(120.0)),
            target: FaultTarget::Service("web".into()),
            kind: FaultKind::Hung { lasts: Some(seconds(0.5)) },
        },
        Fault {
            time: FaultTime::After(seconds(3600.0)),
            target: FaultTarget::All,
            kind: FaultKind::Unanswered,
        },
    ];
    assert_eq!(options.faults.all(), faults);
    let web = Conduct {
        start_after: seconds(2.0),
        exit: Some((seconds(0.0), Exit::Code(7))),
        stops_in: None,
        cpu: 0.1,
        memory_bytes: 64 << 20,
    };
    assert_eq!(options.conducts, [("api".into(), Conduct::default()), ("web".into(), web)].into());
}

/// Lines that are wrong, and what is said about them.
const WRONG: &[(&str, &str)] = &[
    ("crash", "the line is no JSON (expected value at line 1 column 1); expected a JSON object"),
    ("[1]", "the line is [1]; expected a JSON object"),
    (r#"{"after": "5s"}"#, "fault is missing; expected a text"),
    (
        r#"{"after": "5s", "fault": "melted"}"#,
        "fault is \"melted\"; expected one of crash, signal, out-of-memory, not-started, hung, deaf, slow-start, away, lost, unanswered",
    ),
    (
        r#"{"fault": "lost"}"#,
        "at is missing; expected a time such as \"2026-01-01T00:00:05Z\", or instead of it after: a duration",
    ),
    (
        r#"{"at": "yesterday", "fault": "lost"}"#,
        "at is \"yesterday\"; expected a time such as \"2026-01-01T00:00:05Z\", or instead of it after: a duration",
    ),
    (
        r#"{"at": "2026-01-01T00:00:05Z", "after": "5s", "fault": "lost"}"#,
        "after is given beside at; expected one of both",
    ),
    (
        r#"{"after": "5s", "replica": "a-0", "service": "a", "fault": "lost"}"#,
        "service is given beside replica; expected one of both",
    ),
    (r#"{"after": 5, "fault": "lost"}"#, "after is 5; expected a duration such as \"5s\" or \"2 min\""),
    (
        r#"{"after": "-5s", "fault": "lost"}"#,
        "after is \"-5s\"; expected a duration such as \"5s\" or \"2 min\"",
    ),
    (r#"{"after": "5s", "fault": "crash"}"#, "code is missing; expected a whole number of at most 32 bits"),
    (
        r#"{"after": "5s", "fault": "crash", "code": 0.5}"#,
        "code is 0.5; expected a whole number of at most 32 bits",
    ),
    (
        r#"{"after": "5s", "fault": "signal", "signal": 65}"#,
        "signal is 65; expected the number of a signal, 1 to 64",
    ),
    (
        r#"{"after": "5s", "fault": "not-started"}"#,
        "for is missing; expected a duration such as \"5s\" or \"2 min\"",
    ),
    (
        r#"{"after": "5s", "fault": "not-started", "for": "1s", "reason": ""}"#,
        "reason is \"\"; expected a text",
    ),
    (
        r#"{"after": "5s", "fault": "slow-start", "for": "5s"}"#,
        "by is missing; expected a duration such as \"5s\" or \"2 min\"",
    ),
    (
        r#"{"after": "5s", "fault": "deaf", "for": "5s"}"#,
        "for is not known here; expected one of fault, at, after, replica, service",
    ),
    (
        r#"{"after": "5s", "fault": "away", "for": "5s", "replica": "web-0"}"#,
        "replica is not known here; expected one of fault, at, after, for",
    ),
    (r#"{"service": "web", "conduct": 5}"#, "conduct is 5; expected an object"),
    (r#"{"conduct": {}}"#, "service is missing; expected a text"),
    (
        r#"{"service": "web", "conduct": {"start_after": "2s"}}"#,
        "conduct.start_after is not known here; expected one of startAfter, exit, stopsIn, deaf, cpu, memory",
    ),
    (
        r#"{"service": "web", "conduct": {"stopsIn": "2s", "deaf": true}}"#,
        "conduct.deaf is given beside stopsIn; expected one of both",
    ),
    (
        r#"{"service": "web", "conduct": {"cpu": -1}}"#,
        "conduct.cpu is -1; expected a number of processors, from 0",
    ),
    (
        r#"{"service": "web", "conduct": {"memory": "much"}}"#,
        "conduct.memory is \"much\"; expected an amount of memory such as \"64 MiB\"",
    ),
    (
        r#"{"service": "web", "conduct": {"exit": {"after": "5s"}}}"#,
        "conduct.exit.code is missing; expected a whole number of at most 32 bits",
    ),
    (
        r#"{"service": "other", "conduct": {}}"#,
        "service is \"other\", whose conduct is given twice; expected one conduct for each service",
    ),
];

#[test]
fn what_is_wrong_is_told_with_file_line_field_and_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("simulated.jsonl");
    for (line, why) in WRONG {
        let text = format!("# What goes wrong.\n{{\"service\": \"other\", \"conduct\": {{}}}}\n\n{line}\n");
        std::fs::write(&path, text).unwrap();
        let error = SimulatedOptions::from_dir(dir.path()).unwrap_err().full();
        assert_eq!(error, format!("{}:4: {why}", path.display()));
    }
}

#[test]
fn a_file_of_faults_alone_has_no_conducts_and_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("faults.jsonl");
    let error = Faults::read(&path).unwrap_err().full();
    assert!(error.contains("faults.jsonl") && error.contains("No such file"), "{error}");
    std::fs::write(&path, "\n{\"after\": \"1s\", \"fault\": \"lost\"}\n").unwrap();
    assert_eq!(Faults::read(&path).unwrap().all().len(), 1);
    let error = Faults::parse(r#"{"service": "web", "conduct": {}}"#, "faults").unwrap_err();
    assert_eq!(error.to_string(), "faults:1: conduct is not known here; expected a fault");
}
