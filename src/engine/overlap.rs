//! The times for which a new connection runs beside the one that it replaces.

use std::time::Duration;

/// Time after which a subscribed connection is trusted to deliver everything without proof.
pub(super) const ASSUME_DELIVERING_AFTER: Duration = Duration::from_secs(30);

/// Time for which both connections run after the new one is known to deliver.
///
/// Messages that are in flight on the old one, or that a slower server of the same venue has yet to
/// send, still arrive.
pub(super) const OVERLAP_DURATION: Duration = Duration::from_secs(2);
