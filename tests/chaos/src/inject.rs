//! Doing it, and undoing it.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context, Result};
use futures::future::join_all;
use serde_json::Value;

use crate::{
    fault::Action,
    fill::Fill,
    slow::Link,
    stack::{Container, Stack, docker},
    topology::label,
};

/// What has been done and not undone yet. It is written down before anything is done, so that an interruption at any
/// moment leaves nothing behind.
#[derive(Debug)]
pub struct Damage {
    stack: Stack,
    done: Mutex<Vec<Wound>>,
}

/// Why a thing was not done.
#[derive(Debug)]
pub enum Refusal {
    /// It can't be done here: that says nothing about the shop.
    Skipped(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

#[derive(Clone, Debug)]
struct Wound {
    container: Container,
    /// As they were before.
    networks: Vec<Attachment>,
    means: Means,
    /// Whether Docker has said that it is done. Where it has not, because somebody interrupted us or it failed, it may still be
    /// about to happen: a stop takes as long as the process needs to end.
    is_done: Arc<AtomicBool>,
}

/// By what it is done.
#[derive(Clone, Debug)]
enum Means {
    Kill,
    Stop,
    Pause,
    Cut,
    Slow(Link),
    /// Of memory or of a disk.
    Fill(Fill),
}

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attachment {
    network: String,
    /// Where it has a fixed one.
    address: Option<String>,
    aliases: Vec<String>,
}

impl Damage {
    pub fn new(stack: Stack) -> Self {
        Self {
            stack,
            done: Mutex::default(),
        }
    }

    /// Does one thing to all of these at once, or to none of them if it can't be done to one. What was begun before that
    /// was known still has to be healed. Says what there is to say about each.
    pub async fn inflict(&self, action: Action, containers: &[Container]) -> Result<Vec<String>, Refusal> {
        let mut wounds = Vec::with_capacity(containers.len());
        for container in containers {
            wounds.push(Wound {
                container: container.clone(),
                networks: attachments(container).await?,
                means: Means::of(action, container, &self.stack).await?,
                is_done: Arc::default(),
            });
        }
        self.done().extend(wounds.iter().cloned());
        let (mut remarks, mut refusals) = (Vec::new(), Vec::new());
        for outcome in join_all(wounds.iter().map(Wound::inflict)).await {
            match outcome {
                Ok(remark) => remarks.extend(remark),
                Err(refusal) => refusals.push(refusal),
            }
        }
        // What went wrong says more than what can't be done here.
        refusals.sort_by_key(|refusal| matches!(refusal, Refusal::Skipped(_)));
        match refusals.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => Ok(remarks),
        }
    }

    /// Undoes all that was done, and may be called again and again until [`Damage::forget`].
    pub async fn heal(&self) -> Result<()> {
        let wounds: Vec<Wound> = self.done().clone();
        let healing = wounds.iter().map(async |wound| {
            let healed = wound.heal().await;
            healed.with_context(|| format!("healing {}", label(&wound.container)))
        });
        join_all(healing).await.into_iter().collect()
    }

    /// Who was hurt and is not known to be well again.
    pub fn victims(&self) -> Vec<Container> {
        self.done().iter().map(|wound| wound.container.clone()).collect()
    }

    /// The stack is whole: nothing has to be undone any more.
    pub fn forget(&self) {
        self.done().clear();
    }

    pub fn is_empty(&self) -> bool {
        self.done().is_empty()
    }

    fn done(&self) -> MutexGuard<'_, Vec<Wound>> {
        self.done.lock().expect("no holder panics")
    }
}

impl Means {
    /// Finds what is needed, and changes nothing.
    async fn of(action: Action, container: &Container, stack: &Stack) -> Result<Self, Refusal> {
        Ok(match action {
            Action::Kill => Self::Kill,
            Action::Stop => Self::Stop,
            Action::Pause => Self::Pause,
            Action::Cut => Self::Cut,
            Action::Slow => Self::Slow(Link::of(container, stack).await?),
            Action::Memory => Self::Fill(Fill::of_memory(container).await?),
            Action::DiskFull => Self::Fill(Fill::of_disk(container).await?),
        })
    }
}

impl Wound {
    async fn inflict(&self) -> Result<Option<String>, Refusal> {
        let remark = match &self.means {
            Means::Slow(link) => Some(link.slow_down().await?),
            Means::Fill(fill) => Some(fill.grow().await?),
            Means::Kill | Means::Stop | Means::Pause | Means::Cut => {
                self.act().await?;
                None
            }
        };
        self.is_done.store(true, Relaxed);
        Ok(remark)
    }

    /// Has Docker do it, where one command does.
    async fn act(&self) -> Result<()> {
        let id = self.container.id.as_str();
        match &self.means {
            Means::Kill => docker(&["kill", id]).await.map(drop),
            Means::Stop => docker(&["stop", id]).await.map(drop),
            Means::Pause => docker(&["pause", id]).await.map(drop),
            Means::Cut => {
                let cuts = self
                    .networks
                    .iter()
                    .map(async |on| docker(&["network", "disconnect", &on.network, id]).await);
                join_all(cuts).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
            }
            // Undoing these begins by ending whoever may still be at it.
            Means::Slow(_) | Means::Fill(_) => Ok(()),
        }
    }

    /// Leads from whatever became of the container to what it was, and does nothing where it is that already.
    async fn heal(&self) -> Result<()> {
        let id = self.container.id.as_str();
        let state = async || docker(&["inspect", "--format", "{{.State.Status}}", id]).await;
        if !self.is_done.load(Relaxed) {
            // What may yet happen is done to its end first, so that it doesn't happen after it was undone. Where it has
            // happened already, Docker refuses.
            let _ = self.act().await;
            self.is_done.store(true, Relaxed);
        }
        match &self.means {
            // What is not running any more may need it to start.
            Means::Fill(fill) => fill.remove().await?,
            Means::Slow(link) => link.mend(state().await?.trim() == "running").await?,
            Means::Kill | Means::Stop | Means::Pause | Means::Cut => {}
        }
        let attached = attachments(&self.container).await?;
        for on in &self.networks {
            if attached.iter().all(|now| now.network != on.network) {
                on.connect(id).await?;
            }
        }
        match state().await?.trim() {
            "paused" => docker(&["unpause", id]).await.map(drop),
            "running" if matches!(self.means, Means::Cut) && lost_its_hosts(id).await => {
                docker(&["restart", id]).await.map(drop)
            }
            "running" | "restarting" => Ok(()),
            _ => docker(&["start", id]).await.map(drop),
        }
    }
}

impl Attachment {
    async fn connect(&self, id: &str) -> Result<()> {
        let mut arguments = vec!["network", "connect"];
        for alias in &self.aliases {
            arguments.extend(["--alias", alias]);
        }
        if let Some(address) = &self.address {
            arguments.extend(["--ip", address]);
        }
        arguments.extend([self.network.as_str(), id]);
        docker(&arguments).await.map(drop)
    }
}

/// The networks that a container is on.
async fn attachments(container: &Container) -> Result<Vec<Attachment>> {
    let asked = docker(&[
        "inspect",
        "--format",
        "{{json .NetworkSettings.Networks}}",
        &container.id,
    ])
    .await?;
    let networks: Value = serde_json::from_str(&asked).with_context(|| asked.clone())?;
    let networks = networks.as_object().context("no networks")?;
    Ok(networks
        .iter()
        .map(|(network, settings)| attachment(network, settings))
        .collect())
}

fn attachment(network: &str, settings: &Value) -> Attachment {
    let address = settings["IPAMConfig"]["IPv4Address"].as_str();
    let aliases = settings["Aliases"].as_array().map(Vec::as_slice).unwrap_or_default();
    Attachment {
        network: network.to_owned(),
        address: address.filter(|a| !a.is_empty()).map(str::to_owned),
        aliases: aliases.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect(),
    }
}

/// Docker takes the names of the data tier out of the list of hosts of a container that it disconnects, and puts them back
/// only when it starts one. As `make heal` does.
async fn lost_its_hosts(id: &str) -> bool {
    let known = docker(&["inspect", "--format", "{{json .HostConfig.ExtraHosts}}", id]).await;
    let hosts = docker(&["exec", id, "cat", "/etc/hosts"]).await;
    let (Ok(known), Ok(hosts)) = (known, hosts) else {
        // It may be about to start anew by itself.
        return false;
    };
    let is_there = |host: &str| {
        hosts
            .lines()
            .any(|line| line.split_whitespace().skip(1).any(|name| name == host))
    };
    let extra: Vec<String> = serde_json::from_str(&known).unwrap_or_default();
    let names = extra.iter().filter_map(|entry| entry.split(':').next());
    // Its own name keeps a line, or gets one back.
    names.filter(|name| !is_there(name)).count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fixed_address_and_the_names_are_remembered() {
        let fixed =
            json!({"IPAMConfig": {"IPv4Address": "10.213.1.21"}, "Aliases": ["postgres-1", "zillion-postgres-1"]});
        let fixed = attachment("zillion_data", &fixed);
        assert_eq!(fixed.address.as_deref(), Some("10.213.1.21"));
        assert_eq!(fixed.aliases, ["postgres-1", "zillion-postgres-1"]);
        let dynamic = attachment("zillion_web", &json!({"IPAMConfig": {}, "Aliases": null}));
        assert_eq!((dynamic.address, dynamic.aliases.len()), (None, 0));
        assert_eq!(attachment("zillion_web", &json!({"IPAMConfig": null})).address, None);
    }
}
