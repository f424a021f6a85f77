//! A database for one test, beyond what `#[sqlx::test]` gives: several of them, or one that a whole service runs on.

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::testbed::{database_url, unique};

/// A database that is removed when this is dropped.
pub struct FreshDatabase {
    name: String,
    url: String,
}

impl FreshDatabase {
    /// A database without tables.
    pub async fn empty() -> Self {
        let server = database_url();
        let name = unique("test");
        let mut admin = PgConnection::connect(&server)
            .await
            .unwrap_or_else(|error| {
                panic!("no database at DATABASE_URL ({error}): is the testbed up?")
            });
        // The name is made of letters and digits here.
        admin
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await
            .expect("a new database");
        let (base, _) = server
            .rsplit_once('/')
            .expect("DATABASE_URL ends in a database's name");
        Self {
            url: format!("{base}/{name}"),
            name,
        }
    }

    /// A database with the tables that `migrations` makes.
    pub async fn migrated(migrations: &Migrator) -> Self {
        let database = Self::empty().await;
        let mut connection = database.connect().await;
        migrations
            .run(&mut connection)
            .await
            .expect("the migrations run");
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

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let server = database_url();
        let statement = format!("drop database if exists {} with (force)", self.name);
        // Dropping can't wait in the test's runtime, which may be gone already.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                admin.execute(AssertSqlSafe(statement)).await?;
                anyhow::Ok(())
            })
        });
        if !matches!(removal.join(), Ok(Ok(()))) {
            eprintln!("the database {} was left behind", self.name);
        }
    }
}
