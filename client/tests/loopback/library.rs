//! The sockets of the library, and the blocking client.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_client::blocking::{self, Connection};
use chime_client::{Error, ask_udp};
use chime_protocol::{Command, Framing, Reply, Service};
use tokio::runtime::Builder;

use crate::TEST_TIMEOUT;
use crate::servers::{
    WELCOME, chime, chime_udp, replying, replying_slowly, sending, tcp, udp, unused_address,
    welcoming_slowly,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_millis(300);

#[test]
fn the_blocking_client_sends_requests_and_sums() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).unwrap();
    assert_eq!(connection.ask("12345").unwrap(), Some(Reply::Sum(15)));
    assert_eq!(connection.sum(&b"999\n"[..]).unwrap(), 27);
    assert_eq!(
        connection.sum(io::repeat(b'7').take(1 << 20)).unwrap(),
        7 << 20
    );
    assert_eq!(connection.ask("quit").unwrap(), Some(Reply::Farewell));
    assert!(matches!(connection.ask("day"), Err(Error::Closed)));
}

/// Asserts that a call of the blocking client and of the asynchronous one have the same result.
#[track_caller]
fn assert_same<T: Debug>(blocking: Result<T, Error>, asynchronous: Result<T, Error>) {
    assert_eq!(format!("{blocking:?}"), format!("{asynchronous:?}"));
}

#[test]
fn each_call_of_the_blocking_client_has_the_result_of_the_asynchronous_one() {
    // A call of the blocking client panics within a runtime, so each asynchronous call is run on its own.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let connect_both = |servers: [SocketAddr; 2], timeout| {
        let connected = chime_client::Connection::connect(servers[1], timeout);
        (
            Connection::connect(servers[0], timeout),
            runtime.block_on(connected),
        )
    };
    let full = b"The server is full, please try again later\n";
    for (servers, timeout) in [
        ([unused_address(); 2], TIMEOUT),
        ([(); 2].map(|()| sending(b"", true)), TIMEOUT),
        ([(); 2].map(|()| sending(b"", false)), BRIEF),
        ([(); 2].map(|()| sending(full, true)), TIMEOUT),
        ([(); 2].map(|()| sending(b"15\n", true)), TIMEOUT),
        ([(); 2].map(|()| sending(b"hello\n", true)), TIMEOUT),
    ] {
        let (blocking, asynchronous) = connect_both(servers, timeout);
        assert_same(blocking.map(drop), asynchronous.map(drop));
    }

    let connect = |servers, timeout| {
        let (blocking, asynchronous) = connect_both(servers, timeout);
        (
            blocking.expect("the welcome"),
            asynchronous.expect("the welcome"),
        )
    };
    for service in [Service::Both, Service::DateTime, Service::DigitSum] {
        let (mut blocking, mut asynchronous) = connect([chime(service, Framing::Line); 2], TIMEOUT);
        for line in ["day", "12345", "what?", "", "day\ndate", "help"] {
            let expected = runtime.block_on(asynchronous.ask(line));
            assert_same(blocking.ask(line), expected);
        }
        let expected = runtime.block_on(asynchronous.sum(&b"999\n"[..]));
        assert_same(blocking.sum(&b"999\n"[..]), expected);
        for line in ["quit", "day"] {
            let expected = runtime.block_on(asynchronous.ask(line));
            assert_same(blocking.ask(line), expected);
        }
    }
    for input in [&b""[..], b"\n", b"12x", b"1 2"] {
        let servers = [chime(Service::Both, Framing::Line); 2];
        let (mut blocking, mut asynchronous) = connect(servers, TIMEOUT);
        let expected = runtime.block_on(asynchronous.sum(input));
        assert_same(blocking.sum(input), expected);
    }
    for text in [&b"26-11-21\n"[..], b"hello\n"] {
        let servers = || [(); 2].map(|()| replying(text));
        let (mut blocking, mut asynchronous) = connect(servers(), TIMEOUT);
        let expected = runtime.block_on(asynchronous.ask("day"));
        assert_same(blocking.ask("day"), expected);
        let (mut blocking, mut asynchronous) = connect(servers(), TIMEOUT);
        let expected = runtime.block_on(asynchronous.sum(&b"1"[..]));
        assert_same(blocking.sum(&b"1"[..]), expected);
    }

    let ask_both = |servers: [SocketAddr; 2], command, timeout| {
        let expected = runtime.block_on(ask_udp(servers[1], command, timeout));
        assert_same(blocking::ask_udp(servers[0], command, timeout), expected);
    };
    let chime = chime_udp();
    for command in Command::ALL {
        ask_both([chime; 2], command, TIMEOUT);
    }
    ask_both([udp(&[]), udp(&[])], Command::Day, BRIEF);
    for replies in [&[&[b"hello" as &[u8]] as &[_]], &[&[b"26-11-21" as &[u8]]]] {
        ask_both([udp(replies), udp(replies)], Command::Day, TIMEOUT);
    }
}

/// A reader whose reads are interrupted every other time, as by a signal.
struct Interrupted<R>(R, bool);

impl<R: Read> Read for Interrupted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        match self.1 {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => self.0.read(buffer),
        }
    }
}

#[test]
fn an_interrupted_read_is_retried() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).unwrap();
    let sum = connection.sum(Interrupted(&b"12345"[..], false));
    assert_eq!(sum.unwrap(), 15);
}

/// A reader that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[test]
fn a_failing_reader_is_an_input_error() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).unwrap();
    let sum = connection.sum(b"12".chain(Broken));
    assert!(
        matches!(&sum, Err(Error::Input(error)) if error.kind() == io::ErrorKind::InvalidData),
        "{sum:?}"
    );
}

#[test]
fn a_refused_connection_is_an_io_error() {
    let is_refused = |error| matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    assert!(is_refused(
        Connection::connect(unused_address(), TIMEOUT).unwrap_err()
    ));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    drop(socket);
    assert!(is_refused(
        blocking::ask_udp(server, Command::Day, BRIEF).unwrap_err()
    ));
}

#[test]
fn a_silent_server_times_out() {
    let connection = Connection::connect(sending(b"", false), BRIEF);
    assert!(matches!(
        connection,
        Err(Error::TimedOut { after: BRIEF, .. })
    ));
    let reply = blocking::ask_udp(udp(&[]), Command::Day, BRIEF);
    assert!(matches!(reply, Err(Error::TimedOut { after: BRIEF, .. })));
}

#[tokio::test]
async fn the_next_address_is_tried_if_one_has_no_server() {
    let addresses = [unused_address(), chime(Service::Both, Framing::Line)];
    let connected = chime_client::Connection::connect(&addresses[..], TIMEOUT).await;
    assert_eq!(
        connected.unwrap().ask("1").await.unwrap(),
        Some(Reply::Sum(1))
    );

    // Sending to the broadcast address fails at once without SO_BROADCAST.
    let forbidden = (Ipv4Addr::BROADCAST, 9).into();
    let addresses = [unused_address(), forbidden, chime_udp()];
    let reply = ask_udp(&addresses[..], Command::Day, BRIEF).await;
    assert_eq!(reply.unwrap().to_string(), "Saturday");
}

#[tokio::test]
async fn a_lost_datagram_is_retried() {
    let server = udp(&[&[], &[b"Saturday"]]);
    let reply = ask_udp(server, Command::Day, TIMEOUT).await;
    assert_eq!(reply.unwrap().to_string(), "Saturday");
}

#[test]
fn a_reply_written_byte_by_byte_times_out_in_the_blocking_client() {
    let is_mid_line_timeout = |error| {
        matches!(
            error,
            Error::TimedOut {
                after: BRIEF,
                mid_line: true
            }
        )
    };
    let connection = Connection::connect(welcoming_slowly(), BRIEF);
    assert!(is_mid_line_timeout(connection.expect_err("a timeout")));
    let mut connection =
        Connection::connect(replying_slowly(b"Saturday\n"), BRIEF).expect("the welcome");
    assert!(is_mid_line_timeout(
        connection.ask("day").expect_err("a timeout")
    ));
    let mut connection =
        Connection::connect(replying_slowly(b"1000000\n"), BRIEF).expect("the welcome");
    assert!(is_mid_line_timeout(
        connection.sum(&b"1"[..]).expect_err("a timeout")
    ));
}

#[test]
fn an_invalid_request_is_rejected_before_it_is_sent() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).expect("the welcome");
    let rejected = connection.ask("day\ndate");
    assert!(
        matches!(rejected, Err(Error::MultipleLines)),
        "{rejected:?}"
    );
    assert_eq!(connection.ask("1").expect("a reply"), Some(Reply::Sum(1)));
    // The name of the server is not resolved.
    for command in [Command::Help, Command::Quit, Command::Exit] {
        let rejected = blocking::ask_udp("no port", command, TIMEOUT);
        assert!(
            matches!(&rejected, Err(Error::NotOverUdp(name)) if *name == command),
            "{rejected:?}"
        );
    }
}

#[tokio::test]
async fn a_reply_that_arrived_in_time_is_returned_after_its_deadline() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let (request_sender, request_received) = mpsc::channel();
    let (busy_sender, client_busy) = mpsc::channel();
    let (reply_sender, reply_sent) = mpsc::channel();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client reads");
        stream.read_exact(&mut [0; 2]).expect("a request");
        request_sender.send(()).expect("a receiver");
        client_busy.recv().expect("a busy client");
        stream.write_all(b"1\n").expect("the client reads");
        reply_sender.send(()).expect("a receiver");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let connection = chime_client::Connection::connect(server, TIMEOUT).await;
    let (mut writer, input) = tokio::io::duplex(64);
    let mut pipe = connection.expect("the welcome").pipe(input);
    tokio::io::AsyncWriteExt::write_all(&mut writer, b"1\n")
        .await
        .expect("buffer space");
    while request_received.try_recv().is_err() {
        let next = tokio::time::timeout(Duration::from_millis(1), pipe.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
    busy_sender.send(()).expect("a running server");
    reply_sent.recv_timeout(TEST_TIMEOUT).expect("a reply");
    // The caller blocks the thread until the deadline has passed.
    thread::sleep(TIMEOUT);
    assert_eq!(pipe.next().await.expect("in time"), Some(Reply::Sum(1)));
}

#[test]
fn the_futures_of_the_sockets_are_send() {
    fn assert_send(_: impl Send) {}

    assert_send(chime_client::Connection::connect("localhost:9990", TIMEOUT));
    assert_send(ask_udp("localhost:8089", Command::Day, TIMEOUT));
}
