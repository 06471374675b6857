//! One conversation with one client, over any stream.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Progress, RequestCounts, Session, Status};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Counters, Event, Options};

/// Bytes read at a time, and bytes of replies written at a time.
const BLOCK: usize = 16_384;

/// Extra time per byte on top of the line timeout: a minimum rate of 500 bytes a second.
const LINE_BYTE_TIME: Duration = Duration::from_millis(2);

/// Extra time per byte on top of the write timeout: a minimum rate of 2,000 bytes a second.
///
/// The receive buffer of the client's kernel hides slow reading: it opens its window again only once
/// most of the buffer is read, by default 128 KiB on Linux, so more bytes than that grant no time.
const READ_BYTE_TIME: Duration = Duration::from_micros(500);
const READ_TIME_MAX: Duration = Duration::from_secs(66);

/// How long a closed connection waits for the client to close its side, too.
const LINGER: Duration = Duration::from_secs(1);

/// How long a stop or a deadline waits for input that the kernel has received already, but that the
/// I/O driver has not reported yet.
pub(crate) const QUIET: Duration = Duration::from_millis(10);

/// What all conversations of a worker share: limits, counters, and the buffers.
///
/// A conversation uses the buffers within one poll, so an idle one owns none.
#[derive(Debug)]
pub struct Worker {
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    buffers: RefCell<Buffers>,
}

#[derive(Debug)]
struct Buffers {
    input: [u8; BLOCK],
    output: [u8; BLOCK],
}

impl Worker {
    /// A worker with these limits, which counts here.
    pub fn new(options: Options, counters: Arc<Counters>) -> Worker {
        Worker {
            options,
            counters,
            buffers: RefCell::new(Buffers {
                input: [0; BLOCK],
                output: [0; BLOCK],
            }),
        }
    }
}

/// Holds one conversation, until it ends or `stop` is cancelled, and closes the stream.
///
/// After `stop`, replies to the requests that it has received, then closes. A client that exceeds a
/// deadline is disconnected without a reply.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
    worker: &Worker,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    Conversation::new(stream, session, Box::default(), worker)
        .run(stop)
        .await
}

/// Waits for a stop, and until the I/O driver has reported all input that arrived before it.
pub(crate) async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    // Boxed, since a connection spends its life in the line above and should be small.
    Box::pin(sleep(QUIET)).await;
}

/// Why a conversation did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// No byte moved for the idle timeout.
    Idle,
    /// A line did not end in its time.
    SlowLine,
    /// The client read replies too slowly.
    SlowReader,
    /// The stream failed.
    Stream(io::Error),
}

impl Failure {
    pub(crate) fn event(&self) -> Event {
        match self {
            Failure::Idle => Event::ConversationIdle,
            Failure::SlowLine => Event::LineTooSlow,
            Failure::SlowReader => Event::ReaderTooSlow,
            Failure::Stream(_) => Event::ConversationFailed,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Stream(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Idle => f.write_str("closed: no byte moved for the idle timeout"),
            Failure::SlowLine => f.write_str("closed: a line did not end within the line timeout"),
            Failure::SlowReader => f.write_str("closed: no reply was read for the write timeout"),
            Failure::Stream(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The state of a conversation, of which a server holds one for each client: it is small.
pub(crate) struct Conversation<'a, S> {
    stream: S,
    session: Session,
    worker: &'a Worker,
    /// What the session needs next.
    status: Status,
    /// Whether the client has half-closed.
    has_ended: bool,
    /// Input that the session has not read: only while the client is slow to read replies.
    unread: Box<[u8]>,
    /// Replies that the stream has not taken.
    unsent: Box<[u8]>,
    last_moved: Instant,
    /// When the line that has begun must have ended.
    line_deadline: Option<Instant>,
    /// When a client at the minimum rate has read all that was written.
    read_until: Instant,
}

/// What one step of a conversation leads to.
enum Step {
    /// Nothing, until the stream is ready.
    Wait,
    /// There is more to do, once other connections have had their turn.
    Yield,
    /// No more replies are due.
    Close,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Conversation<'a, S> {
    /// Starts a conversation in which `unread` has been read already.
    pub(crate) fn new(
        stream: S,
        session: Session,
        unread: Box<[u8]>,
        worker: &'a Worker,
    ) -> Conversation<'a, S> {
        let read = unread.len() as u64;
        worker.counters.add(Event::ByteReceived, read);
        let now = Instant::now();
        Conversation {
            stream,
            session,
            worker,
            status: Status::OutputFull,
            has_ended: false,
            unread,
            unsent: Box::default(),
            last_moved: now,
            line_deadline: None,
            read_until: now,
        }
    }

    /// Holds the conversation, then closes the stream.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> Result<(), Failure> {
        self.reply(stop).await?;
        match Box::pin(timeout(LINGER, self.close())).await {
            Ok(closed) => Ok(closed?),
            // The client has the replies, and keeps its side open.
            Err(_) => Ok(()),
        }
    }

    /// Replies until the session ends or, after a stop, until no more input has arrived.
    ///
    /// One timer serves all deadlines. Most of them move with every byte, and to set a timer each time
    /// would cost more: this one is set again when it expires early.
    async fn reply(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut stopped = pin!(stopped(stop));
        let mut is_draining = false;
        let mut timer = pin!(sleep_until(self.deadline().0));
        let mut is_overdue = false;
        loop {
            let (deadline, failure) = self.deadline();
            if deadline > timer.deadline() {
                is_overdue = false;
            } else if !is_overdue && deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            let step = tokio::select! {
                biased;
                step = poll_fn(|cx| self.poll_step(cx, is_draining)) => step?,
                () = &mut stopped, if !is_draining => {
                    is_draining = true;
                    continue;
                }
                () = &mut timer => {
                    let now = Instant::now();
                    match deadline > now {
                        true => timer.as_mut().reset(deadline),
                        false if is_overdue => return Err(failure),
                        false => {
                            is_overdue = true;
                            timer.as_mut().reset(now + QUIET);
                        }
                    }
                    continue;
                }
            };
            match step {
                Step::Wait => {}
                Step::Yield => yield_now().await,
                Step::Close => return Ok(()),
            }
        }
    }

    /// Returns how long the conversation may go on if nothing happens, and the failure that it is then.
    fn deadline(&self) -> (Instant, Failure) {
        let options = &self.worker.options;
        let idle = (self.last_moved + options.idle_timeout, Failure::Idle);
        let slow = match self.line_deadline {
            _ if !self.unsent.is_empty() => {
                let deadline = self.read_until.max(self.last_moved) + options.write_timeout;
                Some((deadline, Failure::SlowReader))
            }
            Some(deadline) => Some((deadline, Failure::SlowLine)),
            None => None,
        };
        match slow {
            Some(slow) if slow.0 < idle.0 => slow,
            _ => idle,
        }
    }

    /// Writes what is unsent or, if nothing is, reads once and replies to that.
    ///
    /// Nothing is read while a reply is unsent: that is the backpressure.
    fn poll_step(&mut self, cx: &mut Context<'_>, is_draining: bool) -> Poll<io::Result<Step>> {
        let Buffers { input, output } = &mut *self.worker.buffers.borrow_mut();
        if !self.unsent.is_empty() {
            let unsent = mem::take(&mut self.unsent);
            return self.poll_write(cx, &unsent).map_ok(|()| Step::Wait);
        }
        let kept = mem::take(&mut self.unread);
        let bytes = match self.status {
            Status::OutputFull => &kept,
            Status::NeedInput => match self.poll_read(cx, input) {
                // Nothing has arrived. With an exhausted budget, a read is pending in any case.
                Poll::Pending if is_draining && coop::has_budget_remaining() => {
                    return Poll::Ready(Ok(Step::Close));
                }
                read => ready!(read)?,
            },
            Status::Closed => return Poll::Ready(Ok(Step::Close)),
        };
        let now = (self.worker.options.clock)();
        let progress = match self.has_ended {
            true => self.session.finish(output, now),
            false => self.session.advance(bytes, output, now),
        };
        self.account(progress);
        self.unread = bytes[progress.read..].into();
        if progress.written > 0
            && self
                .poll_write(cx, &output[..progress.written])?
                .is_pending()
        {
            return Poll::Ready(Ok(Step::Wait));
        }
        // A read that fills the buffer leaves more to read.
        let has_more = progress.status == Status::OutputFull || bytes.len() == BLOCK;
        Poll::Ready(Ok(if has_more { Step::Yield } else { Step::Wait }))
    }

    /// Records what the session has done.
    fn account(&mut self, progress: Progress) {
        self.status = progress.status;
        self.worker.counters.add_requests(&progress.requests);
        let is_same_line = progress.requests == RequestCounts::default();
        self.line_deadline = match self.line_deadline {
            _ if !self.session.has_partial_line() => None,
            Some(deadline) if is_same_line => Some(deadline),
            _ => Some(self.last_moved + self.worker.options.line_timeout),
        };
        if let Some(deadline) = &mut self.line_deadline {
            *deadline += LINE_BYTE_TIME * u32::try_from(progress.read).unwrap_or(u32::MAX);
        }
    }

    /// Reads once; returns nothing when the client has half-closed.
    fn poll_read<'b>(
        &mut self,
        cx: &mut Context<'_>,
        block: &'b mut [u8],
    ) -> Poll<io::Result<&'b [u8]>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let mut buffer = ReadBuf::new(block);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        self.has_ended = length == 0;
        self.worker.counters.add(Event::ByteReceived, length as u64);
        self.last_moved = Instant::now();
        Poll::Ready(Ok(&block[..length]))
    }

    /// Writes once, and keeps the rest as unsent.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes)?;
        let written = match poll {
            Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(written) => written,
            Poll::Pending => 0,
        };
        self.unsent = bytes[written..].into();
        if poll.is_ready() {
            let now = Instant::now();
            let read_time = READ_BYTE_TIME * u32::try_from(written).unwrap_or(u32::MAX);
            self.read_until = (self.read_until.max(now) + read_time).min(now + READ_TIME_MAX);
            self.last_moved = now;
            self.worker.counters.add(Event::ByteSent, written as u64);
        }
        poll.map(|_| Ok(()))
    }

    /// Half-closes the stream, then reads to its end.
    ///
    /// Dropping a socket with unread bytes resets it, and a reset overtakes replies that the client has
    /// not read.
    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        while !self.has_ended {
            let length = poll_fn(|cx| {
                let Buffers { input, .. } = &mut *self.worker.buffers.borrow_mut();
                let mut buffer = ReadBuf::new(input);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            });
            self.has_ended = length.await? == 0;
            yield_now().await;
        }
        Ok(())
    }
}
