//! Sockets that the server inherits.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use crate::activated::activated;
use crate::{FLAGS, PATIENCE, Server, command, read_line, uninterrupted, wait_until};

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

fn datagrams() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

#[test]
fn inherited_sockets_are_served_in_place_of_the_default_addresses() {
    for udp_comes_first in [false, true] {
        let (tcp, udp) = (listener(), datagrams());
        let tcp_address = tcp.local_addr().expect("bound");
        let udp_address = udp.local_addr().expect("bound");
        let mut command = if udp_comes_first {
            activated(udp, tcp, &["--service", "digit-sum"])
        } else {
            activated(tcp, udp, &["--service", "digit-sum"])
        };
        let server = Server::spawn(&mut command, 2);
        assert_eq!(
            (&server.tcp, &server.udp),
            (&vec![tcp_address], &vec![udp_address])
        );
        assert_eq!(server.converse("12\n"), "Welcome to the server\n3\n");
        let socket = server.datagrams();
        socket.send(b"day").expect("sent");
        let length = uninterrupted(|| socket.recv(&mut [0; 64])).expect("a reply");
        assert!(length > 0);
    }
}

#[test]
fn a_connection_from_before_the_start_is_served() {
    let tcp = listener();
    let early = TcpStream::connect(tcp.local_addr().expect("bound")).expect("a connection");
    let server = Server::spawn(&mut activated(tcp, datagrams(), &[]), 2);
    early.set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(read_line(&early), "Welcome to the server\n");
    drop(server);
}

#[test]
fn addresses_that_are_given_are_served_beside_inherited_sockets() {
    let (tcp, udp) = (listener(), datagrams());
    let inherited = (
        tcp.local_addr().expect("bound"),
        udp.local_addr().expect("bound"),
    );
    let server = Server::spawn(&mut activated(tcp, udp, &FLAGS), 4);
    assert_eq!((server.tcp.len(), server.udp.len()), (2, 2));
    assert_eq!((server.tcp[1], server.udp[1]), inherited);
}

#[test]
fn inherited_sockets_of_a_transport_that_is_not_wanted_are_closed() {
    let (tcp, udp) = (listener(), datagrams());
    let address = tcp.local_addr().expect("bound");
    // The command would hold the listener as long as it lives.
    let server = Server::spawn(&mut activated(tcp, udp, &["--no-tcp"]), 1);
    assert_eq!((server.tcp.len(), server.udp.len()), (0, 1));
    // A process that another test forks has a copy until it runs its command.
    wait_until("nobody listens", || TcpStream::connect(address).is_err());
}

#[test]
fn a_server_that_may_serve_none_of_its_inherited_sockets_ends() {
    let mut command = activated(datagrams(), datagrams(), &["--no-udp"]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "chime-server: --no-tcp and --no-udp leave no inherited socket to serve\n"
    );
}

#[test]
fn what_is_inherited_but_can_not_be_served_is_named() {
    let connected = TcpStream::connect(listener().local_addr().expect("bound"));
    let connected = connected.expect("a connection");
    let file = File::open("/dev/null").expect("opened");
    for mut command in [
        activated(datagrams(), file, &[]),
        activated(datagrams(), connected, &[]),
    ] {
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "chime-server: cannot serve inherited file descriptor 4: \
             neither a TCP listener nor a UDP socket\n"
        );
    }
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let mut command = command(&FLAGS);
    // The first process is none of these.
    let server = Server::spawn(command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]), 2);
    assert_eq!((server.tcp.len(), server.udp.len()), (1, 1));
}
