//! Doing it, and undoing it.

use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result};
use futures::future::join_all;
use serde_json::Value;

use crate::{
    fault::Action,
    stack::{Container, docker},
    topology::label,
};

/// What has been done and not undone yet. It is written down before anything is done, so that an interruption at any
/// moment leaves nothing behind.
#[derive(Debug, Default)]
pub struct Damage {
    done: Mutex<Vec<Wound>>,
}

#[derive(Clone, Debug)]
struct Wound {
    action: Action,
    container: Container,
    /// As they were before.
    networks: Vec<Attachment>,
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
    /// Does one thing to all of these at once.
    pub async fn inflict(&self, action: Action, containers: &[Container]) -> Result<()> {
        for container in containers {
            let networks = attachments(container).await?;
            self.done().push(Wound {
                action,
                container: container.clone(),
                networks,
            });
        }
        let wounds: Vec<Wound> = self.done().clone();
        let acts = wounds
            .iter()
            .filter(|wound| containers.iter().any(|container| container.id == wound.container.id));
        join_all(acts.map(Wound::inflict)).await.into_iter().collect()
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

impl Wound {
    async fn inflict(&self) -> Result<()> {
        let id = self.container.id.as_str();
        match self.action {
            Action::Kill => docker(&["kill", id]).await.map(drop),
            Action::Stop => docker(&["stop", id]).await.map(drop),
            Action::Pause => docker(&["pause", id]).await.map(drop),
            Action::Cut => {
                let cuts = self
                    .networks
                    .iter()
                    .map(async |on| docker(&["network", "disconnect", &on.network, id]).await);
                join_all(cuts).await.into_iter().collect::<Result<Vec<_>>>().map(drop)
            }
        }
    }

    /// Leads from whatever became of the container to what it was, and does nothing where it is that already.
    async fn heal(&self) -> Result<()> {
        let id = self.container.id.as_str();
        let attached = attachments(&self.container).await?;
        for on in &self.networks {
            if attached.iter().all(|now| now.network != on.network) {
                on.connect(id).await?;
            }
        }
        let state = docker(&["inspect", "--format", "{{.State.Status}}", id]).await?;
        match state.trim() {
            "paused" => docker(&["unpause", id]).await.map(drop),
            "running" if self.action == Action::Cut && lost_its_hosts(id).await => {
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
