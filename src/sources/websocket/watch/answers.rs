//! What the server's answers mean.

use tracing::{error, warn};

use super::Watch;
use crate::json::Pointer;
use crate::plugin::{Cause, Disconnect, FeedEvent};
use crate::sources::websocket::conversation::text;
use crate::sources::websocket::ledger::{NOT_ACCEPTED, Subject};
use crate::sources::websocket::rules::{Meaning, Rule, value_of};
use crate::sources::websocket::template::fill;

/// How much of an answer is quoted when it gives no reason.
const MAX_QUOTE: usize = 300;

impl Watch {
    pub(super) fn answer(
        &mut self,
        rule: &Rule,
        payload: &[u8],
        room: &mut String,
    ) -> Option<Disconnect> {
        let words = || self.words(rule, payload);
        match rule.is {
            Meaning::Control => None,
            Meaning::Notice => {
                let words = words();
                warn!(?words, "the server announces the end of the connection");
                (self.ending, self.news) = (true, true);
                None
            }
            Meaning::Ping => {
                if let Some(reply) = &rule.reply {
                    let value = |name: &str| {
                        let pointer = Pointer::parse(name).ok()?;
                        serde_json::from_slice(pointer.find(payload)?).ok()
                    };
                    self.replies.push(text(&fill(reply, &value)));
                }
                None
            }
            Meaning::Subscribed => {
                self.unnamed = self.unnamed.saturating_sub(1);
                if self.unnamed == 0 && self.unnamed_by.take().is_some() {
                    self.ledger.asked_come();
                }
                let subject = self.subject(rule, payload, room);
                if subject == Subject::Oldest && self.answers_to_opening > 0 {
                    self.answers_to_opening -= 1;
                    return None;
                }
                let refused = self.ledger.confirm(&subject);
                for place in &refused {
                    self.quarantine(*place, NOT_ACCEPTED);
                }
                self.give_up_if_hopeless(NOT_ACCEPTED).filter(|_| !refused.is_empty())
            }
            Meaning::Refused => {
                let words = words();
                if self.ledger.standing().is_empty() || self.ledger.is_settled() {
                    // Only what we asked for can be refused.
                    let asked = std::mem::replace(&mut self.unnamed, 0) > 0;
                    if !asked {
                        warn!(?words, "the server refuses something");
                    }
                    return asked.then(|| refused(&words));
                }
                let subject = self.subject(rule, payload, room);
                if let Some(place) = self.ledger.refuse(&subject, &words) {
                    self.quarantine(place, &words);
                } else {
                    warn!(
                        ?words,
                        "a request is refused; what of it is not confirmed is asked for by halves"
                    );
                }
                self.give_up_if_hopeless(&words)
            }
        }
    }

    /// The server's words, or all of a message that has none.
    fn words(&self, rule: &Rule, payload: &[u8]) -> String {
        let words = value_of(payload, rule.words.as_ref()).filter(|words| !words.is_empty());
        let words = words.unwrap_or_else(|| {
            let quoted = payload.get(..MAX_QUOTE).unwrap_or(payload);
            String::from_utf8_lossy(quoted).into_owned()
        });
        self.manners.secrets.mask(&words)
    }

    /// What an answer speaks of.
    fn subject(&self, rule: &Rule, payload: &[u8], room: &mut String) -> Subject {
        let id = value_of(payload, rule.id.as_ref());
        // Where it must be a text, a letter stands in front.
        let id =
            id.and_then(|id| id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok());
        let topic = rule.topic.as_ref().and_then(|topic| topic.select(payload, room));
        if let Some(place) = topic.and_then(|topic| self.places.get(&*topic).copied()) {
            return Subject::Topic(place);
        }
        let list = rule.topics.as_ref().and_then(|pointer| pointer.find(payload));
        if let Some(list) = list.and_then(|list| serde_json::from_slice::<Vec<String>>(list).ok()) {
            let places = list.iter().filter_map(|topic| self.places.get(topic).copied());
            return Subject::Only(id, places.collect());
        }
        id.map_or(Subject::Oldest, Subject::Request)
    }

    /// A connection of which every topic is refused is of no use.
    fn give_up_if_hopeless(&self, words: &str) -> Option<Disconnect> {
        self.ledger.is_hopeless().then(|| refused(words))
    }

    fn quarantine(&mut self, place: usize, words: &str) {
        let Some(topic) = self.manners.conversation.topics().get(place) else { return };
        error!(topic, ?words, "the server refuses this topic; the others go on");
        self.news = true;
        self.events.push(FeedEvent::TopicDown {
            topic: topic.clone(),
            cause: Cause::Refused,
            detail: words.to_owned(),
            silent_for: None,
        });
    }
}

fn refused(words: &str) -> Disconnect {
    Disconnect::new(Cause::Refused, format!("the server refused the subscription: {words}"))
}
