//! The messages of a run, each from its sending event to its receiving event.

use std::collections::{BTreeSet, VecDeque};

use strum::IntoStaticStr;

use crate::trace::{Attempt, Connection, Index, Moment};
use crate::trace::{DatagramEvent, End, EventKind, Peer};

/// All messages of a run.
pub(super) struct Messages {
    pub(super) list: Vec<Message>,
    /// The events that receive exactly what one event has sent.
    pub(super) plain_reads: BTreeSet<usize>,
}

/// A message: an arrow of the diagram.
pub(super) struct Message {
    /// The sending event.
    pub(super) from: usize,
    /// The receiving event, unless the message is lost or never read.
    pub(super) to: Option<usize>,
    /// The sender and the receiver, if known.
    pub(super) peers: [Option<Peer>; 2],
    pub(super) kind: MessageKind,
}

/// What a message carries. Converts into the class of the arrow.
#[derive(Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum MessageKind {
    /// A connect or its completion.
    Connect,
    /// The bytes of a write, received with the read of the last one.
    Stream,
    /// A read of some bytes of a write, but not of the last one.
    Part,
    Eof,
    Datagram,
}

/// The subject of an event.
pub(super) struct Subject {
    /// The peer where it happened, if known.
    pub(super) place: Option<Peer>,
    /// That peer or the other end, whichever is a client.
    pub(super) client: Option<usize>,
}

impl Messages {
    pub(super) fn new(index: &Index<'_>) -> Messages {
        let mut messages = Messages {
            list: Vec::new(),
            plain_reads: BTreeSet::new(),
        };
        for (client, attempt) in index.attempts() {
            messages.add_connect(index, client, attempt);
        }
        for connection in index.connections.values() {
            messages.add_stream(connection, End::Client);
            messages.add_stream(connection, End::Server);
        }
        for datagram in index.datagrams.values() {
            let peers = [Some(datagram.by), datagram.receiver];
            messages.add(
                peers,
                datagram.sent,
                datagram.received,
                MessageKind::Datagram,
            );
            let received = datagram.received.map(|received| received.event);
            messages.plain_reads.extend(received);
        }
        messages
    }

    fn add(
        &mut self,
        peers: [Option<Peer>; 2],
        from: Moment,
        to: Option<Moment>,
        kind: MessageKind,
    ) {
        self.list.push(Message {
            from: from.event,
            to: to.map(|to| to.event),
            peers,
            kind,
        });
    }

    fn add_connect(&mut self, index: &Index<'_>, client: usize, attempt: &Attempt<'_>) {
        let (client, server) = (Some(Peer::Client(client)), Some(Peer::Server));
        let number = attempt.connection;
        let connection = number.and_then(|number| index.connections.get(&number));
        let moments = connection.map(|connection| (connection.accepted, connection.connected));
        if let Some((accepted, Some(connected))) = moments {
            let kind = MessageKind::Connect;
            self.add([client, server], attempt.begin, Some(accepted), kind);
            self.add([server, client], accepted, Some(connected), kind);
        } else if attempt.failed.is_some() && !attempt.is_by_datagram {
            self.add([client, server], attempt.begin, None, MessageKind::Connect);
        }
    }

    /// Matches the reads at one end of a connection with the writes at the other.
    fn add_stream(&mut self, connection: &Connection<'_>, writer: End) {
        let (sender, receiver) = (connection.side(writer), connection.side(writer.other()));
        let peers = [peer(connection, writer), peer(connection, writer.other())];
        let wrote = sender.wrote.iter().filter(|write| !write.bytes.is_empty());
        let mut unread: VecDeque<_> = wrote.map(|write| (write, write.bytes.len())).collect();
        for read in &receiver.read {
            let mut left = read.bytes.len();
            if let Some((write, rest)) = unread.front()
                && *rest == left
                && write.bytes.len() == left
            {
                self.plain_reads.insert(read.at.event);
            }
            while left > 0
                && let Some((write, rest)) = unread.front_mut()
            {
                if *rest > left {
                    *rest -= left;
                    self.add(peers, write.at, Some(read.at), MessageKind::Part);
                    break;
                }
                left -= *rest;
                self.add(peers, write.at, Some(read.at), MessageKind::Stream);
                unread.pop_front();
            }
        }
        for (write, _) in unread {
            self.add(peers, write.at, None, MessageKind::Stream);
        }
        if let (Some(closed), Some(read_end)) = (sender.closed(), receiver.read_end)
            && closed < read_end
        {
            self.plain_reads.insert(read_end.event);
            self.add(peers, closed, Some(read_end), MessageKind::Eof);
        }
    }
}

/// Returns the subject of an event, or nothing for a fault, the healing, a panic and a stuck run.
pub(super) fn subject(index: &Index<'_>, event: usize) -> Option<Subject> {
    let (place, other) = match &index.trace.events.get(event)?.kind {
        EventKind::Client { client, .. } => (Some(Peer::Client(*client)), None),
        EventKind::Server(_) => (Some(Peer::Server), None),
        EventKind::Stream {
            connection, end, ..
        } => match index.connections.get(connection) {
            Some(connection) => (peer(connection, *end), peer(connection, end.other())),
            None => (None, None),
        },
        EventKind::Datagram { datagram, event } => {
            let datagram = index.datagrams.get(datagram);
            let sender = datagram.map(|datagram| datagram.by);
            match event {
                DatagramEvent::Received { by, .. } => (Some(*by), sender),
                _ => (sender, datagram.and_then(|datagram| datagram.receiver)),
            }
        }
        _ => return None,
    };
    Some(Subject {
        place,
        client: client_among([place, other]),
    })
}

fn peer(connection: &Connection<'_>, end: End) -> Option<Peer> {
    match end {
        End::Server => Some(Peer::Server),
        End::Client => connection.client.map(Peer::Client),
    }
}

/// Returns the client among the peers of a message or an event.
pub(super) fn client_among(peers: [Option<Peer>; 2]) -> Option<usize> {
    peers.into_iter().flatten().find_map(Peer::client)
}
