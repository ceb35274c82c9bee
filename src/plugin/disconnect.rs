//! The loss of a connection.

use std::time::Duration;

use super::DownCause;

/// Delay up to which the loss of a connection counts as noticed at once: a connection that was
/// heard within this time was alive.
pub(crate) const DETECTION_TOLERANCE: Duration = Duration::from_millis(100);

/// The loss of a connection, or a failed attempt to make one, for the log, the status and the
/// counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Kind of reason, by which disconnects are counted.
    pub cause: DownCause,
    /// Particulars in words, perhaps quoted from the server. Holds no control characters.
    pub detail: String,
    /// Pause before the next attempt that the server asked for.
    pub retry_after: Option<Duration>,
    /// Time without a sign of life before the loss was noticed. The connection may have been dead
    /// for as long.
    pub silent_for: Option<Duration>,
}

impl Disconnect {
    /// Creates a disconnect of this kind.
    ///
    /// Control characters, which a terminal might obey, are escaped in `detail`.
    pub fn new(cause: DownCause, detail: impl AsRef<str>) -> Self {
        let mut escaped = String::new();
        for char in detail.as_ref().chars() {
            if char.is_control() {
                escaped.extend(char.escape_default());
            } else {
                escaped.push(char);
            }
        }
        Self { cause, detail: escaped, retry_after: None, silent_for: None }
    }

    /// Returns this disconnect with the time without a sign of life that preceded it.
    #[must_use]
    pub fn with_silent_for(self, silent_for: Duration) -> Self {
        Self { silent_for: Some(silent_for), ..self }
    }
}
