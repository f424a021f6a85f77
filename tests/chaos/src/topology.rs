//! Who has which role just now, and whether everything is whole.
//!
//! Asked inside the containers, as `make status` does: their addresses can't be reached from everywhere that Docker runs.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::future::join_all;
use serde_json::Value;

use crate::{
    fault::{Role, Target},
    stack::{Container, Stack, docker},
};

/// A member that is frozen must not hold up the rest.
const ANSWER_DEADLINE: Duration = Duration::from_secs(8);

/// Members of each replicated tier.
pub const MEMBERS: usize = 3;

/// The queue that the shop publishes to; the one of its dead letters is nearly always empty.
const QUEUE: &str = "photo.process";

/// The stack as it was found, and questions to it.
#[derive(Clone, Debug)]
pub struct Topology {
    pub stack: Stack,
    /// Every container that should run, with the command that tells its health.
    expected: Vec<(Container, Vec<String>)>,
}

impl Topology {
    /// Takes the containers that are there for those that should run.
    pub async fn of(stack: Stack) -> Result<Self> {
        let containers = stack.containers().await?;
        ensure!(
            containers.iter().any(|container| container.state == "running"),
            "no stack called {} is running: make up",
            stack.project
        );
        let mut expected = Vec::with_capacity(containers.len());
        for container in containers {
            let asked = docker(&["inspect", "--format", "{{json .Config.Healthcheck}}", &container.id]).await?;
            let check: Value = serde_json::from_str(&asked).with_context(|| asked.clone())?;
            let words = check["Test"].as_array().map(Vec::as_slice).unwrap_or_default();
            let words: Vec<String> = words.iter().filter_map(|w| w.as_str().map(str::to_owned)).collect();
            // What has no check of its own is a one-shot, and is not missed when it has ended.
            if let [kind, command @ ..] = words.as_slice()
                && kind == "CMD"
            {
                expected.push((container, command.to_vec()));
            }
        }
        Ok(Self { stack, expected })
    }

    /// The containers that a target means just now, without those of `taken`. `pick` chooses among those that are alike.
    pub async fn resolve(&self, target: Target, pick: u64, taken: &[Container]) -> Result<Vec<Container>> {
        let mut candidates: Vec<Container> = running(&self.stack).await?;
        candidates.retain(|c| is_of_tier(&c.service, target.tier()) && taken.iter().all(|t| t.id != c.id));
        candidates.sort_by(|a, b| (&a.service, &a.number).cmp(&(&b.service, &b.number)));
        let Target::One(role) = target else {
            ensure!(!candidates.is_empty(), "there is no {target}");
            return Ok(candidates);
        };
        if let Some(leads) = role.leads() {
            let leader = self.leader(role).await?;
            candidates.retain(|candidate| (candidate.service == leader) == leads);
        }
        ensure!(!candidates.is_empty(), "there is no {target}");
        let chosen = (pick % candidates.len() as u64) as usize;
        Ok(vec![candidates.swap_remove(chosen)])
    }

    /// The service that leads the tier of a role.
    pub async fn leader(&self, role: Role) -> Result<String> {
        match role.tier() {
            "postgres" => self.stack.postgres_primary().await,
            "etcd" => self.etcd_leader().await,
            "sessions" => self.sessions_primary().await,
            "rabbitmq" => {
                let queues = self.queues().await?;
                let queue = queues.iter().find(|queue| queue.name == QUEUE);
                Ok(queue
                    .with_context(|| format!("there is no queue {QUEUE}"))?
                    .leader
                    .clone())
            }
            tier => bail!("nobody leads {tier}"),
        }
    }

    async fn etcd_leader(&self) -> Result<String> {
        let endpoints = "--endpoints=http://etcd-1:2379,http://etcd-2:2379,http://etcd-3:2379";
        let command = [
            "etcdctl",
            endpoints,
            "--command-timeout=3s",
            "endpoint",
            "status",
            "--write-out=json",
        ];
        let answer = self.ask("etcd", None, &command).await?;
        let statuses: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        let leader = statuses.as_array().and_then(|statuses| {
            statuses
                .iter()
                .find(|status| status["Status"]["leader"] == status["Status"]["header"]["member_id"])
        });
        let endpoint = leader.and_then(|status| status["Endpoint"].as_str());
        let host = endpoint.and_then(|endpoint| endpoint.trim_start_matches("http://").split(':').next());
        Ok(host.context("no etcd node says that it leads")?.to_owned())
    }

    async fn sessions_primary(&self) -> Result<String> {
        let command = [
            "redis-cli",
            "-p",
            "26379",
            "--raw",
            "sentinel",
            "get-master-addr-by-name",
            "sessions",
        ];
        let answer = self.ask("sentinel", None, &command).await?;
        let name = answer.lines().next().unwrap_or_default().trim().to_owned();
        ensure!(name.starts_with("sessions-"), "the sentinels name {answer:?}");
        Ok(name)
    }

    /// All queues; there is at least one.
    pub async fn queues(&self) -> Result<Vec<Queue>> {
        let command = [
            "rabbitmqctl",
            "--quiet",
            "--formatter",
            "json",
            "list_queues",
            "name",
            "leader",
            "online",
        ];
        parse_queues(&self.ask("rabbitmq", Some("rabbitmq"), &command).await?)
    }

    /// Whether nothing is missing; else what is. The containers of `suspects` are asked for their health, whatever Docker
    /// says: it asks only now and then.
    pub async fn whole(&self, suspects: &[Container]) -> Result<(), String> {
        self.containers_are_well(suspects).await?;
        let said = |error: anyhow::Error| format!("{error:#}");
        let streaming =
            "select count(*) from pg_stat_replication where state = 'streaming' and sync_state in ('quorum', 'sync')";
        let primary = self.stack.postgres_primary().await.map_err(said)?;
        let primary = self.stack.one_of(&primary).await.map_err(said)?;
        let streaming = self.stack.psql(&primary, "postgres", streaming).await.map_err(said)?;
        if streaming.trim() != (MEMBERS - 1).to_string() {
            return Err(format!("{} of Postgres' replicas count as voters", streaming.trim()));
        }
        let linked = self.linked_sessions().await.map_err(said)?;
        if linked != MEMBERS - 1 {
            return Err(format!("{linked} replicas of the sessions are linked"));
        }
        let objects = self.objects_health().await.map_err(said)?;
        if objects != "healthy" {
            return Err(format!("the object store is {objects}"));
        }
        // The dearest question last: each time it starts a whole Erlang.
        for queue in self.queues().await.map_err(said)? {
            if queue.online != MEMBERS {
                return Err(format!(
                    "{} of {MEMBERS} brokers have queue {}",
                    queue.online, queue.name
                ));
            }
        }
        Ok(())
    }

    async fn containers_are_well(&self, suspects: &[Container]) -> Result<(), String> {
        let found = self.stack.containers().await.map_err(|error| error.to_string())?;
        let by_id: BTreeMap<&str, &Container> = found.iter().map(|c| (c.id.as_str(), c)).collect();
        let mut doubtful = Vec::new();
        for (container, check) in &self.expected {
            match by_id.get(container.id.as_str()) {
                None => return Err(format!("{} was removed", label(container))),
                Some(now) if now.state != "running" => return Err(format!("{} is {}", label(container), now.state)),
                Some(now) => {
                    let is_suspect = suspects.iter().any(|suspect| suspect.id == container.id);
                    if is_suspect || !now.status.contains("(healthy)") {
                        doubtful.push((container, check));
                    }
                }
            }
        }
        let checks = doubtful.iter().map(async |(container, check)| {
            let command: Vec<&str> = check.iter().map(String::as_str).collect();
            exec(container, None, &command).await.is_ok()
        });
        let healthy = join_all(checks).await;
        let ill: Vec<String> = doubtful
            .iter()
            .zip(healthy)
            .filter(|(_, healthy)| !healthy)
            .map(|((container, _), _)| label(container))
            .collect();
        if ill.is_empty() {
            Ok(())
        } else {
            Err(format!("{} not yet healthy", ill.join(", ")))
        }
    }

    /// Replicas that follow the primary of the sessions.
    async fn linked_sessions(&self) -> Result<usize> {
        let primary = self.sessions_primary().await?;
        let primary = self.stack.one_of(&primary).await?;
        let script = "REDISCLI_AUTH=$(cat /run/secrets/zillion/sessions_password) exec redis-cli info replication";
        let answer = exec(&primary, Some("redis"), &["bash", "-c", script]).await?;
        ensure!(
            answer.contains("role:master"),
            "{} does not take itself for primary",
            primary.service
        );
        Ok(answer.matches("state=online").count())
    }

    /// What the object store says of itself.
    async fn objects_health(&self) -> Result<String> {
        // The token goes in by standard input, so that no process list shows it.
        let script = r#"printf 'Authorization: Bearer %s\n' "$(cat /run/secrets/zillion/garage_admin_token)" |
            curl --silent --show-error --fail --max-time 5 --header @- http://localhost:3903/v2/GetClusterHealth"#;
        let answer = self.ask("objects", Some("garage"), &["bash", "-c", script]).await?;
        let health: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
        Ok(health["status"].as_str().unwrap_or("silent").to_owned())
    }

    /// Runs a command in the first container of a tier that gives an answer.
    async fn ask(&self, tier: &str, user: Option<&str>, command: &[&str]) -> Result<String> {
        let mut last_error = None;
        for container in running(&self.stack).await? {
            if !is_of_tier(&container.service, tier) {
                continue;
            }
            match exec(&container, user, command).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last_error = Some(error),
            }
        }
        match last_error {
            Some(error) => Err(error.context(format!("no {tier} answers"))),
            None => bail!("no {tier} is running"),
        }
    }
}

/// A quorum queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    /// The service whose node leads it.
    pub leader: String,
    /// Brokers that have it and are there.
    pub online: usize,
}

fn parse_queues(listing: &str) -> Result<Vec<Queue>> {
    let listed: Value = serde_json::from_str(listing).with_context(|| listing.to_owned())?;
    let queues = listed.as_array().context("no list of queues")?;
    ensure!(!queues.is_empty(), "there are no queues");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(queues
        .iter()
        .map(|queue| Queue {
            name: text(&queue["name"]),
            leader: text(&queue["leader"]).trim_start_matches("rabbit@").to_owned(),
            online: queue["online"].as_array().map_or(0, Vec::len),
        })
        .collect())
}

/// Containers of the project that run; nothing that is not one of it is ever in this list.
async fn running(stack: &Stack) -> Result<Vec<Container>> {
    let mut containers = stack.containers().await?;
    containers.retain(|container| container.state == "running");
    Ok(containers)
}

/// Whether a service is of a tier: it is called like it, or like it with a number.
fn is_of_tier(service: &str, tier: &str) -> bool {
    match service.strip_prefix(tier) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('-')
            .is_some_and(|number| number.parse::<u32>().is_ok()),
        None => false,
    }
}

/// What a container is called in reports.
pub fn label(container: &Container) -> String {
    let is_numbered = container
        .service
        .rsplit('-')
        .next()
        .is_some_and(|last| last.parse::<u32>().is_ok());
    if is_numbered {
        container.service.clone()
    } else {
        format!("{}-{}", container.service, container.number)
    }
}

async fn exec(container: &Container, user: Option<&str>, command: &[&str]) -> Result<String> {
    let mut arguments = vec!["exec"];
    if let Some(user) = user {
        arguments.extend(["--user", user]);
    }
    arguments.push(&container.id);
    arguments.extend(command);
    tokio::time::timeout(ANSWER_DEADLINE, docker(&arguments))
        .await
        .with_context(|| format!("{} gave no answer in {ANSWER_DEADLINE:?}", label(container)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_its_services_and_no_others() {
        assert!(is_of_tier("user", "user") && is_of_tier("postgres-2", "postgres"));
        assert!(!is_of_tier("objects-setup", "objects") && !is_of_tier("photo-worker", "photo"));
    }

    #[test]
    fn a_queue_knows_its_leader_and_who_is_there() {
        let listing = r#"[{"name":"photo.process","leader":"rabbit@rabbitmq-2","online":["rabbit@rabbitmq-1","rabbit@rabbitmq-2"]}]"#;
        let queues = parse_queues(listing).unwrap();
        assert_eq!((queues[0].leader.as_str(), queues[0].online), ("rabbitmq-2", 2));
        assert!(parse_queues("[]").is_err());
    }
}
