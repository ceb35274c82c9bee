//! What a message of the server is: an answer, a pong, a heartbeat, or data.

use std::collections::BTreeMap;

use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::{Pointer, PointerError, Scalar, Selector, text};

/// Longer messages are data, but for answers that name many topics.
const MAX_ANSWER: usize = 256 << 10;

/// Which messages are meant: a text that is the whole message, or values by their JSON Pointers, all
/// of which must be as wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum When {
    /// The message is this text.
    Text(String),
    /// These values are as wanted.
    Values(BTreeMap<String, Wanted>),
}

/// How a value must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Wanted {
    /// It is there, or it is not.
    Exists {
        /// Whether it is.
        exists: bool,
    },
    /// Its text has this in it.
    Contains {
        /// The text.
        contains: String,
    },
    /// It is one of these.
    OneOf(Vec<Value>),
    /// It is this.
    Is(Value),
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// A subscription is confirmed: the request with this `id`, this `topic`, those in the list
    /// `topics`, or else the oldest request without an answer.
    Subscribed,
    /// A subscription is refused: in the same way.
    Refused,
    /// The server asks for a `reply`.
    Ping,
    /// The server is about to end the connection.
    Notice,
    /// A pong, a heartbeat, an answer to something else: no data.
    Control,
}

/// How a message is known, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which messages.
    pub when: When,
    /// What they are.
    pub is: Meaning,
    /// Where the number of the request is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Pointer>,
    /// The topic that is meant, as it is spelled in `topics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Selector>,
    /// Where the list of topics is that were really accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Pointer>,
    /// Where the server's words are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Pointer>,
    /// What is sent back, with values of the message as `{/ping}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
}

/// The rules of a conversation, ready for use.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    rules: Vec<Compiled>,
    /// Whether some messages must be found whenever they come.
    pub(super) always: bool,
}

#[derive(Debug, Clone)]
struct Compiled {
    rule: Rule,
    /// What must be in a message for the rule to be looked at.
    needle: Finder<'static>,
    when: Check,
}

#[derive(Debug, Clone)]
enum Check {
    Text(String),
    Values(Vec<(Pointer, Test)>),
}

#[derive(Debug, Clone)]
enum Test {
    Exists(bool),
    Contains(String),
    OneOf(Vec<Scalar>),
}

/// A rule that can be none.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error("`{0}` cannot be compared: write a text, a number, true or false")]
    Value(Value),
    #[error("`when` wants nothing to be there")]
    Empty,
    #[error("a `ping` needs a `reply`")]
    NoReply,
}

impl Test {
    fn of(wanted: &Wanted) -> Result<Self, RuleError> {
        let scalar = |value: &Value| Scalar::of(value).ok_or(RuleError::Value(value.clone()));
        Ok(match wanted {
            Wanted::Exists { exists } => Self::Exists(*exists),
            Wanted::Contains { contains } => Self::Contains(contains.clone()),
            Wanted::OneOf(values) => {
                Self::OneOf(values.iter().map(scalar).collect::<Result<_, _>>()?)
            }
            Wanted::Is(value) => Self::OneOf(vec![scalar(value)?]),
        })
    }

    fn holds(&self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Self::Exists(exists), found) => found.is_some() == *exists,
            (Self::Contains(wanted), Some(found)) => {
                text(found).is_some_and(|text| text.contains(wanted.as_str()))
            }
            (Self::OneOf(values), Some(found)) => values.iter().any(|value| value.is(found)),
            (Self::Contains(_) | Self::OneOf(_), None) => false,
        }
    }
}

impl Compiled {
    fn of(rule: &Rule) -> Result<Self, RuleError> {
        if rule.is == Meaning::Ping && rule.reply.is_none() {
            return Err(RuleError::NoReply);
        }
        let (when, needle) = match &rule.when {
            When::Text(text) => (Check::Text(text.clone()), text.clone().into_bytes()),
            When::Values(values) => {
                let tests = values.iter();
                let tests =
                    tests.map(|(key, wanted)| Ok((Pointer::parse(key)?, Test::of(wanted)?)));
                let mut tests: Vec<(Pointer, Test)> = tests.collect::<Result<_, RuleError>>()?;
                let must = |(_, test): &(Pointer, Test)| !matches!(test, Test::Exists(false));
                // What must be there is looked for first.
                tests.sort_by_key(|test| !must(test));
                let first = tests.first().filter(|test| must(test)).ok_or(RuleError::Empty)?;
                let key = first.0.last_key().to_owned();
                (Check::Values(tests), Value::from(key).to_string().into_bytes())
            }
        };
        let needle = Finder::new(&needle).into_owned();
        Ok(Self { rule: rule.clone(), needle, when })
    }

    fn matches(&self, payload: &[u8]) -> bool {
        match &self.when {
            Check::Text(text) => payload == text.as_bytes(),
            Check::Values(tests) => {
                self.needle.find(payload).is_some()
                    && tests.iter().all(|(pointer, test)| test.holds(pointer.find(payload)))
            }
        }
    }

    fn is_always(&self) -> bool {
        matches!(self.rule.is, Meaning::Ping | Meaning::Notice)
    }
}

impl Rules {
    pub(super) fn of(rules: &[Rule]) -> Result<Self, RuleError> {
        let rules: Vec<_> = rules.iter().map(Compiled::of).collect::<Result<_, _>>()?;
        let always = rules.iter().any(Compiled::is_always);
        Ok(Self { rules, always })
    }

    /// A rule for the message that is waited for.
    pub(super) fn welcome(when: &When) -> Result<Self, RuleError> {
        let (is, when) = (Meaning::Control, when.clone());
        let (id, topic, topics, words, reply) = (None, None, None, None, None);
        Self::of(&[Rule { when, is, id, topic, topics, words, reply }])
    }

    /// The first rule that the message meets; `None` for data. Unless `all`, only those are asked
    /// that count at any time.
    pub(super) fn find(&self, payload: &[u8], all: bool) -> Option<&Rule> {
        if payload.len() > MAX_ANSWER {
            return None;
        }
        let asked = self.rules.iter().filter(|rule| all || rule.is_always());
        asked.into_iter().find(|rule| rule.matches(payload)).map(|rule| &rule.rule)
    }
}

/// The text of a value of the message.
pub(super) fn value_of(payload: &[u8], pointer: Option<&Pointer>) -> Option<String> {
    text(pointer?.find(payload)?).map(std::borrow::Cow::into_owned)
}
