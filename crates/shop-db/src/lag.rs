//! How far replicas are behind, measured by the primary's own past positions.
//!
//! Postgres can't say it: a replica that is cut off believes to be up to date, and its clock of replayed transactions
//! stands still when nobody writes. So each probe of the primary leaves a sample "at this moment the log was here", and
//! a replica is as far behind as the newest sample that it has replayed is older than the newest of all.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::Position;

/// At four samples a second, the last quarter of a minute.
const SAMPLES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct PrimaryTrail {
    samples: VecDeque<(Instant, Position)>,
}

impl PrimaryTrail {
    /// Notes where the primary was.
    pub(crate) fn note(&mut self, at: Instant, position: Position) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((at, position));
    }

    /// How far somebody at `position` is behind: exact to the time between two samples; at least this much where even
    /// the oldest sample is not covered. None if there has been no primary yet to compare with.
    ///
    /// The time since the primary's last sign of life doesn't count: when it is dead, nobody falls behind.
    pub(crate) fn lag(&self, position: Position) -> Option<Duration> {
        let (newest, _) = *self.samples.back()?;
        let covered = self.samples.iter().rev().find(|(_, sample)| position.covers(*sample));
        match covered {
            Some((at, _)) => Some(newest - *at),
            None => Some(Duration::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(timeline: u32, lsn: u64) -> Position {
        Position { timeline, lsn }
    }

    fn trail(positions: &[Position]) -> PrimaryTrail {
        let start = Instant::now();
        let mut trail = PrimaryTrail::default();
        for (index, position) in positions.iter().enumerate() {
            trail.note(
                start + Duration::from_millis(250) * u32::try_from(index).unwrap(),
                *position,
            );
        }
        trail
    }

    #[test]
    fn a_replica_that_has_everything_is_not_behind_however_long_the_primary_is_dead() {
        let trail = trail(&[at(1, 10), at(1, 20)]);
        assert_eq!(trail.lag(at(1, 20)), Some(Duration::ZERO));
    }

    #[test]
    fn a_replica_that_stands_still_falls_behind_while_the_primary_moves() {
        let trail = trail(&[at(1, 10), at(1, 20), at(1, 30), at(1, 40)]);
        assert_eq!(trail.lag(at(1, 25)), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_replica_on_an_abandoned_timeline_is_behind_even_with_a_longer_log() {
        let trail = trail(&[at(1, 10), at(2, 20), at(2, 30)]);
        assert_eq!(trail.lag(at(1, 99)), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_replica_older_than_all_that_is_known_is_infinitely_behind() {
        let trail = trail(&[at(1, 10)]);
        assert_eq!(trail.lag(at(1, 5)), Some(Duration::MAX));
        assert_eq!(PrimaryTrail::default().lag(at(1, 5)), None);
    }

    #[test]
    fn only_the_newest_samples_are_kept() {
        let positions: Vec<_> = (0..1000).map(|lsn| at(1, lsn)).collect();
        let trail = trail(&positions);
        assert_eq!(trail.samples.len(), SAMPLES_MAX);
        assert_eq!(trail.lag(at(1, 999)), Some(Duration::ZERO));
    }
}
