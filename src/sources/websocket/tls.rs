//! The TLS settings of `wss://`.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::ca_file_verifier::CaFileVerifier;
use super::certificate_summary::{CertificateSummary, SUPPORTED_KEYS};
use super::pem_file::{PemFile, PemFileError};
use crate::base::path_text;

/// The certificates for `wss://`, beside the built-in ones and those of the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM or DER file with the certificates of further authorities to trust, or with the certificate
    /// of the server itself.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub ca_file: Option<PathBuf>,
    /// PEM or DER file with the certificate chain of the client, for servers that require one.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub client_cert: Option<PathBuf>,
    /// PEM or DER file with the private key of `client_cert`.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub client_key: Option<PathBuf>,
}

/// TLS settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    File(#[from] PemFileError),
    #[error("`tls.ca_file`: {certificate} in `{}` {fault}", path.display())]
    UnusableCa { path: PathBuf, certificate: String, fault: String },
    #[error("`tls.client_cert` and `tls.client_key` must be given together: one is missing")]
    IncompleteClientAuth,
    #[error("`tls.client_cert` and `tls.client_key` do not belong together")]
    InvalidClientAuth { source: rustls::Error },
    #[error("cannot set up TLS")]
    ProtocolVersions { source: rustls::Error },
    #[error("cannot set up the verification of certificates")]
    Verifier { source: rustls::client::VerifierBuilderError },
}

impl TlsConfig {
    /// Returns whether nothing is configured.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the certificates and returns the configuration of the TLS client.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = match &self.ca_file {
            Some(path) => PemFile::read("ca_file", path)?.certificates()?,
            None => Vec::new(),
        };
        let roots = Arc::new(self.root_store(&own)?);
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|source| TlsError::Verifier { source })?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::ProtocolVersions { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(CaFileVerifier::new(webpki, own)));
        match (&self.client_cert, &self.client_key) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => {
                let chain = PemFile::read("client_cert", cert)?.certificates()?;
                let key = PemFile::read("client_key", key)?.private_key()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|source| TlsError::InvalidClientAuth { source })
            }
            _ => Err(TlsError::IncompleteClientAuth),
        }
    }

    /// Returns the trusted authorities: the built-in ones (so that an image without certificates
    /// works), those of the system (so that a company's own are trusted) and `own`, those of
    /// `ca_file`.
    fn root_store(&self, own: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            debug!(%error, "cannot load certificates of the system");
        }
        // Certificates that cannot be parsed are left out: no other program can use them either.
        roots.add_parsable_certificates(native.certs);
        let path = self.ca_file.clone().unwrap_or_default();
        let faults: Vec<_> =
            own.iter().map(|certificate| add_authority(&mut roots, certificate)).collect();
        let is_any_usable = faults.iter().any(Option::is_none);
        for ((number, certificate), fault) in (1..).zip(own).zip(faults) {
            let Some(fault) = fault else { continue };
            let certificate = match CertificateSummary::of(certificate) {
                Some(summary) => format!("certificate {number} (`{}`)", summary.subject),
                None => format!("certificate {number}"),
            };
            if !is_any_usable {
                return Err(TlsError::UnusableCa { path, certificate, fault });
            }
            warn!("`tls.ca_file`: {certificate} in `{}` {fault}", path.display());
        }
        Ok(roots)
    }
}

/// Adds an authority to those that are trusted. Returns the reason why it is of no use.
fn add_authority(roots: &mut RootCertStore, certificate: &CertificateDer<'_>) -> Option<String> {
    if let Err(error) = roots.add(certificate.clone()) {
        return Some(format!(
            "is no certificate that can be used ({error}): `openssl x509 -text -noout -in FILE` shows one that is"
        ));
    }
    let key = CertificateSummary::of(certificate)?.unsupported_key?;
    Some(format!(
        "has {key}, of which no signature can be verified: the server needs a certificate with a key, and of an authority with a key, of these kinds: {SUPPORTED_KEYS}"
    ))
}
