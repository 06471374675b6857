//! Access rules by network, and the limit on connections per address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, PoisonError};

use ipnet::IpNet;

use crate::sync::{Mutex, MutexGuard};

/// The networks of the clients that are served.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    /// Only these are served. If it is empty, all are.
    pub allowed: Vec<IpNet>,
    /// These are not served, even if allowed.
    pub denied: Vec<IpNet>,
}

impl Networks {
    /// Returns whether a client with this address is served.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        let is_allowed = self.allowed.is_empty() || is_among(address, &self.allowed);
        is_allowed && !is_among(address, &self.denied)
    }
}

/// Returns whether an address is in one of these networks. Every address rule uses this.
///
/// IPv4-mapped IPv6 addresses and networks count as IPv4.
pub(crate) fn is_among(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    let mut networks = networks.iter().copied().map(canonical);
    networks.any(|network| network.contains(&address))
}

/// Converts a network of IPv4-mapped IPv6 addresses to IPv4. Returns any other network unchanged.
pub fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), length) if network.addr().is_ipv6() && length >= MAPPED_PREFIX => {
            IpNet::new_assert(address.into(), length - MAPPED_PREFIX)
        }
        _ => network,
    }
}

/// The prefix length of the IPv4-mapped addresses, `::ffff:0:0/96`.
const MAPPED_PREFIX: u8 = 96;

/// Returns the network of an address, for limits per network. The prefix has `v4` bits for IPv4 and `v6`
/// bits for IPv6.
pub(crate) fn network_of(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let address = address.to_canonical();
    IpNet::new_assert(address, if address.is_ipv4() { v4 } else { v6 }).trunc()
}

/// The limit on concurrent connections per address.
///
/// An IPv6 network /64 counts as one address, since one client can have all of it.
#[derive(Debug)]
pub struct Addresses {
    connections_max: NonZero<u32>,
    connections: Mutex<BTreeMap<IpNet, u32>>,
}

impl Addresses {
    /// Allows each address this many concurrent connections.
    pub fn new(connections_max: NonZero<u32>) -> Addresses {
        Addresses {
            connections_max,
            connections: Mutex::default(),
        }
    }

    /// Acquires a permit for one connection, released when it is dropped; `None` if the address is at its
    /// limit.
    pub(crate) fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Option<Box<AddressPermit>> {
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

    /// Returns the addresses that have connections, each with the number of its connections.
    pub fn connections(&self) -> Vec<(IpNet, u32)> {
        let connections = self.lock();
        connections
            .iter()
            .map(|(address, count)| (*address, *count))
            .collect()
    }

    /// Locks the counts. A poisoned lock is harmless: each change is one step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpNet, u32>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A permit for one connection of an address.
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
    // Not shuttle's, so that a test can use them within one step.
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sync::explore;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_address_has_its_own_connection_limit() {
        explore(|| {
            let addresses = Arc::new(Addresses::new(NonZero::new(2).expect("not zero")));
            let first = addresses.try_acquire(address("127.0.0.1"));
            let second = addresses.try_acquire(address("::ffff:127.0.0.1"));
            assert!(first.is_some() && second.is_some());
            assert!(addresses.try_acquire(address("127.0.0.1")).is_none());
            let host = IpNet::from(address("127.0.0.1"));
            assert_eq!(addresses.connections(), [(host, 2)]);
            assert!(addresses.try_acquire(address("127.0.0.2")).is_some());
            drop(first);
            assert!(addresses.try_acquire(address("127.0.0.1")).is_some());
            drop(second);
            assert!(
                addresses.lock().is_empty(),
                "an address without connections is removed"
            );
        });
    }

    #[test]
    fn threads_never_exceed_the_limit_of_an_address_and_leave_nothing_behind() {
        explore(|| {
            let addresses = Arc::new(Addresses::new(NonZero::<u32>::MIN));
            let has_permit = Arc::new(AtomicBool::new(false));
            let connect = |times| {
                let (addresses, has_permit) = (Arc::clone(&addresses), Arc::clone(&has_permit));
                shuttle::thread::spawn(move || {
                    for _ in 0..times {
                        let permit = addresses.try_acquire(address("192.0.2.1"));
                        if permit.is_some() {
                            assert!(!has_permit.swap(true, Ordering::Relaxed), "over the limit");
                            shuttle::thread::yield_now();
                            has_permit.store(false, Ordering::Relaxed);
                        }
                    }
                })
            };
            for thread in [connect(2), connect(1)] {
                thread.join().expect("the thread has ended");
            }
            assert!(addresses.lock().is_empty());
        });
    }

    #[test]
    fn threads_at_the_limit_of_an_address_are_never_rejected() {
        explore(|| {
            let addresses = Arc::new(Addresses::new(NonZero::new(2).expect("not zero")));
            let connect = |times| {
                let addresses = Arc::clone(&addresses);
                shuttle::thread::spawn(move || {
                    for _ in 0..times {
                        let permit = addresses.try_acquire(address("192.0.2.1"));
                        assert!(permit.is_some());
                    }
                })
            };
            for thread in [connect(2), connect(1)] {
                thread.join().expect("the thread has ended");
            }
            assert!(addresses.lock().is_empty());
        });
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_address() {
        explore(|| {
            let addresses = Arc::new(Addresses::new(NonZero::<u32>::MIN));
            let _permit = addresses
                .try_acquire(address("2001:db8::1"))
                .expect("a permit");
            assert!(addresses.try_acquire(address("2001:db8::2")).is_none());
            assert!(addresses.try_acquire(address("2001:db8:0:1::2")).is_some());
        });
    }

    #[test]
    fn ipv4_mapped_networks_and_addresses_are_ipv4() {
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
    fn a_network_both_allowed_and_denied_is_denied() {
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
            assert_eq!(served.allows(address(text)), is_served, "{text}");
        }
        assert!(Networks::default().allows(address("192.0.2.1")));
    }
}
