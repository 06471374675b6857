//! The canaries: traces that are wrong in one way, just beyond what an oracle tolerates.

use chime_sim_tests::chime::{Act, Reading, Scenario, Server};
use chime_sim_tests::scenario::{FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, End, Event, EventKind, StreamEvent, Trace};

use crate::scenarios::*;
use crate::traces::*;

/// A trace that a check must catch.
pub(crate) struct Canary {
    /// What is wrong.
    pub(crate) name: &'static str,
    pub(crate) scenario: fn() -> Scenario,
    /// Makes the trace of the scenario wrong.
    pub(crate) change: fn(&mut Trace),
    /// A part of the message of the failure.
    pub(crate) message: &'static str,
}

pub(crate) const CANARIES: &[Canary] = &[
    Canary {
        name: "a wrong byte",
        scenario: without_faults,
        change: |trace| {
            let index = find_read(trace, "15\n");
            if let EventKind::Stream { event, .. } = &mut trace.events[index].kind {
                *event = StreamEvent::Read("16\n".into());
            }
        },
        message: "the client expected \"5\\n\" and read \"6\\n",
    },
    Canary {
        name: "a missing reply",
        scenario: without_faults,
        change: |trace| {
            let index = find_read(trace, "Saturday\n18\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early, 2 replies are missing",
    },
    Canary {
        name: "a reply without a request",
        scenario: without_faults,
        change: |trace| {
            let index = find_read(trace, "15\n");
            let mut copy = trace.events[index].clone();
            if let EventKind::Stream { connection, .. } = &mut copy.kind {
                *connection = 1 - *connection;
            }
            let last = find_read(trace, "Saturday\n18\n");
            trace.events.insert(last + 1, copy);
        },
        message: "the client expected \"\" and read \"15\\n\"",
    },
    Canary {
        name: "a conversation without its half close",
        scenario: without_faults,
        change: |trace| {
            let index = find_stream(trace, End::Client, &StreamEvent::Shut);
            trace.events.remove(index);
        },
        message: "and no fault explains it",
    },
    Canary {
        name: "a wrong reply of the client library",
        scenario: without_faults,
        change: |trace| {
            replace_reply(trace, 0, "15", "16");
        },
        message: "which did not arrive",
    },
    Canary {
        name: "a wrong datagram reply of the client library",
        scenario: without_faults,
        change: |trace| {
            replace_reply(trace, 2, "26-11-21", "26-11-22");
        },
        message: "which no datagram contained",
    },
    Canary {
        name: "a reply dropped by the client library",
        scenario: without_faults,
        change: |trace| {
            trace.events.retain(|event| {
                let EventKind::Client { client, event } = &event.kind else {
                    return true;
                };
                *client != 0 || !matches!(event, ClientEvent::Reply(_))
            });
        },
        message: "the client library did not return a reply that arrived",
    },
    Canary {
        name: "an unexplained error of the client library",
        scenario: without_faults,
        change: |trace| {
            *find_client(trace, 0, &ClientEvent::Done) = ClientEvent::Failed("no answer".into());
        },
        message: "and no fault explains it",
    },
    Canary {
        name: "a drain beyond its timeout",
        scenario: without_faults,
        change: |trace| {
            let last = trace.events.len() - 1;
            trace.events[last].at_ms += 1;
        },
        message: "the server stopped at ",
    },
    Canary {
        name: "an event of an unknown connection",
        scenario: without_faults,
        change: |trace| {
            let index = find_accepted(trace);
            trace.events.remove(index);
        },
        message: "this event belongs to nothing that has begun",
    },
    Canary {
        name: "a client library that does not retry",
        scenario: without_faults,
        change: |trace| {
            let reply = ClientEvent::Reply("26-11-21".into());
            let index = find(
                trace,
                |kind| matches!(kind, EventKind::Client { event, .. } if *event == reply),
            );
            trace.events[index].at_ms += 1_010;
        },
        message: "client 2 did not send its request again after 1000 ms",
    },
    Canary {
        name: "a datagram received twice",
        scenario: without_faults,
        change: |trace| {
            let received = datagrams_with(trace, "what?")[1];
            let copy = trace.events[received].clone();
            trace.events.insert(received, copy);
        },
        message: "was received, but not as it was sent",
    },
    Canary {
        name: "a panic",
        scenario: without_faults,
        change: |trace| {
            let last = trace.events.len() - 1;
            trace.events[last].kind = EventKind::Panicked("oh".into());
        },
        message: "panicked: oh",
    },
    Canary {
        name: "a corrupted datagram",
        scenario: without_faults,
        change: |trace| {
            let sent = datagrams_with(trace, "26-11-21")[0];
            rewrite(trace, &[sent], "26-11-22");
        },
        message: "was received, but not as it was sent",
    },
    Canary {
        name: "a wrong reply to a datagram",
        scenario: without_faults,
        change: |trace| {
            let sent_and_received = datagrams_with(trace, "26-11-21");
            rewrite(trace, &sent_and_received, "26-11-22");
        },
        message: "is not the reply that the model expects",
    },
    Canary {
        name: "a lost datagram",
        scenario: without_faults,
        change: |trace| {
            let received = datagrams_with(trace, "what?")[1];
            trace.events.remove(received);
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a late reply to a datagram",
        scenario: without_faults,
        change: |trace| {
            let sent = datagrams_with(trace, "26-11-21")[0];
            for event in &mut trace.events[sent..] {
                event.at_ms += 1;
            }
        },
        message: "was not answered within the millisecond",
    },
    Canary {
        name: "a datagram request without a reply",
        scenario: without_faults,
        change: |trace| {
            let sent_and_received = datagrams_with(trace, "what?");
            rewrite(trace, &sent_and_received, "day");
        },
        message: "was not answered",
    },
    Canary {
        name: "a failed connect without a fault",
        scenario: without_faults,
        change: |trace| {
            let connection = 0;
            let connected = ClientEvent::Connected { connection };
            let index = find(
                trace,
                |kind| matches!(kind, EventKind::Client { event, .. } if *event == connected),
            );
            let EventKind::Client { event, .. } = &mut trace.events[index].kind else {
                unreachable!("it is an event of a client");
            };
            *event = ClientEvent::Failed("refused".into());
        },
        message: "a client cannot connect, and no fault explains it: refused",
    },
    Canary {
        name: "a request by datagram that fails without a fault",
        scenario: without_faults,
        change: |trace| {
            *find_client(trace, 2, &ClientEvent::Reply("26-11-21".into())) =
                ClientEvent::Failed("timed out".into());
        },
        message: "client 2 got no reply by datagram, and no fault explains it: timed out",
    },
    Canary {
        name: "a late recovery",
        scenario: without_faults,
        change: |trace| {
            let recovery = without_faults().clients.len();
            let done = EventKind::Client {
                client: recovery,
                event: ClientEvent::Done,
            };
            let index = find(trace, |kind| *kind == done);
            trace.events[index].at_ms += 60_000;
        },
        message: "a client was not served soon after the network had healed",
    },
    Canary {
        name: "a connection that is never dropped",
        scenario: without_faults,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            trace.events.remove(index);
        },
        message: "a connection was still open at the end",
    },
    Canary {
        name: "a run that is stuck",
        scenario: without_faults,
        change: |trace| {
            let last = trace.events.len() - 1;
            trace.events[last].kind = EventKind::Stuck("client 7".into());
        },
        message: "stuck: client 7",
    },
    Canary {
        name: "a datagram that is lost and not counted",
        scenario: without_faults,
        change: |trace| {
            let received = datagrams_with(trace, "what?")[1];
            trace.events.remove(received);
            *counters(trace)
                .get_mut("DatagramIgnored")
                .expect("a counter") -= 1;
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a counter that is off by one",
        scenario: without_faults,
        change: |trace| *counters(trace).get_mut("help").expect("a counter") += 1,
        message: "the server counts help=1, expected 0",
    },
    Canary {
        name: "a wrong byte of the server",
        scenario: without_faults,
        change: |trace| {
            let wrote = |text: &str| StreamEvent::Wrote {
                bytes: text.into(),
                is_short: false,
            };
            let index = find_stream(trace, End::Server, &wrote("Saturday\n18\n"));
            set_stream(trace, index, wrote("Saturday\n19\n"));
        },
        message: "the server wrote \"Saturday\\n19\\n\", expected \"Saturday\\n18\\n\"",
    },
    Canary {
        name: "a read that is late by a millisecond",
        scenario: late_request,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Read("15\n".into()));
            shift(trace, index, 1);
        },
        message: "and did nothing until",
    },
    Canary {
        name: "a reply that is late by a millisecond",
        scenario: late_request,
        change: |trace| {
            let index = find_server(
                trace,
                |event| matches!(event, StreamEvent::Wrote { bytes, .. } if **bytes == *b"6\n"),
            );
            shift(trace, index, 1);
        },
        message: "although there was room",
    },
    Canary {
        name: "a blocked reply that is late by a millisecond",
        scenario: || Scenario {
            network: small_window(),
            ..writer(
                many_days(),
                Reading::Slow {
                    bytes: 50,
                    pause_ms: 20,
                },
                Server::default(),
            )
        },
        change: |trace| {
            let blocked = find_server(trace, |event| *event == StreamEvent::Blocked);
            let next = trace.events[blocked..].iter().position(|event| {
                let is_write = |event: &StreamEvent| matches!(event, StreamEvent::Wrote { .. });
                matches!(&event.kind, EventKind::Stream { end: End::Server, event, .. } if is_write(event))
            });
            shift(trace, blocked + next.expect("a write"), 1);
        },
        message: "although there was room",
    },
    Canary {
        name: "a read while a reply is unsent",
        scenario: slow_reader,
        change: |trace| {
            let read = find_server(trace, |event| matches!(event, StreamEvent::Read(_)));
            set_stream(
                trace,
                read,
                StreamEvent::Read(Text::from(&*"day\n".repeat(24))),
            );
            let blocked = find_server(trace, |event| *event == StreamEvent::Blocked);
            let mut more = trace.events[read].clone();
            more.at_ms = trace.events[blocked].at_ms;
            trace.events.insert(blocked, more);
            set_stream(trace, blocked, StreamEvent::Read(Text::from("day\n")));
            *counters(trace).get_mut("day").expect("a counter") -= 1;
        },
        message: "the server read while a reply was unsent",
    },
    Canary {
        name: "the idle timeout, a millisecond too late",
        scenario: idle,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the idle timeout, a millisecond too early",
        scenario: idle,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "the line timeout, a millisecond too late",
        scenario: slow_line,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the line timeout, a millisecond too early",
        scenario: slow_line,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "the write timeout, a millisecond too late",
        scenario: slow_reader,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the write timeout, a millisecond too early",
        scenario: slow_reader,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "the linger timeout, a millisecond too late",
        scenario: linger,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the linger timeout, a millisecond too early",
        scenario: linger,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "the drain timeout, a millisecond too late",
        scenario: cut,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the drain timeout, a millisecond too early",
        scenario: cut,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "the quiet period of a shutdown, a millisecond too late",
        scenario: stopped,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the quiet period of a shutdown, a millisecond too early",
        scenario: stopped,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "a close that is a millisecond after quit",
        scenario: linger,
        change: |trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "a reply that is lost before a fault: partition",
        scenario: || faulty(FaultKind::Partition { host: 0 }),
        change: |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "a reply that is lost before a fault: partitionfromserver",
        scenario: || faulty(FaultKind::PartitionFromServer { host: 0 }),
        change: |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "a reply that is lost before a fault: crash",
        scenario: || faulty(FaultKind::Crash),
        change: |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "an accept that is late by a millisecond",
        scenario: idle,
        change: |trace| {
            let index = find_accepted(trace);
            shift(trace, index, 1);
        },
        message: "was not accepted until",
    },
    Canary {
        name: "a reset although both ends closed in order",
        scenario: without_faults,
        change: |trace| {
            let index = find_stream(trace, End::Client, &StreamEvent::Dropped);
            let mut failed = trace.events[index].clone();
            if let EventKind::Stream { event, .. } = &mut failed.kind {
                *event = StreamEvent::Failed {
                    error: "reset".into(),
                    is_injected: false,
                };
            }
            trace.events.insert(index, failed);
        },
        message: "was reset although both ends closed in order",
    },
    Canary {
        name: "a connection that waits for one operation too many of another",
        scenario: two_at_once,
        change: |trace| {
            let read = |bytes: &[u8]| StreamEvent::Read(Text::from(bytes));
            let index = find_stream(trace, End::Server, &read(&[b'1'; 200]));
            let long = trace.events.remove(index);
            let other = find_stream(trace, End::Server, &read(b"15\n"));
            for length in std::iter::once(72).chain([1; 128]) {
                trace.events.insert(other, long.clone());
                set_stream(trace, other, read(&vec![b'1'; length]));
            }
        },
        message: "and waited for 129 operations of connection",
    },
    Canary {
        name: "a datagram that is lost after the queue was full",
        scenario: overflow,
        change: |trace| {
            let received = datagrams_with(trace, "late")[1];
            trace.events.remove(received);
            *counters(trace)
                .get_mut("DatagramIgnored")
                .expect("a counter") -= 1;
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a reply that is lost before an injected failure",
        scenario: || {
            let acts = vec![Act::Write(Text::from("15\n")), Act::Pause(100)];
            writer(acts, Reading::Eager, Server::default())
        },
        change: |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
            let mut events = trace.events.iter();
            let later = events
                .position(|event| event.at_ms > 50)
                .expect("a later event");
            let kind = EventKind::Stream {
                connection: 0,
                end: End::Client,
                event: StreamEvent::Failed {
                    error: "reset".into(),
                    is_injected: true,
                },
            };
            trace.events.insert(later, Event { at_ms: 50, kind });
        },
        message: "the conversation ended early",
    },
];
