//! The verification of a server's certificate that `tls.ca_file` holds.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate_advice::is_authority_as_server;
use super::certificate_summary::CertificateSummary;
use super::unsupported_key::UnsupportedKey;

/// Verifies as [`WebPkiServerVerifier`] does, but trusts a server's certificate that is byte for byte
/// in `tls.ca_file` without regard to its issuer and its purpose, as OpenSSL and browsers do: it may
/// be self-signed with CA:TRUE, or signed by an authority that is not in the file. Its names, its
/// dates and the signature of the handshake are checked all the same.
#[derive(Debug)]
pub(super) struct CaFileVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl CaFileVerifier {
    /// Creates a verifier with the certificates of `tls.ca_file`.
    pub(super) fn new(
        webpki: Arc<WebPkiServerVerifier>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self { webpki, certificates }
    }

    /// Returns the first certificate of the chain of a server whose key is unsupported.
    fn unsupported_key(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Option<UnsupportedKey> {
        let sent = std::iter::once(end_entity).chain(intermediates);
        let issuers: Vec<_> =
            sent.clone().filter_map(CertificateSummary::of).map(|summary| summary.issuer).collect();
        let has_signed = |own: &&CertificateDer<'_>| {
            CertificateSummary::of(own).is_some_and(|summary| issuers.contains(&summary.subject))
        };
        let own = self.certificates.iter().filter(has_signed);
        sent.chain(own).find_map(UnsupportedKey::of)
    }
}

impl ServerCertVerifier for CaFileVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(Error::InvalidCertificate(fault))
                if is_about_issuer_or_purpose(&fault)
                    && self.certificates.iter().any(|own| own == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Err(Error::InvalidCertificate(fault)) if is_about_issuer_or_purpose(&fault) => {
                let unsupported = self.unsupported_key(end_entity, intermediates);
                Err(unsupported
                    .map_or(Error::InvalidCertificate(fault), UnsupportedKey::into_tls_error))
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.webpki.verify_tls12_signature(message, cert, dss);
        verified.map_err(|error| explain_key(error, cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.webpki.verify_tls13_signature(message, cert, dss);
        verified.map_err(|error| explain_key(error, cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Returns the error of a signature, or the reason that lies in the key of the certificate.
fn explain_key(error: Error, certificate: &CertificateDer<'_>) -> Error {
    UnsupportedKey::of(certificate).map_or(error, UnsupportedKey::into_tls_error)
}

/// Returns whether a fault is one that webpki finds only after it has found the dates valid, and
/// before it looks at the names.
fn is_about_issuer_or_purpose(fault: &CertificateError) -> bool {
    matches!(
        fault,
        CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::InvalidPurpose
            | CertificateError::InvalidPurposeContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    ) || is_authority_as_server(fault)
}
