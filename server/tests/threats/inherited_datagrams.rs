//! T26: inherited datagram sockets with any socket options.

use std::net::{Ipv4Addr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

use crate::activated::activated;
use crate::inherited::{DUAL_STACK, V6_ONLY, datagrams};
use crate::load::{resume, suspend};
use crate::process::{ServerProcess, TIMEOUT};
use crate::{ADMIN, ANSWERED, IGNORED, UNSENT, has_ipv6, metric, record, wait_for_metric};

/// A socket option that adds a control message to each datagram.
type SetOption = fn(&Socket) -> nix::Result<()>;

/// The options of IPv4 sockets, then those of IPv6 sockets only.
const OPTIONS: [(&str, SetOption); 9] = [
    ("SO_TIMESTAMP", |s| {
        setsockopt(s, sockopt::ReceiveTimestamp, &true)
    }),
    ("SO_TIMESTAMPNS", |s| {
        setsockopt(s, sockopt::ReceiveTimestampns, &true)
    }),
    ("SO_RXQ_OVFL", |s| setsockopt(s, sockopt::RxqOvfl, &1)),
    ("IP_PKTINFO", |s| {
        setsockopt(s, sockopt::Ipv4PacketInfo, &true)
    }),
    ("IP_RECVTTL", |s| setsockopt(s, sockopt::Ipv4RecvTtl, &true)),
    ("IP_RECVTOS", |s| setsockopt(s, sockopt::IpRecvTos, &true)),
    ("IPV6_RECVPKTINFO", |s| {
        setsockopt(s, sockopt::Ipv6RecvPacketInfo, &true)
    }),
    ("IPV6_RECVHOPLIMIT", |s| {
        setsockopt(s, sockopt::Ipv6RecvHopLimit, &true)
    }),
    ("IPV6_RECVTCLASS", |s| {
        setsockopt(s, sockopt::Ipv6RecvTClass, &true)
    }),
];
const IPV4_OPTIONS: usize = 6;

/// Starts a server with two inherited sockets and the admin endpoints.
fn serve(first: Socket, second: Socket) -> ServerProcess {
    ServerProcess::spawn(&mut activated(first, second, &ADMIN), 3)
}

/// Returns a socket connected to this address and port.
fn connected(address: &str, port: u16) -> UdpSocket {
    let any = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("set");
    socket.connect((address, port)).expect("connected");
    socket
}

fn assert_answered(address: &str, port: u16, case: &str) {
    let socket = connected(address, port);
    socket.send(b"day").expect("sent");
    let mut reply = [0; 64];
    let received = socket.recv(&mut reply);
    let length = received.unwrap_or_else(|error| panic!("{address}, {case}: {error}"));
    assert!(reply[..length].ends_with(b"day"), "{address}, {case}");
}

/// Returns the sets of no option, of each option, of each pair, and of all options.
fn sets_of(options: &[(&'static str, SetOption)]) -> Vec<Vec<(&'static str, SetOption)>> {
    let mut sets = vec![Vec::new(), options.to_vec()];
    for (index, option) in options.iter().enumerate() {
        sets.push(vec![*option]);
        sets.extend(
            options[index + 1..]
                .iter()
                .map(|other| vec![*option, *other]),
        );
    }
    sets
}

#[test]
fn t26_datagrams_are_answered_with_any_inherited_socket_options() {
    let (v4, all) = (&OPTIONS[..IPV4_OPTIONS], &OPTIONS[..]);
    let (mut sockets, has_ipv6) = (0, has_ipv6());
    for (address, only_v6, options, destinations) in [
        ("127.0.0.1:0", V6_ONLY, v4, &["127.0.0.1"][..]),
        ("127.0.0.2:0", V6_ONLY, &v4[..1], &["127.0.0.2"]),
        ("0.0.0.0:0", V6_ONLY, v4, &["127.0.0.1", "127.0.0.2"]),
        ("[::1]:0", V6_ONLY, all, &["::1"]),
        ("[::]:0", V6_ONLY, all, &["::1"]),
        (
            "[::]:0",
            DUAL_STACK,
            all,
            &["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"],
        ),
    ] {
        if !has_ipv6 && destinations.contains(&"::1") {
            continue;
        }
        let sets = sets_of(options);
        sockets += sets.len();
        let socket = |set: &Vec<(&str, SetOption)>| {
            let socket = datagrams(address, only_v6);
            for (name, option) in set {
                option(&socket).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            socket
        };
        // A server inherits two sockets.
        for pair in sets.chunks(2) {
            let sets = [&pair[0], &pair[pair.len() - 1]];
            let server = serve(socket(sets[0]), socket(sets[1]));
            for (served, set) in server.udp.iter().zip(sets) {
                let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
                let case = format!("inherited {address} with {names:?}");
                for destination in destinations {
                    assert_answered(destination, served.port(), &case);
                }
            }
            wait_for_metric(&server, ANSWERED, 2 * destinations.len() as u64);
            assert_eq!(metric(&server, UNSENT) + metric(&server, IGNORED), 0);
        }
    }
    let label =
        "inherited sockets, with all sets of options, that replied from each destination address";
    record("T26", label, sockets);
}

#[test]
fn t26_broadcasts_to_inherited_wildcard_sockets_are_dropped_and_counted() {
    let wildcards = [
        datagrams("0.0.0.0:0", V6_ONLY),
        datagrams("[::]:0", DUAL_STACK),
    ];
    let [v4, dual] = wildcards;
    let server = serve(v4, dual);
    let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    client.set_broadcast(true).expect("set");
    for (number, served) in server.udp.iter().enumerate() {
        let all = ("127.255.255.255", served.port());
        client.send_to(b"day", all).expect("sent");
        wait_for_metric(&server, IGNORED, number as u64 + 1);
    }
    assert_eq!(metric(&server, ANSWERED), 0);
    for served in &server.udp {
        assert_answered("127.0.0.1", served.port(), "after a broadcast");
    }
    record(
        "T26",
        "broadcasts dropped and counted",
        metric(&server, IGNORED),
    );
}

#[test]
fn t26_the_rate_limit_is_per_ipv4_network_for_ipv4_mapped_clients() {
    let dual = datagrams("[::]:0", DUAL_STACK);
    let flags = [&ADMIN[..], &["--udp-rate", "1"]].concat();
    let other = datagrams("127.0.0.1:0", V6_ONLY);
    let server = ServerProcess::spawn(&mut activated(dual, other, &flags), 3);
    let port = server.udp[0].port();
    // As IPv6 addresses these would be in one /56 network.
    for (source, number) in [
        ([127, 0, 0, 1], 1),
        ([127, 0, 1, 1], 2),
        ([127, 1, 0, 1], 3),
    ] {
        let client = UdpSocket::bind((Ipv4Addr::from(source), 0)).expect("a socket");
        client.set_read_timeout(Some(TIMEOUT)).expect("set");
        client.connect(("127.0.0.1", port)).expect("connected");
        client.send(b"day").expect("sent");
        client.recv(&mut [0; 64]).expect("a reply");
        wait_for_metric(&server, ANSWERED, number);
    }
}

#[test]
fn t26_queued_socket_errors_lose_no_reply() {
    let with_errors = |address, only_v6| {
        let socket = datagrams(address, only_v6);
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).expect("set");
        socket
    };
    let server = serve(
        with_errors("127.0.0.1:0", V6_ONLY),
        with_errors("0.0.0.0:0", V6_ONLY),
    );
    for served in &server.udp {
        for round in 0..20 {
            let closed = connected("127.0.0.1", served.port());
            suspend(&server);
            closed.send(b"day").expect("sent");
            drop(closed);
            let others: &[&str] = match served.ip().is_unspecified() {
                true => &["127.0.0.2", "127.0.0.1"],
                false => &["127.0.0.1"],
            };
            let others: Vec<_> = others
                .iter()
                .map(|address| {
                    let other = connected(address, served.port());
                    other.send(b"day").expect("sent");
                    other
                })
                .collect();
            resume(&server);
            for other in others {
                let received = other.recv(&mut [0; 64]);
                received.unwrap_or_else(|error| panic!("{served}, round {round}: {error}"));
            }
        }
    }
}
