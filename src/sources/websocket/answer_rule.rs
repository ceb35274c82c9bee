//! A rule of a profile that is compiled for matching.

use memchr::memmem::Finder;
use serde_json::Value;

use super::rule::{MessageKind, MessagePattern, Rule, ValuePattern};
use crate::base::json::{Pointer, PointerError, Scalar, Selector, scalar_text};

/// A compiled [`Rule`].
#[derive(Debug, Clone)]
pub(super) struct AnswerRule {
    pub(super) action: RuleAction,
    /// Pointer to the number of the request.
    pub(super) id: Option<Pointer>,
    /// Selector of the topic.
    pub(super) topic: Option<Selector>,
    /// Pointer to the list of accepted topics.
    pub(super) topics: Option<Pointer>,
    /// Pointer to the explanation of the server.
    pub(super) words: Option<Pointer>,
    pattern: CompiledPattern,
}

/// The meaning of a message that matches a rule.
#[derive(Debug, Clone)]
pub(super) enum RuleAction {
    Subscribed,
    Refused,
    Ping {
        /// Template of the message that is sent back.
        reply: Value,
    },
    Notice,
    Control,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "most patterns are of the large variant")]
enum CompiledPattern {
    Text(String),
    Values {
        /// A key without which no message matches, searched for before the message is parsed.
        key: Finder<'static>,
        tests: Vec<(Pointer, ValueTest)>,
    },
}

#[derive(Debug, Clone)]
enum ValueTest {
    Exists(bool),
    Contains(String),
    OneOf(Vec<Scalar>),
}

/// A rule that cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuleError {
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error(
        "`{pointer}` is compared with `{value}`; expected a text, a number, true, false or a list of these"
    )]
    NotComparable { pointer: String, value: Value },
    #[error("`when` names no value that exists; at least one is needed")]
    NoRequiredValue,
    #[error("a `ping` needs a `reply`")]
    NoReply,
}

impl AnswerRule {
    /// Compiles a rule.
    pub(super) fn compile(rule: &Rule) -> Result<Self, RuleError> {
        let action = match rule.is {
            MessageKind::Subscribed => RuleAction::Subscribed,
            MessageKind::Refused => RuleAction::Refused,
            MessageKind::Ping => {
                RuleAction::Ping { reply: rule.reply.clone().ok_or(RuleError::NoReply)? }
            }
            MessageKind::Notice => RuleAction::Notice,
            MessageKind::Control => RuleAction::Control,
        };
        Ok(Self {
            action,
            id: rule.id.clone(),
            topic: rule.topic.clone(),
            topics: rule.topics.clone(),
            words: rule.words.clone(),
            pattern: CompiledPattern::compile(&rule.when)?,
        })
    }

    /// Compiles a rule that only tells whether a message matches a pattern.
    pub(super) fn from_pattern(when: &MessagePattern) -> Result<Self, RuleError> {
        Ok(Self {
            action: RuleAction::Control,
            id: None,
            topic: None,
            topics: None,
            words: None,
            pattern: CompiledPattern::compile(when)?,
        })
    }

    /// Returns whether a message matches the rule.
    pub(super) fn is_match(&self, payload: &[u8]) -> bool {
        match &self.pattern {
            CompiledPattern::Text(text) => payload == text.as_bytes(),
            CompiledPattern::Values { key, tests } => {
                key.find(payload).is_some()
                    && tests.iter().all(|(pointer, test)| test.is_match(pointer.find(payload)))
            }
        }
    }

    /// Returns whether the server may send such a message at any time, without being asked.
    pub(super) fn is_unsolicited(&self) -> bool {
        matches!(self.action, RuleAction::Ping { .. } | RuleAction::Notice)
    }
}

impl CompiledPattern {
    fn compile(pattern: &MessagePattern) -> Result<Self, RuleError> {
        let values = match pattern {
            MessagePattern::Text(text) => return Ok(Self::Text(text.clone())),
            MessagePattern::Values(values) => values,
        };
        let tests = values.iter().map(|(pointer, pattern)| {
            Ok((Pointer::parse(pointer)?, ValueTest::compile(pointer, pattern)?))
        });
        let mut tests = tests.collect::<Result<Vec<_>, RuleError>>()?;
        let is_required = |test: &ValueTest| !matches!(test, ValueTest::Exists(false));
        // Values that must exist are tested first: most messages lack them.
        tests.sort_by_key(|(_, test)| !is_required(test));
        let required = tests.first().filter(|(_, test)| is_required(test));
        let (pointer, _) = required.ok_or(RuleError::NoRequiredValue)?;
        let key = Value::from(pointer.last_key()).to_string();
        Ok(Self::Values { key: Finder::new(&key).into_owned(), tests })
    }
}

impl ValueTest {
    fn compile(pointer: &str, pattern: &ValuePattern) -> Result<Self, RuleError> {
        let scalar = |value: &Value| {
            Scalar::from_value(value).ok_or_else(|| RuleError::NotComparable {
                pointer: pointer.to_owned(),
                value: value.clone(),
            })
        };
        Ok(match pattern {
            ValuePattern::Exists(exists) => Self::Exists(*exists),
            ValuePattern::Contains(text) => Self::Contains(text.clone()),
            ValuePattern::OneOf(values) => {
                Self::OneOf(values.iter().map(scalar).collect::<Result<_, _>>()?)
            }
            ValuePattern::Equals(value) => Self::OneOf(vec![scalar(value)?]),
        })
    }

    fn is_match(&self, found: Option<&[u8]>) -> bool {
        match (self, found) {
            (Self::Exists(exists), found) => found.is_some() == *exists,
            (Self::Contains(expected), Some(found)) => {
                scalar_text(found).is_some_and(|text| text.contains(expected.as_str()))
            }
            (Self::OneOf(values), Some(found)) => values.iter().any(|value| value.matches(found)),
            (Self::Contains(_) | Self::OneOf(_), None) => false,
        }
    }
}
