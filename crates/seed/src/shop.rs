//! The shop as a client sees it: the seed registers, logs in and uploads like anybody else.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The stack may still be starting, or something in it may be failing over.
const PATIENCE: Duration = Duration::from_secs(300);
const WAIT_MIN: Duration = Duration::from_millis(400);
const WAIT_MAX: Duration = Duration::from_secs(8);
/// So much of a refusal is quoted in an error.
const REFUSAL_CHARACTERS_MAX: usize = 300;

/// Why the shop did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// No answer came, or one that can't be read.
    #[error("the shop can't be reached")]
    Unreachable(#[from] reqwest::Error),
    /// The answer was no.
    #[error("the shop answered {status}: {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the answer said.
        text: String,
        /// How long the shop wants us to wait.
        retry_after: Option<Duration>,
    },
}

impl ShopError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable(_) => None,
        }
    }

    /// Whether the same request may succeed later.
    fn may_pass(&self) -> bool {
        self.status().is_none_or(|status| {
            status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
        })
    }
}

/// Somebody who may log in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The e-mail address.
    pub email: &'a str,
    /// The password.
    pub password: &'a str,
}

/// A client of the shop with a session of its own.
#[derive(Clone)]
pub struct Shop {
    client: Client,
    base_url: String,
}

#[derive(Deserialize)]
struct Me {
    user: Option<Person>,
}

#[derive(Deserialize)]
struct Person {
    id: i64,
}

#[derive(Deserialize)]
struct Accepted {
    id: i64,
}

impl Shop {
    /// A client that is not logged in.
    pub fn new(base_url: &str) -> Result<Self, ShopError> {
        let client = Client::builder()
            .cookie_store(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        Ok(Self {
            client,
            base_url: base_url.trim_end_matches('/').to_owned(),
        })
    }

    /// Opens an account. Nothing happens if the e-mail address has one.
    pub async fn register(&self, login: Login<'_>, name: &str) -> Result<(), ShopError> {
        let body = json!({ "email": login.email, "name": name, "password": login.password });
        let answer = persistently("register", || self.send(self.post("/api/users").json(&body))).await;
        match answer {
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Logs in. Returns the user's id.
    pub async fn log_in(&self, login: Login<'_>) -> Result<i64, ShopError> {
        let body = json!({ "email": login.email, "password": login.password });
        persistently("log in", || self.send(self.post("/api/sessions").json(&body))).await?;
        let me: Me = persistently("ask who is logged in", || async {
            Ok(self
                .send(self.client.get(format!("{}/api/me", self.base_url)))
                .await?
                .json()
                .await?)
        })
        .await?;
        me.user.map(|person| person.id).ok_or_else(|| ShopError::Refused {
            status: StatusCode::UNAUTHORIZED,
            text: "logged in, and then nobody".to_owned(),
            retry_after: None,
        })
    }

    /// Uploads a product's picture, once. Returns the photo's id.
    pub async fn upload(&self, product_id: i64, alt: &str, jpeg: Bytes) -> Result<i64, ShopError> {
        let length = jpeg.len() as u64;
        let file = Part::stream_with_length(jpeg, length)
            .file_name(format!("print-{product_id}.jpg"))
            .mime_str("image/jpeg")?;
        let form = Form::new()
            .text("purpose", "product")
            .text("product_id", product_id.to_string())
            .text("alt", alt.to_owned())
            .part("file", file);
        let accepted: Accepted = self
            .send(self.post("/api/photos").multipart(form))
            .await?
            .json()
            .await?;
        Ok(accepted.id)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base_url))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ShopError> {
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let text = response.text().await.unwrap_or_default();
        let text = text.chars().take(REFUSAL_CHARACTERS_MAX).collect();
        Err(ShopError::Refused {
            status,
            text,
            retry_after,
        })
    }
}

/// Repeats what may pass, with growing pauses, until it does or patience ends.
pub async fn persistently<T, F, Fut>(what: &str, mut attempt: F) -> Result<T, ShopError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, ShopError>>,
{
    let end = Instant::now() + PATIENCE;
    let mut wait = WAIT_MIN;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let asked = match &error {
            ShopError::Refused { retry_after, .. } => retry_after.unwrap_or(wait),
            ShopError::Unreachable(_) => wait,
        };
        let pause = asked.clamp(WAIT_MIN, WAIT_MAX);
        if !error.may_pass() || Instant::now() + pause > end {
            return Err(error);
        }
        tracing::info!(
            error = &error as &dyn std::error::Error,
            "Waiting for the shop, to {what}"
        );
        sleep(pause).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> ShopError {
        let status = StatusCode::from_u16(status).unwrap();
        ShopError::Refused {
            status,
            text: String::new(),
            retry_after: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shop_that_is_starting_is_waited_for() {
        let mut attempts = 0;
        let answer = persistently("test", || {
            attempts += 1;
            let ready = attempts == 5;
            async move { if ready { Ok("open") } else { Err(refused(503)) } }
        })
        .await;
        assert_eq!(answer.unwrap(), "open");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_will_not_change_is_not_repeated() {
        let mut attempts = 0;
        let answer: Result<(), _> = persistently("test", || {
            attempts += 1;
            async { Err(refused(403)) }
        })
        .await;
        assert_eq!(
            (answer.unwrap_err().status(), attempts),
            (Some(StatusCode::FORBIDDEN), 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let begin = Instant::now();
        let answer: Result<(), _> = persistently("test", || async { Err(refused(503)) }).await;
        assert!(answer.is_err());
        assert!(begin.elapsed() <= PATIENCE, "{:?}", begin.elapsed());
    }
}
