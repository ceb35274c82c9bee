//! A request over HTTP that says where to connect.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::http::Uri;

use super::connect_target::{ConnectOptions, parse_retry_after};
use super::profile::Bootstrap;
use super::template::fill_placeholders;
use crate::base::time::{Clock, SystemClock};
use crate::plugin::{BoxError, Disconnect, DownCause};

/// More than this is no such answer.
const MAX_BODY_BYTES: u64 = 1 << 20;
/// How much of an answer that is of no use is quoted.
const MAX_QUOTED_CHARS: usize = 200;

/// The URL that the server gives.
pub(super) async fn request_url(
    at: &Bootstrap,
    reach: &ConnectOptions,
    deadline: Instant,
) -> Result<String, Disconnect> {
    let (post, patience) = (at.post.clone(), deadline - Instant::now());
    let proxy = proxy_to(&post, reach)
        .map_err(|error| Disconnect::new(DownCause::Connect, error.to_string()))?;
    // The client blocks; it ends by its own time-out, also when nobody waits for it any more.
    let asked = tokio::task::spawn_blocking(move || send_post(&post, proxy, patience));
    let late = || Disconnect::new(DownCause::ConnectTimeout, format!("no answer from {}", at.post));
    let answer = timeout_at(deadline, asked).await.map_err(|_| late())?;
    let answer = answer.map_err(|error| Disconnect::new(DownCause::Other, error.to_string()))?;
    let answer = answer.map_err(|error| {
        Disconnect::new(DownCause::Http, format!("the request to {} failed: {error}", at.post))
    })?;
    let BootstrapResponse { status, retry_after, body } = answer;
    if !(200..300).contains(&status) {
        let quoted: String = body.trim().chars().take(MAX_QUOTED_CHARS).collect();
        let detail = format!("{} answered {status}: {quoted}", at.post);
        return Err(Disconnect { retry_after, ..Disconnect::new(DownCause::Http, detail) });
    }
    // What it says is not quoted: there may be a token in it.
    let useless = || {
        let detail = format!("the answer of {} does not have what `{}` needs", at.post, at.url);
        Disconnect::new(DownCause::Http, detail)
    };
    let json: Value = serde_json::from_str(&body).map_err(|_| useless())?;
    let url = fill_placeholders(&Value::from(at.url.as_str()), &|name| match name {
        "id" => Some(fastrand::u32(..).into()),
        pointer => json.pointer(pointer).cloned(),
    });
    let url = url.as_str().filter(|url| !url.contains('{')).ok_or_else(useless)?;
    Ok(url.to_owned())
}

struct BootstrapResponse {
    status: u16,
    retry_after: Option<Duration>,
    body: String,
}

/// The proxy on the way to where the request goes.
fn proxy_to(post: &str, reach: &ConnectOptions) -> Result<Option<ureq::Proxy>, BoxError> {
    let uri: Uri = post.parse()?;
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let proxy = reach.proxy_to(tls, uri.host().unwrap_or_default(), port)?;
    Ok(proxy.map(|proxy| ureq::Proxy::new(&proxy.url())).transpose()?)
}

fn send_post(
    post: &str,
    proxy: Option<ureq::Proxy>,
    patience: Duration,
) -> Result<BootstrapResponse, ureq::Error> {
    let config = ureq::Agent::config_builder().proxy(proxy);
    let config = config.timeout_global(Some(patience)).http_status_as_error(false).build();
    let mut answer = ureq::Agent::new_with_config(config).post(post).send_empty()?;
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| parse_retry_after(text, SystemClock.now()));
    let body = answer.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_string()?;
    Ok(BootstrapResponse { status: answer.status().as_u16(), retry_after, body })
}
