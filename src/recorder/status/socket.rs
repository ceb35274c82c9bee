//! The server of status queries.

use std::fs::{self, File};
use std::future::pending;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::protocol::RESPONSE_TIMEOUT;
use super::query::{QueryError, query_status};
use super::responder::Responder;
use crate::base::descriptors::record_if_shortage;
use crate::base::error_chain::error_chain;
use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::base::symlinks::{ForeignLinkError, check_foreign_links};
use crate::metrics::ProcessStats;
use crate::recorder::reload::{ConfigFile, ReloadHandle};

/// Maximum time between a client's connect and its request.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(200);
/// The same with [`BUSY_CLIENTS`] connected: the request must arrive with the connection.
const BUSY_REQUEST_TIMEOUT: Duration = Duration::from_millis(5);
/// Number of concurrent clients from which on [`BUSY_REQUEST_TIMEOUT`] applies.
const BUSY_CLIENTS: usize = 64;
/// Number of clients that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 1024;
/// Pause after an accept that failed, for example for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Time between two checks of whether the socket is still in place.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a socket that cannot be bound is tried again.
const REBIND_INTERVAL: Duration = Duration::from_secs(5);

/// The status socket. Its file is removed when the value is dropped.
///
/// A socket that cannot be bound costs the status and not the recording: it is tried again. So is
/// one whose file was removed, as programs that clean up `/tmp` do.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    path: PathBuf,
    bound: Option<BoundSocket>,
    /// Earliest time of the next attempt to bind the socket.
    next_bind: Instant,
    /// Time at which a failure was logged.
    failure_logged: Option<Instant>,
    /// A descriptor that is given up for a client when the process has no other left.
    reserve: Option<File>,
}

/// A bound socket with the identity of its file.
#[derive(Debug)]
struct BoundSocket {
    listener: UnixListener,
    /// `None` if somebody removed the file at once.
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
    #[error("another program listens at the status socket `{}`; stop it, or choose another `status_socket`", .0.display())]
    OtherProgram(PathBuf),
    #[error("cannot tell whether the status socket `{}` is in use; remove it or choose another `status_socket`", path.display())]
    Indeterminate { path: PathBuf, source: io::Error },
    #[error("the file at the path of the status socket, `{}`, is not a socket; remove it or choose another `status_socket`", .0.display())]
    NotASocket(PathBuf),
    #[error(transparent)]
    ForeignLink(#[from] ForeignLinkError),
    #[error("cannot create the status socket `{}`; remove what stands there, or choose another `status_socket`", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

impl StatusSocket {
    /// Binds the socket with mode 0600. A socket that a dead process left behind is replaced. Any
    /// other failure than a running recorder is logged, and tried again by
    /// [`StatusSocket::serve`].
    ///
    /// # Errors
    /// [`BindError::AlreadyRunning`]
    pub(crate) async fn bind(path: &Path) -> Result<Self, BindError> {
        let mut socket = Self {
            path: path.to_owned(),
            bound: None,
            next_bind: Instant::now(),
            failure_logged: None,
            reserve: open_reserve(),
        };
        match BoundSocket::bind(path).await {
            Ok(bound) => socket.bound = Some(bound),
            Err(error @ BindError::AlreadyRunning { .. }) => return Err(error),
            Err(error) => socket.log_bind_failure(&error),
        }
        Ok(socket)
    }

    /// Answers clients until the future is dropped.
    pub(crate) async fn serve(
        &mut self,
        stats: &Arc<ProcessStats>,
        file: &Arc<ConfigFile>,
        reload: &ReloadHandle,
    ) {
        let responder =
            Responder { stats: Arc::clone(stats), file: Arc::clone(file), reload: reload.clone() };
        let mut clients = JoinSet::new();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = accept(self.bound.as_ref()) => match accepted {
                    Ok(client) => {
                        let is_busy = clients.len() >= BUSY_CLIENTS;
                        let request_timeout =
                            if is_busy { BUSY_REQUEST_TIMEOUT } else { REQUEST_TIMEOUT };
                        clients.spawn(responder.clone().respond(client, request_timeout));
                    }
                    Err(error) => self.on_accept_error(&error, &responder).await,
                },
                Some(_) = clients.join_next() => {}
                _ = checks.tick() => self.ensure_bound().await,
            }
        }
    }

    /// Answers a client with the descriptor in reserve when the process has no other left, and waits
    /// for a moment.
    async fn on_accept_error(&mut self, error: &io::Error, responder: &Responder) {
        if record_if_shortage(error) && self.reserve.take().is_some() {
            let accepted = timeout(ACCEPT_RETRY_DELAY, accept(self.bound.as_ref())).await;
            if let Ok(Ok(client)) = accepted {
                responder.clone().respond(client, REQUEST_TIMEOUT).await;
            }
            self.reserve = open_reserve();
            return;
        }
        if self.is_failure_log_due() {
            warn!(%error, "cannot accept a status query");
        }
        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
    }

    /// Binds the socket again when its file is gone, or when that failed before.
    async fn ensure_bound(&mut self) {
        if self.reserve.is_none() {
            self.reserve = open_reserve();
        }
        if let Some(bound) = &self.bound {
            if bound.is_in_place(&self.path) {
                return;
            }
            let path = self.path.display();
            warn!(%path, "the status socket was removed or replaced; it is made again");
            self.bound = None;
        } else if Instant::now() < self.next_bind {
            return;
        }
        match BoundSocket::bind(&self.path).await {
            Ok(bound) => {
                self.bound = Some(bound);
                self.failure_logged = None;
                info!(path = %self.path.display(), "the status socket is in place");
            }
            Err(error) => self.log_bind_failure(&error),
        }
    }

    fn log_bind_failure(&mut self, error: &BindError) {
        self.next_bind = Instant::now() + REBIND_INTERVAL;
        if self.is_failure_log_due() {
            let error = error_chain(error);
            warn!(%error, "recording without the status socket, which is tried again");
        }
    }

    fn is_failure_log_due(&mut self) -> bool {
        let is_due = self.failure_logged.is_none_or(|time| time.elapsed() >= FAILURE_LOG_INTERVAL);
        if is_due {
            self.failure_logged = Some(Instant::now());
        }
        is_due
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        if self.bound.as_ref().is_some_and(|bound| bound.is_in_place(&self.path)) {
            // If this fails, the next start replaces the file.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl BoundSocket {
    /// Binds the socket with mode 0600. A socket that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`] if somebody listens at the socket, or it cannot be created.
    async fn bind(path: &Path) -> Result<Self, BindError> {
        check_foreign_links(path)?;
        let bind_error = |source| BindError::Bind { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(found) => {
                check_no_listener(path, found.uid()).await?;
                fs::remove_file(path).map_err(bind_error)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bind_error(error)),
        }
        let listener = bind_private(path).map_err(bind_error)?;
        Ok(Self { listener, file_id: SocketFileId::of(path) })
    }

    fn is_in_place(&self, path: &Path) -> bool {
        self.file_id.is_some() && SocketFileId::of(path) == self.file_id
    }
}

/// Binds a socket that has mode 0600 from the first moment: the file gets the mode of the socket
/// (Linux, `unix_bind_bsd`), so that the mask of the process, which other threads use, stays.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, LISTEN_BACKLOG)?;
    UnixListener::from_std(socket.into())
}

async fn accept(bound: Option<&BoundSocket>) -> io::Result<UnixStream> {
    match bound {
        Some(bound) => Ok(bound.listener.accept().await?.0),
        None => pending().await,
    }
}

/// Opens a descriptor to keep in reserve.
fn open_reserve() -> Option<File> {
    // Without one the status is tried again when there are descriptors.
    File::open("/dev/null").ok()
}

/// Returns an error unless it is certain that no process listens at the socket, whose file belongs
/// to `owner`. A process that is too busy to accept does listen.
async fn check_no_listener(path: &Path, owner: u32) -> Result<(), BindError> {
    let running = |holder| BindError::AlreadyRunning { path: path.to_owned(), holder };
    let other_program = || BindError::OtherProgram(path.to_owned());
    let is_own = owner == rustix::process::geteuid().as_raw();
    match timeout(RESPONSE_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ok(()),
            io::ErrorKind::WouldBlock if is_own => Err(running("busy".to_owned())),
            _ => Err(BindError::Indeterminate { path: path.to_owned(), source: error }),
        },
        // A connect that takes too long proves a listener, as one that succeeds does. Another
        // user's recorder has an `output_dir` of its own, which is locked.
        Ok(Ok(_)) | Err(_) if !is_own => Err(other_program()),
        Ok(Ok(_)) | Err(_) => Err(match query_status(path).await {
            Ok(snapshot) => running(format!("pid {}", snapshot.pid)),
            // A recorder that hangs, or is stopped.
            Err(QueryError::TimedOut { .. }) => running("pid unknown".to_owned()),
            Err(_) => other_program(),
        }),
    }
}
