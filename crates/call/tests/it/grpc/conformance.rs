//! The conformance suite of connectrpc.com, with `examples/grpc_conformance.rs` as the client under test.

use std::path::PathBuf;
use std::process::Command;

use super::script;
use crate::skipped::skipped;

/// All that gRPC has; the suite also knows other protocols.
const FEATURES: &str = "
features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  stream_types: [STREAM_TYPE_UNARY, STREAM_TYPE_CLIENT_STREAM, STREAM_TYPE_SERVER_STREAM,
    STREAM_TYPE_HALF_DUPLEX_BIDI_STREAM, STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM]
  supports_h2c: true
  supports_tls: true
  supports_tls_client_certs: true
  supports_trailers: true
  supports_message_receive_limit: true
";

/// cargo builds examples with the tests, beside them.
fn client_under_test() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(std::path::Path::parent).unwrap().join("examples/grpc_conformance")
}

#[test]
fn every_case_of_the_conformance_suite_passes() {
    let program = client_under_test();
    if !program.exists() {
        return skipped(
            "examples/grpc_conformance is not built (cargo build --release -p sos-call --examples)",
        );
    }
    let Some(paths) = script("connectconformance.sh", &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("features.yaml");
    std::fs::write(&features, FEATURES).unwrap();
    let mut suite = Command::new(&paths[0]);
    suite.args(["--mode", "client", "--conf"]).arg(&features).arg("--").arg(program);
    let output = suite.env("SOS_CONFORMANCE_PROTO", &paths[1]).output().unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let passed = told.lines().find_map(|line| line.split_once(" passed, 0 failed"));
    let count: usize = passed.and_then(|(count, _)| count.trim().parse().ok()).unwrap_or_default();
    println!("{count} cases passed");
    assert!(output.status.success() && count > 600, "{told}");
}
