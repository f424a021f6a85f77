//! What can go wrong, and what the client is told about it.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use shop_cache::CacheOverloaded;
use shop_db::DbError;
use shop_objects::ObjectError;
use shop_web::idempotency::InvalidKey;
use shop_web::problem::Problem;

use crate::domain::edit::InvalidEdit;
use crate::domain::original::{self, NotAPicture};
use crate::domain::photo::InvalidMade;
use crate::domain::reservation::Shortage;

/// Result of everything that answers a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request is not answered as it was meant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no product {0}")]
    UnknownProduct(i64),
    #[error("there is no category {0}")]
    UnknownCategory(String),
    #[error("there is no photo {0}")]
    UnknownPhoto(i64),
    #[error("there is no such picture of photo {0}")]
    UnknownPicture(i64),
    #[error("the cursor is not one that this list gave")]
    InvalidCursor,
    #[error("the search is longer than {0} characters")]
    SearchTooLong(usize),
    #[error("sold out")]
    SoldOut(Vec<Shortage>),
    #[error("the order was released")]
    Released,
    #[error("the order holds other lines")]
    Different,
    #[error("the order holds nothing")]
    NotReserved,
    #[error("the order was sold")]
    AlreadySold,
    #[error("an edit was refused")]
    InvalidEdit(#[from] InvalidEdit),
    #[error("fewer copies are available than were to be taken out")]
    NotThatMany,
    #[error("the stock has changed since the form was shown")]
    StockChanged,
    #[error("an upload was refused: {0}")]
    InvalidUpload(&'static str),
    #[error("an upload was no picture")]
    NotAPicture(#[from] NotAPicture),
    #[error("an upload was larger than {} bytes", original::BYTES_MAX)]
    UploadTooLarge,
    #[error("an upload did not arrive whole")]
    UploadBroken(#[source] axum::extract::multipart::MultipartError),
    #[error("an upload's key is none, or there is more than one")]
    InvalidKey(#[from] InvalidKey),
    #[error("an upload's key stands for photo {0}, which is another")]
    KeyReused(i64),
    #[error("an upload took so long that it was swept away")]
    UploadSwept,
    #[error("too many uploads are under way")]
    UploadsBusy,
    #[error("product photos are the shopkeeper's")]
    NotShopkeeper,
    #[error("a worker's report was refused")]
    InvalidMade(#[from] InvalidMade),
    #[error("the database failed")]
    Database(#[from] DbError),
    #[error("the cache let nobody load")]
    Cache(#[from] CacheOverloaded),
    #[error("the object store failed")]
    Objects(#[from] ObjectError),
    #[error("a page could not be rendered")]
    Template(#[from] askama::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Error {
    /// Whether the same request may succeed in a moment.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(error) => error.is_unavailable(),
            Self::Objects(error) => error.is_unavailable(),
            Self::Cache(_) | Self::UploadsBusy => true,
            _ => false,
        }
    }
}

impl Error {
    /// A word for metrics.
    pub fn result(&self) -> &'static str {
        match self {
            Self::SoldOut(_) => "sold-out",
            Self::Released | Self::Different | Self::NotReserved | Self::AlreadySold => "refused",
            _ if self.is_unavailable() => "unavailable",
            _ => "failed",
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let bad = |slug: &'static str, title: &'static str, detail: String| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, slug, title).detail(detail)
        };
        let conflict = |slug: &'static str, title: &'static str, detail: &'static str| {
            Problem::new(StatusCode::CONFLICT, slug, title).detail(detail)
        };
        match error {
            Error::UnknownProduct(_)
            | Error::UnknownCategory(_)
            | Error::UnknownPhoto(_)
            | Error::UnknownPicture(_) => Problem::not_found(),
            Error::InvalidCursor => {
                Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", "This list has no such page")
                    .detail("Start at the first page, and follow its `next_cursor` from there.")
            }
            Error::SearchTooLong(characters_max) => {
                Problem::new(StatusCode::BAD_REQUEST, "search-too-long", "That is a lot to look for")
                    .detail(format!("Search with at most {characters_max} characters."))
            }
            Error::SoldOut(shortages) => conflict(
                "sold-out",
                "Sold out",
                "There are fewer copies left than the order asks for.",
            )
            .with("lines", serde_json::json!(shortages)),
            Error::Released => conflict(
                "released",
                "The order was released",
                "What this order held was given back; it can't hold anything any more.",
            ),
            Error::Different => conflict(
                "reserved-differently",
                "The order holds other lines",
                "An order can't change what it has reserved.",
            ),
            Error::NotReserved => conflict(
                "not-reserved",
                "Nothing is reserved",
                "This order holds nothing that could be sold.",
            ),
            Error::AlreadySold => conflict(
                "already-sold",
                "Already sold",
                "What this order held is sold and can't be given back.",
            ),
            Error::InvalidEdit(reason) => bad("invalid-edit", "That does not fit", sentence(&reason)),
            Error::NotThatMany => conflict(
                "not-that-many",
                "There are not that many",
                "Only copies that are neither sold nor reserved can be taken out.",
            ),
            Error::StockChanged => conflict(
                "stock-changed",
                "The stock has changed meanwhile",
                "Perhaps by this very form, sent before. Look at the product again.",
            ),
            Error::InvalidUpload(reason) => Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid-upload",
                "We could not read that upload",
            )
            .detail(reason),
            Error::NotAPicture(reason) => bad("not-a-picture", "We can't hang that", sentence(&reason)),
            Error::UploadTooLarge => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "That picture is too large")
                    .detail("A picture may have up to 20 MB.")
            }
            Error::UploadBroken(cause) => {
                // The extractor knows best whether the client sent nonsense, too much, or not enough. It takes a body that
                // can't be read on for a fault of ours.
                let status = Some(cause.status()).filter(StatusCode::is_client_error);
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                if status == StatusCode::PAYLOAD_TOO_LARGE {
                    Error::UploadTooLarge.into()
                } else {
                    Problem::new(status, "invalid-upload", "We could not read that upload")
                        .detail("It is not a form with a file, or it did not arrive whole.")
                }
            }
            Error::InvalidKey(reason) => {
                Problem::new(StatusCode::BAD_REQUEST, "idempotency-key-invalid", "That is no key")
                    .detail(sentence(&reason))
            }
            Error::KeyReused(photo_id) => bad(
                "idempotency-key-reused",
                "That key was used before",
                "Another picture was uploaded under this key. A new upload needs a new key.".to_owned(),
            )
            .with("photo_id", serde_json::json!(photo_id)),
            Error::UploadSwept => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "upload-too-slow",
                "That upload took too long",
            )
            .detail("Try it once more."),
            Error::NotShopkeeper => Problem::of_status(StatusCode::FORBIDDEN),
            Error::InvalidMade(reason) => bad("invalid-report", "That does not fit", sentence(&reason)),
            Error::UploadsBusy | Error::Cache(_) => Problem::unavailable(),
            Error::Database(cause) => cause.into(),
            Error::Objects(cause) => {
                tracing::warn!(
                    error = &cause as &dyn std::error::Error,
                    "The object store is not available"
                );
                Problem::unavailable()
            }
            Error::Template(cause) => {
                tracing::error!(error = &cause as &dyn std::error::Error, "A page could not be rendered");
                Problem::internal()
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

/// A reason as a sentence for people.
fn sentence(reason: &impl std::fmt::Display) -> String {
    let text = reason.to_string();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => text,
    }
}
