//! Canaries of which connections the server serves, and of what it holds for them.

use chime_sim_tests::chime::{Form, Scenario, Server};
use chime_sim_tests::scenario::FaultKind;
use chime_sim_tests::trace::{End, EventKind, StreamEvent};

use super::Canary;
use crate::scenarios::*;
use crate::traces::*;

pub(super) const CANARIES: &[Canary] = &[
    Canary {
        name: "a connection that is served although its network is denied",
        scenario: idle,
        change: |scenario, _| scenario.server.denied = networks(&["192.168.0.0/24"]),
        message: "connection 0 is Denied, but it was not silent",
    },
    Canary {
        name: "a connection that is served although its network is not allowed",
        scenario: idle,
        change: |scenario, _| scenario.server.allowed = networks(&["10.0.0.0/8"]),
        message: "connection 0 is Denied, but it was not silent",
    },
    Canary {
        name: "an IPv4-mapped address that is served although its network is denied",
        scenario: dual_stack,
        change: |scenario, _| scenario.server.denied = networks(&["192.168.0.0/24"]),
        message: "connection 0 is Denied, but it was not silent",
    },
    Canary {
        name: "an IPv4-mapped address that a network of version 6 contains",
        scenario: dual_stack,
        change: |scenario, _| scenario.server.allowed = networks(&["::/0"]),
        message: "connection 0 is Denied, but it was not silent",
    },
    Canary {
        name: "a connection that is closed although its network is allowed",
        scenario: || Scenario {
            server: Server {
                allowed: networks(&["10.0.0.0/8"]),
                ..Server::default()
            },
            ..idle()
        },
        change: |scenario, _| scenario.server.allowed.clear(),
        message: "connection 0: the server closed at 3 ms, which was too early",
    },
    Canary {
        name: "one connection over the limit of its address",
        scenario: || idle_clients(2, Server::default()),
        change: |scenario, _| scenario.server.address_connections_max = 1,
        message: "connection 1: at byte 0 the client expected \"The server is full",
    },
    Canary {
        name: "a connection that is refused although its address is below its limit",
        scenario: || idle_clients(2, one_per_address()),
        change: |scenario, _| scenario.server.address_connections_max = 2,
        message: "connection 1: at byte 0 the client expected \"Welcome",
    },
    Canary {
        name: "a connection that is refused although a permit was free",
        scenario: || {
            let server = Server {
                connections_max: 1,
                ..Server::default()
            };
            idle_clients(2, server)
        },
        change: |scenario, _| scenario.server.connections_max = 2,
        message: "connection 1: at byte 0 the client expected \"Welcome",
    },
    Canary {
        name: "one connection over the limit of the server",
        scenario: || idle_clients(2, Server::default()),
        change: |scenario, _| scenario.server.connections_max = 1,
        message: "connection 1: at byte 0 the client expected \"The server is full",
    },
    Canary {
        name: "a permit that is not given back",
        scenario: idle,
        change: |_, trace| *gauge(trace, "permits") -= 1,
        message: "the server has permits=9999, expected 10000",
    },
    Canary {
        name: "a permit that is given back twice",
        scenario: idle,
        change: |_, trace| *gauge(trace, "permits") += 1,
        message: "the server has permits=10001, expected 10000",
    },
    Canary {
        name: "a permit of a refusal that is not given back",
        scenario: || idle_clients(2, one_per_address()),
        change: |_, trace| *gauge(trace, "refusal-permits") -= 1,
        message: "the server has refusal-permits=1023, expected 1024",
    },
    Canary {
        name: "a conversation that stays open",
        scenario: idle,
        change: |_, trace| *gauge(trace, "conversations") += 1,
        message: "the server has conversations=1, expected 0",
    },
    Canary {
        name: "a count of an address that stays",
        scenario: idle,
        change: |_, trace| *gauge(trace, "192.168.0.2/32") += 1,
        message: "the connections of each address are not ",
    },
    Canary {
        name: "a full server that is counted although the address was at its limit",
        scenario: || idle_clients(2, one_per_address()),
        change: |_, trace| {
            count(trace, "AddressRefused", -1);
            count(trace, "ConnectionRefused", 1);
        },
        message: "the server counts AddressRefused=",
    },
    Canary {
        name: "a network that is denied and not counted",
        scenario: || Scenario {
            server: Server {
                denied: networks(&["192.168.0.0/24"]),
                ..Server::default()
            },
            ..idle()
        },
        change: |_, trace| count(trace, "NetworkDenied", -1),
        message: "the server counts NetworkDenied=0, expected 1",
    },
    Canary {
        name: "a rejected PROXY header that is answered",
        scenario: || proxied(Some(Form::V1WrongAddress)),
        change: |_, trace| {
            let dropped = find_stream(trace, End::Server, &StreamEvent::Dropped);
            let mut reply = trace.events[dropped].clone();
            if let EventKind::Stream { event, .. } = &mut reply.kind {
                *event = wrote("The server is full.\n");
            }
            trace.events.insert(dropped, reply);
        },
        message: "connection 0 is HeaderRejected, but it was not silent",
    },
    Canary {
        name: "a rejected PROXY header that is closed a millisecond too late",
        scenario: || proxied(Some(Form::V1WrongAddress)),
        change: |_, trace| move_close(trace, 1),
        message: "connection 0 is HeaderRejected, but it was closed too late",
    },
    Canary {
        name: "the timeout of a PROXY header, a millisecond too early",
        scenario: || proxied(None),
        change: |_, trace| move_close(trace, -1),
        message: "connection 0 is HeaderRejected, but it was closed too early",
    },
    Canary {
        name: "the timeout of a PROXY header, a millisecond too late",
        scenario: || proxied(None),
        change: |_, trace| move_close(trace, 1),
        message: "connection 0 is HeaderRejected, but it was closed too late",
    },
    Canary {
        name: "the end of the wait for a PROXY header at a shutdown, a millisecond too early",
        scenario: || with_fault(FaultKind::Stop, proxied(None)),
        change: |_, trace| move_close(trace, -1),
        message: "connection 0 is HeaderRejected, but it was closed too early",
    },
    Canary {
        name: "the end of the wait for a PROXY header at a shutdown, a millisecond too late",
        scenario: || with_fault(FaultKind::Stop, proxied(None)),
        change: |_, trace| move_close(trace, 1),
        message: "connection 0 is HeaderRejected, but it was closed too late",
    },
    Canary {
        name: "a proxy that is served although it is not trusted",
        scenario: || proxied(Some(Form::V1)),
        change: |scenario, _| scenario.server = behind_proxies("10.0.0.0/8"),
        message: "connection 0 is Untrusted, but it was not silent",
    },
    Canary {
        name: "a proxy that is not trusted and closed a millisecond too late",
        scenario: || Scenario {
            server: behind_proxies("10.0.0.0/8"),
            ..proxied(Some(Form::V1))
        },
        change: |_, trace| move_close(trace, 1),
        message: "connection 0 is Untrusted, but it was closed too late",
    },
    Canary {
        name: "a PROXY header that is taken for a request",
        scenario: || proxied(Some(Form::V1)),
        change: |scenario, _| scenario.server = Server::default(),
        message: "the client expected \"You entered an invalid command",
    },
];
