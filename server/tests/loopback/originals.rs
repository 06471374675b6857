//! Legacy clients, which write a command without a newline and read once, with `--framing read`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::{ServerProcess, read_once, retry_interrupted};

/// Sends a command and reads the reply as an original client does.
fn round_trip(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(command.as_bytes()).expect("sent");
    read_once(stream)
}

#[test]
fn an_original_date_time_client_works_unchanged() {
    let server = ServerProcess::start(&["--framing", "read", "--service", "date-time"]);
    let mut stream = server.connect();
    assert_eq!(read_once(&mut stream), "Welcome to the server");
    assert!(round_trip(&mut stream, "DAY").ends_with("day"));
    assert_eq!(round_trip(&mut stream, "date").len(), "26-11-21".len());
    assert_eq!(round_trip(&mut stream, "time").len(), "06:32:06".len());
    for invalid in ["12345", "day\n", " day", "help", "\u{b2}", "send time"] {
        assert_eq!(
            round_trip(&mut stream, invalid),
            "You entered an invalid command"
        );
    }
    assert_eq!(round_trip(&mut stream, "quit"), "", "closed, nothing sent");
}

#[test]
fn an_original_digit_sum_client_works_unchanged() {
    let server = ServerProcess::start(&["--framing", "read", "--service", "digit-sum"]);
    let mut stream = server.connect();
    assert_eq!(read_once(&mut stream), "Welcome to the server");
    assert_eq!(round_trip(&mut stream, "12345"), "15");
    assert_eq!(round_trip(&mut stream, "007"), "7");
    // The original server split 1,025 digits into two commands.
    assert_eq!(round_trip(&mut stream, &"1".repeat(1025)), "1025");
    for invalid in ["day", "-5", "1 2", "1.5", "12345\n"] {
        let error = "Please enter a valid String of Digits or type 'quit' to exit.";
        assert_eq!(round_trip(&mut stream, invalid), error);
    }
    assert_eq!(
        round_trip(&mut stream, "Exit"),
        "Thank You .. See You soon !! "
    );
    assert_eq!(retry_interrupted(|| stream.read(&mut [0])).expect("EOF"), 0);
}

#[test]
fn a_disconnect_is_not_answered_as_an_empty_command() {
    let server = ServerProcess::start(&["--framing", "read"]);
    assert_eq!(server.replies_to(""), "Welcome to the server");
}
