//! A rate limit on UDP replies for each client network.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::PoisonError;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::addresses::network_of;
use crate::sync::Mutex;

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
        let slots = &mut slots[self.set(network) * WAYS..][..WAYS];
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

    /// Returns the index of the set of a network.
    fn set(&self, network: IpNet) -> usize {
        self.hasher.hash_one(network) as usize % (NETWORKS_MAX / WAYS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::sync::{AtomicU64, explore};

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
        explore(|| {
            let (limit, now) = (limit(100), Instant::now());
            assert_eq!(replies(&limit, "192.0.2.1", 100, now), 100);
            assert_eq!(replies(&limit, "192.0.2.2", 400, now), 100);
            assert_eq!(replies(&limit, "192.0.3.1", 100, now), 100);
            let later = now + Duration::from_millis(500);
            assert_eq!(replies(&limit, "192.0.2.1", 50, later), 50);
            assert_eq!(replies(&limit, "192.0.2.1", 4, later), 1);
        });
    }

    #[test]
    fn an_ipv6_network_is_a_56_bit_prefix() {
        explore(|| {
            let (limit, now) = (limit(1), Instant::now());
            assert_eq!(replies(&limit, "2001:db8::1", 1, now), 1);
            assert_eq!(replies(&limit, "2001:db8:0:ff::1", 1, now), 0);
            assert_eq!(replies(&limit, "2001:db8:0:100::1", 1, now), 1);
        });
    }

    #[test]
    fn spoofed_sources_do_not_grow_the_table() {
        explore(|| {
            let (limit, now) = (limit(1), Instant::now());
            for source in 0..200_000_u32 {
                limit.try_acquire(IpAddr::V4((source << 8).into()), || now);
            }
            let slots = limit.slots.lock().expect("not poisoned");
            assert_eq!(slots.capacity(), NETWORKS_MAX);
            assert!(slots.iter().all(Option::is_some));
        });
    }

    #[test]
    fn threads_share_the_burst_of_a_network() {
        explore(|| {
            let (limit, now) = (Arc::new(limit(2)), Instant::now());
            let request_twice = || {
                let limit = Arc::clone(&limit);
                shuttle::thread::spawn(move || replies(&limit, "192.0.2.1", 2, now))
            };
            let threads = [request_twice(), request_twice()];
            let replies = threads.map(|thread| thread.join().expect("the thread has ended"));
            assert_eq!(replies.iter().sum::<usize>(), 2);
        });
    }

    #[test]
    fn time_never_goes_backwards_between_threads() {
        let address = "192.0.2.1".parse().expect("an address");
        explore(move || check_as_one_thread(&RandomState::new(), &[], [&[address; 2]; 2]));
    }

    #[test]
    fn threads_evict_the_network_with_the_oldest_arrival() {
        let limit = limit(1);
        let set_of = |address: IpAddr| limit.set(network_of(address, 24, 56));
        let addresses = (0_u32..).map(|source| IpAddr::V4((source << 8).into()));
        let set = set_of(IpAddr::V4(0.into()));
        let same_set = addresses.filter(|address| set_of(*address) == set);
        let addresses: Vec<_> = same_set.take(WAYS + 2).collect();
        let hasher = limit.hasher.clone();
        explore(move || {
            let (full, new) = addresses.split_at(WAYS);
            check_as_one_thread(&hasher, full, [&[new[0]], &[full[0], new[1]]]);
        });
    }

    /// Makes some requests, then those of two threads. Checks that the replies and the table are those of one
    /// thread that makes the same requests in the order in which they read the clock.
    fn check_as_one_thread(hasher: &RandomState, first: &[IpAddr], then: [&[IpAddr]; 2]) {
        let new_limit = || RateLimit {
            hasher: hasher.clone(),
            ..limit(1)
        };
        let (shared, start) = (Arc::new(new_limit()), Instant::now());
        // The clock advances by half a second per reading, which is a step of its own.
        let readings = Arc::new(AtomicU64::new(0));
        let spawn = |addresses: &[IpAddr]| {
            let (shared, readings) = (Arc::clone(&shared), Arc::clone(&readings));
            let addresses = addresses.to_vec();
            shuttle::thread::spawn(move || {
                let request = |address| {
                    let mut now = start;
                    let is_answered = shared.try_acquire(address, || {
                        now +=
                            Duration::from_millis(500 * readings.fetch_add(1, Ordering::Relaxed));
                        now
                    });
                    (now, address, is_answered)
                };
                addresses.into_iter().map(request).collect::<Vec<_>>()
            })
        };
        let mut replies = spawn(first).join().expect("the thread has ended");
        for thread in then.map(spawn) {
            replies.extend(thread.join().expect("the thread has ended"));
        }
        replies.sort();
        let one_thread = new_limit();
        for (now, address, is_answered) in replies {
            let is_expected = one_thread.try_acquire(address, || now);
            assert_eq!(is_answered, is_expected, "{address} at {:?}", now - start);
        }
        let entries = |limit: &RateLimit| -> Vec<_> {
            let slots = limit.slots.lock().expect("not poisoned");
            let entries = slots.iter().flatten();
            entries
                .map(|entry| (entry.network, entry.arrival, entry.excess))
                .collect()
        };
        assert_eq!(entries(&shared), entries(&one_thread));
    }
}
