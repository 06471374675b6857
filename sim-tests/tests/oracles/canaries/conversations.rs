//! Canaries of what a client reads, and of connects.

use chime_sim_tests::chime::{Act, Reading, Scenario, Server};
use chime_sim_tests::scenario::{FaultKind, Text};
use chime_sim_tests::trace::{ClientEvent, End, Event, EventKind, ServerEvent, StreamEvent};

use super::Canary;
use crate::scenarios::*;
use crate::traces::*;

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "a wrong byte",
        scenario: without_faults,
        change: |_, trace| {
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
        change: |_, trace| {
            let index = find_read(trace, "Saturday\n18\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early, 2 replies are missing",
    },
    Canary {
        name: "a reply without a request",
        scenario: without_faults,
        change: |_, trace| {
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
        change: |_, trace| {
            let index = find_stream(trace, End::Client, &StreamEvent::Shut);
            trace.events.remove(index);
        },
        message: "and no fault explains it",
    },
    Canary {
        name: "a failed connect without a fault",
        scenario: without_faults,
        change: |_, trace| fail_connect(trace),
        message: "a client cannot connect, and no fault explains it: refused",
    },
    Canary {
        name: "a connection in the backlog that is refused during the pause after a failed accept",
        scenario: || Scenario {
            clients: ask("help").clients,
            ..failed_accepts()
        },
        change: |_, trace| replace_error(trace, "timed out", REFUSED),
        message: "a client cannot connect, and no fault explains it: connection refused",
    },
    Canary {
        name: "a late recovery",
        scenario: without_faults,
        change: |_, trace| {
            let recovery = without_faults().clients.len();
            move_client(trace, recovery, &ClientEvent::Done, 60_000);
        },
        message: "a client was not served soon after the network had healed",
    },
    Canary {
        name: "a reply that is lost before a fault: partition",
        scenario: || faulty(FaultKind::Partition { host: 0 }),
        change: |_, trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "a reply that is lost before a fault: partitionfromserver",
        scenario: || faulty(FaultKind::PartitionFromServer { host: 0 }),
        change: |_, trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "a reply that is lost before a fault: crash",
        scenario: || faulty(FaultKind::Crash),
        change: |_, trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "an accept that is late by a millisecond",
        scenario: idle,
        change: |_, trace| {
            let index = find_accepted(trace, 0);
            shift(trace, index, 1);
        },
        message: "was not accepted until",
    },
    Canary {
        name: "a reset although both ends closed in order",
        scenario: without_faults,
        change: |_, trace| {
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
        name: "a reply that is lost before an injected failure",
        scenario: || {
            let acts = vec![Act::Write(Text::from("15\n")), Act::Pause(100)];
            writer(acts, Reading::Eager, Server::default())
        },
        change: |_, trace| {
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
    Canary {
        name: "a connect that fails before a partition",
        scenario: || with_fault(FaultKind::Partition { host: 0 }, idle_at(44)),
        change: |_, trace| fail_connect(trace),
        message: "a client cannot connect, and no fault explains it: refused",
    },
    Canary {
        name: "a connect that fails before a shutdown",
        scenario: || with_fault(FaultKind::Stop, idle_at(44)),
        change: |_, trace| fail_connect(trace),
        message: "a client cannot connect, and no fault explains it: refused",
    },
    Canary {
        name: "an accept that is a millisecond after the pause that follows a failure",
        scenario: failed_accepts,
        change: |_, trace| {
            let failure = EventKind::Server(ServerEvent::CannotAccept);
            let mut events = trace.events.iter().rev();
            let last = events.find(|event| event.kind == failure);
            let pause_end_ms = last.expect("a failed accept").at_ms + 150;
            let index = find_accepted(trace, 0);
            let late_ms = pause_end_ms + 1 - trace.events[index].at_ms;
            shift(trace, index, late_ms.cast_signed());
        },
        message: "was not accepted until",
    },
    Canary {
        name: "an accept that is a millisecond after the wait for a permit",
        scenario: permit_awaited,
        change: |_, trace| {
            let index = find_accepted(trace, 3);
            shift(trace, index, 1);
        },
        message: "was not accepted until",
    },
    Canary {
        name: "a wrong byte with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_read(trace, "6");
            set_stream(trace, index, StreamEvent::Read("7".into()));
        },
        message: "the client expected \"6\" and read \"7",
    },
    Canary {
        name: "a missing reply with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_read(trace, "6");
            trace.events.remove(index);
        },
        message: "the conversation ended early",
    },
    Canary {
        name: "an accept that is late by a millisecond with framing `read`",
        scenario: late_request_by_read,
        change: |_, trace| {
            let index = find_accepted(trace, 0);
            shift(trace, index, 1);
        },
        message: "was not accepted until",
    },
];
