//! What is said of each request: one JSON line, as all other log lines are.

use std::time::SystemTime;

use serde::Serialize;
use shop_front::access_log::LogBuffer;

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

/// One thread's log.
pub struct ThreadLog {
    instance: String,
    lines: LogBuffer,
}

impl ThreadLog {
    /// Logs what this instance answers.
    pub fn new(instance: String, lines: LogBuffer) -> Self {
        Self { instance, lines }
    }

    /// Logs a request.
    pub fn record(&self, line: &Line<'_>) {
        self.lines.push(|out, clock| {
            let mut ts = String::new();
            clock.write(&mut ts, SystemTime::now());
            let whole = Whole {
                ts,
                level: "INFO",
                msg: "Answered a request",
                service: "edge",
                instance: &self.instance,
                line,
            };
            out.push_str(&serde_json::to_string(&whole).unwrap_or_default());
            out.push('\n');
        });
    }

    /// Hands over what there is every so often, for as long as it is polled.
    pub async fn flush_forever(&self) {
        self.lines.flush_forever().await;
    }
}
