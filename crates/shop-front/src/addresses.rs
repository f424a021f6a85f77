//! How many connections one address may have open.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

/// Whether an address is in one of the networks. An IPv4 address counts as such where it comes in IPv6's clothes.
pub fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// One customer usually has a whole /64 of IPv6.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Counts by address. Looked at when a connection comes and when it goes, never by a request; it has no more entries
/// than there are connections.
#[derive(Debug)]
pub(crate) struct AddressConnections {
    /// 0 for no limit.
    max: u32,
    /// Many come by way of these.
    unlimited: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    counted: Option<IpAddr>,
    connections: Arc<AddressConnections>,
}

impl AddressConnections {
    pub(crate) fn new(max: u32, unlimited: Vec<IpNet>) -> Self {
        Self {
            max,
            unlimited,
            open: Mutex::default(),
        }
    }

    /// None where the address has as many as it may. Those that aren't limited are not counted.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, is_public: bool) -> Option<AddressPlace> {
        let place = |counted| AddressPlace {
            counted,
            connections: self.clone(),
        };
        if self.max == 0 || !is_public || is_in(&self.unlimited, address) {
            return Some(place(None));
        }
        let address = neighbourhood(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(place(Some(address)))
    }
}

impl AddressPlace {
    /// One more for the same address.
    pub(crate) fn another(&self) -> Option<Self> {
        match self.counted {
            Some(address) => self.connections.enter(address, true),
            None => Some(Self {
                counted: None,
                connections: self.connections.clone(),
            }),
        }
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
    fn a_whole_network_of_ipv6_is_one_customer() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));

        let connections = Arc::new(AddressConnections::new(1, Vec::new()));
        let enter = |text: &str| connections.enter(text.parse().expect("an address"), true);
        let _first = enter("2001:db8::1").expect("a place");
        assert!(enter("2001:db8::2").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
    }

    #[test]
    fn an_address_has_its_places_and_gets_them_back() {
        let connections = Arc::new(AddressConnections::new(2, vec![IpAddr::from([192, 0, 2, 9]).into()]));
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let first = connections.enter(address(1), true).expect("a place");
        let _second = connections.enter(address(1), true).expect("a place");
        assert!(connections.enter(address(1), true).is_none());
        assert!(connections.enter(address(1), false).is_some(), "one's own processes");
        let _trusted = [(); 3].map(|()| connections.enter(address(9), true).expect("a trusted proxy's place"));
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
