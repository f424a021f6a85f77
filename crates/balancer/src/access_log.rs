//! One JSON line for each request, in batches: threads collect lines and a thread of its own writes them, so that a
//! slow reader of stdout never holds up a request.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::text::{push_decimal, push_digits, push_ms_exact};

const BATCH_BYTES: usize = 16 * 1024;
/// Room for the line with which a batch becomes full.
const BATCH_CAPACITY: usize = BATCH_BYTES + 2 * 1024;
const BATCHES_WAITING_MAX: usize = 256;

/// What is said of one request. The query is left out: it may hold what people searched for.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) route: &'a str,
    pub(crate) side: &'static str,
    pub(crate) status: u16,
    pub(crate) upstream: &'a str,
    pub(crate) tries: u32,
    pub(crate) duration: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) is_complete: bool,
    pub(crate) request_id: &'a str,
    pub(crate) trace_id: &'a str,
    pub(crate) span_id: &'a str,
}

/// The writing end, shared by all threads.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog {
    batches: Option<SyncSender<String>>,
    lost: Arc<AtomicU64>,
    instance: Arc<str>,
}

impl AccessLog {
    /// Starts the writer; it ends when the last log and buffer are gone. `is_on` false keeps no lines at all.
    pub(crate) fn start(instance: &str, is_on: bool) -> std::io::Result<(Self, Option<JoinHandle<()>>)> {
        let instance = Arc::from(instance);
        if !is_on {
            return Ok((
                Self {
                    batches: None,
                    lost: Arc::default(),
                    instance,
                },
                None,
            ));
        }
        let (batches, waiting) = sync_channel(BATCHES_WAITING_MAX);
        let writer = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_forever(&waiting))?;
        Ok((
            Self {
                batches: Some(batches),
                lost: Arc::default(),
                instance,
            },
            Some(writer),
        ))
    }

    /// Batches that were dropped because stdout was too slow.
    pub(crate) fn lost_batches(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// A buffer for one thread.
    pub(crate) fn buffer(&self) -> LogBuffer {
        LogBuffer {
            log: self.clone(),
            lines: RefCell::default(),
        }
    }
}

fn write_forever(waiting: &Receiver<String>) {
    for batch in waiting {
        // There is nowhere to report that stdout is gone.
        let _ = std::io::stdout().lock().write_all(batch.as_bytes());
    }
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    clock: Clock,
}

/// Collects the lines of one thread.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    log: AccessLog,
    lines: RefCell<Lines>,
}

impl LogBuffer {
    /// Adds a line, and hands the batch over once it is large.
    pub(crate) fn push(&self, line: &Line<'_>) {
        if self.log.batches.is_none() {
            return;
        }
        let is_full = {
            let Lines { text, clock } = &mut *self.lines.borrow_mut();
            if text.capacity() == 0 {
                text.reserve(BATCH_CAPACITY);
            }
            write_line(text, line, &self.log.instance, clock, SystemTime::now());
            text.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
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
}

impl Drop for LogBuffer {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_line(out: &mut String, line: &Line<'_>, instance: &str, clock: &mut Clock, now: SystemTime) {
    out.push_str("{\"ts\":\"");
    clock.write(out, now);
    out.push_str("\",\"level\":\"INFO\",\"msg\":\"");
    write_escaped(out, line.method);
    out.push(' ');
    write_escaped(out, line.path);
    out.push(' ');
    push_decimal(out, line.status.into());
    out.push_str("\",\"service\":\"balancer\",\"instance\":\"");
    write_escaped(out, instance);
    for (name, value) in [
        ("trace_id", line.trace_id),
        ("span_id", line.span_id),
        ("target", "access"),
        ("request_id", line.request_id),
        ("method", line.method),
        ("path", line.path),
        ("route", line.route),
        ("upstream", line.upstream),
        ("side", line.side),
    ] {
        out.push_str("\",\"");
        out.push_str(name);
        out.push_str("\":\"");
        write_escaped(out, value);
    }
    out.push_str("\",\"status\":");
    push_decimal(out, line.status.into());
    out.push_str(",\"tries\":");
    push_decimal(out, line.tries.into());
    out.push_str(",\"ms\":");
    push_ms_exact(out, line.duration);
    out.push_str(",\"bytes\":");
    push_decimal(out, line.bytes_sent);
    out.push_str(if line.is_complete {
        ",\"complete\":true}\n"
    } else {
        ",\"complete\":false}\n"
    });
}

fn write_escaped(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
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
                // Writing to a String can't fail.
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
}

/// The timestamp of the last line, since most of it is the next one's too.
#[derive(Debug, Default)]
struct Clock {
    second: Option<u64>,
    /// Up to the second.
    text: String,
}

impl Clock {
    /// Appends a time in RFC 3339.
    fn write(&mut self, out: &mut String, now: SystemTime) {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text.clear();
            write_second(&mut self.text, second);
        }
        out.push_str(&self.text);
        out.push('.');
        push_digits::<3>(out, since_epoch.subsec_millis().into());
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
    use super::*;

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

    #[test]
    fn a_line_is_json_whatever_the_path_holds() {
        let line = Line {
            method: "GET",
            path: "/a\"b\\c\u{1}",
            route: "/",
            side: "public",
            status: 200,
            upstream: "inventory-1",
            tries: 2,
            duration: Duration::from_micros(1500),
            bytes_sent: 10,
            is_complete: true,
            request_id: "r",
            trace_id: "t",
            span_id: "s",
        };
        let mut out = String::new();
        write_line(&mut out, &line, "balancer-1", &mut Clock::default(), SystemTime::now());
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(parsed["path"], "/a\"b\\c\u{1}");
        assert_eq!(parsed["ms"], 1.5);
        assert_eq!(parsed["tries"], 2);
        assert!(out.ends_with('\n'));
    }
}
