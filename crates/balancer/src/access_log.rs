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

const BATCH_BYTES: usize = 16 * 1024;
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
            lines: RefCell::new(String::new()),
        }
    }
}

fn write_forever(waiting: &Receiver<String>) {
    for batch in waiting {
        // There is nowhere to report that stdout is gone.
        let _ = std::io::stdout().lock().write_all(batch.as_bytes());
    }
}

/// Collects the lines of one thread.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    log: AccessLog,
    lines: RefCell<String>,
}

impl LogBuffer {
    /// Adds a line, and hands the batch over once it is large.
    pub(crate) fn push(&self, line: &Line<'_>) {
        if self.log.batches.is_none() {
            return;
        }
        let is_full = {
            let mut lines = self.lines.borrow_mut();
            write_line(&mut lines, line, &self.log.instance, SystemTime::now());
            lines.len() >= BATCH_BYTES
        };
        if is_full {
            self.flush();
        }
    }

    /// Hands over what there is.
    pub(crate) fn flush(&self) {
        let batch = std::mem::take(&mut *self.lines.borrow_mut());
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

fn write_line(out: &mut String, line: &Line<'_>, instance: &str, now: SystemTime) {
    out.push_str("{\"ts\":\"");
    write_timestamp(out, now);
    out.push_str("\",\"level\":\"INFO\",\"msg\":\"");
    write_escaped(out, line.method);
    out.push(' ');
    write_escaped(out, line.path);
    // Writing to a String can't fail.
    let _ = write!(out, " {}\",\"service\":\"balancer\",\"instance\":\"", line.status);
    write_escaped(out, instance);
    let _ = write!(
        out,
        "\",\"trace_id\":\"{}\",\"span_id\":\"{}\"",
        line.trace_id, line.span_id
    );
    let _ = write!(
        out,
        ",\"target\":\"access\",\"request_id\":\"{}\",\"method\":\"",
        line.request_id
    );
    write_escaped(out, line.method);
    out.push_str("\",\"path\":\"");
    write_escaped(out, line.path);
    out.push_str("\",\"route\":\"");
    write_escaped(out, line.route);
    out.push_str("\",\"upstream\":\"");
    write_escaped(out, line.upstream);
    let ms = line.duration.as_secs_f64() * 1e3;
    let _ = writeln!(
        out,
        "\",\"side\":\"{}\",\"status\":{},\"tries\":{},\"ms\":{ms:.3},\"bytes\":{},\"complete\":{}}}",
        line.side, line.status, line.tries, line.bytes_sent, line.is_complete
    );
}

fn write_escaped(out: &mut String, text: &str) {
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

/// RFC 3339 in UTC, by the civil calendar counted from March (as in Hinnant's "chrono-compatible date algorithms").
fn write_timestamp(out: &mut String, now: SystemTime) {
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_epoch.as_secs();
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
    let milliseconds = since_epoch.subsec_millis();
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(seconds: u64, milliseconds: u32) -> String {
        let mut out = String::new();
        write_timestamp(&mut out, UNIX_EPOCH + Duration::new(seconds, milliseconds * 1_000_000));
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
        write_line(&mut out, &line, "balancer-1", SystemTime::now());
        let parsed: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(parsed["path"], "/a\"b\\c\u{1}");
        assert_eq!(parsed["ms"], 1.5);
        assert_eq!(parsed["tries"], 2);
        assert!(out.ends_with('\n'));
    }
}
