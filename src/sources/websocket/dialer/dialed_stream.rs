//! A TCP connection to one of a host's addresses.

use std::net::SocketAddr;

use tokio::net::TcpStream;

/// A TCP connection and the address that it leads to.
pub(crate) struct DialedStream {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
}
