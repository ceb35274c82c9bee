//! The Unix socket that answers status queries, and the query.
//!
//! Whoever connects gets the status line; whoever first sends `json` and a line feed, or closes
//! its sending side after it, gets the whole [`Snapshot`] as one line of JSON.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::base::symlinks::{ForeignLinkError, check_foreign_links};
use crate::metrics::{ProcessStats, Snapshot};

/// For how long a client may think about what it asks for.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);
/// For how long an answer may take to be taken.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The same when there are many: what is asked for must be there with the connection.
const BUSY_REQUEST_TIMEOUT: Duration = Duration::from_millis(5);
/// Clients that are served in no hurry.
const BUSY_CLIENTS: usize = 64;
/// For how long a query waits for its answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after an accept that failed, for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
const JSON_REQUEST: &[u8] = b"json\n";

/// The socket, bound. Removes it when dropped.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: Option<u64>,
}

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("streamer is already running ({holder}): the status socket `{}` is answered; `streamer -status` asks it, another `status_socket` and `output_dir` let both run", path.display())]
    AlreadyRunning { path: PathBuf, holder: String },
    #[error("cannot tell whether the status socket `{}` is in use; choose another `status_socket`", path.display())]
    Indeterminate { path: PathBuf, source: io::Error },
    #[error("the path of the status socket, `{}`, is taken by something that is no socket; remove it or choose another `status_socket`", .0.display())]
    NotASocket(PathBuf),
    #[error(transparent)]
    ForeignLink(#[from] ForeignLinkError),
    #[error("cannot create the status socket `{}` (`status_socket`)", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

impl StatusSocket {
    /// Binds the socket, mode 0600. One that a dead process left is replaced.
    pub(crate) async fn bind(path: &Path) -> Result<Self, BindError> {
        check_foreign_links(path)?;
        let fail = |source| BindError::Bind { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) => {
                check_no_listener(path).await?;
                fs::remove_file(path).map_err(fail)?;
            }
            Err(_) => {}
        }
        // The mask gives the socket its mode from the first moment. No other thread of ours makes
        // files yet.
        let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(fail)?;
        let inode = fs::symlink_metadata(path).ok().map(|found| found.ino());
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Answers clients for ever.
    pub(crate) async fn serve(&self, stats: &Arc<ProcessStats>) {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((client, _)) => {
                        let many = clients.len() >= BUSY_CLIENTS;
                        let patience = if many { BUSY_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
                        clients.spawn(respond(client, Arc::clone(stats), patience));
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_RETRY_DELAY).await,
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).ok().map(|found| found.ino());
        if now.is_some() && now == self.inode {
            // If it stays, the next start replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// An error unless it is certain that nobody listens at the socket any more. A process that is
/// too busy to accept does listen.
async fn check_no_listener(path: &Path) -> Result<(), BindError> {
    let running = |holder| BindError::AlreadyRunning { path: path.to_owned(), holder };
    match timeout(QUERY_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(()),
            io::ErrorKind::WouldBlock => Err(running("busy".to_owned())),
            _ => Err(BindError::Indeterminate { path: path.to_owned(), source: error }),
        },
        _ => match query_status(path).await {
            Ok(snapshot) => Err(running(format!("pid {}", snapshot.pid))),
            Err(_) => Err(running("pid unknown".to_owned())),
        },
    }
}

async fn respond(mut client: UnixStream, stats: Arc<ProcessStats>, patience: Duration) {
    let json = timeout(patience, read_json_request(&mut client)).await.unwrap_or(false);
    let snapshot = stats.snapshot();
    let mut line = if json {
        // Plain numbers and texts: this cannot fail.
        serde_json::to_string(&snapshot).unwrap_or_default()
    } else {
        snapshot.to_string()
    };
    line.push('\n');
    // A client that does not take its answer gets none.
    drop(timeout(RESPONSE_TIMEOUT, client.write_all(line.as_bytes())).await);
}

async fn read_json_request(client: &mut UnixStream) -> bool {
    let mut request = [0; JSON_REQUEST.len()];
    let mut length = 0;
    while let Some(space) = request.get_mut(length..).filter(|space| !space.is_empty()) {
        match client.read(space).await {
            Ok(read) if read > 0 => length += read,
            _ => break,
        }
        if !JSON_REQUEST.starts_with(request.get(..length).unwrap_or_default()) {
            return false;
        }
    }
    // Without the line feed it is still clear what was meant.
    length + 1 >= JSON_REQUEST.len()
}

/// Why a query got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("no recorder answers at `{}` (`status_socket`): is it running, and with this configuration?", path.display())]
    NotRunning { path: PathBuf, source: io::Error },
    #[error("the recorder at `{}` did not answer within {QUERY_TIMEOUT:?}", .0.display())]
    TimedOut(PathBuf),
    #[error("the status socket `{}` belongs to another user: ask as that user, or as root", .0.display())]
    PermissionDenied(PathBuf),
    #[error("what answers at `{}` is no recorder", .0.display())]
    InvalidResponse(PathBuf),
}

/// Asks the recorder at this socket how it is.
pub(crate) async fn query_status(path: &Path) -> Result<Snapshot, QueryError> {
    let asked = async {
        let mut server = UnixStream::connect(path).await?;
        server.write_all(JSON_REQUEST).await?;
        let mut answer = String::new();
        // A recorder's answer is a few kilobytes.
        server.take(1 << 20).read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = match timeout(QUERY_TIMEOUT, asked).await {
        Err(_) => return Err(QueryError::TimedOut(path.to_owned())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(QueryError::PermissionDenied(path.to_owned()));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(QueryError::InvalidResponse(path.to_owned()));
        }
        Ok(Err(source)) => {
            return Err(QueryError::NotRunning { path: path.to_owned(), source });
        }
        Ok(Ok(answer)) => answer,
    };
    serde_json::from_str(&answer).map_err(|_| QueryError::InvalidResponse(path.to_owned()))
}
