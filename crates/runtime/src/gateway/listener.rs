//! Where a service is reached: one socket, whose connections are given to the workers.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::connection::serve;
use super::service::Service;
use super::tls::Certificate;
use super::{Route, TlsFiles, lock};

/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 1024;
/// How long nothing is taken after the system could not give one: it has no more files, mostly.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A runtime that serves connections.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) handle: Handle,
    /// Connections that it serves.
    pub(super) open: Arc<AtomicU64>,
}

/// A socket that is listened on.
#[derive(Debug)]
pub(super) struct Listener {
    /// As it was declared; the port may be 0.
    declared: SocketAddr,
    pub(super) address: SocketAddr,
    certificate: Arc<Mutex<Option<Certificate>>>,
    /// Why the certificate that is declared is not the one in use.
    problem: Mutex<Option<String>>,
    task: AbortHandle,
}

impl Drop for Listener {
    /// Takes no more connections. Those that are open go on.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// When it cannot be listened there, or the certificate cannot be read, with the reason.
    pub(super) fn open(
        route: &Route,
        service: &Arc<Service>,
        workers: &[Worker],
        places: &Arc<Semaphore>,
    ) -> Result<Self, String> {
        let certificate = route.tls.as_ref().map(Certificate::read).transpose()?;
        let certificate = Arc::new(Mutex::new(certificate));
        let first = workers.first().ok_or("the gateway has no worker")?;
        let _in_worker = first.handle.enter();
        let listener = listen(route.listen).map_err(|error| refusal(route.listen, &error))?;
        let address = listener.local_addr().map_err(|error| refusal(route.listen, &error))?;
        let accepting = Accepting {
            service: Arc::clone(service),
            workers: workers.to_vec(),
            places: Arc::clone(places),
            certificate: Arc::clone(&certificate),
        };
        let task = first.handle.spawn(accepting.run(listener)).abort_handle();
        Ok(Self { declared: route.listen, address, certificate, problem: Mutex::new(None), task })
    }

    /// Whether it is what a route declares, but for the files of the certificate.
    pub(super) fn fits(&self, route: &Route) -> bool {
        let here = self.declared == route.listen || self.address == route.listen;
        here && route.tls.is_some() == lock(&self.certificate).is_some()
    }

    /// Takes other files, or the same ones when they have changed. What is in use stays when they cannot be read.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) fn renew(&self, files: Option<&TlsFiles>) -> Result<(), String> {
        let renewed = {
            let current = lock(&self.certificate);
            match (&*current, files) {
                (Some(current), Some(files)) if current.files() != files => {
                    Certificate::read(files).map(Some)
                }
                (Some(current), _) => current.changed(),
                (None, _) => Ok(None),
            }
        };
        let result = renewed.map(|renewed| {
            if renewed.is_some() {
                *lock(&self.certificate) = renewed;
            }
        });
        *lock(&self.problem) = result.clone().err();
        result
    }

    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn refusal(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another program; stop that or declare another port")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{address} may not be listened on by this user; declare a port of 1024 or above")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is no address of this machine"),
        _ => format!("{address} cannot be listened on: {error}"),
    }
}

/// Takes connections.
struct Accepting {
    service: Arc<Service>,
    workers: Vec<Worker>,
    places: Arc<Semaphore>,
    certificate: Arc<Mutex<Option<Certificate>>>,
}

impl Accepting {
    async fn run(self, listener: TcpListener) {
        loop {
            // While all places are taken, connections wait in the system.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let Ok((stream, peer)) = accept(&listener).await else {
                sleep(AFTER_FAILURE).await;
                continue;
            };
            let acceptor = lock(&self.certificate).as_ref().map(|used| TlsAcceptor::from(used.config()));
            let least = self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.open.load(Relaxed));
            let Some((number, worker)) = least else { return };
            worker.open.fetch_add(1, Relaxed);
            let (open, service) = (Arc::clone(&worker.open), Arc::clone(&self.service));
            worker.handle.spawn(async move {
                let _open = Counted(open);
                Box::pin(serve(stream, peer, acceptor, service, number)).await;
                drop(place);
            });
        }
    }
}

/// One connection of a worker.
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A connection, taken out of the runtime that accepted it: another one may serve it.
async fn accept(listener: &TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream.into_std()?, peer)),
            // A client that went away while it waited is no reason to pause.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
