//! Connecting through a proxy: HTTP CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928 and 1929).

use std::net::IpAddr;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;
use tokio_tungstenite::tungstenite::http::Uri;

use super::connection::io_disconnect;
use crate::plugin::{Disconnect, DownCause};

/// The value of `proxy` that means none, whatever the environment says.
const NO_PROXY_VALUE: &str = "none";
/// The head of a proxy's answer is not longer.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// A proxy.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    scheme: ProxyScheme,
    pub(super) host: String,
    pub(super) port: u16,
    credentials: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyScheme {
    Http,
    Socks5,
}

/// A text that names no proxy. Says nothing of the text, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{origin} {kind}")]
pub(super) struct ProxyError {
    /// Where the text was found.
    origin: String,
    kind: ProxyErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum ProxyErrorKind {
    #[error(
        "is not a proxy: write `http://HOST:PORT` or `socks5://HOST:PORT`, with `USER:PASSWORD@` in front of the host where it wants that"
    )]
    Malformed,
    #[error(
        "names a user for a SOCKS5 proxy, which wants a name and a password, each of 1 to 255 bytes: write `socks5://USER:PASSWORD@HOST:PORT`"
    )]
    Socks5Credentials,
}

impl Proxy {
    /// The proxy on the way to a server: as configured, else as the environment says. `variable` gives
    /// the value of an environment variable.
    pub(super) fn for_server(
        configured: Option<&str>,
        tls: bool,
        host: &str,
        port: u16,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        match configured {
            Some(NO_PROXY_VALUE) => return Ok(None),
            Some(url) => return Self::parse(url, "`proxy`").map(Some),
            None => {}
        }
        let variable = |name: &&str| {
            let value = variable(name).filter(|value| !value.trim().is_empty());
            value.map(|value| (format!("the environment variable `{name}`"), value))
        };
        let exempt = ["no_proxy", "NO_PROXY"].iter().find_map(variable);
        if is_loopback(host) || exempt.is_some_and(|(_, list)| is_in_no_proxy(&list, host, port)) {
            return Ok(None);
        }
        let names: &[&str] = if tls {
            &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        } else {
            &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        };
        let found = names.iter().find_map(variable);
        found.map(|(from, url)| Self::parse(url.trim(), &from)).transpose()
    }

    fn parse(url: &str, from: &str) -> Result<Self, ProxyError> {
        let fault = || ProxyError { origin: from.to_owned(), kind: ProxyErrorKind::Malformed };
        let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = whole.parse().map_err(|_| fault())?;
        let (kind, default_port) = match uri.scheme_str() {
            Some("http") => (ProxyScheme::Http, 80),
            // The name of the server is resolved by the proxy in either case.
            Some("socks5" | "socks5h") => (ProxyScheme::Socks5, 1080),
            _ => return Err(fault()),
        };
        let authority = uri.authority().ok_or_else(fault)?;
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            (decoded(name), decoded(password))
        });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(default_port);
        // Their lengths are sent in a byte each, and may not be 0 (RFC 1929, 2).
        let sendable = |(name, password): &(String, String)| {
            [name, password].iter().all(|text| (1..=255).contains(&text.len()))
        };
        if kind == ProxyScheme::Socks5 && !user.as_ref().is_none_or(sendable) {
            return Err(ProxyError {
                origin: from.to_owned(),
                kind: ProxyErrorKind::Socks5Credentials,
            });
        }
        if host.is_empty() || !matches!(uri.path(), "" | "/") {
            return Err(fault());
        }
        Ok(Self { scheme: kind, host, port, credentials: user })
    }

    /// The proxy as a URL, with its password.
    pub(super) fn url(&self) -> String {
        let scheme = if self.scheme == ProxyScheme::Http { "http" } else { "socks5" };
        let encoded = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let user = self.credentials.as_ref().map_or_else(String::new, |(name, password)| {
            format!("{}:{}@", encoded(name), encoded(password))
        });
        format!("{scheme}://{user}{}", host_port(&self.host, self.port))
    }

    /// A connection to the server, over one to the proxy.
    pub(super) async fn open_tunnel(
        &self,
        tcp: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, Disconnect> {
        match self.scheme {
            ProxyScheme::Http => self.http_connect(tcp, &host_port(host, port)).await,
            ProxyScheme::Socks5 => {
                let tunnel = match &self.credentials {
                    None => Socks5Stream::connect_with_socket(tcp, (host, port)).await,
                    Some((name, password)) => {
                        let target = (host, port);
                        Socks5Stream::connect_with_password_and_socket(tcp, target, name, password)
                            .await
                    }
                };
                tunnel.map(Socks5Stream::into_inner).map_err(|error| self.disconnect(error))
            }
        }
    }

    async fn http_connect(
        &self,
        mut tcp: TcpStream,
        target: &str,
    ) -> Result<TcpStream, Disconnect> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some((name, password)) = &self.credentials {
            let basic = BASE64.encode(format!("{name}:{password}").as_bytes());
            request.push_str("Proxy-Authorization: Basic ");
            request.push_str(&basic);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await.map_err(|error| io_disconnect(&error))?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > MAX_HEAD_BYTES {
                return Err(self.disconnect("its answer is not HTTP"));
            }
            // What follows belongs to the tunnel.
            match tcp.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return Err(self.disconnect("it ended the connection")),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let line = head.lines().next().unwrap_or_default();
        let mut words = line.splitn(2, ' ');
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or(line));
        if version.starts_with("HTTP/1.") && status.starts_with('2') {
            return Ok(tcp);
        }
        Err(self.disconnect(status))
    }

    fn disconnect(&self, why: impl std::fmt::Display) -> Disconnect {
        Disconnect::new(DownCause::Connect, format!("{self} made no connection: {why}"))
    }
}

/// Without its password.
impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the proxy {}", host_port(&self.host, self.port))
    }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whether this is the machine itself, to which the environment means no proxy.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a server is in the list of `no_proxy`: names that are also for what ends in them, with or
/// without a port; or `*`.
fn is_in_no_proxy(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (name, of_port) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') => (name, digits.parse().ok()),
            _ => (entry.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        let matches = name == "*" || host == name || host.ends_with(&format!(".{name}"));
        matches && of_port.is_none_or(|other: u16| other == port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], tls: bool, host: &str) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Proxy::for_server(None, tls, host, 443, variable).unwrap().map(|proxy| proxy.url())
    }

    #[test]
    fn proxy_variables_of_the_environment_are_used() {
        let all = [("HTTPS_PROXY", "http://a:3128"), ("all_proxy", "socks5://u:p%40@b")];
        assert_eq!(found(&all, true, "x.example").unwrap(), "http://a:3128");
        assert_eq!(found(&all, false, "x.example").unwrap(), "socks5://u:p%40@b:1080");
        assert_eq!(found(&all, true, "127.0.0.1"), None);
        assert_eq!(found(&all, true, "localhost"), None);
        assert_eq!(found(&[("http_proxy", "")], false, "x.example"), None);
        assert_eq!(found(&[("http_proxy", "a:1")], false, "x").unwrap(), "http://a:1");
    }

    #[test]
    fn no_proxy_matches_hosts_and_their_subdomains() {
        for (list, exempt) in [
            ("*", true),
            ("x.example", true),
            (".example", true),
            ("a, EXAMPLE:443", true),
            ("*.example", true),
            ("example:80", false),
            ("ample", false),
            ("", false),
        ] {
            let all = [("https_proxy", "http://a:1"), ("no_proxy", list)];
            assert_eq!(found(&all, true, "x.example").is_none(), exempt, "{list}");
        }
    }

    #[test]
    fn the_configured_proxy_overrides_the_environment() {
        let variable = |_: &str| Some("http://a:1".to_owned());
        let way = |configured| Proxy::for_server(Some(configured), true, "x", 443, variable);
        assert!(way("none").unwrap().is_none());
        assert_eq!(way("socks5h://[::1]:9").unwrap().unwrap().url(), "socks5://[::1]:9");
        for wrong in ["https://a:1", "ftp://a", "http://", "http://a/path", "http://user:secret@"] {
            let error = way(wrong).unwrap_err().to_string();
            assert!(error.starts_with("`proxy` is not a proxy"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let long = "x".repeat(256);
        let long = format!("socks5://me:{long}@a");
        for wrong in ["socks5://me@a", "socks5://:secret@a", &long] {
            let error = way(wrong).unwrap_err().to_string();
            assert!(error.contains("wants a name and a password"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(way("http://me@a").is_ok());
    }
}
