//! What clients do: slow ones, those that leave, those that stay.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use sos_runtime::gateway::{Clients, GatewayOptions};
use tokio::sync::{Notify, mpsc};

use super::rig::*;

fn hasty(clients: Clients) -> GatewayOptions {
    GatewayOptions { clients, ..GatewayOptions::default() }
}

#[tokio::test]
async fn a_head_that_comes_slowly_ends_the_connection_and_others_go_on() {
    let backend = Backend::says("hello").await;
    let clients = Clients { head_timeout: Duration::from_millis(200), ..Clients::default() };
    let front = Front::with(hasty(clients), replicated(web(), &[backend.address]));
    let mut quick = Wire::open(front.address).await;
    assert_eq!(quick.get("/").await.status, 200);
    let mut silent = Wire::open(front.address).await;
    let mut slow = Wire::open(front.address).await;
    slow.send("GET / HT").await;
    let mut second = Wire::open(front.address).await;
    assert_eq!(second.get("/").await.status, 200);
    second.send("GET / HTTP/1.1\r\nhost: web\r\nx-a").await;
    assert!(silent.closes().await && slow.closes().await && second.closes().await);
    assert_eq!(quick.get("/").await.text(), "hello", "an idle connection is not a slow one");
    assert_eq!(backend.requests(), 3);
}

#[tokio::test]
async fn connections_without_requests_are_closed_after_their_time() {
    let backend = Backend::says("hello").await;
    let clients = Clients { idle: Duration::from_millis(200), ..Clients::default() };
    let front = Front::with(hasty(clients), replicated(web(), &[backend.address]));
    let mut one = Wire::open(front.address).await;
    assert_eq!(one.get("/").await.status, 200);
    let mut two = h2c::<Body>(front.address).await;
    let request = hyper::Request::get("http://web/").body(text("").into_body()).unwrap();
    two.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    assert!(one.closes().await);
    until("HTTP/2 is closed, too", || two.is_closed()).await;
    until("none is open", || front.all_measures().connections == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_request_of_the_replica() {
    let (began, ended) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
    let (tell, mut told) = (ended.0, ended.1);
    let tell_begin = Arc::clone(&began);
    let hang = move |_| {
        let (began, tell) = (Arc::clone(&tell_begin), Gone(tell.clone()));
        async move {
            began.notify_one();
            std::future::pending::<()>().await;
            drop(tell);
            text("never")
        }
    };
    let backend = Backend::http1(hang).await;
    let front = Front::before(&[backend.address]);
    let mut client = Wire::open(front.address).await;
    client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    tokio::time::timeout(LONG, began.notified()).await.unwrap();
    drop(client);
    tokio::time::timeout(LONG, told.recv()).await.expect("the replica's request ends").unwrap();
    until("it is counted", || front.measures().requests.cancelled == 1).await;
    let replica = &front.measures().revisions["1"].replicas["web-0"];
    assert_eq!((replica.requests.cancelled, replica.requests.errors, replica.in_flight), (1, 0, 0));
}

/// Tells when it is dropped.
struct Gone(mpsc::UnboundedSender<()>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _nobody = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let backend = Backend::http1(|_| async { text(vec![b'x'; 64 << 20]) }).await;
    let clients = Clients { send_timeout: Duration::from_millis(200), ..Clients::default() };
    let front = Front::with(hasty(clients), replicated(web(), &[backend.address]));
    let mut lazy = Wire::open(front.address).await;
    lazy.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    until("it is cut off", || front.measures().requests.cancelled == 1).await;
    until("its connection is closed", || front.all_measures().connections == 0).await;
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_refused() {
    let backend = Backend::http1(|request| async move {
        let whole = request.into_body().collect().await;
        whole.map_or_else(|_| status(500), |body| text(body.to_bytes()))
    })
    .await;
    let mut route = replicated(web(), &[backend.address]);
    route.rules.body_idle = Duration::from_millis(200);
    let front = Front::new(route);
    let mut slow = Wire::open(front.address).await;
    slow.send("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = slow.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("proxy-status")), (400, Some("sos; error=http_request_error")));
    let replica = front.measures().revisions["1"].replicas["web-0"].requests.clone();
    assert_eq!((replica.errors, replica.cancelled), (0, 1), "it is not the replica's fault");
    let other = Wire::open(front.address).await.request("POST", "/", "whole").await;
    assert_eq!((other.status, other.text()), (200, "whole"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_is_free() {
    let backend = Backend::says("hello").await;
    let options = GatewayOptions { connections: 2, ..GatewayOptions::default() };
    let front = Front::with(options, replicated(web(), &[backend.address]));
    let (mut one, mut two) = (Wire::open(front.address).await, Wire::open(front.address).await);
    assert_eq!((one.get("/").await.status, two.get("/").await.status), (200, 200));
    let mut three = Wire::open(front.address).await;
    three.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert_eq!((one.get("/").await.status, backend.requests()), (200, 3), "the third is not served yet");
    drop(two);
    assert_eq!(three.answer().await.unwrap().status, 200);
}
