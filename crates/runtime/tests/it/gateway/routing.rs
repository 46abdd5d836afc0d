//! Routes: weights, changes without a cut, addresses, stopping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sos_runtime::gateway::{Gateway, GatewayOptions, Hold, Routes, Workers};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::rig::*;

/// A replica whose requests end when they are let go.
async fn slow(words: &'static str, gate: &Arc<Semaphore>) -> Backend {
    let gate = Arc::clone(gate);
    Backend::http1(move |_| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            text(words)
        }
    })
    .await
}

#[tokio::test]
async fn requests_are_shared_by_the_weights_of_revisions() {
    let (old, new, none) =
        (Backend::says("old").await, Backend::says("new").await, Backend::says("none").await);
    let route = web().with_replica("1", "web-0", old.address).with_replica("2", "web-1", new.address);
    let mut route = route.with_replica("3", "web-2", none.address);
    for (revision, weight) in [("1", 80), ("2", 20), ("3", 0)] {
        route.revisions.get_mut(revision).unwrap().weight = weight;
    }
    let mut front = Front::with(GatewayOptions { seed: 7, ..GatewayOptions::default() }, route);
    let mut wire = Wire::open(front.address).await;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..2000 {
        *counts.entry(wire.get("/").await.text().to_owned()).or_default() += 1;
    }
    // 400 expected, with a standard deviation of 18: five of them.
    assert!(counts["new"].abs_diff(400) < 90 && counts["new"] + counts["old"] == 2000, "{counts:?}");
    let measures = front.measures();
    assert_eq!(measures.revisions["2"].requests.by_class, [0, counts["new"], 0, 0, 0]);
    assert_eq!(measures.revisions["1"].replicas["web-0"].requests.total(), counts["old"]);
    assert_eq!(measures.revisions["3"].requests.total(), 0);
    assert_eq!(measures.requests.total(), 2000);
    // Blue to green at once, on the same connection.
    front.route.revisions.get_mut("1").unwrap().weight = 0;
    front.apply();
    for _ in 0..50 {
        assert_eq!(wire.get("/").await.text(), "new");
    }
    front.route.revisions.remove("1");
    front.apply();
    assert!(!front.measures().revisions.contains_key("1"));
}

#[tokio::test]
async fn a_replica_that_leaves_ends_its_requests_and_takes_no_new_ones() {
    let gate = Arc::new(Semaphore::new(0));
    let (leaving, staying) = (slow("leaving", &gate).await, Backend::says("staying").await);
    let mut front = Front::before(&[leaving.address]);
    let mut wires = vec![];
    for _ in 0..3 {
        let mut wire = Wire::open(front.address).await;
        wire.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        wires.push(wire);
    }
    until("all are under way", || leaving.requests() == 3).await;
    front.route = replicated(web(), &[leaving.address, staying.address]);
    let revision = front.route.revisions.get_mut("1").unwrap();
    revision.replicas.get_mut("web-0").unwrap().draining = true;
    front.apply();
    for _ in 0..20 {
        assert_eq!(get(front.address, "/").await.text(), "staying");
    }
    let drained = front.gateway.drained("web", "web-0");
    let mut drained = std::pin::pin!(drained);
    assert!(futures::poll!(&mut drained).is_pending());
    assert_eq!(front.measures().revisions["1"].replicas["web-0"].in_flight, 3);
    gate.add_permits(3);
    for wire in &mut wires {
        assert_eq!(wire.answer().await.unwrap().text(), "leaving");
    }
    timeout(LONG, drained).await.unwrap();
    timeout(LONG, front.gateway.drained("web", "unknown")).await.unwrap();
    timeout(LONG, front.gateway.drained("unknown", "web-0")).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_is_not_declared_any_more_ends_its_requests_and_its_counts_stay() {
    let gate = Arc::new(Semaphore::new(0));
    let (old, new) = (slow("old", &gate).await, Backend::says("new").await);
    let mut front = Front::before(&[old.address]);
    let mut wire = Wire::open(front.address).await;
    wire.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    until("it is under way", || old.requests() == 1).await;
    front.route = web().with_replica("1", "web-9", new.address);
    front.apply();
    assert!(front.measures().revisions["1"].replicas["web-0"].leaving);
    assert_eq!(get(front.address, "/").await.text(), "new");
    gate.add_permits(1);
    assert_eq!(wire.answer().await.unwrap().text(), "old");
    assert_eq!(wire.get("/").await.text(), "new");
    timeout(LONG, front.gateway.drained("web", "web-0")).await.unwrap();
    let revision = &front.measures().revisions["1"];
    assert_eq!(revision.replicas.keys().collect::<Vec<_>>(), ["web-9"]);
    assert_eq!(revision.requests.by_class[1], 3);
}

#[tokio::test]
async fn requests_go_to_the_replica_that_has_fewer() {
    let gate = Arc::new(Semaphore::new(0));
    let (one, two) = (slow("one", &gate).await, slow("two", &gate).await);
    let front = Front::before(&[one.address, two.address]);
    let mut wires = vec![];
    for _ in 0..20 {
        let mut wire = Wire::open(front.address).await;
        wire.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        wires.push(wire);
    }
    until("all are under way", || one.requests() + two.requests() == 20).await;
    assert_eq!((one.requests(), two.requests()), (10, 10));
    gate.add_permits(20);
    for wire in &mut wires {
        assert_eq!(wire.answer().await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named_and_other_services_go_on() {
    let backend = Backend::says("hello").await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Gateway::start(GatewayOptions::default()).unwrap();
    let mut blocked = replicated(web(), &[backend.address]);
    blocked.listen = taken.local_addr().unwrap();
    let wrong = replicated(web(), &["127.0.0.1:0".parse().unwrap()]);
    let good = replicated(web(), &[backend.address]);
    let services = [("a".to_owned(), blocked), ("b".to_owned(), wrong), ("c".to_owned(), good)];
    let routes = Routes { services: services.into() };
    let applied = gateway.set_routes(&routes);
    let problem = |name: &str| applied[name].problem.clone().unwrap();
    assert!(problem("a").contains("in use by another program"), "{}", problem("a"));
    assert!(problem("b").contains("cannot be connected to"), "{}", problem("b"));
    assert_eq!((applied["a"].address, applied["b"].address), (None, None));
    assert_eq!(get(applied["c"].address.unwrap(), "/").await.status, 200);
    drop(taken);
    let again = gateway.set_routes(&routes);
    assert_eq!(again["a"].problem, None);
    assert_eq!(again["c"].address, applied["c"].address, "a free port is kept");
    assert_eq!(get(again["a"].address.unwrap(), "/").await.status, 200);
}

#[tokio::test]
async fn a_changed_address_or_a_wrong_route_cuts_nothing() {
    let backend = Backend::says("hello").await;
    let mut front = Front::before(&[backend.address]);
    let mut wire = Wire::open(front.address).await;
    assert_eq!(wire.get("/").await.status, 200);
    front.route.listen = nowhere().await;
    let moved = front.apply().address.unwrap();
    assert_eq!(moved, front.route.listen);
    assert_eq!(wire.get("/").await.status, 200, "the old connection goes on");
    assert_eq!(get(moved, "/").await.status, 200);
    assert!(tokio::net::TcpStream::connect(front.address).await.is_err(), "the old address is given up");
    front.route.hold = Some(Hold { requests: 0, wait: LONG });
    let refused = front.apply();
    assert!(refused.problem.unwrap().contains("hold.requests") && refused.address == Some(moved));
    assert_eq!(get(moved, "/").await.status, 200, "the old route goes on");
}

#[tokio::test]
async fn a_service_that_is_gone_ends_with_its_requests() {
    let gate = Arc::new(Semaphore::new(0));
    let backend = slow("last words", &gate).await;
    let front = Front::before(&[backend.address]);
    let mut busy = Wire::open(front.address).await;
    busy.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    until("it is under way", || backend.requests() == 1).await;
    assert!(front.gateway.set_routes(&Routes::default()).is_empty());
    gate.add_permits(1);
    assert_eq!(busy.answer().await.unwrap().text(), "last words");
    assert!(busy.closes().await);
    assert!(tokio::net::TcpStream::connect(front.address).await.is_err());
}

#[tokio::test]
async fn stopping_lets_requests_end_and_cuts_what_takes_too_long() {
    for workers in [Workers::Threads(1), Workers::Here] {
        let gate = Arc::new(Semaphore::new(0));
        let backend = slow("done", &gate).await;
        let options = GatewayOptions { workers, ..GatewayOptions::default() };
        let front = Front::with(options.clone(), replicated(web(), &[backend.address]));
        let (mut busy, mut idle) = (Wire::open(front.address).await, Wire::open(front.address).await);
        busy.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        until("it is under way", || backend.requests() == 1).await;
        let address = front.address;
        let stopped = tokio::spawn(front.gateway.stop(LONG));
        assert!(idle.closes().await);
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        gate.add_permits(1);
        assert_eq!(busy.answer().await.unwrap().text(), "done");
        assert_eq!(timeout(LONG, stopped).await.unwrap().unwrap(), 0);
        let front = Front::with(options, replicated(web(), &[backend.address]));
        let mut busy = Wire::open(front.address).await;
        busy.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
        until("it is under way", || backend.requests() == 2).await;
        assert_eq!(front.gateway.stop(Duration::from_millis(100)).await, 1);
        assert!(busy.closes().await);
    }
}
