//! When a node holds the leader for dead. No clock and no network in here: moments and observations come from outside.

use std::time::Duration;

use tokio::time::Instant;

/// What one look at the leader showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observation {
    /// What this node's own WAL receiver hears from the leader.
    pub(crate) wal: Wal,
    /// The leader's Patroni said something, whatever it was.
    pub(crate) patroni_answers: bool,
    /// The leader's Postgres accepts a TCP connection: a frozen process still does, by its kernel.
    pub(crate) accepts_connections: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wal {
    /// It streams from the leader, and heard from it not long ago.
    Fresh,
    /// It doesn't stream from the leader, or has heard nothing for too long.
    Silent,
    /// This node's Postgres could not be asked.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive,
    /// Something is amiss, and it is too early to say what.
    Suspect,
    /// This node knows too little to judge.
    Blind,
    /// No handshake, no answer, no WAL, for long enough.
    Gone,
    /// Handshakes, but no answer and no WAL, for long enough.
    Frozen,
}

/// Since when the leader has been silent, and since when it has refused connections as well.
#[derive(Debug)]
pub(crate) struct Suspicion {
    gone_after: Duration,
    frozen_after: Duration,
    silent_since: Option<Instant>,
    gone_since: Option<Instant>,
}

impl Suspicion {
    pub(crate) fn new(gone_after: Duration, frozen_after: Duration) -> Self {
        Self {
            gone_after,
            frozen_after,
            silent_since: None,
            gone_since: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.silent_since = None;
        self.gone_since = None;
    }

    /// Takes in a look that went on from `began` until `ended`.
    pub(crate) fn consider(&mut self, observation: Observation, began: Instant, ended: Instant) -> Verdict {
        if observation.patroni_answers || observation.wal == Wal::Fresh {
            self.clear();
            return Verdict::Alive;
        }
        if observation.wal == Wal::Unknown {
            self.clear();
            return Verdict::Blind;
        }
        let silent_since = *self.silent_since.get_or_insert(began);
        if observation.accepts_connections {
            self.gone_since = None;
        } else {
            self.gone_since.get_or_insert(began);
        }
        let lasted = |since: Instant, at_least| ended.duration_since(since) >= at_least;
        if self.gone_since.is_some_and(|since| lasted(since, self.gone_after)) {
            Verdict::Gone
        } else if lasted(silent_since, self.frozen_after) {
            Verdict::Frozen
        } else {
            Verdict::Suspect
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE: Observation = Observation {
        wal: Wal::Silent,
        patroni_answers: false,
        accepts_connections: false,
    };
    const FROZEN: Observation = Observation {
        accepts_connections: true,
        ..GONE
    };

    struct Looks {
        suspicion: Suspicion,
        start: Instant,
    }

    impl Looks {
        fn new() -> Self {
            Self {
                suspicion: Suspicion::new(Duration::from_millis(700), Duration::from_millis(2000)),
                start: Instant::now(),
            }
        }

        fn at(&mut self, milliseconds: u64, observation: Observation) -> Verdict {
            let moment = self.start + Duration::from_millis(milliseconds);
            self.suspicion.consider(observation, moment, moment)
        }
    }

    #[test]
    fn a_leader_without_handshake_is_gone_after_the_short_time() {
        let mut looks = Looks::new();
        assert_eq!(looks.at(0, GONE), Verdict::Suspect);
        assert_eq!(looks.at(699, GONE), Verdict::Suspect);
        assert_eq!(looks.at(700, GONE), Verdict::Gone);
    }

    #[test]
    fn a_leader_that_still_shakes_hands_is_given_the_long_time() {
        let mut looks = Looks::new();
        assert_eq!(looks.at(0, FROZEN), Verdict::Suspect);
        assert_eq!(looks.at(1999, FROZEN), Verdict::Suspect);
        assert_eq!(looks.at(2000, FROZEN), Verdict::Frozen);
    }

    #[test]
    fn one_handshake_starts_the_short_time_anew() {
        let mut looks = Looks::new();
        looks.at(0, GONE);
        looks.at(600, FROZEN);
        assert_eq!(looks.at(800, GONE), Verdict::Suspect);
        assert_eq!(looks.at(1499, GONE), Verdict::Suspect);
        assert_eq!(looks.at(1500, GONE), Verdict::Gone);
    }

    #[test]
    fn an_answer_or_fresh_wal_ends_every_suspicion() {
        for alive in [
            Observation {
                patroni_answers: true,
                ..GONE
            },
            Observation {
                wal: Wal::Fresh,
                ..GONE
            },
            Observation {
                patroni_answers: true,
                wal: Wal::Unknown,
                ..GONE
            },
        ] {
            let mut looks = Looks::new();
            looks.at(0, GONE);
            assert_eq!(looks.at(5000, alive), Verdict::Alive);
            assert_eq!(looks.at(5001, GONE), Verdict::Suspect);
        }
    }

    #[test]
    fn a_node_whose_own_postgres_is_down_never_judges() {
        let mut looks = Looks::new();
        looks.at(0, GONE);
        assert_eq!(
            looks.at(
                5000,
                Observation {
                    wal: Wal::Unknown,
                    ..GONE
                }
            ),
            Verdict::Blind
        );
        assert_eq!(looks.at(5001, GONE), Verdict::Suspect);
    }

    #[test]
    fn the_time_that_a_look_takes_counts() {
        let mut looks = Looks::new();
        let end = looks.start + Duration::from_millis(700);
        assert_eq!(looks.suspicion.consider(GONE, looks.start, end), Verdict::Gone);
    }
}
