//! What is particular to a venue, as data.

mod builtin;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::builtin::BUILTIN;
use super::encoding::BinaryEncoding;
use super::request_builder::PingConfig;
use super::rules::{MessagePattern, Rule, Rules};
use super::template::{TOPICS_PLACEHOLDER, placeholders};
use crate::base::config_error::ConfigError;
use crate::base::json::Selector;
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;
use crate::base::suggest::did_you_mean;
use crate::base::units::ConfigDuration;

/// The name of the profile of servers that no other is for.
pub(super) const GENERIC: &str = "generic";

/// What is particular to a venue: how it is talked to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The venue, in a line.
    pub about: String,
    /// Hosts whose URLs have this profile by default; `example.com` is also for what ends in
    /// `.example.com`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// A usual endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The form of a topic: its parts, such as `{channel}:{symbol}`.
    #[serde(default = "Profile::default_topic")]
    pub topic: String,
    /// Topics as they are written in the configuration.
    #[serde(default)]
    pub examples: Vec<String>,
    /// What stands for a topic in a list of topics, with the parts of its form.
    #[serde(default = "Profile::default_item")]
    pub item: Value,
    /// The subscription. `"{topics}"` becomes the list of items; parts of the form within it make
    /// one message for each of their values. `{id}` is the number of the request, `{time}` the time
    /// in Unix seconds.
    pub subscribe: Value,
    /// A request over HTTP that gives the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// What is sent before the subscriptions.
    #[serde(default)]
    pub opening: Vec<Value>,
    /// The message that is waited for before the subscriptions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome: Option<MessagePattern>,
    /// A message that is sent at an interval; null for none.
    #[serde(default)]
    pub ping: Option<PingConfig>,
    /// Where a message says what its topic is, spelled as in `topics`.
    #[serde(default)]
    pub topic_pointer: Option<Selector>,
    /// How binary messages are made into text.
    #[serde(default)]
    pub binary: BinaryEncoding,
    /// How the server's messages are told apart: the first rule that a message meets counts. What meets
    /// none is data.
    #[serde(default)]
    pub answers: Vec<Rule>,
    /// How much the server takes.
    #[serde(default)]
    pub limits: VenueLimits,
    /// What of this is uncertain.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A request over HTTP whose answer says where to connect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// Where an empty POST is sent to.
    pub post: String,
    /// The URL, with values of the answer, such as `{/data/endpoint}?token={/data/token}`. `{id}` is
    /// a number that is new each time.
    pub url: String,
}

/// How much a server takes. 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VenueLimits {
    /// Topics in one request.
    pub topics_per_request: usize,
    /// Topics of one connection: more are shared out over several.
    pub topics_per_connection: usize,
    /// Bytes of all topics of one connection.
    pub topic_bytes_per_connection: usize,
    /// The least time between two requests of a connection.
    pub request_interval: ConfigDuration,
    /// The least time between two connects.
    pub connect_interval: ConfigDuration,
    /// A connection of this age is replaced, before the server ends it.
    pub max_connection_age: ConfigDuration,
}

impl VenueLimits {
    /// Whether this is the name of one of them.
    fn has_key(key: &str) -> bool {
        let all = serde_json::to_value(Self::default());
        all.is_ok_and(|all| all.get(key).is_some())
    }
}

/// A profile that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("there is no profile `{name}`{hint}; `streamer profiles` lists them")]
    Unknown { name: String, hint: String },
    #[error("the profile cannot be used: {0}")]
    Invalid(ConfigError),
    // The configuration's reader shows no more than this text.
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

    /// Reads the text of a profile. What is wrong names the file, the line and the key.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, ProfileError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| ProfileError::Invalid(ConfigError::from_syntax_error(file, &error)))?;
        let profile: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let mut problem = Problem::from_serde("", &error);
            if VenueLimits::has_key(&problem.path) {
                problem.message = format!("write it as `limits.{}`", problem.path);
            }
            let secrets = Secrets::default();
            ProfileError::Invalid(ConfigError::new(file, Some(text), vec![problem], &secrets))
        })?;
        let problems = profile.find_problems();
        if problems.is_empty() {
            return Ok(profile);
        }
        let secrets = Secrets::default();
        Err(ProfileError::Invalid(ConfigError::new(file, Some(text), problems, &secrets)))
    }

    /// What no type can say.
    fn find_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, rule) in self.answers.iter().enumerate() {
            if let Err(error) = Rules::compile(std::slice::from_ref(rule)) {
                problems.push(Problem::at(format!("answers[{index}]"), error.to_string()));
            }
        }
        if let Some(Err(error)) = self.welcome.as_ref().map(Rules::from_pattern) {
            problems.push(Problem::at("welcome", error.to_string()));
        }
        let mut parts = placeholders(&Value::from(self.topic.as_str()));
        if parts.is_empty() {
            problems.push(Problem::at("topic", "has no part in braces, such as \"{topic}\""));
        }
        parts.push("topic".to_owned());
        for name in placeholders(&self.item).iter().filter(|name| !parts.contains(name)) {
            let hint = did_you_mean(name, parts.iter().map(String::as_str));
            let message = format!("`{{{name}}}` is no part of a topic (`{}`){hint}", self.topic);
            problems.push(Problem::at("item", message));
        }
        parts.push(TOPICS_PLACEHOLDER.to_owned());
        if !placeholders(&self.subscribe).iter().any(|name| parts.contains(name)) {
            let message = "has no place for topics: write \"{topics}\" or {topic}";
            problems.push(Problem::at("subscribe", message));
        }
        for (key, url, schemes) in [
            ("url", self.url.as_ref(), ["ws://", "wss://"]),
            ("bootstrap.post", self.bootstrap.as_ref().map(|b| &b.post), ["http://", "https://"]),
        ] {
            if url.is_some_and(|url| !schemes.iter().any(|scheme| url.starts_with(scheme))) {
                let message = format!("begins with neither `{}` nor `{}`", schemes[0], schemes[1]);
                problems.push(Problem::at(key, message));
            }
        }
        problems
    }

    /// Whether this is the profile of the host.
    fn matches_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| {
            let under = host.strip_suffix(own.as_str()).is_some_and(|left| left.ends_with('.'));
            host == own || under
        })
    }
}

/// A profile with its name, or what is wrong with it.
pub(crate) type NamedProfile = (String, Result<Profile, ProfileError>);

/// All profiles, those of `dir` before the built-in ones, of which they replace those of the same
/// name.
pub(crate) fn load_all(dir: Option<&Path>) -> Result<Vec<NamedProfile>, ProfileError> {
    let mut profiles: Vec<NamedProfile> = Vec::new();
    if let Some(dir) = dir {
        let fail = |path: &Path, reason| ProfileError::Read { path: path.to_owned(), reason };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, error))? {
            let path = entry.map_err(|error| fail(dir, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).map_err(|error| fail(&path, error));
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            profiles.push((name, text.and_then(|text| Profile::parse(&path, &text))));
        }
    }
    for (name, text) in BUILTIN {
        if !profiles.iter().any(|(own, _)| own == name) {
            profiles.push(((*name).to_owned(), Profile::parse(Path::new(name), text)));
        }
    }
    Ok(profiles)
}

/// The profile of this name; without one, that of the URL's host. One that is wrong is of no concern
/// unless it is this, or might be.
pub(super) fn find_profile(
    name: Option<&str>,
    host: Option<&str>,
    dir: Option<&Path>,
) -> Result<(String, Profile), ProfileError> {
    let profiles = load_all(dir)?;
    if let Some(wanted) = name {
        let hint = did_you_mean(wanted, profiles.iter().map(|(name, _)| name.as_str()));
        let unknown = || ProfileError::Unknown { name: wanted.to_owned(), hint };
        let found = profiles.into_iter().find(|(name, _)| name == wanted);
        let (name, profile) = found.ok_or_else(unknown)?;
        return Ok((name, profile?));
    }
    let whole = profiles.into_iter().map(|(name, profile)| Ok((name, profile?)));
    let mut profiles = whole.collect::<Result<Vec<_>, ProfileError>>()?;
    let by_host = |host| profiles.iter().position(|(_, profile)| profile.matches_host(host));
    let generic = || profiles.iter().position(|(name, _)| name == GENERIC);
    let index = host.and_then(by_host).or_else(generic).unwrap_or(0);
    Ok(profiles.swap_remove(index))
}

#[cfg(test)]
mod tests;
