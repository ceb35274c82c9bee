//! A request over HTTP that says where to connect.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::profile::Bootstrap;
use super::template::fill;
use crate::plugin::{Cause, Disconnect};

/// More than this is no such answer.
const MAX_ANSWER: u64 = 1 << 20;
/// How much of an answer that is of no use is quoted.
const MAX_QUOTE: usize = 200;

/// The URL that the server gives.
pub(super) async fn bootstrap(at: &Bootstrap, deadline: Instant) -> Result<String, Disconnect> {
    let (post, patience) = (at.post.clone(), deadline - Instant::now());
    // The client blocks; it ends by its own time-out, also when nobody waits for it any more.
    let asked = tokio::task::spawn_blocking(move || ask(&post, patience));
    let late = || Disconnect::new(Cause::ConnectTimeout, format!("no answer from {}", at.post));
    let answer = timeout_at(deadline, asked).await.map_err(|_| late())?;
    let answer = answer.map_err(|error| Disconnect::new(Cause::Other, error.to_string()))?;
    let answer = answer.map_err(|error| {
        Disconnect::new(Cause::Http, format!("the request to {} failed: {error}", at.post))
    })?;
    let useless = || {
        let quoted: String = answer.chars().take(MAX_QUOTE).collect();
        Disconnect::new(Cause::Http, format!("{} does not say where to connect: {quoted}", at.post))
    };
    let json: Value = serde_json::from_str(&answer).map_err(|_| useless())?;
    let url = fill(&Value::from(at.url.as_str()), &|name| match name {
        "id" => Some(fastrand::u32(..).into()),
        pointer => json.pointer(pointer).cloned(),
    });
    let url = url.as_str().filter(|url| !url.contains('{')).ok_or_else(useless)?;
    Ok(url.to_owned())
}

fn ask(post: &str, patience: Duration) -> Result<String, ureq::Error> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(patience)).build();
    let agent = ureq::Agent::new_with_config(agent);
    let mut answer = agent.post(post).send_empty()?;
    answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string()
}
