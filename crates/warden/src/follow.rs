//! Keeps a picture of the cluster up to date by watching etcd.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::cluster::{self, Cluster, ClusterError, ClusterKeys};
use crate::etcd::Etcd;

/// An etcd that froze ends no stream: the picture is never older than this, and mostly as old as the last change.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The cluster as it was when etcd was last heard of.
#[derive(Clone)]
pub(crate) struct Picture(Arc<watch::Sender<Cluster>>);

impl Picture {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::default()))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Cluster> {
        self.0.subscribe()
    }

    /// Takes over what was read, unless something newer is known.
    pub(crate) fn update(&self, read: Cluster) {
        metrics::gauge!("warden_promotions").set(read.promotion.number as f64);
        self.0.send_if_modified(|known| {
            if read.revision < known.revision {
                return false;
            }
            let revision = read.revision;
            let differs = *known
                != Cluster {
                    revision: known.revision,
                    ..read.clone()
                };
            *known = Cluster { revision, ..read };
            differs
        });
    }
}

/// Watches for ever. While no etcd answers, the picture stays as it was.
pub(crate) async fn run(etcd: Arc<Etcd>, keys: ClusterKeys, picture: Picture) {
    let mut pause = PAUSE_FIRST;
    loop {
        match follow(&etcd, &keys, &picture).await {
            Ok(()) => pause = PAUSE_FIRST,
            Err(error) => {
                if pause == PAUSE_FIRST {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "The watch on etcd ended, starting another"
                    );
                }
                metrics::counter!("warden_watch_failures_total").increment(1);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

async fn follow(etcd: &Etcd, keys: &ClusterKeys, picture: &Picture) -> Result<(), ClusterError> {
    let cluster = cluster::read(etcd, keys).await?;
    let mut changes = etcd.watch(&keys.all(), cluster.revision + 1).await?;
    picture.update(cluster);
    while let Ok(changed) = timeout(REFRESH_INTERVAL, changes.changed()).await {
        changed?;
        picture.update(cluster::read(etcd, keys).await?);
    }
    Ok(())
}
