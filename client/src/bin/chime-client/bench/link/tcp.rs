//! A TCP connection: each request is a line, and replies are counted by their newlines.

use std::io::{self, Read, Write};

use memchr::memchr_iter;
use mio::event::Source;
use mio::net::TcpStream;

use super::{Link, Received, Target};
use crate::bench::totals::LinkError;

/// The most reads in a row before other connections are served.
const READS_MAX: usize = 16;

/// A TCP connection: each request is a line.
#[derive(Debug)]
pub(crate) struct TcpLink {
    stream: TcpStream,
    is_connected: bool,
    greeting_lines_due: u64,
    reply_lines_due: u64,
    /// Bytes of requests to write.
    bytes_left: u64,
    /// The offset within its request of the next byte to write.
    offset: usize,
}

impl Link for TcpLink {
    const MAY_LOSE: bool = false;

    fn open(target: &Target) -> io::Result<TcpLink> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        Ok(TcpLink {
            stream,
            is_connected: false,
            greeting_lines_due: target.greeting_lines,
            reply_lines_due: 0,
            bytes_left: 0,
            offset: 0,
        })
    }

    fn source(&mut self) -> &mut impl Source {
        &mut self.stream
    }

    fn is_ready(&self) -> bool {
        self.is_connected && self.greeting_lines_due == 0
    }

    fn receive(&mut self, until_end: bool, buffer: &mut [u8], target: &Target) -> Received {
        let mut received = Received::default();
        let mut lines = 0;
        for _ in 0..READS_MAX {
            match self.stream.read(buffer) {
                Ok(0) => {
                    received.end = Some(LinkError::Broken(chime_client::Error::Closed));
                    break;
                }
                Ok(length) => {
                    self.is_connected = true;
                    received.bytes += length as u64;
                    lines += memchr_iter(b'\n', &buffer[..length]).count() as u64;
                    // After a short read, new bytes cause a new event.
                    received.has_more = until_end || length == buffer.len();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    received.has_more = true
                }
                Err(error) if is_not_ready(&error) => received.has_more = false,
                Err(error) => received.end = Some(error.into()),
            }
            if !received.has_more || received.end.is_some() {
                break;
            }
        }
        // Without a greeting, a peer address shows that the connection is established.
        self.is_connected = self.is_connected || self.stream.peer_addr().is_ok();
        self.count(lines, target, &mut received);
        received
    }

    fn queue(&mut self, requests: u64, target: &Target) {
        self.reply_lines_due += requests * target.reply_lines;
        self.bytes_left += requests * target.request_length as u64;
    }

    fn flush(&mut self, target: &Target) -> io::Result<u64> {
        let mut written = 0;
        while self.bytes_left > 0 && self.is_ready() {
            let block = &target.block[self.offset..];
            let length = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
            match self.stream.write(&block[..block.len().min(length)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.bytes_left -= length as u64;
                    self.offset = (self.offset + length) % target.request_length;
                    written += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }
}

impl TcpLink {
    /// Counts lines towards the greeting first, then towards replies.
    fn count(&mut self, lines: u64, target: &Target, received: &mut Received) {
        let greeting_lines = self.greeting_lines_due.min(lines);
        self.greeting_lines_due -= greeting_lines;
        let lines = lines - greeting_lines;
        if lines > self.reply_lines_due {
            received.end = Some(LinkError::ExcessReplies);
        }
        let replies_due = self.reply_lines_due.div_ceil(target.reply_lines);
        self.reply_lines_due = self.reply_lines_due.saturating_sub(lines);
        received.replies = replies_due - self.reply_lines_due.div_ceil(target.reply_lines);
    }
}

/// Whether the connection is merely not established, or has nothing to read.
fn is_not_ready(error: &io::Error) -> bool {
    use io::ErrorKind::{NotConnected, WouldBlock};

    matches!(error.kind(), NotConnected | WouldBlock)
}
