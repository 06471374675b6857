//! What is written next to an event.

use crate::render::markup::{first_bytes, last_bytes, shortened};
use crate::scenario::Text;
use crate::trace::index::{Datagram, Index};
use crate::trace::{ClientEvent, DatagramEvent, Event, EventKind, Peer, ServerEvent, StreamEvent};

/// How many characters of bytes are shown.
const BYTES_MAX: usize = 40;

/// How many characters of bytes are shown where more is to be said.
const NOTED_BYTES_MAX: usize = 24;

/// How many characters of other text are shown.
const WORDS_MAX: usize = 60;

/// A piece of a label, and its style.
pub(super) struct Span {
    pub(super) class: &'static str,
    pub(super) text: String,
}

/// The label of an event; nothing if it receives exactly what one event has sent.
pub(super) fn label(index: &Index<'_>, event: usize, is_plain: bool) -> Vec<Span> {
    let kind = &index.trace.events[event].kind;
    match kind {
        EventKind::FaultBegan(_) | EventKind::FaultEnded(_) => vec![trouble(kind.to_string())],
        EventKind::Healed => vec![Span::new("healed", kind.to_string())],
        EventKind::Server(event) => vec![server(event)],
        EventKind::Client { event, .. } => client(event),
        EventKind::Stream {
            connection, event, ..
        } => stream(*connection, event, is_plain),
        EventKind::Datagram { datagram, event } => {
            let notes = index.datagrams.get(datagram).map(notes);
            datagram_label(event, &notes.unwrap_or_default(), is_plain)
        }
        EventKind::Panicked(_) | EventKind::Stuck(_) => vec![wrong(kind.to_string())],
    }
}

/// The label of the event by which a failure shows, with the first wrong byte marked.
pub(super) fn failure_label(event: &Event, right_bytes: Option<usize>) -> Vec<Span> {
    let (Some((verb, bytes)), Some(right_bytes)) = (bytes(&event.kind), right_bytes) else {
        return vec![wrong(event.kind.to_string())];
    };
    let (right, rest) = bytes.split_at(right_bytes.min(bytes.len()));
    let mut spans = vec![quiet(format!("{verb} \""))];
    if !right.is_empty() {
        spans.push(Span::new("bytes right", last_bytes(right, BYTES_MAX)));
    }
    if let Some((first, rest)) = rest.split_at_checked(1) {
        spans.push(Span::new(
            "bytes first-wrong",
            first_bytes(first, BYTES_MAX),
        ));
        spans.push(Span::new("bytes wrong", first_bytes(rest, BYTES_MAX)));
        spans.push(quiet("\""));
    } else {
        spans.push(quiet("\""));
        spans.push(Span::new("first-wrong", " and no more"));
    }
    spans
}

/// What is done with bytes in an event, and with which.
fn bytes(kind: &EventKind) -> Option<(&'static str, &[u8])> {
    match kind {
        EventKind::Client {
            event: ClientEvent::Told(reply),
            ..
        } => Some(("receives reply", reply.as_bytes())),
        EventKind::Stream { event, .. } => match event {
            StreamEvent::Wrote { bytes, .. } => Some(("writes", bytes)),
            StreamEvent::Read(bytes) => Some(("reads", bytes)),
            _ => None,
        },
        EventKind::Datagram { event, .. } => match event {
            DatagramEvent::Sent { bytes, .. } => Some(("sends", bytes)),
            DatagramEvent::Corrupted(bytes) => Some(("becomes", bytes)),
            DatagramEvent::Received { bytes, .. } => Some(("receives", bytes)),
            _ => None,
        },
        _ => None,
    }
}

fn server(event: &ServerEvent) -> Span {
    match event {
        ServerEvent::Started | ServerEvent::Stopping => {
            Span::new("server-word", format!("server {event}"))
        }
        ServerEvent::Stopped { snapshot, .. } => {
            let connections = snapshot[chime_server::Counter::ConnectionServed];
            let datagrams = snapshot[chime_server::Counter::DatagramAnswered];
            let text =
                format!("server stopped: {connections} connections, {datagrams} datagrams served");
            Span::new("server-word", text)
        }
        ServerEvent::Killed | ServerEvent::CannotAccept | ServerEvent::CannotReceive => {
            trouble(format!("server {event}"))
        }
    }
}

fn client(event: &ClientEvent) -> Vec<Span> {
    match event {
        ClientEvent::Told(reply) => {
            vec![quiet("receives reply "), Span::new("told", reply.as_str())]
        }
        ClientEvent::Failed(_) => vec![trouble(event.to_string())],
        ClientEvent::Forgets => vec![trouble(event.to_string())],
        _ => vec![quiet(event.to_string())],
    }
}

fn stream(connection: usize, event: &StreamEvent, is_plain: bool) -> Vec<Span> {
    match event {
        StreamEvent::Wrote { bytes, is_short } => {
            let mut spans = vec![quoted(bytes, BYTES_MAX)];
            if *is_short {
                spans.push(quiet(" cut off"));
            }
            spans
        }
        StreamEvent::Read(_) | StreamEvent::ReadEnd if is_plain => Vec::new(),
        StreamEvent::Read(bytes) => vec![quiet("reads "), quoted(bytes, BYTES_MAX)],
        StreamEvent::Blocked => vec![trouble(event.to_string())],
        StreamEvent::Failed { error, is_injected } => {
            let cause = if *is_injected { " (injected)" } else { "" };
            vec![trouble(format!(
                "connection {connection} fails{cause}: {error}"
            ))]
        }
        StreamEvent::Accepted | StreamEvent::Dropped => {
            let verb = if *event == StreamEvent::Accepted {
                "accepts"
            } else {
                "drops"
            };
            vec![quiet(format!("{verb} connection {connection}"))]
        }
        StreamEvent::Shut | StreamEvent::ReadEnd => vec![quiet(event.to_string())],
    }
}

/// What happened to a datagram on its way.
fn notes(datagram: &Datagram<'_>) -> String {
    let mut notes = Vec::new();
    if datagram.by != Peer::Server && datagram.from == datagram.to {
        notes.push("as if from the server".into());
    }
    if datagram.is_lost {
        notes.push("lost".into());
    }
    if datagram.bytes != datagram.bytes_sent {
        notes.push(format!("becomes {}", datagram.bytes));
    }
    if datagram.is_duplicate {
        notes.push("once more".into());
    }
    notes.join(", ")
}

fn datagram_label(event: &DatagramEvent, notes: &str, is_plain: bool) -> Vec<Span> {
    match event {
        DatagramEvent::Sent { bytes, .. } => {
            if notes.is_empty() {
                return vec![quoted(bytes, BYTES_MAX)];
            }
            let notes = trouble(format!(" {notes}"));
            vec![quoted(bytes, NOTED_BYTES_MAX), notes]
        }
        DatagramEvent::Received { bytes, .. } if !is_plain => {
            vec![quiet("receives "), quoted(bytes, BYTES_MAX)]
        }
        // These are notes next to the bytes that were sent.
        _ => Vec::new(),
    }
}

impl Span {
    fn new(class: &'static str, text: impl Into<String>) -> Span {
        Span {
            class,
            text: text.into(),
        }
    }
}

fn quoted(bytes: &Text, length_max: usize) -> Span {
    Span::new("bytes", format!("\"{}\"", first_bytes(bytes, length_max)))
}

fn quiet(text: impl Into<String>) -> Span {
    Span::new("quiet", text)
}

fn trouble(text: impl Into<String>) -> Span {
    Span::new("trouble", shortened(&text.into(), WORDS_MAX))
}

fn wrong(text: impl Into<String>) -> Span {
    Span::new("wrong", shortened(&text.into(), WORDS_MAX))
}
