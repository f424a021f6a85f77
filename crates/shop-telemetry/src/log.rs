//! Log lines: one JSON object each, on stdout.

use std::fmt;
use std::io::Write as _;
use std::sync::OnceLock;

use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as a JSON line: `ts`, `level`, `msg`, `service`, `instance`, `trace_id`, `span_id`, then the
/// fields of the enclosing spans, outermost first, and the event's own.
pub(crate) struct JsonLines {
    service: &'static str,
    dispatch: OnceLock<WeakDispatch>,
}

impl JsonLines {
    pub(crate) fn new(service: &'static str) -> Self {
        Self {
            service,
            dispatch: OnceLock::new(),
        }
    }

    fn trace_ids(&self, span: &Id) -> Option<(String, String)> {
        let dispatch = self.dispatch.get()?.upgrade()?;
        let context = tracing_opentelemetry::get_otel_context(span, &dispatch)?;
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid()
            .then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
    }
}

/// The fields that a span was given, kept for the events inside of it.
struct SpanFields(Map<String, Value>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for JsonLines {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(SpanFields(fields.0));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut::<SpanFields>() {
            let mut added = Fields::default();
            record.record(&mut added);
            fields.extend(added.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let metadata = event.metadata();

        let mut line = Map::new();
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        line.insert("ts".to_owned(), Value::String(now));
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("msg".to_owned(), own.0.remove("message").unwrap_or_else(|| "".into()));
        line.insert("service".to_owned(), self.service.into());
        line.insert("instance".to_owned(), crate::instance().into());

        if let Some(span) = context.event_span(event) {
            if let Some((trace_id, span_id)) = self.trace_ids(&span.id()) {
                line.insert("trace_id".to_owned(), trace_id.into());
                line.insert("span_id".to_owned(), span_id.into());
            }
            for span in span.scope().from_root() {
                if let Some(SpanFields(fields)) = span.extensions().get::<SpanFields>() {
                    add_missing(&mut line, fields);
                }
            }
        }
        line.insert("target".to_owned(), metadata.target().into());
        for (name, value) in own.0 {
            // A field may be called like one of the line's own; it must not replace it.
            line.entry(name).or_insert(value);
        }

        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        // There is nowhere to report that stdout is gone.
        let _ = std::io::stdout().lock().write_all(&bytes);
    }
}

fn add_missing(line: &mut Map<String, Value>, fields: &Map<String, Value>) {
    for (name, value) in fields {
        line.entry(name).or_insert_with(|| value.clone());
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.set(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}
