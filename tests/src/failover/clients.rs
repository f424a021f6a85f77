//! Who writes and reads while things die.
//!
//! Writers send a row again, under the same number, until it is acknowledged, as the shop does with its keys. The repeat
//! changes the row instead of leaving it as it is: a statement that changes nothing would be acknowledged at once, also
//! where the row itself is not on a second machine yet.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use shop_db::{Cluster, ClusterConfig, DbError, Freshness, HostStatus, Role, WriteConn};
use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    failover::{
        ledger::{Ack, Ledger, Verdict, Way},
        tier::{Node, POSTGRES, Tier},
    },
    poll_until,
};

const WRITERS: usize = 4;
const READERS: usize = 2;
const WRITE_PAUSE: Duration = Duration::from_millis(20);
const READ_PAUSE: Duration = Duration::from_millis(10);
const DIRECT_PAUSE: Duration = Duration::from_millis(100);

/// How long a caller of `shop-db` waits for the answer to a statement: it is a host that froze.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(1);

/// A read that is not answered by then has failed, whatever comes later.
const READ_DEADLINE: Duration = Duration::from_secs(20);

/// One that waits for the answer of a host until it wakes again, and one that soon tries a new connection: the first
/// finds out whether what was under way is kept, the second whether anything new is taken.
const DIRECT_PATIENCE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(1)];

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

const KNOWN_DEADLINE: Duration = Duration::from_secs(60);

const INSERT: &str = "insert into failover_writes (run, number) values ($1, $2)
    on conflict (run, number) do update set attempts = failover_writes.attempts + 1";

/// The timeline of a primary; zero of a replica.
const OWN_TIMELINE: &str = "select case when pg_is_in_recovery() then 0
    else ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int end";

/// The clients of one run.
pub struct Clients {
    pub cluster: Cluster,
    pub ledger: Arc<Ledger>,
    login: Login,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What the clients log in with.
#[derive(Clone)]
pub struct Login {
    tier: Tier,
    password: String,
    read_password: String,
}

impl Login {
    /// Makes the table that the clients write to, and looks their passwords up.
    pub async fn prepare(tier: &Tier) -> Result<Self> {
        let primary = tier.primary().await.context("there is no primary")?;
        let table = "set role inventory_owner; create table if not exists failover_writes
            (run text, number bigint, attempts int not null default 1, primary key (run, number))";
        tier.psql(primary, "inventory", table).await?;
        Ok(Self {
            tier: tier.clone(),
            password: tier.secret("inventory_rw_password").await?,
            read_password: tier.secret("inventory_ro_password").await?,
        })
    }

    /// A cluster as the services have it, but with time to log in: tests are unoptimised, and machines are busy.
    pub fn patient_cluster_config(&self) -> Result<ClusterConfig> {
        let mut config = self.cluster_config()?;
        config.connect_timeout = CONNECT_DEADLINE;
        config.acquire_timeout = CONNECT_DEADLINE * 2;
        config.read_wait = READ_DEADLINE / 2;
        Ok(config)
    }

    /// A cluster as the services have it.
    pub fn cluster_config(&self) -> Result<ClusterConfig> {
        let mut config = ClusterConfig::for_url("failover", "postgres://inventory_rw@primary:5432/inventory")?;
        config.hosts = POSTGRES
            .iter()
            .map(|node| format!("{}:5432", self.tier.address(*node)))
            .collect();
        config.password = self.password.clone().into();
        config.read_user = "inventory_ro".to_owned();
        config.read_password = self.read_password.clone().into();
        config.set_pool_max(10);
        Ok(config)
    }

    /// A connection to one host, as the writer.
    pub async fn connect(&self, node: Node) -> Result<PgConnection> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.tier.address(node))
            .port(5432)
            .username("inventory_rw")
            .password(&self.password)
            .database("inventory")
            .application_name("direct")
            .ssl_mode(PgSslMode::Disable);
        Ok(timeout(CONNECT_DEADLINE, PgConnection::connect_with(&options)).await??)
    }
}

impl Clients {
    /// Starts writers, readers, and the writers that go to one host each.
    pub async fn start(tier: &Tier, login: Login, config: ClusterConfig) -> Result<Self> {
        let cluster = Cluster::connect(config).await?;
        wait_until_known(&cluster).await?;
        let ledger = Arc::new(Ledger::new(uuid::Uuid::new_v4().simple().to_string()));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let client = Client {
            tier: tier.clone(),
            cluster: cluster.clone(),
            ledger: Arc::clone(&ledger),
            stop: stop.clone(),
        };
        for _ in 0..WRITERS {
            let client = client.clone();
            tasks.spawn(async move { client.write_until_stopped().await });
        }
        for _ in 0..READERS {
            let client = client.clone();
            tasks.spawn(async move { client.read_until_stopped().await });
        }
        tasks.spawn({
            let client = client.clone();
            async move { client.read_own_writes_until_stopped().await }
        });
        for node in POSTGRES {
            for patience in DIRECT_PATIENCE {
                let (client, login) = (client.clone(), login.clone());
                tasks.spawn(async move { client.write_directly_until_stopped(&login, node, patience).await });
            }
        }
        Ok(Self {
            cluster,
            ledger,
            login,
            stop,
            tasks,
        })
    }

    /// Whether `shop-db` takes `node` for a replica that follows the newest timeline.
    pub fn is_replica(&self, node: Node) -> bool {
        let status = self.cluster.status();
        let newest = status
            .iter()
            .filter_map(|host| host.position)
            .map(|position| position.timeline)
            .max();
        status.iter().any(|host| {
            self.login.tier.node_at(&host.host) == Some(node)
                && host.up
                && host.role == Some(Role::Replica)
                && host.position.map(|position| position.timeline) == newest
        })
    }

    /// Ends all clients and compares what they were told with what the primary holds.
    pub async fn stop(mut self, since: Instant) -> Result<Verdict> {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(READ_DEADLINE * 2, ended)
            .await
            .context("a client does not end")?;
        let present = self.rows_on_primary().await?;
        self.cluster.close().await;
        Ok(self.ledger.judge(&present, since))
    }

    async fn rows_on_primary(&self) -> Result<HashSet<i64>> {
        let primary = self
            .login
            .tier
            .primary()
            .await
            .context("there is no primary to look at")?;
        let mut connection = self.login.connect(primary).await?;
        let rows = sqlx::query_scalar("select number from failover_writes where run = $1")
            .bind(&self.ledger.run)
            .fetch_all(&mut connection);
        Ok(timeout(Duration::from_secs(30), rows).await??.into_iter().collect())
    }
}

/// Waits until `shop-db` has heard from all hosts of a cluster: what fails before that is not due to any fault.
pub async fn wait_until_known(cluster: &Cluster) -> Result<()> {
    poll_until("shop-db knows all hosts", KNOWN_DEADLINE, READ_PAUSE, || {
        let status = cluster.status();
        let known = status.iter().all(|host| host.up && host.position.is_some());
        let seen = status.iter().map(in_brief).collect::<Vec<_>>().join(", ");
        std::future::ready(if known { Ok(()) } else { Err(seen) })
    })
    .await
}

#[derive(Clone)]
struct Client {
    tier: Tier,
    cluster: Cluster,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
}

impl Client {
    async fn write_until_stopped(&self) {
        while !self.stop.is_cancelled() {
            let number = self.ledger.next_number();
            // What is never acknowledged owes nobody anything, so stopping midway is fine.
            self.stop
                .run_until_cancelled(self.write_until_acknowledged(number))
                .await;
            self.pause(WRITE_PAUSE).await;
        }
    }

    async fn write_until_acknowledged(&self, number: i64) {
        loop {
            match self.try_to_write(number).await {
                Ok(()) => return,
                Err(refusal) => self.ledger.note_refusal(refusal),
            }
            self.pause(WRITE_PAUSE).await;
        }
    }

    async fn try_to_write(&self, number: i64) -> Result<(), String> {
        let mut connection = self.cluster.write().await.map_err(|error| in_words(&error))?;
        let node = self.tier.node_at(connection.host()).ok_or("a host that nobody knows")?;
        let sent = Instant::now();
        let insert = sqlx::query(INSERT)
            .bind(&self.ledger.run)
            .bind(number)
            .execute(&mut *connection);
        match timeout(STATEMENT_DEADLINE, insert).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(in_words(&DbError::from(error))),
            Err(_elapsed) => return Err("no answer".to_owned()),
        }
        let acked = Instant::now();
        let position = position(&mut connection).await;
        let timeline = position.map(|position| position.timeline);
        self.ledger.note_ack(Ack {
            number,
            way: Way::Shop,
            node,
            timeline,
            position,
            sent,
            acked,
        });
        Ok(())
    }

    async fn read_until_stopped(&self) {
        while !self.stop.is_cancelled() {
            let read = self.cluster.reading(Freshness::Any, async |mut connection| {
                let host = connection.host().to_owned();
                let newest =
                    sqlx::query_scalar::<_, Option<i64>>("select max(number) from failover_writes where run = $1");
                newest.bind(&self.ledger.run).fetch_one(&mut *connection).await?;
                Ok(host)
            });
            match timeout(READ_DEADLINE, read).await {
                Ok(Ok(host)) => {
                    if let Some(node) = self.tier.node_at(&host) {
                        self.ledger.note_read(node);
                    }
                }
                Ok(Err(error)) => self.note_failed_read(&in_words(&error)),
                Err(_elapsed) => self.note_failed_read("no answer"),
            }
            self.pause(READ_PAUSE).await;
        }
    }

    /// A customer who looks at what was just written.
    async fn read_own_writes_until_stopped(&self) {
        while !self.stop.is_cancelled() {
            if let Some((number, position)) = self.ledger.last_position() {
                let read = self
                    .cluster
                    .reading(Freshness::After(position), async |mut connection| {
                        let host = connection.host().to_owned();
                        let found = "select exists (select from failover_writes where run = $1 and number = $2)";
                        let found = sqlx::query_scalar::<_, bool>(found).bind(&self.ledger.run).bind(number);
                        Ok((host, found.fetch_one(&mut *connection).await?))
                    });
                match timeout(READ_DEADLINE, read).await {
                    Ok(Ok((_, true))) => {}
                    Ok(Ok((host, false))) => {
                        self.ledger
                            .note_stale_read(format!("{host} does not show write {number} of {position}"));
                    }
                    // Who is left may not have seen a position that covers others' unfinished work as well.
                    Ok(Err(DbError::NoReader { .. })) => self.ledger.note_late_read(),
                    Ok(Err(error)) => self.note_failed_read(&in_words(&error)),
                    Err(_elapsed) => self.note_failed_read("no answer"),
                }
            }
            self.pause(READ_PAUSE * 5).await;
        }
    }

    async fn write_directly_until_stopped(&self, login: &Login, node: Node, patience: Duration) {
        while !self.stop.is_cancelled() {
            let writing = async {
                let Ok(mut connection) = login.connect(node).await else {
                    return;
                };
                while self.write_directly(&mut connection, node, patience).await.is_some() {
                    self.pause(DIRECT_PAUSE).await;
                }
            };
            self.stop.run_until_cancelled(writing).await;
            self.pause(DIRECT_PAUSE).await;
        }
    }

    /// Writes if the host says that it may. None if the connection is of no use any more.
    async fn write_directly(&self, connection: &mut PgConnection, node: Node, patience: Duration) -> Option<()> {
        let timeline = sqlx::query_scalar::<_, i32>(OWN_TIMELINE).fetch_one(&mut *connection);
        let timeline = u32::try_from(timeout(patience, timeline).await.ok()?.ok()?).ok()?;
        if timeline == 0 {
            return Some(());
        }
        let (number, sent) = (self.ledger.next_number(), Instant::now());
        let insert = sqlx::query(INSERT)
            .bind(&self.ledger.run)
            .bind(number)
            .execute(&mut *connection);
        timeout(patience, insert).await.ok()?.ok()?;
        let (acked, timeline) = (Instant::now(), Some(timeline));
        self.ledger.note_ack(Ack {
            number,
            way: Way::Direct,
            node,
            timeline,
            position: None,
            sent,
            acked,
        });
        Some(())
    }

    fn note_failed_read(&self, seen: &str) {
        let hosts: Vec<String> = self.cluster.status().iter().map(in_brief).collect();
        self.ledger.note_failed_read(format!("{seen} ({})", hosts.join(", ")));
    }

    async fn pause(&self, duration: Duration) {
        self.stop.run_until_cancelled(tokio::time::sleep(duration)).await;
    }
}

async fn position(connection: &mut WriteConn) -> Option<shop_db::Position> {
    timeout(STATEMENT_DEADLINE, connection.position()).await.ok()?.ok()
}

/// What is known of a host.
fn in_brief(host: &HostStatus) -> String {
    let role = match host.role {
        _ if !host.up => "down",
        Some(role) => role.as_str(),
        None => "unknown",
    };
    let position = host.position.map_or("?".to_owned(), |position| position.to_string());
    let lag = host
        .lag
        .map_or(String::new(), |lag| format!(" {:.1} s behind", lag.as_secs_f64()));
    format!("{} {role} at {position}{lag}", host.host)
}

/// An error without what differs from one time to the next, so that the same ones can be counted.
fn in_words(error: &DbError) -> String {
    match error {
        DbError::NoPrimary { .. } => "no primary".to_owned(),
        DbError::NoReader { .. } => "no reader".to_owned(),
        DbError::Sqlx(sqlx::Error::Database(error)) => error.to_string(),
        DbError::Sqlx(sqlx::Error::Io(error)) => error.kind().to_string(),
        other => format!("{other:?}"),
    }
}
