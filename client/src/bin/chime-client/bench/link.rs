//! The transports: TCP connections and UDP sockets.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;

use mio::event::Source;

use super::flags::Plan;
use super::totals::LinkError;
use crate::server_address::Transport;

pub(crate) use tcp::TcpLink;
pub(crate) use udp::UdpLink;

/// The most bytes of requests in one write, if that is at least one request.
const BLOCK_SIZE: usize = 1 << 16;

/// A TCP connection or a UDP socket. No method blocks.
pub(crate) trait Link: Sized {
    /// Whether the transport may lose requests and replies.
    const MAY_LOSE: bool;

    /// Starts connecting.
    fn open(target: &Target) -> io::Result<Self>;

    /// Returns the event source to register; edge-triggered events suffice.
    fn source(&mut self) -> &mut impl Source;

    /// Whether requests can be sent.
    fn is_ready(&self) -> bool;

    /// Reads after an event, using `buffer` as scratch space.
    ///
    /// With `until_end` it reads until EOF.
    fn receive(&mut self, until_end: bool, buffer: &mut [u8], target: &Target) -> Received;

    /// Adds `requests` to the requests to send.
    fn queue(&mut self, requests: u64, target: &Target);

    /// Writes queued requests until the socket would block, if it is ready, and returns the bytes written.
    fn flush(&mut self, target: &Target) -> io::Result<u64>;
}

/// The result of [`Link::receive`].
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Completed replies, at most the number of requests in flight.
    pub(crate) replies: u64,
    pub(crate) bytes: u64,
    /// Whether unread bytes may remain that cause no new event.
    pub(crate) has_more: bool,
    /// Why no more will arrive.
    pub(crate) end: Option<LinkError>,
}

/// The server address, and the bytes of requests.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Whole requests, concatenated.
    block: Vec<u8>,
    request_length: usize,
    greeting_lines: u64,
    reply_lines: u64,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, transport: Transport, plan: &Plan) -> Target {
        let mut request = plan.request.clone().into_bytes();
        if transport == Transport::Tcp {
            request.push(b'\n');
        }
        let request_length = request.len();
        let requests = match transport {
            Transport::Tcp => (BLOCK_SIZE / request_length).max(1),
            Transport::Udp => 1,
        };
        Target {
            address,
            block: request.repeat(requests),
            request_length,
            greeting_lines: plan.greeting_lines,
            reply_lines: plan.reply_lines,
        }
    }
}
