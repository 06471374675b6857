//! What carries requests to the server and replies back.

mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;

use mio::event::Source;

use super::flags::Plan;
use super::totals::LinkError;

pub(crate) use tcp::TcpLink;
pub(crate) use udp::UdpLink;

/// As many requests as fit this are written at once, and no less than one.
const BLOCK_SIZE: usize = 1 << 16;

/// One connection, or one socket for datagrams. None of its methods waits.
pub(crate) trait Link: Sized {
    /// Whether requests and replies may get lost.
    const MAY_LOSE: bool;

    /// Starts to open it.
    fn open(target: &Target) -> io::Result<Self>;

    /// What tells when there is something to do; edges are enough.
    fn source(&mut self) -> &mut impl Source;

    /// Whether requests can be sent.
    fn is_ready(&self) -> bool;

    /// Reads what has come, after an event, through a buffer whose content does not matter.
    ///
    /// With `until_end` it reads on to where the server has closed.
    fn receive(&mut self, until_end: bool, buffer: &mut [u8], target: &Target) -> Received;

    /// Adds so many requests to those to send.
    fn queue(&mut self, requests: u64, target: &Target);

    /// Sends as much as there is room for, if it is ready, and returns how many bytes that was.
    fn flush(&mut self, target: &Target) -> io::Result<u64>;
}

/// What has come.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Replies that have become complete, no more than there are requests on their way.
    pub(crate) replies: u64,
    pub(crate) bytes: u64,
    /// Whether there is more, for which there will be no event.
    pub(crate) has_more: bool,
    /// Why no more will come.
    pub(crate) end: Option<LinkError>,
}

/// Where requests go, and what they look like there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Whole requests one after the other, as they are written.
    block: Vec<u8>,
    request_length: usize,
    greeting_lines: u64,
    reply_lines: u64,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, plan: &Plan) -> Target {
        let mut request = plan.request.clone().into_bytes();
        if !plan.is_udp {
            request.push(b'\n');
        }
        let request_length = request.len();
        let requests = match plan.is_udp {
            true => 1,
            false => (BLOCK_SIZE / request_length).max(1),
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
