//! One conversation with one client, over any stream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Progress, RequestCounts, Session, Status};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Counter, Counters, Options};

/// Bytes read at a time, and bytes of replies written at a time.
const BLOCK: usize = 32_768;

/// Extra time per byte on top of the line timeout: a minimum rate of 500 bytes a second.
const LINE_BYTE_TIME: Duration = Duration::from_millis(2);

/// Extra time per byte on top of the write timeout: a minimum rate of 2,000 bytes a second. The client's
/// kernel hides slow reading until most of its receive buffer is read, by default 128 KiB on Linux.
const READ_BYTE_US: u32 = 500;
const READ_TIME_MAX_US: u32 = 66_000_000;

/// How long a closed connection waits for the client to close its side, too.
const LINGER: Duration = Duration::from_secs(1);

/// How long a stop or a deadline waits for input that the kernel has received already, but that the
/// I/O driver has not reported yet.
pub(crate) const QUIET: Duration = Duration::from_millis(10);

/// What the conversations of a worker share. Each uses the buffers within one poll, so an idle one has none.
#[derive(Debug)]
pub struct WorkerContext {
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
    /// For input, and for output.
    buffers: RefCell<[[u8; BLOCK]; 2]>,
}

impl WorkerContext {
    /// A worker with these limits, which counts in `counters` and drains once `stop` is cancelled.
    pub fn new(
        options: Options,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> WorkerContext {
        WorkerContext {
            options,
            counters,
            stop,
            buffers: RefCell::new([[0; BLOCK]; 2]),
        }
    }
}

/// Holds one conversation, and closes the stream.
///
/// Once the worker is stopped, replies to the requests that have arrived, then closes. A client that
/// exceeds a deadline is disconnected without a reply.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
    context: Rc<WorkerContext>,
) -> Result<(), ConversationError> {
    let mut conversation = Conversation::new(stream, session, Box::default(), context);
    conversation.run().await
}

/// Why a conversation did not come to its end.
#[derive(Debug, Error)]
pub enum ConversationError {
    /// No byte moved for the idle timeout.
    #[error("closed: no byte moved for the idle timeout")]
    Idle,
    /// A line did not end in its time.
    #[error("closed: a line did not end within the line timeout")]
    SlowLine,
    /// The client read replies too slowly.
    #[error("closed: no reply was read for the write timeout")]
    SlowReader,
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] io::Error),
}

impl ConversationError {
    pub(crate) fn counter(&self) -> Counter {
        match self {
            ConversationError::Idle => Counter::ConversationIdle,
            ConversationError::SlowLine => Counter::LineTooSlow,
            ConversationError::SlowReader => Counter::ReaderTooSlow,
            ConversationError::Stream(_) => Counter::ConversationFailed,
        }
    }
}

/// The state of a conversation, of which a server holds one for each client: it is small.
pub(crate) struct Conversation<S> {
    pub(crate) context: Rc<WorkerContext>,
    stream: S,
    session: Session,
    /// What the session needs next.
    status: Status,
    /// Whether the client has half-closed.
    has_ended: bool,
    /// After a stop: the time until the I/O driver has reported all input that arrived before it.
    quiet: Option<Pin<Box<Sleep>>>,
    /// Whether that is over, and the conversation ends once no more input has arrived.
    is_draining: bool,
    /// Whether the deadline has passed, and only the quiet period is left.
    is_overdue: bool,
    /// Only while the client is slow to read replies.
    blocked: Option<Box<Blocked>>,
    last_moved: Instant,
    /// How long a client at the minimum rate takes from then on to read what was written.
    read_time_us: u32,
    /// When the line that has begun must have ended.
    line_deadline: Option<Instant>,
}

/// What waits until the client reads.
#[derive(Default)]
struct Blocked {
    /// Replies that the stream has not taken.
    unsent: Box<[u8]>,
    /// Input that the session has not read.
    unread: Box<[u8]>,
}

impl Blocked {
    fn new(unsent: Box<[u8]>, unread: Box<[u8]>) -> Option<Box<Blocked>> {
        let is_empty = unsent.is_empty() && unread.is_empty();
        (!is_empty).then(|| Box::new(Blocked { unsent, unread }))
    }
}

/// What one step of a conversation leads to.
enum Step {
    /// There is more to do at once.
    Continue,
    /// There is more to do, once other connections have had their turn.
    Yield,
    /// No more replies are due.
    Close,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Starts a conversation in which `unread` has been read already.
    pub(crate) fn new(
        stream: S,
        session: Session,
        unread: Box<[u8]>,
        context: Rc<WorkerContext>,
    ) -> Conversation<S> {
        Conversation {
            context,
            stream,
            session,
            status: Status::OutputFull,
            has_ended: false,
            quiet: None,
            is_draining: false,
            is_overdue: false,
            blocked: Blocked::new(Box::default(), unread),
            last_moved: Instant::now(),
            read_time_us: 0,
            line_deadline: None,
        }
    }

    /// Holds the conversation, then closes the stream.
    ///
    /// An idle connection keeps this future and little else, so it is small: one timer serves all
    /// deadlines, and what few connections need at a time is boxed.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps its arguments twice"
    )]
    pub(crate) fn run(&mut self) -> impl Future<Output = Result<(), ConversationError>> {
        async {
            {
                let mut stop = pin!(self.context.stop.clone().cancelled_owned());
                let mut timer = pin!(sleep_until(self.deadline().0));
                let this = &mut *self;
                poll_fn(move |cx| this.poll_reply(cx, stop.as_mut(), timer.as_mut())).await?;
            }
            match Box::pin(timeout(LINGER, self.close())).await {
                Ok(closed) => Ok(closed?),
                // The client has the replies, and keeps its side open.
                Err(_) => Ok(()),
            }
        }
    }

    /// Replies until the session ends or, after a stop, until no more input has arrived.
    fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Result<(), ConversationError>> {
        loop {
            match self.poll_step(cx)? {
                Poll::Ready(Step::Continue) => continue,
                Poll::Ready(Step::Yield) => return pin!(yield_now()).poll(cx).map(Ok),
                Poll::Ready(Step::Close) => return Poll::Ready(Ok(())),
                Poll::Pending => {}
            }
            if self.quiet.is_none() && stop.as_mut().poll(cx).is_ready() {
                self.quiet = Some(Box::pin(sleep(QUIET)));
            }
            if let Some(quiet) = &mut self.quiet
                && !self.is_draining
                && quiet.as_mut().poll(cx).is_ready()
            {
                self.is_draining = true;
                continue;
            }
            // Most deadlines move with every byte. The timer is set again only when it expires early.
            let (deadline, failure) = self.deadline();
            if deadline > timer.deadline() {
                self.is_overdue = false;
            } else if !self.is_overdue && deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if deadline > now {
                timer.as_mut().reset(deadline);
            } else if self.is_overdue {
                return Poll::Ready(Err(failure));
            } else {
                self.is_overdue = true;
                timer.as_mut().reset(now + QUIET);
            }
        }
    }

    /// Returns how long the conversation may go on if nothing happens, and the failure that it is then.
    fn deadline(&self) -> (Instant, ConversationError) {
        let options = &self.context.options;
        let idle = (
            self.last_moved + options.idle_timeout,
            ConversationError::Idle,
        );
        let slow = match self.line_deadline {
            _ if self.blocked.is_some() => {
                let read_time = Duration::from_micros(self.read_time_us.into());
                let deadline = self.last_moved + read_time + options.write_timeout;
                Some((deadline, ConversationError::SlowReader))
            }
            Some(deadline) => Some((deadline, ConversationError::SlowLine)),
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
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let context = Rc::clone(&self.context);
        let [input, output] = &mut *context.buffers.borrow_mut();
        let Blocked { unsent, unread } = *self.blocked.take().unwrap_or_default();
        if !unsent.is_empty() {
            return self.poll_write(cx, &unsent, unread);
        }
        let bytes = match self.status {
            Status::OutputFull => &*unread,
            Status::NeedInput => match self.poll_read(cx, input) {
                // Nothing has arrived. With an exhausted budget, a read is pending in any case.
                Poll::Pending if self.is_draining && coop::has_budget_remaining() => {
                    return Poll::Ready(Ok(Step::Close));
                }
                read => ready!(read)?,
            },
            Status::Closed => return Poll::Ready(Ok(Step::Close)),
        };
        let now = (context.options.clock)();
        let progress = match self.has_ended {
            true => self.session.finish(output, now),
            false => self.session.advance(bytes, output, now),
        };
        self.account(progress);
        let written = &output[..progress.written];
        let rest = bytes[progress.read..].into();
        let write = self.poll_write(cx, written, rest)?;
        // A read that fills the buffer leaves more to read.
        let has_more = progress.status == Status::OutputFull || bytes.len() == BLOCK;
        Poll::Ready(Ok(match has_more && write.is_ready() {
            true => Step::Yield,
            false => Step::Continue,
        }))
    }

    /// Records what the session has done.
    fn account(&mut self, progress: Progress) {
        self.status = progress.status;
        self.context.counters.add_requests(&progress.requests);
        let is_same_line = progress.requests == RequestCounts::default();
        self.line_deadline = match self.line_deadline {
            _ if !self.session.has_partial_line() => None,
            Some(deadline) if is_same_line => Some(deadline),
            _ => Some(self.last_moved + self.context.options.line_timeout),
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
        self.context
            .counters
            .add(Counter::ByteReceived, length as u64);
        self.record_move(0);
        Poll::Ready(Ok(&block[..length]))
    }

    /// Writes once, and keeps what the stream does not take, and `unread` with it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        unread: Box<[u8]>,
    ) -> Poll<io::Result<Step>> {
        let mut poll = Poll::Ready(0);
        if !bytes.is_empty() {
            poll = Pin::new(&mut self.stream).poll_write(cx, bytes)?;
            if poll == Poll::Ready(0) {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        let mut unsent = bytes;
        if let Poll::Ready(written) = poll {
            self.context.counters.add(Counter::ByteSent, written as u64);
            self.record_move(written);
            unsent = &bytes[written..];
        }
        self.blocked = Blocked::new(unsent.into(), unread);
        poll.map(|_| Ok(Step::Continue))
    }

    /// Records that bytes have moved, `written` of them to the client.
    fn record_move(&mut self, written: usize) {
        let now = Instant::now();
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let read_time = u32::try_from(written)
            .unwrap_or(u32::MAX)
            .saturating_mul(READ_BYTE_US);
        self.read_time_us = self
            .read_time_us
            .saturating_sub(micros(now - self.last_moved))
            .saturating_add(read_time)
            .min(READ_TIME_MAX_US);
        self.last_moved = now;
    }

    /// Half-closes the stream, then reads to its end.
    ///
    /// Dropping a socket with unread bytes resets it, and a reset overtakes replies that the client has
    /// not read.
    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        while !self.has_ended {
            let length = poll_fn(|cx| {
                let [input, _] = &mut *self.context.buffers.borrow_mut();
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
