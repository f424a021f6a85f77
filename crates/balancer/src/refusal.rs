//! Answers that the balancer gives itself: a page for people, a problem (RFC 9457) for programs.

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::path::PathError;

/// Why a request was not, or not successfully, forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    AmbiguousLength,
    UnknownCoding,
    UnknownExpectation,
    BadHost,
    BadPath(PathError),
    TargetTooLong,
    MethodNotAllowed,
    UnknownPath,
    BodyTooLarge { bytes_max: u64 },
    BodyTooSlow,
    BodyBroken,
    Overloaded,
    ServiceGone { service: String },
    NoAnswer,
    NoWebSocket,
    AnswerTooLate,
    OtherMethods { allow: String },
    TooManyRequests { retry_after_seconds: u32 },
    Maintenance { message: String, retry_after_seconds: u32 },
}

/// What the page says, besides what the problem says.
struct Wording {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    retry_after_seconds: Option<u32>,
    closes: bool,
}

impl Refusal {
    fn wording(&self) -> Wording {
        let (status, slug, title, detail) = match self {
            Self::AmbiguousLength => (
                StatusCode::BAD_REQUEST,
                "ambiguous-length",
                "Ambiguous request",
                "The length of the request can be read in more than one way.".to_owned(),
            ),
            Self::UnknownCoding => (
                StatusCode::NOT_IMPLEMENTED,
                "unknown-transfer-coding",
                "Unknown transfer coding",
                "Only the transfer coding \"chunked\" is understood.".to_owned(),
            ),
            Self::UnknownExpectation => (
                StatusCode::EXPECTATION_FAILED,
                "unknown-expectation",
                "Unknown expectation",
                "Only \"100-continue\" may be expected.".to_owned(),
            ),
            Self::BadHost => (
                StatusCode::BAD_REQUEST,
                "bad-host",
                "Bad host",
                "A request needs exactly one valid Host.".to_owned(),
            ),
            Self::BadPath(error) => (
                StatusCode::BAD_REQUEST,
                "bad-path",
                "Bad address",
                format!("Sorry, {error}."),
            ),
            Self::TargetTooLong => (
                StatusCode::URI_TOO_LONG,
                "address-too-long",
                "Address too long",
                "The address is longer than 8 KiB.".to_owned(),
            ),
            Self::NoWebSocket => (
                StatusCode::BAD_REQUEST,
                "no-websocket",
                "Nobody to talk to",
                "There is no WebSocket at this address.".to_owned(),
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                "This method is not used here.".to_owned(),
            ),
            Self::OtherMethods { allow } => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                format!("Here only {allow} may be used."),
            ),
            Self::TooManyRequests { retry_after_seconds } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "One at a time, please",
                format!("You asked more often than we can allow. Please wait {retry_after_seconds} s and try again."),
            ),
            Self::Maintenance { message, .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "maintenance",
                "Closed for a moment",
                message.clone(),
            ),
            Self::UnknownPath => (
                StatusCode::NOT_FOUND,
                "not-found",
                "Nothing hangs here",
                "There is no such page.".to_owned(),
            ),
            Self::BodyTooLarge { bytes_max } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "Too large",
                format!("At most {bytes_max} bytes may be sent here."),
            ),
            Self::BodyTooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                "Too slow",
                "The rest of the request did not arrive in time.".to_owned(),
            ),
            Self::BodyBroken => (
                StatusCode::BAD_REQUEST,
                "body-broken",
                "Broken request",
                "The body of the request ended early or is malformed.".to_owned(),
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "We are catching our breath",
                "More people are here than we can serve at once. Please try again in a moment.".to_owned(),
            ),
            Self::ServiceGone { service } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service-unavailable",
                "This room is closed for a moment",
                format!("{} Please try again in a moment.", what_is_missing(service)),
            ),
            Self::NoAnswer => (
                StatusCode::BAD_GATEWAY,
                "no-answer",
                "That went wrong on our side",
                "The connection broke before an answer came. Please look whether it was done before you repeat it."
                    .to_owned(),
            ),
            Self::AnswerTooLate => (
                StatusCode::GATEWAY_TIMEOUT,
                "answer-too-late",
                "That took too long",
                "No answer came in time. Please look whether it was done before you repeat it.".to_owned(),
            ),
        };
        let retry_after_seconds = match self {
            Self::Overloaded => Some(1),
            Self::ServiceGone { .. } => Some(3),
            Self::TooManyRequests { retry_after_seconds }
            | Self::Maintenance {
                retry_after_seconds, ..
            } => Some(*retry_after_seconds),
            _ => None,
        };
        let closes = matches!(
            self,
            Self::AmbiguousLength
                | Self::BadHost
                | Self::UnknownCoding
                | Self::BodyTooLarge { .. }
                | Self::BodyTooSlow
                | Self::BodyBroken
        );
        Wording {
            status,
            slug,
            title,
            detail,
            retry_after_seconds,
            closes,
        }
    }

    /// The answer, as a page or as a problem.
    pub(crate) fn respond(&self, as_page: bool, path: &str, request_id: &str) -> Response<Bytes> {
        let wording = self.wording();
        let body = if as_page {
            page(&wording, request_id)
        } else {
            problem(&wording, path, request_id)
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = wording.status;
        let headers = response.headers_mut();
        let content_type = if as_page {
            "text/html; charset=utf-8"
        } else {
            "application/problem+json"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if as_page {
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        if let Some(seconds) = wording.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let allow = match self {
            Self::MethodNotAllowed => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            Self::OtherMethods { allow } => allow,
            _ => "",
        };
        if let Ok(allow) = HeaderValue::from_str(allow)
            && !allow.is_empty()
        {
            headers.insert(ALLOW, allow);
        }
        if wording.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What customers miss when a whole service is gone; what else the shop has goes on.
fn what_is_missing(service: &str) -> &'static str {
    match service {
        "user" => "Carts, orders and accounts can't be reached just now. The gallery itself is open.",
        "inventory" => "The gallery can't be reached just now.",
        _ => "This part of the shop can't be reached just now.",
    }
}

/// Browsers ask for pages by name; programs ask for JSON or for anything.
pub(crate) fn prefers_page(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("text/html")))
}

fn problem(wording: &Wording, path: &str, request_id: &str) -> String {
    serde_json::json!({
        "type": format!("/problems/{}", wording.slug),
        "title": wording.title,
        "status": wording.status.as_u16(),
        "detail": wording.detail,
        "instance": path,
        "request_id": request_id,
    })
    .to_string()
}

/// Needs nothing from any service: it may be that all of them are away.
fn page(wording: &Wording, request_id: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · Zillion</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{detail}</p>\n\
         <p><a href=\"/\">Back to the gallery</a></p>\n<p class=\"id\">Request {request_id}</p>\n</main>\n</body>\n</html>\n",
        title = wording.title,
        detail = escaped(&wording.detail),
    )
}

/// Titles are ours, but an operator may have written what follows.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "\
:root{color-scheme:light dark;--wall:#f6f3ee;--ink:#22201d;--quiet:#6f6a63}\
@media(prefers-color-scheme:dark){:root{--wall:#161514;--ink:#ece8e1;--quiet:#9a948b}}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--wall);color:var(--ink);\
font:1.0625rem/1.6 system-ui,sans-serif}\
main{max-width:34rem;padding:2rem}\
h1{font:italic 400 2rem/1.2 Georgia,'Times New Roman',serif;margin:0 0 1rem}\
a{color:inherit;text-underline-offset:.2em}\
.id{color:var(--quiet);font-size:.8125rem;overflow-wrap:anywhere}";

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Refusal {
        Refusal::ServiceGone {
            service: "user".to_owned(),
        }
    }

    #[test]
    fn programs_get_a_problem() {
        let response = gone().respond(false, "/api/me", "r-1");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        let problem: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(problem["type"], "/problems/service-unavailable");
        assert_eq!(problem["instance"], "/api/me");
        assert_eq!(problem["request_id"], "r-1");
    }

    #[test]
    fn people_get_a_page_that_says_what_still_works() {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8"),
        );
        let response = gone().respond(prefers_page(&headers), "/cart", "r-1");
        let page = std::str::from_utf8(response.body()).expect("text");
        assert!(page.contains("The gallery itself is open.") && page.contains("r-1"));
        assert!(response.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert!(response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn whoever_asks_too_often_is_told_how_long_to_wait() {
        let refusal = Refusal::TooManyRequests { retry_after_seconds: 7 };
        let response = refusal.respond(false, "/login", "r-1");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        let problem: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(problem["type"], "/problems/too-many-requests");
        assert_eq!(problem["status"], 429);
    }

    #[test]
    fn an_operators_message_is_text_and_not_a_page() {
        let refusal = Refusal::Maintenance {
            message: "Back at <b>9</b> & a half".to_owned(),
            retry_after_seconds: 60,
        };
        let response = refusal.respond(true, "/", "r-1");
        let page = std::str::from_utf8(response.body()).expect("text");
        assert!(page.contains("Back at &lt;b&gt;9&lt;/b&gt; &amp; a half"), "{page}");
        assert_eq!(response.headers()[RETRY_AFTER], "60");
    }

    #[test]
    fn a_connection_whose_framing_is_doubtful_is_closed() {
        let response = Refusal::AmbiguousLength.respond(false, "/", "r-1");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONNECTION], "close");
    }
}
