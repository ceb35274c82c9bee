//! The case of the letters in a venue's topics. Venues confirm a topic in the wrong case, and never
//! send it.

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A part of a topic whose letters have one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicCase {
    /// Regular expression whose only group is the part, such as `^([^@]+)@`. Topics that it does not
    /// match may have any case.
    pub part: String,
    /// The case of the letters in the part.
    pub case: LetterCase,
}

/// The case of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterCase {
    Lower,
    Upper,
}

impl TopicCase {
    /// Compiles the expression.
    ///
    /// # Errors
    /// The expression is not valid, or has another number of groups than one, in words for people.
    pub(super) fn compile(&self) -> Result<Regex, String> {
        let regex = Regex::new(&self.part).map_err(|error| error.to_string())?;
        if regex.captures_len() == 2 {
            Ok(regex)
        } else {
            Err(format!("`{}` needs one group, such as \"^([^@]+)@\"", self.part))
        }
    }

    /// Returns the topic in the case that the venue has; `None` if it is in that case. `regex` is
    /// the compiled expression.
    fn correct(&self, regex: &Regex, topic: &str) -> Option<String> {
        let part = regex.captures(topic)?.get(1)?;
        let corrected = match self.case {
            LetterCase::Lower => part.as_str().to_ascii_lowercase(),
            LetterCase::Upper => part.as_str().to_ascii_uppercase(),
        };
        let mut topic = topic.to_owned();
        topic.replace_range(part.range(), &corrected);
        (corrected != part.as_str()).then_some(topic)
    }
}

/// Returns a warning when topics are not in the case that the venue has.
///
/// # Errors
/// An expression is not valid; see [`TopicCase::compile`].
pub(super) fn check_topic_case(
    cases: &[TopicCase],
    topics: &[String],
) -> Result<Option<String>, String> {
    let mut wrong = Vec::new();
    for case in cases {
        let regex = case.compile()?;
        let corrections =
            topics.iter().filter_map(|topic| Some((topic, case.correct(&regex, topic)?)));
        wrong.extend(corrections);
    }
    let Some((first, corrected)) = wrong.first() else { return Ok(None) };
    let others = match wrong.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more alike"),
    };
    Ok(Some(format!(
        "the venue writes the topic `{first}` as `{corrected}`{others}: it may confirm the other case and never send it"
    )))
}
