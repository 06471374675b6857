//! Canaries of the server's end of connections: its replies, reads, timeouts and its shutdown.

use chime_sim_tests::scenario::{FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, End, Event, EventKind, ServerEvent, StreamEvent};

use super::Canary;
use crate::scenarios::*;
use crate::traces::*;

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "a connection that is never dropped",
        scenario: without_faults,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
            trace.events.remove(index);
            let is_gauges =
                |event: &Event| matches!(event.kind, EventKind::Server(ServerEvent::Gauges(_)));
            trace.events.retain(|event| !is_gauges(event));
        },
        message: "a connection was still open at the end",
    },
    Canary {
        name: "a wrong byte of the server",
        scenario: without_faults,
        change: |_, trace| {
            let index = find_reply(trace, "Saturday\n18\n");
            set_stream(trace, index, wrote("Saturday\n19\n"));
        },
        message: "the server wrote \"Saturday\\n19\\n\", expected \"Saturday\\n18\\n\"",
    },
    Canary {
        name: "an accept in the last millisecond of the pause after a failed accept",
        scenario: failed_accepts,
        change: |_, trace| {
            let index = find_accepted(trace, 0);
            shift(trace, index, -1);
        },
        message: "and it had to pause until",
    },
    Canary {
        name: "a read that is late by a millisecond",
        scenario: late_request,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Read("15\n".into()));
            shift(trace, index, 1);
        },
        message: "and did nothing until",
    },
    Canary {
        name: "a reply that is late by a millisecond",
        scenario: late_request,
        change: |_, trace| {
            let index = find_reply(trace, "6\n");
            shift(trace, index, 1);
        },
        message: "although there was room",
    },
    Canary {
        name: "a blocked reply that is late by a millisecond",
        scenario: blocked_reply,
        change: |_, trace| {
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
        change: |_, trace| {
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
            count(trace, "day", -1);
        },
        message: "the server read while a reply was unsent",
    },
    Canary {
        name: "the idle timeout, a millisecond too late",
        scenario: idle,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 2013 ms (Idle)",
    },
    Canary {
        name: "the idle timeout, a millisecond too early",
        scenario: idle,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 2012 ms, which was too early",
    },
    Canary {
        name: "the line timeout, a millisecond too late",
        scenario: slow_line,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 119 ms (SlowLine)",
    },
    Canary {
        name: "the line timeout, a millisecond too early",
        scenario: slow_line,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 118 ms, which was too early",
    },
    Canary {
        name: "the write timeout, a millisecond too late",
        scenario: slow_reader,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 163 ms (SlowReader)",
    },
    Canary {
        name: "the write timeout, a millisecond too early",
        scenario: slow_reader,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 162 ms, which was too early",
    },
    Canary {
        name: "the linger timeout, a millisecond too late",
        scenario: linger,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 1005 ms (Ended)",
    },
    Canary {
        name: "the linger timeout, a millisecond too early",
        scenario: linger,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 1004 ms, which was too early",
    },
    Canary {
        name: "the drain timeout, a millisecond too late",
        scenario: cut,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 150 ms (Cut)",
    },
    Canary {
        name: "the drain timeout, a millisecond too early",
        scenario: cut,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 149 ms, which was too early",
    },
    Canary {
        name: "the quiet period of a shutdown, a millisecond too late",
        scenario: stopped,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "the quiet period of a shutdown, a millisecond too early",
        scenario: stopped,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, -1);
        },
        message: ", which was too early",
    },
    Canary {
        name: "a close that is a millisecond after quit",
        scenario: linger,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Shut);
            shift(trace, index, 1);
        },
        message: "the server did not close at",
    },
    Canary {
        name: "a connection that waits for one operation too many of another",
        scenario: two_at_once,
        change: |_, trace| {
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
        name: "an accept that is a millisecond after the drain of the backlog",
        scenario: || connect_at_stop(57),
        change: |_, trace| {
            let index = find_accepted(trace, 1);
            shift(trace, index, 2);
        },
        message: "a connection was accepted at 61 ms, although the backlog was drained at 60 ms",
    },
    Canary {
        name: "a refusal that is late after the drain of the backlog",
        scenario: || connect_at_stop(60),
        change: |_, trace| {
            move_client(trace, 1, &ClientEvent::Failed(REFUSED.into()), 4);
        },
        message: "a connect at 61 ms was not refused, although the backlog was drained at 60 ms",
    },
    Canary {
        name: "a request that is discarded although it arrived a millisecond before the half-close",
        scenario: discarded_request,
        change: |_, trace| {
            let written = find_stream(trace, End::Client, &wrote("15\n"));
            trace.events[written].at_ms -= 2;
            let read = find_stream(trace, End::Server, &StreamEvent::Read("15\n".into()));
            trace.events[read].at_ms -= 1;
        },
        message: "byte 3 arrived at 99 ms, and was not read before the server half-closed",
    },
    Canary {
        name: "a drain beyond its timeout",
        scenario: without_faults,
        change: |_, trace| {
            let last = trace.events.len() - 1;
            trace.events[last].at_ms += 1;
        },
        message: "the server stopped at ",
    },
    Canary {
        name: "an event of an unknown connection",
        scenario: without_faults,
        change: |_, trace| {
            let index = find_accepted(trace, 0);
            trace.events.remove(index);
        },
        message: "this event belongs to nothing that has begun",
    },
    Canary {
        name: "a panic",
        scenario: without_faults,
        change: |_, trace| {
            let last = trace.events.len() - 1;
            trace.events[last].kind = EventKind::Panicked("oh".into());
        },
        message: "panicked: oh",
    },
    Canary {
        name: "a run that is stuck",
        scenario: without_faults,
        change: |_, trace| {
            let last = trace.events.len() - 1;
            trace.events[last].kind = EventKind::Stuck("client 7".into());
        },
        message: "stuck: client 7",
    },
    Canary {
        name: "a counter that is off by one",
        scenario: without_faults,
        change: |_, trace| count(trace, "help", 1),
        message: "the server counts help=1, expected 0",
    },
    Canary {
        name: "a read that is late by a millisecond before a partition",
        scenario: || faulty(FaultKind::Partition { host: 0 }),
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Read("15\n".into()));
            shift(trace, index, 1);
        },
        message: "and did nothing until",
    },
    Canary {
        name: "a read that is late by a millisecond after the replies are sent",
        scenario: blocked_read,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Read("15\n".into()));
            shift(trace, index, 1);
        },
        message: "and did nothing until",
    },
    Canary {
        name: "a wrong byte of the server with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_reply(trace, "6");
            set_stream(trace, index, wrote("7"));
        },
        message: "the server wrote \"7\", expected \"6\"",
    },
    Canary {
        name: "a read that is late by a millisecond with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_stream(trace, End::Server, &StreamEvent::Read("15".into()));
            shift(trace, index, 1);
        },
        message: "and did nothing until",
    },
    Canary {
        name: "a reply that is late by a millisecond with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_reply(trace, "6");
            shift(trace, index, 1);
        },
        message: "although there was room",
    },
    Canary {
        name: "the idle timeout with framing `read`, a millisecond too late",
        scenario: late_request_by_read,
        change: |_, trace| move_close(trace, 1),
        message: "connection 0: the server did not close at 2515 ms (Idle)",
    },
    Canary {
        name: "the idle timeout with framing `read`, a millisecond too early",
        scenario: late_request_by_read,
        change: |_, trace| move_close(trace, -1),
        message: "connection 0: the server closed at 2514 ms, which was too early",
    },
    Canary {
        name: "a request with framing `read` that is not counted",
        scenario: late_request_by_read,
        change: |_, trace| count(trace, "digits", -1),
        message: "the server counts digits=0, expected 1",
    },
];
