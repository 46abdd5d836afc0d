//! Logs of `sos` itself: lines for people on stderr, and for a server JSON in its data directory, where `sos logs sos`
//! finds them beside those of the services.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use sos_runtime::{LogRotation, RotatingFile};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// How much of it is kept: six files of 10 MiB.
const KEPT: LogRotation = LogRotation { max_bytes: 10 << 20, keep: 5 };

/// Set once the data directory is ours.
static FILE: OnceLock<Mutex<RotatingFile>> = OnceLock::new();

/// Starts logging: `SOS_LOG` chooses what (`info`, `sos_engine=debug` …), `SOS_LOG_FORMAT=json` how it looks on stderr.
/// What goes there otherwise is `on_screen`, and `kept` what goes into the file of [`keep`].
pub(crate) fn start(on_screen: &str, kept: &str) {
    let filter = |default: &str| {
        EnvFilter::try_from_env("SOS_LOG")
            .unwrap_or_else(|_| EnvFilter::new(format!("{default},async_nats=error")))
    };
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let screen = fmt::layer().with_writer(io::stderr).with_ansi(colour);
    let screen = match std::env::var("SOS_LOG_FORMAT").as_deref() {
        Ok("json") => screen.json().boxed(),
        _ => screen.with_target(false).boxed(),
    };
    let file = fmt::layer().json().with_writer(ToFile).with_filter(filter(kept));
    let set =
        tracing_subscriber::registry().with(screen.with_filter(filter(on_screen))).with(file).try_init();
    // A second start within one process keeps the first.
    drop(set);
}

/// Keeps what is logged from now on in the data directory, which nobody else writes.
pub(crate) fn keep(data_dir: &Path) {
    match RotatingFile::open(data_dir.join("logs").join("sos.log"), KEPT) {
        // A second start within one process keeps the first.
        Ok(file) => drop(FILE.set(Mutex::new(file))),
        Err(error) => tracing::warn!(%error, "the log of sos is not kept"),
    }
}

/// Writes into the file once there is one.
#[derive(Clone, Copy, Debug)]
struct ToFile;

impl<'a> MakeWriter<'a> for ToFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for ToFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match FILE.get() {
            // A line comes in one piece; a panic of another writer leaves the file whole.
            Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
