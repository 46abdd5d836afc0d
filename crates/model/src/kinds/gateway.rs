//! One stable address before the replicas of a `Service`, as declared.

use jiff::SignedDuration;

use crate::declare::{record, words};
use crate::field::Cx;
use crate::node::Node;
use crate::scalar::Name;
use crate::schema::{ABOVE_ZERO, Range};

record! {
    /// One stable address for all replicas: requests are spread over those that are ready, retried where that is safe, held
    /// while the service wakes up, and measured. How often and how long is declared by `calls`. In a cluster of Kubernetes its
    /// own Services do this.
    pub struct GatewaySpec checked by check_gateway {
        /// The port that is listened on. Default: a free one that is kept.
        port: Option<u16>, in Range::between(1.0, 65535.0);
        /// The address that is listened on; `0.0.0.0` for all of this machine.
        address: String = "127.0.0.1".to_owned();
        /// The service's port that requests are sent to. Default: the first.
        to: Option<Name>;
        /// What replicas speak.
        protocol: GatewayProtocol = GatewayProtocol::Auto;
        /// Clients come by TLS, with these files.
        tls: Option<GatewayTls>;
        /// Requests that wait at most while no replica is ready, 1 … 100000.
        hold: u32 = 1000, in Range::between(1.0, 100_000.0);
        /// How long each of them waits; then 503.
        hold_for: SignedDuration = SignedDuration::from_secs(60), in ABOVE_ZERO;
    }
}

words! {
    /// What replicas speak. Clients may speak HTTP/1.1 or HTTP/2 anyway.
    pub enum GatewayProtocol as "protocol" {
        /// gRPC by HTTP/2, all else by HTTP/1.1.
        Auto,
        /// HTTP/1.1.
        Http1,
        /// HTTP/2 without TLS.
        Http2,
    }
}

record! {
    /// Files in PEM, relative to the manifest. They are read again when they change.
    pub struct GatewayTls {
        /// The certificate, then those between it and the authority.
        certificate: String;
        /// The private key, not encrypted.
        key: String;
    }
}

fn check_gateway(gateway: &GatewaySpec, node: &Node, cx: &mut Cx<'_>) {
    if !is_address(&gateway.address) {
        let position = node.get("address").map_or(node.position, |n| n.position);
        cx.report(position, "address is not an IP address", "expected such as 127.0.0.1, 0.0.0.0 or ::1");
    }
}

/// Four numbers with dots, or hexadecimal groups with colons; what is no address all the same is told when it is listened on.
fn is_address(text: &str) -> bool {
    let dotted = text.split('.').count() == 4 && text.split('.').all(|part| part.parse::<u8>().is_ok());
    let colons = text.contains(':') && text.chars().all(|c| c.is_ascii_hexdigit() || c == ':' || c == '.');
    dotted || colons
}
