//! Connections with one request at a time.

use std::error::Error as _;
use std::io;
use std::iter;

use chime_client::{Connection, Error};
use chime_protocol::{Command, Framing, Reply, Service};
use chrono::Timelike;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::time::Instant;

use crate::TIMEOUT;
use crate::servers::{now, repeat, serve};

const WELCOME: &str = "Welcome to the server\n";

/// Connects to a server that sends `greeting` at once and `reply` for each line.
async fn connect(
    greeting: &'static str,
    reply: &'static str,
) -> Result<Connection<DuplexStream>, Error> {
    let (near, far) = duplex(4096);
    tokio::spawn(repeat(far, greeting, reply));
    Connection::greet(near, TIMEOUT).await
}

/// Sends `line` to a server that replies with `reply`, and returns the result.
async fn reply_to(line: &str, reply: &'static str) -> Result<Option<Reply>, Error> {
    let mut connection = connect(WELCOME, reply).await.expect("the welcome");
    connection.ask(line).await
}

#[tokio::test]
async fn every_request_gets_its_reply_however_the_bytes_are_split() {
    for capacity in [1, 2, 7, 4096] {
        let (near, far) = duplex(capacity);
        tokio::spawn(serve(far, Service::Both, Framing::Line));
        let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
        for (line, reply) in [
            ("day", Reply::Weekday(chrono::Weekday::Sat)),
            ("date", Reply::Date(now().date())),
            ("TIME ", Reply::Time("06:32:06".parse().unwrap())),
            ("send time", Reply::DateTime(now())),
            ("12345", Reply::Sum(15)),
            ("help", Reply::Help),
            ("", Reply::CommandError),
            ("what?", Reply::CommandError),
            ("exit", Reply::Farewell),
        ] {
            assert_eq!(connection.ask(line).await.unwrap(), Some(reply), "{line}");
        }
        assert!(matches!(connection.ask("day").await, Err(Error::Closed)));
    }
}

#[tokio::test]
async fn commands_with_a_method_return_values() {
    let (near, far) = duplex(4096);
    tokio::spawn(serve(far, Service::Both, Framing::Line));
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    assert_eq!(connection.day().await.unwrap(), chrono::Weekday::Sat);
    assert_eq!(connection.date().await.unwrap(), now().date());
    let seconds = now().with_nanosecond(0).unwrap();
    assert_eq!(connection.time().await.unwrap(), seconds.time());
    assert_eq!(connection.now().await.unwrap(), now());
}

#[tokio::test]
async fn a_command_that_is_not_offered_is_an_error_of_its_method() {
    let (near, far) = duplex(4096);
    tokio::spawn(serve(far, Service::DigitSum, Framing::Line));
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let results = [
        connection.day().await.map(drop),
        connection.date().await.map(drop),
        connection.time().await.map(drop),
        connection.now().await.map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::ErrorReply(Reply::DigitError))));
    }
    assert_eq!(connection.sum(&b"15"[..]).await.unwrap(), 6);
}

#[tokio::test]
async fn a_buffered_stream_is_flushed() {
    let (near, far) = duplex(4096);
    tokio::spawn(serve(far, Service::Both, Framing::Line));
    let mut connection = Connection::greet(BufStream::new(near), TIMEOUT)
        .await
        .unwrap();
    assert_eq!(connection.ask("1").await.unwrap(), Some(Reply::Sum(1)));
    let (mut writer, input) = duplex(64);
    let mut pipe = connection.pipe(input);
    writer.write_all(b"2\n").await.unwrap();
    assert_eq!(pipe.next().await.unwrap(), Some(Reply::Sum(2)));
    drop(writer);
    assert_eq!(pipe.next().await.unwrap(), None);
}

#[tokio::test]
async fn only_the_welcome_is_accepted_as_a_greeting() {
    assert!(connect(WELCOME, "").await.is_ok());
    let full = "The server is full, please try again later\n";
    assert!(matches!(connect(full, "").await, Err(Error::Full)));
    assert!(matches!(
        connect("15\n", "").await,
        Err(Error::Unexpected(Reply::Sum(15)))
    ));
    assert!(matches!(
        connect("HTTP/1.1 400 Bad Request\r\n", "").await,
        Err(Error::UnknownReply(line)) if line == b"HTTP/1.1 400 Bad Request\r"
    ));
}

#[tokio::test]
async fn an_endless_line_is_an_error_at_the_length_of_a_reply() {
    let (near, mut far) = duplex(4096);
    tokio::spawn(async move { while far.write_all(&[b'7'; 4096]).await.is_ok() {} });
    match Connection::greet(near, TIMEOUT).await {
        Err(Error::UnknownReply(line)) => assert_eq!(line, [b'7'; Reply::TEXT_MAX]),
        other => panic!("{other:?}"),
    }
}

/// Sends each kind of reply to each kind of request.
#[tokio::test]
async fn only_a_matching_reply_is_accepted() {
    let replies = [
        ("day", "Saturday\n"),
        ("date", "26-11-21\n"),
        ("time", "06:32:06\n"),
        ("send time", "2026-11-21 06:32:06.123456\n"),
        (
            "help",
            "Commands: day, date, time, send time, a string of digits, help, quit, exit\n",
        ),
        ("12345", "15\n"),
        ("quit", "Thank You .. See You soon !! \n"),
        ("exit", "Thank You .. See You soon !! \n"),
        ("what?", "You entered an invalid command\n"),
        (
            "what?",
            "Please enter a valid String of Digits or type 'quit' to exit.\n",
        ),
        ("none", WELCOME),
        ("none", "The server is full, please try again later\n"),
    ];
    for (request, _) in replies {
        for (matching_request, text) in replies {
            let is_quit = ["quit", "exit"].contains(&request);
            let is_match = match matching_request {
                "what?" => !is_quit,
                "quit" | "exit" => is_quit,
                _ => matching_request == request && request != "none",
            };
            match reply_to(request, text).await {
                Ok(Some(reply)) if is_match => assert_eq!(format!("{reply}\n"), text),
                Err(Error::Unexpected(reply)) if !is_match => {
                    assert_eq!(format!("{reply}\n"), text);
                }
                other => panic!("{request}, {text}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_unsolicited_reply_is_not_the_reply_to_the_next_request() {
    let mut connection = connect(WELCOME, "Saturday\nSunday\n").await.unwrap();
    assert!(connection.ask("day").await.is_ok());
    let Err(Error::Unexpected(reply)) = connection.ask("day").await else {
        panic!("the second reply was accepted");
    };
    assert_eq!(reply.to_string(), "Sunday");
}

#[tokio::test]
async fn only_quit_may_be_followed_by_a_close_without_a_reply() {
    for command in Command::ALL {
        let (near, mut far) = duplex(64);
        let server = async {
            far.write_all(WELCOME.as_bytes()).await.unwrap();
            while far.read_u8().await.unwrap() != b'\n' {}
            drop(far);
        };
        let client = async {
            let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
            connection.ask(command.name()).await
        };
        match (command, tokio::join!(client, server).0) {
            (Command::Quit | Command::Exit, Ok(None)) => {}
            (Command::Quit | Command::Exit, other) => panic!("{command:?}: {other:?}"),
            (_, Err(Error::Closed)) => {}
            (_, other) => panic!("{command:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_truncated_reply_is_a_closed_connection() {
    for sent in ["", "Welcome", "Welcome to the server"] {
        let (near, mut far) = duplex(64);
        far.write_all(sent.as_bytes()).await.unwrap();
        drop(far);
        let greeted = Connection::greet(near, TIMEOUT).await;
        assert!(matches!(greeted, Err(Error::Closed)), "{sent}");
    }
    let (near, mut far) = duplex(64);
    far.write_all(WELCOME.as_bytes()).await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    far.write_all(b"Thank You").await.unwrap();
    far.shutdown().await.unwrap();
    assert!(matches!(connection.ask("quit").await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn each_wait_ends_at_the_timeout() {
    let start = Instant::now();
    assert!(matches!(
        connect("", "").await,
        Err(Error::TimedOut {
            after: TIMEOUT,
            mid_line: false
        })
    ));
    assert_eq!(start.elapsed(), TIMEOUT);

    assert!(matches!(
        reply_to("day", "").await,
        Err(Error::TimedOut {
            after: TIMEOUT,
            mid_line: false
        })
    ));
    assert_eq!(start.elapsed(), 2 * TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_times_out() {
    let (near, mut far) = duplex(64);
    far.write_all(WELCOME.as_bytes()).await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let reply = connection.ask(&"7".repeat(65)).await;
    assert!(matches!(reply, Err(Error::TimedOut { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_framing_read_times_out_mid_line() {
    let (near, far) = duplex(64);
    tokio::spawn(serve(far, Service::Both, Framing::Read));
    let greeted = Connection::greet(near, TIMEOUT).await;
    assert!(matches!(
        greeted,
        Err(Error::TimedOut { mid_line: true, .. })
    ));
}

#[tokio::test]
async fn a_request_with_a_newline_is_rejected_before_it_is_sent() {
    let mut connection = connect(WELCOME, "Saturday\n").await.expect("the welcome");
    for lines in ["day\ndate", "day\n", "\n"] {
        let rejected = connection.ask(lines).await;
        assert!(matches!(rejected, Err(Error::MultipleLines)), "{lines:?}");
    }
    // Nothing was sent, so the connection is still usable.
    let reply = connection.ask("day").await.expect("one reply");
    assert_eq!(reply, Some(Reply::Weekday(chrono::Weekday::Sat)));
}

#[test]
fn t19_an_error_is_one_line_without_control_bytes() {
    let text = Error::UnknownReply(b"\x1b[31mred\r\x00\xff".to_vec()).to_string();
    assert_eq!(text, r"unknown reply '\x1b[31mred\r\x00\xff'");
    assert_eq!(
        Error::Unexpected(Reply::Sum(3)).to_string(),
        "unexpected reply '3'"
    );
}

#[test]
fn every_error_of_a_closed_peer_is_closed() {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable};

    for kind in [BrokenPipe, ConnectionAborted, ConnectionReset] {
        assert!(matches!(Error::from(io::Error::from(kind)), Error::Closed));
    }
    let other = Error::from(io::Error::from(HostUnreachable));
    assert!(matches!(&other, Error::Io(error) if error.kind() == HostUnreachable));
}

/// A message that is printed with those of its sources has each once.
#[test]
fn the_message_of_an_error_is_not_that_of_its_source_again() {
    let cause = io::Error::other(Error::NoDigits);
    let error = Error::Input(io::Error::other(cause));
    let sources = iter::successors(error.source(), |error| (*error).source());
    let messages: Vec<String> = sources.map(|error| error.to_string()).collect();
    assert_eq!(error.to_string(), "cannot read the input: no digits");
    assert!(messages.is_empty(), "{messages:?}");
}
