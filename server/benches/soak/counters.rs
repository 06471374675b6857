//! Counters per kind of client.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter shared by threads.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one kind of client.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) connections: Counter,
    pub(crate) requests: Counter,
    /// Connections that a client reset, or that the server closed because of a hostile client.
    pub(crate) faults: Counter,
    /// Unexpected replies.
    pub(crate) wrong: Counter,
    /// Missing replies.
    pub(crate) lost: Counter,
}

impl Counters {
    pub(crate) const HEADINGS: &'static str =
        " connections    requests      faults   wrong    lost";

    pub(crate) fn plus(self, other: &Counters) -> Counters {
        self.connections.add(other.connections.get());
        self.requests.add(other.requests.get());
        self.faults.add(other.faults.get());
        self.wrong.add(other.wrong.get());
        self.lost.add(other.lost.get());
        self
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12}{:>12}{:>12}{:>8}{:>8}",
            self.connections.get(),
            self.requests.get(),
            self.faults.get(),
            self.wrong.get(),
            self.lost.get()
        )
    }
}
