//! The service manager that started the recorder: systemd, or one that speaks its protocol
//! (`sd_notify(3)`).
//!
//! A notification is one datagram. It is never waited for: a manager that does not read costs
//! notifications and not the recording.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// The service manager that started the recorder.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Time after the last sign of life at which the manager restarts the recorder.
    watchdog: Option<Duration>,
    /// Set while the manager does not know that the recorder is ready.
    owes_ready: AtomicBool,
    /// Set once a failure is logged.
    is_failure_logged: AtomicBool,
}

/// A message to the service manager.
#[derive(Debug, Clone, Copy)]
pub(super) enum Notification<'a> {
    /// The start, or the reload, is over.
    Ready,
    Reloading,
    Stopping,
    /// The recorder makes progress.
    Watchdog,
    Status(&'a str),
}

impl fmt::Display for Notification<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1"),
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
                write!(f, "RELOADING=1\nMONOTONIC_USEC={micros}")
            }
            Self::Stopping => f.write_str("STOPPING=1"),
            Self::Watchdog => f.write_str("WATCHDOG=1"),
            // A line feed would begin another message.
            Self::Status(text) => write!(f, "STATUS={}", text.replace('\n', " ")),
        }
    }
}

impl ServiceManager {
    /// Returns the manager that the environment names, if there is one. One that cannot be reached
    /// is a warning.
    pub(super) fn from_env() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let connected = socket_address(&name).and_then(|address| Ok((unbound_socket()?, address)));
        let (socket, address) = connected
            .inspect_err(|error| {
                let name = name.display();
                warn!(%error, "cannot tell the service manager anything: NOTIFY_SOCKET={name}");
            })
            .ok()?;
        Some(Self {
            socket,
            address,
            watchdog: watchdog_from(env::var_os("WATCHDOG_USEC"), env::var_os("WATCHDOG_PID")),
            owes_ready: AtomicBool::new(false),
            is_failure_logged: AtomicBool::new(false),
        })
    }

    /// Returns the time after the last sign of life at which the manager restarts the recorder;
    /// `None` if it never does.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends that the start, or the reload, is over. Should the manager not take it,
    /// [`ServiceManager::resend_ready`] tries again.
    pub(super) fn send_ready(&self) {
        self.owes_ready.store(!self.send(Notification::Ready), Ordering::Relaxed);
    }

    /// Sends again that the recorder is ready, if the manager did not take it.
    pub(super) fn resend_ready(&self) {
        if self.owes_ready.load(Ordering::Relaxed) {
            self.send_ready();
        }
    }

    /// Sends a notification. Returns whether the manager has taken it; the first failure is logged.
    pub(super) fn send(&self, notification: Notification<'_>) -> bool {
        let text = notification.to_string();
        let sent = self.socket.send_to_addr(text.as_bytes(), &self.address);
        if let Err(error) = &sent
            && !self.is_failure_logged.swap(true, Ordering::Relaxed)
        {
            let address = &self.address;
            warn!(%error, ?address, "the service manager takes no notifications (NOTIFY_SOCKET); the recording goes on");
        }
        sent.is_ok()
    }
}

/// Returns the address that `NOTIFY_SOCKET` has: a path, or with `@` an abstract name.
fn socket_address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is not the path of a socket")),
    }
}

fn unbound_socket() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Returns the time that `WATCHDOG_USEC` has, if `WATCHDOG_PID` names this process or nobody
/// (`sd_watchdog_enabled(3)`).
fn watchdog_from(micros: Option<OsString>, pid: Option<OsString>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.to_str() == Some(&std::process::id().to_string()));
    let micros = micros?.to_str()?.parse().ok().filter(|micros| *micros > 0)?;
    is_ours.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_of_another_process_is_not_fed() {
        let own = Some(std::process::id().to_string().into());
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_from(Some("1000000".into()), own), second);
        assert_eq!(watchdog_from(Some("1000000".into()), None), second);
        assert_eq!(watchdog_from(Some("1000000".into()), Some("1".into())), None);
        assert_eq!(watchdog_from(Some("0".into()), None), None);
        assert_eq!(watchdog_from(Some("soon".into()), None), None);
        assert_eq!(watchdog_from(None, None), None);
    }

    #[test]
    fn a_message_is_one_line_and_a_reload_has_its_time() {
        assert_eq!(Notification::Status("a\nREADY=1").to_string(), "STATUS=a READY=1");
        let reloading = Notification::Reloading.to_string();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
    }
}
