//! One JSON line a request, on stdout, like all other log lines; written in batches by a thread of its own, because a
//! write for each hit would cost more than the hit.

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Lines that wait to be written; more are dropped, and counted.
const LINES_MAX: usize = 8192;
/// What is written at once.
const BATCH_BYTES: usize = 64 * 1024;
/// How long a process that ends waits for its last lines to be written.
const FLUSH_DEADLINE: Duration = Duration::from_millis(500);
const FLUSH_POLL: Duration = Duration::from_millis(5);

/// What is said about a request.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// What the cache did, in a word.
    pub cache: &'static str,
    /// The length of the body.
    pub bytes: u64,
    /// How long it took until the answer began.
    pub ms: f64,
}

#[derive(Serialize)]
struct Whole<'a> {
    ts: String,
    level: &'static str,
    msg: &'static str,
    service: &'static str,
    instance: &'a str,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

enum Message {
    Line(Vec<u8>),
    /// All that came before is to be written; dropped when it is.
    Flush(SyncSender<()>),
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    instance: Arc<str>,
    messages: Option<SyncSender<Message>>,
}

impl AccessLog {
    /// Starts the thread that writes.
    pub fn start(instance: &str) -> std::io::Result<Self> {
        Self::start_on(instance, std::io::stdout())
    }

    fn start_on(instance: &str, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (messages, waiting) = sync_channel(LINES_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&waiting, out))?;
        Ok(Self {
            instance: instance.into(),
            messages: Some(messages),
        })
    }

    /// A log that writes nothing.
    pub fn none() -> Self {
        Self {
            instance: "".into(),
            messages: None,
        }
    }

    /// Logs a request.
    pub fn record(&self, line: &Line<'_>) {
        let Some(messages) = &self.messages else { return };
        let whole = Whole {
            ts: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            level: "INFO",
            msg: "Answered a request",
            service: "edge",
            instance: &self.instance,
            line,
        };
        let mut bytes = serde_json::to_vec(&whole).unwrap_or_default();
        bytes.push(b'\n');
        if messages.try_send(Message::Line(bytes)).is_err() {
            metrics::counter!("edge_log_lines_dropped_total").increment(1);
        }
    }

    /// Waits until all that was recorded before is written, but not for long: stdout may be stuck. Blocks.
    pub fn flush(&self) {
        let Some(messages) = &self.messages else { return };
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let (done, written) = sync_channel(0);
        let mut flush = Message::Flush(done);
        while let Err(TrySendError::Full(again)) = messages.try_send(flush) {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(FLUSH_POLL);
            flush = again;
        }
        // Nothing is ever sent: the other end is dropped.
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn write_all(waiting: &Receiver<Message>, mut out: impl Write) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(first) = waiting.recv() {
        let mut next = Some(first);
        let mut flushed = None;
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Flush(done) => flushed = Some(done),
            }
            next = if batch.len() < BATCH_BYTES && flushed.is_none() {
                waiting.try_recv().ok()
            } else {
                None
            };
        }
        // There is nowhere to report that stdout is gone.
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        drop(flushed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flush_ends_when_everything_before_it_is_written() {
        let written = Written::default();
        let log = AccessLog::start_on("edge-1", written.clone()).unwrap();
        for status in [200, 304, 404] {
            log.record(&Line {
                request_id: "r",
                trace_id: None,
                method: "GET",
                path: "/photos/1",
                status,
                cache: "hit",
                bytes: 1,
                ms: 0.5,
            });
        }
        log.flush();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["status"], 404);
    }
}
