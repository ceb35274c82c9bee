//! The address of a server or of a proxy.

use std::fmt;

/// A host and a port, written as `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostPort {
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl HostPort {
    /// Creates an address. Strips the brackets of an IPv6 address.
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { host, port }
    }

    /// Returns the host and the port as the name look-up takes them.
    pub(super) fn as_pair(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
