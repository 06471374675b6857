//! Canaries of the client library: its replies, waits, errors, half-closes and retries.

use chime_sim_tests::scenario::FaultKind;
use chime_sim_tests::trace::{ClientEvent, End, EventKind, StreamEvent};

use super::Canary;
use crate::scenarios::*;
use crate::traces::*;

const HOLD: FaultKind = FaultKind::Hold { host: 0 };

const SILENT_CONNECT: &str = "timed out";
const SILENCE: &str = "no reply within 200ms";
const CLOSED: &str = "the server closed the connection";
const FULL: &str = "the server is full";

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "a wrong reply of the client library",
        scenario: without_faults,
        change: |_, trace| replace_reply(trace, 0, "15", "16"),
        message: "which did not arrive",
    },
    Canary {
        name: "a reply dropped by the client library",
        scenario: without_faults,
        change: |_, trace| {
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
        name: "a connect that times out a millisecond too early",
        scenario: held_connect,
        change: |_, trace| move_error(trace, SILENT_CONNECT, -1),
        message: "the library of client 0: waited for 199 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a connect that times out a millisecond too late",
        scenario: held_connect,
        change: |_, trace| move_error(trace, SILENT_CONNECT, 1),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a welcome that times out a millisecond too early",
        scenario: late_welcome,
        change: |_, trace| move_error(trace, SILENCE, -1),
        message: "the library of client 0: waited for 199 ms",
    },
    Canary {
        name: "a welcome that times out a millisecond too late",
        scenario: late_welcome,
        change: |_, trace| move_error(trace, SILENCE, 1),
        message: "the library of client 0: waited for 201 ms",
    },
    Canary {
        name: "a reply that times out a millisecond too early",
        scenario: || with_fault(HOLD, ask("help")),
        change: |_, trace| move_error(trace, SILENCE, -1),
        message: "the library of client 0: waited for 199 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a reply that times out a millisecond too late",
        scenario: || with_fault(HOLD, ask("help")),
        change: |_, trace| move_error(trace, SILENCE, 1),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a digit sum that times out a millisecond too early",
        scenario: || with_fault(HOLD, ask("12345")),
        change: |_, trace| move_error(trace, SILENCE, -1),
        message: "the library of client 0: waited for 199 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a digit sum that times out a millisecond too late",
        scenario: || with_fault(HOLD, ask("12345")),
        change: |_, trace| move_error(trace, SILENCE, 1),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a pipe that times out a millisecond too early",
        scenario: || with_fault(HOLD, pipe()),
        change: |_, trace| move_error(trace, SILENCE, -1),
        message: "the library of client 0: waited for 199 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a pipe that times out a millisecond too late",
        scenario: || with_fault(HOLD, pipe()),
        change: |_, trace| move_error(trace, SILENCE, 1),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a reply after the timeout",
        scenario: || ask("help"),
        change: |_, trace| move_client(trace, 0, &ClientEvent::Reply("Saturday".into()), 199),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "a reply of a pipe after the timeout",
        scenario: pipe,
        change: |_, trace| move_client(trace, 0, &ClientEvent::Reply("Saturday".into()), 199),
        message: "the library of client 0: waited for 201 ms, its timeout is 200 ms",
    },
    Canary {
        name: "an error of a cut line although none has begun",
        scenario: || with_fault(HOLD, ask("help")),
        change: |_, trace| {
            let cut_line = "a line began but did not end within 200ms";
            replace_error(trace, SILENCE, cut_line);
        },
        message: "expected 'no reply within 200ms'",
    },
    Canary {
        name: "an error of a close in place of a timeout",
        scenario: || with_fault(HOLD, pipe()),
        change: |_, trace| replace_error(trace, SILENCE, CLOSED),
        message: "expected 'no reply within 200ms'",
    },
    Canary {
        name: "an error of a timeout in place of a close",
        scenario: || with_fault(FaultKind::Crash, ask("help")),
        change: |_, trace| replace_error(trace, CLOSED, SILENCE),
        message: "expected 'the server closed the connection'",
    },
    Canary {
        name: "an error of a full server in place of a close",
        scenario: || with_fault(FaultKind::Crash, pipe()),
        change: |_, trace| replace_error(trace, CLOSED, FULL),
        message: "expected 'the server closed the connection'",
    },
    Canary {
        name: "an error of a close in place of a full server",
        scenario: full,
        change: |_, trace| replace_error(trace, FULL, CLOSED),
        message: "expected 'the server is full'",
    },
    Canary {
        name: "an early EOF without an error",
        scenario: || with_fault(FaultKind::Crash, ask("help")),
        change: |_, trace| {
            let error = find_client(trace, 0, &ClientEvent::Failed(CLOSED.into()));
            trace.events.remove(error);
        },
        message: "the library of client 0: took an early EOF for the end",
    },
    Canary {
        name: "an early EOF of a pipe without an error",
        scenario: || with_fault(FaultKind::Crash, pipe()),
        change: |_, trace| {
            let error = find_client(trace, 0, &ClientEvent::Failed(CLOSED.into()));
            trace.events.remove(error);
        },
        message: "the library of client 0: took an early EOF for the end",
    },
    Canary {
        name: "a part of a request, without a wait to write the rest",
        scenario: || with_fault(FaultKind::Partition { host: 0 }, ask("help")),
        change: |_, trace| {
            let index = find_stream(trace, End::Client, &wrote("help\n"));
            let part = StreamEvent::Wrote {
                bytes: "help".into(),
                is_short: true,
            };
            set_stream(trace, index, part);
        },
        message: "the library of client 0: did not write the rest of its request at 106 ms",
    },
    Canary {
        name: "a half-close of a pipe that is a millisecond late",
        scenario: pipe,
        change: |_, trace| {
            let shut = find_stream(trace, End::Client, &StreamEvent::Shut);
            trace.events[shut].at_ms += 1;
        },
        message: "the library of client 0: did not half-close at 102 ms, when its input ended",
    },
    Canary {
        name: "a request by datagram that times out a millisecond too early",
        scenario: || lost_datagrams(1_000),
        change: |_, trace| move_error(trace, "no reply within 1s", -1),
        message: "the library of client 0: waited for 999 ms, its timeout is 1000 ms",
    },
    Canary {
        name: "a request by datagram that times out a millisecond too late",
        scenario: || lost_datagrams(1_000),
        change: |_, trace| move_error(trace, "no reply within 1s", 1),
        message: "the library of client 0: waited for 1001 ms, its timeout is 1000 ms",
    },
    Canary {
        name: "a request by datagram that is sent again a millisecond too late",
        scenario: || lost_datagrams(1_500),
        change: |_, trace| {
            let second = find(trace, |kind| is_of_datagram(kind, 1));
            trace.events[second].at_ms += 1;
        },
        message: "the library of client 0: sent its request after [0, 1001] ms, expected [0, 1000]",
    },
    Canary {
        name: "a request by datagram that is not sent again",
        scenario: || lost_datagrams(1_500),
        change: |_, trace| {
            trace.events.retain(|event| !is_of_datagram(&event.kind, 1));
        },
        message: "the library of client 0: sent its request after [0] ms, expected [0, 1000]",
    },
    Canary {
        name: "a wrong reply by datagram of the client library",
        scenario: without_faults,
        change: |_, trace| replace_reply(trace, 2, "26-11-21", "26-11-22"),
        message: "the library of client 2: returned ",
    },
    Canary {
        name: "an error by datagram although the reply is right",
        scenario: without_faults,
        change: |_, trace| {
            let reply = find_client(trace, 2, &ClientEvent::Reply("26-11-21".into()));
            set_client(
                trace,
                reply,
                ClientEvent::Failed("no reply within 3s".into()),
            );
        },
        message: "the library of client 2: returned ",
    },
];
