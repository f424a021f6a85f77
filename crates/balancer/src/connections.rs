//! How many connections one address may have open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by address. Looked at when a connection comes and when it goes, never by a request; it has no more entries
/// than there are connections.
#[derive(Debug)]
pub(crate) struct AddressConnections {
    /// 0 for no limit.
    max: u32,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    counted: Option<IpAddr>,
    connections: Arc<AddressConnections>,
}

impl AddressConnections {
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            open: Mutex::default(),
        }
    }

    /// None where the address has as many as it may. Those that aren't limited are not counted.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, is_limited: bool) -> Option<AddressPlace> {
        let place = |counted| AddressPlace {
            counted,
            connections: self.clone(),
        };
        if self.max == 0 || !is_limited {
            return Some(place(None));
        }
        let address = address.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(place(Some(address)))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let Some(address) = self.counted else {
            return;
        };
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_places_and_gets_them_back() {
        let connections = Arc::new(AddressConnections::new(2));
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let first = connections.enter(address(1), true).expect("a place");
        let _second = connections.enter(address(1), true).expect("a place");
        assert!(connections.enter(address(1), true).is_none());
        assert!(connections.enter(address(1), false).is_some(), "a trusted one");
        let other = connections.enter(address(2), true).expect("another's place");
        drop(first);
        assert!(connections.enter(address(1), true).is_some());
        drop(other);
        assert_eq!(
            connections.open.lock().expect("sound").len(),
            1,
            "nothing is kept of who left"
        );
    }
}
