//! The routes file, read again when it changes. What can't be used is refused, and the routes in force stay.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use shop_net::discovery::Discovery;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::live::Live;
use crate::routes::RouteTable;
use crate::service::Service;
use crate::{Shared, health};

const POLL: Duration = Duration::from_secs(1);
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// New services get so long to be found before requests are sent to them.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(5);
const DISCOVERY_POLL: Duration = Duration::from_millis(20);

/// What became of the file, for operators.
#[derive(Debug, Default)]
pub(crate) struct RoutesFile {
    /// Why its present content is not in force.
    pub(crate) refusal: ArcSwapOption<String>,
    pub(crate) reloads: AtomicU64,
    pub(crate) refusals: AtomicU64,
}

/// Follows DNS and the health of each service in force.
#[derive(Debug, Default)]
pub(crate) struct Followers(HashMap<String, Follower>);

#[derive(Debug)]
struct Follower {
    addresses: Vec<(String, u16)>,
    _task: AbortOnDropHandle<()>,
}

impl Followers {
    /// Begins with services that are new or have moved. Returns them.
    pub(crate) fn begin(&mut self, live: &Live) -> Vec<Arc<Service>> {
        let mut begun = Vec::new();
        for (service, names) in live.services.iter().zip(&live.table.services) {
            let known = self.0.get(&names.name);
            if known.is_some_and(|known| known.addresses == names.addresses) {
                continue;
            }
            let discovery = Discovery::watch_all(names.addresses.clone());
            let follower = Follower {
                addresses: names.addresses.clone(),
                _task: AbortOnDropHandle::new(tokio::spawn(health::follow(service.clone(), discovery))),
            };
            self.0.insert(names.name.clone(), follower);
            begun.push(service.clone());
        }
        begun
    }

    /// Ends with services that are gone.
    fn end(&mut self, live: &Live) {
        self.0
            .retain(|name, _| live.services.iter().any(|service| service.name == *name));
    }
}

/// Reads the file every second, for as long as it is polled. `in_force` is the text that the process began with.
pub(crate) async fn watch(shared: Arc<Shared>, mut followers: Followers, path: PathBuf, in_force: String) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut judged = Ok(in_force);
    let mut seen = judged.clone();
    loop {
        ticks.tick().await;
        let now = read(&path).map_err(|error| error.to_string());
        // Half a file is not a file: whoever writes it may not have finished.
        let is_settled = now == seen;
        seen = now;
        if seen == judged || !is_settled {
            continue;
        }
        judged = seen.clone();
        let parsed = match &judged {
            Ok(text) => RouteTable::parse(text).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match parsed {
            Ok(table) => {
                apply(&shared, &mut followers, table).await;
                shared.routes_file.refusal.store(None);
                shared.routes_file.reloads.fetch_add(1, Relaxed);
                info!(path = %path.display(), "Routes replaced");
            }
            Err(error) => {
                warn!(path = %path.display(), error, "Routes file refused; the routes in force stay");
                shared.routes_file.refusals.fetch_add(1, Relaxed);
                shared.routes_file.refusal.store(Some(Arc::new(error)));
            }
        }
    }
}

async fn apply(shared: &Shared, followers: &mut Followers, table: RouteTable) {
    let next = Live::next(&shared.live.load(), table);
    let begun = followers.begin(&next);
    let all_found = async {
        while begun.iter().any(|service| service.backends().is_empty()) {
            tokio::time::sleep(DISCOVERY_POLL).await;
        }
    };
    if tokio::time::timeout(DISCOVERY_PATIENCE, all_found).await.is_err() {
        warn!("A new service has no backends yet");
    }
    let next = Arc::new(next);
    shared.live.store(next.clone());
    followers.end(&next);
}

/// The file is small and lies in a page cache: reading it takes less than asking another thread to.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}
