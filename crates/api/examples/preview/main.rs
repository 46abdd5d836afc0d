//! Shows the dashboard with sample data: `cargo run --release -p sos-api --example preview [-- PORT [ODD]]`.
//! `ODD` as second argument adds markup to all names.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    reason = "a development command, not part of the product"
)]

#[path = "fake.rs"]
mod fake;

use std::{env::args, sync::Arc, time::Duration};

use sos_api::{Options, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port: u16 = args().nth(1).map_or(7600, |port| port.parse().expect("PORT is a number"));
    let odd = if args().nth(2).is_some() { "<img src=x onerror=alert(1)>" } else { "" };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    println!("http://{address}/#login=once (or one of the tokens viewer-token, operator-token, admin-token)");
    let fake = Arc::new(fake::Fake::busy(38, odd));
    let moving = Arc::clone(&fake);
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_secs(6));
        pace.tick().await;
        loop {
            pace.tick().await;
            moving.advance();
        }
    });
    let stop = CancellationToken::new();
    let ctrl_c = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        ctrl_c.cancel();
    });
    serve(listener, fake, Options::new(address), stop).await;
}
