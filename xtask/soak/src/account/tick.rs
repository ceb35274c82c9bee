//! One message of the ticking server.

use serde_json::Value;

/// A message that names its topic, its number and the time at which it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// Index of the topic.
    pub(super) topic: usize,
    /// Number of the tick in its topic, from 0.
    pub(super) number: usize,
    /// Time of sending in Unix nanoseconds.
    pub(super) sent: u64,
}

impl Tick {
    /// Returns the name of a topic.
    pub(super) fn topic_name(topic: usize) -> String {
        format!("t{topic:02}")
    }

    /// Returns the index of the topic that has this name.
    pub(super) fn topic_index(name: &str) -> Option<usize> {
        name.strip_prefix('t')?.parse().ok()
    }

    /// Returns the text of the message.
    pub(super) fn text(self) -> String {
        let Self { topic, number, sent } = self;
        format!(r#"{{"topic":"{}","n":{number},"t":{sent}}}"#, Self::topic_name(topic))
    }

    /// Returns the tick whose text this is, byte for byte.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let tick = Self {
            topic: Self::topic_index(value.get("topic")?.as_str()?)?,
            number: usize::try_from(value.get("n")?.as_u64()?).ok()?,
            sent: value.get("t")?.as_u64()?,
        };
        (tick.text() == text).then_some(tick)
    }
}
