//! A small shop to test with: both services on ports of their own, each over databases of their own.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use shop_audit::{Databases, Options, Report};
use shop_cache::{Cache, CacheArgs};
use shop_db::{Cluster, ClusterConfig, Shards};
use shop_objects::{ObjectArgs, Objects};
use shop_queue::{Queue, QueueArgs, QueueOptions};
use shop_session::{Role, Session, SessionArgs, SessionUser, Sessions};
use shop_telemetry::startup::SecretFile;
use shop_testkit::{FaultyProxy, FreshDatabase, TestServer, unique};
use shop_web::internal::InternalClient;
use shop_web::{WebArgs, WebState};
use sqlx::migrate::Migrator;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use user::App;
use user::accounts::{FailedLogins, Passwords};
use user::checkout::{Checkout, Timings};
use user::domain::UserId;
use user::inventory::Inventory;
use user::payments::{CardTimings, Gateway};
use user::state::{AppState, watch_schema};
use uuid::Uuid;

static INVENTORY: Migrator = sqlx::migrate!("../../migrations/inventory");
static USERS: Migrator = sqlx::migrate!("../../migrations/users");
static PAYMENTS: Migrator = sqlx::migrate!("../../migrations/payments");

/// Long enough for a busy machine; what is waited for usually comes at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-of-the-tests";
/// Test cards: pays, is declined, never answers, answers late.
pub(crate) const PAYS: &str = "4242424242424242";
pub(crate) const DECLINED: &str = "4000000000000002";
pub(crate) const ANSWERS_LATE: &str = "4000000000000259";
/// What every print costs.
pub(crate) const PRICE_CENTS: i64 = 12_000;

/// How a test's shop differs from the usual one.
pub(crate) struct Setup {
    pub(crate) clusters: usize,
    /// Proxies before each cluster of users, which look like hosts of it; with none it is reached directly.
    pub(crate) proxies: usize,
    pub(crate) timings: Timings,
    pub(crate) cards: CardTimings,
    /// Whether recovery and relay run; tests that step through a checkout do without.
    pub(crate) background: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let timings = Timings {
            recovery_period: Duration::from_millis(200),
            settle_wait: PATIENCE,
            ..Timings::default()
        };
        Self {
            clusters: 1,
            proxies: 0,
            timings,
            cards: CardTimings::default(),
            background: true,
        }
    }
}

pub(crate) struct Shop {
    pub(crate) state: AppState,
    pub(crate) queue: Queue,
    pub(crate) gateway: Gateway,
    pub(crate) server: TestServer,
    pub(crate) inventory_db: FreshDatabase,
    pub(crate) users_dbs: Vec<FreshDatabase>,
    pub(crate) payments_db: FreshDatabase,
    /// The hosts of each cluster of users.
    pub(crate) proxies: Vec<Vec<FaultyProxy>>,
    pub(crate) databases: Databases,
    _inventory: TestServer,
    _objects: TempDir,
}

impl Shop {
    pub(crate) async fn open(setup: Setup) -> Self {
        let (inventory_db, payments_db) =
            tokio::join!(FreshDatabase::migrated(&INVENTORY), FreshDatabase::migrated(&PAYMENTS));
        let mut users_dbs = Vec::new();
        for _ in 0..setup.clusters {
            users_dbs.push(FreshDatabase::migrated(&USERS).await);
        }
        let mut clusters = Vec::new();
        let mut proxies = Vec::new();
        for (number, database) in users_dbs.iter().enumerate() {
            let mut config = config(&format!("users.{number}"), database);
            let mut hosts = Vec::new();
            for _ in 0..setup.proxies {
                hosts.push(FaultyProxy::start(&server_of(database)).await);
            }
            if !hosts.is_empty() {
                config.hosts = hosts.iter().map(|proxy| proxy.addr().to_string()).collect();
            }
            clusters.push(Cluster::connect(config).await.expect("a cluster"));
            proxies.push(hosts);
        }
        let count = u16::try_from(setup.clusters).expect("a few clusters");
        let shards = Shards::with_slots(clusters, |slot| u8::try_from(slot % count).expect("a few clusters"));
        let (stock, ledger) = (
            cluster("inventory", &inventory_db).await,
            cluster("payments", &payments_db).await,
        );

        let prefix = unique("user");
        let broker = QueueArgs::for_url(&shop_testkit::amqp_url()).expect("the broker's URL");
        let queue = Queue::connect(
            broker,
            QueueOptions {
                prefix: format!("{prefix}."),
            },
        )
        .await;
        let sessions = SessionArgs::single_node(shop_testkit::sentinel(), format!("{prefix}:"));
        let sessions = Sessions::connect(sessions).await.expect("sessions");
        let web = WebState::new("user", &web_args("user-1"), sessions.clone()).await;

        let objects = tempfile::tempdir().expect("a folder");
        let cache = CacheArgs::at(shop_testkit::cache_url().replace("redis://", ""), format!("{prefix}:"));
        let things = inventory::state::AppState::new(
            stock.clone(),
            Cache::connect(&cache),
            queue.clone(),
            Objects::connect(&ObjectArgs::in_folder(objects.path())).expect("a folder"),
            WebState::new("inventory", &web_args("inventory-1"), sessions.clone()).await,
        );
        let inventory_server = TestServer::serve(inventory::routes::router(things)).await;

        let client = InternalClient::new(&inventory_server.url("/"), TOKEN).expect("a client");
        let inventory = Inventory::new(client);
        let gateway = Gateway::new(ledger.clone(), setup.cards);
        let checkout = Checkout::new(shards.clone(), inventory.clone(), gateway.clone(), setup.timings, 64);
        let state = AppState {
            web,
            shards: shards.clone(),
            carts: sessions.carts(),
            inventory,
            checkout,
            passwords: Passwords::new(2).expect("a hash"),
            failed_logins: FailedLogins::new(),
            schema: watch_schema(&shards, &ledger),
        };
        let server = if setup.background {
            let app = App {
                state: state.clone(),
                queue: queue.clone(),
            };
            TestServer::run(async move |listener| app.run(listener, CancellationToken::new()).await).await
        } else {
            TestServer::serve(user::router(state.clone(), CancellationToken::new())).await
        };
        Self {
            state,
            queue,
            gateway,
            server,
            inventory_db,
            users_dbs,
            payments_db,
            proxies,
            databases: Databases {
                users: shards,
                inventory: stock,
                payments: ledger,
            },
            _inventory: inventory_server,
            _objects: objects,
        }
    }

    /// Takes down what would outlive the test.
    pub(crate) async fn close(self) {
        self.queue.delete_topology().await.expect("queues that can be removed");
    }

    /// Hangs a print with so many copies and returns its id.
    pub(crate) async fn print(&self, copies: i64) -> i64 {
        let mut conn = self.inventory_db.connect().await;
        sqlx::query("insert into categories (slug, name) values ('prints', 'Prints') on conflict do nothing")
            .execute(&mut conn)
            .await
            .expect("a category");
        let (id,): (i64,) = sqlx::query_as(
            "insert into products (category_slug, title, artist, year, technique, price_cents)
             values ('prints', 'Harbour <at> dusk', 'Ines Vale', 2024, 'Linocut', $1) returning id",
        )
        .bind(PRICE_CENTS)
        .fetch_one(&mut conn)
        .await
        .expect("a product");
        sqlx::query("insert into stock (product_id, initial, available) values ($1, $2, $2)")
            .bind(id)
            .bind(copies)
            .execute(&mut conn)
            .await
            .expect("its stock");
        id
    }

    /// A print's counters: available, reserved, sold.
    pub(crate) async fn stock(&self, product_id: i64) -> (i64, i64, i64) {
        sqlx::query_as("select available, reserved, sold from stock where product_id = $1")
            .bind(product_id)
            .fetch_one(&mut self.inventory_db.connect().await)
            .await
            .expect("a product's stock")
    }

    /// An account that nobody typed a password for, in this slot.
    pub(crate) async fn account(&self, slot: u16) -> UserId {
        let cluster = self.state.shards.for_slot(slot);
        let mut conn = cluster.write().await.expect("a primary");
        let number = user::queries::accounts::next_number(&mut conn).await.expect("a number");
        let user_id = UserId(number * 4096 + i64::from(slot));
        let email = user::domain::Email::parse(&format!("{user_id}@customers.example")).expect("an e-mail");
        let name = user::domain::AccountName::parse("Somebody").expect("a name");
        user::queries::accounts::insert(&mut conn, user_id, &email, &name, "none")
            .await
            .expect("an account");
        user_id
    }

    /// A customer with an account and a session.
    pub(crate) async fn customer(&self) -> Customer {
        self.customer_in(rand::random_range(0..4096)).await
    }

    pub(crate) async fn customer_in(&self, slot: u16) -> Customer {
        let user_id = self.account(slot).await;
        self.person(user_id, Role::Customer).await
    }

    pub(crate) async fn person(&self, user_id: UserId, role: Role) -> Customer {
        let email = format!("{user_id}@customers.example");
        let user = SessionUser {
            id: user_id.0,
            name: "Somebody".to_owned(),
            email,
            role,
        };
        let session = self
            .state
            .web
            .sessions
            .create(Session::of(user))
            .await
            .expect("a session");
        Customer {
            user_id,
            cookie: format!("zillion_session={}", session.to_cookie()),
            base: self.server.url(""),
        }
    }

    /// What the audit finds, where nothing may be in flight for longer than a minute.
    pub(crate) async fn audit(&self) -> Report {
        let options = Options {
            in_flight_max: Duration::from_secs(60),
        };
        shop_audit::audit(&self.databases, options)
            .await
            .expect("databases that can be read")
    }

    pub(crate) async fn assert_audit_is_clean(&self) {
        let report = self.audit().await;
        assert!(report.is_clean(), "{report}");
    }
}

/// Somebody who is logged in, and uses a new connection each time.
#[derive(Clone)]
pub(crate) struct Customer {
    pub(crate) user_id: UserId,
    cookie: String,
    base: String,
}

impl Customer {
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        TestServer::new_client()
            .request(method, url)
            .header("cookie", &self.cookie)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(reqwest::Method::GET, path)
            .send()
            .await
            .expect("an answer")
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.expect("JSON")
    }

    pub(crate) async fn put_in_cart(&self, product_id: i64, quantity: u32) {
        let request = self.request(reqwest::Method::PUT, &format!("/api/cart/items/{product_id}"));
        let response = send_until_served(&request.json(&json!({"quantity": quantity}))).await;
        assert_eq!(response.status(), StatusCode::OK);
    }

    /// A checkout of the cart, ready to be sent.
    pub(crate) fn checkout(&self, key: &str, card: &str) -> RequestBuilder {
        let body = json!({
            "card": {"number": card, "expiry": "12/40", "cvc": "123"},
            "address": {"name": "Ada", "street": "Main 1", "postcode": "1010", "city": "Vienna", "country": "AT"},
        });
        self.request(reqwest::Method::POST, "/api/orders")
            .header("idempotency-key", key)
            .json(&body)
    }

    /// Checks the cart out; who is asked to wait, or to come back, asks again with the same key.
    pub(crate) async fn buy(&self, key: &str, card: &str) -> (StatusCode, Value) {
        let end = tokio::time::Instant::now() + 2 * PATIENCE;
        loop {
            let response = send_until_served(&self.checkout(key, card)).await;
            let status = response.status();
            if status != StatusCode::ACCEPTED || tokio::time::Instant::now() > end {
                return (status, response.json().await.expect("JSON"));
            }
        }
    }
}

/// Sends a request that may be repeated, again if the shop on this busy machine asks to come back.
pub(crate) async fn send_until_served(request: &RequestBuilder) -> Response {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let request = request.try_clone().expect("a body that can be sent again");
        let response = request.send().await.expect("an answer");
        if response.status() != StatusCode::SERVICE_UNAVAILABLE || tokio::time::Instant::now() > end {
            return response;
        }
    }
}

pub(crate) fn new_key() -> String {
    Uuid::new_v4().to_string()
}

async fn cluster(name: &str, database: &FreshDatabase) -> Cluster {
    Cluster::connect(config(name, database)).await.expect("a cluster")
}

/// The address of a database's server.
fn server_of(database: &FreshDatabase) -> String {
    config("any", database).hosts.remove(0)
}

fn config(name: &str, database: &FreshDatabase) -> ClusterConfig {
    let mut config = ClusterConfig::for_url(name, database.url()).expect("a database's URL");
    config.set_pool_max(4);
    // Many tests share one machine, and none of them is about a slow one.
    config.connect_timeout = PATIENCE;
    config.probe_timeout = PATIENCE;
    config.acquire_timeout = PATIENCE;
    config.write_wait = PATIENCE;
    config.read_wait = PATIENCE;
    config.statement_timeout = PATIENCE;
    config.lock_timeout = PATIENCE;
    config
}

fn web_args(instance: &str) -> WebArgs {
    WebArgs {
        position_key_file: SecretFile::from_value("a-position-key-of-the-tests"),
        internal_token_file: SecretFile::from_value(TOKEN),
        edge_port: 8081,
        edge_tls_port: 8444,
        edge_base_url: None,
        instance: Some(instance.to_owned()),
    }
}
