//! The profile of a venue: everything that is particular to its protocol, as data.

mod builtin;
mod catalog;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::catalog::{LoadedProfile, load_all};
pub(super) use self::catalog::{NamedProfile, ProfileQuery};
use super::answer_rule::AnswerRule;
use super::encoding::BinaryEncoding;
use super::ping_config::PingConfig;
use super::rule::{MessagePattern, Rule};
use super::template::{TOPIC_PLACEHOLDER, TOPICS_PLACEHOLDER, placeholders};
use super::topic_case::TopicCase;
use super::venue_limits::VenueLimits;
use crate::base::config_error::ConfigError;
use crate::base::json::Selector;
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;
use crate::base::suggest::did_you_mean;

/// The protocol of a venue. `${NAME}` in a string of a profile stands for an environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Description of the venue in one line.
    pub about: String,
    /// Hosts whose URLs have this profile by default. `example.com` includes its subdomains.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Default endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Form of a topic: its parts, such as `{channel}:{symbol}`.
    #[serde(default = "Profile::default_topic")]
    pub topic: String,
    /// Topics as they are written in the configuration.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Parts of a topic whose letters have one case. Topics in another are warned about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topic_case: Vec<TopicCase>,
    /// Template of a topic in the list of topics, with the parts of the form as placeholders.
    #[serde(default = "Profile::default_item")]
    pub item: Value,
    /// Template of the subscription. `"{topics}"` becomes the list of items; for parts of the form
    /// one message is sent for each of their values. `{id}` becomes the number of the request,
    /// `{time}` the time in Unix seconds.
    pub subscribe: Value,
    /// Template of the request that ends subscriptions, with the placeholders of `subscribe`.
    /// Without one, a topic is removed by a new connection without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Value>,
    /// Request over HTTP that returns the URL of the feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// Messages that are sent before the subscriptions.
    #[serde(default)]
    pub opening: Vec<Value>,
    /// Pattern of the message that is awaited before the subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<MessagePattern>,
    /// Message that is sent at an interval; null for none.
    #[serde(default)]
    pub ping: Option<PingConfig>,
    /// Selector of the topic in a message, spelled as in `topics`.
    #[serde(default)]
    pub topic_pointer: Option<Selector>,
    /// Compression of binary messages.
    #[serde(default)]
    pub binary: BinaryEncoding,
    /// Rules that classify the server's messages. The first rule that matches applies; a message
    /// that matches none is data.
    #[serde(default)]
    pub answers: Vec<Rule>,
    /// Limits of the venue.
    #[serde(default)]
    pub limits: VenueLimits,
    /// Remarks on what is uncertain.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A request over HTTP that returns the URL of the feed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// URL that an empty POST is sent to.
    pub post: String,
    /// Template of the feed's URL with values of the response, such as
    /// `{/data/endpoint}?token={/data/token}`. `{id}` becomes a number that differs each time.
    pub url: String,
}

/// A profile that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("there is no profile `{name}`{hint}; `streamer profiles` lists them")]
    Unknown { name: String, hint: String },
    #[error("the profile cannot be used: {0}")]
    Invalid(ConfigError),
    // The reader of the configuration shows only this text, not the source.
    #[error("cannot read `{}`: {reason}", path.display())]
    Read { path: PathBuf, reason: std::io::Error },
}

impl Profile {
    fn default_topic() -> String {
        "{topic}".to_owned()
    }

    fn default_item() -> Value {
        Value::from("{topic}")
    }

    /// Parses the text of a profile.
    ///
    /// # Errors
    /// The error names the file, the line and the key.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ProfileError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| ProfileError::Invalid(ConfigError::from_syntax_error(file, &error)))?;
        Self::from_value(value, file, text, &Secrets::default())
    }

    /// Makes a profile of the value that `text` holds.
    ///
    /// # Errors
    /// The error names the file, the line and the key, and masks the secrets.
    fn from_value(
        value: Value,
        file: &Path,
        text: &str,
        secrets: &Secrets,
    ) -> Result<Self, ProfileError> {
        let profile: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let mut problem = Problem::from_serde("", &error);
            if VenueLimits::has_key(&problem.path) {
                problem.message = format!("write it as `limits.{}`", problem.path);
            }
            ProfileError::Invalid(ConfigError::new(file, Some(text), vec![problem], secrets))
        })?;
        let problems = profile.find_problems();
        if problems.is_empty() {
            return Ok(profile);
        }
        Err(ProfileError::Invalid(ConfigError::new(file, Some(text), problems, secrets)))
    }

    /// Checks what the types do not.
    fn find_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, rule) in self.answers.iter().enumerate() {
            if let Err(error) = AnswerRule::compile(rule) {
                problems.push(Problem::at(format!("answers[{index}]"), error.to_string()));
            }
        }
        if let Some(Err(error)) = self.welcome.as_ref().map(AnswerRule::from_pattern) {
            problems.push(Problem::at("welcome", error.to_string()));
        }
        for (index, case) in self.topic_case.iter().enumerate() {
            if let Err(error) = case.compile() {
                problems.push(Problem::at(format!("topic_case[{index}].part"), error));
            }
        }
        let mut parts = placeholders(&Value::from(self.topic.as_str()));
        if parts.is_empty() {
            problems.push(Problem::at("topic", "has no part in braces, such as \"{topic}\""));
        }
        parts.push(TOPIC_PLACEHOLDER.to_owned());
        for name in placeholders(&self.item).iter().filter(|name| !parts.contains(name)) {
            let hint = did_you_mean(name, parts.iter().map(String::as_str));
            let message = format!("`{{{name}}}` is not a part of a topic (`{}`){hint}", self.topic);
            problems.push(Problem::at("item", message));
        }
        parts.push(TOPICS_PLACEHOLDER.to_owned());
        let templates =
            [("subscribe", Some(&self.subscribe)), ("unsubscribe", self.unsubscribe.as_ref())];
        for (key, template) in templates {
            let names = template.map(placeholders);
            if names.is_some_and(|names| !names.iter().any(|name| parts.contains(name))) {
                let message = "has no place for topics: write \"{topics}\" or {topic}";
                problems.push(Problem::at(key, message));
            }
        }
        let post = self.bootstrap.as_ref().map(|bootstrap| &bootstrap.post);
        problems.extend(self.url.as_ref().and_then(|url| check_scheme("url", url, "ws", "wss")));
        problems.extend(post.and_then(|url| check_scheme("bootstrap.post", url, "http", "https")));
        problems
    }

    /// Returns whether the profile is for the host, which is in lower case.
    fn matches_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| {
            let own = own.to_ascii_lowercase();
            let subdomain = host.strip_suffix(own.as_str());
            host == own || subdomain.is_some_and(|subdomain| subdomain.ends_with('.'))
        })
    }
}

/// Checks that a URL begins with one of two schemes.
fn check_scheme(key: &str, url: &str, plain: &str, tls: &str) -> Option<Problem> {
    let scheme = url.trim_start().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_variable = url.trim_start().starts_with("${");
    let is_valid = is_variable || scheme.is_some_and(|scheme| scheme == plain || scheme == tls);
    let message = format!("begins with neither `{plain}://` nor `{tls}://`");
    (!is_valid).then(|| Problem::at(key, message))
}

#[cfg(test)]
mod tests;
