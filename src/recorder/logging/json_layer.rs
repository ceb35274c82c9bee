//! Log lines as JSON objects.

use std::error::Error;
use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::line_sender::LineSender;
use crate::base::error_chain::error_chain;

/// Makes a JSON object of each event: the spans around it, the message and its fields.
///
/// A span is a key with its value: `pipeline{name="okx"}` is `"pipeline":"okx"`.
pub(super) struct JsonLayer {
    pub(super) lines: LineSender,
}

/// The keys and values of a span or of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut object = Map::new();
        let spans = context.event_scope(event).into_iter().flat_map(Scope::from_root);
        for span in spans {
            if let Some(Fields(fields)) = span.extensions().get() {
                let mut values = fields.values();
                let value = match (values.next(), values.next()) {
                    (Some(only), None) => only.clone(),
                    _ => Value::Object(fields.clone()),
                };
                object.insert(span.name().to_owned(), value);
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        object.extend(fields.0);
        self.lines.send_fields(*event.metadata().level(), object);
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert(field, error_chain(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}
