//! TLS: certificates from files, the protocol by ALPN, certificates that change.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Request;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sos_runtime::gateway::{GatewayOptions, TlsFiles};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::rig::*;
use crate::skipped::skipped;

/// A certificate for `localhost` with this name, in place of the one before. `None` without OpenSSL's program.
fn issue(files: &TlsFiles, name: &str) -> Option<()> {
    let folder = files.key.parent().unwrap();
    let (key, certificate) = (folder.join("new.key"), folder.join("new.pem"));
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    command.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost"]);
    command
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        skipped("OpenSSL's program `openssl` is missing");
        return None;
    }
    std::fs::rename(key, &files.key).unwrap();
    std::fs::rename(certificate, &files.certificates).unwrap();
    Some(())
}

fn files(folder: &Path) -> TlsFiles {
    TlsFiles { certificates: folder.join("web.pem"), key: folder.join("web.key") }
}

async fn connect(front: &Front, files: &TlsFiles, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.certificates).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(front.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn clients_come_by_tls_with_the_protocol_they_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let Some(()) = issue(&files, "web") else { return };
    let backend = Backend::http1(|request| async move {
        let seen = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        text(format!("{} {}", seen("x-forwarded-proto"), seen("via")))
    })
    .await;
    let mut route = replicated(web(), &[backend.address]);
    route.tls = Some(files.clone());
    let front = Front::new(route);
    for alpn in [vec![], vec!["http/1.1"]] {
        let stream = connect(&front, &files, &alpn).await.unwrap();
        let mut wire = Wire { stream, buffer: vec![] };
        assert_eq!(wire.get("/").await.text(), "https 1.1 sos");
    }
    let stream = connect(&front, &files, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut client = h2_over::<Body>(stream).await;
    let request = Request::get("https://localhost/").body(text("").into_body()).unwrap();
    let answer = client.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(answer, "https 2.0 sos");
    let mut plain = Wire::open(front.address).await;
    plain.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert_eq!(plain.answer().await, None, "without TLS nothing is answered");
}

#[tokio::test]
async fn a_certificate_that_changes_is_used_for_new_connections_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let Some(()) = issue(&files, "first") else { return };
    let backend = Backend::says("hello").await;
    let mut route = replicated(web(), &[backend.address]);
    route.tls = Some(files.clone());
    let options =
        GatewayOptions { certificates_every: Duration::from_millis(20), ..GatewayOptions::default() };
    let mut front = Front::with(options, route);
    let mut old = Wire { stream: connect(&front, &files, &[]).await.unwrap(), buffer: vec![] };
    assert_eq!(old.get("/").await.status, 200);
    issue(&files, "second").unwrap();
    // Only the new certificate is trusted now, so that a connection shows that it is in use.
    crate::rig::until("the new one is in use", async || connect(&front, &files, &[]).await.ok()).await;
    assert_eq!(old.get("/").await.status, 200, "connections go on");
    let good = std::fs::read(&files.certificates).unwrap();
    std::fs::write(&files.certificates, "nothing").unwrap();
    until("it is told", || front.measures().certificate_problem.is_some()).await;
    let problem = front.measures().certificate_problem.unwrap();
    assert!(problem.contains("web.pem") && problem.contains("BEGIN CERTIFICATE"), "{problem}");
    assert!(front.apply().problem.unwrap().contains("web.pem"));
    std::fs::write(&files.certificates, good).unwrap();
    until("it is well again", || front.measures().certificate_problem.is_none()).await;
    let mut wire = Wire { stream: connect(&front, &files, &[]).await.unwrap(), buffer: vec![] };
    assert_eq!(wire.get("/").await.status, 200);
}

#[tokio::test]
async fn a_certificate_that_is_missing_is_named_and_nothing_listens() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::says("hello").await;
    let mut front = Front::before(&[backend.address]);
    front.route.tls = Some(files(folder.path()));
    let applied = front.apply();
    assert!(applied.problem.unwrap().contains("web.pem: No such file"));
}
