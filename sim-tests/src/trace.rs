//! The events of a run, and their index.

mod connection;
mod index;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use derive_more::Display;

use crate::scenario::{FaultKind, Text};

pub use connection::{Connection, Piece, Side};
pub use index::{Attempt, Client, Datagram, FaultSpan, Index, Life, Moment};

/// The events of a run, in order.
///
/// Its [`Display`](fmt::Display) has a line for each event; two runs of a scenario are compared by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The events.
    pub events: Vec<Event>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
#[display("{at_ms:>7} ms  {kind}")]
pub struct Event {
    /// The time, in milliseconds since the start.
    pub at_ms: u32,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
pub enum EventKind {
    /// A fault began.
    #[display("{_0} begins")]
    FaultBegan(FaultKind),
    /// A fault ended.
    #[display("{_0} ends")]
    FaultEnded(FaultKind),
    /// The network healed: no fault and no percentage strikes any more.
    #[display("the network heals")]
    Healed,
    /// An event of the server.
    #[display("server {_0}")]
    Server(ServerEvent),
    /// An event of a client.
    #[display("client {client}: {event}")]
    Client {
        /// Its number: those of the scenario, then one for each host, which verifies the recovery.
        client: usize,
        /// What happened.
        event: ClientEvent,
    },
    /// An event at one end of a connection.
    #[display("connection {connection}, {end}: {event}")]
    Stream {
        /// The number of the connection, in the order in which the server accepts them.
        connection: usize,
        /// The end.
        end: End,
        /// What happened.
        event: StreamEvent,
    },
    /// An event of a datagram.
    #[display("datagram {datagram}: {event}")]
    Datagram {
        /// The number of the datagram, in the order in which they are sent.
        datagram: usize,
        /// What happened.
        event: DatagramEvent,
    },
    /// Code of the server or of a client panicked.
    #[display("panicked: {_0}")]
    Panicked(String),
    /// The run did not end: this is what was still open.
    #[display("stuck: {_0}")]
    Stuck(String),
}

/// Values that a server holds at a time, by name.
pub type Gauges = BTreeMap<String, u64>;

/// An event of the server.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
pub enum ServerEvent {
    /// It started.
    #[display("started")]
    Started,
    /// An accept failed because no descriptor was free; the failure was injected.
    #[display("cannot accept: too many open files (injected)")]
    CannotAccept,
    /// An accept failed because the connection was aborted; the failure was injected.
    #[display("cannot accept: connection aborted (injected)")]
    AcceptAborted,
    /// A receive failed; the failure was injected.
    #[display("cannot receive (injected)")]
    CannotReceive,
    /// It could not send a datagram; the failure was injected.
    #[display("cannot send a datagram (injected)")]
    CannotSend,
    /// Its gauges have changed.
    #[display("gauges:{}", Counters(_0))]
    Gauges(Gauges),
    /// Its graceful shutdown began.
    #[display("is shutting down")]
    Stopping,
    /// Its graceful shutdown ended.
    #[display("stopped:{}", Counters(counters))]
    Stopped {
        /// What it counted.
        counters: BTreeMap<String, u64>,
    },
    /// It was killed.
    #[display("killed")]
    Killed,
}

/// Displays counters that are not 0.
struct Counters<'a>(&'a BTreeMap<String, u64>);

impl fmt::Display for Counters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counters = self.0.iter().filter(|(_, count)| **count > 0);
        counters.try_for_each(|(name, count)| write!(f, " {name}={count}"))
    }
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
pub enum ClientEvent {
    /// It began to connect.
    #[display("connects")]
    Connects,
    /// It is connected.
    #[display("has connection {connection}")]
    Connected {
        /// The number of the connection.
        connection: usize,
    },
    /// It began to send a request by datagrams, or all its datagrams.
    #[display("sends a datagram")]
    SendsDatagrams,
    /// It could not connect, or got no valid reply.
    #[display("fails: {_0}")]
    Failed(String),
    /// The client library returned this reply.
    #[display("receives reply '{_0}'")]
    Reply(String),
    /// It has sent all that it had to send.
    #[display("has sent all")]
    Sent,
    /// It holds its connection without using it from here on.
    #[display("forgets its connection")]
    Forgets,
    /// It ended.
    #[display("is done")]
    Done,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
pub enum End {
    /// The client's.
    #[display("client")]
    Client,
    /// The server's.
    #[display("server")]
    Server,
}

impl End {
    pub(crate) fn other(self) -> End {
        match self {
            End::Client => End::Server,
            End::Server => End::Client,
        }
    }
}

/// An event at one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
pub enum StreamEvent {
    /// The server accepted it.
    #[display("accepts from {from} at listener {listener}")]
    Accepted {
        /// The address of the client.
        from: SocketAddr,
        /// The number of the listener.
        listener: u16,
    },
    /// Bytes were written.
    #[display("writes {bytes}{}", if *is_short { ", not all" } else { "" })]
    Wrote {
        /// The bytes.
        bytes: Text,
        /// Whether the writer had more bytes.
        is_short: bool,
    },
    /// Bytes were read.
    #[display("reads {_0}")]
    Read(Text),
    /// A write waits until the other end reads.
    #[display("waits to write")]
    Blocked,
    /// It was closed for writing.
    #[display("half-closes")]
    Shut,
    /// EOF was read.
    #[display("reads EOF")]
    ReadEnd,
    /// A read or a write failed.
    #[display("fails: {error}{}", if *is_injected { ", injected" } else { "" })]
    Failed {
        /// The error.
        error: String,
        /// Whether the failure was injected.
        is_injected: bool,
    },
    /// The stream was dropped.
    #[display("drops it")]
    Dropped,
}

/// An event of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Display)]
pub enum DatagramEvent {
    /// It was sent.
    #[display("{by} sends {bytes} from {from} to {to}")]
    Sent {
        /// The sender.
        by: Peer,
        /// The source address.
        from: SocketAddr,
        /// The destination address.
        to: SocketAddr,
        /// The bytes.
        bytes: Text,
    },
    /// The network loses it.
    #[display("is lost")]
    Lost,
    /// The network corrupts it: these bytes arrive.
    #[display("becomes {_0}")]
    Corrupted(Text),
    /// The network duplicates it.
    #[display("is duplicated as {duplicate}")]
    Duplicated {
        /// The number of the duplicate.
        duplicate: usize,
    },
    /// It was received.
    #[display("{by} receives {bytes} from {from}")]
    Received {
        /// The receiver.
        by: Peer,
        /// The source address.
        from: SocketAddr,
        /// The bytes.
        bytes: Text,
    },
}

/// A sender or receiver of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
pub enum Peer {
    /// The server.
    #[display("server")]
    Server,
    /// A client.
    #[display("client {_0}")]
    Client(usize),
}

impl Peer {
    pub(crate) fn client(self) -> Option<usize> {
        match self {
            Peer::Server => None,
            Peer::Client(client) => Some(client),
        }
    }
}
