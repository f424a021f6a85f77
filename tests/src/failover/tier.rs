//! The containers, and what can be done to them.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, try_join_all};

use crate::{failover::patroni, poll_until, stack::docker};

/// A member of the data tier. Its address is fixed: the subnet and a last part of its own.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// The name of the compose service.
    pub name: &'static str,
    last_octet: u8,
}

/// The Postgres hosts, each under a Patroni.
pub const POSTGRES: [Node; 3] = [
    Node {
        name: "postgres-1",
        last_octet: 21,
    },
    Node {
        name: "postgres-2",
        last_octet: 22,
    },
    Node {
        name: "postgres-3",
        last_octet: 23,
    },
];

/// The etcd nodes, which hold Patroni's keys.
pub const ETCD: [Node; 3] = [
    Node {
        name: "etcd-1",
        last_octet: 11,
    },
    Node {
        name: "etcd-2",
        last_octet: 12,
    },
    Node {
        name: "etcd-3",
        last_octet: 13,
    },
];

/// After a fault the cluster is whole again in seconds; a new copy of the data takes longest.
const WHOLE_DEADLINE: Duration = Duration::from_secs(150);

const STARTUP_PROCESS: &str = "^postgres: .*startup";
const RECEIVER_PROCESS: &str = "^postgres: .*walreceiver";

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A running data tier that may be broken.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Compose project; nothing outside it is ever touched.
    pub project: String,
    /// The first two parts of its addresses.
    subnet: String,
    pub(super) http: reqwest::Client,
}

impl Tier {
    /// Reads where the tier is; fails with the name of the variable that is missing.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .with_context(|| format!("{name} is not set: eval \"$(scripts/failover-stack env)\""))
        };
        let subnet = variable("FAILOVER_SUBNET")?;
        ensure!(
            subnet.split('.').count() == 2 && subnet.split('.').all(|part| part.parse::<u8>().is_ok()),
            "FAILOVER_SUBNET={subnet} is not the first two numbers of an address"
        );
        Ok(Self {
            project: variable("FAILOVER_PROJECT")?,
            subnet,
            http: reqwest::Client::builder()
                .connect_timeout(Duration::from_millis(500))
                .timeout(Duration::from_secs(1))
                // A connection to a host that was killed or cut off would only be found dead by the next question.
                .pool_max_idle_per_host(0)
                .build()?,
        })
    }

    /// The container that runs `node`.
    pub fn container(&self, node: Node) -> String {
        format!("{}-{node}", self.project)
    }

    /// The address of `node`.
    pub fn address(&self, node: Node) -> String {
        format!("{}.1.{}", self.subnet, node.last_octet)
    }

    /// The Postgres host that `shop-db` calls by this address.
    pub fn node_at(&self, host: &str) -> Option<Node> {
        let address = host.split(':').next()?;
        POSTGRES.into_iter().find(|node| self.address(*node) == address)
    }

    /// SIGKILL. The container stays dead until it is started.
    pub async fn kill(&self, node: Node) -> Result<()> {
        docker(&["kill", &self.container(node)]).await.map(drop)
    }

    /// SIGTERM, and the time to end in order.
    pub async fn stop(&self, node: Node) -> Result<()> {
        docker(&["stop", &self.container(node)]).await.map(drop)
    }

    pub async fn start(&self, node: Node) -> Result<()> {
        docker(&["start", &self.container(node)]).await.map(drop)
    }

    /// Stops all processes of the container, which keep their connections and answer nothing.
    pub async fn freeze(&self, node: Node) -> Result<()> {
        docker(&["pause", &self.container(node)]).await.map(drop)
    }

    pub async fn wake(&self, node: Node) -> Result<()> {
        docker(&["unpause", &self.container(node)]).await.map(drop)
    }

    /// Pulls the plug of its network.
    pub async fn cut(&self, node: Node) -> Result<()> {
        docker(&["network", "disconnect", &self.network(), &self.container(node)])
            .await
            .map(drop)
    }

    /// Puts the plug back in, at the same address.
    pub async fn reconnect(&self, node: Node) -> Result<()> {
        let (network, container, address) = (self.network(), self.container(node), self.address(node));
        let names = ["--alias", node.name, "--alias", &container];
        let command = [
            "network", "connect", names[0], names[1], names[2], names[3], "--ip", &address, &network, &container,
        ];
        docker(&command).await.map(drop)
    }

    /// Lets nothing that `node` sends arrive at `others`, while it reaches everybody else: no connection between them
    /// gets an answer any more.
    pub async fn cut_off_from(&self, node: Node, others: &[Node]) -> Result<()> {
        try_join_all(others.iter().map(async |other| {
            let route = format!("{}/32", self.address(*other));
            self.as_root(node, &["ip", "route", "add", "blackhole", &route]).await
        }))
        .await
        .map(drop)
    }

    /// Takes back [`Tier::cut_off_from`].
    pub async fn let_through(&self, node: Node) -> Result<()> {
        self.as_root(node, &["ip", "route", "flush", "type", "blackhole"])
            .await
            .map(drop)
    }

    /// Kills the watcher process in the container of `node`. Says whether there was one.
    pub async fn kill_watcher(&self, node: Node) -> Result<bool> {
        self.signal(node, "KILL", "^[^ ]*warden watch").await
    }

    /// Stops the process that replays the log, while the one that receives it goes on. (Patroni soon ends a pause that
    /// Postgres was asked for.)
    pub async fn stop_replay(&self, node: Node) -> Result<()> {
        ensure!(
            self.signal(node, "STOP", STARTUP_PROCESS).await?,
            "{node} replays nothing"
        );
        Ok(())
    }

    /// Takes back [`Tier::stop_replay`].
    pub async fn go_on_replaying(&self, node: Node) -> Result<()> {
        self.signal(node, "CONT", STARTUP_PROCESS).await.map(drop)
    }

    /// Stops the process that receives the log. Its connection stays until the other end misses its answers.
    pub async fn stop_receiving(&self, node: Node) -> Result<()> {
        ensure!(
            self.signal(node, "STOP", RECEIVER_PROCESS).await?,
            "{node} receives nothing"
        );
        Ok(())
    }

    /// Takes back [`Tier::stop_receiving`].
    pub async fn go_on_receiving(&self, node: Node) -> Result<()> {
        self.signal(node, "CONT", RECEIVER_PROCESS).await.map(drop)
    }

    /// Sends a signal to the processes whose command lines match. Says whether there were any. (The images have no `pkill`.)
    pub(super) async fn signal(&self, node: Node, signal: &str, pattern: &str) -> Result<bool> {
        let script = r#"
            for process in /proc/[0-9]*; do
                if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "$2"; then
                    kill "-$1" "${process#/proc/}" && echo sent
                fi
            done"#;
        let command = ["sh", "-c", script, "signal", signal, pattern];
        Ok(self.as_root(node, &command).await?.contains("sent"))
    }

    /// Runs a command in the container as root, who has the container's few capabilities.
    pub async fn as_root(&self, node: Node, command: &[&str]) -> Result<String> {
        self.exec(node, "0", command).await
    }

    /// Runs a command in a container of Postgres as the user who owns the server and its files.
    pub async fn as_postgres(&self, node: Node, command: &[&str]) -> Result<String> {
        self.exec(node, "postgres", command).await
    }

    async fn exec(&self, node: Node, user: &str, command: &[&str]) -> Result<String> {
        let container = self.container(node);
        let mut arguments = vec!["exec", "--user", user, &container];
        arguments.extend(command);
        docker(&arguments).await
    }

    /// Runs SQL as superuser on one host, over its local socket.
    pub async fn psql(&self, node: Node, database: &str, sql: &str) -> Result<String> {
        let command = [
            "superuser-psql",
            "-d",
            database,
            "-At",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ];
        Ok(self.as_root(node, &command).await?.trim().to_owned())
    }

    /// One of the passwords that the stack made for itself.
    pub async fn secret(&self, name: &str) -> Result<String> {
        let file = format!("/run/secrets/zillion/{name}");
        for node in POSTGRES {
            if let Ok(secret) = self.as_postgres(node, &["cat", &file]).await {
                return Ok(secret.trim().to_owned());
            }
        }
        bail!(
            "no Postgres container of {} gives {name}: is the stack up?",
            self.project
        )
    }

    /// Undoes every fault, and waits until the cluster is whole.
    pub async fn heal(&self) -> Result<()> {
        let nodes = ETCD.into_iter().chain(POSTGRES);
        for outcome in join_all(nodes.map(|node| self.revive(node))).await {
            outcome?;
        }
        self.end_pause().await?;
        self.put_clocks_right().await?;
        self.wait_until_whole().await
    }

    async fn revive(&self, node: Node) -> Result<()> {
        let container = self.container(node);
        let format = "{{.State.Status}} {{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
        let seen = docker(&["inspect", "--format", format, &container]).await?;
        let mut words = seen.split_whitespace();
        let state = words.next().unwrap_or_default();
        if !words.any(|network| network == self.network()) {
            self.reconnect(node).await?;
        }
        match state {
            "paused" => self.wake(node).await?,
            "running" | "restarting" => {}
            _ => self.start(node).await?,
        }
        if POSTGRES.contains(&node) && state == "running" {
            // A container that is just being started anew has no routes to lose.
            let _ = self.let_through(node).await;
            let _ = self.go_on_replaying(node).await;
            let _ = self.go_on_receiving(node).await;
        }
        if state == "running" && !self.knows_its_peers(node).await {
            docker(&["restart", &container]).await?;
        }
        Ok(())
    }

    /// Whether the names of the others are still in the container's list of hosts. Docker takes them out when it disconnects
    /// a container, and puts them back when it starts one. As `make heal` does.
    async fn knows_its_peers(&self, node: Node) -> bool {
        let mut peers = ETCD.iter().filter(|peer| **peer != node);
        match (peers.next(), self.as_root(node, &["cat", "/etc/hosts"]).await) {
            (Some(peer), Ok(hosts)) => hosts.lines().any(|line| line.ends_with(peer.name)),
            // It may be about to start anew.
            _ => true,
        }
    }

    /// [`Tier::heal`], and where that fails new copies of the data for those who don't follow: what one test left behind
    /// should not fail the next one as well.
    pub async fn heal_or_copy_anew(&self) -> Result<()> {
        let Err(error) = self.heal().await else {
            return Ok(());
        };
        let disks = join_all(POSTGRES.map(|node| self.disk_in_use(node))).await.join(", ");
        println!("{error:#}; disks in use: {disks}: copying the data anew");
        for member in self.members().await? {
            if member.role != "leader" && member.state != "streaming" {
                self.copy_anew(&member.name).await?;
            }
        }
        self.wait_until_whole().await
    }

    /// Waits until one host leads, both others follow it and count as voters, and all of etcd answers.
    pub async fn wait_until_whole(&self) -> Result<()> {
        poll_until(
            "the cluster is whole",
            WHOLE_DEADLINE,
            Duration::from_millis(200),
            || async {
                let etcd = join_all(ETCD.map(|node| self.etcd_is_healthy(node))).await;
                if etcd.contains(&false) {
                    return Err(format!("etcd answers: {etcd:?}"));
                }
                let members = self.members().await.map_err(|error| format!("{error:#}"))?;
                if patroni::is_whole(&members) {
                    Ok(())
                } else {
                    Err(patroni::describe(&members))
                }
            },
        )
        .await
    }

    fn network(&self) -> String {
        format!("{}_data", self.project)
    }
}
