//! What a server counts while it serves.

use std::ops::{AddAssign, Index, IndexMut};
use std::sync::atomic::{AtomicU64, Ordering};

use chime_protocol::RequestCounts;

/// Something that a server counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
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
    /// A request for the weekday.
    DayAsked,
    /// A request for the date.
    DateAsked,
    /// A request for the time of day.
    TimeAsked,
    /// A request for date and time.
    SendTimeAsked,
    /// A request for the commands.
    HelpAsked,
    /// A request to quit.
    QuitAsked,
    /// A request to exit.
    ExitAsked,
    /// A string of digits.
    DigitsAsked,
    /// A line that is no request.
    InvalidAsked,
    /// A byte of a connection's client.
    ByteReceived,
    /// A byte to a connection's client.
    ByteSent,
    /// A datagram was answered.
    DatagramAnswered,
    /// A datagram was no request, or not one to be answered.
    DatagramIgnored,
    /// A datagram was over the rate of its network.
    DatagramLimited,
}

impl Event {
    /// All events, in order.
    pub const ALL: [Event; 27] = [
        Event::ConnectionServed,
        Event::ConnectionRefused,
        Event::AddressRefused,
        Event::NetworkDenied,
        Event::HeaderRejected,
        Event::AcceptFailed,
        Event::ConversationEnded,
        Event::ConversationIdle,
        Event::LineTooSlow,
        Event::ReaderTooSlow,
        Event::ConversationFailed,
        Event::ConversationCut,
        Event::ConversationPanicked,
        Event::DayAsked,
        Event::DateAsked,
        Event::TimeAsked,
        Event::SendTimeAsked,
        Event::HelpAsked,
        Event::QuitAsked,
        Event::ExitAsked,
        Event::DigitsAsked,
        Event::InvalidAsked,
        Event::ByteReceived,
        Event::ByteSent,
        Event::DatagramAnswered,
        Event::DatagramIgnored,
        Event::DatagramLimited,
    ];
}

const EVENTS: usize = Event::ALL.len();

/// The counters of one worker, which others may read while it counts.
///
/// A worker has its own, so that none waits for another's memory.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; EVENTS]);

impl Counters {
    /// Counts one event.
    pub(crate) fn count(&self, event: Event) {
        self.add(event, 1);
    }

    /// Counts several. Only the worker that these counters belong to may.
    pub(crate) fn add(&self, event: Event, count: u64) {
        let counter = &self.0[event as usize];
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Counts requests.
    pub(crate) fn add_requests(&self, requests: &RequestCounts) {
        let commands = requests.commands.iter();
        let others = [requests.digits, requests.invalid];
        for (index, count) in commands.chain(&others).enumerate() {
            if *count > 0 {
                self.add(Event::ALL[Event::DayAsked as usize + index], *count);
            }
        }
    }

    /// What has been counted so far.
    pub fn tally(&self) -> Tally {
        Tally(
            self.0
                .each_ref()
                .map(|counter| counter.load(Ordering::Relaxed)),
        )
    }
}

/// What one or more workers have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; EVENTS]);

impl Tally {
    /// Requests over connections, of any kind.
    pub fn requests(&self) -> u64 {
        let kinds = Event::DayAsked as usize..=Event::InvalidAsked as usize;
        self.0[kinds].iter().sum()
    }

    /// Conversations that are over, however they ended.
    pub fn conversations_over(&self) -> u64 {
        let ends = Event::ConversationEnded as usize..=Event::ConversationPanicked as usize;
        self.0[ends].iter().sum()
    }
}

impl Index<Event> for Tally {
    type Output = u64;

    fn index(&self, event: Event) -> &u64 {
        &self.0[event as usize]
    }
}

impl IndexMut<Event> for Tally {
    fn index_mut(&mut self, event: Event) -> &mut u64 {
        &mut self.0[event as usize]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}
