//! A connection with pipelined requests.

use std::future;
use std::io;
use std::ops::Range;
use std::time::Duration;

use chime_protocol::{Reply, RequestDecoder};
use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{self, Instant};

use crate::error::Error;
use crate::incoming::Incoming;

/// The most bytes of one read of the input: the capacity of a pipe on Linux.
pub(crate) const BLOCK_BYTES: usize = 65_536;

/// A connection with pipelined requests: they are sent ahead of their replies.
///
/// [`Pipe::next`] drives both directions. It receives replies while it sends requests, so client and server
/// cannot deadlock on full buffers. Requests are counted and not stored: lines of any length use constant memory,
/// and a reply is checked to be due, not to match its request.
///
/// After the EOF of the input, or a request to quit, the client half-closes, and the pipe ends when the server
/// closes. Drop it after an error.
#[derive(Debug)]
pub struct Pipe<S, R> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    incoming: Incoming,
    outgoing: Outgoing<R>,
    timeout: Duration,
    /// The start of the timeout: since then the oldest reply, progress of a write, or the close is due.
    owed_since: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: AsyncRead + Unpin> Pipe<S, R> {
    pub(crate) fn new(stream: S, incoming: Incoming, input: R, timeout: Duration) -> Pipe<S, R> {
        let (reader, writer) = tokio::io::split(stream);
        Pipe {
            reader,
            writer,
            incoming,
            outgoing: Outgoing::new(input),
            timeout,
            owed_since: Instant::now(),
        }
    }

    /// Sends requests until a reply arrives, and returns it; returns `None` once every request has its reply and
    /// the server has closed.
    ///
    /// The deadline of a whole reply is the timeout after its request was sent, or after the reply before it,
    /// whichever is later. Neither bytes of the reply nor further input extend it. While no reply is due, the
    /// timeout bounds each stalled write, and the wait for the close. Reading the input has no timeout.
    ///
    /// Cancel safe: nothing is lost when the future is dropped, and deadlines do not restart.
    pub async fn next(&mut self) -> Result<Option<Reply>, Error> {
        loop {
            if let Some(reply) = self.incoming.next()? {
                self.outgoing.due.settle(reply)?;
                self.owed_since = Instant::now();
                return Ok(Some(reply));
            }
            let is_reply_due = self.outgoing.due.replies > 0;
            let deadline = self.deadline();
            tokio::select! {
                biased;
                is_open = self.incoming.fill(&mut self.reader) => {
                    if !is_open? {
                        return self.outgoing.closed();
                    }
                }
                step = self.outgoing.step(&mut self.writer), if !self.outgoing.is_shut => {
                    step?;
                    if !is_reply_due {
                        self.owed_since = Instant::now();
                    }
                }
                () = elapse(deadline) => return Err(self.incoming.timed_out(self.timeout)),
            }
        }
    }

    /// Returns the deadline of the next action of the server; none if none is due.
    fn deadline(&self) -> Option<Instant> {
        match self.outgoing.is_server_awaited() {
            // A deadline beyond the range of the clock never elapses.
            true => self.owed_since.checked_add(self.timeout),
            false => None,
        }
    }
}

/// Waits until the deadline, or forever without one.
async fn elapse(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// The sending side of a pipe: reads requests from the input and writes them to the server.
#[derive(Debug)]
struct Outgoing<R> {
    input: R,
    block: Box<[u8]>,
    /// The unsent part of the block.
    unsent: Range<usize>,
    requests: RequestDecoder,
    due: Due,
    /// Whether nothing more will be read from the input.
    is_ended: bool,
    /// Whether the client has half-closed.
    is_shut: bool,
}

impl<R: AsyncRead + Unpin> Outgoing<R> {
    fn new(input: R) -> Outgoing<R> {
        Outgoing {
            input,
            block: vec![0; BLOCK_BYTES].into(),
            unsent: 0..0,
            requests: RequestDecoder::new(),
            due: Due::default(),
            is_ended: false,
            is_shut: false,
        }
    }

    /// Takes one step: writes to the server, reads the input, or half-closes.
    ///
    /// Cancel safe: nothing is lost when the future is dropped.
    async fn step(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Error> {
        if !self.unsent.is_empty() {
            match writer.write(&self.block[self.unsent.clone()]).await? {
                0 => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
                length => self.count_sent(length),
            }
            return Ok(());
        }
        writer.flush().await?;
        if self.is_ended {
            writer.shutdown().await?;
            self.is_shut = true;
            return Ok(());
        }
        let read = self.input.read(&mut self.block).await;
        match read.map_err(Error::Input)? {
            0 => self.end(),
            length => self.take(length),
        }
        Ok(())
    }

    /// Queues the first `length` bytes of the block, except those after a request to quit: the server would
    /// not read them, and closing with unread bytes resets the connection and discards its last replies.
    fn take(&mut self, length: usize) {
        let mut rest = &self.block[..length];
        while let Some(request) = self.requests.next(&mut rest) {
            if request.is_quit() {
                self.is_ended = true;
                break;
            }
        }
        self.unsent = 0..length - rest.len();
    }

    /// Counts the next `length` bytes of the block as sent: a reply is due for each newline in them.
    fn count_sent(&mut self, length: usize) {
        let sent = &self.block[self.unsent.start..][..length];
        self.due.replies += memchr_iter(b'\n', sent).count() as u64;
        self.unsent.start += length;
        if self.is_ended && self.unsent.is_empty() {
            // The last line is the request to quit.
            self.due.replies -= 1;
            self.due.farewell = true;
        }
    }

    /// Ends the input, whose last line may have no newline.
    fn end(&mut self) {
        self.is_ended = true;
        match self.requests.finish() {
            Some(request) if request.is_quit() => self.due.farewell = true,
            Some(_) => self.due.replies += 1,
            None => {}
        }
    }

    /// Whether an action of the server is due: to read, to reply, or to close.
    fn is_server_awaited(&self) -> bool {
        !self.unsent.is_empty() || self.due.replies > 0 || self.is_ended
    }

    /// Returns the result of the close by the server: an error if anything is due.
    fn closed(&self) -> Result<Option<Reply>, Error> {
        match self.is_ended && self.unsent.is_empty() && self.due.replies == 0 {
            true => Ok(None),
            false => Err(Error::Closed),
        }
    }
}

/// The replies that are due.
#[derive(Debug, Default)]
struct Due {
    /// The number of replies to complete requests.
    replies: u64,
    /// Whether a farewell may follow the replies. Not all services send one.
    farewell: bool,
}

impl Due {
    /// Counts a received reply, or returns an error if it is not due.
    fn settle(&mut self, reply: Reply) -> Result<(), Error> {
        match reply {
            Reply::Farewell if self.farewell && self.replies == 0 => self.farewell = false,
            Reply::Farewell | Reply::Welcome | Reply::Full => return Err(Error::Unexpected(reply)),
            _ if self.replies == 0 => return Err(Error::Unexpected(reply)),
            _ => self.replies -= 1,
        }
        Ok(())
    }
}
