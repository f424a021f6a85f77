//! What a node's WAL holds, as a place on a tree of timelines.

/// At most this many timelines, the first one included.
pub const TIMELINES_MAX: usize = 6;

/// A timeline as it really is: who shares its number doesn't share its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timeline {
    /// Where it comes from; the first one is its own parent.
    pub parent: u8,
    /// How many records it shares with its parent.
    pub fork: u8,
    /// The number that Postgres gives it: its parent's and one, if the fence doesn't see to another. Two promotions from
    /// one timeline get the same.
    pub number: u8,
}

/// The first `records` records of a timeline, the parents' included: what a WAL holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub timeline: u8,
    pub records: u8,
}

/// All timelines there ever were, in the order of their promotions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timelines {
    all: [Timeline; TIMELINES_MAX],
    count: u8,
}

impl Default for Timelines {
    fn default() -> Self {
        Self {
            all: [Timeline::default(); TIMELINES_MAX],
            count: 1,
        }
    }
}

impl Timelines {
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn number(&self, timeline: u8) -> u8 {
        self.get(timeline).number
    }

    /// The greatest number of all.
    pub fn newest(&self) -> u8 {
        (0..self.count)
            .map(|timeline| self.number(timeline))
            .max()
            .unwrap_or_default()
    }

    /// The first record that belongs to this timeline and to no parent: for all but the first timeline the record of
    /// its promotion.
    pub fn start(&self, timeline: u8) -> u8 {
        if timeline == 0 { 0 } else { self.get(timeline).fork + 1 }
    }

    /// Promotes what holds `from`: a new timeline, with one record that says so.
    pub fn promote(&mut self, from: Position, number: Option<u8>) -> Position {
        let timeline = self.count;
        self.all[usize::from(timeline)] = Timeline {
            parent: from.timeline,
            fork: from.records,
            number: number.unwrap_or_else(|| self.number(from.timeline) + 1),
        };
        self.count += 1;
        Position {
            timeline,
            records: from.records + 1,
        }
    }

    /// Whether everything in `a` is in `b`.
    pub fn contains(&self, b: Position, a: Position) -> bool {
        let mut b = b;
        loop {
            if a.timeline == b.timeline {
                return a.records <= b.records;
            }
            if b.timeline == 0 {
                return false;
            }
            b = self.fork_of(b.timeline);
        }
    }

    /// Whether each of the two has something that the other lacks.
    pub fn conflict(&self, a: Position, b: Position) -> bool {
        !self.contains(a, b) && !self.contains(b, a)
    }

    /// `from` and the next record on the way to `to`, which contains it.
    pub fn next(&self, from: Position, to: Position) -> Position {
        let records = from.records + 1;
        let mut timeline = to.timeline;
        while timeline != 0 && records <= self.get(timeline).fork {
            timeline = self.get(timeline).parent;
        }
        Position { timeline, records }
    }

    /// How many records the two share.
    pub fn common(&self, a: Position, b: Position) -> u8 {
        let (mut a, mut b) = (a, b);
        // Parents come before their children.
        while a.timeline != b.timeline {
            let later = if a.timeline > b.timeline { &mut a } else { &mut b };
            *later = self.fork_of(later.timeline);
        }
        a.records.min(b.records)
    }

    /// How Postgres can compare two positions, if it doesn't forget the timeline: by its number, then by length.
    pub fn rank(&self, at: Position) -> (u8, u8) {
        (self.number(at.timeline), at.records)
    }

    /// Whether the history of `b` has a timeline of this number.
    pub fn knows(&self, b: Position, number: u8) -> bool {
        let mut timeline = b.timeline;
        while self.number(timeline) > number {
            timeline = self.get(timeline).parent;
        }
        self.number(timeline) == number
    }

    /// Whether timelines' numbers hide that `a` isn't part of `b`. Patroni compares the number of `a`'s timeline with
    /// that of `b`'s. If they are equal it asks no more; if `b`'s is larger, `a` must not go on past the fork.
    pub fn seems_to_contain(&self, b: Position, a: Position) -> bool {
        let number = self.number(a.timeline);
        if self.number(b.timeline) == number {
            return true;
        }
        let mut b = b;
        while self.number(b.timeline) > number {
            b = self.fork_of(b.timeline);
        }
        self.number(b.timeline) == number && a.records <= b.records
    }

    /// Where a timeline leaves its parent.
    fn fork_of(&self, timeline: u8) -> Position {
        Position {
            timeline: self.get(timeline).parent,
            records: self.get(timeline).fork,
        }
    }

    fn get(&self, timeline: u8) -> Timeline {
        self.all[usize::from(timeline)]
    }
}
