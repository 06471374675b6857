//! Who may connect, and how often at one time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

/// The networks that are served.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Only these are served; all of them if there is none here.
    pub allowed: Vec<IpNet>,
    /// These are not served, even if they are allowed.
    pub denied: Vec<IpNet>,
}

impl Networks {
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        let is_allowed = self.allowed.is_empty() || is_among(address, &self.allowed);
        is_allowed && !is_among(address, &self.denied)
    }
}

/// Whether an address is of one of these networks, also if it is one of IPv4 written as one of IPv6.
pub(crate) fn is_among(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// How many connections each address has.
///
/// The addresses of an IPv6 network /64 are one, since one client can have them all.
#[derive(Debug)]
pub struct Addresses {
    connections_max: NonZero<u32>,
    connections: Mutex<BTreeMap<IpAddr, u32>>,
}

impl Addresses {
    /// Allows each address so many connections at one time.
    pub fn new(connections_max: NonZero<u32>) -> Addresses {
        Addresses {
            connections_max,
            connections: Mutex::default(),
        }
    }

    /// Counts one more connection until the return value is dropped, unless the address has as many as
    /// it may.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Box<Place>> {
        let address = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & HOST)),
            v4 => v4,
        };
        let mut connections = self.lock();
        let count = connections.entry(address).or_default();
        if *count == self.connections_max.get() {
            return None;
        }
        *count += 1;
        Some(Box::new(Place {
            addresses: Arc::clone(self),
            address,
        }))
    }

    /// The counts are right even if another thread has panicked: each change is one step.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<IpAddr, u32>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bits of an IPv6 address that tell one client from another.
const HOST: u128 = !0 << 64;

/// One connection of an address.
#[derive(Debug)]
pub(crate) struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.addresses.lock();
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_have_theirs() {
        let addresses = Arc::new(Addresses::new(NonZero::new(2).expect("not zero")));
        let first = addresses.admit(address("127.0.0.1"));
        let second = addresses.admit(address("::ffff:127.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(addresses.admit(address("127.0.0.1")).is_none());
        assert!(addresses.admit(address("127.0.0.2")).is_some());
        drop(first);
        assert!(addresses.admit(address("127.0.0.1")).is_some());
        drop(second);
        assert!(addresses.lock().is_empty(), "who has gone is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let addresses = Arc::new(Addresses::new(NonZero::<u32>::MIN));
        let _place = addresses.admit(address("2001:db8::1")).expect("room");
        assert!(addresses.admit(address("2001:db8::2")).is_none());
        assert!(addresses.admit(address("2001:db8:0:1::2")).is_some());
    }

    #[test]
    fn a_denied_network_is_not_served_though_it_is_allowed() {
        let networks = |texts: &[&str]| -> Vec<IpNet> {
            let parsed = texts.iter().map(|text| text.parse().expect("a network"));
            parsed.collect()
        };
        let served = Networks {
            allowed: networks(&["10.0.0.0/8", "2001:db8::/32"]),
            denied: networks(&["10.1.0.0/16"]),
        };
        for (text, is_served) in [
            ("10.2.3.4", true),
            ("::ffff:10.2.3.4", true),
            ("10.1.3.4", false),
            ("192.0.2.1", false),
            ("2001:db8::1", true),
        ] {
            assert_eq!(served.admit(address(text)), is_served, "{text}");
        }
        assert!(Networks::default().admit(address("192.0.2.1")));
    }
}
