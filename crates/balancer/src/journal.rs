//! What is to be logged of requests that are over. The lines are written by a task of their own, once the answers have
//! left: nobody has to wait for them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode, Uri};
use shop_front::access_log::LogBuffer;
use tokio::sync::Notify;

use crate::Side;
use crate::access_log::{Line, write_line};
use crate::backend::Backend;
use crate::exchange::start_of;
use crate::identity::Identity;
use crate::live::Live;

/// One request that is over.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) live: Arc<Live>,
    pub(crate) identity: Identity,
    pub(crate) side: Side,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Index into the route table.
    pub(crate) route: Option<usize>,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) tries: u32,
    pub(crate) status: StatusCode,
    pub(crate) duration: Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) is_complete: bool,
}

/// The entries of one thread. There are never more than could end within a turn of its event loop.
#[derive(Debug)]
pub(crate) struct Journal {
    log: LogBuffer,
    instance: String,
    entries: RefCell<Vec<Entry>>,
    is_begun: Notify,
}

impl Journal {
    pub(crate) fn new(log: LogBuffer, instance: String) -> Self {
        Self {
            log,
            instance,
            entries: RefCell::default(),
            is_begun: Notify::new(),
        }
    }

    /// Whether anything is logged at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.log.is_on()
    }

    pub(crate) fn note(&self, entry: Entry) {
        let mut entries = self.entries.borrow_mut();
        if entries.is_empty() {
            self.is_begun.notify_one();
        }
        entries.push(entry);
    }

    /// Writes what is noted, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        let writing = async {
            loop {
                self.is_begun.notified().await;
                self.write();
            }
        };
        tokio::join!(writing, self.log.flush_forever());
    }

    fn write(&self) {
        let mut entries = self.entries.borrow_mut();
        let now = SystemTime::now();
        for entry in entries.drain(..) {
            let route = entry.route.map(|route| &entry.live.table.routes[route]);
            let line = Line {
                method: entry.method.as_str(),
                path: start_of(entry.uri.path()),
                route: route.map_or("none", |route| &route.name),
                side: entry.side.as_str(),
                status: entry.status.as_u16(),
                upstream: entry.backend.as_ref().map_or("", |backend| backend.name()),
                tries: entry.tries,
                duration: entry.duration,
                bytes_sent: entry.bytes_sent,
                is_complete: entry.is_complete,
                request_id: entry.identity.request_id(),
                trace_id: entry.identity.trace_id(),
                span_id: entry.identity.span_id(),
            };
            self.log
                .push(|out, clock| write_line(out, &line, &self.instance, clock, now));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.write();
    }
}
