//! The log: written to a bounded file, to stdout, or to both.
//!
//! A log that cannot be written, or that nobody reads, never delays the recording: lines go through
//! bounded channels to threads of their own, one for each destination, and lines that do not fit are
//! counted (`log_lines_lost`) and dropped.
//!
//! Lines are collected from the start of the program, before it is known where they go.

mod log_file;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
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
use crate::metrics::Counter;

/// Capacity of the channel to a log thread, in lines.
const LOG_QUEUE_LINES: usize = 4096;
/// Maximum time for which the start of the program waits for the log file to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for which the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The standard stream to which log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Console {
    Stdout,
    Stderr,
}

/// Prints warnings to stderr, for commands that do not record.
pub(crate) fn print_warnings() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr);
    // Fails if a program that uses the command line has set its own log.
    let _own_log = tracing::subscriber::set_global_default(subscriber.finish());
}

/// A message to a log thread.
enum LogCommand {
    Line(Vec<u8>),
    /// Opens the file again for the next line.
    Reopen,
    /// Confirms that all earlier lines are written.
    Flush(Sender<()>),
}

/// The log of a process that does not know yet where its lines go.
pub(crate) struct LogCollector {
    commands: SyncSender<LogCommand>,
    /// The lines so far; `None` once they are being written.
    collected: Option<Receiver<LogCommand>>,
    lines_lost: Arc<Counter>,
    verbosity: Verbosity,
    /// Texts that no line may show.
    secrets: Secrets,
}

/// The log of this process.
pub(crate) struct Log {
    commands: SyncSender<LogCommand>,
}

impl LogCollector {
    /// Makes the log the default of the whole process. It collects lines until
    /// [`LogCollector::start_writing`]. [`Verbosity::Debug`] adds the debug level.
    pub(crate) fn start(verbosity: Verbosity) -> Self {
        let level = match verbosity {
            Verbosity::Debug => LevelFilter::DEBUG,
            Verbosity::Normal => LevelFilter::INFO,
        };
        let (commands, collected) = sync_channel(LOG_QUEUE_LINES);
        let lines_lost = Arc::<Counter>::default();
        let lines =
            LogLineWriter { commands: commands.clone(), lines_lost: Arc::clone(&lines_lost) };
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
        Self {
            commands,
            collected: Some(collected),
            lines_lost,
            verbosity,
            secrets: Secrets::default(),
        }
    }

    /// Masks these secrets in every line.
    #[must_use]
    pub(crate) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Returns the counter of lines that are lost.
    pub(crate) fn lines_lost(&self) -> Arc<Counter> {
        Arc::clone(&self.lines_lost)
    }

    /// Writes the lines so far, and all that follow, to the destinations of `config`.
    /// [`Verbosity::Debug`] adds stdout.
    ///
    /// # Errors
    /// A log thread cannot be started. A log file that cannot be opened is a warning on stderr.
    pub(crate) fn start_writing(mut self, config: &LogConfig) -> io::Result<Log> {
        let log = Log { commands: self.commands.clone() };
        let Some(commands) = self.collected.take() else { return Ok(log) };
        let is_debug = self.verbosity == Verbosity::Debug;
        let console = match (config.to_stdout || is_debug, &config.file) {
            (true, _) => Some(Console::Stdout),
            (false, Some(_)) => None,
            (false, None) => Some(Console::Stderr),
        };
        let Some(path) = config.file.clone() else {
            let lines_lost = Arc::clone(&self.lines_lost);
            spawn_console_thread(commands, console, self.secrets.clone(), lines_lost)?;
            return Ok(log);
        };
        let console = match console {
            // The console has a thread of its own: when nobody reads it, the file goes on.
            Some(console) => {
                let (sender, received) = sync_channel(LOG_QUEUE_LINES);
                let lines_lost = Arc::clone(&self.lines_lost);
                // Its lines are masked already.
                let secrets = Secrets::default();
                spawn_console_thread(received, Some(console), secrets, lines_lost)?;
                Some(sender)
            }
            None => None,
        };
        let file = LogFile::new(path.clone(), config.max_size, config.max_old_files);
        let (opened_sender, opened) = sync_channel(1);
        let lines_lost = Arc::clone(&self.lines_lost);
        let secrets = self.secrets.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut file = file;
            // The receiver is gone if the file took too long to open.
            drop(opened_sender.send(file.open()));
            write_to_file(&commands, &mut file, console.as_ref(), &secrets, &lines_lost);
        })?;
        let timed_out = |_| Err(io::Error::other("it does not open"));
        if let Err(error) = opened.recv_timeout(OPEN_TIMEOUT).unwrap_or_else(timed_out) {
            warn_on_stderr(&path, &error, &self.secrets);
        }
        Ok(log)
    }
}

impl Log {
    /// Opens the log file again, for use after the file was renamed.
    pub(crate) fn reopen(&self) {
        // With a full channel nothing happens, and a second SIGHUP helps.
        drop(self.commands.try_send(LogCommand::Reopen));
    }

    /// Waits until the lines so far are written, but no longer than [`FLUSH_TIMEOUT`].
    pub(crate) fn flush(&self) {
        let (done, flushed) = channel();
        if self.commands.try_send(LogCommand::Flush(done)).is_ok() {
            // After the time limit the program ends without the last lines.
            let _timed_out = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Drop for LogCollector {
    /// Prints the lines of a recording that did not start: its log file is not touched.
    fn drop(&mut self) {
        if let Some(collected) = self.collected.take() {
            for command in collected.try_iter() {
                if let LogCommand::Line(line) = command {
                    // Nobody is left to be told.
                    drop(io::stderr().write_all(&mask_line(&line, &self.secrets)));
                }
            }
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

/// Starts a thread that writes lines to a standard stream until all senders are gone.
fn spawn_console_thread(
    commands: Receiver<LogCommand>,
    console: Option<Console>,
    secrets: Secrets,
    lines_lost: Arc<Counter>,
) -> io::Result<()> {
    std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Ok(command) = commands.recv() {
            match command {
                LogCommand::Line(line) => {
                    let line = mask_line(&line, &secrets);
                    let printed = match console {
                        None => Ok(()),
                        Some(Console::Stdout) => io::stdout().write_all(&line),
                        Some(Console::Stderr) => io::stderr().write_all(&line),
                    };
                    lines_lost.add(printed.is_err().into());
                }
                LogCommand::Reopen => {}
                // The receiver is gone if `flush` has timed out.
                LogCommand::Flush(done) => drop(done.send(())),
            }
        }
    })?;
    Ok(())
}

/// Writes lines to the file until all senders are gone, and passes them on to the console.
fn write_to_file(
    commands: &Receiver<LogCommand>,
    file: &mut LogFile,
    console: Option<&SyncSender<LogCommand>>,
    secrets: &Secrets,
    lines_lost: &Counter,
) {
    while let Ok(mut command) = commands.recv() {
        if let LogCommand::Line(line) = &mut command {
            *line = mask_line(line, secrets);
        }
        match &command {
            LogCommand::Line(line) => lines_lost.add(file.append(line).is_err().into()),
            LogCommand::Reopen => file.close(),
            LogCommand::Flush(_) => {}
        }
        match console {
            None => {
                if let LogCommand::Flush(done) = command {
                    // The receiver is gone if `flush` has timed out.
                    let _gone = done.send(());
                }
            }
            Some(console) => lines_lost.add(console.try_send(command).is_err().into()),
        }
    }
}

/// Masks the secrets in a line, but not in its time, which may look like a short one.
fn mask_line(line: &[u8], secrets: &Secrets) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    match line.split_once(' ') {
        Some((time, rest)) => format!("{time} {}", secrets.mask(rest)).into_bytes(),
        None => secrets.mask(&line).into_bytes(),
    }
}

/// A writer that sends each line to the log thread.
struct LogLineWriter {
    commands: SyncSender<LogCommand>,
    lines_lost: Arc<Counter>,
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
        if self.commands.try_send(LogCommand::Line(line.to_vec())).is_err() {
            self.lines_lost.add(1);
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
