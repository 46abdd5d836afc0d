//! TLS: whom to trust, and who we are.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::secret::Secret;

/// Whose certificates are trusted. Names and dates are always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this machine trusts.
    #[default]
    System,
    /// Only those of this PEM text.
    Authorities(Vec<u8>),
    /// Those that this machine trusts and those of this PEM text: a company's own beside the public ones.
    SystemAnd(Vec<u8>),
}

/// Who we are towards servers that ask for a certificate (mutual TLS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM text: our certificate first, then those between it and the authority.
    pub certificates: Vec<u8>,
    /// PEM text: the private key of the first certificate, as PKCS #8, PKCS #1 (RSA) or SEC 1 (EC), not encrypted.
    pub key: Secret,
}

impl Trust {
    /// Whether this machine's authorities are trusted.
    pub(crate) const fn includes_system(&self) -> bool {
        matches!(self, Self::System | Self::SystemAnd(_))
    }

    /// The certificates of an own authority; none where only this machine's are trusted.
    ///
    /// # Errors
    /// When the text is no PEM or holds no certificate.
    pub(crate) fn own(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        match self {
            Self::System => Ok(vec![]),
            Self::Authorities(pem) | Self::SystemAnd(pem) => certificates(pem, "the authority"),
        }
    }

    /// What a connection needs to check the other side.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        self.client_config_as(None)
    }

    /// The same, saying who we are where a server asks.
    pub(crate) fn client_config_as(&self, identity: Option<&Identity>) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = builder.with_root_certificates(self.roots()?);
        let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(&identity.certificates, "the client")?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes()).map_err(|_| {
            "expected `-----BEGIN PRIVATE KEY-----` in the PEM of the client's key".to_owned()
        })?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("the client's certificate and key cannot be used: {error}"))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if self.includes_system() {
            // Machines keep old certificates that nobody can read; the others count. Without any this machine still
            // reaches what is not encrypted; everybody else is a stranger to it.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        for certificate in self.own()? {
            let added = roots.add(certificate);
            added.map_err(|error| format!("a certificate of the authority cannot be used: {error}"))?;
        }
        Ok(roots)
    }
}

fn certificates(pem: &[u8], whose: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| format!("the certificates of {whose} are no PEM: {error}"))?;
    if read.is_empty() {
        return Err(format!("expected `-----BEGIN CERTIFICATE-----` in the PEM of {whose}, found none"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_none_is_refused() {
        for own in [Trust::Authorities, Trust::SystemAnd] {
            let message = |pem: &[u8]| own(pem.to_vec()).client_config().unwrap_err();
            assert!(message(b"nothing").contains("expected `-----BEGIN CERTIFICATE-----`"));
            let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
            assert!(message(broken).contains("no PEM"));
            let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            assert!(message(empty).contains("cannot be used"));
        }
    }

    #[test]
    fn an_identity_that_is_none_is_refused_without_showing_its_key() {
        let refused = |certificates: &str, key: &str| {
            let identity = Identity { certificates: certificates.into(), key: Secret::new(key) };
            Trust::System.client_config_as(Some(&identity)).unwrap_err()
        };
        assert!(refused("nothing", "SECRET").contains("in the PEM of the client, found none"));
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let message = refused(certificate, "SECRET");
        assert!(message.contains("client's key") && !message.contains("SECRET"), "{message}");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(refused(certificate, key).contains("cannot be used"));
    }
}
