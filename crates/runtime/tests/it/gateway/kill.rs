//! Replicas that are processes of their own, killed and replaced under load.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use sos_runtime::gateway::Route;
use tokio::time::{MissedTickBehavior, interval};

use super::rig::*;

/// A replica as a process: this binary again, `child.rs`.
struct Replica {
    child: Child,
    address: SocketAddr,
}

impl Replica {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "child::child_of_other_tests", "--nocapture"]);
        command.env("SOS_TEST_MODE", "replica").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| line.unwrap().split("listening on ").nth(1)?.parse().ok()).unwrap();
        // What it still prints has nobody to read it; the pipe is closed.
        Self { child, address }
    }

    /// SIGKILL, and it is gone.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// What a request became.
#[derive(Debug)]
struct Outcome {
    status: u16,
    sent: Instant,
    took: Duration,
}

/// 500 requests a second, each on a connection of its own choosing among 50, until told to stop.
async fn load(address: SocketAddr, method: &'static str, stop: Arc<AtomicBool>) -> Vec<Outcome> {
    let clients = (0..50_u32).map(|_| {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut wire = Wire::open(address).await;
            let mut outcomes = vec![];
            let mut ticks = interval(Duration::from_millis(100));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stop.load(SeqCst) {
                ticks.tick().await;
                let sent = Instant::now();
                let answer = wire.request(method, "/work", "").await;
                outcomes.push(Outcome { status: answer.status, sent, took: sent.elapsed() });
            }
            outcomes
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut all = vec![];
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all
}

fn route(replicas: &[&Replica]) -> Route {
    replicated(web(), &replicas.iter().map(|replica| replica.address).collect::<Vec<_>>())
}

fn bad(outcomes: &[Outcome]) -> Vec<&Outcome> {
    outcomes.iter().filter(|outcome| outcome.status != 200).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_killed_replica_no_idempotent_request_fails_and_others_are_answered_at_once() {
    let (one, mut two) = (Replica::start(), Replica::start());
    let front = Front::new(route(&[&one, &two]));
    let stop = Arc::new(AtomicBool::new(false));
    let gets = tokio::spawn(load(front.address, "GET", Arc::clone(&stop)));
    let posts = tokio::spawn(load(front.address, "POST", Arc::clone(&stop)));
    let answered = |count: u64| front.measures().requests.total() >= count;
    until("it is under load", || answered(1000)).await;
    two.kill();
    let killed = Instant::now();
    let before = front.measures().requests.total();
    until("it goes on", || answered(before + 1000)).await;
    stop.store(true, SeqCst);
    let (gets, posts) = (gets.await.unwrap(), posts.await.unwrap());
    assert!(bad(&gets).is_empty(), "{:?}", bad(&gets));
    let failed = bad(&posts);
    // Those that it was working on, and no later one.
    for outcome in &failed {
        assert_eq!(outcome.status, 502);
        assert!(outcome.sent <= killed, "{outcome:?}");
        assert!(outcome.took < Duration::from_secs(5), "at once: {outcome:?}");
    }
    let measures = front.measures();
    assert!(measures.revisions["1"].replicas["web-1"].ejected || measures.ejections > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_replaced_one_by_one_under_load_fail_no_request() {
    let mut running = [Replica::start(), Replica::start()];
    let mut front = Front::new(web());
    let mut number = 0;
    let mut names = [String::from("web-0"), String::from("web-1")];
    let revision = |version: u32| format!("v{version}");
    for (name, replica) in names.iter().zip(&running) {
        front.route = front.route.with_replica(&revision(0), name, replica.address);
    }
    front.apply();
    let stop = Arc::new(AtomicBool::new(false));
    let posts = tokio::spawn(load(front.address, "POST", Arc::clone(&stop)));
    until("it is under load", || front.measures().requests.total() >= 500).await;
    for version in 1..=3 {
        for at in 0..2 {
            let new = Replica::start();
            let name = format!("web-{}", 2 + number);
            number += 1;
            front.route = front.route.with_replica(&revision(version), &name, new.address);
            for declared in front.route.revisions.values_mut() {
                if let Some(old) = declared.replicas.get_mut(&names[at]) {
                    old.draining = true;
                }
            }
            front.apply();
            tokio::time::timeout(LONG, front.gateway.drained("web", &names[at])).await.unwrap();
            running[at].kill();
            for declared in front.route.revisions.values_mut() {
                declared.replicas.remove(&names[at]);
            }
            front.route.revisions.retain(|_, declared| !declared.replicas.is_empty());
            front.apply();
            (running[at], names[at]) = (new, name);
            let before = front.measures().requests.total();
            until("it goes on", || front.measures().requests.total() >= before + 100).await;
        }
    }
    stop.store(true, SeqCst);
    let posts = posts.await.unwrap();
    assert!(posts.len() > 1000 && bad(&posts).is_empty(), "{:?}", bad(&posts));
}
