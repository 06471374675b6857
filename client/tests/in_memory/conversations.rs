//! One request at a time.

use std::error::Error as _;
use std::io;

use chime_client::{Connection, Error};
use chime_protocol::{Command, Framing, Reply, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::time::Instant;

use crate::TIMEOUT;
use crate::stand_in::{now, repeat, serve};

const WELCOME: &str = "Welcome to the server\n";

/// A client of a server that sends `greeting` at once and `answer` after each line.
async fn greeted(
    greeting: &'static str,
    answer: &'static str,
) -> Result<Connection<DuplexStream>, Error> {
    let (near, far) = duplex(4096);
    tokio::spawn(repeat(far, greeting, answer));
    Connection::greet(near, TIMEOUT).await
}

/// What a client gets that asks `line` of a server that answers `answer`.
async fn answer_to(line: &str, answer: &'static str) -> Result<Option<Reply>, Error> {
    let mut connection = greeted(WELCOME, answer).await.expect("the welcome");
    connection.ask(line).await
}

#[tokio::test]
async fn every_request_gets_its_reply_however_the_bytes_are_cut() {
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
async fn a_stream_that_buffers_is_flushed() {
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
async fn only_the_welcome_is_a_welcome() {
    assert!(greeted(WELCOME, "").await.is_ok());
    let full = "The server is full, please try again later\n";
    assert!(matches!(greeted(full, "").await, Err(Error::Full)));
    assert!(matches!(
        greeted("15\n", "").await,
        Err(Error::Unexpected(Reply::Sum(15)))
    ));
    assert!(matches!(
        greeted("HTTP/1.1 400 Bad Request\r\n", "").await,
        Err(Error::UnknownReply(line)) if line == b"HTTP/1.1 400 Bad Request\r"
    ));
}

#[tokio::test]
async fn a_line_without_end_is_given_up_at_the_length_of_a_reply() {
    let (near, mut far) = duplex(4096);
    tokio::spawn(async move { while far.write_all(&[b'7'; 4096]).await.is_ok() {} });
    match Connection::greet(near, TIMEOUT).await {
        Err(Error::UnknownReply(line)) => assert_eq!(line, [b'7'; Reply::TEXT_MAX]),
        other => panic!("{other:?}"),
    }
}

/// Each kind of reply is sent in answer to each kind of request.
#[tokio::test]
async fn only_a_fitting_reply_is_an_answer() {
    let answers = [
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
    for (request, _) in answers {
        for (fitting_request, answer) in answers {
            let is_quit = ["quit", "exit"].contains(&request);
            let fits = match fitting_request {
                "what?" => !is_quit,
                "quit" | "exit" => is_quit,
                _ => fitting_request == request && request != "none",
            };
            match answer_to(request, answer).await {
                Ok(Some(reply)) if fits => assert_eq!(format!("{reply}\n"), answer),
                Err(Error::Unexpected(reply)) if !fits => {
                    assert_eq!(format!("{reply}\n"), answer);
                }
                other => panic!("{request}, {answer}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_reply_to_nothing_does_not_answer_the_next_request() {
    let mut connection = greeted(WELCOME, "Saturday\nSunday\n").await.unwrap();
    assert!(connection.ask("day").await.is_ok());
    let Err(Error::Unexpected(reply)) = connection.ask("day").await else {
        panic!("the second reply was taken");
    };
    assert_eq!(reply.to_string(), "Sunday");
}

#[tokio::test]
async fn only_quit_may_be_answered_by_the_close_alone() {
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
async fn a_close_is_told_from_a_reply_cut_short() {
    for said in ["", "Welcome", "Welcome to the server"] {
        let (near, mut far) = duplex(64);
        far.write_all(said.as_bytes()).await.unwrap();
        drop(far);
        let greeted = Connection::greet(near, TIMEOUT).await;
        assert!(matches!(greeted, Err(Error::Closed)), "{said}");
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
        greeted("", "").await,
        Err(Error::TimedOut {
            after: TIMEOUT,
            mid_line: false
        })
    ));
    assert_eq!(start.elapsed(), TIMEOUT);

    assert!(matches!(
        answer_to("day", "").await,
        Err(Error::TimedOut {
            after: TIMEOUT,
            mid_line: false
        })
    ));
    assert_eq!(start.elapsed(), 2 * TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_no_bytes_times_out() {
    let (near, mut far) = duplex(64);
    far.write_all(WELCOME.as_bytes()).await.unwrap();
    let mut connection = Connection::greet(near, TIMEOUT).await.unwrap();
    let answer = connection.ask(&"7".repeat(65)).await;
    assert!(matches!(answer, Err(Error::TimedOut { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_framing_read_shows_as_a_line_that_does_not_end() {
    let (near, far) = duplex(64);
    tokio::spawn(serve(far, Service::Both, Framing::Read));
    let greeted = Connection::greet(near, TIMEOUT).await;
    assert!(matches!(
        greeted,
        Err(Error::TimedOut { mid_line: true, .. })
    ));
}

#[tokio::test]
async fn two_lines_are_not_one_request() {
    let mut connection = greeted(WELCOME, "Saturday\n").await.expect("the welcome");
    for lines in ["day\ndate", "day\n", "\n"] {
        let refused = connection.ask(lines).await;
        assert!(matches!(refused, Err(Error::MultipleLines)), "{lines:?}");
    }
    // Nothing was sent, so the conversation goes on.
    let answer = connection.ask("day").await.expect("one reply");
    assert_eq!(answer, Some(Reply::Weekday(chrono::Weekday::Sat)));
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
fn however_the_other_end_goes_the_connection_is_closed() {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable};

    for kind in [BrokenPipe, ConnectionAborted, ConnectionReset] {
        assert!(matches!(Error::from(io::Error::from(kind)), Error::Closed));
    }
    let other = Error::from(io::Error::from(HostUnreachable));
    assert!(matches!(&other, Error::Io(error) if error.kind() == HostUnreachable));
    assert!(other.source().is_some());
    assert!(Error::Closed.source().is_none());
}
