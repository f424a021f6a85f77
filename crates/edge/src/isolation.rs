//! Whether the origin can be reached. An edge that is cut off from it leaves new customers to the others.

use std::sync::Arc;
use std::time::Duration;

use shop_net::listen::ListenSource;

use crate::handler::App;

const LOOK: Duration = Duration::from_secs(1);

/// Looks at the origin for as long as it is polled, and at what requests have found out about it. While it fails, the
/// edge takes only the connections that nobody else takes: it has much of what they ask for, but not all.
pub async fn follow(app: Arc<App>, sources: Vec<ListenSource>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut was_failing = false;
    loop {
        ticks.tick().await;
        app.fetcher.look_at_origin().await;
        let is_failing = app.fetcher.origin_is_failing();
        if is_failing == was_failing {
            continue;
        }
        was_failing = is_failing;
        for source in &sources {
            source.set_reluctant(is_failing);
        }
        if is_failing {
            tracing::warn!("The origin can't be reached, leaving new customers to others");
        } else {
            tracing::info!("The origin can be reached");
        }
    }
}
