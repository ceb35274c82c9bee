//! The report of a panic.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Maximum time for which the thread that panicked waits for its report on stderr.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes panics of the process log lines, and reports them on stderr as they are by default.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(%panic, "panic");
        print_within(PRINT_TIMEOUT, io::stderr(), report(panic));
    }));
}

fn report(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        format!("\nthread '{name}' {panic}\n{backtrace}")
    } else {
        format!("\nthread '{name}' {panic}\n")
    }
}

/// Writes a text, and waits for it no longer than this. Somebody may hold the other end of a pipe and
/// not read it; the thread that writes is then left to itself.
fn print_within(limit: Duration, stream: impl Write + Send + 'static, text: String) {
    let (done, printed) = channel();
    let print = move || {
        let mut stream = stream;
        // Nobody is left to be told.
        drop(stream.write_all(text.as_bytes()));
        let _nobody_waits = done.send(());
    };
    // Without a thread, the log has the panic.
    if thread::Builder::new().name("panic".to_owned()).spawn(print).is_ok() {
        let _timed_out = printed.recv_timeout(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_stream_that_nobody_reads_holds_nobody_up_and_another_gets_the_whole_report() {
        let (writer, unread) = UnixStream::pair().unwrap();
        let longer_than_any_buffer = "x".repeat(64 << 20);
        print_within(Duration::ZERO, writer, longer_than_any_buffer);
        drop(unread);
        let (writer, mut reader) = UnixStream::pair().unwrap();
        print_within(Duration::from_secs(60), writer, "thread 'x' panicked".to_owned());
        let mut report = String::new();
        reader.read_to_string(&mut report).unwrap();
        assert_eq!(report, "thread 'x' panicked");
    }
}
