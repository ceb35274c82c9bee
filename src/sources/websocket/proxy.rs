//! Connecting through a proxy: HTTP CONNECT (RFC 9110, 9.3.6) and SOCKS5 (RFC 1928 and 1929).

use data_encoding::BASE64;
use tokio::net::TcpStream;

use super::connect_deadline::ConnectDeadline;
use super::credentials::Credentials;
use super::disconnects::{cut_refusal_disconnect, refusal_disconnect};
use super::encryption::Encryption;
use super::host_port::{HostPort, HostPortError};
use super::http_body::read_refusal_body;
use super::http_exchange::exchange_over_socket;
use super::http_response::HttpResponse;
use super::no_proxy::NoProxyList;
use super::response_parser::ResponseParser;
use super::socks5::connect_through;
use crate::base::literal_secrets::credential_values;
use crate::base::time::{Clock as _, SystemClock};
use crate::plugin::{Disconnect, DownCause};

/// Value of the key `proxy` that turns off the proxy of the environment.
const NO_PROXY_VALUE: &str = "none";

/// A proxy on the way to a server.
#[derive(Debug, Clone)]
pub(super) struct Proxy {
    scheme: ProxyScheme,
    address: HostPort,
    credentials: Option<Credentials>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyScheme {
    Http,
    Socks5,
}

/// A text that names no usable proxy. The message leaves out the text, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{origin} {kind}")]
pub(super) struct ProxyError {
    /// Key or environment variable that holds the text.
    origin: String,
    kind: ProxyErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum ProxyErrorKind {
    #[error(
        "is not a proxy: write `http://HOST:PORT` or `socks5://HOST:PORT`, with `USER:PASSWORD@` in front of the host if the proxy requires it"
    )]
    Malformed,
    #[error(
        "has a character in its user or password that ends them in a URL: write `%23` for `#`, `%2F` for `/`, `%3F` for `?`, `%40` for `@`, `%25` for `%`, `%20` for a space"
    )]
    UnencodedCredentials,
    #[error("is not a proxy, since {0}: write `http://HOST:PORT` or `socks5://HOST:PORT`")]
    Address(HostPortError),
    #[error("is not a proxy, since nothing follows the `:` of the port")]
    EmptyPort,
    #[error(
        "names a user for a SOCKS5 proxy, which requires a name and a password of 1 to 255 bytes each: write `socks5://USER:PASSWORD@HOST:PORT`"
    )]
    Socks5Credentials,
}

impl Proxy {
    /// Returns the proxy for a server: the configured one, or else that of the environment.
    ///
    /// `variable` returns the value of an environment variable.
    pub(super) fn for_server(
        configured: Option<&str>,
        server: &HostPort,
        encryption: Encryption,
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
        let no_proxy = ["no_proxy", "NO_PROXY"].iter().find_map(variable);
        if server.is_loopback()
            || no_proxy.is_some_and(|(_, list)| NoProxyList::new(&list).exempts(server))
        {
            return Ok(None);
        }
        let names: &[&str] = match encryption {
            Encryption::Tls => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
            Encryption::Plain => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        };
        let found = names.iter().find_map(variable);
        found.map(|(origin, url)| Self::parse(url.trim(), &origin)).transpose()
    }

    /// Parses the URL of a proxy, which was found in `origin`.
    ///
    /// The last `@` ends the user and the password. They are refused if they hold what ends them for
    /// other programs: a piece of a password must never become a host, which is looked up and logged.
    fn parse(url: &str, origin: &str) -> Result<Self, ProxyError> {
        let invalid = |kind| ProxyError { origin: origin.to_owned(), kind };
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let (user_info, address) = match rest.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, rest),
        };
        if user_info.is_some_and(|text| !is_encoded(text)) {
            return Err(invalid(ProxyErrorKind::UnencodedCredentials));
        }
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyScheme::Http, 80),
            // The proxy resolves the name of the server in either case.
            "socks5" | "socks5h" => (ProxyScheme::Socks5, 1080),
            _ => return Err(invalid(ProxyErrorKind::Malformed)),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.is_empty() || address.contains(['/', '?', '#']) {
            return Err(invalid(ProxyErrorKind::Malformed));
        }
        if address.ends_with(':') {
            return Err(invalid(ProxyErrorKind::EmptyPort));
        }
        let address = HostPort::parse(address, default_port)
            .map_err(|error| invalid(ProxyErrorKind::Address(error)))?;
        let credentials = user_info.map(Credentials::parse);
        if scheme == ProxyScheme::Socks5
            && !credentials.as_ref().is_none_or(Credentials::is_valid_for_socks5)
        {
            return Err(invalid(ProxyErrorKind::Socks5Credentials));
        }
        Ok(Self { scheme, address, credentials })
    }

    /// Returns the address of the proxy itself.
    pub(super) fn address(&self) -> &HostPort {
        &self.address
    }

    /// Returns the URL of the proxy, with its password.
    #[cfg(test)]
    fn url(&self) -> String {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let scheme = match self.scheme {
            ProxyScheme::Http => "http",
            ProxyScheme::Socks5 => "socks5",
        };
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let user_info = self.credentials.as_ref().map_or_else(String::new, |credentials| {
            format!("{}:{}@", encoded(&credentials.user), encoded(&credentials.password))
        });
        format!("{scheme}://{user_info}{}", self.address)
    }

    /// Returns the texts that the proxy may repeat and that must not be shown.
    pub(super) fn secrets(&self) -> Vec<String> {
        let credentials = self.credentials.as_ref();
        credentials
            .map(|credentials| credential_values(&credentials.user, &credentials.password))
            .unwrap_or_default()
    }

    /// Turns a connection to the proxy into a connection to the server, until `deadline`.
    ///
    /// `user_agent` is the value of that header.
    pub(super) async fn open_tunnel(
        &self,
        mut tcp: TcpStream,
        server: &HostPort,
        user_agent: &[u8],
        deadline: ConnectDeadline,
    ) -> Result<TcpStream, Disconnect> {
        match self.scheme {
            ProxyScheme::Http => self.http_connect(&mut tcp, server, user_agent, deadline).await?,
            ProxyScheme::Socks5 => {
                let tunnel = connect_through(&mut tcp, server, self.credentials.as_ref());
                let tunnel = deadline.bound(&self.step(), tunnel).await?;
                tunnel.map_err(|error| self.disconnect(error))?;
            }
        }
        Ok(tcp)
    }

    async fn http_connect(
        &self,
        tcp: &mut TcpStream,
        server: &HostPort,
        user_agent: &[u8],
        deadline: ConnectDeadline,
    ) -> Result<(), Disconnect> {
        let server = server.without_zone();
        let mut request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").into_bytes();
        request.extend_from_slice(&[b"User-Agent: ", user_agent, b"\r\n"].concat());
        if let Some(Credentials { user, password }) = &self.credentials {
            let basic = BASE64.encode(format!("{user}:{password}").as_bytes());
            request.extend_from_slice(format!("Proxy-Authorization: Basic {basic}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        let mut parser = ResponseParser::default();
        let exchange = exchange_over_socket(tcp, &request, &mut parser);
        let response = deadline.bound(&self.step(), exchange).await;
        let response =
            response.and_then(|response| response.map_err(|error| self.disconnect(error)));
        let is_tunnel = |response: &HttpResponse| (200..300).contains(&response.status());
        let refusal = match response {
            // Such a response has no body: what follows is the tunnel (RFC 9110, 9.3.6).
            Ok(response) if is_tunnel(&response) => return Ok(()),
            Ok(response) => {
                let body = read_refusal_body(tcp, &response, deadline.at).await;
                refusal_disconnect(&response, &body, SystemClock.now())
            }
            Err(failure) => match parser.begun_refusal() {
                Some(begun) if !is_tunnel(&begun) => {
                    cut_refusal_disconnect(&begun, &failure, SystemClock.now())
                }
                _ => return Err(failure),
            },
        };
        let detail = self.disconnect(&refusal.detail).detail;
        Err(Disconnect { cause: DownCause::Connect, detail, ..refusal })
    }

    /// Returns the name of the step of a connect that the proxy takes part in.
    fn step(&self) -> String {
        format!("the connection through {self}")
    }

    fn disconnect(&self, reason: impl std::fmt::Display) -> Disconnect {
        Disconnect::new(DownCause::Connect, format!("{self} made no connection: {reason}"))
    }
}

/// Writes the address without the password.
impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the proxy {}", self.address)
    }
}

/// Returns whether a user and a password hold no character that ends them, and no `%` that encodes
/// nothing.
fn is_encoded(user_info: &str) -> bool {
    let is_reserved = |c: char| "/?#@\\".contains(c) || c.is_whitespace() || c.is_control();
    let mut after_percent = user_info.split('%').skip(1);
    let is_hex = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).take(2).count() == 2;
    !user_info.contains(is_reserved) && after_percent.all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], encryption: Encryption, host: &str) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let server = HostPort::parse(host, 443).unwrap();
        let proxy = Proxy::for_server(None, &server, encryption, variable);
        proxy.unwrap().map(|proxy| proxy.url())
    }

    #[test]
    fn proxy_variables_of_the_environment_are_used() {
        let all = [("HTTPS_PROXY", "http://a:3128"), ("all_proxy", "socks5://u:p%40@b")];
        assert_eq!(found(&all, Encryption::Tls, "x.example").unwrap(), "http://a:3128");
        assert_eq!(found(&all, Encryption::Plain, "x.example").unwrap(), "socks5://u:p%40@b:1080");
        assert_eq!(found(&all, Encryption::Tls, "127.0.0.1"), None);
        assert_eq!(found(&all, Encryption::Tls, "localhost"), None);
        assert_eq!(found(&[("http_proxy", "")], Encryption::Plain, "x.example"), None);
        assert_eq!(found(&[("http_proxy", "a:1")], Encryption::Plain, "x").unwrap(), "http://a:1");
    }

    #[test]
    fn the_proxy_of_the_environment_is_not_used_for_exempt_servers() {
        let all = [("https_proxy", "http://a:1"), ("no_proxy", "b, 10.0.0.0/8")];
        for exempt in ["localhost.", "x.localhost", "10.9.8.7", "[::ffff:127.0.0.1]", "x.b"] {
            assert_eq!(found(&all, Encryption::Tls, exempt), None, "{exempt}");
        }
        assert!(found(&all, Encryption::Tls, "11.9.8.7").is_some());
    }

    #[test]
    fn a_password_with_reserved_characters_or_a_bad_port_is_refused_without_repeating_it() {
        let error = |url: &str| Proxy::parse(url, "`proxy`").unwrap_err().to_string();
        for password in ["1#2", "1?2", "1/2", "1@2", "1%2", "1%", "%zz", "1 2", "#", "/@", "a://b"]
        {
            for url in [
                format!("http://me:{password}@proxy:3128"),
                format!("socks5://me:{password}@proxy"),
                format!("me:{password}@proxy:3128"),
            ] {
                let error = error(&url);
                assert!(
                    error.contains("`%23` for `#`") || error.contains("not a proxy"),
                    "{error}"
                );
                assert!(!error.contains(password) || "%#".contains(password), "{url}: {error}");
            }
        }
        assert!(error("http://me:1#2@proxy:3128").contains("`%23` for `#`"));
        for port in ["99999", "65536", "abc", "0", "-1", "80x", " 80"] {
            for scheme in ["http://", "socks5://", ""] {
                let error = error(&format!("{scheme}proxy:{port}"));
                assert!(error.contains("the port is not a number"), "{error}");
            }
        }
        assert!(error("http://proxy:").contains("nothing follows"));
        assert!(error("http://me:pw@proxy:/").contains("nothing follows"));
        assert!(error("http://::1:80").contains("brackets"));
        let accepted = |url: &str| Proxy::parse(url, "").unwrap().url();
        assert_eq!(accepted("HTTP://me:a%23b:c|@Proxy/"), "http://me:a%23b%3Ac%7C@proxy:80");
        assert_eq!(accepted(" socks5h://me:%40%2f@[::1]:9 "), "socks5://me:%40%2F@[::1]:9");
    }

    #[test]
    fn the_configured_proxy_overrides_the_environment() {
        let variable = |_: &str| Some("http://a:1".to_owned());
        let server = HostPort::new("x", 443);
        let configured_as =
            |configured| Proxy::for_server(Some(configured), &server, Encryption::Tls, variable);
        assert!(configured_as("none").unwrap().is_none());
        assert_eq!(configured_as("socks5h://[::1]:9").unwrap().unwrap().url(), "socks5://[::1]:9");
        for wrong in ["https://a:1", "ftp://a", "http://", "http://a/path", "http://user:secret@"] {
            let error = configured_as(wrong).unwrap_err().to_string();
            assert!(error.starts_with("`proxy` is not a proxy"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let long = "x".repeat(256);
        let long = format!("socks5://me:{long}@a");
        for wrong in ["socks5://me@a", "socks5://:secret@a", &long] {
            let error = configured_as(wrong).unwrap_err().to_string();
            assert!(error.contains("requires a name and a password"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(configured_as("http://me@a").is_ok());
    }
}
