//! The server's end of TLS: certificate, private key and their sources.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::CertificateFingerprint;
use model::settings::TlsVersion;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::SupportedProtocolVersion;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use sha2::{Digest, Sha256};

use crate::{protocol_version, provider};

/// Name in throwaway certificates. Clients of the testbed ignore it.
const THROWAWAY_NAME: &str = "shop.testbed.invalid";

/// A certificate with the chain that leads to its authority, and the private key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    fingerprint: CertificateFingerprint,
}

/// Reason for which there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read, or has other content.
    #[error("TLS file '{}': {cause} (expected PEM: the certificate with its chain, and its private key)", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        cause: String,
    },
    /// No certificate could be made.
    #[error("cannot make a TLS certificate: {0}")]
    Throwaway(#[from] rcgen::Error),
}

impl Identity {
    /// Makes a private key, ECDSA on P-256, and a certificate that it has signed itself. Both exist in memory only.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn throwaway() -> Result<Self, IdentityError> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![THROWAWAY_NAME.to_owned()])?;
        let key = PrivateKeyDer::from(rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        Ok(Self { fingerprint: fingerprint(cert.der()), chain: vec![cert.der().clone()], key })
    }

    /// Reads PEM files: the certificate, followed by its chain, and the private key.
    ///
    /// # Errors
    /// A file cannot be read, or has other content.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let failed = |path: &Path, cause: String| IdentityError::File { path: path.to_owned(), cause };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(certificate, error.to_string()))?;
        let first = chain.first().ok_or_else(|| failed(certificate, "no certificate in it".to_owned()))?;
        let fingerprint = fingerprint(first);
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
        let identity = Self { chain, key, fingerprint };
        // Checks that the two belong together.
        identity.config(rustls::ALL_VERSIONS).map_err(|error| failed(certificate, error.to_string()))?;
        Ok(identity)
    }

    /// Returns the fingerprint of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> CertificateFingerprint {
        self.fingerprint
    }

    /// Returns the configuration of a server that accepts this version only.
    ///
    /// # Errors
    /// The key's algorithm does not exist in this version.
    pub fn server_config(&self, version: TlsVersion) -> Result<Arc<ServerConfig>, rustls::Error> {
        self.config(&[protocol_version(version)]).map(Arc::new)
    }

    fn config(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// Returns the fingerprint of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> CertificateFingerprint {
    CertificateFingerprint(Sha256::digest(certificate.as_ref()).into())
}
