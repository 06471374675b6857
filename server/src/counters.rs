//! What a server counts while it serves.

use std::ops::{AddAssign, Index};
use std::sync::atomic::{AtomicU64, Ordering};

use chime_protocol::{Command, RequestCounts};
use strum::{EnumCount, VariantArray};

/// Something that a server counts beside requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, VariantArray)]
pub enum Counter {
    /// A connection was welcomed.
    ConnectionServed,
    /// A connection came when there was no room for one more.
    ConnectionRefused,
    /// A connection came from an address that has as many as it may.
    AddressRefused,
    /// A connection came from a network that is not served.
    NetworkDenied,
    /// A connection should have begun with a header of a trusted proxy, and did not.
    HeaderRejected,
    /// No connection could be accepted for a while.
    AcceptFailed,
    /// A conversation came to its end.
    ConversationEnded,
    /// A conversation on which no byte moved was closed.
    ConversationIdle,
    /// A conversation was closed because a line did not end.
    LineTooSlow,
    /// A conversation was closed because the client took no replies.
    ReaderTooSlow,
    /// A conversation ended with an error of its connection.
    ConversationFailed,
    /// A conversation was cut at the end of the drain timeout.
    ConversationCut,
    /// A conversation ended in a panic, which is a defect of the server.
    ConversationPanicked,
    /// A byte of a connection's client.
    ByteReceived,
    /// A byte to a connection's client.
    ByteSent,
    /// A datagram was answered.
    DatagramAnswered,
    /// A datagram has a reply that could not be sent.
    DatagramUnsent,
    /// A datagram was no request, or not one to be answered.
    DatagramIgnored,
    /// A datagram was over the rate of its network.
    DatagramLimited,
}

impl Counter {
    /// Whether it counts conversations that are over. Each conversation is counted by one of these.
    fn is_conversation_end(self) -> bool {
        match self {
            Counter::ConversationEnded
            | Counter::ConversationIdle
            | Counter::LineTooSlow
            | Counter::ReaderTooSlow
            | Counter::ConversationFailed
            | Counter::ConversationCut
            | Counter::ConversationPanicked => true,
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
            | Counter::DatagramLimited => false,
        }
    }
}

/// The counters of one worker, which others may read while it counts.
///
/// A worker has its own, so that none waits for another's memory.
#[derive(Debug, Default)]
pub struct Counters {
    counters: [AtomicU64; Counter::COUNT],
    commands: [AtomicU64; Command::ALL.len()],
    digits: AtomicU64,
    invalid: AtomicU64,
}

impl Counters {
    /// Counts one event.
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several events.
    pub(crate) fn add(&self, counter: Counter, count: u64) {
        add(&self.counters[counter as usize], count);
    }

    /// Counts requests.
    pub(crate) fn add_requests(&self, requests: &RequestCounts) {
        for (counter, count) in self.commands.iter().zip(requests.commands) {
            add(counter, count);
        }
        add(&self.digits, requests.digits);
        add(&self.invalid, requests.invalid);
    }

    /// What has been counted so far.
    pub fn snapshot(&self) -> CounterSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterSnapshot {
            counters: self.counters.each_ref().map(load),
            requests: RequestCounts {
                commands: self.commands.each_ref().map(load),
                digits: load(&self.digits),
                invalid: load(&self.invalid),
            },
        }
    }
}

/// Adds to a counter, which only the worker that it belongs to may.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// What one or more workers have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterSnapshot {
    counters: [u64; Counter::COUNT],
    /// Requests over connections.
    pub requests: RequestCounts,
}

impl CounterSnapshot {
    /// Conversations that are over, however they ended.
    pub fn conversations_over(&self) -> u64 {
        let ends = Counter::VARIANTS
            .iter()
            .filter(|counter| counter.is_conversation_end());
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
