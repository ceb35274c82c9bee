//! The client of status queries.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{JSON_REQUEST, RELOAD_REQUEST, RELOAD_TIMEOUT, RESPONSE_TIMEOUT};
use crate::metrics::Snapshot;
use crate::recorder::reload::ReloadReport;

/// Maximum length of a response. A topic has some 200 bytes.
const MAX_RESPONSE_BYTES: u64 = 64 << 20;

/// A query without a valid response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    #[error("no recorder answers at `{}` (`status_socket`): is it running, and with this configuration?", path.display())]
    NotRunning { path: PathBuf, source: io::Error },
    #[error("the recorder at `{}` did not answer within {limit:?}", path.display())]
    TimedOut { path: PathBuf, limit: Duration },
    #[error("the status socket `{}` belongs to another user: ask as that user, or as root", .0.display())]
    PermissionDenied(PathBuf),
    #[error("the process that answers at `{}` is not a recorder", .0.display())]
    InvalidResponse(PathBuf),
}

/// Queries the status of the recorder at this socket.
///
/// # Errors
/// [`QueryError`] if no recorder answers within [`RESPONSE_TIMEOUT`].
pub(crate) async fn query_status(path: &Path) -> Result<Snapshot, QueryError> {
    query(path, JSON_REQUEST, RESPONSE_TIMEOUT).await
}

/// Makes the recorder at this socket reload its configuration.
///
/// # Errors
/// [`QueryError`] if no recorder answers within [`RELOAD_TIMEOUT`].
pub(crate) async fn query_reload(path: &Path) -> Result<ReloadReport, QueryError> {
    query(path, RELOAD_REQUEST, RELOAD_TIMEOUT).await
}

/// Sends a request and returns the JSON of the response.
async fn query<T: DeserializeOwned>(
    path: &Path,
    request: &[u8],
    limit: Duration,
) -> Result<T, QueryError> {
    let response = match timeout(limit, exchange(path, request)).await {
        Err(_) => return Err(QueryError::TimedOut { path: path.to_owned(), limit }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(QueryError::PermissionDenied(path.to_owned()));
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(QueryError::InvalidResponse(path.to_owned()));
        }
        Ok(Err(source)) => {
            return Err(QueryError::NotRunning { path: path.to_owned(), source });
        }
        Ok(Ok(response)) => response,
    };
    serde_json::from_str(&response).map_err(|_| QueryError::InvalidResponse(path.to_owned()))
}

async fn exchange(path: &Path, request: &[u8]) -> io::Result<String> {
    let mut server = UnixStream::connect(path).await?;
    server.write_all(request).await?;
    let mut response = String::new();
    server.take(MAX_RESPONSE_BYTES).read_to_string(&mut response).await?;
    Ok(response)
}
