//! A progress bar, where somebody is there to see it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::archive::progress::Progress;

/// How often the bar is drawn.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// A bar on stderr that follows a [`Progress`], or nothing when stderr is no terminal.
pub(super) struct ProgressReporter {
    bar: ProgressBar,
    redraw_thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ProgressReporter {
    /// Follows the progress towards this many bytes.
    pub(super) fn start(progress: &Arc<Progress>, bytes: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), redraw_thread: None };
        }
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        let bar = ProgressBar::new(bytes).with_style(style);
        let (end, ended) = channel::<()>();
        let (drawn, progress) = (bar.clone(), Arc::clone(progress));
        let follower = std::thread::spawn(move || {
            while ended.recv_timeout(REDRAW_INTERVAL)
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                drawn.set_position(progress.bytes());
            }
        });
        Self { bar, redraw_thread: Some((end, follower)) }
    }

    /// Does `print` without the bar in the way.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Some((end, follower)) = self.redraw_thread {
            drop(end);
            // It does nothing that could fail.
            drop(follower.join());
        }
        self.bar.finish_and_clear();
    }
}
