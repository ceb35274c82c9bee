//! The request over HTTP that returns the URL of the feed.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::connect_deadline::ConnectDeadline;
use super::connect_options::ConnectOptions;
use super::endpoint_url::{EndpointUrl, UrlProtocol};
use super::http_client::{HttpAnswer, HttpClient};
use super::http_request::{HttpMethod, HttpRequest};
use super::profile::Bootstrap;
use super::template::fill_placeholders;
use crate::plugin::{Disconnect, DownCause};

/// Sends the request and returns the URL to connect to.
///
/// # Errors
/// The response is late, has another status than 2xx, or lacks a value that the URL needs.
pub(super) async fn request_url(
    bootstrap: &Bootstrap,
    options: &Arc<ConnectOptions>,
    deadline: Instant,
) -> Result<String, Disconnect> {
    let url = EndpointUrl::parse(&bootstrap.post, UrlProtocol::Http).map_err(|error| {
        Disconnect::new(DownCause::Http, format!("the profile's `bootstrap.post`: {error}"))
    })?;
    let request = HttpRequest { method: HttpMethod::Post, url };
    let deadline = ConnectDeadline { at: deadline, limit: options.connect_timeout };
    let HttpAnswer { endpoint, body } = HttpClient::new(options).send(request, deadline).await?;
    // The response is not quoted: it may hold a token.
    let unusable = || {
        let detail =
            format!("the answer of {endpoint} lacks a value that `{}` needs", bootstrap.url);
        Disconnect::new(DownCause::Http, detail)
    };
    let json: Value = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the answer of {endpoint} is no JSON: {error}");
        Disconnect::new(DownCause::Http, detail)
    })?;
    let url = fill_placeholders(&Value::from(bootstrap.url.as_str()), &|name| match name {
        "id" => Some(fastrand::u32(..).into()),
        pointer => json.pointer(pointer).cloned(),
    });
    let url = url.as_str().filter(|url| !url.contains('{')).ok_or_else(unusable)?;
    Ok(url.to_owned())
}
