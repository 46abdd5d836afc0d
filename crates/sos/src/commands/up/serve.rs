//! Serving API and dashboard while `sos up` runs.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sos_api::Options;
use sos_engine::clock::wall_now;
use sos_engine::platform::Platform as Engine;
use sos_engine::watch::Retention;
use sos_store::Role;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::outcome::{Failure, Outcome};
use crate::output;
use crate::platform::{LOGIN_CODE_LIFE, Platform, admin_token};

/// The file with the server's address, in the data directory; it exists while the server runs.
const ADDRESS_FILE: &str = "server";
/// The file with the admin's token, in the data directory; only its owner may read it.
const TOKEN_FILE: &str = "token";

/// How `sos up` watches.
pub(super) struct Watching<'a> {
    /// Where people reach this place; none: where it listens.
    pub(super) external_url: Option<&'a str>,
    /// How long metrics are kept.
    pub(super) retention: Retention,
}

/// A server that runs.
pub(super) struct Server {
    stop: CancellationToken,
    task: JoinHandle<()>,
    address_file: PathBuf,
}

/// Takes the address before anything is started, so that a port in use starts nothing.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::AddrInUse => {
                "it is in use: stop what listens there (another `sos up`?), or choose another with --listen \
                 (127.0.0.1:0 takes any free port)"
                    .to_owned()
            }
            ErrorKind::AddrNotAvailable => {
                "this machine has no such address: choose another with --listen".to_owned()
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 need more rights: choose a higher one with --listen".to_owned()
            }
            _ => format!("{error}: choose another with --listen"),
        };
        Failure::unsuccessful(format!("cannot listen on {address}: {why}"))
    })
}

/// Starts to serve; tells the address and a one-time login link on stdout, and both address and token in files.
pub(super) fn start(
    listener: TcpListener,
    engine: &Arc<Engine>,
    data_dir: &Path,
    watching: Watching<'_>,
) -> Result<Server, Failure> {
    let address = listener.local_addr().map_err(Failure::unsuccessful)?;
    let reached = format!("http://{}", reachable(address));
    let store = engine.store();
    admin_token(store, &data_dir.join(TOKEN_FILE)).map_err(Failure::unsuccessful)?;
    let code = store
        .create_login_code("admin", Role::Admin, wall_now() + LOGIN_CODE_LIFE)
        .map_err(Failure::unsuccessful)?;
    let stop = CancellationToken::new();
    let platform = Platform::new(Arc::clone(engine));
    let measured = Arc::downgrade(&platform);
    let own = move || measured.upgrade().map(|platform| platform.measures()).unwrap_or_default();
    let external = watching.external_url.map_or(&*reached, |url| url.trim_end_matches('/'));
    engine
        .start_watching(external.to_owned(), Arc::new(own), watching.retention)
        .map_err(Failure::unsuccessful)?;
    engine.start_rules();
    let task = tokio::spawn(sos_api::serve(listener, platform, Options::new(address), stop.clone()));
    let address_file = data_dir.join(ADDRESS_FILE);
    let server = Server { stop, task, address_file };
    std::fs::write(&server.address_file, format!("{reached}\n")).map_err(|error| {
        Failure::unsuccessful(format!("cannot write {}: {error}", server.address_file.display()))
    })?;
    tell(&reached, code.expose_str().unwrap_or_default())?;
    Ok(server)
}

fn tell(reached: &str, code: &str) -> Outcome {
    output::text(&format!("API and dashboard: {reached}\nLog in once with: {reached}/#login={code}\n"))
}

/// An address that a client of this machine can use: one that stands for all of them is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

impl Server {
    /// Lets running requests finish and ends open streams. The address file goes: the port may soon be somebody else's,
    /// who must not be sent the token.
    pub(super) async fn stop(self) {
        if let Err(error) = std::fs::remove_file(&self.address_file) {
            tracing::warn!(%error, file = %self.address_file.display(), "cannot be removed");
        }
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server ended abnormally");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_all_is_reached_by_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7600"), "127.0.0.1:7600");
        assert_eq!(reached("[::]:7600"), "[::1]:7600");
        assert_eq!(reached("192.0.2.1:80"), "192.0.2.1:80");
    }
}
