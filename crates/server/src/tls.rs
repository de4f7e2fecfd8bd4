//! TLS on both ports: certificate and key from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;

use crate::config::TlsFiles;
use crate::error::ServerError;

/// Returns the configuration of handshakes. They support TLS 1.3 and 1.2, and sessions are not resumed: each connection has the
/// round trips of a complete handshake.
///
/// # Errors
/// A file cannot be read, or certificate and key do not belong together.
pub(crate) fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, ServerError> {
    let failed = |path: &Path, cause: String| ServerError::Tls { path: path.to_owned(), cause };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed(&files.certificate, "no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|config| config.with_no_client_auth())
        .and_then(|config| config.with_single_cert(certificates, key));
    let mut config = config.map_err(|error| failed(&files.certificate, error.to_string()))?;
    config.session_storage = Arc::new(tokio_rustls::rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
