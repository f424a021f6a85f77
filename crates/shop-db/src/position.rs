//! Positions in the write-ahead log: what a read must have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point in a cluster's history. The timeline counts its failovers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The timeline that the log was written on.
    pub timeline: u32,
    /// The byte in the log.
    pub lsn: u64,
}

impl Position {
    /// Whether somebody who has seen everything up to here has seen `other`. Both parts must be at least as high: a
    /// higher byte on an older timeline may be a piece of history that was abandoned.
    pub fn covers(&self, other: Position) -> bool {
        self.timeline >= other.timeline && self.lsn >= other.lsn
    }

    /// The newer of two positions of one cluster, as far as they can be compared.
    #[must_use]
    pub fn newest(self, other: Position) -> Position {
        if (other.timeline, other.lsn) > (self.timeline, self.lsn) {
            other
        } else {
            self
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.timeline, self.lsn)
    }
}

/// A text that is no position, or no list of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a position in a cluster's log")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (timeline, lsn) = text.split_once('-').ok_or(InvalidPosition)?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits(timeline) || !digits(lsn) {
            return Err(InvalidPosition);
        }
        Ok(Self {
            timeline: timeline.parse().map_err(|_| InvalidPosition)?,
            lsn: u64::from_str_radix(lsn, 16).map_err(|_| InvalidPosition)?,
        })
    }
}

/// The clusters in one list are few; a header with more is not ours.
const CLUSTERS_MAX: usize = 64;

/// The positions that a request must see, or that it produced, by cluster. The text form, in the header of internal
/// calls, is `inventory=3-16b3748;users.main=1-99`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, Position>);

impl Positions {
    /// No position at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The position in `cluster`, if there is one.
    pub fn get(&self, cluster: &str) -> Option<Position> {
        self.0.get(cluster).copied()
    }

    /// Adds a position, unless a newer one is known already.
    pub fn add(&mut self, cluster: &str, position: Position) {
        match self.0.get_mut(cluster) {
            Some(known) => *known = known.newest(position),
            None => {
                self.0.insert(cluster.to_owned(), position);
            }
        }
    }

    /// Adds all of `other`, keeping the newest of each cluster.
    pub fn merge(&mut self, other: &Positions) {
        for (cluster, position) in other.iter() {
            self.add(cluster, position);
        }
    }

    /// All clusters and positions, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Position)> {
        self.0.iter().map(|(cluster, position)| (cluster.as_str(), *position))
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (cluster, position)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(";")?;
            }
            write!(f, "{cluster}={position}")?;
        }
        Ok(())
    }
}

impl FromStr for Positions {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let mut positions = Self::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (cluster, position) = part.split_once('=').ok_or(InvalidPosition)?;
            positions.add(cluster, position.parse()?);
            if positions.0.len() > CLUSTERS_MAX {
                return Err(InvalidPosition);
            }
        }
        Ok(positions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(timeline: u32, lsn: u64) -> Position {
        Position { timeline, lsn }
    }

    #[test]
    fn a_position_covers_only_what_is_older_in_both_parts() {
        assert!(at(3, 100).covers(at(3, 100)));
        assert!(at(4, 100).covers(at(3, 99)));
        assert!(!at(3, 99).covers(at(3, 100)));
        assert!(
            !at(2, 500).covers(at(3, 100)),
            "an older timeline may have been abandoned"
        );
        assert!(!at(4, 50).covers(at(3, 100)), "not replayed that far yet");
    }

    #[test]
    fn merging_keeps_the_newest_of_each_cluster() {
        let mut positions: Positions = "inventory=3-16b3748;users.main=1-99".parse().unwrap();
        positions.merge(&"inventory=2-ffffffff;users.main=1-a0".parse().unwrap());
        assert_eq!(positions.to_string(), "inventory=3-16b3748;users.main=1-a0");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "3",
            "3-",
            "-3",
            "3-xyz",
            "x-3",
            "+3-1",
            "3-+1",
            "99999999999-1",
            "3-11111111111111111",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(InvalidPosition), "{bad}");
        }
        assert!("inventory".parse::<Positions>().is_err());
        let many: String = (0..100).map(|number| format!("c{number}=1-1;")).collect();
        assert!(many.parse::<Positions>().is_err());
    }

    proptest! {
        #[test]
        fn a_position_survives_its_text(timeline: u32, lsn: u64) {
            let position = at(timeline, lsn);
            prop_assert_eq!(position.to_string().parse::<Position>(), Ok(position));
        }
    }
}
