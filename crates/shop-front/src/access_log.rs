//! Lines about requests, in batches: threads collect lines and a thread of its own writes them, so that a slow reader of
//! stdout never holds up a request. What a line says is its process's business.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const BATCH_BYTES: usize = 16 * 1024;
/// Room for the line with which a batch becomes full.
const BATCH_CAPACITY: usize = BATCH_BYTES + 2 * 1024;
const BATCHES_WAITING_MAX: usize = 256;
/// How long a line may wait for its batch to be full.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// How long a process that ends waits for its last lines to be written: stdout may be stuck.
const FINISH_DEADLINE: Duration = Duration::from_millis(500);
const FINISH_POLL: Duration = Duration::from_millis(5);

/// The writing end, shared by all threads.
#[derive(Clone, Debug)]
pub struct AccessLog {
    batches: Option<SyncSender<String>>,
    lost: Arc<AtomicU64>,
}

impl AccessLog {
    /// Starts the writer to stdout; it ends when the last log and buffer are gone. `is_on` false keeps no lines at all.
    pub fn start(is_on: bool) -> std::io::Result<(Self, LogWriter)> {
        if is_on {
            Self::start_on(std::io::stdout())
        } else {
            Ok((Self::none(), LogWriter(None)))
        }
    }

    /// A log that keeps nothing.
    pub fn none() -> Self {
        Self {
            batches: None,
            lost: Arc::default(),
        }
    }

    fn start_on(out: impl Write + Send + 'static) -> std::io::Result<(Self, LogWriter)> {
        let (batches, waiting) = sync_channel(BATCHES_WAITING_MAX);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_forever(&waiting, out))?;
        let log = Self {
            batches: Some(batches),
            lost: Arc::default(),
        };
        Ok((log, LogWriter(Some(writer))))
    }

    /// Batches that were dropped because stdout was too slow.
    pub fn lost_batches(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The same, for who must not keep the log open.
    pub fn lost_counter(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    /// A buffer for one thread.
    pub fn buffer(&self) -> LogBuffer {
        LogBuffer {
            log: self.clone(),
            lines: RefCell::default(),
        }
    }
}

fn write_forever(waiting: &Receiver<String>, mut out: impl Write) {
    for batch in waiting {
        // There is nowhere to report that stdout is gone.
        let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct LogWriter(Option<JoinHandle<()>>);

impl LogWriter {
    /// Waits until everything is written, but not for long. To be called when the last log and buffer are gone, or will
    /// be soon.
    pub async fn finish(self) {
        let deadline = Instant::now() + FINISH_DEADLINE;
        while self.0.as_ref().is_some_and(|writer| !writer.is_finished()) && Instant::now() < deadline {
            tokio::time::sleep(FINISH_POLL).await;
        }
    }
}

/// Collects the lines of one thread.
#[derive(Debug)]
pub struct LogBuffer {
    log: AccessLog,
    lines: RefCell<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    clock: Clock,
}

impl LogBuffer {
    /// Whether lines are kept at all.
    pub fn is_on(&self) -> bool {
        self.log.batches.is_some()
    }

    /// Adds what `write` appends, a whole line, and hands the batch over once it is large.
    pub fn push(&self, write: impl FnOnce(&mut String, &mut Clock)) {
        if !self.is_on() {
            return;
        }
        let is_full = {
            let Lines { text, clock } = &mut *self.lines.borrow_mut();
            if text.capacity() == 0 {
                text.reserve(BATCH_CAPACITY);
            }
            write(text, clock);
            text.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        let batch = std::mem::take(&mut self.lines.borrow_mut().text);
        if batch.is_empty() {
            return;
        }
        if let Some(batches) = &self.log.batches
            && batches.try_send(batch).is_err()
        {
            self.log.lost.fetch_add(1, Relaxed);
        }
    }

    /// Hands over what there is every so often, for as long as it is polled.
    pub async fn flush_forever(&self) {
        let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
        loop {
            ticks.tick().await;
            self.flush();
        }
    }
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Appends text as the inside of a JSON string.
pub fn write_escaped(out: &mut String, text: &str) {
    let is_special = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    // Nearly always none is, which is found out fastest by looking at all of them at once.
    if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        out.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
}

/// The timestamp of the last line, since most of it is the next one's too.
#[derive(Debug, Default)]
pub struct Clock {
    second: Option<u64>,
    /// Up to the second.
    text: String,
}

impl Clock {
    /// Appends a time by RFC 3339, in UTC.
    pub fn write(&mut self, out: &mut String, now: SystemTime) {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            write_second(&mut self.text, second);
        }
        out.push_str(&self.text);
        out.push('.');
        let milliseconds = since_epoch.subsec_millis();
        for digit in [milliseconds / 100, milliseconds / 10 % 10, milliseconds % 10] {
            out.push(char::from(b'0' + digit as u8));
        }
        out.push('Z');
    }
}

/// RFC 3339 in UTC, by the civil calendar counted from March (as in Hinnant's "chrono-compatible date algorithms").
fn write_second(out: &mut String, seconds: u64) {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Writing to a String can't fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn when_the_writer_has_finished_everything_is_written() {
        let written = Written::default();
        let (log, writer) = AccessLog::start_on(written.clone()).expect("started");
        let buffer = log.buffer();
        for line in ["one\n", "two\n", "three\n"] {
            buffer.push(|out, _| out.push_str(line));
        }
        drop((log, buffer));
        writer.finish().await;
        let written = written.0.lock().expect("not poisoned").clone();
        assert_eq!(written, b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_reader_that_is_too_slow_costs_lines_and_no_time() {
        let (batches, _never_read) = sync_channel(1);
        let log = AccessLog {
            batches: Some(batches),
            lost: Arc::default(),
        };
        let buffer = log.buffer();
        for _ in 0..3 {
            buffer.push(|out, _| out.push_str("a line\n"));
            buffer.flush();
        }
        assert_eq!(log.lost_batches(), 2);
    }

    fn timestamp(seconds: u64, milliseconds: u32) -> String {
        let mut out = String::new();
        let now = UNIX_EPOCH + Duration::new(seconds, milliseconds * 1_000_000);
        Clock::default().write(&mut out, now);
        out
    }

    #[test]
    fn timestamps_are_right_around_leap_days() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(timestamp(1_709_251_199, 999), "2024-02-29T23:59:59.999Z");
        assert_eq!(timestamp(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_clock_that_goes_on_is_right() {
        let mut clock = Clock::default();
        for milliseconds in [7, 999, 1000, 1001, 59_999, 60_000] {
            let now = UNIX_EPOCH + Duration::from_millis(milliseconds);
            let mut out = String::new();
            clock.write(&mut out, now);
            let (seconds, left) = (milliseconds / 1000, milliseconds as u32 % 1000);
            assert_eq!(out, timestamp(seconds, left));
        }
    }
}
