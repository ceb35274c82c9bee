//! The subject and the key of a certificate (RFC 5280, 4.1), for errors and warnings.

use rustls_pki_types::CertificateDer;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Tag of the version, which certificates of version 1 lack.
const VERSION: u8 = 0xA0;

/// Names of the parts of a name that are shown, by their object identifier.
const NAME_PARTS: [(&[u8], &str); 3] =
    [(&[0x55, 4, 3], "CN"), (&[0x55, 4, 10], "O"), (&[0x55, 4, 11], "OU")];

const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 10];
const ELLIPTIC_CURVE: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const ED25519: &[u8] = &[0x2B, 0x65, 0x70];
const ED448: &[u8] = &[0x2B, 0x65, 0x71];
const DSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x38, 4, 1];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const P384: &[u8] = &[0x2B, 0x81, 4, 0, 34];
const P521: &[u8] = &[0x2B, 0x81, 4, 0, 35];
const SECP256K1: &[u8] = &[0x2B, 0x81, 4, 0, 10];

/// Keys that the TLS library verifies signatures with.
pub(super) const SUPPORTED_KEYS: &str =
    "RSA of 2048 to 8192 bits, ECDSA with the curves P-256 and P-384, and Ed25519";

/// A certificate as an error shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateSummary {
    /// Common name, organization and unit.
    pub(super) subject: String,
    /// The same of the authority that signed it.
    pub(super) issuer: String,
    /// The kind of its key, if signatures of it cannot be verified.
    pub(super) unsupported_key: Option<String>,
}

/// The kind of a public key.
enum KeyKind {
    Supported,
    /// Signatures of it cannot be verified. The text is what an error calls it.
    Unsupported(String),
}

/// A value in DER: a tag, a length, and the content.
#[derive(Clone, Copy)]
struct DerValue<'a> {
    tag: u8,
    content: &'a [u8],
}

/// The values that follow each other in the content of another one.
struct DerValues<'a>(&'a [u8]);

impl<'a> Iterator for DerValues<'a> {
    type Item = DerValue<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
                let length = bytes.iter().try_fold(0_usize, |length, byte| {
                    Some(length.checked_mul(256)? + usize::from(*byte))
                });
                (length?, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(DerValue { tag, content })
    }
}

impl CertificateSummary {
    /// Returns the summary, or `None` if the bytes are no certificate.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = sequence(DerValues(certificate).next()?)?.next()?;
        let mut fields = sequence(certificate)?.skip_while(|field| field.tag == VERSION);
        // Serial number and algorithm of the signature come first.
        let issuer = name_text(fields.nth(2)?)?;
        let _validity = fields.next()?;
        let subject = name_text(fields.next()?)?;
        let unsupported_key = match key_kind(fields.next()?)? {
            KeyKind::Supported => None,
            KeyKind::Unsupported(kind) => Some(kind),
        };
        Some(Self { subject, issuer, unsupported_key })
    }
}

fn sequence(value: DerValue<'_>) -> Option<DerValues<'_>> {
    (value.tag == SEQUENCE).then_some(DerValues(value.content))
}

fn name_text(name: DerValue<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for set in sequence(name)? {
        for attribute in DerValues(set.content) {
            let mut attribute = sequence(attribute)?;
            let id = attribute.next()?.content;
            let value = attribute.next()?.content;
            if let Some((_, short)) = NAME_PARTS.iter().find(|(known, _)| *known == id) {
                parts.push(format!("{short}={}", String::from_utf8_lossy(value)));
            }
        }
    }
    Some(if parts.is_empty() { "no name".to_owned() } else { parts.join(", ") })
}

/// Returns the kind of a key.
fn key_kind(key: DerValue<'_>) -> Option<KeyKind> {
    let mut fields = sequence(key)?;
    let mut algorithm = sequence(fields.next()?)?;
    let bits = fields.next().filter(|bits| bits.tag == BIT_STRING)?;
    let kind = match algorithm.next()?.content {
        RSA => match rsa_bits(bits)? {
            2048..=8192 => return Some(KeyKind::Supported),
            bits => format!("an RSA key of {bits} bits"),
        },
        ELLIPTIC_CURVE => {
            let curve = algorithm.next().filter(|curve| curve.tag == OBJECT_IDENTIFIER);
            match curve.map(|curve| curve.content) {
                Some(P256 | P384) => return Some(KeyKind::Supported),
                Some(P521) => "an ECDSA key with the curve P-521".to_owned(),
                Some(SECP256K1) => "an ECDSA key with the curve secp256k1".to_owned(),
                _ => "an ECDSA key with another curve".to_owned(),
            }
        }
        ED25519 => return Some(KeyKind::Supported),
        ED448 => "an Ed448 key".to_owned(),
        DSA => "a DSA key".to_owned(),
        RSA_PSS => "a key for RSA-PSS alone".to_owned(),
        _ => "a key of an unknown kind".to_owned(),
    };
    Some(KeyKind::Unsupported(kind))
}

/// Returns the length of the modulus of an RSA key.
fn rsa_bits(bits: DerValue<'_>) -> Option<usize> {
    // The first byte counts the unused bits.
    let (_, key) = bits.content.split_first()?;
    let modulus = sequence(DerValues(key).next()?)?.next()?;
    let digits = modulus.content.iter().skip_while(|byte| **byte == 0);
    let leading_zeros = digits.clone().next()?.leading_zeros() as usize;
    (modulus.tag == INTEGER).then_some(digits.count() * 8 - leading_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn the_subject_and_the_key_of_a_certificate_are_found() {
        let mut params = CertificateParams::new(vec!["h".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "b\u{fc}ro");
        params.distinguished_name.push(DnType::OrganizationName, "An office");
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let summary = CertificateSummary::of(certificate.der()).unwrap();
            assert!(summary.subject.contains("CN=b\u{fc}ro"), "{summary:?}");
            assert!(summary.subject.contains("O=An office"), "{summary:?}");
            assert_eq!(summary.unsupported_key, None);
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_summary() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["h".to_owned()]).unwrap();
        let whole = params.self_signed(&key).unwrap().der().to_vec();
        for length in 0..whole.len() {
            let cut = CertificateDer::from(whole[..length].to_vec());
            assert_eq!(CertificateSummary::of(&cut), None, "{length}");
        }
        for bytes in
            [&b"0\x80"[..], b"0\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"0\xff", b"0\x030\x01"]
        {
            assert_eq!(CertificateSummary::of(&CertificateDer::from(bytes)), None);
        }
    }
}
