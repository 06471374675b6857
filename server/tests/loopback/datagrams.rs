//! The service over UDP.

use std::io;
use std::net::UdpSocket;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Server;

fn ask(socket: &UdpSocket, request: &[u8]) -> String {
    socket.send(request).expect("sent");
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("a reply");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_request_gets_one_reply_with_the_line_end_of_the_request() {
    let server = Server::start(&[]);
    let socket = server.datagrams();
    assert!(ask(&socket, b"day").ends_with("day"));
    assert!(ask(&socket, b"Day\n").ends_with("day\n"));
    assert_eq!(ask(&socket, b"date\r\n").len(), "26-11-21\n".len());
    assert_eq!(ask(&socket, b"time").len(), "06:32:06".len());
    assert_eq!(
        ask(&socket, b"SEND TIME").len(),
        "2026-11-21 06:32:06.123456".len()
    );
}

#[test]
fn anything_else_gets_silence_and_the_server_goes_on() {
    let server = Server::start(&[]);
    let socket = server.datagrams();
    let longest = vec![b'1'; 65_507];
    let others: [&[u8]; 9] = [
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
    for other in others {
        socket.send(other).expect("sent");
    }
    // Datagrams do not overtake each other on loopback: the first reply is the one to the last request.
    assert!(ask(&socket, b"day").ends_with("day"));
    socket.set_nonblocking(true).expect("set");
    let nothing = socket.recv(&mut [0; 1]).expect_err("silence");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    server.signal(Signal::SIGTERM);
    let (_, log) = server.wait();
    assert!(!log.contains("WARN"), "{log}");
    assert!(log.contains("1 datagrams answered, 9 ignored"), "{log}");
}

#[test]
fn a_client_that_is_gone_before_its_reply_stops_nothing() {
    let server = Server::start(&[]);
    for _ in 0..100 {
        server.datagrams().send(b"day").expect("sent");
    }
    assert!(ask(&server.datagrams(), b"day").ends_with("day"));
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    for (wildcard, addresses) in [
        ("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.0.0.3"][..]),
        ("[::]:0", &["::1"][..]),
    ] {
        let server = Server::start(&["--udp", wildcard]);
        let port = server.udp[1].port();
        for address in addresses {
            let any = if address.contains(':') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            let socket = UdpSocket::bind(any).expect("a socket");
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("set");
            socket.connect((*address, port)).expect("connected");
            assert!(ask(&socket, b"day").ends_with("day"), "{address}");
        }
    }
}
