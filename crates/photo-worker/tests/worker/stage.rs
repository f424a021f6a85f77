//! What a worker works between.

use std::thread::JoinHandle;
use std::time::Duration;

use inventory::state::AppState;
use photo_worker::worker::Worker;
use shop_cache::{Cache, CacheArgs};
use shop_db::{Cluster, ClusterConfig};
use shop_objects::{ObjectArgs, Objects};
use shop_queue::messages::{PhotoEdits, PhotoProcess};
use shop_queue::{Queue, QueueArgs, QueueOptions};
use shop_session::{SessionArgs, Sessions};
use shop_telemetry::startup::SecretFile;
use shop_testkit::{TestServer, unique, wait_until};
use shop_web::consistency::Consistency;
use shop_web::internal::InternalClient;
use shop_web::{WebArgs, WebState};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "a-token-of-the-tests";
/// Long enough for a busy machine; what is waited for usually comes at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Inventory, a queue and a folder of objects.
pub(crate) struct Stage {
    pub(crate) app: AppState,
    pub(crate) pool: PgPool,
    pub(crate) objects: Objects,
    server: Option<TestServer>,
    prefix: String,
    folder: TempDir,
}

/// A worker that runs, on a thread and a runtime of its own, as it would in another process.
pub(crate) struct Running {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Running {
    /// Drains it.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let joined = tokio::task::spawn_blocking(|| self.thread.join());
        let drained = joined.await.expect("a thread to wait on");
        drained.expect("a worker that drains");
    }
}

impl Stage {
    /// Sets everything up but the workers.
    pub(crate) async fn set(pool: PgPool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = unique("worker");
        let sessions = Sessions::connect(SessionArgs::single_node(shop_testkit::sentinel(), format!("{prefix}:")));
        let web = WebArgs {
            position_key_file: SecretFile::from_value("a-position-key-of-the-tests"),
            internal_token_file: SecretFile::from_value(TOKEN),
            edge_port: 8081,
            edge_tls_port: 8444,
            edge_base_url: None,
            instance: Some("inventory-1".to_owned()),
        };
        let cache = shop_testkit::cache_url().replace("redis://", "");
        let objects = Objects::connect(&ObjectArgs::in_folder(folder.path())).expect("a folder");
        let database = ClusterConfig::for_url("inventory", &url_of(&pool)).expect("a database");
        let app = AppState::new(
            Cluster::connect(database).await.expect("a cluster"),
            Cache::connect(&CacheArgs::at(cache, format!("{prefix}:"))),
            queue(&prefix).await,
            objects.clone(),
            WebState::new("inventory", &web, sessions.await.expect("sessions")).await,
        );
        let running = app.clone();
        let server = TestServer::run(async move |listener| {
            inventory::run(running, listener, CancellationToken::new()).await;
        })
        .await;
        Self {
            app,
            pool,
            objects,
            server: Some(server),
            prefix,
            folder,
        }
    }

    /// Starts a worker, which finds inventory on the given address or where it really is.
    pub(crate) fn worker(&self, inventory: Option<&str>) -> Running {
        let stop = CancellationToken::new();
        let url = inventory.map_or_else(|| self.url(), ToOwned::to_owned);
        let (shutdown, objects, prefix) = (stop.clone(), self.objects.clone(), self.prefix.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let client = InternalClient::new(&url, TOKEN).expect("a client");
                let worker = Worker::new(objects, client, 1, shutdown);
                worker.run(&queue(&prefix).await, 1).await;
            });
        });
        Running { stop, thread }
    }

    /// Where inventory listens.
    pub(crate) fn url(&self) -> String {
        let server = self.server.as_ref().expect("a running inventory");
        format!("http://{}", server.addr())
    }

    /// Uploads an original, whatever it is, past the checks of the public API.
    pub(crate) async fn upload(&self, file: Vec<u8>) -> i64 {
        let (id,): (i64,) = sqlx::query_as(
            "
            insert into photos (owner_id, purpose, content_type, bytes, width, height, state)
            values (1, 'product', 'image/png', 1, 100, 100, 'accepted') returning id
            ",
        )
        .fetch_one(&self.pool)
        .await
        .expect("a photo");
        sqlx::query("insert into photo_versions (photo_id, version) values ($1, 1)")
            .bind(id)
            .execute(&self.pool)
            .await
            .expect("a version");
        let key = format!("originals/{id}");
        let stored = self.objects.put(&key, file.into(), "image/png").await;
        stored.expect("an original");
        id
    }

    /// Asks for a new version, as the shopkeeper does, which also publishes the message.
    pub(crate) async fn edit(&self, id: i64, edits: PhotoEdits) -> i32 {
        inventory::uploads::edit(&self.app, &Consistency::detached(), id, edits)
            .await
            .expect("a version")
    }

    /// Publishes the message of a photo's first version.
    pub(crate) async fn publish(&self, id: i64) {
        let message = PhotoProcess {
            photo_id: id,
            version: 1,
            original_key: format!("originals/{id}"),
            edits: PhotoEdits::default(),
        };
        // As the outbox does: until the broker, whose bindings may be seconds old, has confirmed it.
        let id = uuid::Uuid::now_v7();
        wait_until("the broker has the message", PATIENCE, async || {
            self.app.queue.publish(id, &message).await.is_ok()
        })
        .await;
    }

    /// Waits until a version of a photo has a status.
    pub(crate) async fn wait_for(&self, id: i64, version: i32, status: &str) {
        wait_until(&format!("version {version} is {status}"), PATIENCE, async || {
            self.status(id, version).await == status
        })
        .await;
    }

    /// The status of a version of a photo.
    pub(crate) async fn status(&self, id: i64, version: i32) -> String {
        let (status,): (String,) =
            sqlx::query_as("select status from photo_versions where photo_id = $1 and version = $2")
                .bind(id)
                .bind(version)
                .fetch_one(&self.pool)
                .await
                .expect("a version");
        status
    }

    /// The folder in which the object store keeps its objects.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Takes down what would outlive the test.
    pub(crate) async fn strike(self) {
        self.app
            .queue
            .delete_topology()
            .await
            .expect("queues that can be removed");
    }
}

/// A PNG with a gradient.
pub(crate) fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 90])
    });
    image::DynamicImage::ImageRgb8(picture)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("an in-memory picture encodes");
    bytes.into_inner()
}

async fn queue(prefix: &str) -> Queue {
    let args = QueueArgs::for_url(&shop_testkit::amqp_url()).expect("the broker's URL");
    let options = QueueOptions {
        prefix: format!("{prefix}."),
    };
    Queue::connect(args, options).await
}

fn url_of(pool: &PgPool) -> String {
    let server = shop_testkit::database_url();
    let (base, _) = server.rsplit_once('/').expect("a database's URL");
    let options = pool.connect_options();
    let name = options.get_database().expect("the test's database");
    format!("{base}/{name}")
}
