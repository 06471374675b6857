//! T26: inherited listeners, and addresses that are refused.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::activated::activated;
use crate::process::{ServerProcess, TIMEOUT, command, read_line, read_to_eof, wait_until};
use crate::{ADMIN, FULL, OPEN, WELCOME, has_ipv6, metric, wait_for_metric};

/// Values of IPV6_V6ONLY. A dual-stack socket also receives IPv4, from IPv4-mapped addresses.
pub(crate) const V6_ONLY: bool = true;
pub(crate) const DUAL_STACK: bool = false;

fn bound(kind: Type, address: &str, only_v6: bool) -> Socket {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), kind, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(only_v6).expect("set");
    }
    socket.bind(&address.into()).expect("bound");
    socket
}

pub(crate) fn datagrams(address: &str, only_v6: bool) -> Socket {
    bound(Type::DGRAM, address, only_v6)
}

/// Returns a dual-stack listener.
fn dual_stack_listener() -> TcpListener {
    let socket = bound(Type::STREAM, "[::]:0", DUAL_STACK);
    socket.listen(128).expect("it listens");
    socket.into()
}

#[test]
fn t26_broadcast_and_multicast_addresses_are_refused_at_start() {
    for address in [
        "127.255.255.255:0",
        "255.255.255.255:0",
        "224.0.0.1:0",
        "[ff02::1]:0",
    ] {
        let flags = ["--tcp", "127.0.0.1:0", "--udp", address];
        let (status, log) = ServerProcess::spawn(&mut command(&flags), 0).wait();
        assert_eq!(status.code(), Some(1), "{address}");
        assert_eq!(
            log,
            format!("chime-server: cannot bind udp {address}: not a unicast address\n")
        );
    }
}

#[test]
fn t26_inherited_sockets_of_broadcast_and_multicast_addresses_are_refused_at_start() {
    // Interface 1 is loopback.
    for address in ["127.255.255.255:0", "224.0.0.1:0", "[ff02::1%1]:0"] {
        let valid = datagrams("127.0.0.1:0", V6_ONLY);
        let command = &mut activated(valid, datagrams(address, V6_ONLY), &[]);
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{address}");
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(log.ends_with("not a unicast address\n"), "{address}: {log}");
        let host = address.trim_end_matches(":0");
        assert!(log.contains(host), "{log}does not name {address}");
        assert_eq!(log.lines().count(), 1, "{address}: {log}");
    }
}

/// Starts a server with an inherited dual-stack listener.
fn serve_dual_stack(flags: &[&str]) -> ServerProcess {
    let flags = [&ADMIN, flags].concat();
    let socket = datagrams("127.0.0.1:0", V6_ONLY);
    ServerProcess::spawn(&mut activated(dual_stack_listener(), socket, &flags), 3)
}

fn connect(server: &ServerProcess, address: &str) -> TcpStream {
    let port = server.tcp[0].port();
    let stream = TcpStream::connect((address, port)).expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set");
    stream
}

/// Connects to this address. Returns whether the client receives the welcome, and is not closed silently.
fn is_served(server: &ServerProcess, address: &str) -> bool {
    let mut text = Vec::new();
    let mut stream = connect(server, address);
    stream.shutdown(Shutdown::Write).expect("half-closed");
    // The server may reset the connection.
    let _ = stream.read_to_end(&mut text);
    text == WELCOME.as_bytes()
}

#[test]
fn t26_ipv4_network_rules_apply_to_ipv4_mapped_clients() {
    if !has_ipv6() {
        return;
    }
    for (flag, network, v4, v6) in [
        ("--deny", "::ffff:127.0.0.0/104", false, true),
        ("--deny", "127.0.0.0/8", false, true),
        ("--deny", "::ffff:127.0.0.1/128", false, true),
        ("--deny", "::ffff:10.0.0.0/104", true, true),
        ("--deny", "::1", true, false),
        ("--allow", "::ffff:127.0.0.0/104", true, false),
        ("--allow", "127.0.0.0/8", true, false),
        ("--allow", "::1", false, true),
    ] {
        let server = serve_dual_stack(&[flag, network]);
        let served = [is_served(&server, "127.0.0.1"), is_served(&server, "::1")];
        assert_eq!(served, [v4, v6], "{flag} {network}");
        let denied = served.iter().filter(|is_served| !**is_served).count();
        let reason = "chime_connections_refused_total{reason=\"network\"}";
        wait_for_metric(&server, reason, denied as u64);
    }
}

#[test]
fn t26_the_per_address_limit_applies_to_ipv4_mapped_clients() {
    if !has_ipv6() {
        return;
    }
    let server = serve_dual_stack(&["--max-connections-per-address", "1"]);
    let first = connect(&server, "127.0.0.1");
    assert_eq!(read_line(&first), WELCOME);
    assert_eq!(read_to_eof(connect(&server, "127.0.0.1")), FULL);
    assert_eq!(read_to_eof(connect(&server, "::ffff:127.0.0.1")), FULL);
    assert_eq!(read_line(&connect(&server, "::1")), WELCOME);
    // IPv4-mapped addresses do not count as one /64 network.
    let other = bound(Type::STREAM, "127.0.0.2:0", V6_ONLY);
    let address = SocketAddr::from(([127, 0, 0, 1], server.tcp[0].port()));
    other.connect(&address.into()).expect("a connection");
    let other = TcpStream::from(other);
    other.set_read_timeout(Some(TIMEOUT)).expect("set");
    assert_eq!(read_line(&other), WELCOME);
    drop((first, other));
    wait_until("the permit is released", || {
        metric(&server, OPEN) == 0 && is_served(&server, "127.0.0.1")
    });
}
