//! How many datagrams each network may have answered.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use crate::addresses::network_of;

/// Networks that are remembered: the table never grows, whoever pretends to send.
const NETWORKS_MAX: usize = 16_384;

/// Places in which a network may be: when all are taken, the one that has been quiet longest is forgotten.
const PLACES: usize = 4;

/// The time in which a network may ask for all that it may have at once.
const BURST: Duration = Duration::from_secs(1);

/// Of the requests over the rate, one of so many is answered: a victim in whose name someone floods the
/// server can use it still, as with chrony's `leak`.
const LEAK: u32 = 4;

/// A limit on the datagrams that each network /24 of IPv4 and /56 of IPv6 has answered.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    hasher: RandomState,
    networks: Mutex<Vec<Option<Bucket>>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    prefix: IpNet,
    /// When all that was answered would have been asked, at the rate.
    paid_until: Instant,
    /// Requests over the rate.
    over: u32,
}

impl RateLimit {
    /// Allows each network so many answers a second.
    pub fn new(per_second: NonZero<u32>) -> RateLimit {
        RateLimit {
            interval: Duration::from_secs(1) / per_second.get(),
            hasher: RandomState::new(),
            networks: Mutex::new(vec![None; NETWORKS_MAX]),
        }
    }

    /// Whether a request from `address` may be answered, by a clock that goes forward.
    pub(crate) fn admit(&self, address: IpAddr, clock: impl FnOnce() -> Instant) -> bool {
        let prefix = network_of(address, 24, 56);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that no worker has an earlier time than the one before it.
        let now = clock();
        let set = self.hasher.hash_one(prefix) as usize % (NETWORKS_MAX / PLACES);
        let places = &mut networks[set * PLACES..][..PLACES];
        let paid_until = |place: &Option<Bucket>| place.map(|network| network.paid_until);
        let own = places
            .iter()
            .position(|place| place.is_some_and(|network| network.prefix == prefix));
        let index = own.or_else(|| (0..PLACES).min_by_key(|index| paid_until(&places[*index])));
        let place = &mut places[index.expect("there are places")];
        let fresh = Bucket {
            prefix,
            paid_until: now,
            over: 0,
        };
        let network = match place {
            Some(network) if network.prefix == prefix => network,
            other => other.insert(fresh),
        };
        let paid_until = network.paid_until.max(now) + self.interval;
        if paid_until - now <= BURST {
            network.paid_until = paid_until;
            return true;
        }
        network.over = network.over.wrapping_add(1);
        network.over.is_multiple_of(LEAK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32) -> RateLimit {
        RateLimit::new(NonZero::new(per_second).expect("not zero"))
    }

    fn answered(limit: &RateLimit, address: &str, count: u32, now: Instant) -> usize {
        let address = address.parse().expect("an address");
        (0..count).filter(|_| limit.admit(address, || now)).count()
    }

    #[test]
    fn a_network_has_a_burst_and_then_one_in_four() {
        let (limit, now) = (limit(100), Instant::now());
        assert_eq!(answered(&limit, "192.0.2.1", 100, now), 100);
        assert_eq!(answered(&limit, "192.0.2.2", 400, now), 100);
        assert_eq!(answered(&limit, "192.0.3.1", 100, now), 100);
        let later = now + Duration::from_millis(500);
        assert_eq!(answered(&limit, "192.0.2.1", 50, later), 50);
        assert_eq!(answered(&limit, "192.0.2.1", 4, later), 1);
    }

    #[test]
    fn a_network_of_ipv6_has_56_bits() {
        let (limit, now) = (limit(1), Instant::now());
        assert_eq!(answered(&limit, "2001:db8::1", 1, now), 1);
        assert_eq!(answered(&limit, "2001:db8:0:ff::1", 1, now), 0);
        assert_eq!(answered(&limit, "2001:db8:0:100::1", 1, now), 1);
    }

    #[test]
    fn a_million_sources_make_it_no_larger() {
        let (limit, now) = (limit(1), Instant::now());
        for source in 0..1_000_000_u32 {
            limit.admit(IpAddr::V4((source << 8).into()), || now);
        }
        let networks = limit.networks.lock().expect("no panic");
        assert_eq!(networks.capacity(), NETWORKS_MAX);
        assert!(networks.iter().all(Option::is_some));
    }
}
