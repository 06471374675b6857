//! One conversation with one client, over any stream.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Session, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::Options;

/// Bytes read at a time, and bytes of replies written at a time.
const BLOCK: usize = 16_384;

/// Blocks read in a row before other conversations have their turn.
const BLOCKS_IN_A_ROW: usize = 8;

/// How long a closed conversation waits for the client to close its side too.
const LINGER: Duration = Duration::from_secs(1);

/// The buffers that all conversations of a worker share.
///
/// A conversation uses them within one poll, so one that waits owns no buffer.
#[derive(Debug)]
pub struct Buffers(RefCell<Blocks>);

#[derive(Debug)]
struct Blocks {
    input: [u8; BLOCK],
    output: [u8; BLOCK],
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers(RefCell::new(Blocks {
            input: [0; BLOCK],
            output: [0; BLOCK],
        }))
    }
}

/// Holds one conversation, until it ends or `stop` is cancelled, and closes the stream.
///
/// After `stop` it answers what has been asked and closes. It closes without a word a stream on which no
/// byte moved for the idle timeout, which is the only error here that is not the stream's own.
pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    session: Session,
    options: &Options,
    buffers: &Buffers,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut conversation = Conversation::new(stream, session, options, buffers);
    tokio::select! {
        biased;
        ended = &mut conversation => return ended,
        () = stop.cancelled() => conversation.stop(),
    }
    conversation.await
}

/// A conversation as a future, of which a server holds one for each client: what it keeps is small.
pub(crate) struct Conversation<'a, S> {
    stream: S,
    session: Session,
    options: &'a Options,
    buffers: &'a Buffers,
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
    type Output = io::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_over = !this.is_closing() && this.poll_answer(cx)?.is_ready();
        if is_over {
            this.phase = Phase::Closing;
        }
        if this.is_closing() && this.poll_close(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if is_over {
            this.timer.as_mut().reset(Instant::now() + LINGER);
        }
        while this.timer.as_mut().poll(cx).is_ready() {
            if this.is_closing() {
                return Poll::Ready(Ok(()));
            }
            let deadline = this.last_moved + this.options.idle_timeout;
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            this.timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Conversation<'a, S> {
    pub(crate) fn new(
        stream: S,
        session: Session,
        options: &'a Options,
        buffers: &'a Buffers,
    ) -> Conversation<'a, S> {
        Conversation {
            stream,
            session,
            options,
            buffers,
            status: Status::OutputFull,
            phase: Phase::Open,
            has_ended: false,
            unread: Box::default(),
            unsent: Box::default(),
            last_moved: Instant::now(),
            timer: Box::pin(sleep(options.idle_timeout)),
        }
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
        let Blocks { input, output } = &mut *self.buffers.0.borrow_mut();
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
                        return pin!(yield_now()).poll(cx).map(Ok);
                    }
                    // Half a line is no request: nothing that was asked is left unanswered.
                    Poll::Pending if self.phase == Phase::Drained => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                },
                Status::Closed => return Poll::Ready(Ok(())),
            };
            let now = (self.options.clock)();
            let progress = match self.has_ended {
                true => self.session.finish(output, now),
                false => self.session.advance(bytes, output, now),
            };
            self.status = progress.status;
            self.unread = bytes[progress.read..].into();
            ready!(self.poll_send(cx, &output[..progress.written]))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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
        let Blocks { input, .. } = &mut *self.buffers.0.borrow_mut();
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
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
