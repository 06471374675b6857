//! Who may connect, and how often at one time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Whether an address is in one of these networks. Every address rule asks this.
///
/// An IPv4-mapped IPv6 address, or network of such, counts as that of IPv4.
pub(crate) fn is_among(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    let mut networks = networks.iter().copied().map(canonical);
    networks.any(|network| network.contains(&address))
}

/// Returns a network of IPv4-mapped IPv6 addresses as that of IPv4, and any other as it is.
pub fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), length) if network.addr().is_ipv6() && length >= MAPPED => {
            IpNet::new_assert(address.into(), length - MAPPED)
        }
        _ => network,
    }
}

/// The length of the prefix that all IPv4-mapped addresses share.
const MAPPED: u8 = 96;

/// The network of an address, for limits that count clients by network: the prefix has `v4` bits for
/// IPv4 and `v6` bits for IPv6.
pub(crate) fn network_of(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let address = address.to_canonical();
    IpNet::new_assert(address, if address.is_ipv4() { v4 } else { v6 }).trunc()
}

/// How many connections each address has.
///
/// The addresses of an IPv6 network /64 are one, since one client can have them all.
#[derive(Debug)]
pub struct Addresses {
    connections_max: NonZero<u32>,
    connections: Mutex<BTreeMap<IpNet, u32>>,
}

impl Addresses {
    /// Allows each address this many connections at one time.
    pub fn new(connections_max: NonZero<u32>) -> Addresses {
        Addresses {
            connections_max,
            connections: Mutex::default(),
        }
    }

    /// Counts one more connection until the permit is dropped; `None` if the address has as many as it
    /// may.
    pub(crate) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<Box<AddressPermit>> {
        let address = network_of(address, 32, 64);
        let mut connections = self.lock();
        let count = connections.entry(address).or_default();
        if *count == self.connections_max.get() {
            return None;
        }
        *count += 1;
        Some(Box::new(AddressPermit {
            addresses: Arc::clone(self),
            address,
        }))
    }

    /// The counts are right even if another thread has panicked: each change is one step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpNet, u32>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission for one connection of an address.
#[derive(Debug)]
pub(crate) struct AddressPermit {
    addresses: Arc<Addresses>,
    address: IpNet,
}

impl Drop for AddressPermit {
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
        let first = addresses.acquire(address("127.0.0.1"));
        let second = addresses.acquire(address("::ffff:127.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(addresses.acquire(address("127.0.0.1")).is_none());
        assert!(addresses.acquire(address("127.0.0.2")).is_some());
        drop(first);
        assert!(addresses.acquire(address("127.0.0.1")).is_some());
        drop(second);
        assert!(addresses.lock().is_empty(), "who has gone is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let addresses = Arc::new(Addresses::new(NonZero::<u32>::MIN));
        let _permit = addresses.acquire(address("2001:db8::1")).expect("a permit");
        assert!(addresses.acquire(address("2001:db8::2")).is_none());
        assert!(addresses.acquire(address("2001:db8:0:1::2")).is_some());
    }

    #[test]
    fn mapped_networks_and_addresses_are_those_of_ipv4() {
        let network = |text: &str| text.parse::<IpNet>().expect("a network");
        for (written, canonical_form) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(canonical(network(written)).trunc(), network(canonical_form));
            let networks = [network(written)];
            for (client, is_member) in [
                (
                    "10.1.2.3",
                    canonical_form.contains("/8") || !canonical_form.contains(':'),
                ),
                ("::ffff:10.1.2.3", !canonical_form.contains(':')),
                ("2001:db8::1", canonical_form.starts_with("2001")),
            ] {
                assert_eq!(
                    is_among(address(client), &networks),
                    is_member,
                    "{client} {written}"
                );
            }
        }
        assert!(!is_among(
            address("::ffff:11.0.0.1"),
            &[network("::ffff:10.0.0.0/104")]
        ));
        assert!(!is_among(
            address("10.1.2.4"),
            &[network("::ffff:10.1.2.3/128")]
        ));
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
