//! The service over UDP.

use std::net::UdpSocket;

use crate::{ServerProcess, retry_interrupted};

fn round_trip(socket: &UdpSocket, request: &[u8]) -> String {
    socket.send(request).expect("sent");
    let mut buffer = [0; 1024];
    let length = retry_interrupted(|| socket.recv(&mut buffer)).expect("a reply");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_request_gets_one_reply_with_the_line_end_of_the_request() {
    let server = ServerProcess::start(&[]);
    let socket = server.udp_client();
    assert!(round_trip(&socket, b"day").ends_with("day"));
    assert!(round_trip(&socket, b"Day\n").ends_with("day\n"));
    assert_eq!(round_trip(&socket, b"date\r\n").len(), "26-11-21\n".len());
    assert_eq!(round_trip(&socket, b"time").len(), "06:32:06".len());
    assert_eq!(
        round_trip(&socket, b"SEND TIME").len(),
        "2026-11-21 06:32:06.123456".len()
    );
}
