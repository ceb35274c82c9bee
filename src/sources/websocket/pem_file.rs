//! The files of certificates and keys that the configuration names.

use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// First bytes of a file in DER format: a sequence with a length of two bytes.
const DER_START: &[u8] = &[0x30, 0x82];
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A file in PEM or DER format.
pub(super) struct PemFile {
    /// Key of the section `tls` that names the file.
    key: &'static str,
    path: PathBuf,
    content: PemContent,
}

/// The content of a file, by its format.
enum PemContent {
    /// A text of lines without white space around them.
    Pem(String),
    Der(Vec<u8>),
}

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("`tls.{key}`: `{}` {kind}", path.display())]
pub(super) struct PemFileError {
    key: &'static str,
    path: PathBuf,
    kind: PemFileErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum PemFileErrorKind {
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error("is empty")]
    Empty,
    #[error(
        "holds no certificate in PEM format, which begins with `-----BEGIN CERTIFICATE-----`{0}"
    )]
    NoCertificate(FoundSections),
    #[error("holds no private key, which begins with `-----BEGIN PRIVATE KEY-----`{0}")]
    NoKey(FoundSections),
    #[error(
        "holds an encrypted private key: decrypt it with `openssl pkey -in FILE -out NEW_FILE`"
    )]
    EncryptedKey,
    #[error("is damaged: its certificate {number} {fault}; copy it anew")]
    DamagedCertificate { number: usize, fault: String },
    #[error("is damaged: its private key {0}; copy it anew")]
    DamagedKey(String),
}

/// The kinds of sections that a PEM file holds instead of the wanted one.
#[derive(Debug)]
struct FoundSections(Vec<String>);

impl PemFile {
    pub(super) fn read(key: &'static str, path: &Path) -> Result<Self, PemFileError> {
        let error = |kind| PemFileError { key, path: path.to_owned(), kind };
        let bytes = std::fs::read(path).map_err(|cause| error(PemFileErrorKind::Read(cause)))?;
        if bytes.trim_ascii().is_empty() {
            return Err(error(PemFileErrorKind::Empty));
        }
        let content = if bytes.starts_with(DER_START) {
            PemContent::Der(bytes)
        } else {
            PemContent::Pem(normalize(&decode_text(&bytes)))
        };
        Ok(Self { key, path: path.to_owned(), content })
    }

    /// Returns the certificates, of which there is at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
        let text = match &self.content {
            PemContent::Der(bytes) => return Ok(vec![bytes.clone().into()]),
            PemContent::Pem(text) => text,
        };
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            let number = certificates.len() + 1;
            certificates.push(certificate.map_err(|error| {
                let fault = damage(&error);
                self.error(PemFileErrorKind::DamagedCertificate { number, fault })
            })?);
        }
        if certificates.is_empty() {
            return Err(self.error(PemFileErrorKind::NoCertificate(FoundSections::of(text))));
        }
        Ok(certificates)
    }

    /// Returns the private key.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemFileError> {
        let text = match &self.content {
            PemContent::Der(bytes) => {
                return PrivateKeyDer::try_from(bytes.clone())
                    .map_err(|_| self.error(PemFileErrorKind::NoKey(FoundSections(Vec::new()))));
            }
            PemContent::Pem(text) => text,
        };
        let sections = FoundSections::of(text);
        let is_encrypted = text.contains("ENCRYPTED");
        PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
            self.error(match error {
                _ if is_encrypted => PemFileErrorKind::EncryptedKey,
                pem::Error::NoItemsFound => PemFileErrorKind::NoKey(sections),
                error => PemFileErrorKind::DamagedKey(damage(&error)),
            })
        })
    }

    fn error(&self, kind: PemFileErrorKind) -> PemFileError {
        PemFileError { key: self.key, path: self.path.clone(), kind }
    }
}

impl FoundSections {
    fn of(text: &str) -> Self {
        let labels = text.lines().filter_map(|line| line.strip_prefix("-----BEGIN "));
        Self(labels.map(|label| label.trim_end_matches('-').to_owned()).collect())
    }
}

/// Writes the continuation of an error: what was found, and what to do about it.
impl std::fmt::Display for FoundSections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        write!(f, "; it holds `{first}`")?;
        match first.as_str() {
            label if label.ends_with("PRIVATE KEY") => {
                write!(f, ", a key, which belongs into `tls.client_key`")
            }
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                write!(f, ", which an authority has to sign first")
            }
            "TRUSTED CERTIFICATE" => {
                write!(f, ": convert it with `openssl x509 -in FILE -out NEW_FILE`")
            }
            "PKCS7" | "CMS" => {
                write!(f, ": convert it with `openssl pkcs7 -print_certs -in FILE -out NEW_FILE`")
            }
            _ => Ok(()),
        }
    }
}

/// Returns the text of a file. Editors of Windows write UTF-16 and byte order marks.
fn decode_text(bytes: &[u8]) -> String {
    let (start, rest) = bytes.split_at(bytes.len().min(2));
    let decode = |unit: fn([u8; 2]) -> u16| {
        let (units, _) = rest.as_chunks();
        let units: Vec<_> = units.iter().map(|bytes| unit(*bytes)).collect();
        String::from_utf16_lossy(&units)
    };
    match start {
        [0xFF, 0xFE] => decode(u16::from_le_bytes),
        [0xFE, 0xFF] => decode(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Returns a text without its byte order mark and without the white space around its lines, with
/// which the library finds nothing.
fn normalize(text: &str) -> String {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut normalized = String::with_capacity(text.len() + 1);
    for line in text.lines() {
        normalized.push_str(line.trim());
        normalized.push('\n');
    }
    normalized
}

/// Returns the fault of a section, which has no words of its own for people.
fn damage(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "has no line `-----END …-----`".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "has a first line that is not whole".to_owned(),
        pem::Error::Base64Decode(_) => "is not Base64".to_owned(),
        other => format!("cannot be parsed ({other})"),
    }
}
