//! The subject of a server's answer.

use crate::sources::websocket::request_id::RequestId;
use crate::sources::websocket::topic_vec::TopicIndex;

/// The request or the topic that an answer of the server is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AnswerSubject {
    /// The request with this number.
    Request(RequestId),
    /// A single topic.
    Topic(TopicIndex),
    /// The topics that the server accepted, which excludes all others of the request.
    AcceptedTopics {
        /// Number of the request, or `None` for the oldest one without an answer.
        request: Option<RequestId>,
        topics: Vec<TopicIndex>,
    },
    /// The oldest request without an answer, since the answer names none.
    OldestRequest,
}

impl AnswerSubject {
    /// Returns the number of the request, if the answer names one.
    pub(super) fn request_id(&self) -> Option<RequestId> {
        match self {
            Self::Request(id) => Some(*id),
            Self::AcceptedTopics { request, .. } => *request,
            Self::Topic(_) | Self::OldestRequest => None,
        }
    }
}
