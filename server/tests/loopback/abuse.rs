//! What clients do that they should not: the server goes on.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

use nix::sys::signal::Signal;

use crate::{Server, read_line, rest_of, wait_until, write_until_stopped};

/// That the server still serves.
fn assert_serves(server: &Server) {
    assert_eq!(server.converse("12345\n"), "Welcome to the server\n15\n");
}

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
fn lines_of_64_mebibytes_take_no_memory() {
    let server = Server::start(&[]);
    let before = server.peak_memory_kb();
    for (byte, reply) in [
        (b'9', format!("{}\n", 9 * (64u64 << 20))),
        (b'x', "You entered an invalid command\n".to_string()),
    ] {
        let mut stream = server.connect();
        assert_eq!(read_line(&stream), "Welcome to the server\n");
        let block = vec![byte; 1 << 20];
        for _ in 0..64 {
            stream.write_all(&block).expect("sent");
        }
        stream.write_all(b"\n").expect("sent");
        assert_eq!(read_line(&stream), reply);
    }
    let grown = server.peak_memory_kb() - before;
    assert!(grown <= 1024, "the server grew by {grown} kB");
}

#[test]
fn clients_that_never_read_cost_a_bounded_amount_of_memory() {
    let server = Server::start(&[]);
    let before = server.peak_memory_kb();
    let requests = b"help\n".repeat(1_000_000);
    let clients: Vec<TcpStream> = thread::scope(|scope| {
        let start_client = |_| {
            scope.spawn(|| {
                let mut client = server.connect();
                assert!(write_until_stopped(&mut client, &requests) < requests.len());
                client
            })
        };
        let threads: Vec<_> = (0..50).map(start_client).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert_serves(&server);
    let grown = server.peak_memory_kb() - before;
    assert!(
        grown <= 50 * 160,
        "the server grew by {grown} kB for {} clients",
        clients.len()
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

#[test]
fn resets_stop_nothing_and_are_not_logged() {
    let server = Server::start(&[]);
    for _ in 0..300 {
        // To close with bytes unread is to reset.
        let mut stream = server.connect();
        stream.write_all(b"day\n").expect("sent");
        assert!(stream.peek(&mut [0]).is_ok(), "there is something unread");
    }
    assert_serves(&server);
    server.signal(Signal::SIGTERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(log.lines().count() <= 4, "{log}");
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Server::start(&["--idle-timeout", "100ms"]);
    assert_eq!(rest_of(server.connect()), "Welcome to the server\n");
    assert_serves(&server);
}

#[test]
fn a_client_for_whom_there_is_no_room_is_told_so() {
    let server = Server::start(&["--max-connections", "2"]);
    let clients = [server.connect(), server.connect()];
    for client in &clients {
        assert_eq!(read_line(client), "Welcome to the server\n");
    }
    let full = "The server is full, please try again later\n";
    assert_eq!(server.converse("day\n"), full);
    drop(clients);
    wait_until("there is room again", || server.converse("") != full);
}
