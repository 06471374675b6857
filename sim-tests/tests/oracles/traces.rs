//! Finding and changing the events of a trace.

use std::collections::BTreeMap;

use chime_sim_tests::scenario::Text;
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, EventKind, ServerEvent, StreamEvent, Trace,
};

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

/// Returns the first such event of a client.
pub(crate) fn find_client<'a>(
    trace: &'a mut Trace,
    number: usize,
    wanted: &ClientEvent,
) -> &'a mut ClientEvent {
    let mut events = trace.events.iter_mut();
    let found = events.find_map(|event| match &mut event.kind {
        EventKind::Client { client, event } if *client == number && event == wanted => Some(event),
        _ => None,
    });
    found.expect("the trace has this event")
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

/// Returns the counters of the last server.
pub(crate) fn counters(trace: &mut Trace) -> &mut BTreeMap<String, u64> {
    match trace.events.last_mut().map(|event| &mut event.kind) {
        Some(EventKind::Server(ServerEvent::Stopped { counters })) => counters,
        last => panic!("the last event is {last:?}"),
    }
}

/// Replaces a reply that a client receives from the client library.
pub(crate) fn replace_reply(trace: &mut Trace, client: usize, reply: &str, wrong: &str) {
    *find_client(trace, client, &ClientEvent::Reply(reply.into())) =
        ClientEvent::Reply(wrong.into());
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

/// Returns the index of the first accept.
pub(crate) fn find_accepted(trace: &Trace) -> usize {
    find(trace, |kind| {
        matches!(
            kind,
            EventKind::Stream {
                event: StreamEvent::Accepted { .. },
                ..
            }
        )
    })
}
