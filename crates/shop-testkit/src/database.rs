//! A database for one test, beyond what `#[sqlx::test]` gives: several of them, or one that a whole service runs on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

use crate::testbed::{database_url, unique};

/// A database this old was left behind by a test that is over.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Removing what others left behind takes no longer; the next test goes on with it.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a test waits for its database to be gone.
const REMOVAL_WAIT: Duration = Duration::from_secs(1);

/// A database that is removed after this is dropped, at the latest by a later run.
pub struct FreshDatabase {
    name: String,
    url: String,
}

impl FreshDatabase {
    /// A database without tables.
    pub async fn empty() -> Self {
        let server = database_url();
        let name = unique(&format!("{PREFIX}{}", now_unix()));
        let mut admin = PgConnection::connect(&server)
            .await
            .unwrap_or_else(|error| panic!("no database at DATABASE_URL ({error}): is the testbed up?"));
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        SWEPT
            .get_or_init(|| async {
                if let Ok(Err(error)) = tokio::time::timeout(SWEEP_TIMEOUT, sweep()).await {
                    eprintln!("databases of earlier tests could not be removed: {error}");
                }
            })
            .await;
        // The name is made of letters and digits here.
        admin
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await
            .expect("a new database");
        let (base, _) = server.rsplit_once('/').expect("DATABASE_URL ends in a database's name");
        Self {
            url: format!("{base}/{name}"),
            name,
        }
    }

    /// A database with the tables that `migrations` makes.
    pub async fn migrated(migrations: &Migrator) -> Self {
        let database = Self::empty().await;
        let mut connection = database.connect().await;
        migrations.run(&mut connection).await.expect("the migrations run");
        database
    }

    /// Its URL, with the login of a superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of the test's own, to look behind the service's back.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url)
            .await
            .expect("a connection to the test's database")
    }
}

/// What the names of these databases begin with; the time of their making follows.
const PREFIX: &str = "test_at_";

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let name = self.name.clone();
        let (sender, removed) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(remove(&name))?;
            let _ = sender.send(());
            anyhow::Ok(())
        });
        // Waiting longer might be in vain: the server removes no database while somebody is in the middle of logging in,
        // and this test's connections can't go on while its runtime is held up here.
        let _ = removed.recv_timeout(REMOVAL_WAIT);
    }
}

async fn remove(name: &str) -> sqlx::Result<()> {
    let mut admin = PgConnection::connect(&database_url()).await?;
    let statement = format!("drop database if exists {name} with (force)");
    admin.execute(AssertSqlSafe(statement)).await?;
    admin.close().await
}

/// Removes what earlier runs have left behind.
async fn sweep() -> sqlx::Result<()> {
    let mut admin = PgConnection::connect(&database_url()).await?;
    let names: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)")
        .bind(PREFIX)
        .fetch_all(&mut admin)
        .await?;
    for name in names {
        let made_unix = name[PREFIX.len()..]
            .split('_')
            .next()
            .and_then(|unix| unix.parse::<u64>().ok());
        if made_unix.is_some_and(|made_unix| made_unix + AGE_MAX.as_secs() < now_unix()) {
            remove(&name).await?;
        }
    }
    Ok(())
}

fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
