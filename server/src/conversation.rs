//! One conversation with one client, over any stream.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Progress, RequestCounts, Session, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::{Counters, Event, Options};

/// Bytes read at a time, and bytes of replies written at a time.
const BLOCK: usize = 16_384;

/// Blocks read in a row before other conversations have their turn.
const BLOCKS_IN_A_ROW: usize = 2;

/// The time that a line has for each byte of it, beside the line timeout: a second for 500 of them.
const BYTE_TIME: Duration = Duration::from_millis(2);

/// How long a closed conversation waits for the client to close its side too.
const LINGER: Duration = Duration::from_secs(1);

/// What all conversations of a worker share: limits, counters, and the buffers.
///
/// A conversation uses the buffers within one poll, so one that waits owns none.
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
/// After `stop` it answers what has been asked and closes. It closes without a word the stream of a client
/// that exceeds a time limit.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
    worker: &Worker,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let mut conversation = Conversation::new(stream, session, Box::default(), worker);
    tokio::select! {
        biased;
        ended = &mut conversation => return ended,
        () = stop.cancelled() => conversation.stop(),
    }
    conversation.await
}

/// Why a conversation did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// No byte moved for the idle timeout.
    Idle,
    /// A line did not end in its time.
    SlowLine,
    /// The client took no byte of a reply for the write timeout.
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
            Failure::Idle => f.write_str("closed, as no byte moved for the idle timeout"),
            Failure::SlowLine => f.write_str("closed, as a line did not end in its time"),
            Failure::SlowReader => {
                f.write_str("closed, as no reply was taken for the write timeout")
            }
            Failure::Stream(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A conversation as a future, of which a server holds one for each client: what it keeps is small.
pub(crate) struct Conversation<'a, S> {
    stream: S,
    session: Session,
    worker: &'a Worker,
    /// What the session needs next.
    status: Status,
    phase: Phase,
    /// Whether the client has stopped sending.
    has_ended: bool,
    /// Bytes of the client that the session has not read: only while the client is slow to take replies.
    unread: Box<[u8]>,
    /// Replies that the client has not taken.
    unsent: Box<[u8]>,
    last_moved: Instant,
    /// When the line that has begun must have ended.
    line_deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

/// How far a conversation has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// What has arrived is read, and then nothing more.
    Stopping,
    /// As it seems, all that has arrived is read.
    Drained,
    /// There is nothing more to say.
    Closing,
    /// The client will know once it has read all.
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Conversation<'_, S> {
    type Output = Result<(), Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let this = self.get_mut();
        if !this.is_closing() && this.poll_answer(cx)?.is_ready() {
            this.phase = Phase::Closing;
            this.last_moved = Instant::now();
        }
        if this.is_closing() && this.poll_close(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let (deadline, ended) = this.deadline();
            if deadline < this.timer.deadline() {
                this.timer.as_mut().reset(deadline);
            }
            ready!(this.timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(ended);
            }
            this.timer.as_mut().reset(deadline);
        }
    }
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Conversation<'a, S> {
    /// Starts a conversation in which these bytes have been read already.
    pub(crate) fn new(
        stream: S,
        session: Session,
        unread: Box<[u8]>,
        worker: &'a Worker,
    ) -> Conversation<'a, S> {
        let read = unread.len() as u64;
        worker.counters.add(Event::ByteReceived, read);
        Conversation {
            stream,
            session,
            worker,
            status: Status::OutputFull,
            phase: Phase::Open,
            has_ended: false,
            unread,
            unsent: Box::default(),
            last_moved: Instant::now(),
            line_deadline: None,
            timer: Box::pin(sleep(worker.options.idle_timeout)),
        }
    }

    /// How long it may go on if nothing happens, and how it has ended then.
    fn deadline(&self) -> (Instant, Result<(), Failure>) {
        let options = &self.worker.options;
        if self.is_closing() {
            return (self.last_moved + LINGER, Ok(()));
        }
        let idle = (self.last_moved + options.idle_timeout, Failure::Idle);
        let slow = match self.line_deadline {
            _ if !self.unsent.is_empty() => {
                let deadline = self.last_moved + options.write_timeout;
                Some((deadline, Failure::SlowReader))
            }
            Some(deadline) => Some((deadline, Failure::SlowLine)),
            None => None,
        };
        let (deadline, failure) = match slow {
            Some(slow) if slow.0 < idle.0 => slow,
            _ => idle,
        };
        (deadline, Err(failure))
    }

    pub(crate) fn counters(&self) -> &'a Counters {
        &self.worker.counters
    }

    /// Has it end once what has been asked is answered.
    pub(crate) fn stop(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Stopping;
            // This wakes it.
            self.timer.as_mut().reset(Instant::now());
        }
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Reads, answers and writes, until there is nothing more to say or the client has to do something.
    ///
    /// While a write waits, nothing is read: a client that takes no replies stops itself.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Buffers { input, output } = &mut *self.worker.buffers.borrow_mut();
        for _ in 0..BLOCKS_IN_A_ROW {
            let unsent = mem::take(&mut self.unsent);
            ready!(self.poll_send(cx, &unsent))?;
            let kept = mem::take(&mut self.unread);
            let bytes = match self.status {
                Status::OutputFull => &kept,
                Status::NeedInput => match self.poll_receive(cx, input)? {
                    Poll::Ready(bytes) => bytes,
                    // What has arrived may not be known here until the runtime has asked the system.
                    Poll::Pending if self.phase == Phase::Stopping => {
                        self.phase = Phase::Drained;
                        return poll_others_first(cx);
                    }
                    // Half a line is no request: nothing that was asked is left unanswered.
                    Poll::Pending if self.phase == Phase::Drained => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                },
                Status::Closed => return Poll::Ready(Ok(())),
            };
            let now = (self.worker.options.clock)();
            let progress = match self.has_ended {
                true => self.session.finish(output, now),
                false => self.session.advance(bytes, output, now),
            };
            self.account(progress);
            self.unread = bytes[progress.read..].into();
            ready!(self.poll_send(cx, &output[..progress.written]))?;
        }
        poll_others_first(cx)
    }

    /// Notes what the session has done.
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
            *deadline += BYTE_TIME * u32::try_from(progress.read).unwrap_or(u32::MAX);
        }
    }

    /// Reads once; returns nothing when the client has stopped sending.
    fn poll_receive<'b>(
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
        if self.phase == Phase::Drained {
            self.phase = Phase::Stopping;
        }
        self.last_moved = Instant::now();
        Poll::Ready(Ok(&block[..length]))
    }

    /// Writes `bytes`, and keeps what the client does not take now.
    fn poll_send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => {
                    bytes = &bytes[written..];
                    self.worker.counters.add(Event::ByteSent, written as u64);
                    self.last_moved = Instant::now();
                }
                Poll::Pending => {
                    self.unsent = bytes.into();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the stream so that the client gets the last reply.
    ///
    /// To drop a stream with unread bytes is to reset it, and a reset overtakes replies that the client
    /// has not read. So what still comes is read first, for a bounded time.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Buffers { input, .. } = &mut *self.worker.buffers.borrow_mut();
        if self.phase == Phase::Closing {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.phase = Phase::Closed;
        }
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..BLOCKS_IN_A_ROW {
            let mut buffer = ReadBuf::new(input);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        poll_others_first(cx)
    }
}

/// Has the conversation polled again once others have been whose bytes have come in the meantime.
///
/// To wake it would not do: a runtime polls what is awake many times before it asks the system who else
/// is ready.
fn poll_others_first(cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    pin!(yield_now()).poll(cx).map(Ok)
}
