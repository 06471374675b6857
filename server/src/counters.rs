//! The counters of a server.

use std::iter::zip;
use std::ops::{AddAssign, Index};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chime_protocol::{RequestCounts, RequestKind};
use strum::{EnumCount, VariantArray};

use crate::sync::AtomicU64;

/// The counters of a server, except those of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantArray)]
pub enum Counter {
    /// A connection was welcomed.
    ConnectionServed,
    /// A connection was refused: the server is full.
    ConnectionRefused,
    /// A connection was refused: its address is at its limit.
    AddressRefused,
    /// A connection was closed: its network is denied, or not allowed.
    NetworkDenied,
    /// A connection was closed: it has no valid PROXY header, or is not from a trusted proxy.
    HeaderRejected,
    /// Accepting failed, and was retried after a pause.
    AcceptFailed,
    /// A conversation ended without an error.
    ConversationEnded,
    /// A conversation was closed at the idle timeout.
    ConversationIdle,
    /// A conversation was closed at the line timeout (slow writer).
    LineTooSlow,
    /// A conversation was closed at the write timeout (slow reader).
    ReaderTooSlow,
    /// A conversation ended with an I/O error.
    ConversationFailed,
    /// A conversation was cut at the drain timeout.
    ConversationCut,
    /// A conversation ended in a panic, which is a bug in the server.
    ConversationPanicked,
    /// A byte received over TCP.
    ByteReceived,
    /// A byte sent over TCP.
    ByteSent,
    /// The reply to a datagram was sent.
    DatagramAnswered,
    /// The reply to a datagram could not be sent.
    DatagramUnsent,
    /// A datagram got no reply: not a request, not unicast, or from a client that is not served.
    DatagramIgnored,
    /// A datagram got no reply: over the rate limit of its network.
    DatagramLimited,
}

impl Counter {
    /// Returns how the conversations ended that this counts, in the words of the metrics and of the log; `None` if it
    /// counts something else. Each conversation ends in exactly one of these.
    pub const fn outcome(self) -> Option<&'static str> {
        Some(match self {
            Counter::ConversationEnded => "ended",
            Counter::ConversationIdle => "idle",
            Counter::LineTooSlow => "slow_line",
            Counter::ReaderTooSlow => "slow_reader",
            Counter::ConversationFailed => "failed",
            Counter::ConversationCut => "cut",
            Counter::ConversationPanicked => "panicked",
            Counter::ConnectionServed
            | Counter::ConnectionRefused
            | Counter::AddressRefused
            | Counter::NetworkDenied
            | Counter::HeaderRejected
            | Counter::AcceptFailed
            | Counter::ByteReceived
            | Counter::ByteSent
            | Counter::DatagramAnswered
            | Counter::DatagramUnsent
            | Counter::DatagramIgnored
            | Counter::DatagramLimited => return None,
        })
    }
}

/// The counters of one worker. It cannot be cloned, so each worker has its own, and workers do not contend for a cache
/// line.
#[derive(Debug, Default)]
pub struct Counters(Arc<Values>);

/// Reads the counters of one worker, from any thread.
#[derive(Clone, Debug)]
pub struct CounterReader(Arc<Values>);

#[derive(Debug, Default)]
struct Values {
    counters: [AtomicU64; Counter::COUNT],
    /// In the order of [`RequestKind::ALL`].
    requests: [AtomicU64; RequestKind::ALL.len()],
}

impl Counters {
    /// Returns a reader of these counters.
    pub fn reader(&self) -> CounterReader {
        CounterReader(Arc::clone(&self.0))
    }

    /// Counts one event.
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several events.
    pub(crate) fn add(&self, counter: Counter, count: u64) {
        add(&self.0.counters[counter as usize], count);
    }

    /// Counts requests.
    pub(crate) fn add_requests(&self, requests: &RequestCounts) {
        for (counter, (_, count)) in zip(&self.0.requests, requests.iter()) {
            add(counter, count);
        }
    }
}

impl CounterReader {
    /// Returns the current values. Each is read by itself, so the snapshot is not atomic.
    pub fn snapshot(&self) -> CounterSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterSnapshot {
            counters: self.0.counters.each_ref().map(load),
            requests: zip(RequestKind::ALL, self.0.requests.iter().map(load)).collect(),
        }
    }
}

/// Adds to a counter, which only the owning worker does: this is not an atomic increment.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// The values of the counters of one or more workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterSnapshot {
    counters: [u64; Counter::COUNT],
    /// Requests received over TCP.
    pub requests: RequestCounts,
}

impl CounterSnapshot {
    /// Returns the number of ended conversations, however they ended.
    pub fn conversations_ended(&self) -> u64 {
        let ends = Counter::VARIANTS
            .iter()
            .filter(|counter| counter.outcome().is_some());
        ends.map(|end| self[*end]).sum()
    }
}

impl Index<Counter> for CounterSnapshot {
    type Output = u64;

    fn index(&self, counter: Counter) -> &u64 {
        &self.counters[counter as usize]
    }
}

impl AddAssign for CounterSnapshot {
    fn add_assign(&mut self, other: CounterSnapshot) {
        for (sum, count) in self.counters.iter_mut().zip(other.counters) {
            *sum += count;
        }
        self.requests += other.requests;
    }
}
