//! A conversation in which requests are sent as they come, ahead of their replies.

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

/// The most bytes taken from the input at once: what a pipe of Linux holds.
pub(crate) const BLOCK_BYTES: usize = 65_536;

/// A conversation in which requests are sent as they come, ahead of their replies.
///
/// It is driven by [`Pipe::next`] alone: replies are taken while requests are sent, so neither side
/// waits for the other for ever. Lines of any length pass through, since a request is counted and not
/// kept; for the same reason a reply is only checked to be due, not to be of the kind asked for.
///
/// The input ends where it ends or after a request to quit; then the client stops sending, and the
/// conversation ends when the server has closed. After an error it is of no more use.
#[derive(Debug)]
pub struct Pipe<S, R> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    incoming: Incoming,
    outgoing: Outgoing<R>,
    timeout: Duration,
    /// Start of the timeout: the server owes the oldest reply, room for a line, or the close since then.
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

    /// Sends what there is to send until a reply has come, and returns it; `None` when every request
    /// has been answered and the server has closed.
    ///
    /// Each whole reply has a deadline: the timeout after its request was sent, or after the reply
    /// before it, whichever is later. Nothing else puts it off, neither bytes of the reply nor further
    /// input. With no reply due, the timeout bounds each stall while a line is sent, and the wait for
    /// the close. It waits without limit for an input that has nothing to give. Nothing is lost when
    /// the future is dropped, and a deadline does not begin anew.
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

    /// Returns the deadline of what the server owes; none if it owes nothing.
    fn deadline(&self) -> Option<Instant> {
        match self.outgoing.is_server_awaited() {
            // A timeout beyond the range of the clock never elapses.
            true => self.owed_since.checked_add(self.timeout),
            false => None,
        }
    }
}

/// Waits until the deadline; never returns without one.
async fn elapse(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

/// The requests on their way from the input to the server.
#[derive(Debug)]
struct Outgoing<R> {
    input: R,
    block: Box<[u8]>,
    /// The part of the block that has not been sent.
    unsent: Range<usize>,
    requests: RequestDecoder,
    due: Due,
    /// Whether nothing more will be taken from the input.
    is_ended: bool,
    /// Whether the server knows.
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

    /// Does the one next thing: sends, takes more from the input, or stops sending.
    ///
    /// Nothing is lost when the future is dropped.
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

    /// Takes the first `length` bytes of the block to be sent, but none that follow a request to quit:
    /// no one would read them, and a server that closes on unread bytes takes its last replies back.
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

    /// Counts the next `length` bytes of the block as sent: a reply is due for each line end in them.
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

    /// Ends with the input, whose last line may have no line end.
    fn end(&mut self) {
        self.is_ended = true;
        match self.requests.finish() {
            Some(request) if request.is_quit() => self.due.farewell = true,
            Some(_) => self.due.replies += 1,
            None => {}
        }
    }

    /// Whether it is for the server to do something: to take bytes, to answer, or to close.
    fn is_server_awaited(&self) -> bool {
        !self.unsent.is_empty() || self.due.replies > 0 || self.is_ended
    }

    /// What it means that the server has closed.
    fn closed(&self) -> Result<Option<Reply>, Error> {
        match self.is_ended && self.unsent.is_empty() && self.due.replies == 0 {
            true => Ok(None),
            false => Err(Error::Closed),
        }
    }
}

/// What the server has yet to say.
#[derive(Debug, Default)]
struct Due {
    /// To the requests that have been sent whole.
    replies: u64,
    /// After the replies, from some services.
    farewell: bool,
}

impl Due {
    /// Counts a reply that has come, if it may come now.
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
