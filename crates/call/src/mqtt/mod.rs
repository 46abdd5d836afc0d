//! MQTT connections, shared by deliveries and channels: the protocol is `mqtt-protocol-core`, bytes and time are ours.

mod hello;
mod link;

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use hello::{Hello, Refused, Welcome, connected, farewell};
pub(crate) use link::Link;

use hello::hello;

use crate::http::full;

/// What a client needs for TLS: whom to trust, and the name that the broker's certificate must have.
pub(crate) type Tls = Option<(Arc<ClientConfig>, ServerName<'static>)>;

/// A packet that was built, or why it cannot be.
pub(crate) type Made =
    Result<mqtt_protocol_core::mqtt::packet::Packet, mqtt_protocol_core::mqtt::result_code::MqttError>;

/// Bytes in both directions, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Why there is no connection.
pub(crate) enum DialError {
    /// No TCP connection.
    Tcp(String),
    /// The other side is not who it must be, or speaks no TLS.
    Tls(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(why) => write!(f, "cannot be reached: {why}"),
            Self::Tls(why) => write!(f, "TLS failed: {why}"),
        }
    }
}

/// Connects to a broker. The caller bounds the time.
pub(crate) async fn dial(host: &str, port: u16, tls: &Tls) -> Result<Box<dyn Stream>, DialError> {
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| DialError::Tcp(full(&error)))?;
    // Small packets must not wait for each other; without it they are only slower.
    let _set = tcp.set_nodelay(true);
    let Some((config, name)) = tls else { return Ok(Box::new(tcp)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let tls = Box::pin(connector.connect(name.clone(), tcp)).await;
    Ok(Box::new(tls.map_err(|error| DialError::Tls(full(&error)))?))
}
