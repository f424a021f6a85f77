//! Marks in the report of a load test that runs at the same time.
//!
//! It sees by itself what Docker tells of: who dies, freezes and starts. The rest it is told here, in the file that it keeps of
//! that (loadtest/README.md).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::fault::Action;

const RUNS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.work/loadtest");
const EVENTS: &str = "events.tsv";
/// Written to each second or two as long as a load test runs.
const SIGN_OF_LIFE: &str = "cpu.tsv";
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Whether Docker tells of it, so that the load test knows already.
fn is_seen(action: Action) -> bool {
    matches!(action, Action::Kill | Action::Stop | Action::Pause | Action::Memory)
}

/// Writes into every load test that runs just now that this is done to these, or undone.
pub fn mark(action: Action, is_undone: bool, victims: &[String]) {
    if is_seen(action) {
        return;
    }
    let what = match (action, is_undone) {
        (Action::Cut, false) => "was cut off",
        (Action::Cut, true) => "is connected again",
        (Action::Slow, false) => "got a slow link",
        (Action::Slow, true) => "has its link back",
        (Action::DiskFull, false) => "has a full disk",
        (Action::DiskFull, true) => "has room again",
        (other, _) => other.key(),
    };
    for run in runs_under_way(Path::new(RUNS)) {
        // A mark that is missing in a report is no reason to stop breaking the stack.
        let _ = append(&run, what, victims);
    }
}

fn runs_under_way(runs: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(runs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let is_alive = |folder: &PathBuf| {
        let written = fs::metadata(folder.join(SIGN_OF_LIFE)).and_then(|file| file.modified());
        written.is_ok_and(|written| written.elapsed().unwrap_or_default() < SILENCE_MAX)
    };
    folders.filter(is_alive).collect()
}

fn append(run: &Path, what: &str, victims: &[String]) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut events = OpenOptions::new().append(true).open(run.join(EVENTS))?;
    let lines: String = victims
        .iter()
        .map(|victim| format!("{}\t{what}\t{victim}\n", now.as_millis()))
        .collect();
    events.write_all(lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_test_that_runs_gets_a_line_for_each_and_one_that_is_over_none() {
        let runs = std::env::temp_dir().join(format!("marks-{}", uuid::Uuid::new_v4()));
        let (running, over) = (runs.join("running"), runs.join("over"));
        for folder in [&running, &over] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(EVENTS), "1\tdie\tx\n").unwrap();
            fs::write(folder.join(SIGN_OF_LIFE), "").unwrap();
        }
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let sign = OpenOptions::new().write(true).open(over.join(SIGN_OF_LIFE)).unwrap();
        sign.set_modified(long_ago).unwrap();
        assert_eq!(runs_under_way(&runs), std::slice::from_ref(&running));
        append(&running, "was cut off", &["user-1".to_owned(), "cache-1".to_owned()]).unwrap();
        let events = fs::read_to_string(running.join(EVENTS)).unwrap();
        let lines: Vec<&str> = events.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[2].ends_with("\twas cut off\tcache-1"), "{events}");
        fs::remove_dir_all(runs).unwrap();
    }

    #[test]
    fn without_a_load_test_nothing_is_written() {
        assert!(runs_under_way(Path::new("/nowhere")).is_empty());
    }
}
