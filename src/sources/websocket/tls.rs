//! The TLS side of `wss://`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Certificates beyond the built-in and the system's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with certificates of authorities to trust as well.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain, for servers that ask for one.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the private key of `client_cert`.
    pub client_key: Option<PathBuf>,
}

/// A TLS set-up that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("`tls.{key}`: cannot read `{}`", path.display())]
    Read { key: &'static str, path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("`tls.{key}`: there is no certificate in `{}`", path.display())]
    NoCertificate { key: &'static str, path: PathBuf },
    #[error("`tls.ca_file`: a certificate in `{}` is not valid", path.display())]
    InvalidCa { path: PathBuf, source: rustls::Error },
    #[error("`tls.client_cert` and `tls.client_key` go together: one is missing")]
    IncompleteClientAuth,
    #[error("`tls.client_cert` and `tls.client_key` do not fit")]
    InvalidClientAuth { source: rustls::Error },
    #[error("TLS cannot be set up")]
    ProtocolVersions { source: rustls::Error },
}

impl TlsConfig {
    /// Whether nothing is configured.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the certificates; done once, not at every connect.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::ProtocolVersions { source })?
            .with_root_certificates(self.root_store()?);
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

    /// The built-in authorities (so that a bare image works), the system's (so that a company's
    /// own are trusted), and those of `ca_file`.
    fn root_store(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        // A system certificate that cannot be parsed is not needed by anyone else either.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.ca_file {
            for certificate in read_certificates("ca_file", path)? {
                roots
                    .add(certificate)
                    .map_err(|source| TlsError::InvalidCa { path: path.clone(), source })?;
            }
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

/// Whether an I/O error is TLS's own: the certificate, the name, the protocol.
pub(super) fn is_tls_error(error: &io::Error) -> bool {
    error.get_ref().is_some_and(
        <dyn std::error::Error + std::marker::Send + std::marker::Sync + 'static>::is::<
            rustls::Error,
        >,
    )
}
