//! A request over HTTP/1.1 without a body.

use super::encryption::Encryption;
use super::endpoint_url::EndpointUrl;
use super::http_response::HttpResponse;

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpMethod {
    Get,
    Post,
}

/// A request without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpRequest {
    pub(super) method: HttpMethod,
    pub(super) url: EndpointUrl,
}

impl HttpRequest {
    /// Returns the request as it is sent.
    pub(super) fn encode(&self, user_agent: &[u8]) -> Vec<u8> {
        let (method, length) = match self.method {
            HttpMethod::Get => ("GET", ""),
            HttpMethod::Post => ("POST", "Content-Length: 0\r\n"),
        };
        let target = self.url.request_target();
        let host = self.url.authority();
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        request.extend_from_slice(&[b"User-Agent: ", user_agent, b"\r\n"].concat());
        let rest = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: close\r\n";
        request.extend_from_slice(format!("{rest}{length}\r\n").as_bytes());
        request
    }

    /// Returns the request that a response redirects to (RFC 9110, 15.4), or the reason why it is
    /// not sent. Returns `None` if the response redirects nowhere.
    ///
    /// Nothing of the request but its method is sent to another server.
    pub(super) fn redirected(&self, response: &HttpResponse) -> Option<Result<Self, String>> {
        let method = match response.status() {
            // Every client changes the method here (15.4.2, 15.4.3).
            301..=303 => HttpMethod::Get,
            307 | 308 => self.method,
            _ => return None,
        };
        let location = response.value("Location")?;
        Some(match self.url.join(location) {
            Err(error) => Err(error.to_string()),
            Ok(url) if is_downgrade(self.url.encryption, url.encryption) => {
                Err("it leads from an encrypted connection to a plain one".to_owned())
            }
            Ok(url) => Ok(Self { method, url }),
        })
    }
}

fn is_downgrade(from: Encryption, to: Encryption) -> bool {
    from == Encryption::Tls && to == Encryption::Plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::websocket::endpoint_url::UrlProtocol;

    #[test]
    fn a_redirect_keeps_or_changes_the_method_and_never_ends_encryption() {
        let url = EndpointUrl::parse("https://h/a/b?key=x", UrlProtocol::Http).unwrap();
        let request = HttpRequest { method: HttpMethod::Post, url };
        let redirected = |status: u16, location: &str| {
            let head = format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\n\r\n");
            let redirected = request.redirected(&HttpResponse::parse(&head));
            redirected.map(|next| next.map(|next| (next.method, next.url.to_string())))
        };
        let to = |method, url: &str| Some(Ok((method, url.to_owned())));
        for status in [301, 302, 303] {
            assert_eq!(redirected(status, "c?d#e"), to(HttpMethod::Get, "https://h/a/c?d"));
        }
        for status in [307, 308] {
            assert_eq!(redirected(status, "//i:1/x"), to(HttpMethod::Post, "https://i:1/x"));
            assert_eq!(redirected(status, "HTTPS://i"), to(HttpMethod::Post, "https://i/"));
            assert_eq!(redirected(status, "/"), to(HttpMethod::Post, "https://h/"));
            assert_eq!(redirected(status, "?q"), to(HttpMethod::Post, "https://h/a/b?q"));
        }
        for status in [200, 300, 304, 404] {
            assert_eq!(redirected(status, "/"), None);
        }
        let plain = redirected(307, "http://h/").unwrap().unwrap_err();
        assert!(plain.contains("to a plain one"), "{plain}");
        assert!(redirected(307, "ftp://h/").unwrap().unwrap_err().contains("`https://`"));
        assert!(redirected(307, "https://me:pw@h/").unwrap().unwrap_err().contains("user name"));
    }
}
