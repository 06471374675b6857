//! T1 to T6: what can be sent to the service over UDP, or made of it.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use chime_protocol::{DATAGRAM_MAX, Reply};
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::{
    ANSWERED, IGNORED, LIMITED, PATIENCE, Server, metric, peak_memory_kb, record, start, wait_for,
    wait_until,
};

/// Datagrams of any size that a socket holds for certain until they are taken.
const BURST: usize = 20;

/// A socket with this address that sends to the server and hears from nobody else.
fn socket_of(address: [u8; 4], server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 0)).expect("a socket");
    socket.connect(server).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("a reply");
    buffer[..length].to_vec()
}

fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).expect("sent");
    receive(socket)
}

fn assert_silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("set");
    let nothing = socket.recv(&mut [0; 1]).expect_err("silence");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("set");
}

/// What the server has taken so far.
fn taken(server: &Server) -> u64 {
    let results = [ANSWERED, IGNORED, LIMITED];
    results.map(|result| metric(server, result)).iter().sum()
}

fn wait_until_taken(server: &Server, count: u64) {
    wait_until("all datagrams are taken", || taken(server) == count);
}

/// The requests in two letter cases, each with every line end.
fn requests() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    for end in ["", "\n", "\r\n"] {
        for command in ["day", "date", "time", "send time"] {
            requests.push(format!("{command}{end}").into());
            requests.push(format!("{}{end}", command.to_uppercase()).into());
        }
    }
    requests
}

/// Some random datagrams, always the same ones.
fn random_datagrams(count: usize) -> Vec<Vec<u8>> {
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..64);
    let mut runner = TestRunner::deterministic();
    let mut next = || bytes.new_tree(&mut runner).expect("a value").current();
    (0..count).map(|_| next()).collect()
}

#[test]
fn t01_servers_that_are_made_to_talk_to_each_other_stop_after_one_datagram() {
    let servers = [start(&[]), start(&[])];
    let sockets = servers.each_ref().map(Server::datagrams);
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
        // Each server takes what the relay brings for a datagram of the other one.
        let mut datagram = datagram.clone();
        let mut forwarded = 0;
        for (server, socket) in servers.iter().zip(&sockets).cycle() {
            let (answered, before) = (metric(server, ANSWERED), taken(server));
            socket.send(&datagram).expect("sent");
            wait_until_taken(server, before + 1);
            if metric(server, ANSWERED) == answered {
                break;
            }
            datagram = receive(socket);
            forwarded += 1;
            assert!(forwarded <= 1, "a reply was answered: {datagram:?}");
        }
        forwarded_max = forwarded_max.max(forwarded);
    }
    let what = format!(
        "forwarded for one of {} spoofed datagrams, at most",
        spoofed.len()
    );
    record("T01", &what, forwarded_max);
}

#[test]
fn t02_a_reply_is_at_most_three_times_as_long_as_its_request() {
    // One worker takes datagrams in the order in which they come.
    let server = start(&["--workers", "1"]);
    let socket = server.datagrams();
    let (mut factor_max, mut length_max) = (0.0_f64, 0);
    for request in requests() {
        let reply = ask(&socket, &request);
        let factor = reply.len() as f64 / request.len() as f64;
        assert!(factor <= 3.0, "{request:?}: {reply:?}");
        assert!(reply.len() <= DATAGRAM_MAX, "{request:?}: {reply:?}");
        // A second reply to the request before would be of another kind.
        let is_expected = match (
            request[0].to_ascii_lowercase(),
            request[2].to_ascii_lowercase(),
        ) {
            (b'd', b'y') => |reply| matches!(reply, Reply::Weekday(_)),
            (b'd', _) => |reply| matches!(reply, Reply::Date(_)),
            (b't', _) => |reply| matches!(reply, Reply::Time(_)),
            _ => |reply| matches!(reply, Reply::DateTime(_)),
        };
        let reply = Reply::parse(reply.trim_ascii_end()).expect("a reply");
        assert!(is_expected(reply), "{request:?}: {reply}");
        factor_max = factor_max.max(factor);
        length_max = length_max.max(reply.to_string().len() + 1);
    }
    // A reply is counted after it has been sent.
    let answered = requests().len() as u64;
    wait_for(&server, ANSWERED, answered);
    let others: Vec<usize> = (0..=1500).filter(|length| *length != 3).collect();
    for (index, length) in others.iter().enumerate() {
        socket.send(&b"day".repeat(501)[..*length]).expect("sent");
        if (index + 1) % BURST == 0 || index + 1 == others.len() {
            wait_until_taken(&server, answered + index as u64 + 1);
        }
    }
    assert_eq!(metric(&server, ANSWERED), answered);
    assert_silent(&socket);
    record(
        "T02",
        "a reply is at most so many times as long as its request",
        format!("{factor_max:.2}"),
    );
    record(
        "T02",
        "the longest reply, with a line end",
        format!("{length_max} bytes"),
    );
    record("T02", "replies to other datagrams of 0 to 1500 bytes", 0);
}

#[test]
fn t03_a_flood_in_the_name_of_a_victim_is_thinned_and_others_are_answered() {
    let server = start(&["--udp-rate", "100"]);
    let victim = socket_of([127, 0, 0, 2], server.udp[0]);
    let other = socket_of([127, 1, 0, 1], server.udp[0]);
    let start = Instant::now();
    for round in 1..=100 {
        for _ in 0..100 {
            victim.send(b"day").expect("sent");
        }
        assert!(ask(&other, b"day").ends_with(b"day"));
        wait_until_taken(&server, round * 101);
    }
    // At the rate and a burst of a second, and one in four of the others.
    let paid = 100 + start.elapsed().as_millis() as u64 / 10 + 1;
    let answered = metric(&server, ANSWERED) - 100;
    assert!(
        answered <= paid + (10_000 - paid.min(10_000)) / 4 + 1,
        "{answered}"
    );
    assert!(answered >= 10_000 / 4, "{answered}");
    let within = format!(
        "answered of 10,000 requests of a victim at 100 a second, in {}",
        crate::seconds(start.elapsed())
    );
    record(
        "T03",
        "of 100 requests of another network answered meanwhile",
        100,
    );
    record("T03", &within, answered);
}

#[test]
fn t03_sources_without_number_take_no_memory() {
    const SOURCES: u32 = 131_072;
    let server = start(&["--udp-rate", "1"]);
    let SocketAddr::V4(to) = server.udp[0] else {
        panic!("the address is one of IPv4");
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let before = peak_memory_kb(&server);
    for source in 0..SOURCES {
        // Two hosts of each network of loopback.
        let address = Ipv4Addr::from_bits(0x7f00_0001 + (source << 7));
        send_as(&socket, address, to);
        if (source + 1) % 128 == 0 {
            wait_until_taken(&server, u64::from(source) + 1);
        }
    }
    let grown = peak_memory_kb(&server) - before;
    record(
        "T03",
        &format!("memory for {SOURCES} sources"),
        format!("{grown} kB"),
    );
    assert!(grown <= 1024, "the server grew by {grown} kB");
}

/// Sends a request in the name of any address of this machine.
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
fn t04_requests_of_services_and_to_all_of_a_network_are_dropped_and_counted() {
    let server = start(&["--udp", "0.0.0.0:0"]);
    let port = server.udp[1].port();
    let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    client.set_broadcast(true).expect("set");
    client
        .send_to(b"day", ("127.255.255.255", port))
        .expect("sent");
    wait_until_taken(&server, 1);
    let mut dropped = 1;
    let service = (1..1024)
        .rev()
        .find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    match &service {
        Some(service) => {
            service.send_to(b"day", ("127.0.0.1", port)).expect("sent");
            wait_until_taken(&server, 2);
            dropped = 2;
        }
        None => eprintln!("SKIPPED: a port below 1024 is not for this user"),
    }
    assert_eq!(metric(&server, IGNORED), dropped);
    client.send_to(b"day", ("127.0.0.1", port)).expect("sent");
    assert!(receive(&client).ends_with(b"day"));
    assert_silent(&client);
    service.iter().for_each(assert_silent);
    record(
        "T04",
        "dropped and counted, of a broadcast and a request of a port below 1024",
        dropped,
    );
}

#[test]
fn t05_a_reply_leaves_from_the_address_that_was_asked() {
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"];
    let server = start(&["--udp", "0.0.0.0:0", "--udp", "[::]:0"]);
    for address in addresses {
        let (any, port) = match address.contains(':') {
            true => ("[::]:0", server.udp[2].port()),
            false => ("0.0.0.0:0", server.udp[1].port()),
        };
        let socket = UdpSocket::bind(any).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.connect((address, port)).expect("connected");
        assert!(ask(&socket, b"day").ends_with(b"day"), "{address}");
    }
    record(
        "T05",
        "addresses from which a wildcard socket replied as asked",
        "4 of 4",
    );
}

#[test]
fn t06_odd_datagrams_get_silence_and_the_next_request_its_answer() {
    let server = start(&[]);
    let socket = server.datagrams();
    let longest = vec![b'1'; 65_507];
    let odd: [&[u8]; 9] = [
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
    let all = odd.into_iter().chain(random.iter().map(Vec::as_slice));
    let mut count = 0;
    for datagram in all {
        socket.send(datagram).expect("sent");
        count += 1;
        if count % BURST as u64 == 0 {
            wait_until_taken(&server, count);
        }
    }
    assert!(ask(&socket, b"day").ends_with(b"day"));
    assert_silent(&socket);
    server.signal(Signal::SIGTERM);
    let (_, log) = server.wait();
    assert!(!log.contains("WARN"), "{log}");
    let expected = format!("1 datagrams answered, {count} ignored");
    assert!(log.contains(&expected), "{log}");
    record(
        "T06",
        "odd datagrams before a request that was answered",
        count,
    );
}

#[test]
fn t06_clients_that_are_gone_before_their_replies_stop_nothing() {
    let server = start(&[]);
    for count in 1..=1000 {
        server.datagrams().send(b"day").expect("sent");
        if count % BURST as u64 == 0 {
            wait_until_taken(&server, count);
        }
    }
    assert!(ask(&server.datagrams(), b"day").ends_with(b"day"));
    record(
        "T06",
        "clients gone before their replies, before a request that was answered",
        1000,
    );
}
