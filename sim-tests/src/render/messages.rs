//! The messages of a run: what goes from one event to another, or gets lost on its way.

use std::collections::{BTreeSet, VecDeque};

use crate::trace::connection::Connection;
use crate::trace::index::{Index, Moment};
use crate::trace::{DatagramEvent, End, EventKind, Peer};

/// The messages of a run.
pub(super) struct Messages {
    pub(super) list: Vec<Message>,
    /// The events that receive exactly what one event has sent.
    pub(super) plain_reads: BTreeSet<usize>,
}

/// Something that goes from one event to another, or gets lost on its way.
pub(super) struct Message {
    pub(super) from: usize,
    pub(super) to: Option<usize>,
    pub(super) source: Option<Peer>,
    pub(super) target: Option<Peer>,
    pub(super) kind: MessageKind,
}

/// What a message consists of.
#[derive(PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A connect, or its completion.
    Connection,
    /// What was written at once, up to its last byte.
    Bytes,
    /// A first part of what was written at once.
    PartOfBytes,
    /// The end of the stream.
    End,
    Datagram,
}

/// The subject of an event.
pub(super) struct Subject {
    /// Where it happened, if that is known.
    pub(super) place: Option<Peer>,
    /// The client that it happened to, or that is at the other end.
    pub(super) client: Option<usize>,
}

impl Message {
    /// The client at either end.
    pub(super) fn client(&self) -> Option<usize> {
        client_among([self.source, self.target])
    }
}

impl Messages {
    pub(super) fn new(index: &Index<'_>) -> Messages {
        let mut messages = Messages {
            list: connects(index),
            plain_reads: BTreeSet::new(),
        };
        let mut in_streams = Vec::new();
        for connection in index.connections.values() {
            for writer in [End::Client, End::Server] {
                messages.follow_stream(connection, writer, &mut in_streams);
            }
        }
        messages.add(in_streams);
        let datagrams = index.datagrams.values().map(|datagram| Message {
            from: datagram.sent.event,
            to: datagram.received.map(|received| received.event),
            source: Some(datagram.by),
            target: datagram.receiver,
            kind: MessageKind::Datagram,
        });
        let datagrams: Vec<_> = datagrams.collect();
        let received = datagrams.iter().filter_map(|datagram| datagram.to);
        messages.plain_reads.extend(received);
        messages.add(datagrams);
        messages
    }

    /// Adds messages in the order in which they arrive, then those that never do.
    fn add(&mut self, mut messages: Vec<Message>) {
        messages.sort_by_key(|message| message.to.unwrap_or(usize::MAX));
        self.list.append(&mut messages);
    }

    /// Matches the reads at one end of a connection with the writes at the other.
    fn follow_stream(
        &mut self,
        connection: &Connection<'_>,
        writer: End,
        messages: &mut Vec<Message>,
    ) {
        let (sender, receiver) = (connection.side(writer), connection.side(writer.other()));
        let mut add = |from: Moment, to, kind| {
            messages.push(Message {
                from: from.event,
                to,
                source: peer(connection, writer),
                target: peer(connection, writer.other()),
                kind,
            });
        };
        let wrote = sender.wrote.iter().filter(|write| !write.bytes.is_empty());
        let mut unread: VecDeque<_> = wrote.map(|write| (write, write.bytes.len())).collect();
        for read in &receiver.read {
            let to = read.at.event;
            let mut left = read.bytes.len();
            if let Some((write, rest)) = unread.front()
                && *rest == left
                && write.bytes.len() == left
            {
                self.plain_reads.insert(to);
            }
            while left > 0
                && let Some((write, rest)) = unread.front_mut()
            {
                if *rest > left {
                    *rest -= left;
                    add(write.at, Some(to), MessageKind::PartOfBytes);
                    break;
                }
                left -= *rest;
                add(write.at, Some(to), MessageKind::Bytes);
                unread.pop_front();
            }
        }
        for (write, _) in unread {
            add(write.at, None, MessageKind::Bytes);
        }
        if let (Some(closed), Some(read_end)) = (sender.closed(), receiver.read_end)
            && closed < read_end
        {
            self.plain_reads.insert(read_end.event);
            add(closed, Some(read_end.event), MessageKind::End);
        }
    }
}

/// The connects and their completions, in the order in which clients learn of them.
fn connects(index: &Index<'_>) -> Vec<Message> {
    let mut connects = Vec::new();
    for (client, attempt) in index.attempts() {
        let connect = Message {
            from: attempt.begin.event,
            to: None,
            source: Some(Peer::Client(client)),
            target: Some(Peer::Server),
            kind: MessageKind::Connection,
        };
        let connection = attempt
            .connection
            .and_then(|number| index.connections.get(&number));
        if let Some(connection) = connection
            && let Some(connected) = connection.connected
        {
            let completion = Message {
                from: connection.accepted.event,
                to: Some(connected.event),
                source: connect.target,
                target: connect.source,
                kind: MessageKind::Connection,
            };
            let to = Some(connection.accepted.event);
            let connect = Message { to, ..connect };
            connects.push((connected.event, [Some(connect), Some(completion)]));
        } else if let Some((failed, _)) = attempt.failed
            && !attempt.is_by_datagram
        {
            connects.push((failed, [Some(connect), None]));
        }
    }
    connects.sort_by_key(|(learned, _)| *learned);
    let connects = connects.into_iter().flat_map(|(_, messages)| messages);
    connects.flatten().collect()
}

/// The subject of an event, unless it concerns everyone.
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

fn client_among(peers: [Option<Peer>; 2]) -> Option<usize> {
    peers.into_iter().flatten().find_map(Peer::client)
}
