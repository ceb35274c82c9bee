//! The server of status queries.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::protocol::{JSON_REQUEST, RESPONSE_TIMEOUT, ResponseFormat};
use super::query::query_status;
use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::base::symlinks::{ForeignLinkError, check_foreign_links};
use crate::metrics::ProcessStats;

/// Maximum time between a client's connect and its request.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);
/// The same with [`BUSY_CLIENTS`] connected: the request must arrive with the connection.
const BUSY_REQUEST_TIMEOUT: Duration = Duration::from_millis(5);
/// Number of concurrent clients from which on [`BUSY_REQUEST_TIMEOUT`] applies.
const BUSY_CLIENTS: usize = 64;
/// Pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The bound status socket. Its file is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Identity of the socket's file, unless somebody removed it at once.
    file_id: Option<SocketFileId>,
}

/// The identity of a file, which outlives a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SocketFileId {
    device: u64,
    inode: u64,
}

impl SocketFileId {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A failure to bind the status socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("streamer is already running ({holder}): it answers at the status socket `{}`; query it with `streamer -status`, or set another `status_socket` and `output_dir` to run both", path.display())]
    AlreadyRunning { path: PathBuf, holder: String },
    #[error("cannot tell whether the status socket `{}` is in use; choose another `status_socket`", path.display())]
    Indeterminate { path: PathBuf, source: io::Error },
    #[error("the file at the path of the status socket, `{}`, is not a socket; remove it or choose another `status_socket`", .0.display())]
    NotASocket(PathBuf),
    #[error(transparent)]
    ForeignLink(#[from] ForeignLinkError),
    #[error("cannot create the status socket `{}` (`status_socket`)", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

impl StatusSocket {
    /// Binds the socket with mode 0600. A socket that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`] if another recorder answers at the socket, or it cannot be created.
    pub(crate) async fn bind(path: &Path) -> Result<Self, BindError> {
        check_foreign_links(path)?;
        let bind_error = |source| BindError::Bind { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) => {
                check_no_listener(path).await?;
                fs::remove_file(path).map_err(bind_error)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bind_error(error)),
        }
        // With this mask the socket has its mode from the first moment. No other thread creates
        // files this early.
        let previous = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(path);
        rustix::process::umask(previous);
        let listener = bound.map_err(bind_error)?;
        Ok(Self { listener, path: path.to_owned(), file_id: SocketFileId::of(path) })
    }

    /// Answers clients until the future is dropped.
    pub(crate) async fn serve(&self, stats: &Arc<ProcessStats>) {
        let mut clients = JoinSet::new();
        let mut failure_logged: Option<Instant> = None;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((client, _)) => {
                        let is_busy = clients.len() >= BUSY_CLIENTS;
                        let request_timeout =
                            if is_busy { BUSY_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
                        clients.spawn(respond(client, Arc::clone(stats), request_timeout));
                    }
                    Err(error) => {
                        if failure_logged.is_none_or(|time| time.elapsed() >= FAILURE_LOG_INTERVAL) {
                            warn!(%error, "cannot accept a status query");
                            failure_logged = Some(Instant::now());
                        }
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        if self.file_id.is_some() && SocketFileId::of(&self.path) == self.file_id {
            // If this fails, the next start replaces the file.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Returns an error unless it is certain that no process listens at the socket. A process that is
/// too busy to accept does listen.
async fn check_no_listener(path: &Path) -> Result<(), BindError> {
    let running = |holder| BindError::AlreadyRunning { path: path.to_owned(), holder };
    match timeout(RESPONSE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(()),
            io::ErrorKind::WouldBlock => Err(running("busy".to_owned())),
            _ => Err(BindError::Indeterminate { path: path.to_owned(), source: error }),
        },
        // A connect that takes too long proves a listener, as one that succeeds does.
        Ok(Ok(_)) | Err(_) => Err(running(match query_status(path).await {
            Ok(snapshot) => format!("pid {}", snapshot.pid),
            Err(_) => "pid unknown".to_owned(),
        })),
    }
}

async fn respond(mut client: UnixStream, stats: Arc<ProcessStats>, request_timeout: Duration) {
    // A client that sends nothing gets the status line.
    let format =
        timeout(request_timeout, read_request(&mut client)).await.unwrap_or(ResponseFormat::Line);
    let snapshot = stats.snapshot();
    let mut line = match format {
        ResponseFormat::Line => snapshot.to_string(),
        ResponseFormat::Json => serde_json::to_string(&snapshot)
            .expect("numbers, texts and maps of them, with texts as keys, always encode"),
    };
    line.push('\n');
    // Nobody misses the response of a client that does not read it.
    drop(timeout(RESPONSE_TIMEOUT, client.write_all(line.as_bytes())).await);
}

async fn read_request(client: &mut UnixStream) -> ResponseFormat {
    let mut request = Vec::with_capacity(JSON_REQUEST.len());
    while request.len() < JSON_REQUEST.len() {
        let missing = (JSON_REQUEST.len() - request.len()) as u64;
        match (&mut *client).take(missing).read_buf(&mut request).await {
            Ok(read) if read > 0 => {}
            // The end of the stream, or a broken connection.
            Ok(_) | Err(_) => break,
        }
        if !JSON_REQUEST.starts_with(&request) {
            return ResponseFormat::Line;
        }
    }
    // At the end of the stream the line feed may be left out.
    if request.trim_ascii_end() == JSON_REQUEST.trim_ascii_end() {
        ResponseFormat::Json
    } else {
        ResponseFormat::Line
    }
}
