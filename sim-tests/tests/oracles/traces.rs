//! Finding and changing the events of a trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chime_sim_tests::scenario::Text;
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, EventKind, ServerEvent, StreamEvent, Trace,
};

/// The error of a connect that the server's host refuses.
pub(crate) const REFUSED: &str = "connection refused";

/// Returns the index of the first event of this kind.
pub(crate) fn find(trace: &Trace, is_it: impl Fn(&EventKind) -> bool) -> usize {
    let index = trace.events.iter().position(|event| is_it(&event.kind));
    index.expect("the trace has this event")
}

/// Returns the index of the first such event at this end of any connection.
pub(crate) fn find_stream(trace: &Trace, wanted_end: End, wanted: &StreamEvent) -> usize {
    find(
        trace,
        |kind| matches!(kind, EventKind::Stream { end, event, .. } if *end == wanted_end && event == wanted),
    )
}

pub(crate) fn find_read(trace: &Trace, text: &str) -> usize {
    find_stream(trace, End::Client, &StreamEvent::Read(text.into()))
}

/// Returns the index of the first such event of a client.
pub(crate) fn find_client(trace: &Trace, number: usize, wanted: &ClientEvent) -> usize {
    find(
        trace,
        |kind| matches!(kind, EventKind::Client { client, event } if *client == number && event == wanted),
    )
}

/// Replaces an event of a client.
pub(crate) fn set_client(trace: &mut Trace, index: usize, wanted: ClientEvent) {
    match &mut trace.events[index].kind {
        EventKind::Client { event, .. } => *event = wanted,
        other => panic!("not an event of a client: {other}"),
    }
}

/// Moves an event of a client by this time.
pub(crate) fn move_client(trace: &mut Trace, client: usize, wanted: &ClientEvent, by_ms: i32) {
    let index = find_client(trace, client, wanted);
    let at_ms = &mut trace.events[index].at_ms;
    *at_ms = at_ms.checked_add_signed(by_ms).expect("a time");
}

/// Moves an error of client 0 by this time.
pub(crate) fn move_error(trace: &mut Trace, error: &str, by_ms: i32) {
    move_client(trace, 0, &ClientEvent::Failed(error.into()), by_ms);
}

/// Replaces an error of client 0.
pub(crate) fn replace_error(trace: &mut Trace, error: &str, wrong: &str) {
    let index = find_client(trace, 0, &ClientEvent::Failed(error.into()));
    set_client(trace, index, ClientEvent::Failed(wrong.into()));
}

/// Replaces an event of a connection.
pub(crate) fn set_stream(trace: &mut Trace, index: usize, wanted: StreamEvent) {
    match &mut trace.events[index].kind {
        EventKind::Stream { event, .. } => *event = wanted,
        other => panic!("not an event of a connection: {other}"),
    }
}

/// Returns the index of the first event at the server's end for which this holds.
pub(crate) fn find_server(trace: &Trace, is_it: impl Fn(&StreamEvent) -> bool) -> usize {
    find(
        trace,
        |kind| matches!(kind, EventKind::Stream { end: End::Server, event, .. } if is_it(event)),
    )
}

/// A write of all bytes.
pub(crate) fn wrote(text: &str) -> StreamEvent {
    StreamEvent::Wrote {
        bytes: text.into(),
        is_short: false,
    }
}

/// Returns the index of the first write of the server with this text.
pub(crate) fn find_reply(trace: &Trace, text: &str) -> usize {
    find_stream(trace, End::Server, &wrote(text))
}

/// Moves an event, and all later ones of its connection, by this time.
pub(crate) fn shift(trace: &mut Trace, index: usize, by_ms: i32) {
    let EventKind::Stream {
        connection: moved, ..
    } = trace.events[index].kind
    else {
        panic!("not an event of a connection: {}", trace.events[index]);
    };
    for event in &mut trace.events[index..] {
        if matches!(event.kind, EventKind::Stream { connection, .. } if connection == moved) {
            event.at_ms = event.at_ms.checked_add_signed(by_ms).expect("a time");
        }
    }
}

/// Adds to a counter of the last server.
pub(crate) fn count(trace: &mut Trace, name: &str, by: i64) {
    let counter = counters(trace).get_mut(name).expect("a counter");
    *counter = counter.checked_add_signed(by).expect("a count");
}

/// Returns a value of the last gauges.
pub(crate) fn gauge<'a>(trace: &'a mut Trace, name: &str) -> &'a mut u64 {
    let mut events = trace.events.iter_mut().rev();
    let gauges = events.find_map(|event| match &mut event.kind {
        EventKind::Server(ServerEvent::Gauges(gauges)) => Some(gauges),
        _ => None,
    });
    let gauges = gauges.expect("the trace has gauges");
    gauges.entry(name.into()).or_default()
}

/// Moves the end of connection 0 at the server by this time.
pub(crate) fn move_close(trace: &mut Trace, by_ms: i32) {
    let dropped = EventKind::Stream {
        connection: 0,
        end: End::Server,
        event: StreamEvent::Dropped,
    };
    let index = find(trace, |kind| *kind == dropped);
    shift(trace, index, by_ms);
}

/// Returns the counters of the last server.
pub(crate) fn counters(trace: &mut Trace) -> &mut BTreeMap<String, u64> {
    match trace.events.last_mut().map(|event| &mut event.kind) {
        Some(EventKind::Server(ServerEvent::Stopped { counters })) => counters,
        last => panic!("the last event is {last:?}"),
    }
}

/// Replaces a reply that a client receives from the client library.
pub(crate) fn replace_reply(trace: &mut Trace, client: usize, reply: &str, wrong: &str) {
    let index = find_client(trace, client, &ClientEvent::Reply(reply.into()));
    set_client(trace, index, ClientEvent::Reply(wrong.into()));
}

/// Returns the indices of the events that send or receive a datagram with this text.
pub(crate) fn datagrams_with(trace: &mut Trace, text: &str) -> Vec<usize> {
    let events = trace.events.iter_mut().enumerate();
    let found = events.filter_map(|(index, event)| {
        let bytes = bytes(&mut event.kind)?;
        (**bytes == *text.as_bytes()).then_some(index)
    });
    found.collect()
}

/// Returns whether an event is one of this datagram.
pub(crate) fn is_of_datagram(kind: &EventKind, number: usize) -> bool {
    matches!(kind, EventKind::Datagram { datagram, .. } if *datagram == number)
}

pub(crate) fn bytes(kind: &mut EventKind) -> Option<&mut Text> {
    match kind {
        EventKind::Datagram {
            event: DatagramEvent::Sent { bytes, .. } | DatagramEvent::Received { bytes, .. },
            ..
        } => Some(bytes),
        _ => None,
    }
}

/// Replaces the text of these datagrams.
pub(crate) fn rewrite(trace: &mut Trace, indices: &[usize], text: &str) {
    for index in indices {
        *bytes(&mut trace.events[*index].kind).expect("a datagram") = text.into();
    }
}

/// The source address of a datagram.
pub(crate) fn source(kind: &mut EventKind) -> &mut SocketAddr {
    match kind {
        EventKind::Datagram {
            event: DatagramEvent::Sent { from, .. } | DatagramEvent::Received { from, .. },
            ..
        } => from,
        other => panic!("not an event of a datagram with a source: {other}"),
    }
}

/// The destination address of a datagram.
pub(crate) fn destination(kind: &mut EventKind) -> &mut SocketAddr {
    match kind {
        EventKind::Datagram {
            event: DatagramEvent::Sent { to, .. },
            ..
        } => to,
        other => panic!("not an event of a datagram with a destination: {other}"),
    }
}

/// Returns the index of the accept of a connection.
pub(crate) fn find_accepted(trace: &Trace, number: usize) -> usize {
    find(trace, |kind| {
        let is_accept = |event: &StreamEvent| matches!(event, StreamEvent::Accepted { .. });
        matches!(kind, EventKind::Stream { connection, event, .. } if *connection == number && is_accept(event))
    })
}

/// Makes the connect of client 0 fail.
pub(crate) fn fail_connect(trace: &mut Trace) {
    let index = find_client(trace, 0, &ClientEvent::Connected { connection: 0 });
    set_client(trace, index, ClientEvent::Failed("refused".into()));
}

/// Removes the receipt of a datagram with this text.
pub(crate) fn lose(trace: &mut Trace, text: &str) {
    let received = datagrams_with(trace, text)[1];
    trace.events.remove(received);
}
