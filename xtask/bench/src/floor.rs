//! The least work that a client must do, which is the floor under every figure.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUFFER: usize = 256 << 10;
const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
const SUBSCRIBE: &str = r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#;

#[derive(Args)]
pub(crate) struct FloorArgs {
    /// Address of the exchange
    address: String,
    /// File for the lines
    out: PathBuf,
    /// Sleep 5 ms after a small read, so that messages come in batches
    #[arg(long)]
    lazy: bool,
}

#[derive(Args)]
pub(crate) struct FloorTlsArgs {
    /// Address of the exchange
    address: String,
    /// PEM file of the certificate to trust
    ca: PathBuf,
}

/// Reads, decodes frames in place, and writes. Checks nothing and trusts the exchange to send text
/// frames.
pub(crate) fn plain(args: &FloorArgs) -> Result<()> {
    let mut socket = TcpStream::connect(&args.address)?;
    socket.set_nodelay(true)?;
    socket.write_all(HANDSHAKE.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    socket.write_all(&subscription())?;
    let mut out = File::create(&args.out)?;
    let mut buffer = vec![0; BUFFER];
    let mut filled = 0;
    loop {
        let read = socket.read(buffer.get_mut(filled..).context("a frame fills the buffer")?)?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        let (used, lines, closed) = unframe(&mut buffer, filled);
        out.write_all(buffer.get(..lines).unwrap_or_default())?;
        if closed {
            return Ok(());
        }
        buffer.copy_within(used..filled, 0);
        filled -= used;
        if args.lazy && read < BUFFER / 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Moves the payloads of whole frames together at the start of the buffer, each with a line feed.
/// Returns the bytes that were used, the bytes of lines, and whether a close frame was among them.
fn unframe(buffer: &mut [u8], filled: usize) -> (usize, usize, bool) {
    let mut from = 0;
    let mut to = 0;
    loop {
        let (opcode, length, header) = match buffer.get(from..filled) {
            Some([first, 127, long @ ..]) if long.len() >= 8 => {
                let length = long.iter().take(8).fold(0, |n: usize, b| n << 8 | usize::from(*b));
                (first & 15, length, 10)
            }
            Some([first, 126, high, low, ..]) => {
                (first & 15, usize::from(*high) << 8 | usize::from(*low), 4)
            }
            Some([first, short, ..]) if *short < 126 => (first & 15, usize::from(*short), 2),
            _ => return (from, to, false),
        };
        if from + header + length > filled {
            return (from, to, false);
        }
        if opcode == 8 {
            return (from, to, true);
        }
        buffer.copy_within(from + header..from + header + length, to);
        to += length;
        if let Some(end) = buffer.get_mut(to) {
            *end = b'\n';
        }
        to += 1;
        from += header + length;
    }
}

/// Returns the subscription as a masked text frame with a mask of zeros.
fn subscription() -> Vec<u8> {
    let length = u8::try_from(SUBSCRIBE.len()).unwrap_or(0);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], SUBSCRIBE.as_bytes()].concat()
}

/// Reads from a TLS connection and discards the bytes.
pub(crate) fn tls(args: &FloorTlsArgs) -> Result<()> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&args.ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(&args.address).await?;
        tcp.set_nodelay(true)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(ServerName::try_from("localhost")?, tcp).await?;
        stream.write_all(HANDSHAKE.as_bytes()).await?;
        let mut buffer = vec![0; BUFFER];
        // The exchange reads nothing before it has answered; its answer is one record.
        if stream.read(&mut buffer).await? == 0 {
            bail!("the exchange does not answer");
        }
        stream.write_all(&subscription()).await?;
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                // The close frame ends the stream, alone or after other frames.
                Ok(read) if buffer.get(..read).is_some_and(|b| b.ends_with(&[0x88, 0])) => {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => bail!(error),
            }
        }
    })
}
