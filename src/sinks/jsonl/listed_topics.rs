//! The topics for which a configuration asks, as servers may spell them.

use std::collections::{HashMap, HashSet};

/// Number of other spellings of a listed topic, by the case of letters, that have files of their
/// own. A server has one.
const MAX_SPELLINGS_PER_TOPIC: u32 = 2;
/// Number of topics for each listed one that are taken for other forms of listed topics.
const MAX_FORMS_PER_TOPIC: usize = 8;

/// The topics that are listed in the configuration of the source.
///
/// A server may name a topic in another case, leave out or add a part, or have the first part in
/// singular or plural: `btc-usd`, `BTC-USD` or `trade:BTC-USD` for `trades:BTC-USD`. Such a form has files
/// of its own. All other topics were not asked for.
#[derive(Debug)]
pub(super) struct ListedTopics {
    topics: Vec<String>,
    /// Listed topics and their parts, in lower case; made when it is first needed.
    forms: Option<TopicForms>,
    /// Number of other forms that were recognized.
    recognized: usize,
}

#[derive(Debug)]
struct TopicForms {
    /// Listed topics, with the number of other spellings that were recognized.
    whole: HashMap<String, u32>,
    /// Starts and ends of listed topics, up to a separator.
    parts: HashSet<String>,
    /// Listed topics with `*`, by the texts between the stars.
    patterns: Vec<Vec<String>>,
}

impl ListedTopics {
    /// Returns the topics, or `None` if none is listed.
    pub(super) fn new(topics: &[String]) -> Option<Self> {
        let topics = topics.to_vec();
        (!topics.is_empty()).then_some(Self { topics, forms: None, recognized: 0 })
    }

    /// Returns whether a topic, which is not spelled as any listed one, is a form of a listed one.
    pub(super) fn is_form(&mut self, topic: &str) -> bool {
        let forms = self.forms.get_or_insert_with(|| TopicForms::new(&self.topics));
        let topic = topic.to_lowercase();
        if let Some(spellings) = forms.whole.get_mut(&topic) {
            *spellings += 1;
            return *spellings <= MAX_SPELLINGS_PER_TOPIC;
        }
        if forms.matches_pattern(&topic) {
            return true;
        }
        let is_form = forms.parts.contains(&topic)
            || parts(&topic).any(|part| forms.whole.contains_key(part))
            || other_numbers(&topic).any(|topic| forms.whole.contains_key(&topic));
        if is_form && self.recognized < MAX_FORMS_PER_TOPIC * self.topics.len() {
            self.recognized += 1;
            return true;
        }
        false
    }
}

impl TopicForms {
    fn new(topics: &[String]) -> Self {
        let whole: HashMap<_, _> = topics.iter().map(|topic| (topic.to_lowercase(), 0)).collect();
        let parts = whole.keys().flat_map(|topic| parts(topic)).map(str::to_owned).collect();
        let patterns = whole
            .keys()
            .filter(|topic| topic.contains('*'))
            .map(|topic| topic.split('*').map(str::to_owned).collect())
            .collect();
        Self { whole, parts, patterns }
    }

    fn matches_pattern(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| {
            let (Some(first), Some(last)) = (pattern.first(), pattern.last()) else { return false };
            let rest = topic.strip_prefix(first.as_str());
            let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(last.as_str())) else {
                return false;
            };
            let middle = pattern.get(1..pattern.len() - 1).unwrap_or_default();
            middle.iter().all(|text| match rest.split_once(text.as_str()) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
        })
    }
}

/// Returns the starts and ends of a topic, each up to a separator.
fn parts(topic: &str) -> impl Iterator<Item = &str> {
    let separators = topic.char_indices().filter(|(_, char)| !char.is_alphanumeric());
    separators
        .flat_map(|(at, char)| [topic.get(..at), topic.get(at + char.len_utf8()..)])
        .flatten()
        .filter(|part| !part.is_empty())
}

/// Returns the topic with its first part in the singular and in the plural, as English has them.
fn other_numbers(topic: &str) -> impl Iterator<Item = String> {
    let end = topic.find(|char: char| !char.is_alphanumeric()).unwrap_or(topic.len());
    let (head, rest) = topic.split_at(end);
    let plurals = ["s", "es"].map(|ending| Some(format!("{head}{ending}{rest}")));
    let singulars = ["s", "es"].map(|ending| Some(format!("{}{rest}", head.strip_suffix(ending)?)));
    plurals.into_iter().chain(singulars).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(topics: &[&str]) -> ListedTopics {
        let topics: Vec<String> = topics.iter().map(ToString::to_string).collect();
        ListedTopics::new(&topics).unwrap()
    }

    #[test]
    fn other_forms_of_listed_topics_are_recognized() {
        let mut listed =
            listed(&["BTCUSDT@trade", "trades:BTC-USD", "ETH-USD", "deribit.*.raw", "C1"]);
        for form in [
            "btcusdt@trade",
            "BTC-USD",
            "btc-usd",
            "trade:BTC-USD",
            "trades.ETH-USD",
            "deribit.x.y.raw",
            "BTCUSDT",
        ] {
            assert!(listed.is_form(form), "{form}");
        }
        for other in ["ETHUSDT@trade", "C10", "C", "X1", "deribit.x", "trades:DOGE-USD", ""] {
            assert!(!listed.is_form(other), "{other}");
        }
    }

    #[test]
    fn the_number_of_spellings_of_a_topic_is_bounded() {
        let topic = "abcdefghijkl";
        let spelled = |number: u32| -> String {
            let spell = |(at, char): (usize, char)| match number >> at & 1 {
                0 => char,
                _ => char.to_ascii_uppercase(),
            };
            topic.chars().enumerate().map(spell).collect()
        };
        let mut listed = listed(&[topic, "other"]);
        let recognized = (1..4_096).filter(|number| listed.is_form(&spelled(*number))).count();
        assert_eq!(recognized, MAX_SPELLINGS_PER_TOPIC as usize);
        assert!(listed.is_form("OTHER"), "those of one topic are not counted with another");
    }

    #[test]
    fn the_number_of_forms_is_bounded() {
        let mut listed = listed(&["A", "B"]);
        let forms = (0..5_000).filter(|number| listed.is_form(&format!("A.{number}"))).count();
        assert_eq!(forms, 2 * MAX_FORMS_PER_TOPIC);
        assert!(ListedTopics::new(&[]).is_none());
    }
}
