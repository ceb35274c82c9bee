//! Rendering of the messages that are sent to the server.

use serde_json::Value;

use super::request_id::RequestId;
use super::template::fill_placeholders;
use crate::base::time::{Clock, SystemClock};

/// Returns a message as it is sent: JSON in compact form, except that a string is sent without
/// quotes, since some servers expect a bare `ping`.
pub(super) fn wire_text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Renders a message template, in which `{id}` and the placeholders of the time are filled.
pub(super) fn render_message(template: &Value, id: RequestId) -> String {
    wire_text(&fill_placeholders(template, &|name| dynamic_value(name, id)))
}

/// Returns the value of a placeholder that differs from one message to the next.
pub(super) fn dynamic_value(name: &str, id: RequestId) -> Option<Value> {
    match name {
        "id" => Some(id.into()),
        "time" => Some(SystemClock.now().seconds().into()),
        "time_ms" => Some((SystemClock.now().nanos() / 1_000_000).into()),
        _ => None,
    }
}
