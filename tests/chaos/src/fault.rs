//! What is done to whom.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// What is done to a container.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL; it stays dead until it is started.
    Kill,
    /// SIGTERM, and the time to end in order.
    Stop,
    /// All its processes stand still, and keep their connections.
    Pause,
    /// It is taken off all its networks.
    Cut,
    /// What it sends goes out slowly, late, and not all of it.
    Slow,
    /// Its memory fills up to the limit, and the kernel ends whoever has most of it.
    Memory,
    /// The disk with its data is full.
    DiskFull,
}

impl Action {
    pub const ALL: [Self; 7] = [
        Self::Kill,
        Self::Stop,
        Self::Pause,
        Self::Cut,
        Self::Slow,
        Self::Memory,
        Self::DiskFull,
    ];
    /// Those that can be done to every container.
    pub const ANYWHERE: [Self; 4] = [Self::Kill, Self::Stop, Self::Pause, Self::Cut];

    pub fn key(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Slow => "slow",
            Self::Memory => "memory",
            Self::DiskFull => "disk-full",
        }
    }

    /// Whether it says something about the shop that the others don't. Whoever names both action and target decides
    /// that alone.
    pub fn suits(self, target: Target) -> bool {
        let Target::One(role) = target else {
            return Self::ANYWHERE.contains(&self);
        };
        match self {
            Self::Kill | Self::Stop | Self::Pause | Self::Cut => true,
            Self::Slow => matches!(
                role,
                Role::Balancer
                    | Role::Inventory
                    | Role::User
                    | Role::PostgresPrimary
                    | Role::PostgresReplica
                    | Role::SessionsPrimary
                    | Role::QueueLeader
                    | Role::Objects
            ),
            // Where one process is all there is; a database's many are ended one by one, until it is as if killed.
            Self::Memory => matches!(
                role,
                Role::Balancer | Role::Edge | Role::Inventory | Role::User | Role::PhotoWorker | Role::Cache
            ),
            Self::DiskFull => matches!(
                role,
                Role::PostgresPrimary | Role::SessionsPrimary | Role::QueueLeader | Role::Objects
            ),
        }
    }

    /// Whether it lasts for a time that we choose, and not until customers are served again.
    pub fn is_timed(self) -> bool {
        matches!(self, Self::Pause | Self::Cut | Self::Slow | Self::DiskFull)
    }
}

/// Who is meant: by what it does, not by its name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Gateway,
    Balancer,
    Edge,
    Inventory,
    User,
    PhotoWorker,
    Cache,
    PostgresPrimary,
    PostgresReplica,
    EtcdLeader,
    EtcdFollower,
    SessionsPrimary,
    SessionsReplica,
    Sentinel,
    QueueLeader,
    QueueFollower,
    Objects,
}

impl Role {
    pub const ALL: [Self; 17] = [
        Self::Gateway,
        Self::Balancer,
        Self::Edge,
        Self::Inventory,
        Self::User,
        Self::PhotoWorker,
        Self::Cache,
        Self::PostgresPrimary,
        Self::PostgresReplica,
        Self::EtcdLeader,
        Self::EtcdFollower,
        Self::SessionsPrimary,
        Self::SessionsReplica,
        Self::Sentinel,
        Self::QueueLeader,
        Self::QueueFollower,
        Self::Objects,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Balancer => "balancer",
            Self::Edge => "edge",
            Self::Inventory => "inventory",
            Self::User => "user",
            Self::PhotoWorker => "photo-worker",
            Self::Cache => "cache",
            Self::PostgresPrimary => "postgres-primary",
            Self::PostgresReplica => "postgres-replica",
            Self::EtcdLeader => "etcd-leader",
            Self::EtcdFollower => "etcd-follower",
            Self::SessionsPrimary => "sessions-primary",
            Self::SessionsReplica => "sessions-replica",
            Self::Sentinel => "sentinel",
            Self::QueueLeader => "queue-leader",
            Self::QueueFollower => "queue-follower",
            Self::Objects => "objects",
        }
    }

    /// The kind of process: its compose services are called so, or so with a number.
    pub fn tier(self) -> &'static str {
        match self {
            Self::PostgresPrimary | Self::PostgresReplica => "postgres",
            Self::EtcdLeader | Self::EtcdFollower => "etcd",
            Self::SessionsPrimary | Self::SessionsReplica => "sessions",
            Self::QueueLeader | Self::QueueFollower => "rabbitmq",
            other => other.key(),
        }
    }

    /// Whether it is the one of its tier that leads, or one that follows; none where all are alike.
    pub fn leads(self) -> Option<bool> {
        match self {
            Self::PostgresPrimary | Self::EtcdLeader | Self::SessionsPrimary | Self::QueueLeader => Some(true),
            Self::PostgresReplica | Self::EtcdFollower | Self::SessionsReplica | Self::QueueFollower => Some(false),
            _ => None,
        }
    }
}

/// Who is hurt: one, or every one of a kind.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Target {
    One(Role),
    /// All containers of a tier.
    Every(&'static str),
}

impl Target {
    /// The tiers that are sometimes hurt as a whole.
    pub const TIERS: [&'static str; 6] = ["balancer", "edge", "inventory", "user", "photo-worker", "rabbitmq"];

    pub fn tier(self) -> &'static str {
        match self {
            Self::One(role) => role.tier(),
            Self::Every(tier) => tier,
        }
    }

    pub fn parse(text: &str) -> Result<Self> {
        if let Some(role) = Role::ALL.into_iter().find(|role| role.key() == text) {
            return Ok(Self::One(role));
        }
        let tier = text.strip_prefix("every-").unwrap_or_default();
        let tier = Self::TIERS.into_iter().find(|known| *known == tier);
        tier.map(Self::Every).with_context(|| {
            let roles = Role::ALL.map(Role::key).join(", ");
            let tiers = Self::TIERS.map(|tier| format!("every-{tier}")).join(", ");
            format!("{text:?} is none of {roles}, {tiers}")
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(role) => f.write_str(role.key()),
            Self::Every(tier) => write!(f, "every-{tier}"),
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub action: Action,
    /// All of these at once.
    pub targets: Vec<Target>,
    /// So often, each time as soon as the stack is whole again.
    pub times: u32,
    /// Chooses among those that are alike.
    pub pick: u64,
}

impl Fault {
    pub fn new(action: Action, targets: &[Target]) -> Self {
        Self {
            action,
            targets: targets.to_vec(),
            times: 1,
            pick: 0,
        }
    }

    /// Whether nobody is left to serve, so that customers have to wait until it is undone.
    pub fn leaves_nobody(&self) -> bool {
        self.targets
            .iter()
            .any(|target| matches!(target, Target::Every(_) | Target::One(Role::Gateway)))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: Vec<String> = self.targets.iter().map(Target::to_string).collect();
        write!(f, "{} {}", self.action.key(), targets.join(" + "))?;
        if self.times > 1 {
            write!(f, ", {} times in a row", self.times)?;
        }
        Ok(())
    }
}

/// Reads a list like `kill,pause`; an empty one means all.
pub fn parse_actions(text: &str) -> Result<Vec<Action>> {
    if text.is_empty() {
        return Ok(Action::ALL.to_vec());
    }
    text.split(',')
        .map(|key| {
            let found = Action::ALL.into_iter().find(|action| action.key() == key.trim());
            found.with_context(|| format!("{key:?} is none of {}", Action::ALL.map(Action::key).join(", ")))
        })
        .collect()
}

/// Reads targets that are hurt at once, like `postgres-replica+queue-leader`.
pub fn parse_targets(text: &str) -> Result<Vec<Target>> {
    let targets: Vec<Target> = text
        .split('+')
        .map(|t| Target::parse(t.trim()))
        .collect::<Result<_>>()?;
    ensure!(!targets.is_empty(), "no target");
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_by_what_they_do() {
        let targets = parse_targets("postgres-primary+every-user").unwrap();
        assert_eq!(targets, [Target::One(Role::PostgresPrimary), Target::Every("user")]);
        let error = parse_targets("postgres-1").unwrap_err().to_string();
        assert!(
            error.contains("postgres-primary") && error.contains("every-rabbitmq"),
            "{error}"
        );
        assert!(parse_targets("every-etcd").is_err());
        for role in Role::ALL {
            assert_eq!(Target::parse(role.key()).unwrap(), Target::One(role));
        }
    }

    #[test]
    fn a_fault_reads_like_a_sentence() {
        let mut fault = Fault::new(Action::Kill, &parse_targets("balancer+edge").unwrap());
        assert_eq!(fault.to_string(), "kill balancer + edge");
        fault.times = 2;
        assert_eq!(fault.to_string(), "kill balancer + edge, 2 times in a row");
    }

    #[test]
    fn no_action_named_means_all() {
        assert_eq!(parse_actions("").unwrap(), Action::ALL);
        assert_eq!(parse_actions("kill, cut").unwrap(), [Action::Kill, Action::Cut]);
        assert!(parse_actions("kil").unwrap_err().to_string().contains("disk-full"));
    }

    #[test]
    fn every_action_suits_somebody_and_what_hurts_a_whole_tier_is_plain() {
        for action in Action::ALL {
            assert!(
                Role::ALL.into_iter().any(|role| action.suits(Target::One(role))),
                "{action:?}"
            );
            let is_plain = Action::ANYWHERE.contains(&action);
            assert_eq!(action.suits(Target::Every("user")), is_plain, "{action:?}");
        }
    }
}
