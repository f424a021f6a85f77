//! What went wrong, as RFC 9457 has it.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::page::Html;

/// An error as the client gets it: `application/problem+json`, or a page for people.
///
/// The frame around every request adds the request's id and path, and chooses the form.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    slug: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    retry_after_seconds: Option<u32>,
    again_at: Option<String>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem of a kind. The slug names the kind (`/problems/{slug}`), the title says it in a few words.
    #[must_use]
    pub fn new(status: StatusCode, slug: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            slug: slug.into(),
            title: title.into(),
            detail: None,
            retry_after_seconds: None,
            again_at: None,
            members: Map::new(),
        }
    }

    /// What happened here, and what to do.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member of this kind of problem.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// When to come back, if that is known better than by the status.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Where the page of the problem leads who tries again, if not to where it happened. A path of the shop.
    #[must_use]
    pub fn again_at(mut self, path: String) -> Self {
        self.again_at = Some(path);
        self
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND)
    }

    /// 503: something that this needs is away for the moment.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::of_status(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// 500. What happened belongs in the log, not in the answer.
    #[must_use]
    pub fn internal() -> Self {
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The usual words for a status.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let (slug, title, detail) = match status {
            StatusCode::BAD_REQUEST => (
                "bad-request",
                "We could not read that",
                "Something in the request is not as it should be.",
            ),
            StatusCode::UNAUTHORIZED => (
                "not-logged-in",
                "Please log in",
                "This is for people who are logged in.",
            ),
            StatusCode::FORBIDDEN => (
                "forbidden",
                "Not for you",
                "You are logged in, but this room is for the shopkeeper.",
            ),
            StatusCode::NOT_FOUND => (
                "not-found",
                "Nothing hangs here",
                "The print may have been taken down, or the address has a typo.",
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method-not-allowed",
                "That cannot be done here",
                "This address does not know that method.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => (
                "too-large",
                "That is too large",
                "What was sent is larger than we take here.",
            ),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported-media-type",
                "We could not read that",
                "What was sent is of a kind that we do not take here.",
            ),
            StatusCode::UNPROCESSABLE_ENTITY => (
                "unprocessable",
                "That does not fit",
                "What was sent can be read, but not used.",
            ),
            StatusCode::TOO_MANY_REQUESTS => (
                "too-many-requests",
                "One at a time, please",
                "That was a lot of requests. Wait a moment and try again.",
            ),
            StatusCode::SERVICE_UNAVAILABLE => (
                "unavailable",
                "We are catching our breath",
                "A part of the shop is not answering just now. Nothing of yours is lost. Try again in a moment.",
            ),
            StatusCode::INTERNAL_SERVER_ERROR => (
                "internal",
                "That should not have happened",
                "The fault is ours. Try again, and if it stays, tell us the number below.",
            ),
            other => (
                "error",
                other.canonical_reason().unwrap_or("Error"),
                "The request could not be answered.",
            ),
        };
        Self::new(status, slug, title).detail(detail)
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The kind of problem, in a few words.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// What happened here, and what to do.
    pub(crate) fn detail_text(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    pub(crate) fn again_at_path(&self) -> Option<&str> {
        self.again_at.as_deref()
    }

    /// Answers with a page of the handler's own that says what was wrong, such as the form with what was typed. The page
    /// is made of the problem's detail. A fault of ours stays a problem: there is nothing to correct.
    #[must_use]
    pub fn on_page<T: askama::Template>(self, page: impl FnOnce(Option<String>) -> T) -> Response {
        if self.status.is_server_error() {
            return self.into_response();
        }
        let mut response = Html(page(self.detail.map(Cow::into_owned))).into_response();
        // A page that could not be rendered is an error already.
        if response.status().is_success() {
            *response.status_mut() = self.status;
            put_retry_after(self.retry_after_seconds, response.headers_mut());
        }
        response
    }

    pub(crate) fn json(&self, instance: &str, request_id: &str) -> Value {
        let mut json = self.members.clone();
        json.insert("type".to_owned(), format!("/problems/{}", self.slug).into());
        json.insert("title".to_owned(), self.title.as_ref().into());
        json.insert("status".to_owned(), self.status.as_u16().into());
        if let Some(detail) = &self.detail {
            json.insert("detail".to_owned(), detail.as_ref().into());
        }
        json.insert("instance".to_owned(), instance.into());
        json.insert("request_id".to_owned(), request_id.into());
        Value::Object(json)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        put_retry_after(self.retry_after_seconds, response.headers_mut());
        // The body is written by the frame, which knows the request.
        response.extensions_mut().insert(self);
        response
    }
}

/// Whoever is asked to come back is told when. The frame does this to every answer, whoever made it.
pub(crate) fn ensure_retry_after(status: StatusCode, headers: &mut HeaderMap) {
    let usual_seconds = match status {
        StatusCode::SERVICE_UNAVAILABLE => 2,
        StatusCode::TOO_MANY_REQUESTS => 10,
        _ => return,
    };
    if !headers.contains_key(header::RETRY_AFTER) {
        put_retry_after(Some(usual_seconds), headers);
    }
}

fn put_retry_after(seconds: Option<u32>, headers: &mut HeaderMap) {
    if let Some(seconds) = seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

impl From<shop_db::DbError> for Problem {
    fn from(error: shop_db::DbError) -> Self {
        if error.is_unavailable() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "The database is not available"
            );
            Self::unavailable()
        } else {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "The database refused a request"
            );
            Self::internal()
        }
    }
}

impl From<shop_session::SessionError> for Problem {
    fn from(error: shop_session::SessionError) -> Self {
        use shop_session::SessionError;
        match &error {
            SessionError::Unavailable(_) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "The session store is not available"
                );
                Self::unavailable()
            }
            SessionError::Refused(_) | SessionError::Corrupt(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "The session store refused a request"
                );
                Self::internal()
            }
            SessionError::CartFull => Self::new(StatusCode::CONFLICT, "cart-full", "Your cart is full")
                .detail(format!("A cart holds {} different prints.", shop_session::LINES_MAX)),
            SessionError::InvalidQuantity => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid-quantity",
                "That many are not possible",
            )
            .detail(format!("Choose between 0 and {} copies.", shop_session::QUANTITY_MAX)),
        }
    }
}
