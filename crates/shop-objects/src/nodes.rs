//! One node after the other, until one answers.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::ObjectStore;
use tokio::time::{Instant, timeout_at};

use crate::ObjectError;

/// One node's time to answer. A frozen node costs this much once; then it rests.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// The time for all nodes together.
const DEADLINE: Duration = Duration::from_secs(12);

/// A node that failed is the last choice for this long.
const REST: Duration = Duration::from_secs(5);

pub(crate) struct Node {
    pub(crate) endpoint: String,
    pub(crate) store: Arc<dyn ObjectStore>,
    attributes: bool,
    failed_at: Mutex<Option<Instant>>,
}

impl Node {
    pub(crate) fn new(endpoint: String, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            endpoint,
            store,
            attributes: true,
            failed_at: Mutex::new(None),
        }
    }

    /// A node that stores bytes only: a folder.
    pub(crate) fn without_attributes(endpoint: String, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            attributes: false,
            ..Self::new(endpoint, store)
        }
    }

    pub(crate) fn has_attributes(&self) -> bool {
        self.attributes
    }

    fn rests(&self) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| at.elapsed() < REST)
    }

    fn set_failed(&self, failed: bool) {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = failed.then(Instant::now);
    }
}

pub(crate) struct Nodes {
    nodes: Vec<Arc<Node>>,
    next: AtomicUsize,
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.nodes.iter().map(|node| &node.endpoint))
            .finish()
    }
}

impl Nodes {
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        Self {
            nodes: nodes.into_iter().map(Arc::new).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Runs `request` on a node and, where that may help, on the next ones. Each request starts with another node.
    pub(crate) async fn run<T, F, Fut>(&self, operation: &'static str, request: F) -> Result<T, ObjectError>
    where
        F: Fn(Arc<Node>) -> Fut,
        Fut: Future<Output = Result<T, object_store::Error>>,
    {
        let started = Instant::now();
        let deadline = started + DEADLINE;
        let mut failure = ObjectError::Timeout(DEADLINE);
        for node in self.in_order() {
            let attempt_deadline = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            match timeout_at(attempt_deadline, request(Arc::clone(&node))).await {
                Ok(Ok(answer)) => {
                    node.set_failed(false);
                    record(operation, "ok", started);
                    return Ok(answer);
                }
                Ok(Err(error)) if !is_worth_another_node(&error) => {
                    node.set_failed(false);
                    record(operation, "refused", started);
                    return Err(ObjectError::Store(error));
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        objects.node = node.endpoint,
                        error = &error as &dyn std::error::Error,
                        "A node of the object store failed a {operation}"
                    );
                    failure = ObjectError::Store(error);
                }
                Err(_elapsed) => {
                    tracing::warn!(
                        objects.node = node.endpoint,
                        "A node of the object store left a {operation} unanswered"
                    );
                }
            }
            node.set_failed(true);
            metrics::counter!("objects_node_failures_total", "node" => node.endpoint.clone()).increment(1);
            if Instant::now() >= deadline {
                break;
            }
        }
        record(operation, "failed", started);
        Err(failure)
    }

    /// All nodes, a different one first each time; those that failed just now last.
    fn in_order(&self) -> Vec<Arc<Node>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut nodes: Vec<Arc<Node>> = (0..self.nodes.len())
            .map(|offset| Arc::clone(&self.nodes[(first.wrapping_add(offset)) % self.nodes.len()]))
            .collect();
        nodes.sort_by_key(|node| node.rests());
        nodes
    }
}

/// Whether another node may do better. What is missing or forbidden on one is so on all.
pub(crate) fn is_worth_another_node(error: &object_store::Error) -> bool {
    use object_store::Error;
    !matches!(
        error,
        Error::NotFound { .. }
            | Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::AlreadyExists { .. }
            | Error::Precondition { .. }
            | Error::NotModified { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

fn record(operation: &'static str, outcome: &'static str, started: Instant) {
    metrics::histogram!("objects_request_seconds", "operation" => operation, "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}
