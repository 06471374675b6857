//! The events of a run, and their index.

mod connection;
mod index;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

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

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since the start.
    pub at_ms: u32,
    /// What.
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {}", self.at_ms, self.kind)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Something went wrong.
    FaultBegan(FaultKind),
    /// It did for long enough.
    FaultEnded(FaultKind),
    /// From here on nothing goes wrong any more.
    Healed,
    /// Something happened to the server.
    Server(ServerEvent),
    /// A client did something, or something was done to it.
    Client {
        /// Which: those past the clients of the scenario are the ones that try the healed server.
        client: usize,
        /// What.
        event: ClientEvent,
    },
    /// Something happened at one end of a connection.
    Stream {
        /// Which connection, counted as the server accepts them.
        connection: usize,
        /// At which end.
        end: End,
        /// What.
        event: StreamEvent,
    },
    /// Something happened to a datagram.
    Datagram {
        /// Which, counted as they are sent.
        datagram: usize,
        /// What.
        event: DatagramEvent,
    },
    /// Code of the server or of a client panicked.
    Panicked(String),
    /// Nothing more came of it: this is what was still going on.
    Stuck(String),
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventKind::FaultBegan(kind) => write!(f, "{} begins", fault(kind)),
            EventKind::FaultEnded(kind) => write!(f, "{} ends", fault(kind)),
            EventKind::Healed => write!(f, "all heals"),
            EventKind::Server(event) => write!(f, "server {event}"),
            EventKind::Client { client, event } => write!(f, "client {client}: {event}"),
            EventKind::Stream {
                connection,
                end,
                event,
            } => write!(f, "connection {connection}, {end}: {event}"),
            EventKind::Datagram { datagram, event } => write!(f, "datagram {datagram}: {event}"),
            EventKind::Panicked(text) => write!(f, "panicked: {text}"),
            EventKind::Stuck(text) => write!(f, "stuck: {text}"),
        }
    }
}

fn fault(kind: &FaultKind) -> String {
    let name = kind.name();
    let name = match kind {
        FaultKind::Slow { latency_ms, .. } => format!("{name} ({latency_ms} ms)"),
        FaultKind::ClockStep { seconds } => format!("{name} ({seconds:+} s)"),
        _ => name.into(),
    };
    match kind.host() {
        Some(host) => format!("host {host}: {name}"),
        None => name,
    }
}

/// Something that happened to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// It listens.
    Started,
    /// It could not accept a connection, by order.
    CannotAccept,
    /// It could not receive a datagram, by order.
    CannotReceive,
    /// It was told to stop.
    Stopping,
    /// Its graceful shutdown is over.
    Stopped {
        /// What it counted.
        counters: BTreeMap<String, u64>,
    },
    /// It was killed.
    Killed,
}

impl fmt::Display for ServerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerEvent::Started => write!(f, "started"),
            ServerEvent::CannotAccept => write!(f, "cannot accept (injected)"),
            ServerEvent::CannotReceive => write!(f, "cannot receive (injected)"),
            ServerEvent::Stopping => write!(f, "is shutting down"),
            ServerEvent::Killed => write!(f, "killed"),
            ServerEvent::Stopped { counters } => {
                write!(f, "stopped:")?;
                let mut counters = counters.iter().filter(|(_, count)| **count > 0);
                counters.try_for_each(|(name, count)| write!(f, " {name}={count}"))
            }
        }
    }
}

/// Something that happened to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// It began to connect.
    Connects,
    /// It is connected.
    Connected {
        /// By which connection.
        connection: usize,
    },
    /// It began to send datagrams: to ask one question, or all that it has to send as it stands.
    AsksByDatagram,
    /// It could not connect, or was not welcomed, or got no answer.
    Failed(String),
    /// The library that it uses gave it this reply.
    Told(String),
    /// It has sent all that it wanted to send.
    Sent,
    /// It is silent from here on.
    Forgets,
    /// It ended.
    Done,
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientEvent::Connects => write!(f, "connects"),
            ClientEvent::Connected { connection } => write!(f, "has connection {connection}"),
            ClientEvent::AsksByDatagram => write!(f, "asks by datagram"),
            ClientEvent::Failed(error) => write!(f, "fails: {error}"),
            ClientEvent::Told(reply) => write!(f, "receives reply '{reply}'"),
            ClientEvent::Sent => write!(f, "has sent all"),
            ClientEvent::Forgets => write!(f, "forgets its connection"),
            ClientEvent::Done => write!(f, "is done"),
        }
    }
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client's.
    Client,
    /// The server's.
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

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Client => "client",
            End::Server => "server",
        })
    }
}

/// Something that happened at one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The server accepted it.
    Accepted,
    /// Bytes were written.
    Wrote {
        /// Which.
        bytes: Text,
        /// Whether there were more, which the stream did not take.
        is_short: bool,
    },
    /// Bytes were read.
    Read(Text),
    /// A write has to wait until the other end has read.
    Blocked,
    /// It was closed for writing.
    Shut,
    /// The end was read.
    ReadEnd,
    /// A read or a write failed.
    Failed {
        /// How.
        error: String,
        /// Whether it was made to.
        is_injected: bool,
    },
    /// The stream was dropped.
    Dropped,
}

impl fmt::Display for StreamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamEvent::Accepted => write!(f, "accepts"),
            StreamEvent::Wrote { bytes, is_short } => {
                let more = if *is_short { ", not all" } else { "" };
                write!(f, "writes {bytes}{more}")
            }
            StreamEvent::Read(bytes) => write!(f, "reads {bytes}"),
            StreamEvent::Blocked => write!(f, "waits to write"),
            StreamEvent::Shut => write!(f, "stops writing"),
            StreamEvent::ReadEnd => write!(f, "reads the end"),
            StreamEvent::Failed { error, is_injected } => {
                let cause = if *is_injected { ", injected" } else { "" };
                write!(f, "fails: {error}{cause}")
            }
            StreamEvent::Dropped => write!(f, "drops it"),
        }
    }
}

/// Something that happened to a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatagramEvent {
    /// It was sent.
    Sent {
        /// Who sent it.
        by: Peer,
        /// Where it claims to be from.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// What is in it.
        bytes: Text,
    },
    /// It was made to get lost.
    Lost,
    /// It arrives with other bytes than were sent.
    Corrupted(Text),
    /// It was sent once more, as this datagram.
    Duplicated {
        /// Which.
        duplicate: usize,
    },
    /// It was received.
    Received {
        /// By whom.
        by: Peer,
        /// Where it claims to be from.
        from: SocketAddr,
        /// What was in it.
        bytes: Text,
    },
}

impl fmt::Display for DatagramEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatagramEvent::Sent {
                by,
                from,
                to,
                bytes,
            } => write!(f, "{by} sends {bytes} from {from} to {to}"),
            DatagramEvent::Lost => write!(f, "gets lost"),
            DatagramEvent::Corrupted(bytes) => write!(f, "becomes {bytes}"),
            DatagramEvent::Duplicated { duplicate } => write!(f, "is sent as {duplicate} too"),
            DatagramEvent::Received { by, from, bytes } => {
                write!(f, "{by} receives {bytes} from {from}")
            }
        }
    }
}

/// Who sends or receives a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The server.
    Server,
    /// A client.
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

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Server => write!(f, "server"),
            Peer::Client(client) => write!(f, "client {client}"),
        }
    }
}
