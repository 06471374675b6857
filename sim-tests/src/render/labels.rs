//! The text of the label next to an event.

use maud::{Markup, Render, html};

use crate::trace::{ClientEvent, DatagramEvent, EventKind, Peer, ServerEvent, StreamEvent};
use crate::trace::{Datagram, Index};

/// The most characters of bytes in a label.
const BYTES_MAX: usize = 40;

/// The most characters of bytes in a label with a note.
const NOTED_BYTES_MAX: usize = 24;

/// The most bytes of a failing read that are shown before its first wrong byte.
const RIGHT_MAX: usize = 16;

/// The most characters of other text in a label.
const TEXT_MAX: usize = 60;

/// A piece of a label.
pub(super) struct Span {
    /// The class of its style.
    class: &'static str,
    text: String,
}

impl Render for Span {
    fn render(&self) -> Markup {
        html! { tspan class=(self.class) { (self.text) } }
    }
}

/// Returns the label of an event. It is empty for gauges, and if the event receives exactly what one event has sent.
pub(super) fn label(index: &Index<'_>, event: usize, is_plain_read: bool) -> Vec<Span> {
    let kind = &index.trace.events[event].kind;
    match kind {
        EventKind::FaultBegan(_) | EventKind::FaultEnded(_) => vec![trouble(kind)],
        EventKind::Healed => vec![span("healed", kind.to_string())],
        EventKind::Server(ServerEvent::Gauges(_)) => Vec::new(),
        EventKind::Server(event) => vec![server(event)],
        EventKind::Client { event, .. } => client(event),
        EventKind::Stream {
            connection, event, ..
        } => stream(*connection, event, is_plain_read),
        EventKind::Datagram { datagram, event } => {
            let notes = index.datagrams.get(datagram).map(notes);
            datagram_label(event, &notes.unwrap_or_default(), is_plain_read)
        }
        EventKind::Panicked(_) | EventKind::Stuck(_) => vec![wrong(kind)],
    }
}

/// Returns the label of the failing event. If that is a read, its first wrong byte is marked.
pub(super) fn failure_label(kind: &EventKind, right_bytes: Option<usize>) -> Vec<Span> {
    let EventKind::Stream {
        event: StreamEvent::Read(bytes),
        ..
    } = kind
    else {
        return vec![wrong(kind)];
    };
    let (right, rest) = bytes.split_at(right_bytes.unwrap_or(0).min(bytes.len()));
    let (first, rest) = rest.split_at(rest.len().min(1));
    let (skipped, right) = right.split_at(right.len().saturating_sub(RIGHT_MAX));
    let dots = if skipped.is_empty() { "" } else { "…" };
    vec![
        quiet("reads \""),
        span("bytes right", format!("{dots}{}", right.escape_ascii())),
        span("bytes first-wrong", escaped(first, BYTES_MAX)),
        span("bytes wrong", escaped(rest, BYTES_MAX)),
        quiet("\""),
    ]
}

fn server(event: &ServerEvent) -> Span {
    match event {
        ServerEvent::Gauges(_) => quiet(event.to_string()),
        ServerEvent::Stopped { .. } => span("server-event", "server stopped"),
        ServerEvent::Started | ServerEvent::Stopping => {
            span("server-event", format!("server {event}"))
        }
        ServerEvent::Killed
        | ServerEvent::CannotAccept
        | ServerEvent::AcceptAborted
        | ServerEvent::CannotReceive
        | ServerEvent::CannotSend => trouble(format!("server {event}")),
    }
}

fn client(event: &ClientEvent) -> Vec<Span> {
    match event {
        ClientEvent::Reply(reply) => vec![quiet("receives reply "), span("reply", reply.as_str())],
        ClientEvent::Failed(_) | ClientEvent::Forgets => vec![trouble(event)],
        _ => vec![quiet(event.to_string())],
    }
}

fn stream(connection: usize, event: &StreamEvent, is_plain_read: bool) -> Vec<Span> {
    match event {
        StreamEvent::Wrote { bytes, is_short } => {
            let mut spans = vec![quoted(bytes, BYTES_MAX)];
            if *is_short {
                spans.push(quiet(" short write"));
            }
            spans
        }
        StreamEvent::Read(_) | StreamEvent::ReadEnd if is_plain_read => Vec::new(),
        StreamEvent::Read(bytes) => vec![quiet("reads "), quoted(bytes, BYTES_MAX)],
        StreamEvent::Blocked => vec![trouble(event)],
        StreamEvent::Failed { error, is_injected } => {
            let cause = if *is_injected { " (injected)" } else { "" };
            vec![trouble(format!(
                "connection {connection} fails{cause}: {error}"
            ))]
        }
        StreamEvent::Accepted { .. } => vec![quiet(format!("accepts connection {connection}"))],
        StreamEvent::Dropped => vec![quiet(format!("drops connection {connection}"))],
        StreamEvent::Shut | StreamEvent::ReadEnd => vec![quiet(event.to_string())],
    }
}

/// Returns what the network did to a datagram.
fn notes(datagram: &Datagram<'_>) -> String {
    let mut notes = Vec::new();
    if datagram.by != Peer::Server && datagram.from == datagram.to {
        notes.push("source spoofed".into());
    }
    if datagram.is_lost {
        notes.push("lost".into());
    }
    if datagram.bytes != datagram.bytes_sent {
        notes.push(format!("corrupted to {}", datagram.bytes));
    }
    if datagram.is_duplicate {
        notes.push("duplicate".into());
    }
    notes.join(", ")
}

fn datagram_label(event: &DatagramEvent, notes: &str, is_plain_read: bool) -> Vec<Span> {
    match event {
        DatagramEvent::Sent { bytes, .. } if notes.is_empty() => vec![quoted(bytes, BYTES_MAX)],
        DatagramEvent::Sent { bytes, .. } => {
            vec![quoted(bytes, NOTED_BYTES_MAX), trouble(format!(" {notes}"))]
        }
        DatagramEvent::Received { bytes, .. } if !is_plain_read => {
            vec![quiet("receives "), quoted(bytes, BYTES_MAX)]
        }
        // The label of the sending event has notes of these.
        _ => Vec::new(),
    }
}

fn span(class: &'static str, text: impl Into<String>) -> Span {
    Span {
        class,
        text: text.into(),
    }
}

fn quoted(bytes: &[u8], length_max: usize) -> Span {
    span("bytes", format!("\"{}\"", escaped(bytes, length_max)))
}

fn quiet(text: impl Into<String>) -> Span {
    span("quiet", text)
}

fn trouble(text: impl ToString) -> Span {
    span("trouble", shortened(&text.to_string(), TEXT_MAX))
}

fn wrong(text: impl ToString) -> Span {
    span("wrong", shortened(&text.to_string(), TEXT_MAX))
}

/// Returns the first characters of a text, on one line.
pub(super) fn shortened(text: &str, length_max: usize) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(length_max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns the first bytes, escaped and shortened.
fn escaped(bytes: &[u8], length_max: usize) -> String {
    shortened(&bytes.escape_ascii().to_string(), length_max)
}
