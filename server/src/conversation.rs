//! A conversation with one client, over any stream.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Progress, RequestCounts, Session, Status};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::connection_log::ConnectionLog;
use crate::{Counter, Counters, Options};

/// The length of the input buffer and of the output buffer, in bytes.
const BUFFER_LENGTH: usize = 32_768;

/// Extra time per byte on top of the line timeout: a minimum rate of 500 bytes a second.
const LINE_BYTE_TIME: Duration = Duration::from_millis(2);

/// Extra time per byte on top of the write timeout: a minimum rate of 2,000 bytes a second. The client's
/// kernel hides slow reading until most of its receive buffer is read, by default 128 KiB on Linux.
const READ_BYTE_US: u32 = 500;
const READ_TIME_MAX_US: u32 = 66_000_000;

/// How long a half-closed connection waits for the client to close its side, too.
const LINGER: Duration = Duration::from_secs(1);

/// How long a shutdown or a deadline waits for input that the kernel has received, but the I/O driver has
/// not reported yet.
pub(crate) const QUIET_PERIOD: Duration = Duration::from_millis(10);

/// The state shared by the connections of one worker. A connection uses the buffers only within one poll, so
/// an idle connection owns none.
pub struct WorkerContext {
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    pub(crate) stop: CancellationToken,
    /// The input buffer and the output buffer.
    buffers: RefCell<[Vec<u8>; 2]>,
}

impl WorkerContext {
    /// Returns the context of a worker that counts in `counters` and drains once `stop` is cancelled.
    pub fn new(options: Options, counters: Counters, stop: CancellationToken) -> WorkerContext {
        WorkerContext {
            options,
            counters,
            stop,
            buffers: RefCell::new([vec![0; BUFFER_LENGTH], vec![0; BUFFER_LENGTH]]),
        }
    }
}

impl fmt::Debug for WorkerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("options", &self.options)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// Runs one conversation, then half-closes the stream and waits for the client's EOF.
///
/// On shutdown, it sends the replies to the requests that have arrived, then closes.
///
/// # Errors
///
/// If the client exceeds a timeout, which disconnects it without a reply, or if the stream fails.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
    context: Rc<WorkerContext>,
) -> Result<(), ConversationError> {
    let mut conversation = Conversation::new(stream, session, Box::default(), context);
    conversation.run().await
}

/// Why a conversation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// No byte was read or written within the idle timeout.
    #[error("closed at the idle timeout: no byte read or written")]
    Idle,
    /// A line did not end within the line timeout (slow writer, slowloris).
    #[error("closed at the line timeout: incomplete line (slow writer)")]
    SlowLine,
    /// The client did not read replies within the write timeout (slow reader).
    #[error("closed at the write timeout: unsent replies (slow reader)")]
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

/// The state of a conversation. There is one per connection, so it is kept small.
pub(crate) struct Conversation<S> {
    pub(crate) context: Rc<WorkerContext>,
    stream: S,
    session: Session,
    /// What the session needs next.
    status: Status,
    /// Whether the client has half-closed (EOF).
    is_at_eof: bool,
    /// On shutdown: the time until the I/O driver has reported all input that arrived before.
    quiet_period: Option<Pin<Box<Sleep>>>,
    /// Whether the quiet period is over, and the conversation ends once no input is left.
    is_draining: bool,
    /// Whether the deadline has passed, and the quiet period after it runs.
    is_overdue: bool,
    /// Present only under backpressure.
    blocked: Option<Box<Blocked>>,
    /// When bytes were last read or written.
    last_activity: Instant,
    /// How long from then a client at the minimum rate needs to read the bytes written.
    read_time_us: u32,
    /// When the current partial line must have ended.
    line_deadline: Option<Instant>,
    pub(crate) log: Option<Box<ConnectionLog>>,
}

/// Bytes held back until the client reads.
#[derive(Default)]
struct Blocked {
    /// Replies not yet accepted by the stream.
    unsent: Box<[u8]>,
    /// Input not yet read by the session.
    unread: Box<[u8]>,
}

impl Blocked {
    fn new(unsent: Box<[u8]>, unread: Box<[u8]>) -> Option<Box<Blocked>> {
        let is_empty = unsent.is_empty() && unread.is_empty();
        (!is_empty).then(|| Box::new(Blocked { unsent, unread }))
    }
}

/// What to do after one step of a conversation.
enum Step {
    /// Take the next step.
    Continue,
    /// Take the next step after yielding to other connections.
    Yield,
    /// Close: there are no more replies.
    Close,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    /// Returns a conversation whose input begins with `unread`.
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
            is_at_eof: false,
            quiet_period: None,
            is_draining: false,
            is_overdue: false,
            blocked: Blocked::new(Box::default(), unread),
            last_activity: Instant::now(),
            read_time_us: 0,
            line_deadline: None,
            log: None,
        }
    }

    /// Runs the conversation, then closes the stream.
    ///
    /// This future is most of the memory of an idle connection, so it is kept small: all deadlines share
    /// one timer, and state that few connections need at a time is boxed.
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` stores its arguments twice"
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
                // The client has not closed its side, although all replies are sent.
                Err(_) => Ok(()),
            }
        }
    }

    /// Replies until the session ends or, on shutdown, until no input is left.
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
            if self.quiet_period.is_none() && stop.as_mut().poll(cx).is_ready() {
                self.quiet_period = Some(Box::pin(sleep(QUIET_PERIOD)));
            }
            if let Some(quiet_period) = &mut self.quiet_period
                && !self.is_draining
                && quiet_period.as_mut().poll(cx).is_ready()
            {
                self.is_draining = true;
                continue;
            }
            // Most deadlines move with every byte, so a later one resets the timer only once it has expired.
            let (deadline, error) = self.deadline();
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
                return Poll::Ready(Err(error));
            } else {
                self.is_overdue = true;
                timer.as_mut().reset(now + QUIET_PERIOD);
            }
        }
    }

    /// Returns the earliest deadline, and the error if it passes.
    fn deadline(&self) -> (Instant, ConversationError) {
        let options = &self.context.options;
        let idle = (
            self.last_activity + options.idle_timeout,
            ConversationError::Idle,
        );
        let slow = match self.line_deadline {
            _ if self.blocked.is_some() => {
                let read_time = Duration::from_micros(self.read_time_us.into());
                let deadline = self.last_activity + read_time + options.write_timeout;
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

    /// Writes unsent bytes; without any, reads once and replies.
    ///
    /// It does not read while a reply is unsent: that is the backpressure.
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
                // No input has arrived. With an exhausted budget, any read is pending.
                Poll::Pending if self.is_draining && coop::has_budget_remaining() => {
                    return Poll::Ready(Ok(Step::Close));
                }
                read => ready!(read)?,
            },
            Status::Closed => return Poll::Ready(Ok(Step::Close)),
        };
        let now = context.options.clock.now();
        let progress = match self.is_at_eof {
            true => self.session.finish(output, now),
            false => self.session.advance(bytes, output, now),
        };
        self.record_progress(progress);
        let written = &output[..progress.written];
        let rest = bytes[progress.read..].into();
        let write = self.poll_write(cx, written, rest)?;
        // After a read that fills the buffer, there is probably more.
        let has_more = progress.status == Status::OutputFull || bytes.len() == BUFFER_LENGTH;
        Poll::Ready(Ok(match has_more && write.is_ready() {
            true => Step::Yield,
            false => Step::Continue,
        }))
    }

    /// Updates the status, the counters and the line deadline.
    fn record_progress(&mut self, progress: Progress) {
        self.status = progress.status;
        self.context.counters.add_requests(&progress.requests);
        if let Some(log) = &mut self.log {
            log.add_requests(&progress.requests);
        }
        let is_same_line = progress.requests == RequestCounts::default();
        self.line_deadline = match self.line_deadline {
            _ if !self.session.has_partial_line() => None,
            Some(deadline) if is_same_line => Some(deadline),
            _ => Some(self.last_activity + self.context.options.line_timeout),
        };
        if let Some(deadline) = &mut self.line_deadline {
            *deadline += LINE_BYTE_TIME * u32::try_from(progress.read).unwrap_or(u32::MAX);
        }
    }

    /// Reads once. Returns no bytes at EOF.
    fn poll_read<'b>(
        &mut self,
        cx: &mut Context<'_>,
        block: &'b mut [u8],
    ) -> Poll<io::Result<&'b [u8]>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let mut buffer = ReadBuf::new(block);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        self.is_at_eof = length == 0;
        self.context
            .counters
            .add(Counter::ByteReceived, length as u64);
        if let Some(log) = &mut self.log {
            log.add_received(length);
        }
        self.record_activity(0);
        Poll::Ready(Ok(&block[..length]))
    }

    /// Writes once. Holds back the unsent bytes, and `unread` with them.
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
            if let Some(log) = &mut self.log {
                log.add_sent(written);
            }
            self.record_activity(written);
            unsent = &bytes[written..];
        }
        self.blocked = Blocked::new(unsent.into(), unread);
        poll.map(|_| Ok(Step::Continue))
    }

    /// Records that bytes were read or written, and how many were `written`.
    fn record_activity(&mut self, written: usize) {
        let now = Instant::now();
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        let read_time = u32::try_from(written)
            .unwrap_or(u32::MAX)
            .saturating_mul(READ_BYTE_US);
        self.read_time_us = self
            .read_time_us
            .saturating_sub(micros(now - self.last_activity))
            .saturating_add(read_time)
            .min(READ_TIME_MAX_US);
        self.last_activity = now;
    }

    /// Half-closes the stream, then reads until EOF.
    ///
    /// Dropping a socket with unread bytes sends a reset, which discards replies that the client has not
    /// read.
    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        while !self.is_at_eof {
            let length = poll_fn(|cx| {
                let [input, _] = &mut *self.context.buffers.borrow_mut();
                let mut buffer = ReadBuf::new(input);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(io::Result::Ok(buffer.filled().len()))
            });
            self.is_at_eof = length.await? == 0;
            yield_now().await;
        }
        Ok(())
    }
}
