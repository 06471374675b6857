//! One question over datagrams, any of which may get lost.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chime_protocol::{Command, DATAGRAM_MAX, Reply};
use tokio::net::{ToSocketAddrs, UdpSocket};
use tokio::time::{self, Instant};

use crate::addresses;
use crate::connection::in_time;
use crate::error::Error;
use crate::matching;

/// How long each try waits for an answer: the request is sent as often as there are waits.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// A socket for datagrams to and from one server alone.
///
/// Who implements it sees to it that nothing is received from anyone else, as a connected
/// `UdpSocket` does.
#[expect(
    async_fn_in_trait,
    reason = "no caller needs its futures to be Send: a question starts no task"
)]
pub trait Datagrams {
    /// Sends one datagram.
    async fn send(&self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram, of which as much as there is room for is written to the front of
    /// `buffer`, and returns how much that was.
    ///
    /// Nothing is lost when the future is dropped.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Datagrams for UdpSocket {
    async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        UdpSocket::send(self, datagram).await.map(drop)
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv(buffer).await
    }
}

/// Asks a command that asks for the time over UDP, such as [`Command::Day`] of `"localhost:8089"`, as
/// [`ask_datagram`] does.
///
/// Tries the addresses of `server` in turn, IPv4 first, until the socket of one does not fail. An address
/// without a server takes seconds. `timeout` bounds resolving, and then each address.
/// Another command is refused with [`Error::NotOverUdp`] before the name of the server is resolved.
pub async fn ask_udp(
    server: impl ToSocketAddrs,
    command: Command,
    timeout: Duration,
) -> Result<Reply, Error> {
    check_served(command)?;
    let addresses = in_time(timeout, addresses::resolve(server, None)).await?;
    let result = addresses::try_each(&addresses, async |address| {
        let socket = fresh_socket(address).await?;
        match ask_datagram(&socket, command, timeout).await {
            Err(Error::Io(error)) => Err(error),
            result => Ok(result),
        }
    });
    result.await.map_err(Error::Io)?
}

/// Refuses the commands to which a server sends no datagram: waiting for one would be in vain.
fn check_served(command: Command) -> Result<(), Error> {
    match command {
        Command::Day | Command::Date | Command::Time | Command::SendTime => Ok(()),
        Command::Help | Command::Quit | Command::Exit => Err(Error::NotOverUdp(command)),
    }
}

/// A socket to and from `server` alone, at a port where nothing late can arrive.
async fn fresh_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Asks a command that asks for the time: up to three times, with waits of 1, 2 and 4 seconds.
///
/// `timeout` bounds all waits together. The socket must be a fresh one, or a late answer to an earlier
/// question could be taken for the answer to this one. An empty datagram is no answer. A failure of
/// the socket, such as a server not being there, may pass, so it only ends its try; when every try
/// failed, the error is the last [`Error::Io`]. Another command is refused with [`Error::NotOverUdp`]
/// before anything is sent.
pub async fn ask_datagram(
    socket: &impl Datagrams,
    command: Command,
    timeout: Duration,
) -> Result<Reply, Error> {
    check_served(command)?;
    let mut time_left = timeout;
    let mut failure = None;
    let mut is_silent = false;
    for wait in WAITS {
        let wait = wait.min(time_left);
        if wait.is_zero() {
            break;
        }
        time_left -= wait;
        let end = Instant::now() + wait;
        let mut buffer = [0; DATAGRAM_MAX];
        match time::timeout_at(end, exchange(socket, command, &mut buffer)).await {
            Ok(Ok(length)) => return parse_reply(&buffer[..length], command),
            Ok(Err(error)) => {
                failure = Some(error);
                time::sleep_until(end).await;
            }
            Err(_) => is_silent = true,
        }
    }
    match failure {
        Some(error) if !is_silent => Err(Error::Io(error)),
        _ => Err(Error::TimedOut {
            after: timeout - time_left,
            mid_line: false,
        }),
    }
}

/// Sends the command and waits for a datagram that is not empty.
async fn exchange(
    socket: &impl Datagrams,
    command: Command,
    buffer: &mut [u8],
) -> io::Result<usize> {
    socket.send(command.name().as_bytes()).await?;
    loop {
        let length = socket.receive(buffer).await?;
        if length > 0 {
            return Ok(length);
        }
    }
}

/// The answer to `command` that `datagram` is, if it is one.
fn parse_reply(datagram: &[u8], command: Command) -> Result<Reply, Error> {
    match Reply::parse(datagram) {
        Some(reply) if matching::is_answer_to_command(reply, command) => Ok(reply),
        Some(reply) => Err(Error::Unexpected(reply)),
        None => Err(Error::UnknownReply(datagram.to_vec())),
    }
}
