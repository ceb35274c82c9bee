//! The log: written to a bounded file, to stdout, or to both.
//!
//! A log that cannot be written, or that nobody reads, never delays the recording: lines go through
//! bounded channels to threads of their own, one for each destination, and lines that do not fit are
//! counted (`log_lines_lost`) and dropped.
//!
//! Lines are collected until the recording starts: one that is refused does not touch the log file.

mod console;
mod json_layer;
mod line_sender;
mod line_style;
mod log_command;
mod log_file;
mod log_line;
mod panic_hook;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use self::console::Console;
use self::json_layer::JsonLayer;
use self::line_sender::LineSender;
use self::line_style::LineStyle;
use self::log_command::LogCommand;
use self::log_file::LogFile;
use self::panic_hook::log_panics;
use super::verbosity::Verbosity;
use crate::base::secrets::Secrets;
use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::metrics::Counter;

/// Capacity of the channel to a log thread, in lines.
const LOG_QUEUE_LINES: usize = 4096;
/// Maximum time for which the start of the program waits for the log file to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time for which the end of the program waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

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

/// The log of a recording that has not started yet.
pub(crate) struct LogCollector {
    commands: SyncSender<LogCommand>,
    /// The lines so far; `None` once they are being written.
    collected: Option<Receiver<LogCommand>>,
    lines_lost: Arc<Counter>,
    config: LogConfig,
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
    /// [`LogCollector::start_writing`], and masks the secrets in them. [`Verbosity::Debug`] adds the
    /// debug level.
    pub(crate) fn start(config: &LogConfig, verbosity: Verbosity, secrets: Secrets) -> Self {
        let (commands, collected) = sync_channel(LOG_QUEUE_LINES);
        let lines_lost = Arc::<Counter>::default();
        let lines = LineSender { commands: commands.clone(), lines_lost: Arc::clone(&lines_lost) };
        if set_default_log(config.format, level_filter(config.level, verbosity), lines) {
            log_panics();
        }
        let config = config.clone();
        Self { commands, collected: Some(collected), lines_lost, config, verbosity, secrets }
    }

    /// Returns the counter of lines that are lost.
    pub(crate) fn lines_lost(&self) -> Arc<Counter> {
        Arc::clone(&self.lines_lost)
    }

    /// Writes the lines so far, and all that follow, to the destinations of the configuration.
    /// [`Verbosity::Debug`] adds stdout.
    ///
    /// # Errors
    /// A log thread cannot be started. A log file that cannot be opened is a warning on stderr.
    pub(crate) fn start_writing(mut self) -> io::Result<Log> {
        let log = Log { commands: self.commands.clone() };
        let Some(commands) = self.collected.take() else { return Ok(log) };
        let config = &self.config;
        let is_debug = self.verbosity == Verbosity::Debug;
        let console = match (config.to_stdout || is_debug, &config.file) {
            (true, _) => Some(Console::stdout()),
            (false, Some(_)) => None,
            (false, None) => Some(Console::stderr()),
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
            let stderr = Console::stderr();
            for command in collected.try_iter() {
                if let LogCommand::Line(mut line) = command {
                    line.mask(&self.secrets);
                    // Nobody is left to be told.
                    drop(stderr.print(&line));
                }
            }
        }
    }
}

/// Makes a subscriber that sends lines in this format the default of the whole process. Returns
/// `false` if a program that embeds the recorder has set its own log, which is used then.
fn set_default_log(format: LogFormat, level: LevelFilter, lines: LineSender) -> bool {
    // The scheduler of the sidecar logs its own start at the info level.
    let levels = Targets::new()
        .with_default(level)
        .with_target("tokio_cron_scheduler", level.min(LevelFilter::WARN));
    let set = match format {
        LogFormat::Text => {
            let text = tracing_subscriber::fmt()
                .with_max_level(level)
                .without_time()
                .with_ansi(false)
                .with_target(false)
                .with_writer(lines);
            tracing::subscriber::set_global_default(text.finish().with(levels))
        }
        LogFormat::Json => {
            let json = tracing_subscriber::registry().with(JsonLayer { lines });
            tracing::subscriber::set_global_default(json.with(levels))
        }
    };
    set.is_ok()
}

/// Returns the levels that are logged.
fn level_filter(level: LogLevel, verbosity: Verbosity) -> LevelFilter {
    match (verbosity, level) {
        (Verbosity::Debug, _) | (_, LogLevel::Debug) => LevelFilter::DEBUG,
        (_, LogLevel::Info) => LevelFilter::INFO,
        (_, LogLevel::Warn) => LevelFilter::WARN,
        (_, LogLevel::Error) => LevelFilter::ERROR,
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
                LogCommand::Line(mut line) => {
                    line.mask(&secrets);
                    let printed = console.map_or(Ok(()), |console| console.print(&line));
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
            line.mask(secrets);
        }
        match &command {
            LogCommand::Line(line) => {
                let line = line.render(LineStyle::Timed);
                lines_lost.add(file.append(line.as_bytes()).is_err().into());
            }
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
