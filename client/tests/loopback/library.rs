//! The library's own sockets, and the client that is not asynchronous.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chime_client::blocking::{self, Connection};
use chime_client::{Error, ask_udp};
use chime_protocol::{Command, Framing, Reply, Service};

use crate::PATIENCE;
use crate::stand_in::{
    WELCOME, chime, chime_over_udp, dripping, dripping_the_welcome, nobody, saying, tcp, udp,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_millis(300);

#[test]
fn a_program_without_async_asks_and_sums() {
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

/// Is interrupted before it gives anything, as reading may be by any signal.
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
fn a_reader_may_be_interrupted() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).unwrap();
    let sum = connection.sum(Interrupted(&b"12345"[..], false));
    assert_eq!(sum.unwrap(), 15);
}

/// Fails, as a disk may.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[test]
fn a_reader_that_fails_is_told() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).unwrap();
    let sum = connection.sum(b"12".chain(Broken));
    let is_told =
        matches!(&sum, Err(Error::Input(error)) if error.kind() == io::ErrorKind::InvalidData);
    assert!(is_told, "{sum:?}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_the_socket() {
    let refused = |error| matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    assert!(refused(Connection::connect(nobody(), TIMEOUT).unwrap_err()));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = socket.local_addr().unwrap();
    drop(socket);
    assert!(refused(
        blocking::ask_udp(server, Command::Day, BRIEF).unwrap_err()
    ));
}

#[test]
fn a_silent_server_times_out() {
    let connection = Connection::connect(saying(b"", false), BRIEF);
    assert!(matches!(
        connection,
        Err(Error::TimedOut { after: BRIEF, .. })
    ));
    let answer = blocking::ask_udp(udp(&[]), Command::Day, BRIEF);
    assert!(matches!(answer, Err(Error::TimedOut { after: BRIEF, .. })));
}

#[tokio::test]
async fn the_next_address_is_asked_when_one_has_no_server() {
    let addresses = [nobody(), chime(Service::Both, Framing::Line)];
    let connected = chime_client::Connection::connect(&addresses[..], TIMEOUT).await;
    assert_eq!(
        connected.unwrap().ask("1").await.unwrap(),
        Some(Reply::Sum(1))
    );

    // A socket may not send to all of a network unless it has said so, so this fails at once.
    let forbidden = (Ipv4Addr::BROADCAST, 9).into();
    let addresses = [nobody(), forbidden, chime_over_udp()];
    let answer = ask_udp(&addresses[..], Command::Day, BRIEF).await;
    assert_eq!(answer.unwrap().to_string(), "Saturday");
}

#[tokio::test]
async fn a_datagram_that_is_lost_is_sent_again() {
    let server = udp(&[&[], &[b"Saturday"]]);
    let answer = ask_udp(server, Command::Day, TIMEOUT).await;
    assert_eq!(answer.unwrap().to_string(), "Saturday");
}

#[test]
fn a_reply_that_drips_times_out_for_a_program_without_async() {
    let is_late = |error| {
        matches!(
            error,
            Error::TimedOut {
                after: BRIEF,
                mid_line: true
            }
        )
    };
    let connection = Connection::connect(dripping_the_welcome(), BRIEF);
    assert!(is_late(connection.expect_err("too late")));
    let mut connection = Connection::connect(dripping(b"Saturday\n"), BRIEF).expect("the welcome");
    assert!(is_late(connection.ask("day").expect_err("too late")));
    let mut connection = Connection::connect(dripping(b"1000000\n"), BRIEF).expect("the welcome");
    assert!(is_late(connection.sum(&b"1"[..]).expect_err("too late")));
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let server = chime(Service::Both, Framing::Line);
    let mut connection = Connection::connect(server, TIMEOUT).expect("the welcome");
    let refused = connection.ask("day\ndate");
    assert!(matches!(refused, Err(Error::MultipleLines)), "{refused:?}");
    assert_eq!(connection.ask("1").expect("a reply"), Some(Reply::Sum(1)));
    // The name of the server is not even resolved.
    for command in [Command::Help, Command::Quit, Command::Exit] {
        let refused = blocking::ask_udp("no port", command, TIMEOUT);
        let is_refused = matches!(&refused, Err(Error::NotOverUdp(name)) if *name == command);
        assert!(is_refused, "{refused:?}");
    }
}

#[tokio::test]
async fn a_pipe_whose_caller_was_busy_sees_what_has_come_meanwhile() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let (tell_asked, asked) = mpsc::channel();
    let (tell_busy, busy) = mpsc::channel();
    let (tell_answered, answered) = mpsc::channel();
    let server = tcp(move |mut stream| {
        stream.write_all(WELCOME).expect("the client takes it");
        stream.read_exact(&mut [0; 2]).expect("a request");
        tell_asked.send(()).expect("it is waited for");
        busy.recv().expect("it is told");
        stream.write_all(b"1\n").expect("the client takes it");
        tell_answered.send(()).expect("it is waited for");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let connection = chime_client::Connection::connect(server, TIMEOUT).await;
    let (mut writer, input) = tokio::io::duplex(64);
    let mut pipe = connection.expect("the welcome").pipe(input);
    tokio::io::AsyncWriteExt::write_all(&mut writer, b"1\n")
        .await
        .expect("room");
    while asked.try_recv().is_err() {
        let next = tokio::time::timeout(Duration::from_millis(1), pipe.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
    tell_busy.send(()).expect("the server is there");
    answered.recv_timeout(PATIENCE).expect("an answer");
    // The program does something else until the deadline has passed.
    thread::sleep(TIMEOUT);
    assert_eq!(pipe.next().await.expect("in time"), Some(Reply::Sum(1)));
}
