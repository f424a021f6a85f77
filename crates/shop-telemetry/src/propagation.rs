//! W3C trace context, in and out of headers of any protocol.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The headers (`traceparent` and, if there is any, `tracestate`) that make another process continue the current
/// span's trace. Empty outside of a trace.
pub fn inject() -> Vec<(String, String)> {
    let mut headers = HashMap::new();
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut headers);
    });
    headers.retain(|_, value: &mut String| !value.is_empty());
    headers.into_iter().collect()
}

/// Makes the current span a child of the one that `headers` names, if they name one.
///
/// To be called before the span has children or log lines: these fix its parent.
pub fn parent_from(headers: impl Fn(&str) -> Option<String>) {
    set_parent(&Span::current(), headers);
}

/// Makes `span` a child of the one that `headers` names, if they name one.
pub fn set_parent(span: &Span, headers: impl Fn(&str) -> Option<String>) {
    let parent = extract(headers);
    if parent.span().span_context().is_valid() {
        // Fails where tracing is switched off, and there it doesn't matter.
        let _ = span.set_parent(parent);
    }
}

/// The current trace's id, for error pages and log lines; none outside of a trace.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid().then(|| ids.trace_id().to_string())
}

fn extract(headers: impl Fn(&str) -> Option<String>) -> Context {
    opentelemetry::global::get_text_map_propagator(|propagator| {
        let carrier: HashMap<String, String> = propagator
            .fields()
            .filter_map(|name| Some((name.to_owned(), headers(name)?)))
            .collect();
        propagator.extract_with_context(&Context::new(), &carrier)
    })
}
