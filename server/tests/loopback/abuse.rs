//! Misbehaving clients: binary input, and replies that are not read.

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use crate::{ServerProcess, read_to_eof, write_until_blocked};

#[test]
fn binary_lines_are_invalid_commands() {
    let server = ServerProcess::start(&[]);
    let bytes: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let lines = [&bytes[..], b"\n\xc2\xb2\n\0\n"].concat();
    let expected = "You entered an invalid command\n".repeat(3);
    assert_eq!(
        server.replies_to(lines),
        format!("Welcome to the server\n{expected}")
    );
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let server = ServerProcess::start(&[]);
    let mut stream = server.connect();
    let requests = b"1\n\n".repeat(3_000_000);
    let sent = write_until_blocked(&mut stream, &requests);
    assert!(sent < requests.len(), "the server read every request");

    let mut sender = stream.try_clone().expect("cloned");
    let sender = thread::spawn(move || {
        sender.write_all(&requests[sent..]).expect("sent");
        sender.shutdown(Shutdown::Write).expect("half-closed");
    });
    let replies = "1\nYou entered an invalid command\n".repeat(3_000_000);
    assert!(read_to_eof(stream) == format!("Welcome to the server\n{replies}"));
    sender.join().expect("all sent");
}
