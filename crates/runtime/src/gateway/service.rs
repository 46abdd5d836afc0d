//! A service while it runs: who answers for it, and what is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;

use super::connection::{Busy, State, Stop};
use super::measures::{Counter, End, ReplicaMeasures, RequestCounts, RevisionMeasures, ServiceMeasures};
use super::policy::{Balancer, Budget, Member, Verdict};
use super::upstream::{Link, Place, Pool};
use super::{GatewayOptions, Hold, Protocol, Route, Rules, lock};

/// What all parts of a gateway share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: GatewayOptions,
    started: Instant,
    /// Number of runtimes that connections are served in.
    pub(super) workers: usize,
    /// A service has held requests.
    pub(super) wanted: Notify,
    /// Connections and WebSockets of clients that are open.
    pub(super) open: AtomicU64,
    /// One of them was closed.
    pub(super) closed: Notify,
    /// The gateway ends: what is opened now ends, too.
    stopping: AtomicBool,
    /// Those that are open, by number.
    connections: Mutex<BTreeMap<u64, Arc<State>>>,
    next: AtomicU64,
}

impl Shared {
    pub(super) fn new(options: GatewayOptions, workers: usize) -> Self {
        Self {
            options,
            started: Instant::now(),
            workers,
            wanted: Notify::new(),
            open: AtomicU64::new(0),
            closed: Notify::new(),
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        self.millis_at(Instant::now())
    }

    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    fn millis_at(&self, now: Instant) -> u64 {
        u64::try_from(self.at(now).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes a connection of a client or a WebSocket; it is open until what is returned is dropped.
    pub(super) fn opened(self: &Arc<Self>, state: &Arc<State>) -> Opened {
        self.open.fetch_add(1, Relaxed);
        let number = self.next.fetch_add(1, Relaxed);
        lock(&self.connections).insert(number, Arc::clone(state));
        if self.stopping.load(SeqCst) || state.service.ended.load(SeqCst) {
            state.stop(Stop::Gracefully);
        }
        Opened { shared: Arc::clone(self), number }
    }

    /// Asks all connections to end, those that come from now on, too.
    pub(super) fn stop_all(&self, stop: Stop) {
        self.stopping.store(true, SeqCst);
        self.stop(stop, |_| true);
    }

    fn stop(&self, stop: Stop, which: impl Fn(&State) -> bool) {
        for state in lock(&self.connections).values().filter(|state| which(state)) {
            state.stop(stop);
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Opened {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.shared.connections).remove(&self.number);
        self.shared.open.fetch_sub(1, Relaxed);
        self.shared.closed.notify_waiters();
    }
}

/// What holds for a request from its beginning to its end.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) rules: Rules,
    pub(super) protocol: Protocol,
    pub(super) hold: Option<Hold>,
}

/// A replica with its connections.
#[derive(Debug)]
pub(super) struct Replica {
    name: String,
    revision: String,
    pub(super) address: SocketAddr,
    counter: Counter,
    pools: Box<[Pool]>,
    gone: AtomicBool,
}

impl PartialEq for Replica {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.revision, self.address) == (&other.name, &other.revision, other.address)
    }
}

impl Replica {
    /// Its connections of one worker.
    pub(super) fn pool(&self, worker: usize) -> &Pool {
        &self.pools[worker % self.pools.len()]
    }

    fn leave(&self) {
        self.gone.store(true, Relaxed);
        for pool in &self.pools {
            pool.clear();
        }
    }
}

/// A service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    core: Mutex<Core>,
    /// It is not declared any more.
    ended: AtomicBool,
    /// There are other replicas than before.
    pub(super) changed: Notify,
    /// A replica that is leaving has ended its last request.
    left: Notify,
    requests: Counter,
    in_flight: AtomicU64,
    held: AtomicU64,
    /// How often it began to have requests that wait.
    woken: AtomicU64,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    tunnels: AtomicU64,
    refused: [AtomicU64; 5],
    /// When the last request ended, in milliseconds since the start.
    last_end: AtomicU64,
}

#[derive(Debug)]
struct Core {
    balancer: Balancer<Arc<Replica>>,
    budget: Budget,
    random: ChaCha8Rng,
    terms: Arc<Terms>,
    /// What replicas counted that are gone, by revision.
    past: BTreeMap<String, RequestCounts>,
    /// Revisions that are declared.
    revisions: Vec<String>,
}

/// Why the gateway answers a request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    NoReplica,
    QueueFull,
    Broken,
    TimedOut,
}

impl Service {
    pub(super) fn new(name: &str, shared: &Arc<Shared>, route: &Route) -> Arc<Self> {
        // Each service draws its own numbers, whichever others there are.
        let seed = name
            .bytes()
            .fold(shared.options.seed, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let core = Core {
            balancer: Balancer::new(),
            budget: Budget::new(&route.rules.retries),
            random: ChaCha8Rng::seed_from_u64(seed),
            terms: Arc::new(terms(route)),
            past: BTreeMap::new(),
            revisions: vec![],
        };
        let service = Arc::new(Self {
            name: name.to_owned(),
            shared: Arc::clone(shared),
            core: Mutex::new(core),
            ended: AtomicBool::new(false),
            changed: Notify::new(),
            left: Notify::new(),
            requests: Counter::default(),
            in_flight: AtomicU64::new(0),
            held: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            retries_refused: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            refused: Default::default(),
            last_end: AtomicU64::new(shared.millis()),
        });
        service.set(route);
        service
    }

    /// Takes a new route; requests under way end by the old one.
    pub(super) fn set(&self, route: &Route) {
        let mut members = vec![];
        for (number, (revision, declared)) in route.revisions.iter().enumerate() {
            for (name, replica) in &declared.replicas {
                let replica_of = Replica {
                    name: name.clone(),
                    revision: revision.clone(),
                    address: replica.address,
                    counter: Counter::default(),
                    pools: (0..self.shared.workers).map(|_| Pool::default()).collect(),
                    gone: AtomicBool::new(false),
                };
                members.push(Member {
                    replica: Arc::new(replica_of),
                    revision: number,
                    draining: replica.draining,
                });
            }
        }
        let weights = route.revisions.values().map(|revision| revision.weight).collect();
        let mut core = lock(&self.core);
        core.terms = Arc::new(terms(route));
        core.budget.limit(&route.rules.retries);
        core.revisions = route.revisions.keys().cloned().collect();
        for gone in core.balancer.set(route.rules.outliers.clone(), weights, members) {
            core.bury(&gone);
        }
        let seen = core.balancer.seen(self.shared.now());
        let Core { past, revisions, .. } = &mut *core;
        past.retain(|name, _| {
            revisions.contains(name) || seen.iter().any(|seen| seen.replica.revision == *name)
        });
        drop(core);
        self.changed.notify_waiters();
        self.left.notify_waiters();
    }

    /// The service is not declared any more: its connections end after the requests under way.
    pub(super) fn end(self: &Arc<Self>) {
        self.ended.store(true, SeqCst);
        self.shared.stop(Stop::Gracefully, |state| Arc::ptr_eq(&state.service, self));
        let mut core = lock(&self.core);
        for gone in core.balancer.set(None, vec![], vec![]) {
            core.bury(&gone);
        }
        drop(core);
        self.changed.notify_waiters();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(SeqCst)
    }

    pub(super) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&lock(&self.core).terms)
    }

    /// A replica for an attempt, with whether it is one to be avoided. The `first` attempt of a request pays into the budget.
    pub(super) fn attempt(self: &Arc<Self>, avoid: &[u64], first: bool) -> Option<(Attempt, bool)> {
        let started = Instant::now();
        let now = self.shared.at(started);
        let mut core = lock(&self.core);
        let Core { balancer, random, budget, .. } = &mut *core;
        let chosen = balancer.choose(now, avoid, random)?;
        if first {
            budget.request(now);
        }
        drop(core);
        let attempt = Attempt {
            service: Arc::clone(self),
            replica: chosen.replica,
            id: chosen.id,
            started,
            open: true,
            place: None,
        };
        Some((attempt, chosen.again))
    }

    /// Whether one more attempt may be made, where the one before reached a replica.
    pub(super) fn may_retry(&self) -> bool {
        let may = lock(&self.core).budget.retry(self.shared.now());
        if !may {
            self.retries_refused.fetch_add(1, Relaxed);
        }
        may
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    /// Whether any replica takes requests, those to be avoided not counted.
    pub(super) fn has_replica(&self, avoid: &[u64]) -> bool {
        lock(&self.core).balancer.any(avoid)
    }

    /// A place among the requests that wait; `None` when all are taken. Wakes those who can start replicas.
    pub(super) fn hold(self: &Arc<Self>, places: usize) -> Option<Held> {
        let taken = self.held.fetch_add(1, Relaxed);
        let held = Held(Arc::clone(self));
        if taken == 0 {
            self.woken.fetch_add(1, SeqCst);
            self.shared.wanted.notify_waiters();
        }
        (taken < places as u64).then_some(held)
    }

    /// How many requests wait, and how often there began to be some.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.held.load(Relaxed), self.woken.load(SeqCst))
    }

    pub(super) fn tunnels(&self, open: bool) {
        if open {
            self.tunnels.fetch_add(1, Relaxed);
        } else {
            self.tunnels.fetch_sub(1, Relaxed);
            self.last_end.store(self.shared.millis(), Relaxed);
        }
    }

    /// Attempts of a replica that are under way; `None` when it is not known (any more).
    fn in_flight(&self, replica: &str) -> Option<u32> {
        let seen = lock(&self.core).balancer.seen(self.shared.now());
        let of_it =
            seen.iter().filter(|seen| seen.replica.name == replica && (seen.leaving || seen.in_flight > 0));
        of_it.map(|seen| seen.in_flight).reduce(|one, other| one + other)
    }

    /// Waits until nothing is under way on a replica.
    pub(super) async fn drained(&self, replica: &str) {
        loop {
            let left = self.left.notified();
            let mut left = std::pin::pin!(left);
            left.as_mut().enable();
            if self.in_flight(replica).unwrap_or(0) == 0 {
                return;
            }
            left.await;
        }
    }

    /// Closes connections that were without a request for too long, or that their replica has closed.
    pub(super) fn sweep(&self, worker: usize) {
        let seen = lock(&self.core).balancer.seen(self.shared.now());
        for seen in seen {
            seen.replica.pool(worker).sweep();
        }
    }

    pub(super) fn measures(&self) -> ServiceMeasures {
        let core = lock(&self.core);
        let seen = core.balancer.seen(self.shared.now());
        let mut revisions: BTreeMap<String, RevisionMeasures> = BTreeMap::new();
        for name in &core.revisions {
            revisions.entry(name.clone()).or_default();
        }
        for (name, past) in &core.past {
            revisions.entry(name.clone()).or_default().requests.add(past);
        }
        let ejections = core.balancer.ejections();
        drop(core);
        for seen in seen {
            let requests = seen.replica.counter.read();
            let revision = revisions.entry(seen.replica.revision.clone()).or_default();
            revision.requests.add(&requests);
            let measures = ReplicaMeasures {
                address: seen.replica.address,
                requests,
                in_flight: seen.in_flight,
                ejected: seen.ejected,
                leaving: seen.leaving,
            };
            revision.replicas.insert(seen.replica.name.clone(), measures);
        }
        self.counted(revisions, ejections)
    }

    fn counted(&self, revisions: BTreeMap<String, RevisionMeasures>, ejections: u64) -> ServiceMeasures {
        let load = |value: &AtomicU64| value.load(Relaxed);
        let [bad_request, no_replica, queue_full, broken, timed_out] = self.refused.each_ref().map(load);
        let (in_flight, tunnels) = (load(&self.in_flight), load(&self.tunnels));
        let idle = self.shared.millis().saturating_sub(load(&self.last_end));
        ServiceMeasures {
            requests: self.requests.read(),
            in_flight,
            held: load(&self.held),
            retries: load(&self.retries),
            retries_refused: load(&self.retries_refused),
            refused: super::Refused { bad_request, no_replica, queue_full, broken, timed_out },
            tunnels,
            ejections,
            idle_for: Duration::from_millis(if in_flight + tunnels > 0 { 0 } else { idle }),
            certificate_problem: None,
            revisions,
        }
    }
}

impl Core {
    /// Keeps what a replica counted that is gone for good.
    fn bury(&mut self, replica: &Replica) {
        replica.leave();
        self.past.entry(replica.revision.clone()).or_default().add(&replica.counter.read());
    }
}

fn terms(route: &Route) -> Terms {
    Terms { rules: route.rules.clone(), protocol: route.protocol, hold: route.hold }
}

/// A request that waits for a replica.
#[derive(Debug)]
pub(super) struct Held(Arc<Service>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}

/// A request from its head to the end of its answer. Dropped before, the client has left.
#[derive(Debug)]
pub(super) struct Exchange {
    service: Arc<Service>,
    started: Instant,
    grpc: bool,
    open: bool,
    /// Keeps the client's connection from being idle.
    busy: Busy,
}

impl Exchange {
    pub(super) fn begin(service: &Arc<Service>, busy: Busy) -> Self {
        service.in_flight.fetch_add(1, Relaxed);
        Self { service: Arc::clone(service), started: Instant::now(), grpc: false, open: true, busy }
    }

    pub(super) const fn grpc(&self) -> bool {
        self.grpc
    }

    pub(super) const fn set_grpc(&mut self, grpc: bool) {
        self.grpc = grpc;
    }

    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn end(&mut self, end: End) {
        if self.open {
            self.end_at(end, Instant::now());
        }
    }

    pub(super) fn end_at(&mut self, end: End, now: Instant) {
        if std::mem::replace(&mut self.open, false) {
            let service = &self.service;
            service.requests.count(end, now.saturating_duration_since(self.started));
            let millis = service.shared.millis_at(now);
            service.last_end.store(millis, Relaxed);
            service.in_flight.fetch_sub(1, Relaxed);
            self.busy.end(millis);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(End::Cancelled);
    }
}

/// One attempt on one replica. Dropped before its end, the client has left.
#[derive(Debug)]
pub(super) struct Attempt {
    service: Arc<Service>,
    pub(super) replica: Arc<Replica>,
    pub(super) id: u64,
    started: Instant,
    open: bool,
    /// Its place on an HTTP/2 connection.
    pub(super) place: Option<Place>,
}

impl Attempt {
    pub(super) fn end(&mut self, end: End, verdict: Verdict) {
        if self.open {
            self.end_at(end, verdict, Instant::now());
        }
    }

    pub(super) fn end_at(&mut self, end: End, verdict: Verdict, now: Instant) {
        if std::mem::replace(&mut self.open, false) {
            self.replica.counter.count(end, now.saturating_duration_since(self.started));
            self.release(verdict, now);
        }
    }

    pub(super) const fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Counts what there was so far, while the replica stays busy: a WebSocket was opened.
    pub(super) fn opened(&mut self, status: http::StatusCode) {
        self.replica.counter.count(End::Answered { status, error: false }, self.started.elapsed());
    }

    /// Ends what [`Attempt::opened`] counted.
    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.open, false) {
            self.release(Verdict::Unknown, Instant::now());
        }
    }

    fn release(&self, verdict: Verdict, now: Instant) {
        let mut core = lock(&self.service.core);
        let Some((replica, gone)) = core.balancer.finish(self.service.shared.at(now), self.id, verdict)
        else {
            return;
        };
        if gone {
            core.bury(&replica);
        }
        drop(core);
        self.service.left.notify_waiters();
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, link: Box<Link>) {
        if !self.replica.gone.load(Relaxed) {
            let most = self.service.shared.options.replicas.idle;
            self.replica.pool(link.worker()).put(link, most);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(End::Cancelled, Verdict::Unknown);
    }
}
