//! What belongs together in a trace: who sent what when, and where and when it arrived.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::trace::{ClientEvent, DatagramEvent, End, EventKind, Peer, StreamEvent, Trace};

/// A trace with what goes from one of its events to another.
pub(super) struct Story<'a> {
    pub(super) trace: &'a Trace,
    pub(super) journeys: Vec<Journey>,
    /// The reads that took exactly what one write sent.
    pub(super) plain_reads: BTreeSet<usize>,
    /// What is to be said of a datagram besides its bytes.
    pub(super) notes: BTreeMap<usize, Vec<String>>,
    /// The client of each connection, where it is known.
    pub(super) clients: BTreeMap<usize, usize>,
    /// Who sent each datagram, and for whom.
    datagrams: BTreeMap<usize, (Peer, Option<Peer>)>,
}

/// Something that goes from one event to another, or gets lost on its way.
pub(super) struct Journey {
    pub(super) from: usize,
    pub(super) to: Option<usize>,
    pub(super) source: Option<Peer>,
    pub(super) target: Option<Peer>,
    pub(super) cargo: Cargo,
}

impl Journey {
    /// The client at either end.
    pub(super) fn client(&self) -> Option<usize> {
        client_among([self.source, self.target])
    }
}

/// What goes on a journey.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cargo {
    /// A wish for a connection, or its fulfilment.
    Connection,
    /// What was written at once, up to its last byte.
    Bytes,
    /// A first part of what was written at once.
    PartOfBytes,
    /// The end of the stream.
    End,
    Datagram,
}

/// Whom an event is about.
pub(super) struct Subject {
    /// Where it happened, if that is known.
    pub(super) place: Option<Peer>,
    /// The client that it happened to, or that is at the other end.
    pub(super) client: Option<usize>,
}

impl<'a> Story<'a> {
    pub(super) fn new(trace: &'a Trace) -> Story<'a> {
        let clients = trace.events.iter().filter_map(|event| match event.kind {
            EventKind::Client {
                client,
                event: ClientEvent::Connected { connection },
            } => Some((connection, client)),
            _ => None,
        });
        let mut story = Story {
            trace,
            journeys: Vec::new(),
            plain_reads: BTreeSet::new(),
            notes: BTreeMap::new(),
            clients: clients.collect(),
            datagrams: BTreeMap::new(),
        };
        story.follow_connecting();
        story.follow_streams();
        story.follow_datagrams();
        story
    }

    /// Whom the event of this index is about, unless it is about all.
    pub(super) fn subject(&self, index: usize) -> Option<Subject> {
        let (place, other) = match &self.trace.events.get(index)?.kind {
            EventKind::Client { client, .. } => (Some(Peer::Client(*client)), None),
            EventKind::Server(_) => (Some(Peer::Server), None),
            EventKind::Stream {
                connection, end, ..
            } => (
                self.peer(*connection, *end),
                self.peer(*connection, other(*end)),
            ),
            EventKind::Datagram { datagram, event } => {
                let (sender, receiver) = self.datagrams.get(datagram).copied().unzip();
                match event {
                    DatagramEvent::Received { by, .. } => (Some(*by), sender),
                    _ => (sender, receiver.flatten()),
                }
            }
            _ => return None,
        };
        Some(Subject {
            place,
            client: client_among([place, other]),
        })
    }

    fn peer(&self, connection: usize, end: End) -> Option<Peer> {
        match end {
            End::Server => Some(Peer::Server),
            End::Client => self.clients.get(&connection).copied().map(Peer::Client),
        }
    }

    fn follow_connecting(&mut self) {
        let mut asked = BTreeMap::new();
        let mut accepted = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate() {
            let (client, event) = match &event.kind {
                EventKind::Client { client, event } => (*client, event),
                EventKind::Stream {
                    connection,
                    event: StreamEvent::Accepted,
                    ..
                } => {
                    accepted.insert(*connection, index);
                    continue;
                }
                _ => continue,
            };
            let mut add = |source, from, target, to| {
                self.journeys.push(Journey {
                    from,
                    to,
                    source: Some(source),
                    target: Some(target),
                    cargo: Cargo::Connection,
                });
            };
            let client_end = Peer::Client(client);
            match event {
                ClientEvent::Connects => {
                    asked.insert(client, index);
                }
                ClientEvent::Connected { connection } => {
                    let accepted = accepted.get(connection).copied();
                    if let Some(asked) = asked.remove(&client) {
                        add(client_end, asked, Peer::Server, accepted);
                    }
                    if let Some(accepted) = accepted {
                        add(Peer::Server, accepted, client_end, Some(index));
                    }
                }
                ClientEvent::Failed(_) => {
                    if let Some(asked) = asked.remove(&client) {
                        add(client_end, asked, Peer::Server, None);
                    }
                }
                _ => {}
            }
        }
    }

    fn follow_streams(&mut self) {
        let mut flows: BTreeMap<(usize, bool), Flow> = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate() {
            let EventKind::Stream {
                connection,
                end,
                event,
            } = &event.kind
            else {
                continue;
            };
            let key = |end| (*connection, end == End::Server);
            match event {
                StreamEvent::Wrote { bytes, .. } if !bytes.is_empty() => {
                    let flow = flows.entry(key(*end)).or_default();
                    flow.unread.push_back((index, bytes.len(), bytes.len()));
                }
                StreamEvent::Read(bytes) => {
                    let flow = flows.entry(key(other(*end))).or_default();
                    self.follow_read(*connection, other(*end), index, bytes.len(), flow);
                }
                StreamEvent::Shut | StreamEvent::Dropped => {
                    let flow = flows.entry(key(*end)).or_default();
                    flow.end.get_or_insert(index);
                }
                StreamEvent::ReadEnd => {
                    let flow = flows.entry(key(other(*end))).or_default();
                    if let Some(from) = flow.end
                        && !flow.is_end_read
                    {
                        flow.is_end_read = true;
                        self.plain_reads.insert(index);
                        self.add_stream(*connection, other(*end), from, Some(index), Cargo::End);
                    }
                }
                _ => {}
            }
        }
        for ((connection, is_server), flow) in flows {
            let writer = if is_server { End::Server } else { End::Client };
            for (from, ..) in flow.unread {
                self.add_stream(connection, writer, from, None, Cargo::Bytes);
            }
        }
    }

    /// Lets a read take bytes of what `writer` has written.
    fn follow_read(
        &mut self,
        connection: usize,
        writer: End,
        index: usize,
        length: usize,
        flow: &mut Flow,
    ) {
        let parts = flow.read(length);
        if let [(_, Cargo::Bytes, written)] = parts[..]
            && written == length
        {
            self.plain_reads.insert(index);
        }
        for (from, cargo, _) in parts {
            self.add_stream(connection, writer, from, Some(index), cargo);
        }
    }

    fn add_stream(
        &mut self,
        connection: usize,
        writer: End,
        from: usize,
        to: Option<usize>,
        cargo: Cargo,
    ) {
        self.journeys.push(Journey {
            from,
            to,
            source: self.peer(connection, writer),
            target: self.peer(connection, other(writer)),
            cargo,
        });
    }

    fn follow_datagrams(&mut self) {
        let mut sent = BTreeMap::new();
        let mut senders: BTreeMap<SocketAddr, Peer> = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate() {
            let EventKind::Datagram { datagram, event } = &event.kind else {
                continue;
            };
            let notes = self.notes.entry(*datagram).or_default();
            match event {
                DatagramEvent::Sent { by, from, to, .. } => {
                    if let Peer::Client(_) = by {
                        senders.insert(*to, Peer::Server);
                        senders.entry(*from).or_insert(*by);
                        if from == to {
                            notes.push("as if from the server".into());
                        }
                    }
                    sent.insert(*datagram, index);
                    let receiver = senders.get(to).copied();
                    self.datagrams.insert(*datagram, (*by, receiver));
                }
                DatagramEvent::Lost => notes.push("lost".into()),
                DatagramEvent::Corrupted(bytes) => notes.push(format!("becomes {bytes}")),
                DatagramEvent::Duplicated { duplicate } => {
                    let notes = self.notes.entry(*duplicate).or_default();
                    notes.push("once more".into());
                }
                DatagramEvent::Received { by, .. } => {
                    if let (Some(from), Some((source, target))) =
                        (sent.remove(datagram), self.datagrams.get_mut(datagram))
                    {
                        *target = Some(*by);
                        self.plain_reads.insert(index);
                        self.journeys.push(Journey {
                            from,
                            to: Some(index),
                            source: Some(*source),
                            target: Some(*by),
                            cargo: Cargo::Datagram,
                        });
                    }
                }
            }
        }
        for (datagram, from) in sent {
            let (source, target) = self.datagrams[&datagram];
            self.journeys.push(Journey {
                from,
                to: None,
                source: Some(source),
                target,
                cargo: Cargo::Datagram,
            });
        }
    }
}

/// What was written at one end of a connection and not yet read at the other.
#[derive(Default)]
struct Flow {
    /// Each write: its event, how many of its bytes are left, and how many there were.
    unread: VecDeque<(usize, usize, usize)>,
    /// The event that ended it.
    end: Option<usize>,
    is_end_read: bool,
}

impl Flow {
    /// Takes so many bytes, and returns the writes that they came from with the length of each.
    fn read(&mut self, length: usize) -> Vec<(usize, Cargo, usize)> {
        let mut left = length;
        let mut parts = Vec::new();
        while let Some((write, unread, written)) = self.unread.front_mut()
            && left > 0
        {
            if *unread > left {
                *unread -= left;
                parts.push((*write, Cargo::PartOfBytes, *written));
                break;
            }
            left -= *unread;
            parts.push((*write, Cargo::Bytes, *written));
            self.unread.pop_front();
        }
        parts
    }
}

fn other(end: End) -> End {
    match end {
        End::Client => End::Server,
        End::Server => End::Client,
    }
}

fn client_among(peers: [Option<Peer>; 2]) -> Option<usize> {
    peers.into_iter().flatten().find_map(|peer| match peer {
        Peer::Client(client) => Some(client),
        Peer::Server => None,
    })
}
