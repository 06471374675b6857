//! Counters per kind of client.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter shared by threads.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one kind of client.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) connections: Count,
    pub(crate) requests: Count,
    /// Connections that a client reset, or that the server closed because of a hostile client.
    pub(crate) faults: Count,
    /// Unexpected replies.
    pub(crate) wrong: Count,
    /// Missing replies.
    pub(crate) lost: Count,
}

impl Figures {
    pub(crate) const HEADINGS: &'static str =
        " connections    requests      faults   wrong    lost";

    pub(crate) fn plus(self, other: &Figures) -> Figures {
        self.connections.add(other.connections.get());
        self.requests.add(other.requests.get());
        self.faults.add(other.faults.get());
        self.wrong.add(other.wrong.get());
        self.lost.add(other.lost.get());
        self
    }
}

impl fmt::Display for Figures {
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
