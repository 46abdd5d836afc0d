//! TLS: whom to trust.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Whose certificates are trusted. Names and dates are always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that this machine trusts.
    #[default]
    System,
    /// Only those of this PEM text.
    Authorities(Vec<u8>),
}

impl Trust {
    /// The certificates of an own authority.
    ///
    /// # Errors
    /// When the text is no PEM or holds no certificate. With the machine's authorities, when it has none.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = match self {
            Self::System => rustls_native_certs::load_native_certs().certs,
            Self::Authorities(pem) => CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("the certificates of the authority are no PEM: {error}"))?,
        };
        match (self, certificates.is_empty()) {
            (_, false) => Ok(certificates),
            (Self::System, true) => {
                Err("this machine trusts no authority; install ca-certificates or give one".to_owned())
            }
            (Self::Authorities(_), true) => {
                Err("expected `-----BEGIN CERTIFICATE-----` in the PEM of the authority, found none"
                    .to_owned())
            }
        }
    }

    /// What a connection needs to check the other side.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        let certificates = match self {
            // Without any this machine still reaches what is not encrypted; everybody else is a stranger to it.
            Self::System => self.certificates().unwrap_or_default(),
            Self::Authorities(_) => self.certificates()?,
        };
        match self {
            // Machines keep old certificates that nobody can read; the others count.
            Self::System => drop(roots.add_parsable_certificates(certificates)),
            Self::Authorities(_) => {
                for certificate in certificates {
                    let added = roots.add(certificate);
                    added
                        .map_err(|error| format!("a certificate of the authority cannot be used: {error}"))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_none_is_refused() {
        let message = |pem: &[u8]| Trust::Authorities(pem.to_vec()).client_config().unwrap_err();
        assert!(message(b"nothing").contains("expected `-----BEGIN CERTIFICATE-----`"));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(message(broken).contains("no PEM"));
        let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(message(empty).contains("cannot be used"));
    }
}
