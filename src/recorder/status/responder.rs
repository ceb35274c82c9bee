//! The answers to clients of the status socket.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{MAX_REQUEST_BYTES, RELOAD_TIMEOUT, RESPONSE_TIMEOUT, Request};
use crate::metrics::{ProcessStats, Snapshot, SnapshotDetail};
use crate::recorder::reload::{ConfigFile, ReloadHandle};

/// Answers the clients of the status socket.
#[derive(Clone)]
pub(super) struct Responder {
    pub(super) stats: Arc<ProcessStats>,
    pub(super) file: Arc<ConfigFile>,
    pub(super) reload: ReloadHandle,
}

impl Responder {
    /// Answers one client. A client that sends nothing gets the status line.
    pub(super) async fn respond(self, mut client: UnixStream, request_timeout: Duration) {
        let request = timeout(request_timeout, read_request(&mut client)).await;
        let mut line = match request.unwrap_or(Request::Line) {
            Request::Line => self.stats.snapshot().to_string(),
            Request::Json => to_json(&self.snapshot().await),
            // A recorder that ends meanwhile answers nothing.
            Request::Reload => match timeout(RELOAD_TIMEOUT, self.reload.reload()).await {
                Ok(Some(report)) => to_json(&report),
                Ok(None) | Err(_) => return,
            },
        };
        line.push('\n');
        // Nobody misses the response of a client that does not read it.
        drop(timeout(RESPONSE_TIMEOUT, client.write_all(line.as_bytes())).await);
    }

    async fn snapshot(&self) -> Snapshot {
        let file_differs = self.file.differs().await;
        let mut snapshot = self.stats.snapshot_with(SnapshotDetail::Everything);
        if let Some(config) = &mut snapshot.config {
            config.file_differs = file_differs;
        }
        snapshot
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("numbers, texts and maps of them, with texts as keys, always encode")
}

async fn read_request(client: &mut UnixStream) -> Request {
    let mut request = Vec::with_capacity(MAX_REQUEST_BYTES);
    while request.len() < MAX_REQUEST_BYTES && request.last() != Some(&b'\n') {
        let missing = (MAX_REQUEST_BYTES - request.len()) as u64;
        match (&mut *client).take(missing).read_buf(&mut request).await {
            Ok(read) if read > 0 => {}
            // The end of the stream, or a broken connection.
            Ok(_) | Err(_) => break,
        }
        if !Request::is_beginning(&request) {
            return Request::Line;
        }
    }
    Request::parse(&request)
}
