//! Status queries over a Unix socket: the server in the recorder, and the client.
//!
//! A client that connects gets the status line. A client that first sends `json` and a line feed, or
//! `json` and the end of its stream, gets the whole [`Snapshot`](crate::metrics::Snapshot) as one
//! line of JSON. The request `reload` makes the recorder reload its configuration, and is answered
//! with the report as JSON.

mod protocol;
mod query;
mod responder;
mod socket;

pub(crate) use self::query::{query_reload, query_status};
pub(crate) use self::socket::{BindError, StatusSocket};
