//! Whether the databases have the tables that this process was compiled for.
//!
//! A schema expands before the processes that need it come, and contracts after those that need the old one have gone.
//! So a process may meet a schema that is newer than itself, and works. One that meets an older schema can't work, and
//! says so, until the migrations have run.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::code_of;
use crate::{Cluster, DbError, Freshness};

/// The newest migration that a database has had, by sqlx's own record.
const VERSION: &str = "select coalesce(max(version), 0) from _sqlx_migrations where success";

/// Nobody could be asked yet.
const UNKNOWN: i64 = -1;

/// Time between two looks at a schema that suffices.
const INTERVAL: Duration = Duration::from_secs(30);

/// Time between two looks at one that is unknown, or too old.
const INTERVAL_IN_DOUBT: Duration = Duration::from_secs(1);

/// Compares schemas with what the process needs, in the background. Clones share it; the last one stops it.
#[derive(Clone)]
pub struct SchemaWatch {
    databases: Arc<[Database]>,
    _stop: Arc<DropGuard>,
}

struct Database {
    cluster: Cluster,
    needed: i64,
    found: AtomicI64,
}

impl SchemaWatch {
    /// Begins to look at each cluster for the version of the newest migration that the process knows of.
    pub fn start(databases: impl IntoIterator<Item = (Cluster, i64)>) -> Self {
        let databases: Arc<[Database]> = databases
            .into_iter()
            .map(|(cluster, needed)| Database {
                cluster,
                needed,
                found: AtomicI64::new(UNKNOWN),
            })
            .collect();
        let stop = CancellationToken::new();
        for index in 0..databases.len() {
            let (databases, stop) = (Arc::clone(&databases), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(databases[index].watch()).await });
        }
        Self {
            databases,
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// Why the process can't work: a schema is older than it needs. A schema that is not known is no reason, since that
    /// would take every process out when a database is down.
    pub fn outdated(&self) -> Option<String> {
        self.databases.iter().find_map(|database| {
            let found = database.found.load(Ordering::Relaxed);
            (found != UNKNOWN && found < database.needed).then(|| database.too_old(found))
        })
    }
}

impl Database {
    async fn watch(&self) {
        let labels = [("cluster", self.cluster.name().to_owned())];
        metrics::gauge!("db_schema_version_needed", &labels).set(self.needed as f64);
        loop {
            let pause = match version(&self.cluster).await {
                Ok(version) => {
                    metrics::gauge!("db_schema_version", &labels).set(version as f64);
                    if self.found.swap(version, Ordering::Relaxed) != version {
                        self.report(version);
                    }
                    if version < self.needed {
                        INTERVAL_IN_DOUBT
                    } else {
                        INTERVAL
                    }
                }
                Err(error) if error.is_unavailable() => INTERVAL_IN_DOUBT,
                Err(error) => {
                    tracing::warn!(
                        db.cluster = self.cluster.name(),
                        error = &error as &dyn std::error::Error,
                        "The version of a schema can't be read"
                    );
                    INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    fn report(&self, version: i64) {
        let cluster = self.cluster.name();
        if version < self.needed {
            tracing::error!(
                db.cluster = cluster,
                "{}: not ready until the migrations have run",
                self.too_old(version)
            );
        } else if version > self.needed {
            tracing::info!(
                db.cluster = cluster,
                "The schema of {cluster} is at version {version}, and newer than this process, which goes on at {}",
                self.needed
            );
        } else {
            tracing::info!(
                db.cluster = cluster,
                "The schema of {cluster} is at version {version}, as needed"
            );
        }
    }

    fn too_old(&self, found: i64) -> String {
        let (cluster, needed) = (self.cluster.name(), self.needed);
        format!("The schema of {cluster} is at version {found}, and this process needs {needed}")
    }
}

/// Read at the primary: a replica that is a moment late would say that migrations are missing.
async fn version(cluster: &Cluster) -> Result<i64, DbError> {
    let read = cluster.reading(Freshness::Primary, async |mut connection| {
        Ok(sqlx::query_scalar(VERSION).fetch_one(&mut *connection).await?)
    });
    match read.await {
        // No migration has ever run here.
        Err(DbError::Sqlx(error)) if code_of(&error).as_deref() == Some("42P01") => Ok(0),
        version => version,
    }
}
