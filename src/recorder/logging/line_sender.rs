//! The way of a line from where it is logged to the log thread.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use serde_json::{Map, Value};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::log_command::LogCommand;
use super::log_line::{LineBody, LogLine};
use crate::base::time::{Clock, SystemClock};
use crate::metrics::Counter;

/// Sends lines to the log thread, and counts those for which the channel has no room.
#[derive(Clone)]
pub(super) struct LineSender {
    pub(super) commands: SyncSender<LogCommand>,
    pub(super) lines_lost: Arc<Counter>,
}

impl LineSender {
    /// Sends a line with these fields.
    pub(super) fn send_fields(&self, level: Level, fields: Map<String, Value>) {
        self.send(level, LineBody::Json(fields));
    }

    fn send(&self, level: Level, body: LineBody) {
        let line = LogLine { time: SystemClock.now(), level, body };
        if self.commands.try_send(LogCommand::Line(line)).is_err() {
            self.lines_lost.add(1);
        }
    }
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = TextSender<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        TextSender { sender: self, level: Level::INFO }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        TextSender { sender: self, level: *metadata.level() }
    }
}

/// Sends a line that was formatted as text.
pub(super) struct TextSender<'a> {
    sender: &'a LineSender,
    level: Level,
}

impl Write for TextSender<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).into_owned();
        self.sender.send(self.level, LineBody::Text(text));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
