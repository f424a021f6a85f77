//! What happens around every request.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use shop_telemetry::timing::{self, Hop};
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::WebState;
use crate::consistency::Consistency;
use crate::context::{RequestContext, header_text};
use crate::deadline::{self, Deadline};
use crate::origin;
use crate::page::{MadeByHandler, Page};
use crate::problem::{self, Problem};
use crate::session_cookie::SessionCookie;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) web: WebState,
    pub(crate) deadline: Duration,
}

/// Runs a request with everything it needs around it.
pub(crate) async fn around(State(frame): State<Frame>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let Frame { web, deadline } = frame;
    let (mut parts, body) = request.into_parts();
    let deadline = deadline::of(&parts.headers).map_or(deadline, |left| left.min(deadline));
    let context = RequestContext::of(&web, &parts);
    let consistency = Consistency::of_request(&web, &context, &parts.headers);
    let session_cookie = SessionCookie::default();
    let forgery = origin::forgery(&parts.method, &parts.headers);
    let if_none_match = parts.headers.get(header::IF_NONE_MATCH).cloned();
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.request.method = %context.method,
        http.route = %context.route,
        url.path = %context.path,
        request.id = %context.request_id,
        http.response.status_code = tracing::field::Empty,
    );
    span.in_scope(|| {
        shop_telemetry::propagation::parent_from(|name| header_text(&parts.headers, name).map(ToOwned::to_owned));
    });
    parts.extensions.insert(web.clone());
    parts.extensions.insert(context.clone());
    parts.extensions.insert(consistency.clone());
    parts.extensions.insert(session_cookie.clone());
    parts.extensions.insert(Deadline(started + deadline));

    let handle = async {
        if let Some(problem) = forgery {
            return problem.into_response();
        }
        let handled = AssertUnwindSafe(next.run(Request::from_parts(parts, body))).catch_unwind();
        match timeout(deadline, handled).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => {
                tracing::error!("A handler panicked");
                Problem::internal().into_response()
            }
            Err(_) => {
                tracing::warn!("A request ran into its deadline");
                Problem::unavailable().into_response()
            }
        }
    };
    let (mut response, hops) = timing::scope(handle.instrument(span.clone())).await;

    if is_error(&response) {
        response = with_problem_body(&context, response);
    } else {
        response = not_modified(&context.method, if_none_match.as_ref(), response);
    }
    problem::ensure_retry_after(response.status(), response.headers_mut());
    consistency.put_into(&web, &context, response.headers_mut());
    session_cookie.put_into(&context, response.headers_mut());
    let elapsed = started.elapsed();
    finish_headers(&web, &context, &hops, elapsed, response.headers_mut());
    span.record("http.response.status_code", response.status().as_u16());
    count(&web, &context, response.status(), elapsed, &span);
    response
}

/// Whether this is an error without a page of its own.
fn is_error(response: &Response) -> bool {
    let failed = response.status().is_client_error() || response.status().is_server_error();
    failed && response.extensions().get::<MadeByHandler>().is_none()
}

/// Writes a problem's body as the client prefers it. Errors that are no problems yet, such as those of a library, become some.
fn with_problem_body(context: &RequestContext, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None => Problem::of_status(parts.status),
    };
    let body = if context.prefers_html {
        page_of(context, &problem)
    } else {
        None
    };
    let (content_type, body) = match body {
        Some(html) => ("text/html; charset=utf-8", html),
        None => (
            "application/problem+json",
            problem.json(&context.path, &context.request_id).to_string(),
        ),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    parts
        .headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, Body::from(body))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    page: Page,
    status: u16,
    title: &'a str,
    detail: &'a str,
    request_id: &'a str,
    again_at: &'a str,
}

fn page_of(context: &RequestContext, problem: &Problem) -> Option<String> {
    let page = ProblemPage {
        page: Page::of(context),
        status: problem.status().as_u16(),
        title: problem.title(),
        detail: problem.detail_text().unwrap_or_default(),
        request_id: &context.request_id,
        again_at: problem.again_at_path().unwrap_or(&context.path),
    };
    match page.render() {
        Ok(html) => Some(html),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "The page of a problem could not be rendered"
            );
            None
        }
    }
}

/// Answers 304 to whoever has this very version.
fn not_modified(method: &Method, if_none_match: Option<&HeaderValue>, response: Response) -> Response {
    let is_get = matches!(*method, Method::GET | Method::HEAD);
    let (Some(wanted), Some(etag)) = (if_none_match, response.headers().get(header::ETAG)) else {
        return response;
    };
    let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let matches = match (wanted.to_str(), etag.to_str()) {
        (Ok(wanted), Ok(etag)) => wanted.trim() == "*" || wanted.split(',').any(|tag| strip(tag) == strip(etag)),
        _ => false,
    };
    if !is_get || response.status() != StatusCode::OK || !matches {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(parts, Body::empty())
}

fn finish_headers(web: &WebState, context: &RequestContext, hops: &[Hop], elapsed: Duration, headers: &mut HeaderMap) {
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    if let Ok(id) = HeaderValue::from_str(&context.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Ok(instance) = HeaderValue::from_str(&web.instance) {
        headers.append(SERVED_BY, instance);
    }
    let mut timings = entry(web.service, &web.instance, elapsed);
    for hop in hops {
        timings.push_str(", ");
        timings.push_str(&entry(hop.name, &hop.desc, hop.elapsed));
    }
    if let Some(trace_id) = &context.trace_id {
        timings.push_str(&format!(", trace;desc=\"{trace_id}\""));
    }
    if let Ok(timings) = HeaderValue::from_str(&timings) {
        headers.append(SERVER_TIMING, timings);
    }
    let is_html = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_html && let Ok(policy) = HeaderValue::from_str(&content_security_policy(&context.edge)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

fn entry(name: &str, desc: &str, elapsed: Duration) -> String {
    let desc: String = desc
        .chars()
        .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\'))
        .collect();
    format!("{name};desc=\"{desc}\";dur={:.1}", elapsed.as_secs_f64() * 1000.0)
}

/// Everything comes from the shop or its edge, and nothing is written into the page itself but tiny placeholders.
fn content_security_policy(edge: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' {edge}; style-src 'self' {edge}; font-src 'self' {edge}; \
         img-src 'self' data: blob: {edge}; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

fn count(web: &WebState, context: &RequestContext, status: StatusCode, elapsed: Duration, span: &tracing::Span) {
    let labels = [
        ("service", web.service.to_owned()),
        ("method", context.method.to_string()),
        ("route", context.route.to_string()),
        ("status", status.as_u16().to_string()),
    ];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_seconds", &labels[..3]).record(elapsed.as_secs_f64());
    span.in_scope(|| {
        let ms = elapsed.as_secs_f64() * 1000.0;
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), elapsed_ms = ms, "Answered with an error");
        } else {
            tracing::debug!(status = status.as_u16(), elapsed_ms = ms, "Answered");
        }
    });
}
