//! Services that sleep: their first requests wait.

use std::time::Duration;

use sos_runtime::gateway::{Hold, Route};
use tokio::time::timeout;

use super::rig::*;

fn held(requests: usize, wait: Duration) -> Route {
    Route { hold: Some(Hold { requests, wait }), ..web() }
}

async fn asks(front: &Front) -> Wire {
    let mut wire = Wire::open(front.address).await;
    wire.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    wire
}

#[tokio::test]
async fn the_first_requests_wait_and_whoever_starts_replicas_is_told() {
    let mut front = Front::new(held(10, LONG));
    let mut wanted = front.gateway.wanted();
    let mut clients = vec![];
    for _ in 0..5 {
        clients.push(asks(&front).await);
    }
    let told = timeout(LONG, wanted.next()).await.unwrap();
    assert!(told["web"] >= 1, "{told:?}");
    until("all wait", || front.measures().held == 5).await;
    assert_eq!(front.measures().in_flight, 5);
    let backend = Backend::says("awake").await;
    front.route = replicated(front.route, &[backend.address]);
    front.apply();
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().text(), "awake");
    }
    assert!(wanted.now().is_empty());
    front.route.revisions.clear();
    front.apply();
    let _again = asks(&front).await;
    let told = timeout(LONG, wanted.next()).await.unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["web"], "it is told each time that a service wakes");
}

#[tokio::test]
async fn waiting_is_bounded_in_number_and_time() {
    let front = Front::new(held(2, LONG));
    let (_one, _two) = (asks(&front).await, asks(&front).await);
    until("two wait", || front.measures().held == 2).await;
    let third = asks(&front).await.answer().await.unwrap();
    assert_eq!((third.status, third.header("retry-after")), (503, Some("20")));
    assert!(third.text().contains("too many requests wait"));
    assert_eq!((front.measures().refused.queue_full, front.measures().held), (1, 2));
    let short = Front::new(held(2, Duration::from_millis(100)));
    let late = asks(&short).await.answer().await.unwrap();
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")));
    assert_eq!(short.measures().refused.no_replica, 1);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_its_place() {
    let front = Front::new(held(1, LONG));
    let client = asks(&front).await;
    until("it waits", || front.measures().held == 1).await;
    drop(client);
    until("its place is free", || front.measures().held == 0).await;
    assert_eq!(front.measures().requests.cancelled, 1);
}

#[tokio::test]
async fn without_a_place_to_wait_it_is_answered_at_once() {
    let front = Front::new(web());
    let answer = get(front.address, "/").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.text(), "web: no replica is ready\n");
}

#[tokio::test]
async fn requests_wait_for_a_replica_that_is_declared_but_does_not_listen_yet() {
    let address = nowhere().await;
    let front = Front::new(replicated(held(10, LONG), &[address]));
    let mut client = Wire::open(front.address).await;
    client.send("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\nbody").await;
    until("it waits", || front.measures().held == 1).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let answer = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire { stream, buffer: vec![] };
        wire.until(b"\r\n\r\n").await.unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nup").await;
        wire
    });
    assert_eq!(client.answer().await.unwrap().text(), "up");
    drop(answer.await.unwrap());
}
