//! The client's end of TLS.

use std::sync::Arc;

use model::CertificateFingerprint;
use model::settings::TlsVersion;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};

use crate::{identity, protocol_version, provider};

/// Returns the configuration of a client that accepts only a server with this version and certificate.
#[must_use]
pub fn client_config(version: TlsVersion, certificate: CertificateFingerprint) -> Arc<ClientConfig> {
    config(&[protocol_version(version)], Some(certificate))
}

/// Returns the configuration of a client that accepts every version and certificate: for requests that contain no secrets, and
/// whose response need not be trusted.
#[must_use]
pub fn unverified_client_config() -> Arc<ClientConfig> {
    config(rustls::ALL_VERSIONS, None)
}

fn config(
    versions: &[&'static SupportedProtocolVersion],
    expected: Option<CertificateFingerprint>,
) -> Arc<ClientConfig> {
    let verifier = Verifier { expected, provider: provider() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring has cipher suites of TLS 1.3 and 1.2")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Accepts the certificate with the expected fingerprint, or every certificate. In both cases the server must prove that
/// it has the certificate's private key.
#[derive(Debug)]
struct Verifier {
    expected: Option<CertificateFingerprint>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = identity::fingerprint(certificate);
        match self.expected {
            Some(expected) if expected != presented => {
                let reason = format!("the server's certificate is {presented}, expected {expected}");
                Err(CertificateError::Other(rustls::OtherError(Arc::new(OtherCertificate(reason)))).into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OtherCertificate(String);
