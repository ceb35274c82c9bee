//! A progress bar on stderr, if stderr is a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::progress::Progress;

/// Time between two drawings of the bar.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A bar on stderr that follows a [`Progress`]; hidden if stderr is no terminal.
pub(super) struct ProgressReporter {
    bar: ProgressBar,
    redraw: Option<RedrawThread>,
}

/// The thread that redraws the bar until its sender is dropped.
struct RedrawThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ProgressReporter {
    /// Starts a bar that is full at `bytes`.
    pub(super) fn start(progress: &Arc<Progress>, bytes: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), redraw: None };
        }
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        let bar = ProgressBar::new(bytes).with_style(style);
        let (stop, stopped) = channel::<()>();
        let drawn = bar.clone();
        let progress = Arc::clone(progress);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(REDRAW_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                drawn.set_position(progress.bytes());
            }
        });
        Self { bar, redraw: Some(RedrawThread { stop, thread }) }
    }

    /// Hides the bar while `print` runs.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Removes the bar.
    pub(super) fn finish(self) {
        if let Some(RedrawThread { stop, thread }) = self.redraw {
            drop(stop);
            // A panic of the thread costs nothing but the bar.
            drop(thread.join());
        }
        self.bar.finish_and_clear();
    }
}
