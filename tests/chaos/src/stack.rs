//! The running stack, as `docker` sees it.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::wait_until;

const DOCKER_DEADLINE: Duration = Duration::from_secs(60);

/// A compose project that somebody else started, and that this test run may break.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Compose project; nothing outside it is ever touched.
    pub project: String,
    /// Where the shop answers, without a slash at the end.
    pub shop: String,
    /// Where the edge answers.
    pub edge: String,
    /// The password that was generated for the demo shopkeeper.
    pub shopkeeper_password: String,
}

/// A container of the project, as `docker ps` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub service: String,
    pub number: String,
    pub state: String,
    pub status: String,
}

impl Stack {
    /// Reads where the stack is; fails with the name of what is missing.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: run `make test`, which starts the stack"))
        };
        let stack = Self {
            project: variable("SYSTEM_TEST_PROJECT")?,
            shop: variable("SYSTEM_TEST_SHOP")?,
            edge: variable("SYSTEM_TEST_EDGE")?,
            shopkeeper_password: variable("SYSTEM_TEST_SHOPKEEPER_PASSWORD")?,
        };
        for url in [&stack.shop, &stack.edge] {
            ensure!(
                url.starts_with("http://127.0.0.1:"),
                "{url} is not on this machine: tests load nothing else"
            );
        }
        Ok(stack)
    }

    /// All containers of the project, dead ones as well.
    pub async fn containers(&self) -> Result<Vec<Container>> {
        let format = r#"{{.ID}}|{{.Label "com.docker.compose.service"}}|{{.Label "com.docker.compose.container-number"}}|{{.State}}|{{.Status}}"#;
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let listing = docker(&["ps", "-a", "--filter", &filter, "--format", format]).await?;
        Ok(listing
            .lines()
            .filter_map(|line| {
                let mut fields = line.split('|').map(str::to_owned);
                Some(Container {
                    id: fields.next()?,
                    service: fields.next()?,
                    number: fields.next()?,
                    state: fields.next()?,
                    status: fields.next()?,
                })
            })
            .collect())
    }

    /// One running container of a service.
    pub async fn one_of(&self, service: &str) -> Result<Container> {
        self.containers()
            .await?
            .into_iter()
            .find(|c| c.service == service && c.state == "running")
            .with_context(|| format!("no container of {service} is running"))
    }

    /// SIGKILLs one container of a service, which then stays dead until [`Stack::heal`].
    pub async fn kill(&self, service: &str) -> Result<Container> {
        let victim = self.one_of(service).await?;
        docker(&["kill", &victim.id]).await?;
        Ok(victim)
    }

    /// Starts everything that should run and waits until the whole stack is healthy again.
    pub async fn heal(&self) -> Result<()> {
        for container in self.containers().await? {
            if container.state == "paused" {
                docker(&["unpause", &container.id]).await?;
            }
            if container.state == "exited" && is_long_running(&container.service) {
                docker(&["start", &container.id]).await?;
            }
        }
        wait_until("every container is healthy", Duration::from_secs(120), || async {
            let containers = self.containers().await.map_err(|error| error.to_string())?;
            let unwell: Vec<String> = containers
                .iter()
                .filter(|c| is_long_running(&c.service) && !c.status.contains("(healthy)"))
                .map(|c| format!("{}-{}: {}", c.service, c.number, c.status))
                .collect();
            if unwell.is_empty() {
                Ok(())
            } else {
                Err(unwell.join(", "))
            }
        })
        .await?;
        wait_until(
            "a primary with two streaming replicas",
            Duration::from_secs(120),
            || async {
                match self.postgres_cluster().await {
                    Ok((Some(_), 2)) => Ok(()),
                    Ok((primary, replicas)) => Err(format!("primary {primary:?}, {replicas} streaming")),
                    Err(error) => Err(error.to_string()),
                }
            },
        )
        .await
    }

    /// The service name of the Postgres primary, and how many replicas stream from it.
    pub async fn postgres_cluster(&self) -> Result<(Option<String>, usize)> {
        for container in self.containers().await? {
            if !container.service.starts_with("postgres-") || container.state != "running" {
                continue;
            }
            let query = "select pg_is_in_recovery()::text || ' ' || (select count(*) from pg_stat_replication where state = 'streaming')";
            let Ok(answer) = self.psql(&container, "postgres", query).await else {
                continue;
            };
            if let Some(count) = answer.trim().strip_prefix("false ") {
                return Ok((Some(container.service), count.parse()?));
            }
        }
        Ok((None, 0))
    }

    /// The service name of the Postgres primary.
    pub async fn postgres_primary(&self) -> Result<String> {
        self.postgres_cluster().await?.0.context("no Postgres primary")
    }

    /// Runs one SQL statement as superuser inside a Postgres container, over its local socket.
    pub async fn psql(&self, container: &Container, database: &str, sql: &str) -> Result<String> {
        docker(&[
            "exec",
            &container.id,
            "/usr/local/bin/superuser-psql",
            "-d",
            database,
            "-At",
            "-c",
            sql,
        ])
        .await
    }

    /// Runs one SQL statement on the primary.
    pub async fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let primary = self.postgres_primary().await?;
        let container = self.one_of(&primary).await?;
        Ok(self.psql(&container, database, sql).await?.trim().to_owned())
    }

    /// Runs `shop-audit` against the three databases; fails with its report when a row offends.
    pub async fn audit(&self) -> Result<String> {
        let output = self.run_audit(&[]).await?;
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "shop-audit found something:\n{report}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(report)
    }

    /// Runs `shop-audit` and gives each of its checks with the number of rows that offend.
    pub async fn audit_checks(&self) -> Result<Vec<(String, u64)>> {
        let output = self.run_audit(&["--json"]).await?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("shop-audit: {}", String::from_utf8_lossy(&output.stderr)))?;
        let checks = report["checks"]
            .as_array()
            .context("a report of shop-audit has checks")?;
        let check = |check: &Value| Some((check["name"].as_str()?.to_owned(), check["offending"].as_u64()?));
        Ok(checks.iter().filter_map(check).collect())
    }

    async fn run_audit(&self, options: &[&str]) -> Result<Output> {
        let mut command = Command::new("docker");
        command
            .args([
                "compose",
                "-p",
                &self.project,
                "run",
                "--rm",
                "-T",
                "--no-deps",
                "audit",
            ])
            .args(options)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(tokio::time::timeout(Duration::from_secs(120), command.output())
            .await
            .context("shop-audit took over 120 s")??)
    }

    /// Runs one of `scripts/` on this stack and gives all that it said; fails with that if the script does.
    pub async fn script(&self, name: &str, variables: &[(&str, &str)], deadline: Duration) -> Result<String> {
        let output = Command::new(format!("scripts/{name}"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(deadline, output)
            .await
            .with_context(|| format!("scripts/{name} took over {deadline:?}"))??;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "scripts/{name}: {said}");
        Ok(said)
    }

    /// The networks that a container is attached to, without the project's prefix.
    pub async fn networks(&self, container: &Container) -> Result<Vec<String>> {
        let listing = docker(&[
            "inspect",
            "--format",
            "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}\n{{end}}",
            &container.id,
        ])
        .await?;
        let prefix = format!("{}_", self.project);
        Ok(listing
            .lines()
            .filter(|l| !l.is_empty())
            .map(|l| l.trim_start_matches(&prefix).to_owned())
            .collect())
    }

    /// Host addresses on which a container publishes ports.
    pub async fn published(&self, container: &Container) -> Result<Vec<String>> {
        let listing = docker(&["port", &container.id]).await?;
        Ok(listing
            .lines()
            .filter_map(|line| line.split(" -> ").nth(1))
            .map(str::to_owned)
            .collect())
    }
}

/// One-shots end by design; everything else should run.
fn is_long_running(service: &str) -> bool {
    !matches!(service, "secrets" | "migrate" | "objects-setup" | "seed" | "audit")
}

/// Runs `docker` with a deadline and gives its output; fails with what it complained of.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    let output = docker_output(arguments).await?;
    if !output.status.success() {
        bail!(
            "docker {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `docker` with a deadline, for whoever makes something of its failure.
pub async fn docker_output(arguments: &[&str]) -> Result<Output> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DOCKER_DEADLINE, output).await;
    Ok(output.with_context(|| format!("docker {} took over {DOCKER_DEADLINE:?}", arguments.join(" ")))??)
}
