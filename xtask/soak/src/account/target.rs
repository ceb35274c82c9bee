//! The connections that a fault concerns.

use std::fmt;

/// A choice among the connections that stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    All,
    /// The connection with this index, modulo their number.
    One(usize),
}

impl Target {
    /// Returns whether the connection at `index` of `count` is concerned.
    pub(super) fn includes(self, index: usize, count: usize) -> bool {
        match self {
            Self::All => true,
            Self::One(chosen) => chosen % count.max(1) == index,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all connections"),
            Self::One(index) => write!(f, "connection {index} (modulo their number)"),
        }
    }
}
