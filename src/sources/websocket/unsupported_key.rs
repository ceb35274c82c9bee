//! The error of a certificate whose key is of an unsupported kind.

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};
use rustls_pki_types::CertificateDer;

use super::certificate_summary::{CertificateSummary, SUPPORTED_KEYS};

/// A certificate of which no signature can be verified.
#[derive(Debug, thiserror::Error)]
#[error(
    "a certificate that the connection depends on, `{subject}`, has {key}; supported are {SUPPORTED_KEYS}"
)]
pub(super) struct UnsupportedKey {
    subject: String,
    key: String,
}

impl UnsupportedKey {
    /// Returns the error if the key of the certificate is unsupported.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let CertificateSummary { subject, unsupported_key, .. } =
            CertificateSummary::of(certificate)?;
        unsupported_key.map(|key| Self { subject, key })
    }

    /// Returns the error in an error of TLS, if it is one.
    pub(super) fn in_certificate_error(error: &CertificateError) -> Option<&Self> {
        match error {
            CertificateError::Other(OtherError(other)) => other.downcast_ref(),
            _ => None,
        }
    }

    /// Returns the error of TLS that holds this one.
    pub(super) fn into_tls_error(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}
