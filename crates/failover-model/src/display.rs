//! A state in one line, for traces.

use std::fmt;

use crate::state::{NAMES, NODES, Patroni, Role, State, Sync};

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id: Option<u8>| id.map_or("nobody", |id| NAMES[usize::from(id)]);
        write!(
            f,
            "key: {}; /sync: {}; acknowledged: {}",
            name(self.leader),
            self.sync,
            self.place(self.acknowledged)
        )?;
        for id in 0..NODES {
            let node = self.node(id);
            write!(f, "; {} ", NAMES[usize::from(id)])?;
            match node.role {
                Role::Primary => write!(
                    f,
                    "PRIMARY {}, waits for {} of {:?}",
                    self.place(node.wal),
                    node.numsync,
                    node.names
                )?,
                Role::Standby => write!(f, "{} from {}", self.place(node.wal), name(node.upstream))?,
            }
            if node.unclean {
                write!(f, ", not recovered")?;
            }
            match node.patroni {
                Patroni::Idle => {}
                Patroni::Leading { latest: true, .. } => write!(f, ", read /sync")?,
                Patroni::Leading { sync, .. } => write!(f, ", read an older /sync: {sync}")?,
                Patroni::Acquired => write!(f, ", created the key")?,
                Patroni::Racing { sync } => write!(f, ", goes by an older /sync: {sync}")?,
                Patroni::Fencing => write!(f, ", fencing, will wait for {} of {:?}", node.numsync, node.names)?,
                Patroni::Sealed { .. } => write!(f, ", sealed, will wait for {} of {:?}", node.numsync, node.names)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} and {:?}, quorum {}",
            NAMES[usize::from(self.leader)],
            self.voters,
            self.quorum
        )
    }
}
