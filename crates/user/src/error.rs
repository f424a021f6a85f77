use axum::response::{IntoResponse, Response};
use http::StatusCode;
use shop_db::DbError;
use shop_session::SessionError;
use shop_web::problem::Problem;

use crate::accounts::{FailedLogins, LoginError, PasswordError, RegisterError};
use crate::checkout::PlaceError;
use crate::domain::{Invalid, Reason};
use crate::inventory::InventoryError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that a request can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("there is no such thing, or it is somebody else's")]
    NotFound,
    #[error("the request has no idempotency key")]
    NoKey,
    #[error("there is nothing to order")]
    CartEmpty,
    #[error("product {0} does not exist")]
    UnknownProduct(i64),
    #[error("not enough copies are left")]
    SoldOut { lines: serde_json::Value },
    #[error("the order was cancelled")]
    Cancelled {
        order_id: i64,
        reason: Option<Reason>,
        lines: Option<serde_json::Value>,
    },
    #[error("the request ran into its deadline")]
    TooLate,
    #[error("the checkout failed")]
    Place(#[from] PlaceError),
    #[error("the registration failed")]
    Register(#[from] RegisterError),
    #[error("the login failed")]
    Login(#[from] LoginError),
    #[error("the session store failed")]
    Session(#[from] SessionError),
    #[error("inventory can't be asked")]
    Inventory(#[from] InventoryError),
    #[error("the database failed")]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<PasswordError> for Error {
    fn from(error: PasswordError) -> Self {
        Self::Login(error.into())
    }
}

impl Error {
    /// What the client is told.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Invalid(invalid) => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid",
                "Something is not filled in right",
            )
            .detail(invalid.0),
            Self::NotFound => Problem::not_found(),
            Self::TooLate => Problem::unavailable(),
            Self::NoKey => Problem::new(StatusCode::BAD_REQUEST, "idempotency-key-missing", "The key is missing")
                .detail("An order needs one header Idempotency-Key, 1 to 64 visible ASCII characters."),
            Self::CartEmpty => Problem::new(StatusCode::CONFLICT, "cart-empty", "Your cart is empty")
                .detail("Put a print into it first."),
            Self::UnknownProduct(product_id) => {
                Problem::new(StatusCode::CONFLICT, "unknown-product", "A print is gone")
                    .detail("A print in your order is no longer in the shop. Take it out and try again.")
                    .with("product_id", product_id)
            }
            Self::SoldOut { lines } => sold_out().with("lines", lines),
            Self::Cancelled {
                order_id,
                reason,
                lines,
            } => cancelled(reason, lines).with("order_id", order_id),
            Self::Place(error) => place(error),
            Self::Register(error) => register(error),
            Self::Login(error) => login(error),
            Self::Session(error) => error.into(),
            Self::Inventory(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Inventory is not available");
                Problem::unavailable()
            }
            Self::Db(error) => error.into(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.into_problem().into_response()
    }
}

fn sold_out() -> Problem {
    Problem::new(StatusCode::CONFLICT, "sold-out", "Sold out").detail(Reason::SoldOut.sentence())
}

fn cancelled(reason: Option<Reason>, lines: Option<serde_json::Value>) -> Problem {
    match reason {
        Some(Reason::SoldOut) => match lines {
            Some(lines) => sold_out().with("lines", lines),
            None => sold_out(),
        },
        Some(Reason::CardDeclined) => Problem::new(StatusCode::CONFLICT, "card-declined", "Your card was declined")
            .detail(Reason::CardDeclined.sentence()),
        other => {
            let reason = other.unwrap_or(Reason::Interrupted);
            Problem::new(StatusCode::CONFLICT, "order-cancelled", "The order was cancelled")
                .detail(reason.sentence())
                .with("reason", reason.as_str())
        }
    }
}

fn place(error: PlaceError) -> Problem {
    match error {
        PlaceError::Busy => {
            metrics::counter!("shop_checkouts_refused_total").increment(1);
            Problem::unavailable()
        }
        PlaceError::KeyReused(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            "This key stands for another order",
        )
        .detail("The same Idempotency-Key came with a different address, card or list of prints."),
        PlaceError::Db(error) => error.into(),
        PlaceError::OutOfNumbers | PlaceError::Ended => {
            tracing::error!(error = &error as &dyn std::error::Error, "An order could not be placed");
            Problem::internal()
        }
    }
}

fn register(error: RegisterError) -> Problem {
    match error {
        RegisterError::EmailTaken => Problem::new(StatusCode::CONFLICT, "email-taken", "You have an account already")
            .detail("There is an account with this e-mail. Log in instead."),
        RegisterError::EmailClaimed | RegisterError::Overtaken => {
            Problem::new(StatusCode::CONFLICT, "email-claimed", "A registration is under way")
                .detail("Somebody is registering with this e-mail right now. Try again in a moment.")
        }
        RegisterError::Password(error) => password(&error),
        RegisterError::Db(error) => error.into(),
        RegisterError::NumberTaken(user_id) => {
            tracing::warn!(user.id = %user_id, "A number was given twice");
            Problem::unavailable()
        }
        RegisterError::OutOfNumbers => {
            tracing::error!("The user numbers of a cluster are used up");
            Problem::internal()
        }
    }
}

fn login(error: LoginError) -> Problem {
    match error {
        LoginError::Refused => Problem::new(StatusCode::UNAUTHORIZED, "wrong-password", "That did not match")
            .detail("E-mail and password do not belong together. Check both and try again."),
        LoginError::TooManyFailures => Problem::of_status(StatusCode::TOO_MANY_REQUESTS)
            .detail("Too many wrong passwords for this e-mail. Wait a minute and try again.")
            .retry_after(u32::try_from(FailedLogins::WINDOW.as_secs()).unwrap_or(60)),
        LoginError::Password(error) => password(&error),
        LoginError::Db(error) => error.into(),
    }
}

fn password(error: &PasswordError) -> Problem {
    match error {
        PasswordError::Busy => Problem::unavailable(),
        PasswordError::Hash(_) | PasswordError::Ended => {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "A password could not be checked"
            );
            Problem::internal()
        }
    }
}
