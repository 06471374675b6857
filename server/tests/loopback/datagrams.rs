//! The service over UDP.

use std::net::UdpSocket;

use crate::{Server, uninterrupted};

fn ask(socket: &UdpSocket, request: &[u8]) -> String {
    socket.send(request).expect("sent");
    let mut buffer = [0; 1024];
    let length = uninterrupted(|| socket.recv(&mut buffer)).expect("a reply");
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
