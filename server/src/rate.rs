//! A rate limit on UDP replies for each client network.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::addresses::network_of;

/// Slots of the set-associative hash table. It has a fixed size, so spoofed sources cannot make it grow.
const NETWORKS_MAX: usize = 16_384;

/// The associativity: each network hashes to a set of this many slots. A full set evicts the entry with the
/// oldest theoretical arrival time.
const WAYS: usize = 4;

/// The burst tolerance: a network may use up the replies of this much time at once.
const BURST: Duration = Duration::from_secs(1);

/// One in this many requests over the rate still gets a reply. A victim whose address is spoofed in a
/// flood can still use the server, as with chrony's `leak`.
const LEAK: u32 = 4;

/// A rate limit on replies for each IPv4 network /24 and IPv6 network /56: the generic cell rate algorithm
/// (GCRA).
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    hasher: RandomState,
    slots: Mutex<Vec<Option<Entry>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    network: IpNet,
    /// GCRA's theoretical arrival time: when the next request conforms without any burst tolerance.
    arrival: Instant,
    /// Requests over the rate, for [`LEAK`].
    excess: u32,
}

impl RateLimit {
    /// Allows each network this many replies per second.
    pub fn new(per_second: NonZero<u32>) -> RateLimit {
        RateLimit {
            interval: Duration::from_secs(1) / per_second.get(),
            hasher: RandomState::new(),
            slots: Mutex::new(vec![None; NETWORKS_MAX]),
        }
    }

    /// Returns whether a request from `address` gets a reply, and counts it. `clock` must be monotonic.
    pub(crate) fn try_acquire(&self, address: IpAddr, clock: impl FnOnce() -> Instant) -> bool {
        let network = network_of(address, 24, 56);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that time never goes backwards from one worker to the next.
        let now = clock();
        let set = self.hasher.hash_one(network) as usize % (NETWORKS_MAX / WAYS);
        let slots = &mut slots[set * WAYS..][..WAYS];
        let arrival = |slot: &Option<Entry>| slot.map(|entry| entry.arrival);
        let hit = slots
            .iter()
            .position(|slot| slot.is_some_and(|entry| entry.network == network));
        let index = hit.or_else(|| (0..WAYS).min_by_key(|index| arrival(&slots[*index])));
        let slot = &mut slots[index.expect("a set has slots")];
        let fresh = Entry {
            network,
            arrival: now,
            excess: 0,
        };
        let entry = match slot {
            Some(entry) if entry.network == network => entry,
            evicted => evicted.insert(fresh),
        };
        let arrival = entry.arrival.max(now) + self.interval;
        if arrival - now <= BURST {
            entry.arrival = arrival;
            return true;
        }
        entry.excess = entry.excess.wrapping_add(1);
        entry.excess.is_multiple_of(LEAK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32) -> RateLimit {
        RateLimit::new(NonZero::new(per_second).expect("not zero"))
    }

    fn replies(limit: &RateLimit, address: &str, count: u32, now: Instant) -> usize {
        let address = address.parse().expect("an address");
        (0..count)
            .filter(|_| limit.try_acquire(address, || now))
            .count()
    }

    #[test]
    fn a_network_gets_a_burst_and_then_one_reply_in_four() {
        let (limit, now) = (limit(100), Instant::now());
        assert_eq!(replies(&limit, "192.0.2.1", 100, now), 100);
        assert_eq!(replies(&limit, "192.0.2.2", 400, now), 100);
        assert_eq!(replies(&limit, "192.0.3.1", 100, now), 100);
        let later = now + Duration::from_millis(500);
        assert_eq!(replies(&limit, "192.0.2.1", 50, later), 50);
        assert_eq!(replies(&limit, "192.0.2.1", 4, later), 1);
    }

    #[test]
    fn an_ipv6_network_is_a_56_bit_prefix() {
        let (limit, now) = (limit(1), Instant::now());
        assert_eq!(replies(&limit, "2001:db8::1", 1, now), 1);
        assert_eq!(replies(&limit, "2001:db8:0:ff::1", 1, now), 0);
        assert_eq!(replies(&limit, "2001:db8:0:100::1", 1, now), 1);
    }

    #[test]
    fn a_million_sources_do_not_grow_the_table() {
        let (limit, now) = (limit(1), Instant::now());
        for source in 0..1_000_000_u32 {
            limit.try_acquire(IpAddr::V4((source << 8).into()), || now);
        }
        let slots = limit.slots.lock().expect("not poisoned");
        assert_eq!(slots.capacity(), NETWORKS_MAX);
        assert!(slots.iter().all(Option::is_some));
    }
}
