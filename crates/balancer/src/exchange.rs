//! One request from its arrival to the last byte of its answer: what is counted and logged of it, whatever its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode, Uri};

use crate::Side;
use crate::admission::Permit;
use crate::backend::Backend;
use crate::identity::Identity;
use crate::journal::Entry;
use crate::live::Live;
use crate::worker::Worker;

/// Records itself when it is dropped, so that aborted requests are counted as well.
#[derive(Debug)]
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    /// The routes that were in force when it began.
    pub(crate) live: Arc<Live>,
    pub(crate) started: Instant,
    pub(crate) identity: Identity,
    pub(crate) side: Side,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Index into the route table.
    pub(crate) route: Option<usize>,
    pub(crate) backend: Option<Arc<Backend>>,
    pub(crate) tries: u32,
    pub(crate) status: StatusCode,
    /// Held to the end: a request is in work until its answer was read.
    pub(crate) permit: Option<Permit>,
    bytes_sent: u64,
    is_complete: bool,
}

/// Longer paths are cut where they are repeated to logs and clients.
const PATH_BYTES_SAID: usize = 256;

/// As much of a path as is repeated.
pub(crate) fn start_of(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_SAID)]
}

/// The status that is logged if the client leaves before there is one (as nginx has it).
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Exchange {
    pub(crate) fn begin(worker: Rc<Worker>, side: Side, method: Method, uri: Uri, identity: Identity) -> Self {
        worker.in_work.update(|in_work| in_work + 1);
        Self {
            live: worker.shared.live.load_full(),
            worker,
            started: Instant::now(),
            identity,
            side,
            method,
            uri,
            route: None,
            backend: None,
            tries: 0,
            status: StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
            permit: None,
            bytes_sent: 0,
            is_complete: false,
        }
    }

    /// Bytes of the body were handed to the client's connection.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_sent += bytes as u64;
    }

    /// Whether there is so much to do that nothing is done but what must be.
    pub(crate) fn is_under_pressure(&self) -> bool {
        let service = self.route.map(|route| self.live.table.routes[route].service);
        service.is_some_and(|service| self.worker.shared.admission.is_busy(&self.live.services[service]))
    }

    /// What was handed over as so many bytes went out as this many.
    pub(crate) fn encoded(&mut self, plain_bytes: usize, encoded_bytes: usize) {
        self.bytes_sent = (self.bytes_sent + encoded_bytes as u64).saturating_sub(plain_bytes as u64);
    }

    /// The whole answer was handed over.
    pub(crate) fn completed(&mut self) {
        self.is_complete = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.in_work.update(|in_work| in_work.saturating_sub(1));
        let duration = self.started.elapsed();
        let stats = self
            .route
            .map_or(&worker.shared.stats.unrouted, |route| &*self.live.stats[route]);
        stats.record(self.status.as_u16(), duration);
        if worker.journal.is_kept() {
            worker.journal.note(Entry {
                live: self.live.clone(),
                identity: std::mem::take(&mut self.identity),
                side: self.side,
                method: std::mem::take(&mut self.method),
                uri: std::mem::take(&mut self.uri),
                route: self.route,
                backend: self.backend.take(),
                tries: self.tries,
                status: self.status,
                duration,
                bytes_sent: self.bytes_sent,
                is_complete: self.is_complete,
            });
        }
    }
}
