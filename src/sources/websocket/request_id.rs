//! The number of a request.

use serde_json::Value;

/// The number of a request, which fills `{id}` in its template and which the server repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestId(u64);

impl RequestId {
    /// Number of messages whose answers are not matched to them.
    pub(super) const UNTRACKED: Self = Self(0);
    /// Number of the first request of a connection.
    pub(super) const FIRST: Self = Self(1);

    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number of the request after this one.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<RequestId> for Value {
    fn from(id: RequestId) -> Self {
        id.0.into()
    }
}
