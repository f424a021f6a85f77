//! One JSON line a request, on stdout, like all other log lines; written in batches by a thread of its own, because a
//! write for each hit would cost more than the hit.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Lines that wait to be written; more are dropped, and counted.
const LINES_MAX: usize = 8192;
/// What is written at once.
const BATCH_BYTES: usize = 64 * 1024;

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

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    instance: Arc<str>,
    lines: Option<SyncSender<Vec<u8>>>,
}

impl AccessLog {
    /// Starts the thread that writes.
    pub fn start(instance: &str) -> std::io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&waiting))?;
        Ok(Self {
            instance: instance.into(),
            lines: Some(lines),
        })
    }

    /// A log that writes nothing.
    pub fn none() -> Self {
        Self {
            instance: "".into(),
            lines: None,
        }
    }

    /// Logs a request.
    pub fn record(&self, line: &Line<'_>) {
        let Some(lines) = &self.lines else { return };
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
        if lines.try_send(bytes).is_err() {
            metrics::counter!("edge_log_lines_dropped_total").increment(1);
        }
    }
}

fn write_all(waiting: &Receiver<Vec<u8>>) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    while let Ok(first) = waiting.recv() {
        batch.extend_from_slice(&first);
        while batch.len() < BATCH_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            batch.extend_from_slice(&next);
        }
        // There is nowhere to report that stdout is gone.
        let _ = std::io::stdout().lock().write_all(&batch);
        batch.clear();
    }
}
