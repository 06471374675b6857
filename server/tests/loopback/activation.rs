//! Inherited sockets (socket activation).

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};

use crate::activated::activated;
use crate::{FLAGS, ServerProcess, TIMEOUT, command, read_line, retry_interrupted, wait_until};

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
        let server = ServerProcess::spawn(&mut command, 2);
        assert_eq!(
            (&server.tcp, &server.udp),
            (&vec![tcp_address], &vec![udp_address])
        );
        assert_eq!(server.replies_to("12\n"), "Welcome to the server\n3\n");
        let socket = server.udp_client();
        socket.send(b"day").expect("sent");
        let length = retry_interrupted(|| socket.recv(&mut [0; 64])).expect("a reply");
        assert!(length > 0);
    }
}

#[test]
fn a_connection_in_the_backlog_at_startup_is_served() {
    let tcp = listener();
    let early = TcpStream::connect(tcp.local_addr().expect("bound")).expect("a connection");
    let server = ServerProcess::spawn(&mut activated(tcp, datagrams(), &[]), 2);
    early.set_read_timeout(Some(TIMEOUT)).expect("set");
    assert_eq!(read_line(&early), "Welcome to the server\n");
    drop(server);
}

#[test]
fn explicit_addresses_are_served_beside_inherited_sockets() {
    let (tcp, udp) = (listener(), datagrams());
    let inherited = (
        tcp.local_addr().expect("bound"),
        udp.local_addr().expect("bound"),
    );
    let server = ServerProcess::spawn(&mut activated(tcp, udp, &FLAGS), 4);
    assert_eq!((server.tcp.len(), server.udp.len()), (2, 2));
    assert_eq!((server.tcp[1], server.udp[1]), inherited);
}

#[test]
fn inherited_sockets_of_a_disabled_transport_are_closed() {
    let (tcp, udp) = (listener(), datagrams());
    let address = tcp.local_addr().expect("bound");
    // The command holds a copy of the listener until the end of this statement.
    let server = ServerProcess::spawn(&mut activated(tcp, udp, &["--no-tcp"]), 1);
    assert_eq!((server.tcp.len(), server.udp.len()), (0, 1));
    // A child that another test forks holds a copy until it calls exec.
    wait_until("the listener is closed", || {
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn startup_fails_if_flags_disable_every_inherited_socket() {
    let mut command = activated(datagrams(), datagrams(), &["--no-udp"]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "chime-server: --no-tcp and --no-udp leave no inherited socket to serve\n"
    );
}

#[test]
fn an_unsupported_inherited_descriptor_is_named() {
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
fn sockets_passed_to_another_process_are_ignored() {
    let mut command = command(&FLAGS);
    // Process 1 is not the server.
    let server = ServerProcess::spawn(command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]), 2);
    assert_eq!((server.tcp.len(), server.udp.len()), (1, 1));
}
