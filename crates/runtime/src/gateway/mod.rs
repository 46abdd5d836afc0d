//! The gateway: one stable address for each service, whatever replicas come and go behind it.
//!
//! What it does is data, [`Routes`], replaced as a whole by [`Gateway::set_routes`]. It chooses replicas, retries what may be
//! retried, leaves out what fails, holds requests of a service that sleeps, and counts ([`Measures`]). Clients speak HTTP/1.1,
//! HTTP/2, gRPC or WebSocket, with TLS or without.
//!
//! `policy/` decides and does nothing; `exchange.rs` is the life of a request, `connection.rs` that of a client's connection,
//! `upstream/` has the connections to replicas. Protocols are hyper's (`docs/decisions/0112-gateway.md`).

mod answer;
mod connection;
mod exchange;
mod headers;
mod listener;
mod measures;
mod options;
mod policy;
mod routes;
mod sent;
mod service;
mod tls;
mod tunnel;
mod upstream;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use connection::Stop;
use listener::Listener;
use service::{Service, Shared};
use workers::Pool;

pub use measures::{
    GATEWAY_DURATION_BOUNDS, Measures, Refused, ReplicaMeasures, RequestCounts, RevisionMeasures,
    ServiceMeasures,
};
pub use options::{Clients, Connections, GatewayOptions, Outliers, Retries, Rules, Workers};
pub use routes::{Hold, Protocol, Replica, Revision, Route, Routes, TlsFiles};

/// How often connections to replicas that nobody uses are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A running gateway. Dropped, it ends at once; [`Gateway::stop`] lets requests end before.
#[derive(Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
    chores: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    pool: Pool,
    places: Arc<Semaphore>,
    running: Mutex<BTreeMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    service: Arc<Service>,
    listener: Option<Listener>,
}

/// What became of a service in [`Gateway::set_routes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Where it is reached; `None`: nowhere.
    pub address: Option<SocketAddr>,
    /// What of its route could not be done, and why. What could is done; with a wrong route the old one goes on.
    pub problem: Option<String>,
}

impl Gateway {
    /// Starts a gateway without routes. With [`Workers::Here`] it is to be called in a runtime.
    ///
    /// # Errors
    /// When an option is out of its range, no thread can be started, or there is no runtime, with the reason.
    pub fn start(options: GatewayOptions) -> Result<Self, String> {
        options.check()?;
        let pool = Pool::start(options.workers)?;
        let places = Arc::new(Semaphore::new(options.connections));
        let shared = Arc::new(Shared::new(options, pool.workers().len()));
        let inner = Arc::new(Inner { shared, pool, places, running: Mutex::default() });
        let mut chores = vec![];
        for (number, worker) in inner.pool.workers().iter().enumerate() {
            let inner = Arc::downgrade(&inner);
            let sweep = async move {
                loop {
                    tokio::time::sleep(SWEEP_EVERY).await;
                    let Some(inner) = inner.upgrade() else { return };
                    inner.sweep(number);
                }
            };
            chores.push(worker.handle.spawn(sweep).abort_handle());
        }
        let every = inner.shared.options.certificates_every;
        let certificates = Arc::downgrade(&inner);
        let renew = async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(inner) = certificates.upgrade() else { return };
                // Files are read in a thread that may wait for them.
                let _ended = tokio::task::spawn_blocking(move || inner.renew()).await;
            }
        };
        if let Some(first) = inner.pool.workers().first() {
            chores.push(first.handle.spawn(renew).abort_handle());
        }
        Ok(Self { inner, chores })
    }

    /// Does what `routes` say from now on. Requests and connections under way go on as they began; those of a service that is not
    /// declared any more end with their request. Reads the files of certificates. The same routes again change nothing but
    /// try again what could not be done.
    ///
    /// Returns what became of each service.
    pub fn set_routes(&self, routes: &Routes) -> BTreeMap<String, Applied> {
        let problems = routes.problems();
        let mut running = lock(&self.inner.running);
        let gone: Vec<String> =
            running.keys().filter(|name| !routes.services.contains_key(*name)).cloned().collect();
        // Their ports may be wanted by others.
        for name in gone {
            if let Some(Running { service, listener }) = running.remove(&name) {
                drop(listener);
                service.end();
            }
        }
        let mut applied = BTreeMap::new();
        for (name, route) in &routes.services {
            let wrong = problems.get(name).cloned();
            applied.insert(name.clone(), self.inner.apply(&mut running, name, route, wrong));
        }
        applied
    }

    /// What was counted.
    #[must_use]
    pub fn measures(&self) -> Measures {
        let running = lock(&self.inner.running);
        let services = running.iter().map(|(name, Running { service, listener })| {
            let mut measures = service.measures();
            measures.certificate_problem = listener.as_ref().and_then(Listener::problem);
            (name.clone(), measures)
        });
        Measures { connections: self.inner.shared.open.load(Relaxed), services: services.collect() }
    }

    /// Tells which services have requests that wait for a replica.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        Wanted { inner: Arc::clone(&self.inner), told: BTreeMap::new() }
    }

    /// Waits until no request and no WebSocket is under way on a replica that takes no new ones. Returns at once for one that is
    /// not known.
    pub async fn drained(&self, service: &str, replica: &str) {
        let service = lock(&self.inner.running).get(service).map(|running| Arc::clone(&running.service));
        if let Some(service) = service {
            service.drained(replica).await;
        }
    }

    /// Looks at the files of certificates now, instead of at the next time.
    pub fn renew_certificates(&self) {
        self.inner.renew();
    }

    /// Takes no more connections, lets requests under way end for as long as `grace`, then ends the others. Returns the number of
    /// those connections and WebSockets.
    pub async fn stop(self, grace: Duration) -> u64 {
        let shared = Arc::clone(&self.inner.shared);
        let until = Instant::now() + grace;
        for running in lock(&self.inner.running).values_mut() {
            running.listener = None;
        }
        shared.stop_all(Stop::Gracefully);
        loop {
            let closed = shared.closed.notified();
            let mut closed = std::pin::pin!(closed);
            closed.as_mut().enable();
            if shared.open.load(Relaxed) == 0 || timeout_at(until, closed).await.is_err() {
                break;
            }
        }
        let cut = shared.open.load(Relaxed);
        shared.stop_all(Stop::Now);
        cut
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for chore in &self.chores {
            chore.abort();
        }
        lock(&self.inner.running).clear();
        self.inner.shared.stop_all(Stop::Now);
        self.inner.pool.stop();
    }
}

impl Inner {
    fn apply(
        &self,
        running: &mut BTreeMap<String, Running>,
        name: &str,
        route: &Route,
        wrong: Option<String>,
    ) -> Applied {
        if wrong.is_some() {
            let listener = running.get(name).and_then(|running| running.listener.as_ref());
            return Applied { address: listener.map(|listener| listener.address), problem: wrong };
        }
        let entry = running
            .entry(name.to_owned())
            .or_insert_with(|| Running { service: Service::new(name, &self.shared, route), listener: None });
        entry.service.set(route);
        let problem = self.listen(entry, route).err();
        Applied { address: entry.listener.as_ref().map(|listener| listener.address), problem }
    }

    fn listen(&self, running: &mut Running, route: &Route) -> Result<(), String> {
        if let Some(listener) = running.listener.as_ref().filter(|listener| listener.fits(route)) {
            return listener.renew(route.tls.as_ref());
        }
        let old = running.listener.take();
        if let Some(old) = old {
            // The same port with TLS instead of without can be had only after the old one is closed; another one is opened first.
            if old.address.port() == route.listen.port() {
                drop(old);
            } else {
                running.listener = Some(old);
            }
        }
        let listener = Listener::open(route, &running.service, self.pool.workers(), &self.places)?;
        running.listener = Some(listener);
        Ok(())
    }

    fn sweep(&self, worker: usize) {
        let services: Vec<Arc<Service>> =
            lock(&self.running).values().map(|running| Arc::clone(&running.service)).collect();
        for service in services {
            service.sweep(worker);
        }
    }

    fn renew(&self) {
        for Running { listener, .. } in lock(&self.running).values() {
            if let Some(listener) = listener {
                // It is kept with the listener and shown in the measures.
                let _problem = listener.renew(None);
            }
        }
    }

    /// Services that have requests waiting: how many, and how often there began to be some.
    fn held(&self) -> BTreeMap<String, (u64, u64)> {
        let running = lock(&self.running);
        let held = running.iter().map(|(name, running)| (name.clone(), running.service.held()));
        held.filter(|(_, (held, _))| *held > 0).collect()
    }
}

/// Which services have requests that wait for a replica.
#[derive(Debug)]
pub struct Wanted {
    inner: Arc<Inner>,
    /// How often each had begun to have some, when it was last told.
    told: BTreeMap<String, u64>,
}

impl Wanted {
    /// Services and how many of their requests wait now.
    #[must_use]
    pub fn now(&self) -> BTreeMap<String, u64> {
        self.inner.held().into_iter().map(|(name, (held, _))| (name, held)).collect()
    }

    /// Waits until a service begins to have waiting requests that had none when this last returned. Returns all that have some.
    pub async fn next(&mut self) -> BTreeMap<String, u64> {
        let shared = Arc::clone(&self.inner.shared);
        loop {
            let wanted = shared.wanted.notified();
            let mut wanted = std::pin::pin!(wanted);
            wanted.as_mut().enable();
            let now = self.inner.held();
            if now.iter().any(|(name, (_, woken))| self.told.get(name) != Some(woken)) {
                self.told = now.iter().map(|(name, (_, woken))| (name.clone(), *woken)).collect();
                return now.into_iter().map(|(name, (held, _))| (name, held)).collect();
            }
            wanted.await;
        }
    }
}

/// Nothing panics while one of these locks is held, so what is behind it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
