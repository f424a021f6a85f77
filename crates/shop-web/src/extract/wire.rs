use axum::extract::rejection::{FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body, both ways.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// The query string.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

/// The variable parts of the path.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// A form's fields.
#[derive(Debug, Clone)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(value) = axum::Json::from_request(request, state)
            .await
            .map_err(|rejection: JsonRejection| problem(rejection.status(), "invalid-json", rejection.body_text()))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| problem(rejection.status(), "invalid-query", rejection.body_text()))?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(value) =
            axum::extract::Path::from_request_parts(parts, state)
                .await
                .map_err(|rejection: PathRejection| {
                    if rejection.status().is_server_error() {
                        tracing::error!(error = %rejection, "A route and its handler disagree about the path");
                        return Problem::internal();
                    }
                    // A path whose id is no id names nothing.
                    Problem::not_found()
                })?;
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Form(value) = axum::Form::from_request(request, state)
            .await
            .map_err(|rejection: FormRejection| problem(rejection.status(), "invalid-form", rejection.body_text()))?;
        Ok(Self(value))
    }
}

fn problem(status: StatusCode, slug: &'static str, detail: String) -> Problem {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Problem::new(StatusCode::BAD_REQUEST, slug, "We could not read that").detail(detail)
        }
        other => Problem::of_status(other),
    }
}
