//! TLS to a broker.

use rustls::ClientConfig;

use crate::tls::{Identity, Trust};

/// TLS to a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerTls {
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// The certificate of this machine, for brokers that ask for one.
    pub identity: Option<Identity>,
}

impl BrokerTls {
    /// What a connection needs.
    pub(super) fn client_config(&self) -> Result<ClientConfig, String> {
        self.trust.client_config_as(self.identity.as_ref())
    }
}
