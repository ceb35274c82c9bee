//! Classification of the messages of a server: answers, pings, notices, or data.

use super::answer_rule::{AnswerRule, RuleError};
use super::rule::Rule;

/// Maximum length in bytes of a message that can be anything but data. Answers that name many topics
/// are long.
pub(super) const MAX_ANSWER_BYTES: usize = 256 << 10;

/// The compiled rules of a profile.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    rules: Vec<AnswerRule>,
    has_unsolicited: bool,
}

/// The rules that a message is matched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleScope {
    /// All rules.
    All,
    /// The rules for messages that the server sends without being asked.
    Unsolicited,
}

impl Rules {
    /// Compiles the rules of a profile.
    pub(super) fn compile(rules: &[Rule]) -> Result<Self, RuleError> {
        let rules: Vec<_> = rules.iter().map(AnswerRule::compile).collect::<Result<_, _>>()?;
        let has_unsolicited = rules.iter().any(AnswerRule::is_unsolicited);
        Ok(Self { rules, has_unsolicited })
    }

    /// Returns whether there are rules for messages that the server sends without being asked.
    pub(super) fn has_unsolicited(&self) -> bool {
        self.has_unsolicited
    }

    /// Returns the first rule that matches a message, or `None` for data.
    pub(super) fn match_message(&self, payload: &[u8], scope: RuleScope) -> Option<&AnswerRule> {
        if payload.len() > MAX_ANSWER_BYTES {
            return None;
        }
        let in_scope = |rule: &&AnswerRule| scope == RuleScope::All || rule.is_unsolicited();
        self.rules.iter().filter(in_scope).find(|rule| rule.is_match(payload))
    }
}
