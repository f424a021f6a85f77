//! Watches DNS names and keeps the last good answer.
//!
//! Docker's DNS stalls for seconds on names whose containers are all gone, so no caller ever waits for a
//! look-up: they read what was last known.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

/// From the beginning of one look-up to that of the next, so that what changes is known within two seconds as long as
/// DNS answers within one.
const REFRESH: Duration = Duration::from_secs(1);
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

/// The addresses behind one or more DNS names, refreshed every second by a task that ends with the last clone.
#[derive(Clone, Debug)]
pub struct Discovery {
    addresses: watch::Receiver<Arc<[SocketAddr]>>,
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

impl Discovery {
    /// Watches one name. Must be called within a tokio runtime; returns at once, with no addresses known yet.
    pub fn watch(name: &str, port: u16) -> Self {
        Self::watch_all(vec![(name.to_owned(), port)])
    }

    /// Watches several names and merges their answers.
    pub fn watch_all(names: Vec<(String, u16)>) -> Self {
        let (sender, addresses) = watch::channel(Arc::from([]));
        let task = AbortOnDropHandle::new(tokio::spawn(refresh_forever(names, sender, lookup)));
        Self {
            addresses,
            _task: Some(Arc::new(task)),
        }
    }

    /// Always the same addresses, for what is configured by address.
    pub fn fixed(addresses: impl Into<Arc<[SocketAddr]>>) -> Self {
        let (_, addresses) = watch::channel(addresses.into());
        Self { addresses, _task: None }
    }

    /// The last good answer, sorted; empty until the first one.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        self.addresses.borrow().clone()
    }

    /// Waits until the addresses differ from those that this clone saw in its last call.
    pub async fn changed(&mut self) {
        if self.addresses.changed().await.is_err() {
            // The addresses are fixed: they never change.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until at least one address is known.
    pub async fn known(&mut self) -> Arc<[SocketAddr]> {
        loop {
            let addresses = self.addresses.borrow_and_update().clone();
            if !addresses.is_empty() {
                return addresses;
            }
            self.changed().await;
        }
    }
}

async fn refresh_forever<F: Future<Output = Result<BTreeSet<SocketAddr>, String>>>(
    names: Vec<(String, u16)>,
    sender: watch::Sender<Arc<[SocketAddr]>>,
    lookup: impl Fn(String, u16) -> F,
) {
    let mut last_answers: Vec<BTreeSet<SocketAddr>> = vec![BTreeSet::new(); names.len()];
    let mut failing = vec![false; names.len()];
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !sender.is_closed() {
        ticks.tick().await;
        let lookups = names.iter().map(|(name, port)| lookup(name.clone(), *port));
        for (index, answer) in futures::future::join_all(lookups).await.into_iter().enumerate() {
            match answer {
                Ok(answer) => {
                    failing[index] = false;
                    last_answers[index] = answer;
                }
                Err(reason) => {
                    if !std::mem::replace(&mut failing[index], true) {
                        warn!(name = %names[index].0, %reason, "Look-up failed, keeping the last good answer");
                    }
                }
            }
        }
        let merged: BTreeSet<SocketAddr> = last_answers.iter().flatten().copied().collect();
        sender.send_if_modified(|current| {
            if current.iter().eq(merged.iter()) {
                return false;
            }
            info!(names = ?names, addresses = ?merged, "Addresses changed");
            *current = merged.into_iter().collect();
            true
        });
    }
}

/// An empty answer counts as a failure: a name without addresses is a name that DNS forgot for now.
async fn lookup(name: String, port: u16) -> Result<BTreeSet<SocketAddr>, String> {
    let answer = tokio::time::timeout(LOOKUP_DEADLINE, tokio::net::lookup_host((name, port)));
    match answer.await {
        Err(_) => Err(format!("no answer within {} s", LOOKUP_DEADLINE.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(addresses)) => {
            let addresses: BTreeSet<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                Err("no addresses".to_owned())
            } else {
                Ok(addresses)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_without_the_caller_waiting() {
        let mut discovery = Discovery::watch("127.0.0.1", 8000);
        assert!(discovery.addresses().is_empty());
        let addresses = tokio::time::timeout(Duration::from_secs(10), discovery.known())
            .await
            .expect("an answer");
        assert_eq!(&*addresses, ["127.0.0.1:8000".parse().expect("an address")]);
    }

    #[tokio::test]
    async fn several_names_are_merged_without_duplicates() {
        let names = vec![
            ("127.0.0.2".to_owned(), 1),
            ("127.0.0.1".to_owned(), 1),
            ("127.0.0.1".to_owned(), 1),
        ];
        let mut discovery = Discovery::watch_all(names);
        let addresses = tokio::time::timeout(Duration::from_secs(10), discovery.known())
            .await
            .expect("an answer");
        let expected: Vec<SocketAddr> = vec![([127, 0, 0, 1], 1).into(), ([127, 0, 0, 2], 1).into()];
        assert_eq!(&*addresses, expected);
    }

    #[tokio::test]
    async fn an_unknown_name_is_an_error_and_not_an_empty_answer() {
        assert!(lookup("no-such-host.invalid".to_owned(), 80).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_come_and_go_are_known_within_two_seconds() {
        // DNS takes most of a second to answer, and a moment to know of a change.
        const ANSWER: Duration = Duration::from_millis(900);
        let known_to_dns = Arc::new(Mutex::new(BTreeSet::from([address(1)])));
        let dns = known_to_dns.clone();
        let (sender, mut addresses) = watch::channel(Arc::from([]));
        let lookup = move |_, _| {
            let answer = dns.lock().expect("not poisoned").clone();
            async move {
                tokio::time::sleep(ANSWER).await;
                Ok(answer)
            }
        };
        let names = vec![("inventory".to_owned(), 8000)];
        let _task = AbortOnDropHandle::new(tokio::spawn(refresh_forever(names, sender, lookup)));
        addresses.changed().await.expect("found");
        for (pause_ms, now) in [(0, vec![1, 2]), (10, vec![2]), (990, vec![2, 3]), (500, vec![1])] {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let expected: Vec<_> = now.into_iter().map(address).collect();
            *known_to_dns.lock().expect("not poisoned") = expected.iter().copied().collect();
            tokio::time::timeout(Duration::from_secs(2), addresses.changed())
                .await
                .expect("known in time")
                .expect("still followed");
            assert_eq!(&**addresses.borrow(), expected);
        }
    }

    fn address(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 8000).into()
    }

    #[tokio::test]
    async fn fixed_addresses_never_change() {
        let mut discovery = Discovery::fixed([SocketAddr::from(([127, 0, 0, 1], 9))]);
        assert_eq!(discovery.addresses().len(), 1);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), discovery.changed())
                .await
                .is_err()
        );
    }
}
