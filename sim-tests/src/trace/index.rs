//! The events of a trace by what they belong to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chime_server::CounterSnapshot;
use chrono::{NaiveDateTime, TimeDelta};

use super::connection::{Connection, Piece, Side};
use super::{ClientEvent, DatagramEvent, End, EventKind, Peer, ServerEvent, StreamEvent, Trace};
use crate::network::UDP_PORT;
use crate::scenario::{Behaviour, FaultKind, Scenario, Text};

/// The connections, clients, datagrams, server lives and faults of a trace.
pub(crate) struct Index<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) trace: &'a Trace,
    pub(crate) connections: BTreeMap<usize, Connection<'a>>,
    /// The clients of the scenario, then those that verify the recovery, one for each host.
    pub(crate) clients: Vec<Client<'a>>,
    pub(crate) datagrams: BTreeMap<usize, Datagram<'a>>,
    pub(crate) lives: Vec<Life>,
    pub(crate) faults: Vec<FaultSpan<'a>>,
    pub(crate) healed_ms: u32,
    /// The first event without its subject, such as a read from a connection that was never accepted.
    pub(crate) stray: Option<usize>,
    /// How many connections the server serves.
    served_now: usize,
    /// Who uses each address for datagrams.
    peers: BTreeMap<SocketAddr, Peer>,
}

/// An event and its time.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) event: usize,
    pub(crate) at_ms: u32,
}

/// What a client did.
#[derive(Default)]
pub(crate) struct Client<'a> {
    pub(crate) host: usize,
    /// What it was to do; none if it verifies the recovery.
    pub(crate) behaviour: Option<&'a Behaviour>,
    pub(crate) attempts: Vec<Attempt<'a>>,
    pub(crate) done_ms: Option<u32>,
}

/// One attempt to connect, or one question over datagrams.
#[derive(Default)]
pub(crate) struct Attempt<'a> {
    pub(crate) is_by_datagram: bool,
    pub(crate) begin: Moment,
    pub(crate) end_ms: u32,
    pub(crate) connection: Option<usize>,
    /// The replies that the client library returned, each with its event.
    pub(crate) told: Vec<(usize, &'a str)>,
    pub(crate) failed: Option<(usize, &'a str)>,
}

/// A datagram. A duplicate is a datagram, too.
pub(crate) struct Datagram<'a> {
    pub(crate) sent: Moment,
    pub(crate) by: Peer,
    /// The receiver, or the user of the destination address.
    pub(crate) receiver: Option<Peer>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes_sent: &'a Text,
    /// What arrives, if it does.
    pub(crate) bytes: &'a Text,
    pub(crate) is_duplicate: bool,
    pub(crate) is_corrupted: bool,
    pub(crate) is_lost: bool,
    /// When it was first received.
    pub(crate) received: Option<Moment>,
}

impl Datagram<'_> {
    pub(crate) fn is_to_server(&self) -> bool {
        self.to.port() == UDP_PORT
    }
}

/// A server from its start to its end.
pub(crate) struct Life {
    pub(crate) started: Moment,
    pub(crate) stopping: Option<Moment>,
    /// When it was killed or stopped.
    pub(crate) end: Option<Moment>,
    /// What it counted and how many permits were free, if it stopped.
    pub(crate) outcome: Option<(CounterSnapshot, usize)>,
}

/// A fault while it lasted.
pub(crate) struct FaultSpan<'a> {
    pub(crate) kind: &'a FaultKind,
    pub(crate) begin: Moment,
    pub(crate) end: Option<Moment>,
}

impl FaultSpan<'_> {
    pub(crate) fn overlaps(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.begin.at_ms <= end_ms && self.end.is_none_or(|end| begin_ms <= end.at_ms)
    }
}

impl<'a> Index<'a> {
    pub(crate) fn new(scenario: &'a Scenario, trace: &'a Trace) -> Index<'a> {
        let clients = scenario.clients.iter().map(|client| Client {
            host: client.host,
            behaviour: Some(&client.behaviour),
            ..Client::default()
        });
        let last = (0..scenario.host_count()).map(|host| Client {
            host,
            ..Client::default()
        });
        let mut index = Index {
            scenario,
            trace,
            connections: BTreeMap::new(),
            clients: clients.chain(last).collect(),
            datagrams: BTreeMap::new(),
            lives: Vec::new(),
            faults: Vec::new(),
            healed_ms: u32::MAX,
            stray: None,
            served_now: 0,
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

    fn add_server(&mut self, at: Moment, event: &ServerEvent) -> Option<()> {
        if *event == ServerEvent::Started {
            self.lives.push(Life {
                started: at,
                stopping: None,
                end: None,
                outcome: None,
            });
        }
        let life = self.lives.last_mut()?;
        match event {
            ServerEvent::Started | ServerEvent::CannotAccept | ServerEvent::CannotReceive => {}
            ServerEvent::Stopping => life.stopping = Some(at),
            ServerEvent::Killed => life.end = Some(at),
            ServerEvent::Stopped { snapshot, permits } => {
                life.end = Some(at);
                life.outcome = Some((**snapshot, *permits));
            }
        }
        Some(())
    }

    fn add_client(&mut self, at: Moment, number: usize, event: &'a ClientEvent) -> Option<()> {
        let client = self.clients.get_mut(number)?;
        if matches!(event, ClientEvent::Connects | ClientEvent::AsksByDatagram) {
            client.attempts.push(Attempt {
                begin: at,
                is_by_datagram: *event == ClientEvent::AsksByDatagram,
                ..Attempt::default()
            });
        }
        if *event == ClientEvent::Done {
            client.done_ms = Some(at.at_ms);
            return Some(());
        }
        let attempt = client.attempts.last_mut()?;
        attempt.end_ms = at.at_ms;
        match event {
            ClientEvent::Connected { connection } => {
                attempt.connection = Some(*connection);
                let connection = self.connections.get_mut(connection)?;
                connection.client = Some(number);
                connection.connected = Some(at);
            }
            ClientEvent::Failed(error) => attempt.failed = Some((at.event, error)),
            ClientEvent::Told(reply) => attempt.told.push((at.event, reply)),
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
        if *event == StreamEvent::Accepted {
            let is_refused = self.served_now >= self.scenario.server.connections_max;
            self.served_now += usize::from(!is_refused);
            let connection = Connection {
                accepted: at,
                client: None,
                connected: None,
                life: self.lives.len().saturating_sub(1),
                is_refused,
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
            StreamEvent::Accepted => {}
            StreamEvent::Wrote { bytes, is_short } => side.wrote.push(piece(bytes, *is_short)),
            StreamEvent::Read(bytes) => side.read.push(piece(bytes, false)),
            StreamEvent::Blocked => side.blocked_ms = Some(at.at_ms),
            StreamEvent::Shut => side.shut = Some(at),
            StreamEvent::ReadEnd => side.read_end = side.read_end.or(Some(at)),
            StreamEvent::Failed { is_injected, .. } => {
                side.failed = side.failed.or(Some(*is_injected));
            }
            StreamEvent::Dropped => {
                side.dropped = Some(at);
                if end == End::Server && !connection.is_refused {
                    self.served_now -= 1;
                }
            }
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

    /// The attempts of all clients, each with the number of its client.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (usize, &Attempt<'a>)> {
        let clients = self.clients.iter().enumerate();
        clients.flat_map(|(number, client)| client.attempts.iter().map(move |it| (number, it)))
    }

    /// What the clock of the server showed.
    pub(crate) fn clock(&self, at_ms: u32) -> NaiveDateTime {
        let steps = self.faults.iter().filter(|span| span.begin.at_ms <= at_ms);
        let seconds: i64 = steps
            .map(|span| match span.kind {
                FaultKind::ClockStep { seconds } => *seconds,
                _ => 0,
            })
            .sum();
        let passed = TimeDelta::milliseconds(at_ms.into()) + TimeDelta::seconds(seconds);
        self.scenario.server.clock + passed
    }

    /// Whether a fault strikes the link of a host at some time in a span.
    pub(crate) fn has_link_fault(&self, host: usize, begin_ms: u32, end_ms: u32) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|span| span.kind.host() == Some(host) && span.overlaps(begin_ms, end_ms))
    }

    /// Whether the server was up all this time.
    pub(crate) fn is_up(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.lives.iter().any(|life| {
            let ends = [life.stopping, life.end].into_iter().flatten();
            life.started.at_ms < begin_ms && ends.into_iter().all(|end| end_ms < end.at_ms)
        })
    }

    /// The most time that a message takes, unless its link is slow or held.
    pub(crate) fn latency_max_ms(&self) -> u32 {
        let network = &self.scenario.network;
        network.latency_max_ms.max(network.latency_min_ms)
    }
}
