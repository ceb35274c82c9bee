//! The request over HTTP that returns the URL of the feed.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::connect_options::ConnectOptions;
use super::endpoint_url::{EndpointUrl, UrlProtocol};
use super::profile::Bootstrap;
use super::quote::quote;
use super::retry_after::parse_retry_after;
use super::template::fill_placeholders;
use crate::base::time::{Clock, SystemClock};
use crate::plugin::{BoxError, Disconnect, DownCause};

/// Maximum length of the response in bytes.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// Sends the request and returns the URL to connect to.
///
/// # Errors
/// The response is late, has another status than 2xx, or lacks a value that the URL needs.
pub(super) async fn request_url(
    bootstrap: &Bootstrap,
    options: &ConnectOptions,
    deadline: Instant,
) -> Result<String, Disconnect> {
    let url = EndpointUrl::parse(&bootstrap.post, UrlProtocol::Http).map_err(|error| {
        Disconnect::new(DownCause::Http, format!("the profile's `bootstrap.post`: {error}"))
    })?;
    let proxy = proxy_to(&url, options)
        .map_err(|error| Disconnect::new(DownCause::Connect, error.to_string()))?;
    let post = url.to_string();
    let endpoint = url.without_query();
    let user_agent = String::from_utf8_lossy(options.user_agent()).into_owned();
    let timeout = deadline - Instant::now();
    // The client blocks. Its own time-out ends it, also after this future was dropped.
    let request = tokio::task::spawn_blocking(move || send_post(&post, user_agent, proxy, timeout));
    let response = timeout_at(deadline, request).await.map_err(|_| {
        Disconnect::new(DownCause::ConnectTimeout, format!("no answer from {endpoint}"))
    })?;
    let response =
        response.map_err(|error| Disconnect::new(DownCause::Other, error.to_string()))?;
    let response = response.map_err(|error| {
        Disconnect::new(DownCause::Http, format!("the request to {endpoint} failed: {error}"))
    })?;
    let BootstrapResponse { status, retry_after, body } = response;
    if !(200..300).contains(&status) {
        let detail = format!("{endpoint} answered {status}: {}", quote(body.as_bytes()));
        return Err(Disconnect { retry_after, ..Disconnect::new(DownCause::Http, detail) });
    }
    // The response is not quoted: it may hold a token.
    let unusable = || {
        let detail =
            format!("the answer of {endpoint} lacks a value that `{}` needs", bootstrap.url);
        Disconnect::new(DownCause::Http, detail)
    };
    let json: Value = serde_json::from_str(&body).map_err(|_| unusable())?;
    let url = fill_placeholders(&Value::from(bootstrap.url.as_str()), &|name| match name {
        "id" => Some(fastrand::u32(..).into()),
        pointer => json.pointer(pointer).cloned(),
    });
    let url = url.as_str().filter(|url| !url.contains('{')).ok_or_else(unusable)?;
    Ok(url.to_owned())
}

struct BootstrapResponse {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

/// Returns the proxy to use for a request to `url`.
fn proxy_to(url: &EndpointUrl, options: &ConnectOptions) -> Result<Option<ureq::Proxy>, BoxError> {
    let proxy = options.proxy_to(&url.server, url.encryption)?;
    Ok(proxy.map(|proxy| ureq::Proxy::new(&proxy.url())).transpose()?)
}

fn send_post(
    url: &str,
    user_agent: String,
    proxy: Option<ureq::Proxy>,
    timeout: Duration,
) -> Result<BootstrapResponse, ureq::Error> {
    let config = ureq::Agent::config_builder().proxy(proxy).user_agent(user_agent);
    let config = config.timeout_global(Some(timeout)).http_status_as_error(false).build();
    let mut response = ureq::Agent::new_with_config(config).post(url).send_empty()?;
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| parse_retry_after(text, SystemClock.now()));
    let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string()?;
    Ok(BootstrapResponse { status: response.status().as_u16(), retry_after, body })
}
