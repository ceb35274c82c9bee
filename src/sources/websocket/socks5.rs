//! Connecting through a SOCKS5 proxy (RFC 1928 and 1929).

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::credentials::Credentials;
use super::host_port::HostPort;
use super::quote::quote;

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xFF;
/// Version of the exchange of the user and the password.
const PASSWORD_VERSION: u8 = 1;
const ADDRESS_IPV4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_IPV6: u8 = 4;
/// Number of bytes that are quoted of an answer of another protocol.
const QUOTED_BYTES: usize = 64;

/// A SOCKS5 proxy that makes no connection. The text continues "the proxy made no connection: …".
#[derive(Debug, thiserror::Error)]
pub(super) enum Socks5Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection instead of answering")]
    Closed,
    #[error("it closed the connection within its answer")]
    ClosedWithin,
    #[error("it answered as an HTTP proxy does: write `http://` instead of `socks5://`")]
    Http,
    #[error("it does not speak SOCKS5, it answered: {beginning}", beginning = quote(.0))]
    OtherProtocol(Vec<u8>),
    #[error(
        "it requires a user and a password, or another method: write `socks5://USER:PASSWORD@HOST:PORT`"
    )]
    CredentialsRequired,
    #[error("it accepts no user and password, and does not do without")]
    NoAcceptableMethod,
    #[error("it chose method {0} of authentication, which was not offered")]
    UnknownMethod(u8),
    #[error("it rejects the user and the password (code {0})")]
    CredentialsRejected(u8),
    #[error("{words} (code {0})", words = reply_words(*.0))]
    Refused(u8),
    #[error("it made the connection, but its answer has an address of the unknown type {0}")]
    UnknownAddressType(u8),
    #[error("the name of the server is longer than 255 bytes")]
    NameTooLong,
}

/// Asks the proxy at the other end of `stream` for a connection to the server. Reads its answer to
/// the end, and nothing after it.
pub(super) async fn connect_through(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &HostPort,
    credentials: Option<&Credentials>,
) -> Result<(), Socks5Error> {
    let request = encode_request(server)?;
    let methods: &[u8] = match credentials {
        None => &[VERSION, 1, NO_AUTHENTICATION],
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
    };
    stream.write_all(methods).await?;
    check_version(stream).await?;
    match (read_byte(stream).await?, credentials) {
        (NO_AUTHENTICATION, _) => {}
        (USER_AND_PASSWORD, Some(credentials)) => authenticate(stream, credentials).await?,
        (NO_ACCEPTABLE_METHOD | USER_AND_PASSWORD, None) => {
            return Err(Socks5Error::CredentialsRequired);
        }
        (NO_ACCEPTABLE_METHOD, Some(_)) => return Err(Socks5Error::NoAcceptableMethod),
        (method, _) => return Err(Socks5Error::UnknownMethod(method)),
    }
    stream.write_all(&request).await?;
    check_version(stream).await?;
    let code = read_byte(stream).await?;
    if code != 0 {
        return Err(Socks5Error::Refused(code));
    }
    // A reserved byte, and the address that the proxy connects from: neither matters.
    read_byte(stream).await?;
    let address_bytes = match read_byte(stream).await? {
        ADDRESS_IPV4 => 4,
        ADDRESS_IPV6 => 16,
        ADDRESS_NAME => usize::from(read_byte(stream).await?),
        unknown => return Err(Socks5Error::UnknownAddressType(unknown)),
    };
    let port_bytes = 2;
    read(stream, &mut vec![0; address_bytes + port_bytes]).await
}

async fn authenticate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: &Credentials,
) -> Result<(), Socks5Error> {
    let mut request = vec![PASSWORD_VERSION];
    for text in [&credentials.user, &credentials.password] {
        // The length was checked with the configuration.
        request.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        request.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&request).await?;
    // Some proxies answer with another version.
    read_byte(stream).await?;
    match read_byte(stream).await? {
        0 => Ok(()),
        code => Err(Socks5Error::CredentialsRejected(code)),
    }
}

/// Returns the request for a connection. The zone of an address means nothing to the proxy.
fn encode_request(server: &HostPort) -> Result<Vec<u8>, Socks5Error> {
    let mut request = vec![VERSION, CONNECT, 0];
    match server.ip() {
        Some(IpAddr::V4(address)) => {
            request.push(ADDRESS_IPV4);
            request.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            request.push(ADDRESS_IPV6);
            request.extend_from_slice(&address.octets());
        }
        None => {
            let length = u8::try_from(server.host.len()).map_err(|_| Socks5Error::NameTooLong)?;
            request.extend_from_slice(&[ADDRESS_NAME, length]);
            request.extend_from_slice(server.host.as_bytes());
        }
    }
    request.extend_from_slice(&server.port.to_be_bytes());
    Ok(request)
}

/// Reads the version that an answer begins with.
async fn check_version(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Socks5Error> {
    let version = read_byte(stream).await.map_err(|error| match error {
        Socks5Error::ClosedWithin => Socks5Error::Closed,
        other => other,
    })?;
    if version == VERSION {
        return Ok(());
    }
    let mut answer = vec![version];
    if version.is_ascii_alphanumeric() {
        // An error of another protocol, which is told as far as it has come.
        let mut rest = stream.take(QUOTED_BYTES as u64);
        rest.read_buf(&mut answer).await?;
    }
    if answer.starts_with(b"HTTP") {
        return Err(Socks5Error::Http);
    }
    Err(Socks5Error::OtherProtocol(answer))
}

async fn read_byte(stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, Socks5Error> {
    let mut byte = [0];
    read(stream, &mut byte).await?;
    let [byte] = byte;
    Ok(byte)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), Socks5Error> {
    match stream.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Socks5Error::ClosedWithin)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns the meaning of a reply (RFC 1928, 6).
fn reply_words(code: u8) -> &'static str {
    match code {
        1 => "the proxy failed, as it says, without a reason",
        2 => "its rules do not allow the connection",
        3 => "the network of the server is unreachable from there",
        4 => "the server is unreachable from there, or its name is unknown",
        5 => "the server refused the connection",
        6 => "the connection to the server took too long",
        7 => "it does not connect to servers",
        8 => "it does not connect to addresses of this type",
        _ => "it refused the connection, for a reason that only it knows",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// Returns the outcome for a proxy that sends these bytes and ends, the bytes that it was sent,
    /// and those that it sent and nobody read.
    async fn play(
        server: &str,
        credentials: Option<&Credentials>,
        answer: &[u8],
    ) -> (Result<(), String>, Vec<u8>, Vec<u8>) {
        let (mut client, mut proxy) = duplex(4096);
        proxy.write_all(answer).await.unwrap();
        proxy.shutdown().await.unwrap();
        let server = HostPort::parse(server, 443).unwrap();
        let outcome = connect_through(&mut client, &server, credentials).await;
        let mut unread = Vec::new();
        client.read_to_end(&mut unread).await.unwrap();
        drop(client);
        let mut sent = Vec::new();
        proxy.read_to_end(&mut sent).await.unwrap();
        (outcome.map_err(|error| error.to_string()), sent, unread)
    }

    #[tokio::test]
    async fn the_request_names_the_server_and_the_answer_is_read_to_its_end() {
        for (server, address) in [
            ("feed.example", &b"\x03\x0cfeed.example"[..]),
            ("127.0.0.2", b"\x01\x7f\0\0\x02"),
            ("[fe80::1%eth0]", b"\x04\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
        ] {
            for bound in [&b"\0\x01\x7f\0\0\x01\0\x50"[..], b"\x09\x03\x01\xff\0\x50"] {
                let answer = [b"\x05\0\x05\0", bound, b"tunnel"].concat();
                let (outcome, sent, unread) = play(server, None, &answer).await;
                assert_eq!(outcome, Ok(()));
                let request = [b"\x05\x01\0\x05\x01\0", address, b"\x01\xbb"].concat();
                assert_eq!((sent, unread), (request, b"tunnel".to_vec()), "{server}");
            }
        }
        let me = Credentials { user: "me".to_owned(), password: "pw".to_owned() };
        let answer = b"\x05\x02\x05\0\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let (outcome, sent, _) = play("1.2.3.4", Some(&me), answer).await;
        assert_eq!(outcome, Ok(()));
        assert!(sent.starts_with(b"\x05\x02\0\x02\x01\x02me\x02pw\x05\x01\0\x01"), "{sent:?}");
    }

    #[tokio::test]
    async fn an_answer_that_makes_no_connection_is_told_in_words() {
        let me = Credentials { user: "me".to_owned(), password: "pw".to_owned() };
        for (credentials, answer, words) in [
            (None, &b""[..], "closed the connection instead of answering"),
            (None, b"\x05", "within its answer"),
            (None, b"\x05\0", "instead of answering"),
            (None, b"\x05\0\x05", "within its answer"),
            (None, b"\x05\0\x05\0\0\x01\x7f", "within its answer"),
            (None, b"\x05\0\x05\x05", "the server refused the connection (code 5)"),
            (None, b"\x05\0\x05\x02\xff\x00\0\0", "rules do not allow"),
            (None, b"\x05\0\x05\x09\0\x01\0\0\0\0\0\0", "(code 9)"),
            (None, b"\x05\0\x05\xff", "(code 255)"),
            (None, b"\x05\0\x05\0\0\x07", "unknown type 7"),
            (None, b"\x05\xff", "requires a user and a password"),
            (None, b"\x05\x02", "requires a user and a password"),
            (None, b"\x05\x01", "method 1 of authentication"),
            (Some(&me), b"\x05\xff", "accepts no user and password"),
            (Some(&me), b"\x05\x01", "method 1 of authentication"),
            (Some(&me), b"\x05\x02\x01\x01", "rejects the user and the password (code 1)"),
            (Some(&me), b"\x05\x02\x01", "within its answer"),
            (None, b"HTTP/1.1 400 Bad Request\r\n\r\n", "`http://` instead of `socks5://`"),
            (None, b"SSH-2.0-OpenSSH_9.2\r\n", "it answered: SSH-2.0-OpenSSH_9.2"),
            (None, b"\x04\x5a", "does not speak SOCKS5"),
        ] {
            let (outcome, ..) = play("h", credentials, answer).await;
            let error = outcome.unwrap_err();
            assert!(error.contains(words), "{answer:?}: {error}");
        }
        let long = vec!["a"; 200].join(".");
        let (outcome, ..) = play(&long, None, b"").await;
        assert!(outcome.unwrap_err().contains("255 bytes"));
    }
}
