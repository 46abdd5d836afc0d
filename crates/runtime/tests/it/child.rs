//! This test binary, started again as a service.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;

use sos_runtime::ServiceConfig;

use crate::rig::Rig;

/// A service that runs this binary in one of the modes below.
pub(crate) fn service(rig: &Rig, name: &str, mode: &str) -> ServiceConfig {
    let mut service = rig.shell(name, "");
    service.program = std::env::current_exe().unwrap().to_str().unwrap().into();
    service.args =
        ["--ignored", "--exact", "child::child_of_other_tests", "--nocapture"].map(String::from).to_vec();
    service.env = vec![rig.plain("SOS_TEST_MODE", mode)];
    service.labels = BTreeMap::new();
    service
}

/// Not a test: what the child does.
#[test]
#[ignore = "child: started by other tests as a service"]
fn child_of_other_tests() {
    match std::env::var("SOS_TEST_MODE").as_deref() {
        Ok("serve") => serve(),
        Ok("eat") => eat(),
        Ok("replica") => replica(),
        _ => {}
    }
}

/// Answers every request: `/ok` with 200, `/here` with a redirect to `/ok`, `/away` with one to another host.
fn serve() {
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let (status, extra) = match request.split(' ').nth(1) {
            Some("/ok") => ("200 OK", ""),
            Some("/here") => ("302 Found", "Location: /ok\r\n"),
            Some("/away") => ("302 Found", "Location: http://192.0.2.1/\r\n"),
            Some("/hang") => {
                std::mem::forget(stream);
                continue;
            }
            _ => ("500 Internal Server Error", ""),
        };
        let answer = format!("HTTP/1.1 {status}\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n");
        let _gone = stream.write_all(answer.as_bytes());
    }
}

/// Takes ever more memory.
fn eat() {
    let mut meal = vec![];
    loop {
        meal.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Answers every request after some milliseconds of work, and prints where.
#[expect(clippy::print_stdout, reason = "whoever started it reads the address")]
fn replica() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on {}", listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let work = hyper::service::service_fn(|_| async {
                // The work of this replica takes this long.
                let work = std::time::Duration::from_millis(5);
                let _ended = tokio::time::timeout(work, std::future::pending::<()>()).await;
                let body = http_body_util::Full::new(hyper::body::Bytes::from_static(b"done"));
                Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
            });
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), work));
        }
    });
}
