//! What a message of the server is: an answer, a pong, a heartbeat, or data.

use std::collections::BTreeMap;

use memchr::memmem::Finder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::json::{Pointer, PointerError, Scalar, Selector, scalar_text};

/// Longer messages are data, but for answers that name many topics.
const MAX_ANSWER_BYTES: usize = 256 << 10;

/// Which messages are meant: a text that is the whole message, or values by their JSON Pointers, all
/// of which must be as wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MessagePattern {
    /// The message is this text.
    Text(String),
    /// These values are as wanted.
    Values(BTreeMap<String, ValuePattern>),
}

/// How a value must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ValuePattern {
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
    Equals(Value),
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
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
    pub when: MessagePattern,
    /// What they are.
    pub is: MessageKind,
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
    rules: Vec<CompiledRule>,
    /// Whether some messages must be found whenever they come.
    pub(super) has_unsolicited: bool,
}

#[derive(Debug, Clone)]
struct CompiledRule {
    rule: Rule,
    /// What must be in a message for the rule to be looked at.
    needle: Finder<'static>,
    pattern: CompiledPattern,
}

#[derive(Debug, Clone)]
enum CompiledPattern {
    Text(String),
    Values(Vec<(Pointer, ValueTest)>),
}

#[derive(Debug, Clone)]
enum ValueTest {
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
    NotComparable(Value),
    #[error("`when` wants nothing to be there")]
    NoRequiredValue,
    #[error("a `ping` needs a `reply`")]
    NoReply,
}

impl ValueTest {
    fn compile(wanted: &ValuePattern) -> Result<Self, RuleError> {
        let scalar = |value: &Value| {
            Scalar::from_value(value).ok_or(RuleError::NotComparable(value.clone()))
        };
        Ok(match wanted {
            ValuePattern::Exists { exists } => Self::Exists(*exists),
            ValuePattern::Contains { contains } => Self::Contains(contains.clone()),
            ValuePattern::OneOf(values) => {
                Self::OneOf(values.iter().map(scalar).collect::<Result<_, _>>()?)
            }
            ValuePattern::Equals(value) => Self::OneOf(vec![scalar(value)?]),
        })
    }

    fn is_match(&self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Self::Exists(exists), found) => found.is_some() == *exists,
            (Self::Contains(wanted), Some(found)) => {
                scalar_text(found).is_some_and(|text| text.contains(wanted.as_str()))
            }
            (Self::OneOf(values), Some(found)) => values.iter().any(|value| value.matches(found)),
            (Self::Contains(_) | Self::OneOf(_), None) => false,
        }
    }
}

impl CompiledRule {
    fn compile(rule: &Rule) -> Result<Self, RuleError> {
        if rule.is == MessageKind::Ping && rule.reply.is_none() {
            return Err(RuleError::NoReply);
        }
        let (when, needle) = match &rule.when {
            MessagePattern::Text(text) => {
                (CompiledPattern::Text(text.clone()), text.clone().into_bytes())
            }
            MessagePattern::Values(values) => {
                let tests = values.iter();
                let tests = tests
                    .map(|(key, wanted)| Ok((Pointer::parse(key)?, ValueTest::compile(wanted)?)));
                let mut tests: Vec<(Pointer, ValueTest)> =
                    tests.collect::<Result<_, RuleError>>()?;
                let must =
                    |(_, test): &(Pointer, ValueTest)| !matches!(test, ValueTest::Exists(false));
                // What must be there is looked for first.
                tests.sort_by_key(|test| !must(test));
                let first =
                    tests.first().filter(|test| must(test)).ok_or(RuleError::NoRequiredValue)?;
                let key = first.0.last_key().to_owned();
                (CompiledPattern::Values(tests), Value::from(key).to_string().into_bytes())
            }
        };
        let needle = Finder::new(&needle).into_owned();
        Ok(Self { rule: rule.clone(), needle, pattern: when })
    }

    fn is_match(&self, payload: &[u8]) -> bool {
        match &self.pattern {
            CompiledPattern::Text(text) => payload == text.as_bytes(),
            CompiledPattern::Values(tests) => {
                self.needle.find(payload).is_some()
                    && tests.iter().all(|(pointer, test)| test.is_match(pointer.find(payload)))
            }
        }
    }

    fn is_unsolicited(&self) -> bool {
        matches!(self.rule.is, MessageKind::Ping | MessageKind::Notice)
    }
}

impl Rules {
    pub(super) fn compile(rules: &[Rule]) -> Result<Self, RuleError> {
        let rules: Vec<_> = rules.iter().map(CompiledRule::compile).collect::<Result<_, _>>()?;
        let always = rules.iter().any(CompiledRule::is_unsolicited);
        Ok(Self { rules, has_unsolicited: always })
    }

    /// A rule for the message that is waited for.
    pub(super) fn from_pattern(when: &MessagePattern) -> Result<Self, RuleError> {
        let (is, when) = (MessageKind::Control, when.clone());
        let (id, topic, topics, words, reply) = (None, None, None, None, None);
        Self::compile(&[Rule { when, is, id, topic, topics, words, reply }])
    }

    /// The first rule that the message meets; `None` for data. Unless `all`, only those are asked
    /// that count at any time.
    pub(super) fn match_message(&self, payload: &[u8], all: bool) -> Option<&Rule> {
        if payload.len() > MAX_ANSWER_BYTES {
            return None;
        }
        let asked = self.rules.iter().filter(|rule| all || rule.is_unsolicited());
        asked.into_iter().find(|rule| rule.is_match(payload)).map(|rule| &rule.rule)
    }
}

/// The text of a value of the message.
pub(super) fn text_at(payload: &[u8], pointer: Option<&Pointer>) -> Option<String> {
    scalar_text(pointer?.find(payload)?).map(std::borrow::Cow::into_owned)
}
