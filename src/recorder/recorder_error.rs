//! The reason why a recording could not start or did not end well.

use std::io;

use super::status::BindError;
use crate::base::config_error::ConfigError;
use crate::engine::PipelineError;

/// The reason why a recording could not start or did not end well.
///
/// The message and its sources say what happened and which configuration key to change.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecorderError(RecorderErrorKind);

/// The kinds of [`RecorderError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecorderErrorKind {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot start the runtime")]
    StartRuntime(#[source] io::Error),
    #[error(transparent)]
    BindStatusSocket(#[from] BindError),
    #[error("cannot start the log")]
    StartLog(#[source] io::Error),
    #[error("the `schedule` of the archive is not usable: {0}")]
    Schedule(String),
    #[error("cannot start the sidecar")]
    StartSidecar(#[source] io::Error),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl RecorderError {
    pub(crate) fn into_kind(self) -> RecorderErrorKind {
        self.0
    }
}

impl<E: Into<RecorderErrorKind>> From<E> for RecorderError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}
