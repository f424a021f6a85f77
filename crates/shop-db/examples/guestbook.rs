//! A guest book that survives a failover: connect, write, read your own write, and go on when a host dies.
//!
//!     export GUESTBOOK_DB_HOSTS=127.0.0.1:5432,127.0.0.1:5433,127.0.0.1:5434 GUESTBOOK_DB_NAME=guestbook
//!     export GUESTBOOK_DB_USER=rw GUESTBOOK_DB_PASSWORD_FILE=rw.txt
//!     export GUESTBOOK_DB_READ_USER=ro GUESTBOOK_DB_READ_PASSWORD_FILE=ro.txt
//!     cargo run --package shop-db --example guestbook
//!
//! Kill the primary while it runs: a line says who is primary next and how long the writer waited. Ctrl-C ends it, and it
//! counts what it wrote. One host is enough to try it out.

use std::time::{Duration, Instant};

use shop_db::{Cluster, ClusterConfig, DbError, Freshness, Position};

/// After a failure, so that a cluster without a primary isn't asked all the time.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const ENTRY_PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::connect(ClusterConfig::from_env("GUESTBOOK_DB")?).await?;
    cluster.writing(create_table).await?;

    let mut written = 0_i64;
    let mut primary = String::new();
    let first = first_free_number(&cluster).await?;
    let writing = async {
        for number in first.. {
            let started = Instant::now();
            let (host, position) = sign_until_done(&cluster, number).await?;
            if host != primary {
                println!("{host} is primary; entry {number} waited {:?}", started.elapsed());
                primary = host;
            }
            written += 1;
            let (reader, found) = read_own_write(&cluster, number, position).await?;
            assert!(found, "{reader} has seen the position and not the entry");
            tokio::time::sleep(ENTRY_PAUSE).await;
        }
        Ok::<(), DbError>(())
    };
    tokio::select! {
        ended = writing => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let kept = first_free_number(&cluster).await? - first;
    println!("{written} entries were acknowledged, and {kept} are there");
    Ok(())
}

async fn create_table(mut connection: shop_db::WriteConn) -> Result<(), DbError> {
    sqlx::query("create table if not exists guests (number bigint primary key, name text not null)")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

async fn first_free_number(cluster: &Cluster) -> Result<i64, DbError> {
    let last = cluster.reading(Freshness::Primary, async |mut connection| {
        let last = sqlx::query_scalar("select coalesce(max(number), 0) from guests");
        Ok(last.fetch_one(&mut *connection).await?)
    });
    let last: i64 = last.await?;
    Ok(last + 1)
}

/// Writes one entry. After a failure nobody knows whether it was written, and the key makes a repeat harmless.
async fn sign_until_done(cluster: &Cluster, number: i64) -> Result<(String, Position), DbError> {
    loop {
        let signed = cluster.writing(async |mut connection| {
            sqlx::query("insert into guests (number, name) values ($1, 'somebody') on conflict do nothing")
                .bind(number)
                .execute(&mut *connection)
                .await?;
            let position = connection.position().await?;
            Ok((connection.host().to_owned(), position))
        });
        match signed.await {
            Err(error) if error.is_unavailable() => {
                println!("entry {number}: {error}; trying again");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            signed => return signed,
        }
    }
}

/// Reads from whoever has seen `position`: a replica, most of the time. If it dies meanwhile, another one is asked.
async fn read_own_write(cluster: &Cluster, number: i64, position: Position) -> Result<(String, bool), DbError> {
    let read = cluster.reading(Freshness::After(position), async |mut connection| {
        let found = sqlx::query_scalar("select exists (select from guests where number = $1)")
            .bind(number)
            .fetch_one(&mut *connection)
            .await?;
        Ok((connection.host().to_owned(), found))
    });
    read.await
}
