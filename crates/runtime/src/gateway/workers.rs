//! Runtimes that connections are served in.

use std::sync::{Arc, Mutex};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::listener::Worker;
use super::{Workers, lock};

/// All runtimes of a gateway.
#[derive(Debug)]
pub(super) struct Pool {
    workers: Vec<Worker>,
    /// Dropped, they end their threads.
    threads: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Pool {
    /// # Errors
    /// When there is no runtime here, or no thread can be started.
    pub(super) fn start(workers: Workers) -> Result<Self, String> {
        let pool = Self { workers: vec![], threads: Mutex::default() };
        match workers {
            Workers::Here => {
                let handle = Handle::try_current();
                let handle =
                    handle.map_err(|error| format!("the gateway is to be started in a runtime: {error}"))?;
                Ok(Self { workers: vec![Worker { handle, open: Arc::default() }], ..pool })
            }
            Workers::Threads(count) => (0..count).try_fold(pool, Self::with_thread),
        }
    }

    fn with_thread(mut self, number: usize) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a thread of the gateway cannot be started: {error}");
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // Ends when the other half is dropped; what is still running is dropped with the runtime.
            let _dropped = runtime.block_on(stopped);
        };
        std::thread::Builder::new().name(format!("gateway-{number}")).spawn(run).map_err(failed)?;
        self.workers.push(Worker { handle, open: Arc::default() });
        lock(&self.threads).push(stop);
        Ok(self)
    }

    pub(super) fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        lock(&self.threads).clear();
    }
}
