//! The encryption of a connection.

/// The use of TLS, which the scheme of a URL implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// `ws://` and `http://`.
    Plain,
    /// `wss://` and `https://`.
    Tls,
}

impl Encryption {
    /// Returns the port of URLs that name none.
    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}
