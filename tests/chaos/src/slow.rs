//! A slow link: the network of a container, seen from a second one beside it.
//!
//! No container of the shop may touch its own network, so one is started that shares it and may do nothing else. It
//! runs the image of the cache, which the stack has in any case, and which has `tc`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::{
    inject::Refusal,
    stack::{Container, Stack, docker, docker_output},
};

const SCRIPT: &str = include_str!("slow-link.sh");

/// What is started beside the stack is found by this label, with the project as its value; `make heal` knows it as well.
const LABEL: &str = "zillion.chaos";

/// From its start until the container beside another one has said what it did.
const START_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The link of one container.
#[derive(Clone, Debug)]
pub struct Link {
    container: String,
    project: String,
    image: String,
}

impl Link {
    /// Finds what is needed, and changes nothing.
    pub async fn of(container: &Container, stack: &Stack) -> Result<Self, Refusal> {
        let containers = stack.containers().await?;
        let Some(cache) = containers.iter().find(|container| container.service == "cache") else {
            return Err(Refusal::Skipped(
                "there is no container of cache, whose image has tc".to_owned(),
            ));
        };
        let image = docker(&["inspect", "--format", "{{.Image}}", &cache.id]).await?;
        Ok(Self {
            container: container.id.clone(),
            project: stack.project.clone(),
            image: image.trim().to_owned(),
        })
    }

    /// Makes it slow. Says by how much, as far as this kernel goes.
    pub async fn slow_down(&self) -> Result<String, Refusal> {
        let (name, label) = (self.name(), format!("{LABEL}={}", self.project));
        self.end().await?;
        let started = self
            .beside(&["--detach", "--name", &name, "--label", &label], "slow")
            .await;
        if let Err(error) = started {
            return Err(Refusal::Skipped(format!("no container starts beside it: {error:#}")));
        }
        let since = Instant::now();
        while since.elapsed() < START_DEADLINE {
            // Asked before the log is read, so that the log is whole if it has ended.
            let state = docker(&["inspect", "--format", "{{.State.Status}}", &name]).await?;
            let log = docker_output(&["logs", &name]).await?;
            let said = String::from_utf8_lossy(&log.stdout);
            if let Some(how) = said.lines().find_map(|line| line.strip_prefix("slow: ")) {
                return Ok(how.to_owned());
            }
            if state.trim() != "running" {
                return Err(Refusal::Skipped(last_line(&log.stderr)));
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(Refusal::Failed(anyhow::anyhow!(
            "{name} said nothing in {START_DEADLINE:?}"
        )))
    }

    /// Leaves nothing behind, whatever there was. `is_running` is of the container whose link this is: where it is not, its
    /// network is gone and all of this with it.
    pub async fn mend(&self, is_running: bool) -> Result<()> {
        self.end().await?;
        if is_running {
            let mended = self.beside(&["--rm"], "mend").await;
            mended.context("the link is still slow")?;
        }
        Ok(())
    }

    /// Ends whoever keeps the link slow: told to end it undoes that, if it can.
    async fn end(&self) -> Result<()> {
        let name = self.name();
        for command in [&["stop", "-t", "5", &name][..], &["rm", "--force", &name]] {
            match docker(command).await {
                Err(error) if !error.to_string().contains("No such container") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        let id: String = self.container.chars().take(12).collect();
        format!("{}-chaos-link-{id}", self.project)
    }

    /// Runs the script in the network of the container.
    async fn beside(&self, options: &[&str], task: &str) -> Result<()> {
        let network = format!("container:{}", self.container);
        let mut arguments = vec!["run"];
        arguments.extend(options);
        arguments.extend(["--network", &network, "--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]);
        arguments.extend(["--security-opt", "no-new-privileges", "--read-only"]);
        arguments.extend(["--memory", "32m", "--user", "0", "--entrypoint", "sh"]);
        arguments.extend([&self.image, "-c", SCRIPT, "slow-link", task]);
        let output = docker_output(&arguments).await?;
        if !output.status.success() {
            bail!(last_line(&output.stderr));
        }
        Ok(())
    }
}

fn last_line(complaints: &[u8]) -> String {
    let complaints = String::from_utf8_lossy(complaints);
    // After an error of its own Docker's client says where to find help.
    let mut lines = complaints
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with("See 'docker"));
    lines.next_back().unwrap_or("it said nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_that_was_said_before_the_advice() {
        let complaints = b"warning\ndocker: Error response from daemon: cannot join.\nSee 'docker run --help'.\n\n";
        assert_eq!(
            last_line(complaints),
            "docker: Error response from daemon: cannot join."
        );
        assert_eq!(last_line(b""), "it said nothing");
    }
}
