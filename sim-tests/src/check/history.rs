//! The events of a trace, put in order by what they belong to.

use chime_server::CounterSnapshot;
use chrono::{NaiveDateTime, TimeDelta};

use crate::scenario::{Behaviour, FaultKind, Scenario};
use crate::trace::{ClientEvent, End, EventKind, ServerEvent, StreamEvent, Trace};

/// What happened, by connection, client, life of the server, and fault.
pub(super) struct History<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) trace: &'a Trace,
    pub(super) connections: Vec<Connection<'a>>,
    pub(super) clients: Vec<Client<'a>>,
    pub(super) lives: Vec<Life>,
    pub(super) faults: Vec<Span<'a>>,
    pub(super) healed_ms: u32,
    /// How many connections the server serves.
    served_now: usize,
}

/// One end of a connection.
#[derive(Default)]
pub(super) struct Side<'a> {
    pub(super) wrote: Vec<Piece<'a>>,
    pub(super) read: Vec<Piece<'a>>,
    pub(super) shut_ms: Option<u32>,
    pub(super) read_end_ms: Option<u32>,
    /// When it failed, and whether it was made to.
    pub(super) failed: Option<(u32, bool)>,
    /// When it was dropped, and by which event.
    pub(super) dropped: Option<(u32, usize)>,
    pub(super) blocked_ms: Option<u32>,
}

/// Bytes that moved at once.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) event: usize,
    pub(super) at_ms: u32,
    pub(super) bytes: &'a [u8],
    pub(super) is_short: bool,
}

impl Side<'_> {
    pub(super) fn bytes_read(&self) -> Vec<u8> {
        self.read
            .iter()
            .flat_map(|piece| piece.bytes)
            .copied()
            .collect()
    }

    /// When the last line that has not ended began to be read, and the bytes that were read since, with
    /// those of its first piece that are not its own.
    pub(super) fn partial_line(&self) -> Option<(u32, usize)> {
        let is_end = |piece: &Piece<'_>| piece.bytes.contains(&b'\n');
        let first = self.read.iter().rposition(is_end).unwrap_or(0);
        let pieces = &self.read[first..];
        let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        let is_partial = pieces.last()?.bytes.last() != Some(&b'\n');
        let first = match pieces {
            [ended, next, ..] if ended.bytes.ends_with(b"\n") => next,
            [first, ..] => first,
            [] => return None,
        };
        is_partial.then_some((first.at_ms, bytes))
    }

    /// When a client at the minimum rate, 2,000 bytes a second, has read what was written here: its
    /// kernel holds at most 66 s of that.
    pub(super) fn read_until_ms(&self) -> u32 {
        let until_us = self.wrote.iter().fold(0, |until_us: u64, piece| {
            let at_us = u64::from(piece.at_ms) * 1_000;
            let read_us = until_us.max(at_us) + piece.bytes.len() as u64 * 500;
            read_us.min(at_us + 66_000_000)
        });
        u32::try_from(until_us / 1_000).unwrap_or(u32::MAX)
    }

    /// When the last byte moved here.
    pub(super) fn last_moved_ms(&self) -> Option<u32> {
        let pieces = self.wrote.iter().chain(&self.read);
        pieces
            .map(|piece| piece.at_ms)
            .chain(self.read_end_ms)
            .max()
    }
}

/// A connection.
pub(super) struct Connection<'a> {
    /// The client that knows of it.
    pub(super) client: Option<usize>,
    pub(super) accepted_ms: u32,
    pub(super) accepted_event: usize,
    /// The life of the server that it belongs to.
    pub(super) life: usize,
    /// Whether as many connections were served as there was room for.
    pub(super) is_refused: bool,
    pub(super) client_side: Side<'a>,
    pub(super) server_side: Side<'a>,
}

impl Connection<'_> {
    pub(super) fn end_ms(&self) -> u32 {
        let ends = [&self.client_side, &self.server_side].map(|side| side.dropped);
        ends.into_iter()
            .map(|dropped| dropped.map_or(u32::MAX, |(at_ms, _)| at_ms))
            .max()
            .expect("two ends")
    }
}

/// What a client did.
#[derive(Default)]
pub(super) struct Client<'a> {
    pub(super) host: usize,
    /// What it was to do; none if it tries the healed server.
    pub(super) behaviour: Option<&'a Behaviour>,
    pub(super) attempts: Vec<Attempt<'a>>,
    pub(super) done_ms: Option<u32>,
}

/// What came of one try to connect, or of one question over datagrams.
#[derive(Default)]
pub(super) struct Attempt<'a> {
    pub(super) is_by_datagram: bool,
    pub(super) begin_ms: u32,
    pub(super) end_ms: u32,
    pub(super) connection: Option<usize>,
    pub(super) told: Vec<(usize, &'a str)>,
    pub(super) failed: Option<(usize, &'a str)>,
}

/// A server from its start to its end.
pub(super) struct Life {
    pub(super) started_ms: u32,
    pub(super) stopping_ms: Option<u32>,
    /// When it was killed, or stopped with what it says it did.
    pub(super) end: Option<(u32, Option<(CounterSnapshot, usize)>)>,
}

/// A fault while it lasted.
pub(super) struct Span<'a> {
    pub(super) kind: &'a FaultKind,
    pub(super) begin_ms: u32,
    pub(super) end_ms: u32,
}

impl Span<'_> {
    pub(super) fn overlaps(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.begin_ms <= end_ms && begin_ms <= self.end_ms
    }
}

impl<'a> History<'a> {
    pub(super) fn new(scenario: &'a Scenario, trace: &'a Trace) -> History<'a> {
        let clients = scenario.clients.iter().map(|client| Client {
            host: client.host,
            behaviour: Some(&client.behaviour),
            ..Client::default()
        });
        let last = (0..scenario.host_count()).map(|host| Client {
            host,
            ..Client::default()
        });
        let mut history = History {
            scenario,
            trace,
            connections: Vec::new(),
            clients: clients.chain(last).collect(),
            lives: Vec::new(),
            faults: Vec::new(),
            healed_ms: u32::MAX,
            served_now: 0,
        };
        for (index, event) in trace.events.iter().enumerate() {
            history.add(index, event.at_ms, &event.kind);
        }
        history
    }

    fn add(&mut self, index: usize, at_ms: u32, kind: &'a EventKind) {
        match kind {
            EventKind::FaultBegan(kind) => self.faults.push(Span {
                kind,
                begin_ms: at_ms,
                end_ms: u32::MAX,
            }),
            EventKind::FaultEnded(ended) => {
                let open = |span: &&mut Span<'_>| span.end_ms == u32::MAX && span.kind == ended;
                let span = self.faults.iter_mut().find(open);
                span.expect("what ends has begun").end_ms = at_ms;
            }
            EventKind::Healed => self.healed_ms = at_ms,
            EventKind::Server(event) => self.add_server(at_ms, event),
            EventKind::Client { client, event } => self.add_client(*client, index, at_ms, event),
            EventKind::Stream {
                connection,
                end,
                event,
            } => self.add_stream(*connection, *end, index, at_ms, event),
            EventKind::Datagram { .. } | EventKind::Panicked(_) | EventKind::Stuck(_) => {}
        }
    }

    fn add_server(&mut self, at_ms: u32, event: &ServerEvent) {
        if *event == ServerEvent::Started {
            self.lives.push(Life {
                started_ms: at_ms,
                stopping_ms: None,
                end: None,
            });
        }
        let life = self.lives.last_mut().expect("it has started");
        match event {
            ServerEvent::Started | ServerEvent::CannotAccept | ServerEvent::CannotReceive => {}
            ServerEvent::Stopping => life.stopping_ms = Some(at_ms),
            ServerEvent::Killed => life.end = Some((at_ms, None)),
            ServerEvent::Stopped { snapshot, permits } => {
                life.end = Some((at_ms, Some((**snapshot, *permits))));
            }
        }
    }

    fn add_client(&mut self, client: usize, index: usize, at_ms: u32, event: &'a ClientEvent) {
        let client_index = client;
        let client = &mut self.clients[client];
        if matches!(event, ClientEvent::Connects | ClientEvent::AsksByDatagram) {
            client.attempts.push(Attempt {
                begin_ms: at_ms,
                is_by_datagram: *event == ClientEvent::AsksByDatagram,
                ..Attempt::default()
            });
        }
        if *event == ClientEvent::Done {
            client.done_ms = Some(at_ms);
            return;
        }
        let attempt = client.attempts.last_mut().expect("one has begun");
        attempt.end_ms = at_ms;
        match event {
            ClientEvent::Connects
            | ClientEvent::AsksByDatagram
            | ClientEvent::Sent
            | ClientEvent::Forgets
            | ClientEvent::Done => {}
            ClientEvent::Connected { connection } => {
                attempt.connection = Some(*connection);
                self.connections[*connection].client = Some(client_index);
            }
            ClientEvent::Failed(error) => attempt.failed = Some((index, error)),
            ClientEvent::Told(reply) => attempt.told.push((index, reply)),
        }
    }

    fn add_stream(
        &mut self,
        connection: usize,
        end: End,
        index: usize,
        at_ms: u32,
        event: &'a StreamEvent,
    ) {
        if *event == StreamEvent::Accepted {
            let is_refused = self.served_now >= self.scenario.server.connections_max;
            self.served_now += usize::from(!is_refused);
            return self.connections.push(Connection {
                client: None,
                accepted_ms: at_ms,
                accepted_event: index,
                life: self.lives.len() - 1,
                is_refused,
                client_side: Side::default(),
                server_side: Side::default(),
            });
        }
        let connection = &mut self.connections[connection];
        let side = match end {
            End::Client => &mut connection.client_side,
            End::Server => &mut connection.server_side,
        };
        let piece = |bytes: &'a [u8], is_short| Piece {
            event: index,
            at_ms,
            bytes,
            is_short,
        };
        match event {
            StreamEvent::Accepted => {}
            StreamEvent::Wrote { bytes, is_short } => side.wrote.push(piece(bytes, *is_short)),
            StreamEvent::Read(bytes) => side.read.push(piece(bytes, false)),
            StreamEvent::Blocked => side.blocked_ms = Some(at_ms),
            StreamEvent::Shut => side.shut_ms = Some(at_ms),
            StreamEvent::ReadEnd => {
                side.read_end_ms.get_or_insert(at_ms);
            }
            StreamEvent::Failed { is_injected, .. } => {
                side.failed.get_or_insert((at_ms, *is_injected));
            }
            StreamEvent::Dropped => {
                side.dropped = Some((at_ms, index));
                if end == End::Server && !connection.is_refused {
                    self.served_now -= 1;
                }
            }
        }
    }

    /// What the clock of the server showed.
    pub(super) fn clock(&self, at_ms: u32) -> NaiveDateTime {
        let steps = self.faults.iter().filter(|span| span.begin_ms <= at_ms);
        let seconds: i64 = steps
            .map(|span| match span.kind {
                FaultKind::ClockStep { seconds } => *seconds,
                _ => 0,
            })
            .sum();
        let passed = TimeDelta::milliseconds(at_ms.into()) + TimeDelta::seconds(seconds);
        self.scenario.server.clock + passed
    }

    /// The faults of the link of a host, or of the server, in a time.
    pub(super) fn faults_in(
        &self,
        begin_ms: u32,
        end_ms: u32,
    ) -> impl Iterator<Item = &'a FaultKind> {
        let spans = self.faults.iter();
        spans
            .filter(move |span| span.overlaps(begin_ms, end_ms))
            .map(|span| span.kind)
    }

    /// Whether the server was up all this time.
    pub(super) fn is_up(&self, begin_ms: u32, end_ms: u32) -> bool {
        self.lives.iter().any(|life| {
            let end = life.end.map_or(u32::MAX, |(at_ms, _)| at_ms);
            let end = end.min(life.stopping_ms.unwrap_or(u32::MAX));
            life.started_ms < begin_ms && end_ms < end
        })
    }

    /// The most time that a message takes, unless its link is slow or held.
    pub(super) fn latency_max_ms(&self) -> u32 {
        let network = &self.scenario.network;
        network.latency_max_ms.max(network.latency_min_ms)
    }
}
