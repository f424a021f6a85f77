//! A small shop to test with: the production service on a port of its own, over the testbed's engines.

use std::time::Duration;

use http::header::COOKIE;
use inventory::state::AppState;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use shop_cache::{Cache, CacheArgs};
use shop_db::{Cluster, ClusterConfig};
use shop_objects::{ObjectArgs, Objects};
use shop_queue::{Queue, QueueArgs, QueueOptions};
use shop_session::{Role, Session, SessionArgs, SessionUser, Sessions};
use shop_telemetry::startup::SecretFile;
use shop_testkit::{FaultyProxy, TestServer, unique, wait_until};
use shop_web::{WebArgs, WebState};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The token that services show each other in these tests.
pub(crate) const TOKEN: &str = "a-token-of-the-tests";
/// Long enough for a busy machine; what is waited for usually comes at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running service and what it stands on.
pub(crate) struct Shop {
    pub(crate) app: AppState,
    pub(crate) pool: PgPool,
    pub(crate) server: TestServer,
    pub(crate) shopkeeper: String,
    pub(crate) customer: String,
    _objects: TempDir,
}

impl Shop {
    /// Opens a shop on a fresh database, with the testbed's broker.
    pub(crate) async fn open(pool: PgPool) -> Self {
        let args = QueueArgs::for_url(&shop_testkit::amqp_url()).expect("the broker's URL");
        let shop = Self::open_with_broker(pool, args).await;
        wait_until("the broker is connected", PATIENCE, async || shop.app.queue.connected()).await;
        shop
    }

    /// The same with another broker, or none.
    pub(crate) async fn open_with_broker(pool: PgPool, broker: QueueArgs) -> Self {
        let db = cluster(&pool, &[]).await;
        Self::open_on(pool, db, broker).await
    }

    /// The same with proxies before the database, which look like hosts of it. Hosts and broker may not be there yet.
    pub(crate) async fn open_behind(pool: PgPool, hosts: &[FaultyProxy]) -> Self {
        let args = QueueArgs::for_url(&shop_testkit::amqp_url()).expect("the broker's URL");
        let db = cluster(&pool, hosts).await;
        Self::open_on(pool, db, args).await
    }

    async fn open_on(pool: PgPool, db: Cluster, broker: QueueArgs) -> Self {
        let objects = tempfile::tempdir().expect("a folder");
        let prefix = unique("inventory");
        let sessions = Sessions::connect(SessionArgs::single_node(shop_testkit::sentinel(), format!("{prefix}:")))
            .await
            .expect("sessions");
        let web = WebArgs {
            position_key_file: SecretFile::from_value("a-position-key-of-the-tests"),
            internal_token_file: SecretFile::from_value(TOKEN),
            edge_port: 8081,
            edge_tls_port: 8444,
            edge_base_url: None,
            instance: Some("inventory-1".to_owned()),
        };
        let cache = shop_testkit::cache_url().replace("redis://", "");
        let app = AppState::new(
            db,
            Cache::connect(&CacheArgs::at(cache, format!("{prefix}:"))),
            Queue::connect(
                broker,
                QueueOptions {
                    prefix: format!("{prefix}."),
                },
            )
            .await,
            Objects::connect(&ObjectArgs::in_folder(objects.path())).expect("a folder"),
            WebState::new("inventory", &web, sessions).await,
        );
        let running = app.clone();
        let server = TestServer::run(async move |listener| {
            inventory::run(running, listener, CancellationToken::new()).await;
        })
        .await;
        Self {
            shopkeeper: log_in(&app, 1, Role::Shopkeeper).await,
            customer: log_in(&app, 4097, Role::Customer).await,
            app,
            pool,
            server,
            _objects: objects,
        }
    }

    /// Takes down what would outlive the test.
    pub(crate) async fn close(self) {
        self.app
            .queue
            .delete_topology()
            .await
            .expect("queues that can be removed");
    }

    /// A `GET` by nobody in particular.
    pub(crate) async fn get(&self, path: &str) -> Response {
        let request = TestServer::new_client().get(self.server.url(path));
        request.send().await.expect("an answer")
    }

    /// A `GET` of JSON that must succeed.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    /// A page that must be there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.text().await.expect("a page")
    }

    /// A request by whoever has this session, or by nobody.
    pub(crate) fn post(&self, path: &str, session: Option<&str>) -> RequestBuilder {
        let request = self.server.client.post(self.server.url(path));
        match session {
            Some(session) => request.header(COOKIE, session),
            None => request,
        }
    }

    /// A call by another service of the shop.
    pub(crate) async fn internal(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .server
            .client
            .request(method, self.server.url(path))
            .bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let body = response.bytes().await.expect("a whole answer");
        if body.is_empty() {
            return (status, Value::Null);
        }
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    /// Uploads a picture for a product, as the shopkeeper, and returns its id.
    pub(crate) async fn upload(&self, product_id: i64, file: Vec<u8>) -> i64 {
        let form = upload_form(file).text("product_id", product_id.to_string());
        let request = self.post("/api/photos", Some(&self.shopkeeper)).multipart(form);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let accepted: Value = response.json().await.expect("JSON");
        accepted["id"].as_i64().expect("an id")
    }
}

/// A form with a file in it.
pub(crate) fn upload_form(file: Vec<u8>) -> reqwest::multipart::Form {
    let part = reqwest::multipart::Part::bytes(file).file_name("print.exe");
    reqwest::multipart::Form::new().part("file", part)
}

/// A PNG of one colour.
pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(width, height)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("an in-memory picture encodes");
    bytes.into_inner()
}

async fn log_in(app: &AppState, id: i64, role: Role) -> String {
    let user = SessionUser {
        id,
        name: "Somebody".to_owned(),
        email: "somebody@zillion.example".to_owned(),
        role,
    };
    let id = app.web.sessions.create(Session::of(user)).await.expect("a session");
    format!("zillion_session={}", id.to_cookie())
}

/// The host and port of a test's database.
pub(crate) fn host_of(pool: &PgPool) -> String {
    ClusterConfig::for_url("inventory", &url_of(pool))
        .expect("a database's URL")
        .hosts[0]
        .clone()
}

/// By way of `hosts`, if there are any.
async fn cluster(pool: &PgPool, hosts: &[FaultyProxy]) -> Cluster {
    let mut config = ClusterConfig::for_url("inventory", &url_of(pool)).expect("a database's URL");
    // Many tests share one machine, and none of them is about a slow one.
    config.connect_timeout = PATIENCE;
    config.acquire_timeout = PATIENCE;
    config.probe_timeout = PATIENCE;
    config.read_wait = PATIENCE;
    config.write_wait = PATIENCE;
    if !hosts.is_empty() {
        config.hosts = hosts.iter().map(|proxy| proxy.addr().to_string()).collect();
    }
    Cluster::connect(config).await.expect("a cluster")
}

fn url_of(pool: &PgPool) -> String {
    let server = shop_testkit::database_url();
    let (base, _) = server.rsplit_once('/').expect("a database's URL");
    let options = pool.connect_options();
    let name = options.get_database().expect("the test's database");
    format!("{base}/{name}")
}

/// Hangs a print with so many copies and returns its id.
pub(crate) async fn print(pool: &PgPool, title: &str, copies: i64) -> i64 {
    sqlx::query("insert into categories (slug, name) values ('prints', 'Prints') on conflict do nothing")
        .execute(pool)
        .await
        .expect("a category");
    let (id,): (i64,) = sqlx::query_as(
        "
        insert into products (category_slug, title, artist, year, technique, description, price_cents, edition_size)
        values ('prints', $1, 'Ines Vale', 2024, 'Linocut', 'Waves at dusk.', 12000, $2) returning id
        ",
    )
    .bind(title)
    .bind(i32::try_from(copies.max(1)).expect("a small edition"))
    .fetch_one(pool)
    .await
    .expect("a product");
    sqlx::query("insert into stock (product_id, initial, available) values ($1, $2, $2)")
        .bind(id)
        .bind(copies)
        .execute(pool)
        .await
        .expect("its stock");
    id
}

/// A product's counters: available, reserved, sold.
pub(crate) async fn counts(pool: &PgPool, product_id: i64) -> (i64, i64, i64) {
    sqlx::query_as("select available, reserved, sold from stock where product_id = $1")
        .bind(product_id)
        .fetch_one(pool)
        .await
        .expect("a product's stock")
}
