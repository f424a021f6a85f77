//! A small shop with a route of each kind, served on a free port.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use clap::Parser as _;
use http::{StatusCode, header};
use reqwest::{Client, Response, redirect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_db::Position;
use shop_session::{Role, Session, SessionArgs, SessionUser, Sessions};
use shop_web::extract::{
    Consistency, CurrentUser, Form, Internal, Json, MaybeSession, Page, Path, Query, SessionCookie, Shopkeeper,
};
use shop_web::page::Html;
use shop_web::problem::Problem;
use shop_web::{WebArgs, WebState, app, assets};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const TOKEN: &str = "token-of-the-test";

#[derive(Serialize, Deserialize)]
struct Quantity {
    quantity: u32,
}

#[derive(askama::Template)]
#[template(
    source = "{% extends \"layout.html\" %}{% block content %}<h1>Hello</h1>{% endblock %}",
    ext = "html"
)]
struct Hello {
    page: Page,
}

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    web: WebArgs,
}

pub(crate) struct Shop {
    pub(crate) addr: SocketAddr,
    sessions: Sessions,
    _running: DropGuard,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::open_with(&shop_testkit::sentinel()).await
    }

    pub(crate) async fn open_with(sentinel: &str) -> Self {
        let secret = tempfile::NamedTempFile::new().expect("there is room for a file");
        std::fs::write(secret.path(), TOKEN).expect("the file can be written");
        let path = secret.path().to_str().expect("the path is text");
        let args = Args::parse_from([
            "test",
            "--position-key-file",
            path,
            "--internal-token-file",
            path,
            "--instance",
            "test-1",
        ]);
        let prefix = format!("{}:", shop_testkit::unique("test"));
        let sessions = Sessions::connect(SessionArgs::single_node(sentinel, prefix))
            .await
            .expect("a sentinel is named");
        let web = WebState::new("test", &args.web, sessions.clone()).await;
        let slow = Router::new().route("/slow", get(async || std::future::pending::<()>().await));
        let router = app::router_layers(routes(), web.clone()).merge(app::layers_with_deadline(
            slow,
            web,
            Duration::from_millis(50),
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let addr = listener.local_addr().expect("the listener is bound");
        let shutdown = CancellationToken::new();
        tokio::spawn(app::serve(listener, router, shutdown.clone()));
        Self {
            addr,
            sessions,
            _running: shutdown.drop_guard(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers
            .iter()
            .fold(client().get(self.url(path)), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.send().await.expect("the shop answers")
    }

    pub(crate) async fn cookie_of(&self, role: Role) -> String {
        let user = SessionUser {
            id: 1,
            name: "Clara".to_owned(),
            email: "clara@zillion.example".to_owned(),
            role,
        };
        let id = self.sessions.create(Session::of(user)).await.expect("the store is up");
        format!("zillion_session={}", id.to_cookie())
    }
}

pub(crate) fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .build()
        .expect("a client can be made")
}

fn routes() -> Router {
    Router::new()
        .merge(assets::router())
        .route("/hello", get(async |page| Html(Hello { page })))
        .route("/busy", get(async || StatusCode::TOO_MANY_REQUESTS))
        .route(
            "/busy-form",
            get(async |page| (StatusCode::TOO_MANY_REQUESTS, Html(Hello { page }))),
        )
        .route("/busy-for-a-minute", get(async || busy().retry_after(60)))
        .route(
            "/busy-form-for-a-minute",
            get(async |page| busy().retry_after(60).on_page(|_| Hello { page })),
        )
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route(
            "/things/{id}",
            get(async |Path(id): Path<i64>| Json(json!({ "id": id }))),
        )
        .route("/things", get(async |Query(query): Query<Quantity>| Json(query)))
        .route("/form", post(async |Form(form): Form<Quantity>| Json(form)))
        .route("/api/things", post(async |Json(body): Json<Quantity>| Json(body)))
        .route(
            "/me",
            get(async |CurrentUser { user, .. }: CurrentUser| Json(json!({ "name": user.name }))),
        )
        .route(
            "/who",
            get(async |session: MaybeSession| Json(json!({ "user": session.user().map(|user| user.id) }))),
        )
        .route(
            "/admin",
            get(async |Shopkeeper(user): Shopkeeper| Json(json!({ "name": user.name }))),
        )
        .route("/login", post(async |cookie: SessionCookie| cookie.clear()))
        .route(
            "/write",
            post(async |consistency: Consistency| consistency.wrote("things", at(77))),
        )
        .route(
            "/read",
            get(async |consistency: Consistency| {
                consistency
                    .after("things")
                    .map(|seen| seen.to_string())
                    .unwrap_or_default()
            }),
        )
        .route("/internal/things", get(internal).put(internal))
}

fn busy() -> Problem {
    Problem::of_status(StatusCode::TOO_MANY_REQUESTS)
}

async fn internal(_: Internal, consistency: Consistency) -> String {
    let seen = consistency
        .after("things")
        .map(|seen| seen.to_string())
        .unwrap_or_default();
    consistency.wrote("things", at(78));
    seen
}

pub(crate) fn at(lsn: u64) -> Position {
    Position { timeline: 1, lsn }
}

pub(crate) async fn assert_problem(response: Response, status: StatusCode, slug: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .expect("ids are ASCII")
        .to_owned();
    let problem: Value = response.json().await.expect("a problem is JSON");
    assert_eq!(problem["type"], format!("/problems/{slug}"));
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(problem["request_id"], request_id);
    problem
}
