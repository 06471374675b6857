//! What clients do that they should not: the server goes on.

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use crate::{Server, rest_of, write_until_stopped};

#[test]
fn bytes_that_are_not_text_are_one_invalid_command_a_line() {
    let server = Server::start(&[]);
    let bytes: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let lines = [&bytes[..], b"\n\xc2\xb2\n\0\n"].concat();
    let expected = "You entered an invalid command\n".repeat(3);
    assert_eq!(
        server.converse(lines),
        format!("Welcome to the server\n{expected}")
    );
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let requests = b"1\n\n".repeat(3_000_000);
    let sent = write_until_stopped(&mut stream, &requests);
    assert!(sent < requests.len(), "the server stops reading");

    let mut sender = stream.try_clone().expect("cloned");
    let sender = thread::spawn(move || {
        sender.write_all(&requests[sent..]).expect("sent");
        sender.shutdown(Shutdown::Write).expect("half-closed");
    });
    let replies = "1\nYou entered an invalid command\n".repeat(3_000_000);
    assert!(rest_of(stream) == format!("Welcome to the server\n{replies}"));
    sender.join().expect("all sent");
}
