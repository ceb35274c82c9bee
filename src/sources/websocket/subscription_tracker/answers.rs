//! What the server's answers mean.

use tracing::{error, warn};

use super::SubscriptionTracker;
use crate::base::json::Pointer;
use crate::plugin::{Disconnect, DownCause, SourceEvent};
use crate::sources::websocket::request_builder::wire_text;
use crate::sources::websocket::rules::{MessageKind, Rule, text_at};
use crate::sources::websocket::subscription_table::{AnswerSubject, NOT_ACCEPTED};
use crate::sources::websocket::template::fill_placeholders;

/// How much of an answer is quoted when it gives no reason.
const MAX_QUOTED_BYTES: usize = 300;

impl SubscriptionTracker {
    pub(super) fn on_answer(
        &mut self,
        rule: &Rule,
        payload: &[u8],
        room: &mut String,
    ) -> Option<Disconnect> {
        let words = || self.server_words(rule, payload);
        match rule.is {
            MessageKind::Control => None,
            MessageKind::Notice => {
                let words = words();
                warn!(?words, "the server announces the end of the connection");
                (self.close_announced, self.has_notice) = (true, true);
                None
            }
            MessageKind::Ping => {
                if let Some(reply) = &rule.reply {
                    let value = |name: &str| {
                        let pointer = Pointer::parse(name).ok()?;
                        serde_json::from_slice(pointer.find(payload)?).ok()
                    };
                    self.replies.push(wire_text(&fill_placeholders(reply, &value)));
                }
                None
            }
            MessageKind::Subscribed => {
                self.unanswered_messages = self.unanswered_messages.saturating_sub(1);
                if self.unanswered_messages == 0 && self.message_answer_deadline.take().is_some() {
                    self.subscriptions.assume_requested_active();
                }
                let subject = self.answer_subject(rule, payload, room);
                if subject == AnswerSubject::OldestRequest && self.opening_answers > 0 {
                    self.opening_answers -= 1;
                    return None;
                }
                let refused = self.subscriptions.confirm(&subject);
                for place in &refused {
                    self.report_rejected_topic(*place, NOT_ACCEPTED);
                }
                self.check_fully_rejected(NOT_ACCEPTED).filter(|_| !refused.is_empty())
            }
            MessageKind::Refused => {
                let words = words();
                if self.subscriptions.states().is_empty() || self.subscriptions.is_fully_answered()
                {
                    // Only what we asked for can be refused.
                    let asked = std::mem::replace(&mut self.unanswered_messages, 0) > 0;
                    if !asked {
                        warn!(?words, "the server refuses something");
                    }
                    return asked.then(|| rejected_disconnect(&words));
                }
                let subject = self.answer_subject(rule, payload, room);
                if let Some(place) = self.subscriptions.reject(&subject, &words) {
                    self.report_rejected_topic(place, &words);
                } else {
                    warn!(
                        ?words,
                        "a request is refused; what of it is not confirmed is asked for by halves"
                    );
                }
                self.check_fully_rejected(&words)
            }
        }
    }

    /// The server's words, or all of a message that has none.
    fn server_words(&self, rule: &Rule, payload: &[u8]) -> String {
        let words = text_at(payload, rule.words.as_ref()).filter(|words| !words.is_empty());
        let words = words.unwrap_or_else(|| {
            let quoted = payload.get(..MAX_QUOTED_BYTES).unwrap_or(payload);
            String::from_utf8_lossy(quoted).into_owned()
        });
        self.settings.secrets.mask(&words)
    }

    /// What an answer speaks of.
    fn answer_subject(&self, rule: &Rule, payload: &[u8], room: &mut String) -> AnswerSubject {
        let id = text_at(payload, rule.id.as_ref());
        // Where it must be a text, a letter stands in front.
        let id =
            id.and_then(|id| id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok());
        let topic = rule.topic.as_ref().and_then(|topic| topic.select(payload, room));
        if let Some(place) = topic.and_then(|topic| self.topic_indexes.get(&*topic).copied()) {
            return AnswerSubject::Topic(place);
        }
        let list = rule.topics.as_ref().and_then(|pointer| pointer.find(payload));
        if let Some(list) = list.and_then(|list| serde_json::from_slice::<Vec<String>>(list).ok()) {
            let places = list.iter().filter_map(|topic| self.topic_indexes.get(topic).copied());
            return AnswerSubject::AcceptedTopics(id, places.collect());
        }
        id.map_or(AnswerSubject::OldestRequest, AnswerSubject::Request)
    }

    /// A connection of which every topic is refused is of no use.
    fn check_fully_rejected(&self, words: &str) -> Option<Disconnect> {
        self.subscriptions.is_fully_rejected().then(|| rejected_disconnect(words))
    }

    fn report_rejected_topic(&mut self, place: usize, words: &str) {
        let Some(topic) = self.settings.requests.topics().get(place) else { return };
        error!(topic, ?words, "the server refuses this topic; the others go on");
        self.has_notice = true;
        self.events.push(SourceEvent::TopicDown {
            topic: topic.clone(),
            cause: DownCause::Refused,
            detail: words.to_owned(),
            silent_for: None,
        });
    }
}

fn rejected_disconnect(words: &str) -> Disconnect {
    Disconnect::new(DownCause::Refused, format!("the server refused the subscription: {words}"))
}
