//! Requests over UDP, with retries.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chime_protocol::{Command, DATAGRAM_MAX, Reply};
use tokio::net::{ToSocketAddrs, UdpSocket};
use tokio::time::{self, Instant};

use crate::addresses;
use crate::connection::with_timeout;
use crate::error::Error;

/// How long each attempt waits for a reply.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// A datagram socket connected to one server.
///
/// Implementations must not receive datagrams from any other source.
#[expect(
    async_fn_in_trait,
    reason = "no caller needs the futures to be Send: no task is spawned"
)]
pub trait Datagrams {
    /// Sends one datagram.
    async fn send(&self, datagram: &[u8]) -> io::Result<()>;

    /// Receives one datagram into `buffer`, truncated if it is longer, and returns the number of bytes written.
    ///
    /// Must be cancel safe: no datagram is lost when the future is dropped.
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

/// Sends a date or time command such as [`Command::Day`] to `server` such as `"localhost:8089"` over UDP, and
/// waits for the reply, as [`ask_datagram`] does.
///
/// Tries the addresses of `server` in turn, IPv4 first, until an attempt ends without a socket error. An address
/// without a server takes seconds. `timeout` bounds resolving, and then each address.
/// Returns [`Error::NotOverUdp`] for any other command, before resolving the name of the server.
pub async fn ask_udp(
    server: impl ToSocketAddrs,
    command: Command,
    timeout: Duration,
) -> Result<Reply, Error> {
    check_served(command)?;
    let addresses = with_timeout(timeout, addresses::resolve(server, None)).await?;
    let result = addresses::try_each(&addresses, |address| async move {
        let socket = new_socket(address).await?;
        match ask_datagram(&socket, command, timeout).await {
            Err(Error::Io(error)) => Err(error),
            result => Ok(result),
        }
    });
    result.await.map_err(Error::Io)?
}

/// Returns an error for the commands to which a server does not reply over UDP.
fn check_served(command: Command) -> Result<(), Error> {
    match command.is_time_command() {
        true => Ok(()),
        false => Err(Error::NotOverUdp(command)),
    }
}

/// Returns a socket connected to `server`, on a new port, so that no reply to an earlier request arrives.
async fn new_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Sends a date or time command up to three times, waits 1, 2 and 4 seconds for the reply, and returns it.
///
/// `timeout` bounds all attempts together. The socket must be new: a late reply to an earlier request would be
/// taken for the reply to this one. Empty datagrams are ignored.
///
/// A socket error, such as a refused datagram, may be transient, so it ends only its attempt. If all attempts
/// end with a socket error, the result is the last one as [`Error::Io`]; if any attempt times out, it is
/// [`Error::TimedOut`]. Any other command is [`Error::NotOverUdp`], and nothing is sent.
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

/// Sends the command and receives a datagram that is not empty.
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

/// Parses a datagram as a reply to `command`.
fn parse_reply(datagram: &[u8], command: Command) -> Result<Reply, Error> {
    match Reply::parse(datagram) {
        Some(reply) if command.is_answered_by(reply) => Ok(reply),
        Some(reply) => Err(Error::Unexpected(reply)),
        None => Err(Error::UnknownReply(datagram.to_vec())),
    }
}
