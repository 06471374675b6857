//! T1 to T6: loops, reflection, amplification and invalid datagrams over UDP.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use chime_protocol::{Command, DATAGRAM_MAX, Reply, Request};
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::{
    ANSWERED, IGNORED, LIMITED, ServerProcess, TIMEOUT, has_ipv6, memory_growth_kb, metric,
    peak_memory_kb, record, start, wait_for_metric, wait_until,
};

/// Datagrams of any size that fit into a socket's receive buffer.
const BURST: usize = 20;

/// Returns a socket bound to this address and connected to the server.
fn socket_of(address: [u8; 4], server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 0)).expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(TIMEOUT)).expect("set");
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("a reply");
    buffer[..length].to_vec()
}

fn round_trip(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).expect("sent");
    receive(socket)
}

fn assert_silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("set");
    let error = socket.recv(&mut [0; 1]).expect_err("no datagram");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("set");
}

/// Returns how many datagrams the server has counted.
fn received(server: &ServerProcess) -> u64 {
    let results = [ANSWERED, IGNORED, LIMITED];
    results.map(|result| metric(server, result)).iter().sum()
}

fn wait_until_received(server: &ServerProcess, count: u64) {
    wait_until("all datagrams are received", || received(server) == count);
}

/// Returns every request in lower and upper case, with each line end.
fn requests() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for end in ["", "\n", "\r\n"] {
        for command in Command::time_commands().map(Command::name) {
            requests.push(format!("{command}{end}").into());
            requests.push(format!("{}{end}", command.to_uppercase()).into());
        }
    }
    requests
}

/// Returns random datagrams, the same in every run.
fn random_datagrams(count: usize) -> Vec<Vec<u8>> {
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..64);
    let mut runner = TestRunner::deterministic();
    let mut next = || bytes.new_tree(&mut runner).expect("a value").current();
    (0..count).map(|_| next()).collect()
}

#[test]
fn t01_a_spoofed_loop_between_servers_ends_after_one_datagram() {
    let servers = [start(&[]), start(&[])];
    let sockets = servers.each_ref().map(ServerProcess::udp_client);
    let others = [
        "",
        "15",
        "help",
        "Saturday",
        "26-11-21\n",
        "06:32:06",
        "what?",
    ];
    let spoofed = others.into_iter().map(|other| other.as_bytes().to_vec());
    let spoofed: Vec<_> = requests().into_iter().chain(spoofed).collect();
    let mut forwarded_max = 0;
    for datagram in &spoofed {
        // The test relays each reply as if it were a request of the other server.
        let mut datagram = datagram.clone();
        let mut forwarded = 0;
        for (server, socket) in servers.iter().zip(&sockets).cycle() {
            let (answered, before) = (metric(server, ANSWERED), received(server));
            socket.send(&datagram).expect("sent");
            wait_until_received(server, before + 1);
            if metric(server, ANSWERED) == answered {
                break;
            }
            datagram = receive(socket);
            forwarded += 1;
            assert!(forwarded <= 1, "a reply got a reply: {datagram:?}");
        }
        forwarded_max = forwarded_max.max(forwarded);
    }
    let label = format!(
        "maximum of replies relayed per spoofed datagram, of {}",
        spoofed.len()
    );
    record("T01", &label, forwarded_max);
}

#[test]
fn t02_the_amplification_factor_is_at_most_three() {
    // One worker receives datagrams in the order of arrival.
    let server = start(&["--workers", "1"]);
    let socket = server.udp_client();
    let (mut factor_max, mut length_max) = (0.0_f64, 0);
    for request in requests() {
        let reply = round_trip(&socket, &request);
        let factor = reply.len() as f64 / request.len() as f64;
        assert!(factor <= 3.0, "{request:?}: {reply:?}");
        assert!(reply.len() <= DATAGRAM_MAX, "{request:?}: {reply:?}");
        // A second reply to the previous request would be of another kind.
        let text = str::from_utf8(&request).expect("ASCII");
        let reply = Reply::parse(reply.trim_ascii_end()).expect("a reply");
        assert!(
            Request::of_line(text.trim_end()).is_answered_by(reply),
            "{text}: {reply}"
        );
        factor_max = factor_max.max(factor);
        length_max = length_max.max(reply.to_string().len() + 1);
    }
    // The server counts a reply after sending it, so the counter may lag.
    let answered = requests().len() as u64;
    wait_for_metric(&server, ANSWERED, answered);
    let others: Vec<usize> = (0..=1500).filter(|length| *length != 3).collect();
    for (index, length) in others.iter().enumerate() {
        socket.send(&b"day".repeat(501)[..*length]).expect("sent");
        if (index + 1) % BURST == 0 || index + 1 == others.len() {
            wait_until_received(&server, answered + index as u64 + 1);
        }
    }
    assert_eq!(metric(&server, ANSWERED), answered);
    assert_silent(&socket);
    record(
        "T02",
        "maximum amplification factor",
        format!("{factor_max:.2}"),
    );
    record(
        "T02",
        "longest reply, with its line end",
        format!("{length_max} bytes"),
    );
    record("T02", "replies to invalid datagrams of 0 to 1500 bytes", 0);
}

#[test]
fn t03_a_spoofed_flood_is_rate_limited_and_other_networks_are_answered() {
    let server = start(&["--udp-rate", "100"]);
    let victim = socket_of([127, 0, 0, 2], server.udp[0]);
    let other = socket_of([127, 1, 0, 1], server.udp[0]);
    let start = Instant::now();
    for round in 1..=100 {
        for _ in 0..100 {
            victim.send(b"day").expect("sent");
        }
        assert!(round_trip(&other, b"day").ends_with(b"day"));
        wait_until_received(&server, round * 101);
    }
    // A burst of one second, the rate, and one in four of the others.
    let within_rate = 100 + start.elapsed().as_millis() as u64 / 10 + 1;
    let answered = metric(&server, ANSWERED) - 100;
    assert!(
        answered <= within_rate + (10_000 - within_rate.min(10_000)) / 4 + 1,
        "{answered}"
    );
    assert!(answered >= 10_000 / 4, "{answered}");
    let label = format!(
        "answered of 10,000 spoofed requests in {}, at a rate limit of 100 a second",
        crate::seconds(start.elapsed())
    );
    record("T03", "answered of 100 requests of another network", 100);
    record("T03", &label, answered);
}

#[test]
fn t03_memory_is_bounded_for_any_number_of_sources() {
    const SOURCES: u32 = 131_072;
    let server = start(&["--udp-rate", "1"]);
    let SocketAddr::V4(to) = server.udp[0] else {
        panic!("not an IPv4 address");
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let mut before = 0;
    for source in 0..SOURCES {
        // The first half fills the table, whose size is fixed.
        if source == SOURCES / 2 {
            before = peak_memory_kb(&server);
        }
        // Two hosts in each /24 of 127.0.0.0/8.
        let address = Ipv4Addr::from_bits(0x7f00_0001 + (source << 7));
        send_as(&socket, address, to);
        if (source + 1) % 128 == 0 {
            wait_until_received(&server, u64::from(source) + 1);
        }
    }
    let grown = memory_growth_kb(&server, before);
    record(
        "T03",
        &format!(
            "memory growth for {} source addresses once the table is full",
            SOURCES / 2
        ),
        format!("{grown} kB"),
    );
    assert!(grown <= 512, "the server grew by {grown} kB");
}

/// Sends a request from any address of this machine.
fn send_as(socket: &UdpSocket, from: Ipv4Addr, to: SocketAddrV4) {
    let address = |address: Ipv4Addr| in_addr {
        s_addr: address.to_bits().to_be(),
    };
    let source = in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: address(from),
        ipi_addr: address(from),
    };
    let control = [ControlMessage::Ipv4PacketInfo(&source)];
    let request = [IoSlice::new(b"day")];
    let to = SockaddrIn::from(to);
    let descriptor = socket.as_raw_fd();
    sendmsg(descriptor, &request, &control, MsgFlags::empty(), Some(&to)).expect("sent");
}

#[test]
fn t04_broadcasts_and_datagrams_from_ports_below_1024_are_dropped_and_counted() {
    let server = start(&["--udp", "0.0.0.0:0"]);
    let port = server.udp[1].port();
    let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    client.set_read_timeout(Some(TIMEOUT)).expect("set");
    client.set_broadcast(true).expect("set");
    client
        .send_to(b"day", ("127.255.255.255", port))
        .expect("sent");
    wait_until_received(&server, 1);
    let mut dropped = 1;
    let service = (1..1024)
        .rev()
        .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    match &service {
        Some(service) => {
            service.send_to(b"day", ("127.0.0.1", port)).expect("sent");
            wait_until_received(&server, 2);
            dropped = 2;
        }
        None => eprintln!("SKIPPED: this user may not bind a port below 1024"),
    }
    assert_eq!(metric(&server, IGNORED), dropped);
    client.send_to(b"day", ("127.0.0.1", port)).expect("sent");
    assert!(receive(&client).ends_with(b"day"));
    assert_silent(&client);
    service.iter().for_each(assert_silent);
    record(
        "T04",
        "dropped and counted, of a broadcast and a request from a port below 1024",
        dropped,
    );
}

#[test]
fn t05_a_reply_leaves_from_the_destination_address_of_its_request() {
    let mut addresses = vec!["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"];
    addresses.truncate(if has_ipv6() { 4 } else { 3 });
    let server = start(&["--udp", "0.0.0.0:0", "--udp", "[::]:0"]);
    for address in &addresses {
        let (any, port) = match address.contains(':') {
            true => ("[::]:0", server.udp[2].port()),
            false => ("0.0.0.0:0", server.udp[1].port()),
        };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("set");
        socket.connect((*address, port)).expect("connected");
        assert!(round_trip(&socket, b"day").ends_with(b"day"), "{address}");
    }
    record(
        "T05",
        "destination addresses from which a wildcard socket replied",
        format!("{0} of {0}", addresses.len()),
    );
}

#[test]
fn t06_invalid_datagrams_are_ignored_and_the_next_request_is_answered() {
    let server = start(&[]);
    let socket = server.udp_client();
    let longest = vec![b'1'; 65_507];
    let invalid: [&[u8]; 9] = [
        b"",
        b"15",
        b"Saturday",
        b"help",
        b"quit",
        b" day",
        b"day\n\n",
        b"\0\xff",
        &longest,
    ];
    let random = random_datagrams(10_000);
    let all = invalid.into_iter().chain(random.iter().map(Vec::as_slice));
    let mut count = 0;
    for datagram in all {
        socket.send(datagram).expect("sent");
        count += 1;
        if count % BURST as u64 == 0 {
            wait_until_received(&server, count);
        }
    }
    assert!(round_trip(&socket, b"day").ends_with(b"day"));
    assert_silent(&socket);
    server.signal(Signal::SIGTERM);
    let (_, log) = server.wait();
    assert!(!log.contains("WARN"), "{log}");
    let expected = format!("datagrams: 1 answered, {count} ignored");
    assert!(log.contains(&expected), "{log}");
    record(
        "T06",
        "invalid datagrams ignored before a request that was answered",
        count,
    );
}

#[test]
fn t06_replies_to_closed_sockets_do_not_end_the_receive_loop() {
    let server = start(&[]);
    for count in 1..=1000 {
        server.udp_client().send(b"day").expect("sent");
        if count % BURST as u64 == 0 {
            wait_until_received(&server, count);
        }
    }
    assert!(round_trip(&server.udp_client(), b"day").ends_with(b"day"));
    record(
        "T06",
        "replies to closed sockets before a request that was answered",
        1000,
    );
}
