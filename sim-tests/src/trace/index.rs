//! The events of a trace by what they belong to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono::{NaiveDateTime, TimeDelta};

use super::connection::{Connection, Piece, Side};
use super::{ClientEvent, DatagramEvent, End, EventKind, Peer, ServerEvent, StreamEvent, Trace};
use crate::Protocol;
use crate::exec::server_socket;
use crate::scenario::{FaultKind, Scenario, Text};

/// The connections, clients, datagrams, server lives and faults of a trace.
#[derive(Clone)]
pub struct Index<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// The connections by number, in the order in which the server accepted them.
    pub connections: BTreeMap<usize, Connection<'a>>,
    /// The clients: those of the scenario, then one for each host, which verifies the recovery.
    pub clients: Vec<Client<'a>>,
    /// The datagrams by number.
    pub datagrams: BTreeMap<usize, Datagram<'a>>,
    /// The servers, one after the other.
    pub lives: Vec<Life<'a>>,
    /// The faults.
    pub faults: Vec<FaultSpan<'a>>,
    /// When the network healed.
    pub healed_ms: u32,
    /// The first event without its subject, such as a read from a connection that was never accepted.
    pub stray: Option<usize>,
    clock_at_start: NaiveDateTime,
    /// The user of each address for datagrams.
    peers: BTreeMap<SocketAddr, Peer>,
}

/// An event and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The index of the event.
    pub event: usize,
    /// Its time.
    pub at_ms: u32,
}

/// A client: first those of the scenario, then one for each host that verifies the recovery.
#[derive(Clone, Default)]
pub struct Client<'a> {
    /// Its host.
    pub host: usize,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt<'a>>,
    /// When it ended.
    pub done_ms: Option<u32>,
}

/// One attempt to connect, or one request over UDP.
#[derive(Clone, Default)]
pub struct Attempt<'a> {
    /// Whether it is over UDP.
    pub is_by_datagram: bool,
    /// When it began.
    pub begin: Moment,
    /// Its last event.
    pub end: Moment,
    /// The number of its connection.
    pub connection: Option<usize>,
    /// The replies that the client library returned, each with its event.
    pub replies: Vec<(usize, &'a str)>,
    /// The event and the error, if it failed.
    pub failed: Option<(usize, &'a str)>,
}

/// A datagram. A duplicate is a datagram, too.
#[derive(Clone)]
pub struct Datagram<'a> {
    /// When it was sent.
    pub sent: Moment,
    /// The sender.
    pub by: Peer,
    /// The receiver, or the user of the destination address.
    pub receiver: Option<Peer>,
    /// The source address.
    pub from: SocketAddr,
    /// The destination address.
    pub to: SocketAddr,
    /// What was sent.
    pub bytes_sent: &'a Text,
    /// What arrives, unless it is lost.
    pub bytes: &'a Text,
    /// Whether the network duplicated another datagram.
    pub is_duplicate: bool,
    /// Whether the network corrupted it.
    pub is_corrupted: bool,
    /// Whether the network lost it.
    pub is_lost: bool,
    /// When it was first received.
    pub received: Option<Moment>,
}

impl Datagram<'_> {
    /// Returns whether its destination is the server.
    pub fn is_to_server(&self) -> bool {
        server_socket(self.to.port()).is_some()
    }
}

/// A server, from its start to its end.
#[derive(Clone)]
pub struct Life<'a> {
    /// When it began to listen.
    pub started: Moment,
    /// When its graceful shutdown began.
    pub stopping: Option<Moment>,
    /// When it was killed or stopped.
    pub end: Option<Moment>,
    /// What it counted, if its graceful shutdown ended.
    pub counters: Option<&'a BTreeMap<String, u64>>,
}

/// A fault while it lasted.
#[derive(Clone)]
pub struct FaultSpan<'a> {
    /// What it does.
    pub kind: &'a FaultKind,
    /// When it began.
    pub begin: Moment,
    /// When it ended.
    pub end: Option<Moment>,
}

impl FaultSpan<'_> {
    /// Returns whether it lasts at any time of a span.
    pub fn overlaps(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.begin.at_ms <= end_ms && self.end.is_none_or(|end| begin_ms <= end.at_ms)
    }
}

impl<'a> Index<'a> {
    /// Builds the index.
    pub fn new<P: Protocol>(scenario: &Scenario<P>, trace: &'a Trace) -> Index<'a> {
        let hosts = scenario.clients.iter().map(|client| client.host);
        let clients = hosts.chain(0..scenario.host_count()).map(|host| Client {
            host,
            attempts: Vec::new(),
            done_ms: None,
        });
        let mut index = Index {
            trace,
            connections: BTreeMap::new(),
            clients: clients.collect(),
            datagrams: BTreeMap::new(),
            lives: Vec::new(),
            faults: Vec::new(),
            healed_ms: u32::MAX,
            stray: None,
            clock_at_start: scenario.clock,
            peers: BTreeMap::new(),
        };
        for (event, happened) in trace.events.iter().enumerate() {
            let at_ms = happened.at_ms;
            if index.add(Moment { event, at_ms }, &happened.kind).is_none() {
                index.stray.get_or_insert(event);
            }
        }
        index
    }

    /// Adds an event; returns nothing if it has no subject.
    fn add(&mut self, at: Moment, kind: &'a EventKind) -> Option<()> {
        match kind {
            EventKind::FaultBegan(kind) => self.faults.push(FaultSpan {
                kind,
                begin: at,
                end: None,
            }),
            EventKind::FaultEnded(kind) => {
                let mut spans = self.faults.iter_mut();
                let span = spans.find(|span| span.end.is_none() && span.kind == kind)?;
                span.end = Some(at);
            }
            EventKind::Healed => self.healed_ms = at.at_ms,
            EventKind::Server(event) => self.add_server(at, event)?,
            EventKind::Client { client, event } => self.add_client(at, *client, event)?,
            EventKind::Stream {
                connection,
                end,
                event,
            } => self.add_stream(at, *connection, *end, event)?,
            EventKind::Datagram { datagram, event } => self.add_datagram(at, *datagram, event)?,
            EventKind::Panicked(_) | EventKind::Stuck(_) => {}
        }
        Some(())
    }

    fn add_server(&mut self, at: Moment, event: &'a ServerEvent) -> Option<()> {
        if *event == ServerEvent::Started {
            self.lives.push(Life {
                started: at,
                stopping: None,
                end: None,
                counters: None,
            });
        }
        let life = self.lives.last_mut()?;
        match event {
            ServerEvent::Started
            | ServerEvent::CannotAccept
            | ServerEvent::AcceptAborted
            | ServerEvent::CannotReceive
            | ServerEvent::CannotSend
            | ServerEvent::Gauges(_) => {}
            ServerEvent::Stopping => life.stopping = Some(at),
            ServerEvent::Killed => life.end = Some(at),
            ServerEvent::Stopped { counters } => {
                life.end = Some(at);
                life.counters = Some(counters);
            }
        }
        Some(())
    }

    fn add_client(&mut self, at: Moment, number: usize, event: &'a ClientEvent) -> Option<()> {
        let client = self.clients.get_mut(number)?;
        if matches!(event, ClientEvent::Connects | ClientEvent::SendsDatagrams) {
            client.attempts.push(Attempt {
                begin: at,
                is_by_datagram: *event == ClientEvent::SendsDatagrams,
                ..Attempt::default()
            });
        }
        if *event == ClientEvent::Done {
            client.done_ms = Some(at.at_ms);
            return Some(());
        }
        let attempt = client.attempts.last_mut()?;
        attempt.end = at;
        match event {
            ClientEvent::Connected { connection } => {
                attempt.connection = Some(*connection);
                let connection = self.connections.get_mut(connection)?;
                connection.client = Some(number);
                connection.connected = Some(at);
            }
            ClientEvent::Failed(error) => attempt.failed = Some((at.event, error)),
            ClientEvent::Reply(reply) => attempt.replies.push((at.event, reply)),
            _ => {}
        }
        Some(())
    }

    fn add_stream(
        &mut self,
        at: Moment,
        number: usize,
        end: End,
        event: &'a StreamEvent,
    ) -> Option<()> {
        if let StreamEvent::Accepted { from, listener } = event {
            let connection = Connection {
                accepted: at,
                from: *from,
                listener: *listener,
                client: None,
                connected: None,
                life: self.lives.len().saturating_sub(1),
                client_side: Side::default(),
                server_side: Side::default(),
            };
            self.connections.insert(number, connection);
            return self.lives.last().map(|_| ());
        }
        let connection = self.connections.get_mut(&number)?;
        let side = match end {
            End::Client => &mut connection.client_side,
            End::Server => &mut connection.server_side,
        };
        let piece = |bytes: &'a [u8], is_short| Piece {
            at,
            bytes,
            is_short,
        };
        match event {
            StreamEvent::Accepted { .. } => {}
            StreamEvent::Wrote { bytes, is_short } => side.wrote.push(piece(bytes, *is_short)),
            StreamEvent::Read(bytes) => side.read.push(piece(bytes, false)),
            StreamEvent::Blocked => side.blocked_ms = Some(at.at_ms),
            StreamEvent::Shut => side.shut = Some(at),
            StreamEvent::ReadEnd => side.read_end = side.read_end.or(Some(at)),
            StreamEvent::Failed { is_injected, .. } => {
                side.failed = side.failed.or(Some((at, *is_injected)));
            }
            StreamEvent::Dropped => side.dropped = Some(at),
        }
        Some(())
    }

    fn add_datagram(&mut self, at: Moment, number: usize, event: &'a DatagramEvent) -> Option<()> {
        if let DatagramEvent::Sent {
            by,
            from,
            to,
            bytes,
        } = event
        {
            if let Peer::Client(_) = by {
                self.peers.insert(*to, Peer::Server);
                self.peers.entry(*from).or_insert(*by);
            }
            let datagram = Datagram {
                sent: at,
                by: *by,
                receiver: self.peers.get(to).copied(),
                from: *from,
                to: *to,
                bytes_sent: bytes,
                bytes,
                is_duplicate: false,
                is_corrupted: false,
                is_lost: false,
                received: None,
            };
            self.datagrams.insert(number, datagram);
        }
        let datagram = self.datagrams.get_mut(&number)?;
        match event {
            DatagramEvent::Sent { .. } => {}
            DatagramEvent::Lost => datagram.is_lost = true,
            DatagramEvent::Corrupted(bytes) => {
                datagram.bytes = bytes;
                datagram.is_corrupted = true;
            }
            DatagramEvent::Duplicated { duplicate } => {
                let is_corrupted = datagram.is_corrupted;
                let duplicate = self.datagrams.get_mut(duplicate)?;
                duplicate.is_duplicate = true;
                duplicate.is_corrupted = is_corrupted;
            }
            DatagramEvent::Received { by, .. } => {
                datagram.received = datagram.received.or(Some(at));
                datagram.receiver = Some(*by);
            }
        }
        Some(())
    }

    /// Returns the attempts of all clients, each with the number of its client.
    pub fn attempts(&self) -> impl Iterator<Item = (usize, &Attempt<'a>)> {
        let clients = self.clients.iter().enumerate();
        clients.flat_map(|(number, client)| client.attempts.iter().map(move |it| (number, it)))
    }

    /// Returns the server's wall clock at a time.
    pub fn clock(&self, at_ms: u32) -> NaiveDateTime {
        let steps = self.faults.iter().filter(|span| span.begin.at_ms <= at_ms);
        let seconds: i64 = steps
            .map(|span| match span.kind {
                FaultKind::ClockStep { seconds } => *seconds,
                _ => 0,
            })
            .sum();
        let passed = TimeDelta::milliseconds(at_ms.into()) + TimeDelta::seconds(seconds);
        self.clock_at_start + passed
    }

    /// Returns whether a fault strikes the link of a host at any time of a span.
    pub fn has_link_fault(&self, host: usize, begin_ms: u32, end_ms: u32) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|span| span.kind.host() == Some(host) && span.overlaps(begin_ms, end_ms))
    }

    /// Returns when the process of the server runs next: now, unless it is frozen.
    pub fn awake_ms(&self, at_ms: u32) -> u32 {
        let freezes = self
            .faults
            .iter()
            .filter(|span| *span.kind == FaultKind::Freeze);
        freezes.fold(at_ms, |at_ms, span| match span.end {
            Some(end) if (span.begin.at_ms..end.at_ms).contains(&at_ms) => end.at_ms,
            _ => at_ms,
        })
    }

    /// Returns whether one server was up, and not shutting down, all this time.
    pub fn is_up(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.lives.iter().any(|life| {
            let ends = [life.stopping, life.end].into_iter().flatten();
            life.started.at_ms < begin_ms && ends.into_iter().all(|end| end_ms < end.at_ms)
        })
    }
}
