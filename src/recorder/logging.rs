//! The log: to a bounded file, to stdout, or both. A log that cannot be written, or that nobody
//! reads, never holds up the recording.
//!
//! Lines go through a bounded channel to a thread of their own; what does not fit is counted
//! (`log_lines_lost`) and dropped.

mod log_file;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;

use self::log_file::LogFile;
use super::verbosity::Verbosity;
use crate::base::time::{Clock, SystemClock};
use crate::config::LogConfig;
use crate::metrics::ProcessStats;

/// Lines that may wait to be written.
const LOG_QUEUE_LINES: usize = 4096;
/// For how long the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Where log lines go when the configuration names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Console {
    None,
    Stdout,
    Stderr,
}

enum LogCommand {
    Line(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

/// The log of this process, once started.
pub(crate) struct Log {
    commands: SyncSender<LogCommand>,
}

impl Log {
    /// Starts the log and makes it the log of the whole process.
    pub(crate) fn start(
        config: &LogConfig,
        verbosity: Verbosity,
        stats: &Arc<ProcessStats>,
    ) -> io::Result<Self> {
        let is_debug = verbosity == Verbosity::Debug;
        let console = match (config.to_stdout || is_debug, &config.file) {
            (true, _) => Console::Stdout,
            (false, Some(_)) => Console::None,
            (false, None) => Console::Stderr,
        };
        let mut file = config
            .file
            .clone()
            .map(|path| LogFile::new(path, config.max_size, config.max_old_files));
        if let (Some(log), Some(path)) = (&mut file, &config.file)
            && let Err(error) = log.open()
        {
            warn_on_stderr(path, &error);
        }
        let (orders, received) = sync_channel(LOG_QUEUE_LINES);
        let counters = Arc::clone(stats);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&received, file, console, &counters))?;
        let level = if is_debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
        let lines = LogLineWriter { commands: orders.clone(), stats: Arc::clone(stats) };
        // The scheduler of the sidecar tells of its own birth.
        let levels = Targets::new()
            .with_default(level)
            .with_target("tokio_cron_scheduler", LevelFilter::WARN);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_timer(Rfc3339Timer)
            .with_ansi(false)
            .with_target(false)
            .with_writer(lines)
            .finish()
            .with(levels);
        // Fails only when a program that embeds the recorder has a log of its own: then that is used.
        if tracing::subscriber::set_global_default(subscriber).is_ok() {
            let to_stderr = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tracing::error!(%panic, "panic");
                to_stderr(panic);
            }));
        }
        Ok(Self { commands: orders })
    }

    /// Opens the log file anew, after it was moved away.
    pub(crate) fn reopen(&self) {
        // When the queue is full the lines in it go to the old file, and a second SIGHUP helps.
        drop(self.commands.try_send(LogCommand::Reopen));
    }

    /// Waits, for a bounded time, until the lines so far are written.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.commands.try_send(LogCommand::Flush(done)).is_ok() {
            // After the time limit the last lines are lost, and the program ends.
            let _timed_out = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// The recording goes on; each line tries again.
#[expect(clippy::print_stderr, reason = "there is no log to say this in")]
fn warn_on_stderr(path: &Path, error: &io::Error) {
    eprintln!(
        "warning: cannot write the log file `{}`: {error}; recording without",
        path.display()
    );
}

fn write_lines(
    orders: &Receiver<LogCommand>,
    mut file: Option<LogFile>,
    console: Console,
    stats: &ProcessStats,
) {
    while let Ok(order) = orders.recv() {
        match order {
            LogCommand::Line(line) => {
                let written = match console {
                    Console::None => Ok(()),
                    Console::Stdout => io::stdout().write_all(&line),
                    Console::Stderr => io::stderr().write_all(&line),
                };
                let filed = file.as_mut().map_or(Ok(()), |file| file.append(&line));
                if written.is_err() || filed.is_err() {
                    stats.log_lines_lost.add(1);
                }
            }
            LogCommand::Reopen => {
                if let Some(file) = &mut file {
                    file.close();
                }
            }
            // Nobody waits any longer when the time limit has passed.
            LogCommand::Flush(done) => drop(done.send(())),
        }
    }
}

/// Makes writers that put whole lines into the queue.
struct LogLineWriter {
    commands: SyncSender<LogCommand>,
    stats: Arc<ProcessStats>,
}

impl<'a> MakeWriter<'a> for LogLineWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LogLineWriter {
    /// Takes the line, or counts it as lost.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.commands.try_send(LogCommand::Line(line.to_vec())).is_err() {
            self.stats.log_lines_lost.add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Rfc3339Timer;

impl FormatTime for Rfc3339Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}
