//! Replicas that fail: what is tried elsewhere, what is not, who is left out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http_body_util::BodyExt as _;
use sos_runtime::gateway::{Outliers, Retries, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::rig::*;

/// A server that reads the head of a request and breaks off, each time; it counts them.
async fn breaking() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 << 10];
                if stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                    counted.fetch_add(1, SeqCst);
                }
            });
        }
    });
    (address, count)
}

fn without_ejection(mut route: Route) -> Route {
    route.rules.outliers = None;
    route
}

#[tokio::test]
async fn idempotent_requests_are_tried_elsewhere_and_others_are_answered_at_once() {
    let (bad, seen) = breaking().await;
    let good =
        Backend::http1(
            |request| async move { text(request.into_body().collect().await.unwrap().to_bytes()) },
        )
        .await;
    let front = Front::new(without_ejection(replicated(web(), &[bad, good.address])));
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        for _ in 0..10 {
            let body = if method == "PUT" { "body to be replayed" } else { "" };
            let answer = Wire::open(front.address).await.request(method, "/", body).await;
            assert_eq!((answer.status, answer.text()), (200, body), "{method}");
        }
    }
    let repeated = seen.load(SeqCst);
    assert!(repeated >= 5, "{repeated}: the bad one was never asked");
    assert_eq!(front.measures().retries, u64::try_from(repeated).unwrap());
    let mut statuses = vec![];
    for _ in 0..20 {
        let answer = Wire::open(front.address).await.request("POST", "/", "once").await;
        statuses.push(answer.status);
        if answer.status == 502 {
            assert_eq!(answer.header("proxy-status"), Some("sos; error=connection_terminated"));
        }
    }
    assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
    let posts = statuses.iter().filter(|status| **status == 502).count();
    assert_eq!(seen.load(SeqCst) - repeated, posts, "each was sent once");
    assert_eq!(front.measures().refused.broken, u64::try_from(posts).unwrap());
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    let (bad, _) = breaking().await;
    let good =
        Backend::http1(
            |request| async move { text(request.into_body().collect().await.unwrap().to_bytes()) },
        )
        .await;
    let mut route = without_ejection(replicated(web(), &[bad, good.address]));
    route.rules.retries.kept_body = 1000;
    let front = Front::new(route);
    let (mut short, mut long) = (vec![], vec![]);
    for _ in 0..20 {
        short.push(Wire::open(front.address).await.request("PUT", "/", &"x".repeat(1000)).await.status);
        long.push(Wire::open(front.address).await.request("PUT", "/", &"x".repeat(1001)).await.status);
    }
    assert!(short.iter().all(|status| *status == 200), "{short:?}");
    assert!(long.contains(&502) && long.contains(&200), "{long:?}");
}

#[tokio::test]
async fn what_reached_nobody_is_tried_elsewhere_whatever_it_is() {
    let good = Backend::says("here").await;
    let front = Front::before(&[nowhere().await, nowhere().await, good.address]);
    for _ in 0..20 {
        let answer = Wire::open(front.address).await.request("POST", "/", "once").await;
        assert_eq!((answer.status, answer.text()), (200, "here"));
    }
    let none = Front::before(&[nowhere().await, nowhere().await]);
    let answer = Wire::open(none.address).await.request("POST", "/", "once").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.header("proxy-status"), Some("sos; error=destination_unavailable"));
}

#[tokio::test]
async fn retries_stay_within_their_budget() {
    let (bad, seen) = breaking().await;
    let (worse, seen_too) = breaking().await;
    let mut route = without_ejection(replicated(web(), &[bad, worse]));
    route.rules.retries =
        Retries { attempts: 5, budget_share: 0.2, budget_minimum: 0.0, ..Retries::default() };
    let front = Front::new(route);
    let mut wire = Wire::open(front.address).await;
    for _ in 0..100 {
        assert_eq!(wire.get("/").await.status, 502);
    }
    let measures = front.measures();
    let sent = seen.load(SeqCst) + seen_too.load(SeqCst);
    // 20 of the requests of the last ten seconds; should the machine be so slow that these take longer, fewer.
    assert!((101..=120).contains(&sent), "{sent} for 100 requests");
    assert_eq!(measures.retries, u64::try_from(sent).unwrap() - 100);
    assert!(measures.retries_refused >= 80);
}

#[tokio::test]
async fn a_replica_that_fails_is_left_out_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&broken);
    let bad = Backend::http1(move |_| {
        let fails = fails.load(SeqCst);
        async move { if fails { status(500) } else { text("well again") } }
    })
    .await;
    let good = Backend::says("well").await;
    let mut route = replicated(web(), &[bad.address, good.address]);
    let ejected_for = Duration::from_millis(300);
    route.rules.outliers = Some(Outliers { ejected_for, ..Outliers::default() });
    let front = Front::new(route);
    let mut wire = Wire::open(front.address).await;
    let out = |front: &Front| front.measures().revisions["1"].replicas["web-0"].ejected;
    let mut failures = 0;
    while !out(&front) {
        failures += u32::from(wire.get("/").await.status == 500);
    }
    assert_eq!(
        (failures, front.measures().ejections),
        (5, 1),
        "a 500 is the service's own answer and passed on"
    );
    assert_eq!(wire.get("/").await.text(), "well");
    broken.store(false, SeqCst);
    until("it is back", || !out(&front)).await;
    loop {
        if wire.get("/").await.text() == "well again" {
            break;
        }
    }
}

#[tokio::test]
async fn a_replica_that_cannot_answer_now_is_passed_over_where_another_can() {
    let busy = Backend::http1(|_| async { status(503) }).await;
    let good = Backend::says("free").await;
    let front = Front::new(without_ejection(replicated(web(), &[busy.address, good.address])));
    let mut wire = Wire::open(front.address).await;
    for _ in 0..20 {
        assert_eq!(wire.get("/").await.text(), "free");
    }
    let mut statuses = vec![];
    for _ in 0..20 {
        statuses.push(wire.request("POST", "/", "x").await.status);
    }
    assert!(statuses.contains(&503), "{statuses:?}");
}

#[tokio::test]
async fn a_replica_that_hangs_is_passed_over_after_the_time_of_an_attempt() {
    let hangs = Backend::http1(|_| std::future::pending()).await;
    let good = Backend::says("awake").await;
    let mut route = without_ejection(replicated(web(), &[hangs.address, good.address]));
    route.rules.attempt_timeout = Some(Duration::from_millis(100));
    let front = Front::new(route);
    let mut wire = Wire::open(front.address).await;
    for _ in 0..10 {
        assert_eq!(wire.get("/").await.text(), "awake");
    }
    assert!(hangs.requests() > 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _request = stream.read(&mut buffer).await;
            let _left = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
        }
    });
    let front = Front::before(&[address]);
    let mut wire = Wire::open(front.address).await;
    wire.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert_eq!(wire.answer().await, None, "the length says 100, so the client knows");
    until("it is counted", || front.measures().requests.errors == 1).await;
    assert_eq!(front.measures().retries, 0, "a part was passed on already");
}

#[tokio::test]
async fn a_connection_that_the_replica_closed_meanwhile_is_not_used() {
    // Answers once on each connection and closes it without saying so before.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _request = stream.read(&mut buffer).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            drop(stream);
            count.fetch_add(1, SeqCst);
        }
    });
    let front = Front::before(&[address]);
    let mut wire = Wire::open(front.address).await;
    for turn in 1..=20 {
        // Not idempotent: had it been sent on the closed connection, nothing could be tried again.
        assert_eq!(wire.request("POST", "/", "x").await.status, 200);
        until("the replica has closed", || closed.load(SeqCst) == turn).await;
    }
}
