//! The kinds of file layouts.

/// The way in which the lines of a sink are shared out over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All lines go to one file.
    SingleFile,
    /// Each topic has its own file; the source finds the topic of a message.
    SourceTopics,
    /// Each topic has its own file; the sink finds the topic in the line.
    LineTopics,
}
