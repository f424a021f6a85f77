//! The frame and the extractors over HTTP, with sessions in the testbed's Redis. `scripts/testbed up` starts it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use clap::Parser as _;
use http::{StatusCode, header};
use reqwest::{Client, Response, redirect};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shop_db::{Freshness, Position};
use shop_session::{Role, Session, SessionArgs, SessionUser, Sessions};
use shop_web::extract::{
    Consistency, CurrentUser, Form, Internal, Json, MaybeSession, Page, Path, Query, SessionCookie,
    Shopkeeper,
};
use shop_web::internal::InternalClient;
use shop_web::page::Html;
use shop_web::{WebArgs, WebState, app, assets};
use tokio_util::sync::{CancellationToken, DropGuard};

const TOKEN: &str = "token-of-the-test";

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

struct Shop {
    addr: SocketAddr,
    sessions: Sessions,
    _running: DropGuard,
}

impl Shop {
    async fn open() -> Self {
        let sentinel =
            std::env::var("TEST_SENTINEL").unwrap_or_else(|_| "127.0.0.1:26380".to_owned());
        Self::open_with(&sentinel).await
    }

    async fn open_with(sentinel: &str) -> Self {
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
        let prefix = format!("test-{:032x}:", rand::random::<u128>());
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

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let request = headers
            .iter()
            .fold(client().get(self.url(path)), |request, (name, value)| {
                request.header(*name, *value)
            });
        request.send().await.expect("the shop answers")
    }

    async fn cookie_of(&self, role: Role) -> String {
        let user = SessionUser {
            id: 1,
            name: "Clara".to_owned(),
            email: "clara@zillion.example".to_owned(),
            role,
        };
        let id = self
            .sessions
            .create(Session::of(user))
            .await
            .expect("the store is up");
        format!("zillion_session={}", id.to_cookie())
    }
}

fn client() -> Client {
    Client::builder()
        .redirect(redirect::Policy::none())
        .build()
        .expect("a client can be made")
}

fn routes() -> Router {
    Router::new()
        .merge(assets::router())
        .route("/hello", get(async |page| Html(Hello { page })))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("on purpose") }),
        )
        .route(
            "/things/{id}",
            get(async |Path(id): Path<i64>| Json(json!({ "id": id }))),
        )
        .route(
            "/things",
            get(async |Query(query): Query<Quantity>| Json(query)),
        )
        .route("/form", post(async |Form(form): Form<Quantity>| Json(form)))
        .route(
            "/api/things",
            post(async |Json(body): Json<Quantity>| Json(body)),
        )
        .route(
            "/me",
            get(async |CurrentUser { user, .. }: CurrentUser| Json(json!({ "name": user.name }))),
        )
        .route(
            "/who",
            get(async |session: MaybeSession| {
                Json(json!({ "user": session.user().map(|user| user.id) }))
            }),
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

async fn internal(_: Internal, consistency: Consistency) -> String {
    let seen = consistency
        .after("things")
        .map(|seen| seen.to_string())
        .unwrap_or_default();
    consistency.wrote("things", at(78));
    seen
}

fn at(lsn: u64) -> Position {
    Position { timeline: 1, lsn }
}

async fn assert_problem(response: Response, status: StatusCode, slug: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
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

#[tokio::test]
async fn what_does_not_exist_is_a_problem_and_never_an_error_of_ours() {
    let shop = Shop::open().await;
    assert_problem(
        shop.get("/nowhere", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
    assert_problem(
        shop.get("/things/none", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
    assert_problem(
        shop.get("/things/99999999999999999999", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
    assert_problem(
        shop.get("/things?quantity=-1", &[]).await,
        StatusCode::BAD_REQUEST,
        "invalid-query",
    )
    .await;
    assert_problem(
        shop.get("/form", &[]).await,
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
    )
    .await;
    assert_problem(
        shop.get("/assets/shop.css", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_a_problem_with_its_reason() {
    let shop = Shop::open().await;
    let post = |body: String, kind: &'static str| {
        client()
            .post(shop.url("/api/things"))
            .header("content-type", kind)
            .body(body)
            .send()
    };
    for body in ["{", "[]", "{\"quantity\":\"x\"}", "{\"quantity\":-1}", ""] {
        let response = post(body.to_owned(), "application/json")
            .await
            .expect("the shop answers");
        let problem = assert_problem(response, StatusCode::BAD_REQUEST, "invalid-json").await;
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty()),
            "{body}"
        );
    }
    let response = post("quantity=1".to_owned(), "text/plain")
        .await
        .expect("the shop answers");
    assert_problem(
        response,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
    )
    .await;
    let response = post(format!("\"{}\"", "x".repeat(2_000_000)), "application/json")
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
    let form = client()
        .post(shop.url("/form"))
        .form(&[("quantity", "many")])
        .send()
        .await
        .expect("the shop answers");
    assert_problem(form, StatusCode::BAD_REQUEST, "invalid-form").await;
}

#[tokio::test]
async fn a_form_posted_from_another_site_is_refused() {
    let shop = Shop::open().await;
    let post = |name: &'static str, value: String| {
        client()
            .post(shop.url("/form"))
            .header(name, value)
            .form(&[("quantity", "1")])
            .send()
    };
    let response = post("sec-fetch-site", "cross-site".to_owned())
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::FORBIDDEN, "cross-site").await;
    let response = post("origin", "https://elsewhere.example".to_owned())
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::FORBIDDEN, "cross-site").await;
    let response = post("origin", format!("http://{}", shop.addr))
        .await
        .expect("the shop answers");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_panic_and_a_handler_that_hangs_are_answered() {
    let shop = Shop::open().await;
    let problem = assert_problem(
        shop.get("/panic", &[]).await,
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
    )
    .await;
    assert!(!problem.to_string().contains("on purpose"));
    let response = shop.get("/slow", &[]).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_problem(response, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test]
async fn a_browser_gets_a_page_for_a_problem_and_a_program_does_not() {
    let shop = Shop::open().await;
    let browser = ("accept", "text/html,application/xhtml+xml");
    let response = shop
        .get("/nowhere", &[browser, ("x-request-id", "abc-1")])
        .await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let html = response.text().await.expect("a page is text");
    assert!(html.contains("Nothing hangs here") && html.contains("abc-1"));
    let response = shop.get("/api/nowhere", &[browser]).await;
    assert_problem(response, StatusCode::NOT_FOUND, "not-found").await;
}

#[tokio::test]
async fn a_session_that_is_over_leads_to_the_login() {
    let shop = Shop::open().await;
    let over = format!("zillion_session={}", "A".repeat(43));
    assert_problem(
        shop.get("/me", &[("cookie", &over)]).await,
        StatusCode::UNAUTHORIZED,
        "not-logged-in",
    )
    .await;
    assert_problem(
        shop.get("/me", &[("cookie", "zillion_session=\"<>")]).await,
        StatusCode::UNAUTHORIZED,
        "not-logged-in",
    )
    .await;
    let response = shop
        .get("/me?x=1", &[("cookie", &over), ("accept", "text/html")])
        .await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        response.headers()[header::LOCATION],
        "/login?next=%2Fme%3Fx%3D1"
    );
    let who: Value = shop
        .get("/who", &[("cookie", &over)])
        .await
        .json()
        .await
        .expect("an answer is JSON");
    assert_eq!(who["user"], Value::Null);
}

#[tokio::test]
async fn people_see_their_own_and_only_the_shopkeeper_the_studio() {
    let shop = Shop::open().await;
    let customer = shop.cookie_of(Role::Customer).await;
    let shopkeeper = shop.cookie_of(Role::Shopkeeper).await;
    assert_eq!(
        shop.get("/me", &[("cookie", &customer)]).await.status(),
        StatusCode::OK
    );
    assert_problem(
        shop.get("/admin", &[("cookie", &customer)]).await,
        StatusCode::FORBIDDEN,
        "forbidden",
    )
    .await;
    assert_problem(
        shop.get("/admin", &[]).await,
        StatusCode::UNAUTHORIZED,
        "not-logged-in",
    )
    .await;
    assert_eq!(
        shop.get("/admin", &[("cookie", &shopkeeper)])
            .await
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_session_store_that_is_away_is_503_and_costs_strangers_nothing() {
    let shop = Shop::open_with("127.0.0.1:1").await;
    assert_eq!(shop.get("/who", &[]).await.status(), StatusCode::OK);
    let cookie = format!("zillion_session={}", "A".repeat(43));
    let response = shop.get("/who", &[("cookie", &cookie)]).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_problem(response, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test]
async fn a_page_is_sent_again_only_if_it_changed() {
    let shop = Shop::open().await;
    let first = shop.get("/hello", &[]).await;
    let etag = first.headers()[header::ETAG]
        .to_str()
        .expect("tags are ASCII")
        .to_owned();
    assert_eq!(first.headers()[header::CACHE_CONTROL], "private, no-cache");
    let policy = first.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .expect("policies are ASCII")
        .to_owned();
    assert!(
        policy.contains("default-src 'none'")
            && policy.contains("http://127.0.0.1:8081")
            && !policy.contains("unsafe")
    );
    assert_eq!(
        shop.get("/hello", &[("if-none-match", &etag)])
            .await
            .status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        shop.get("/hello", &[("if-none-match", "W/\"other\"")])
            .await
            .status(),
        StatusCode::OK
    );
    // The page names the edge by the host that the browser asked, so for another host it is another page.
    let elsewhere = shop
        .get(
            "/hello",
            &[
                ("if-none-match", &etag),
                ("x-forwarded-host", "gallery.example"),
            ],
        )
        .await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_asset_of_a_page_is_served_for_ever_and_to_any_origin() {
    let shop = Shop::open().await;
    let html = shop
        .get("/hello", &[])
        .await
        .text()
        .await
        .expect("a page is text");
    let paths: Vec<&str> = html
        .split('"')
        .filter_map(|part| Some(&part[part.find("/assets/")?..]))
        .collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let response = shop.get(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}

#[tokio::test]
async fn a_client_carries_its_writes_to_its_next_request_and_cannot_make_them_up() {
    let shop = Shop::open().await;
    let written = client()
        .post(shop.url("/write"))
        .send()
        .await
        .expect("the shop answers");
    let cookie = written.headers()[header::SET_COOKIE]
        .to_str()
        .expect("cookies are ASCII")
        .to_owned();
    assert!(
        cookie.starts_with("zp_things=")
            && cookie.contains("HttpOnly")
            && cookie.contains("Max-Age=60"),
        "{cookie}"
    );
    let cookie = cookie
        .split(';')
        .next()
        .expect("there is a first part")
        .to_owned();
    assert_eq!(
        shop.get("/read", &[("cookie", &cookie)])
            .await
            .text()
            .await
            .expect("text"),
        at(77).to_string()
    );
    let forged = cookie.replace("zp_things=", "zp_things=9");
    assert_eq!(
        shop.get("/read", &[("cookie", &forged)])
            .await
            .text()
            .await
            .expect("text"),
        ""
    );
    // The header is for services that show the token.
    assert_eq!(
        shop.get("/read", &[("zillion-positions", "things=1-50")])
            .await
            .text()
            .await
            .expect("text"),
        ""
    );
}

#[tokio::test]
async fn services_show_a_token_and_exchange_positions() {
    let shop = Shop::open().await;
    assert_problem(
        shop.get("/internal/things", &[]).await,
        StatusCode::UNAUTHORIZED,
        "internal-token",
    )
    .await;
    let wrong = shop
        .get("/internal/things", &[("authorization", "Bearer wrong")])
        .await;
    assert_problem(wrong, StatusCode::UNAUTHORIZED, "internal-token").await;

    let other = InternalClient::new(&shop.url(""), TOKEN).expect("the address is valid");
    let consistency = Consistency::detached();
    consistency.wrote("things", at(5));
    let answer = other
        .get("/internal/things", &consistency)
        .await
        .expect("the other service answers");
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, at(5).to_string().as_bytes())
    );
    assert!(
        matches!(consistency.freshness("things"), Freshness::After(position) if position == at(78))
    );
    let answer = other
        .put("/internal/nothing", &json!({}), &consistency)
        .await
        .expect("404 is an answer");
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.problem_slug().as_deref(), Some("not-found"));
}

#[tokio::test]
async fn an_answer_says_who_gave_it_and_in_which_trace() {
    let shop = Shop::open().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let response = shop.get("/hello", &[("traceparent", &traceparent)]).await;
    assert_eq!(response.headers()["x-served-by"], "test-1");
    let timing = response.headers()["server-timing"]
        .to_str()
        .expect("timings are ASCII");
    assert!(timing.starts_with("test;desc=\"test-1\";dur="), "{timing}");
    assert!(
        timing.contains(&format!("trace;desc=\"{trace}\"")),
        "{timing}"
    );
}

#[tokio::test]
async fn logging_out_takes_the_cookie_away() {
    let shop = Shop::open().await;
    let response = client()
        .post(shop.url("/login"))
        .send()
        .await
        .expect("the shop answers");
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("cookies are ASCII");
    assert!(
        cookie.starts_with("zillion_session=;")
            && cookie.contains("Max-Age=0")
            && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
}
