//! Whether this process reaches anybody at all. One that doesn't leaves new customers to the other balancers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::{info, warn};

use crate::Shared;

const LOOK: Duration = Duration::from_millis(100);

/// Compares what is known with what is, for as long as it is polled. A process begins isolated: customers can be served
/// once a backend was found.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let is_isolated = !reaches_anybody(&shared);
        if shared.is_isolated.swap(is_isolated, Relaxed) == is_isolated {
            continue;
        }
        shared.set_reluctant(is_isolated);
        if is_isolated {
            warn!("No backend of any service can be reached, leaving new customers to others");
        } else {
            info!("Backends can be reached");
        }
    }
}

fn reaches_anybody(shared: &Shared) -> bool {
    let live = shared.live.load();
    let mut services = live.services.iter();
    services.any(|service| service.load_backends().iter().any(|backend| backend.is_reached()))
}
