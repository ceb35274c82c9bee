//! The TLS settings of `wss://`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::debug;

use super::ca_file_verifier::CaFileVerifier;
use crate::base::path_text;

/// The certificates for `wss://`, beside the built-in ones and those of the system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificates of further authorities to trust, or with the certificate of the
    /// server itself.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the certificate chain of the client, for servers that require one.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of `client_cert`.
    #[serde(deserialize_with = "path_text::deserialize")]
    pub client_key: Option<PathBuf>,
}

/// TLS settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("`tls.{key}`: cannot read `{}`", path.display())]
    Read { key: &'static str, path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error(
        "`tls.{key}`: `{}` holds no certificate in PEM format, which begins with `-----BEGIN CERTIFICATE-----`",
        path.display()
    )]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error("`tls.ca_file`: a certificate in `{}` is not valid", path.display())]
    InvalidCa { path: PathBuf, source: rustls::Error },
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
            Some(path) => read_certificates("ca_file", path)?,
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
                let chain = read_certificates("client_cert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Read {
                    key: "client_key",
                    path: key.clone(),
                    source,
                })?;
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
        for certificate in own {
            roots.add(certificate.clone()).map_err(|source| TlsError::InvalidCa {
                path: self.ca_file.clone().unwrap_or_default(),
                source,
            })?;
        }
        Ok(roots)
    }
}

fn read_certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |source| TlsError::Read { key, path: path.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(read)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { key, path: path.to_owned() });
    }
    Ok(chain)
}
