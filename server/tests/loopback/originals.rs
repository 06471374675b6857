//! The clients of old, which write a command without a line end and read once, with `--framing read`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::{Server, read_once, uninterrupted};

/// What an original client does for each command.
fn ask(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(command.as_bytes()).expect("sent");
    read_once(stream)
}

#[test]
fn an_original_date_time_client_works_unchanged() {
    let server = Server::start(&["--framing", "read", "--service", "date-time"]);
    let mut stream = server.connect();
    assert_eq!(read_once(&mut stream), "Welcome to the server");
    assert!(ask(&mut stream, "DAY").ends_with("day"));
    assert_eq!(ask(&mut stream, "date").len(), "26-11-21".len());
    assert_eq!(ask(&mut stream, "time").len(), "06:32:06".len());
    for invalid in ["12345", "day\n", " day", "help", "\u{b2}", "send time"] {
        assert_eq!(ask(&mut stream, invalid), "You entered an invalid command");
    }
    assert_eq!(ask(&mut stream, "quit"), "", "closed, nothing sent");
}

#[test]
fn an_original_digit_sum_client_works_unchanged() {
    let server = Server::start(&["--framing", "read", "--service", "digit-sum"]);
    let mut stream = server.connect();
    assert_eq!(read_once(&mut stream), "Welcome to the server");
    assert_eq!(ask(&mut stream, "12345"), "15");
    assert_eq!(ask(&mut stream, "007"), "7");
    // 1,025 digits were two commands to the original server.
    assert_eq!(ask(&mut stream, &"1".repeat(1025)), "1025");
    for invalid in ["day", "-5", "1 2", "1.5", "12345\n"] {
        let error = "Please enter a valid String of Digits or type 'quit' to exit.";
        assert_eq!(ask(&mut stream, invalid), error);
    }
    assert_eq!(ask(&mut stream, "Exit"), "Thank You .. See You soon !! ");
    assert_eq!(uninterrupted(|| stream.read(&mut [0])).expect("an end"), 0);
}

#[test]
fn a_client_that_disconnects_gets_no_answer_to_the_empty_string() {
    let server = Server::start(&["--framing", "read"]);
    assert_eq!(server.converse(""), "Welcome to the server");
}
