//! The byte stream of a connection.

use tokio::io::{AsyncBufRead, AsyncWrite};

/// A connected byte stream, plain or TLS, that lends its read buffer.
pub(super) trait Transport: AsyncBufRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncBufRead + AsyncWrite + Unpin + Send> Transport for S {}
