//! Which number the timeline gets that a promotion begins: one that no promotion before it can have used.
//!
//! Postgres takes the number after the last one of whose timeline it has a history. A node that hasn't heard of the last
//! promotion takes that one's number again, and two timelines of one number are one to Postgres, Patroni and pg_rewind:
//! who is on the one is not rewound, and goes on with the other's log behind its own.
//!
//! So `promotion` says the number as well, and histories without content stand in for the numbers that this node skips.
//! Replicas fetch them beside the others. What is left of them on a node that was not promoted, `patroni-with-rules` takes
//! away before that follows anybody or is started.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::postgres::Log;

/// More numbers than this were never skipped: somebody wrote nonsense into `promotion`.
const SKIPPED_MAX: u32 = 1000;

/// The histories of timelines beside a server's log.
pub(super) struct Histories {
    directory: PathBuf,
}

impl Histories {
    pub(super) fn of(data_directory: &Path) -> Self {
        Self {
            directory: data_directory.join("pg_wal"),
        }
    }

    /// The number of the timeline that this server begins when it is promoted next. Afterwards it can be no other, and
    /// it is greater than `used` and than any that this server has heard of.
    pub(super) fn reserve(&self, own: &Log, used: u32) -> io::Result<u32> {
        let newest = self.newest()?.max(own.timeline_at_most).max(used);
        let skipped = own.timeline_at_least + 1..=newest;
        if newest.saturating_sub(own.timeline_at_least) > SKIPPED_MAX {
            return Err(io::Error::other(format!(
                "timeline {newest} was used, and this node is on {}",
                own.timeline_at_least
            )));
        }
        let mut made = false;
        for timeline in skipped.filter(|timeline| *timeline > 1) {
            made |= self.stand_in(timeline)?;
        }
        if made {
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(newest + 1)
    }

    fn newest(&self) -> io::Result<u32> {
        let mut newest = 0;
        for entry in fs::read_dir(&self.directory)? {
            newest = newest.max(entry?.file_name().to_str().and_then(timeline_of).unwrap_or(0));
        }
        Ok(newest)
    }

    /// Whether there was no history of `timeline`.
    fn stand_in(&self, timeline: u32) -> io::Result<bool> {
        match File::create_new(self.directory.join(format!("{timeline:08X}.history"))) {
            Ok(file) => file.sync_all().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn timeline_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".history").filter(|number| number.len() == 8)?;
    u32::from_str_radix(number, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(timeline: u32) -> Log {
        Log {
            position: 1000,
            timeline_at_least: timeline,
            timeline_at_most: timeline,
        }
    }

    fn server(histories: &[&str]) -> (tempfile::TempDir, Histories) {
        let data = tempfile::tempdir().unwrap();
        let histories_of = Histories::of(data.path());
        fs::create_dir(&histories_of.directory).unwrap();
        for name in histories {
            fs::write(
                histories_of.directory.join(name),
                "1\t0/3000148\tno recovery target specified\n",
            )
            .unwrap();
        }
        (data, histories_of)
    }

    fn empty_histories(histories: &Histories) -> Vec<String> {
        let files = fs::read_dir(&histories.directory).unwrap().map(Result::unwrap);
        let empty = files.filter(|file| file.metadata().unwrap().len() == 0);
        let mut names: Vec<_> = empty.map(|file| file.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn who_has_heard_of_the_last_promotion_takes_the_next_number() {
        let (_data, histories) = server(&["00000002.history", "000000020000000000000003"]);
        assert_eq!(histories.reserve(&on(2), 2).unwrap(), 3);
        assert_eq!(empty_histories(&histories), [""; 0]);
    }

    #[test]
    fn the_first_promotion_of_a_cluster_begins_the_second_timeline() {
        let (_data, histories) = server(&[]);
        assert_eq!(histories.reserve(&on(1), 0).unwrap(), 2);
    }

    #[test]
    fn numbers_that_others_used_are_skipped() {
        let (_data, histories) = server(&["0000000B.history"]);
        assert_eq!(histories.reserve(&on(9), 12).unwrap(), 13);
        assert_eq!(empty_histories(&histories), ["0000000A.history", "0000000C.history"]);
        // A second look finds everything in its place.
        assert_eq!(histories.reserve(&on(9), 12).unwrap(), 13);
    }

    #[test]
    fn a_timeline_that_it_has_only_heard_of_is_not_begun_again() {
        let (_data, histories) = server(&["00000004.history"]);
        assert_eq!(histories.reserve(&on(2), 2).unwrap(), 5);
        assert_eq!(empty_histories(&histories), ["00000003.history"]);
    }

    #[test]
    fn a_number_that_nobody_can_have_reached_is_refused() {
        let (_data, histories) = server(&[]);
        let refused = histories.reserve(&on(2), u32::MAX).unwrap_err();
        assert!(refused.to_string().contains("this node is on 2"));
        assert_eq!(empty_histories(&histories), [""; 0]);
    }
}
