//! The running recorder: its log, its status socket and its sidecar.

pub(crate) mod logging;
pub(crate) mod sidecar;
pub(crate) mod status;
