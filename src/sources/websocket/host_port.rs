//! The address of a server or of a proxy.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use percent_encoding::percent_decode_str;

/// A host and a port, written as `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct HostPort {
    /// Name or address, without brackets: the name look-up takes it. A name is in lower case and
    /// keeps the trailing dot by which it is complete; an IPv6 address keeps its zone.
    pub(super) host: String,
    pub(super) port: u16,
}

/// The host and port of a URL that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostPortError {
    #[error("the host is missing")]
    NoHost,
    #[error("`{0}` is not a valid host name")]
    InvalidHost(String),
    #[error(
        "the host `{0}` has other letters than ASCII: write it in the form that begins with `xn--`, which a browser shows after it was opened"
    )]
    InternationalHost(String),
    #[error("an IPv6 address stands in brackets, such as `[::1]`")]
    MissingBrackets,
    #[error("`{0}` is not an IPv6 address")]
    InvalidAddress(String),
    #[error("the port is not a number from 1 to 65535")]
    InvalidPort,
}

impl HostPort {
    /// Creates an address. Strips the brackets of an IPv6 address.
    #[cfg(test)]
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { host, port }
    }

    /// Parses the authority of a URL, without a user (RFC 3986, 3.2). An empty port is the default.
    pub(super) fn parse(authority: &str, default_port: u16) -> Result<Self, HostPortError> {
        if let Some(inner) = authority.strip_prefix('[') {
            let (address, rest) = inner.split_once(']').ok_or(HostPortError::MissingBrackets)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => parse_port(port, default_port)?,
                None if rest.is_empty() => default_port,
                None => return Err(HostPortError::InvalidPort),
            };
            return Ok(Self { host: parse_ipv6(address)?, port });
        }
        let (host, port) = match authority.split_once(':') {
            Some((_, rest)) if rest.contains(':') => return Err(HostPortError::MissingBrackets),
            Some((host, port)) => (host, parse_port(port, default_port)?),
            None => (authority, default_port),
        };
        Ok(Self { host: parse_name(host)?, port })
    }

    /// Returns the host and the port as the name look-up takes them.
    pub(super) fn as_pair(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Returns the host as certificates and lists of hosts name it: without the trailing dot of a
    /// name and without the zone of an address.
    pub(super) fn name(&self) -> &str {
        let host = self.host.split('%').next().unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host)
    }

    /// Returns the address without the zone, which means nothing to another machine (RFC 4007, 11.2).
    pub(super) fn without_zone(&self) -> Self {
        let host = self.host.split('%').next().unwrap_or_default().to_owned();
        Self { host, port: self.port }
    }

    /// Returns the address if the host is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.name().parse().ok()
    }

    /// Returns whether the host is this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let name = self.name();
        name == "localhost"
            || name.ends_with(".localhost")
            || self.ip().is_some_and(|address| address.to_canonical().is_loopback())
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

fn parse_port(text: &str, default_port: u16) -> Result<u16, HostPortError> {
    if text.is_empty() {
        return Ok(default_port);
    }
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| is_digits && *port != 0);
    port.ok_or(HostPortError::InvalidPort)
}

/// Parses an IPv6 address with an optional zone, `%eth0` or `%25eth0` (RFC 6874).
fn parse_ipv6(text: &str) -> Result<String, HostPortError> {
    let invalid = || HostPortError::InvalidAddress(text.to_owned());
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| invalid())?;
    match zone {
        None => Ok(address.to_string()),
        Some(zone) if is_zone(zone) => Ok(format!("{address}%{zone}")),
        Some(_) => Err(invalid()),
    }
}

fn is_zone(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Parses a name or an IPv4 address, in which bytes may be percent-encoded (RFC 3986, 3.2.2).
fn parse_name(text: &str) -> Result<String, HostPortError> {
    let invalid = || HostPortError::InvalidHost(text.to_owned());
    let name = percent_decode_str(text).decode_utf8().map_err(|_| invalid())?;
    let name = name.to_lowercase();
    if name.is_empty() {
        return Err(HostPortError::NoHost);
    }
    if !name.is_ascii() {
        return Err(HostPortError::InternationalHost(name));
    }
    let labels = name.strip_suffix('.').unwrap_or(&name);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if labels.split('.').all(is_label) { Ok(name) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_normalized_and_addresses_keep_their_zone() {
        for (authority, printed, name) in [
            ("EXAMPLE.org", "example.org:443", "example.org"),
            ("Example.org.:8443", "example.org.:8443", "example.org"),
            ("ex%61mple.org", "example.org:443", "example.org"),
            ("a_b-c:1", "a_b-c:1", "a_b-c"),
            ("h:", "h:443", "h"),
            ("127.0.0.1:65535", "127.0.0.1:65535", "127.0.0.1"),
            ("[0:0:0:0:0:0:0:1]", "[::1]:443", "::1"),
            ("[FE80::1%25eth0]:9", "[fe80::1%eth0]:9", "fe80::1"),
            ("[fe80::1%eth0]", "[fe80::1%eth0]:443", "fe80::1"),
        ] {
            let parsed = HostPort::parse(authority, 443).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.name()), (printed, name));
        }
    }

    #[test]
    fn a_host_or_port_that_cannot_be_is_an_error() {
        let error = |authority| HostPort::parse(authority, 443).unwrap_err().to_string();
        for authority in ["h:99999", "h:65536", "h:abc", "h:0", "h:+1", "h:-1", "[::1]:x", "[::1]1"]
        {
            assert!(error(authority).contains("from 1 to 65535"), "{authority}");
        }
        for authority in ["", ":80", "."] {
            let error = error(authority);
            assert!(error.contains("missing") || error.contains("valid host"), "{error}");
        }
        assert!(error("::1").contains("in brackets"));
        assert!(error("[::1").contains("in brackets"));
        assert!(error("[::g]").contains("`::g` is not an IPv6 address"));
        for authority in ["a b", "a..b", ".a", "a|b", "a%00b", "a%FFb", "a*"] {
            assert!(error(authority).contains("not a valid host name"), "{authority}");
        }
        for authority in ["b\u{fc}cher.example", "b%C3%BCcher.example"] {
            let error = error(authority);
            assert!(error.contains("`b\u{fc}cher.example`") && error.contains("xn--"), "{error}");
        }
    }
}
