//! Patroni's `QuorumStateResolver` (`patroni/quorum.py`, 4.0.7) for `synchronous_node_count: 1`, one transition at a
//! time.
//!
//! Patroni computes a list of transitions and carries it out; the model carries out the first one and computes the next
//! from what is then. That is what Patroni does when it is interrupted after each, as it may be.

use crate::state::{NodeId, Nodes, Sync};

/// What Patroni sees and wants when it looks at replication.
#[derive(Clone, Copy, Debug)]
pub struct Replication {
    pub me: NodeId,
    /// `/sync`, as read.
    pub sync: Sync,
    /// The nodes in `synchronous_standby_names`.
    pub names: Nodes,
    /// How many of them a commit waits for.
    pub numsync: u8,
    /// How many of them are known to have what was flushed when the names were last changed.
    pub confirmed: u8,
    /// Who streams, according to `pg_stat_replication`.
    pub active: Nodes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Set `synchronous_standby_names`.
    Names(Nodes, u8),
    /// Write `/sync`.
    Sync(Sync),
    /// Look again later.
    Restart,
}

const WANTED: u8 = 1;

/// Computes the next transition, if any. Where Patroni finds its invariants broken, it makes none.
pub fn next_transition(seen: &Replication) -> Option<Transition> {
    let mut resolver = Resolver::from(seen);
    resolver.run().ok()?;
    let list = resolver.transitions;
    let same = |a: &Transition, b: &Transition| std::mem::discriminant(a) == std::mem::discriminant(b);
    // Of several of a kind in a row, Patroni carries out the last.
    let first = list.iter().zip(list.iter().skip(1).map(Some).chain([None]));
    first
        .into_iter()
        .find(|(this, next)| next.is_none_or(|next| !same(this, next)))
        .map(|(this, _)| *this)
}

/// Patroni's `QuorumError`.
struct Broken;

type Result = std::result::Result<(), Broken>;

struct Resolver {
    me: NodeId,
    leader: NodeId,
    quorum: u8,
    voters: Nodes,
    numsync: u8,
    names: Nodes,
    confirmed: u8,
    active: Nodes,
    transitions: Vec<Transition>,
}

impl From<&Replication> for Resolver {
    fn from(seen: &Replication) -> Self {
        Self {
            me: seen.me,
            leader: seen.sync.leader,
            quorum: seen.sync.quorum,
            voters: seen.sync.voters,
            numsync: seen.numsync.min(seen.names.len()),
            names: seen.names,
            confirmed: seen.confirmed,
            active: seen.active,
            transitions: Vec::with_capacity(4),
        }
    }
}

impl Resolver {
    fn run(&mut self) -> Result {
        if self.leader != self.me {
            if self.new_leader().is_err() {
                self.write(self.names.len() - self.numsync, self.names, true)?;
            } else if self.names.and(self.active).is_empty() {
                return Ok(());
            }
        } else if self.overlap().is_err() {
            self.write(self.names.len() - self.numsync, self.names, true)?;
        }
        if self.leader != self.me {
            return Err(Broken);
        }
        let both = self.names.and(self.active).len();
        if self.confirmed == 0 && both > 0 {
            self.confirmed = both.min(self.voters.len().saturating_sub(self.quorum));
        }
        self.steady()?;
        self.remove_gone()?;
        self.add_new()?;
        self.wanted()
    }

    /// Right after a promotion: the names were set before it, only `/sync` has to follow.
    fn new_leader(&mut self) -> Result {
        let voters = self.voters.without(self.me).with(self.leader);
        if self.names.is_empty() {
            self.set_names(voters.len().checked_sub(self.quorum).ok_or(Broken)?, voters)?;
        }
        if self.quorum > 0 && self.quorum >= voters.len() {
            return Err(Broken);
        }
        (self.leader, self.voters) = (self.me, voters);
        self.overlap()?;
        self.push_sync();
        Ok(())
    }

    fn overlap(&self) -> Result {
        let voters = self.voters.with(self.leader);
        let names = self.names.with(self.me);
        let enough = self.voters.is_empty() || voters.or(names).len() <= self.quorum + self.numsync + 1;
        let nested = names.contains_all(voters) || voters.contains_all(names);
        if enough && nested { Ok(()) } else { Err(Broken) }
    }

    /// Finishes what an earlier loop left half done.
    fn steady(&mut self) -> Result {
        if self.names != self.voters && self.voters.contains_all(self.names) {
            let gone = self.voters.minus(self.names.or(self.active));
            if !gone.is_empty() {
                let quorum = (self.voters.len() - gone.len())
                    .checked_sub(self.numsync)
                    .ok_or(Broken)?;
                self.write(
                    quorum,
                    self.voters.minus(gone),
                    self.names.minus(self.active).is_empty(),
                )?;
            }
            let add = self.voters.and(self.active).minus(self.names);
            if !add.is_empty() {
                self.set_names(self.numsync, self.names.or(add))?;
            }
        } else if self.names != self.voters && self.names.contains_all(self.voters) {
            let gone = self.names.minus(self.active);
            let left = self.names.minus(gone);
            if !gone.is_empty() && !left.is_empty() && (self.voters.is_empty() || !left.and(self.voters).is_empty()) {
                self.set_names(self.numsync.min(self.names.len() - gone.len()), left)?;
            }
            let add = self.names.minus(self.voters).and(self.active);
            if !add.is_empty() {
                let voters = self.voters.or(add);
                self.write(voters.len().checked_sub(self.numsync).ok_or(Broken)?, voters, true)?;
            }
            let gone = self.names.minus(self.voters);
            if !gone.is_empty() {
                self.set_names(self.numsync.min(self.names.len() - gone.len()), self.names.minus(gone))?;
            }
        }
        if self.voters != self.names {
            return Err(Broken);
        }
        let all = self.names.len();
        if self.quorum + self.numsync.min(self.confirmed) > all {
            if self.numsync > WANTED {
                return self.set_names(WANTED.max(all.saturating_sub(self.quorum)), self.names);
            }
            return self.write(all - self.numsync, self.voters, true);
        }
        if self.numsync == WANTED && self.quorum + self.numsync > all && self.numsync > self.confirmed {
            return self.write(all - self.numsync, self.voters, true);
        }
        Ok(())
    }

    fn remove_gone(&mut self) -> Result {
        let mut gone = self.names.minus(self.active);
        if gone.is_empty() {
            return Ok(());
        }
        if gone == self.names {
            self.write(0, Nodes::NONE, false)?;
            return self.set_names(0, Nodes::NONE);
        }
        if self.quorum > 0 {
            // Two voters at most: what is gone here is one.
            let names = self.names.minus(gone);
            self.set_names(self.numsync.max(WANTED).min(names.len()), names)?;
            let voters = self.voters.minus(gone);
            gone = gone.and(self.names);
            self.write(voters.len() - self.numsync, voters, gone.is_empty())?;
        }
        if gone.is_empty() {
            return Ok(());
        }
        let numsync = self.numsync.checked_sub(gone.len()).ok_or(Broken)?;
        let (names, voters) = (self.names.minus(gone), self.voters.minus(gone));
        let decrease = numsync.saturating_sub(WANTED.min(names.len()));
        let quorum = if decrease > 0 {
            decrease.min(voters.len() - 1)
        } else {
            0
        };
        self.write(quorum, voters, false)?;
        self.set_names(numsync, names)
    }

    fn add_new(&mut self) -> Result {
        let mut new = self.active.minus(self.names);
        if new.is_empty() {
            return Ok(());
        }
        let wanted = WANTED.min(self.names.or(new).len());
        if wanted > self.numsync {
            let add = if self.names.is_empty() { new } else { new.first() };
            let more = if self.names.is_empty() {
                wanted - self.numsync
            } else {
                add.len()
            };
            self.set_names(self.numsync + more, self.names.or(add))?;
            let voters = self.voters.or(add);
            self.write(voters.len() - wanted, voters, true)?;
            new = new.minus(self.names);
        }
        if !new.is_empty() {
            let voters = self.voters.or(new);
            self.write(voters.len() - wanted, voters, wanted > self.confirmed)?;
            self.set_names(wanted, self.names.or(new))?;
        }
        Ok(())
    }

    fn wanted(&mut self) -> Result {
        let wanted = WANTED.min(self.names.len());
        if self.numsync < wanted {
            self.set_names(wanted, self.names)?;
            return self.write(self.voters.len() - self.numsync, self.voters, true);
        }
        if self.numsync > wanted {
            let less = self.numsync - wanted;
            if self.quorum + less < self.voters.len() {
                self.write(
                    self.voters.len() - self.numsync + less,
                    self.voters,
                    WANTED > self.confirmed,
                )?;
            }
            return self.set_names(wanted, self.names);
        }
        Ok(())
    }

    /// `quorum_update`: more nodes are asked for while fewer than wanted are known to have caught up.
    fn write(&mut self, quorum: u8, voters: Nodes, adjust: bool) -> Result {
        if quorum > 0 && quorum >= voters.len() {
            return Err(Broken);
        }
        let (mut quorum, mut voters) = (quorum, voters);
        if self.confirmed == 0 && self.voters.is_empty() {
            (quorum, voters) = (0, Nodes::NONE);
        } else if adjust {
            quorum += self.numsync.saturating_sub(self.confirmed);
        }
        if (quorum, voters) == (self.quorum, self.voters) {
            if voters.is_empty() {
                self.transitions.push(Transition::Restart);
            }
            return Ok(());
        }
        (self.quorum, self.voters) = (quorum, voters);
        self.overlap()?;
        self.push_sync();
        Ok(())
    }

    fn set_names(&mut self, numsync: u8, names: Nodes) -> Result {
        if numsync > names.len() {
            return Err(Broken);
        }
        (self.numsync, self.names) = (numsync, names);
        self.overlap()?;
        self.transitions.push(Transition::Names(names, numsync));
        Ok(())
    }

    fn push_sync(&mut self) {
        self.transitions.push(Transition::Sync(Sync {
            leader: self.leader,
            voters: self.voters,
            quorum: self.quorum,
        }));
    }
}
