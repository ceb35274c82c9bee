//! Explanations of the errors of TLS, with what to do.

use rustls::{AlertDescription, CertificateError, Error};

use super::certificate_summary::SUPPORTED_KEYS;
use super::unsupported_key::UnsupportedKey;
use crate::base::time::UnixNanos;

/// Returns an explanation of an error of TLS that a user can do something about.
pub(super) fn explain_tls_error(error: &Error) -> Option<String> {
    let words = match error {
        Error::InvalidCertificate(fault) => return explain_certificate(fault),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a certificate of the client: `tls.client_cert` and `tls.client_key`"
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate,
        ) => "the server does not accept the certificate in `tls.client_cert`",
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know the host name of the URL"
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            return Some(format!(
                "the server has no cipher or no certificate that suits; supported keys are {SUPPORTED_KEYS}"
            ));
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks neither TLS 1.2 nor TLS 1.3"
        }
        Error::PeerIncompatible(_) => {
            "the server and the recorder have no version or method of TLS in common"
        }
        Error::InvalidMessage(_) => {
            "what the server answers is not TLS; a server without TLS has a URL with `ws://`"
        }
        _ => return None,
    };
    Some(words.to_owned())
}

fn explain_certificate(fault: &CertificateError) -> Option<String> {
    let date = |time: &rustls_pki_types::UnixTime| UnixNanos::from_seconds(time.as_secs());
    Some(match fault {
        CertificateError::UnknownIssuer => {
            "the server's certificate is signed by no authority that is trusted here; if it is the right one, name a PEM file with the authority's certificate, or with the server's own, in `tls.ca_file`. The server may also leave out a certificate between its own and the authority's".to_owned()
        }
        CertificateError::BadSignature => {
            "the authority that signed the server's certificate is trusted here by name, but has another key; if the certificate was renewed, write the new one into `tls.ca_file`".to_owned()
        }
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired at {}; it is {} by the clock of this machine",
            date(not_after),
            date(time)
        ),
        CertificateError::NotValidYet => "the server's certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid only from {}; it is {} by the clock of this machine",
            date(not_before),
            date(time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => {
            let host = expected.to_str();
            let kind = if matches!(expected, rustls_pki_types::ServerName::IpAddress(_)) {
                "IP"
            } else {
                "DNS"
            };
            format!(
                "the server's certificate names no host in its subjectAltName, and its common name does not count; it needs `subjectAltName={kind}:{host}`"
            )
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| shown_name(name)).collect();
            format!(
                "the server's certificate is for {}, not for `{}`, the host of the URL",
                names.join(", "),
                expected.to_str()
            )
        }
        fault if is_authority_as_server(fault) => {
            "the server's certificate is one of an authority (CA:TRUE), as `openssl req -x509` makes it; such a certificate is trusted only if `tls.ca_file` holds exactly it. Copy it there, or give the server one with CA:FALSE".to_owned()
        }
        fault if is_other(fault, "UnsupportedCertVersion") => {
            "the server's certificate is one of X.509 version 1, which has no names in a subjectAltName; it needs one of version 3".to_owned()
        }
        fault if is_other(fault, "UnsupportedCriticalExtension") => {
            "the server's certificate has a critical extension that is unknown here, so that it may be meant for something else; it needs one without".to_owned()
        }
        CertificateError::BadEncoding => {
            "the server's certificate, or one with it, cannot be parsed".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers: its extendedKeyUsage lacks serverAuth".to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "the server's certificate, or one with it, is signed in a way that is not supported, such as with SHA-1; supported keys are {SUPPORTED_KEYS}, with SHA-256 or longer hashes"
        ),
        fault => return UnsupportedKey::in_certificate_error(fault).map(ToString::to_string),
    })
}

/// Returns whether a server has identified itself by the certificate of an authority.
pub(super) fn is_authority_as_server(fault: &CertificateError) -> bool {
    is_other(fault, "CaUsedAsEndEntity")
}

/// Returns whether a fault is one of the verifier for which the library has no variant.
fn is_other(fault: &CertificateError, name: &str) -> bool {
    matches!(fault, CertificateError::Other(other) if other.to_string().contains(name))
}

/// Returns a name of a certificate, which the library writes as `DnsName("host")`.
fn shown_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')'));
    format!("`{}`", inner.unwrap_or(name).trim_matches('"'))
}
