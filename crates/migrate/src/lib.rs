//! Brings the schemas of all databases up to date.
//!
//! Migrations are plain SQL, in `migrations/`, and are compiled in. Each one runs once, in a transaction of its own, under a
//! lock that lets a second process wait. They expand first and contract in a later release, so that processes of both
//! versions work while the new one is rolled out, and after it was rolled back.

pub mod process;

use std::time::Duration;

use anyhow::Context as _;
use shop_db::{Cluster, ClusterConfig, DbError, Shards};
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::{Executor as _, PgConnection};
use tokio::time::{Instant, sleep};

/// Products, stock and photos.
pub static INVENTORY: Migrator = sqlx::migrate!("../../migrations/inventory");
/// Accounts and orders.
pub static USERS: Migrator = sqlx::migrate!("../../migrations/users");
/// The ledger of the payment gateway.
pub static PAYMENTS: Migrator = sqlx::migrate!("../../migrations/payments");

/// A migration waits this long for a table's lock. A longer wait would queue all customers behind it.
const LOCK_TIMEOUT: &str = "set lock_timeout = '2s'";
/// For the lock that keeps two processes apart, which is in no customer's way; the statement's time-out bounds it.
const NO_LOCK_TIMEOUT: &str = "set lock_timeout = 0";
/// A migration may work longer than a customer's statement may.
const STATEMENT_TIMEOUT: &str = "set statement_timeout = '10min'";
/// How often a migration is tried again that didn't get its locks in time, or lost its connection.
const TRIES_MAX: u32 = 20;
/// Pause between two tries, so that those who were in the way get on.
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// No customer waits for this, and a machine on which everything starts at once is slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Postgres's code for a lock that was not had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The version of the newest migration: what a process needs that was compiled with it.
pub fn newest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A database that is to be migrated.
pub struct Target {
    /// Where it is.
    pub config: ClusterConfig,
    /// What is to be done to it.
    pub migrations: &'static Migrator,
}

/// All databases that the environment names, with every cluster of the users.
///
/// Owners write only, and to the primary.
pub fn targets_from_env() -> Result<Vec<Target>, shop_db::ConfigError> {
    let mut targets = vec![Target {
        config: ClusterConfig::from_env("INVENTORY_DB")?,
        migrations: &INVENTORY,
    }];
    let (users, _slots) = Shards::configs_from_env("USERS_DB")?;
    targets.extend(users.into_iter().map(|config| Target {
        config,
        migrations: &USERS,
    }));
    targets.push(Target {
        config: ClusterConfig::from_env("PAYMENTS_DB")?,
        migrations: &PAYMENTS,
    });
    for target in &mut targets {
        target.config.expects_reads = false;
        target.config.connect_timeout = CONNECT_TIMEOUT;
        target.config.acquire_timeout = CONNECT_TIMEOUT;
    }
    Ok(targets)
}

/// Migrates one database, and returns the names of the migrations that were applied. Waits for its primary up to
/// `wait`.
pub async fn migrate(target: &Target, wait: Duration) -> anyhow::Result<Vec<String>> {
    let name = target.config.name.clone();
    let cluster = Cluster::connect(target.config.clone()).await?;
    let mut deadline = Instant::now() + wait;
    let mut tries = 0;
    let applied = loop {
        match migrate_once(&cluster, target.migrations).await {
            Ok(applied) => break applied,
            Err(Failure::NoConnection(error)) if error.is_unavailable() && Instant::now() < deadline => {
                let left = (deadline - Instant::now()).as_secs();
                tracing::info!(
                    db.cluster = name,
                    "Waiting for the primary of {name}: {error}; {left} s left"
                );
                sleep(TRY_PAUSE).await;
            }
            Err(Failure::Migration(error)) if is_lock_timeout(&error) && tries < TRIES_MAX => {
                tries += 1;
                tracing::info!(
                    db.cluster = name,
                    "A table of {name} is in use: try {tries} of {TRIES_MAX} failed"
                );
                sleep(TRY_PAUSE).await;
            }
            // The primary died or stepped down. Each migration is one transaction, which also says that it is done.
            Err(Failure::Migration(error)) if is_connection_lost(&error) && tries < TRIES_MAX => {
                tries += 1;
                tracing::info!(
                    db.cluster = name,
                    "The connection to {name} was lost: try {tries} of {TRIES_MAX} failed"
                );
                // There may be none for a while, however long the migration had taken until then.
                deadline = Instant::now() + wait;
                sleep(TRY_PAUSE).await;
            }
            Err(Failure::NoConnection(error)) => {
                return Err(error).context(format!("{name}: no primary"));
            }
            Err(Failure::Migration(error)) => {
                return Err(error).context(format!("{name}: a migration failed"));
            }
        }
    };
    cluster.close().await;
    Ok(applied)
}

enum Failure {
    NoConnection(DbError),
    Migration(MigrateError),
}

async fn migrate_once(cluster: &Cluster, migrations: &Migrator) -> Result<Vec<String>, Failure> {
    let mut connection = cluster.write().await.map_err(Failure::NoConnection)?;
    let failed = |error: sqlx::Error| Failure::Migration(MigrateError::Execute(error));
    connection.execute(STATEMENT_TIMEOUT).await.map_err(failed)?;
    // A second process waits for as long as the first one's migrations take. `run` takes this lock too, and has it at
    // once then.
    connection.execute(NO_LOCK_TIMEOUT).await.map_err(failed)?;
    connection.lock().await.map_err(Failure::Migration)?;
    let migrated = migrate_locked(&mut connection, migrations).await;
    // The lock belongs to the connection, and whoever comes next, this process or another, may have another one.
    let unlocked = connection.execute("select pg_advisory_unlock_all()").await;
    let applied = migrated.map_err(Failure::Migration)?;
    unlocked.map_err(failed)?;
    Ok(applied)
}

async fn migrate_locked(connection: &mut PgConnection, migrations: &Migrator) -> Result<Vec<String>, MigrateError> {
    connection.execute(LOCK_TIMEOUT).await?;
    let before = applied(connection).await?;
    known_only(migrations).run(&mut *connection).await?;
    let after = applied(connection).await?;
    Ok(after.into_iter().filter(|name| !before.contains(name)).collect())
}

/// The same migrations, content with a database that has had others: it is the one of a newer release.
fn known_only(migrations: &Migrator) -> Migrator {
    let mut known_only = Migrator::with_migrations(migrations.iter().cloned().collect());
    known_only.set_ignore_missing(true);
    known_only
}

/// The migrations that a database has had, as `0001 name`.
async fn applied(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let known: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "select lpad(version::text, 4, '0') || ' ' || description from _sqlx_migrations order by version",
    )
    .fetch_all(connection)
    .await
}

fn is_lock_timeout(error: &MigrateError) -> bool {
    let refusal = cause_of(error).and_then(sqlx::Error::as_database_error);
    refusal.is_some_and(|refusal| refusal.code().is_some_and(|code| code == LOCK_NOT_AVAILABLE))
}

fn is_connection_lost(error: &MigrateError) -> bool {
    cause_of(error).is_some_and(shop_db::is_connection_lost)
}

fn cause_of(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => Some(cause),
        _ => None,
    }
}
