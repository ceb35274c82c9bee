//! The log: written to a bounded file, to stdout, or to both.
//!
//! A log that cannot be written, or that nobody reads, never delays the recording: lines go through
//! a bounded channel to a thread of their own, and lines that do not fit are counted
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
use crate::base::secrets::Secrets;
use crate::base::time::{Clock, SystemClock};
use crate::config::LogConfig;
use crate::metrics::ProcessStats;

/// Capacity of the channel to the log thread, in lines.
const LOG_QUEUE_LINES: usize = 4096;
/// Maximum time for which the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The standard stream to which log lines go besides the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Console {
    None,
    Stdout,
    Stderr,
}

/// A message to the log thread.
enum LogCommand {
    Line(Vec<u8>),
    /// Opens the file again for the next line.
    Reopen,
    /// Confirms that all earlier lines are written.
    Flush(SyncSender<()>),
}

/// The log of this process.
pub(crate) struct Log {
    commands: SyncSender<LogCommand>,
}

impl Log {
    /// Starts the log and makes it the default of the whole process. [`Verbosity::Debug`] adds stdout
    /// and the debug level. Secrets are masked in every line.
    ///
    /// # Errors
    /// The log thread cannot be started. A log file that cannot be opened is a warning on stderr.
    pub(crate) fn start(
        config: &LogConfig,
        verbosity: Verbosity,
        stats: &Arc<ProcessStats>,
        secrets: Secrets,
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
            warn_on_stderr(path, &error, &secrets);
        }
        let (commands, received) = sync_channel(LOG_QUEUE_LINES);
        let thread_stats = Arc::clone(stats);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&received, file, console, &thread_stats))?;
        let level = if is_debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
        let lines = LogLineWriter { commands: commands.clone(), stats: Arc::clone(stats), secrets };
        // The scheduler of the sidecar logs its own start at the info level.
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
        // Fails if a program that embeds the recorder has set its own log, which is used then.
        if tracing::subscriber::set_global_default(subscriber).is_ok() {
            let default_hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                tracing::error!(%panic, "panic");
                default_hook(panic);
            }));
        }
        Ok(Self { commands })
    }

    /// Opens the log file again, for use after the file was renamed.
    pub(crate) fn reopen(&self) {
        // With a full channel nothing happens, and a second SIGHUP helps.
        drop(self.commands.try_send(LogCommand::Reopen));
    }

    /// Waits until the lines so far are written, but no longer than [`FLUSH_TIMEOUT`].
    pub(crate) fn flush(&self) {
        let (done, flushed) = sync_channel(1);
        if self.commands.try_send(LogCommand::Flush(done)).is_ok() {
            // After the time limit the program ends without the last lines.
            let _timed_out = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Warns that the log file cannot be opened. The recording starts all the same, and each line tries
/// again.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn warn_on_stderr(path: &Path, error: &io::Error, secrets: &Secrets) {
    let path = path.display();
    let warning = format!("cannot write the log file `{path}`: {error}; recording without it");
    eprintln!("warning: {}", secrets.mask(&warning));
}

/// Runs the log thread until all senders are gone.
fn write_lines(
    commands: &Receiver<LogCommand>,
    mut file: Option<LogFile>,
    console: Console,
    stats: &ProcessStats,
) {
    while let Ok(command) = commands.recv() {
        match command {
            LogCommand::Line(line) => {
                let printed = match console {
                    Console::None => Ok(()),
                    Console::Stdout => io::stdout().write_all(&line),
                    Console::Stderr => io::stderr().write_all(&line),
                };
                let appended = file.as_mut().map_or(Ok(()), |file| file.append(&line));
                if printed.is_err() || appended.is_err() {
                    stats.log_lines_lost.add(1);
                }
            }
            LogCommand::Reopen => {
                if let Some(file) = &mut file {
                    file.close();
                }
            }
            // The receiver is gone if `flush` has timed out.
            LogCommand::Flush(done) => drop(done.send(())),
        }
    }
}

/// A writer that sends each line to the log thread.
struct LogLineWriter {
    commands: SyncSender<LogCommand>,
    stats: Arc<ProcessStats>,
    /// Texts that no line may show.
    secrets: Secrets,
}

impl LogLineWriter {
    /// Masks the secrets in a line, but not in its time, which may look like a short one.
    fn mask(&self, line: &[u8]) -> Vec<u8> {
        let line = String::from_utf8_lossy(line);
        match line.split_once(' ') {
            Some((time, rest)) => format!("{time} {}", self.secrets.mask(rest)).into_bytes(),
            None => self.secrets.mask(&line).into_bytes(),
        }
    }
}

impl<'a> MakeWriter<'a> for LogLineWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &LogLineWriter {
    /// Sends the line, or counts it as lost if the channel is full.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.commands.try_send(LogCommand::Line(self.mask(line))).is_err() {
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
