//! Whose turn it is to accept from a shared socket.
//!
//! Everybody who shares the socket is woken for each connection, and without more the same one always wins. So the
//! process that accepted last steps back for a moment, and within a process the thread that did: an idle process gets
//! its share, and a frozen one costs the others a moment only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long whoever accepted last lets the others go first.
pub(crate) const COURTESY: Duration = Duration::from_millis(1);
/// How many connections may be taken after one pause, so that a burst isn't slowed down.
const BURST_MAX: u32 = 8;

/// What the threads of one process know together.
#[derive(Debug)]
pub(crate) struct Courtesy {
    pub(crate) has_other_processes: bool,
    threads: AtomicU64,
    next_thread: AtomicU64,
    accepted: AtomicU64,
    process_was_last: AtomicBool,
    last_thread: AtomicU64,
    is_reluctant: AtomicBool,
}

impl Courtesy {
    pub(crate) fn new(has_other_processes: bool) -> Self {
        Self {
            has_other_processes,
            threads: AtomicU64::new(0),
            next_thread: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            process_was_last: AtomicBool::new(false),
            last_thread: AtomicU64::new(0),
            is_reluctant: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_reluctant(&self, is_reluctant: bool) {
        self.is_reluctant.store(is_reluctant, Relaxed);
    }
}

/// One thread's view.
#[derive(Debug)]
pub(crate) struct Turn {
    courtesy: Arc<Courtesy>,
    thread: u64,
    /// How many connections the process had accepted when this thread last looked.
    seen: u64,
    pub(crate) burst_left: u32,
}

impl Turn {
    pub(crate) fn new(courtesy: Arc<Courtesy>) -> Self {
        courtesy.threads.fetch_add(1, Relaxed);
        let thread = courtesy.next_thread.fetch_add(1, Relaxed);
        Self {
            courtesy,
            thread,
            seen: 0,
            burst_left: 0,
        }
    }

    /// Whether somebody else should have the connection that has just come.
    pub(crate) fn is_for_others(&self) -> bool {
        let process_was_last = self.courtesy.has_other_processes && self.courtesy.process_was_last.load(Relaxed);
        let thread_was_last =
            self.courtesy.threads.load(Relaxed) > 1 && self.courtesy.last_thread.load(Relaxed) == self.thread;
        self.burst_left == 0 && (process_was_last || thread_was_last)
    }

    /// Whether this process takes only what nobody else does.
    pub(crate) fn is_reluctant(&self) -> bool {
        self.courtesy.is_reluctant.load(Relaxed)
    }

    /// The others had their moment; if there is something left, it is ours.
    pub(crate) fn has_waited(&mut self) {
        self.burst_left = BURST_MAX;
    }

    pub(crate) fn accepted(&mut self) {
        self.seen = self.courtesy.accepted.fetch_add(1, Relaxed) + 1;
        self.courtesy.process_was_last.store(true, Relaxed);
        self.courtesy.last_thread.store(self.thread, Relaxed);
        self.burst_left = self.burst_left.saturating_sub(1);
    }

    /// Somebody else was faster: if it was no thread of this process, then another process.
    pub(crate) fn missed(&mut self) {
        let accepted = self.courtesy.accepted.load(Relaxed);
        if accepted == self.seen {
            self.courtesy.process_was_last.store(false, Relaxed);
        }
        self.seen = accepted;
        self.burst_left = 0;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.courtesy.threads.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_steps_back_after_its_turn_until_another_had_one() {
        let courtesy = Arc::new(Courtesy::new(true));
        let (mut first, mut second) = (Turn::new(courtesy.clone()), Turn::new(courtesy));
        assert!(!first.is_for_others() && !second.is_for_others());
        first.accepted();
        second.missed();
        assert!(
            first.is_for_others() && second.is_for_others(),
            "its sibling was faster, not another process"
        );
        first.missed();
        assert!(!second.is_for_others(), "another process was faster");
    }

    #[test]
    fn within_a_process_of_its_own_only_the_last_thread_steps_back() {
        let courtesy = Arc::new(Courtesy::new(false));
        let (mut first, second) = (Turn::new(courtesy.clone()), Turn::new(courtesy));
        first.accepted();
        assert!(first.is_for_others() && !second.is_for_others());
        drop(second);
        assert!(!first.is_for_others(), "there is nobody to step back for");
    }

    #[test]
    fn a_burst_is_taken_after_one_pause() {
        let mut turn = Turn::new(Arc::new(Courtesy::new(true)));
        turn.accepted();
        assert!(turn.is_for_others());
        turn.has_waited();
        for _ in 0..BURST_MAX {
            assert!(!turn.is_for_others());
            turn.accepted();
        }
        assert!(turn.is_for_others());
    }
}
