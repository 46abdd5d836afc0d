//! Certificates from files, read again when they change.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsFiles;

/// Bytes of a file that are read at most.
const LONGEST: u64 = 1 << 20;

/// What a file was when it was looked at: time of change, size, number.
type Mark = (i64, i64, u64, u64);

/// A certificate in use, and how its files looked.
#[derive(Debug)]
pub(super) struct Certificate {
    files: TlsFiles,
    marks: [Mark; 2],
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, why, and what was expected. The key is never shown.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, String> {
        // Looked at first: a file that changes while it is read is read again.
        let marks = marks(files)?;
        let path = files.certificates.display();
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&contents(&files.certificates)?).collect();
        let chain = chain.map_err(|error| format!("{path} is no PEM: {error}"))?;
        if chain.is_empty() {
            return Err(format!("expected `-----BEGIN CERTIFICATE-----` in {path}, found none"));
        }
        let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?);
        let key =
            key.map_err(|_| format!("expected `-----BEGIN PRIVATE KEY-----` in {}", files.key.display()))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| {
            format!("certificate {path} and key {} cannot be used together: {error}", files.key.display())
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { files: files.clone(), marks, config: Arc::new(config) })
    }

    pub(super) const fn files(&self) -> &TlsFiles {
        &self.files
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The new certificate when the files have changed.
    ///
    /// # Errors
    /// As those of [`Certificate::read`].
    pub(super) fn changed(&self) -> Result<Option<Self>, String> {
        if marks(&self.files)? == self.marks {
            return Ok(None);
        }
        Self::read(&self.files).map(Some)
    }
}

fn marks(files: &TlsFiles) -> Result<[Mark; 2], String> {
    let mark = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok::<_, String>(mark(&metadata))
    };
    Ok([mark(&files.certificates)?, mark(&files.key)?])
}

fn mark(metadata: &Metadata) -> Mark {
    (metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino())
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let mut text = vec![];
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() as u64 > LONGEST {
        return Err(format!("{}: expected at most {LONGEST} bytes", path.display()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_certificate_are_named_and_no_key_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let files =
            TlsFiles { certificates: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let problem = || Certificate::read(&files).unwrap_err();
        assert!(problem().contains("cert.pem: No such file"));
        std::fs::write(&files.certificates, "nothing").unwrap();
        std::fs::write(&files.key, "SECRET").unwrap();
        assert!(problem().contains("expected `-----BEGIN CERTIFICATE-----` in"));
        std::fs::write(&files.certificates, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(problem().contains("key.pem") && !problem().contains("SECRET"), "{}", problem());
        std::fs::write(&files.key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(problem().contains("cannot be used together"), "{}", problem());
        std::fs::write(&files.certificates, vec![b' '; 2 << 20]).unwrap();
        assert!(problem().contains("at most 1048576 bytes"));
    }
}
