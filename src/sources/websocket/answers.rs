//! Telling the server's answers from its data.
//!
//! Looked at only while something depends on it: until the first data of a connection and the
//! answers to its subscriptions are in, or for as long as control messages are left out.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Control messages are short; what is longer is data.
const MAX_ANSWER: usize = 4096;
/// The keys of an answer stand near its start.
const SEARCHED: usize = 256;
/// How much of an answer is quoted when it gives no reason.
const MAX_QUOTE: usize = 300;

/// What a message is to the recorder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What we are here for.
    Data,
    /// An answer, a pong, a heartbeat.
    Control,
    /// The answer to a subscription.
    Subscribed,
    /// The refusal of a subscription, in the server's words.
    Refused(String),
}

/// The operations that servers answer. Data may have an `op` of its own, with other values.
const OPERATIONS: [&str; 6] = ["subscribe", "unsubscribe", "ping", "pong", "auth", "login"];

/// The keys by which an answer is known.
#[derive(Deserialize)]
struct Answer<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ret_msg: Option<Cow<'a, str>>,
    topic: Option<IgnoredAny>,
}

pub(super) fn kind(payload: &[u8]) -> Kind {
    let start = payload.get(..SEARCHED).unwrap_or(payload);
    let may_be_answer = payload.len() <= MAX_ANSWER
        && (memmem::find(start, b"\"op\"").is_some()
            || memmem::find(start, b"\"success\"").is_some());
    if !may_be_answer {
        return Kind::Data;
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(payload) else {
        return Kind::Data;
    };
    let op = answer.op.as_deref();
    let is_answer = match op {
        Some(op) => OPERATIONS.contains(&op),
        None => answer.success.is_some() && answer.ret_msg.is_some(),
    };
    if answer.topic.is_some() || !is_answer {
        return Kind::Data;
    }
    let subscription = op.is_none_or(|op| op == "subscribe");
    match (subscription, answer.success) {
        (true, Some(false)) => Kind::Refused(match answer.ret_msg {
            Some(words) if !words.is_empty() => words.into_owned(),
            _ => quote(payload),
        }),
        (true, _) => Kind::Subscribed,
        (false, _) => Kind::Control,
    }
}

fn quote(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.get(..MAX_QUOTE).unwrap_or(payload)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_data() {
        for (message, expected) in [
            (r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","data":[]}"#, Kind::Data),
            (r#"{"success":true,"ret_msg":"","op":"subscribe"}"#, Kind::Subscribed),
            (r#"{"success":true,"ret_msg":"pong","op":"ping"}"#, Kind::Control),
            (r#"{"op":"pong","args":["1"]}"#, Kind::Control),
            (r#"{"topic":"t","op":"subscribe","success":false}"#, Kind::Data),
            (r#"{"data":{"op":"x"}}"#, Kind::Data),
            (r#"{"op":"utx","x":{"hash":"00"}}"#, Kind::Data),
            (r#"{"success":false,"hash":"00"}"#, Kind::Data),
            (r#""op""#, Kind::Data),
            ("not \"op\" json", Kind::Data),
            ("", Kind::Data),
        ] {
            assert_eq!(kind(message.as_bytes()), expected, "{message}");
        }
    }

    #[test]
    fn a_refusal_carries_the_servers_words() {
        let refused = |message: &str| match kind(message.as_bytes()) {
            Kind::Refused(words) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(r#"{"success":false,"ret_msg":"error:handler not found","op":"subscribe"}"#),
            "error:handler not found"
        );
        let wordless = r#"{"success":false,"op":"subscribe"}"#;
        assert_eq!(refused(wordless), wordless);
    }
}
