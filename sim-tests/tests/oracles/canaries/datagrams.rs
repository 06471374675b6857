//! Canaries of datagrams.

use std::net::{IpAddr, Ipv4Addr};

use chime_sim_tests::scenario::FaultKind;
use chime_sim_tests::trace::{ClientEvent, EventKind, ServerEvent};

use super::Canary;
use crate::scenarios::*;
use crate::traces::*;

/// Addresses of the server that are not its first one.
const SECONDARY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 201));
const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 255));

/// An address in a network that is denied.
const DENIED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "a corrupted datagram",
        scenario: without_faults,
        change: |_, trace| {
            let received = datagrams_with(trace, "what?")[1];
            rewrite(trace, &[received], "whet?");
        },
        message: "was received, but not as it was sent",
    },
    Canary {
        name: "a wrong reply to a datagram",
        scenario: without_faults,
        change: |_, trace| {
            let sent_and_received = datagrams_with(trace, "26-11-21");
            rewrite(trace, &sent_and_received, "26-11-22");
            replace_reply(trace, 2, "26-11-21", "26-11-22");
        },
        message: "is not the reply that the model expects",
    },
    Canary {
        name: "a lost datagram",
        scenario: without_faults,
        change: |_, trace| lose(trace, "what?"),
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a late reply to a datagram",
        scenario: without_faults,
        change: |_, trace| {
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
        change: |_, trace| {
            let sent_and_received = datagrams_with(trace, "what?");
            rewrite(trace, &sent_and_received, "day");
        },
        message: "was not answered",
    },
    Canary {
        name: "a datagram that is lost and not counted",
        scenario: without_faults,
        change: |_, trace| {
            lose(trace, "what?");
            count(trace, "DatagramIgnored", -1);
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a datagram that is lost after the queue was full",
        scenario: overflow,
        change: |_, trace| {
            lose(trace, "late");
            count(trace, "DatagramIgnored", -1);
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a reply by datagram that is received twice",
        scenario: without_faults,
        change: |_, trace| {
            let received = datagrams_with(trace, "26-11-21")[1];
            let copy = trace.events[received].clone();
            trace.events.insert(received, copy);
        },
        message: "was received, but not as it was sent",
    },
    Canary {
        name: "a reply by datagram that is lost",
        scenario: || ask_datagrams(200),
        change: |_, trace| {
            let reply = find_client(trace, 0, &ClientEvent::Reply("26-11-21".into()));
            set_client(
                trace,
                reply,
                ClientEvent::Failed("no reply within 200ms".into()),
            );
            let begin = find_client(trace, 0, &ClientEvent::SendsDatagrams);
            trace.events[reply].at_ms = trace.events[begin].at_ms + 200;
            lose(trace, "26-11-21");
        },
        message: "never arrived, and no fault explains it",
    },
    Canary {
        name: "a reply from another local address than the request was sent to",
        scenario: || ask_datagrams(200),
        change: |_, trace| {
            for index in datagrams_with(trace, "26-11-21").drain(..2) {
                source(&mut trace.events[index].kind).set_ip(SECONDARY);
            }
        },
        message: "is not the reply that the model expects",
    },
    Canary {
        name: "a reply to a broadcast",
        scenario: || ask_datagrams(200),
        change: |_, trace| {
            let request = datagrams_with(trace, "date")[0];
            destination(&mut trace.events[request].kind).set_ip(BROADCAST);
        },
        message: "is a reply although none is due",
    },
    Canary {
        name: "a reply to a denied network",
        scenario: || ask_datagrams(200),
        change: |scenario, trace| {
            scenario.server.denied = networks(&["10.0.0.0/8"]);
            for index in datagrams_with(trace, "date").drain(..2) {
                source(&mut trace.events[index].kind).set_ip(DENIED);
            }
            let reply = datagrams_with(trace, "26-11-21")[0];
            destination(&mut trace.events[reply].kind).set_ip(DENIED);
        },
        message: "is a reply although none is due",
    },
    Canary {
        name: "one reply over the rate",
        scenario: || datagrams_at_rate(2),
        change: |scenario, _| scenario.server.datagram_rate = 1,
        message: "is a reply although none is due",
    },
    Canary {
        name: "one reply missing under the rate",
        scenario: || datagrams_at_rate(1),
        change: |scenario, _| scenario.server.datagram_rate = 2,
        message: "a request by datagram was not answered within the millisecond",
    },
    Canary {
        name: "a failed send that is counted as answered",
        scenario: || datagrams_at_rate(2),
        change: |_, trace| {
            let reply = datagrams_with(trace, "26-11-21")[0];
            let EventKind::Datagram { datagram, .. } = trace.events[reply].kind else {
                unreachable!("it is a datagram");
            };
            trace.events[reply].kind = EventKind::Server(ServerEvent::CannotSend);
            trace
                .events
                .retain(|event| !is_of_datagram(&event.kind, datagram));
        },
        message: "the server counts DatagramAnswered=3, expected 2",
    },
    Canary {
        name: "a datagram that is lost before a partition",
        scenario: || with_fault(FaultKind::Partition { host: 0 }, datagram_at(44)),
        change: |_, trace| lose(trace, "what?"),
        message: "a datagram sent at 45 ms never arrived, and no fault explains it",
    },
    Canary {
        name: "a datagram that is lost before a crash",
        scenario: || with_fault(FaultKind::Crash, datagram_at(44)),
        change: |_, trace| lose(trace, "what?"),
        message: "a datagram sent at 45 ms never arrived, and no fault explains it",
    },
    Canary {
        name: "a datagram that is lost although the server receives again after failures",
        scenario: || {
            let mut scenario = datagram_at(60);
            scenario.network.datagram_error_percent = 100;
            scenario.clients.extend(idle().clients);
            scenario.heal_ms = 300;
            scenario
        },
        change: |_, trace| lose(trace, "what?"),
        message: "a datagram sent at 61 ms never arrived, and no fault explains it",
    },
];
