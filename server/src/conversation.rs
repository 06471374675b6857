//! One conversation with one client, over any stream.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chime_protocol::{Session, Status};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Clock, Options};

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
    let mut conversation = Conversation {
        stream,
        session,
        clock: options.clock,
        buffers,
        status: Status::OutputFull,
        unread: Vec::new(),
        unsent: Vec::new(),
        input: Input::Open,
        last_moved: Instant::now(),
    };
    let mut idle = pin!(sleep_until(conversation.last_moved + options.idle_timeout));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| conversation.poll(cx)) => {
                ended?;
                break;
            }
            () = stop.cancelled(), if conversation.input == Input::Open => {
                conversation.input = Input::Stopping;
            }
            () = &mut idle => {
                let deadline = conversation.last_moved + options.idle_timeout;
                if deadline <= Instant::now() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                idle.as_mut().reset(deadline);
            }
        }
    }
    conversation.close().await
}

struct Conversation<'a, S> {
    stream: S,
    session: Session,
    clock: Clock,
    buffers: &'a Buffers,
    /// What the session needs next.
    status: Status,
    /// Bytes of the client that the session has not read: only while the client is slow to take replies.
    unread: Vec<u8>,
    /// Replies that the client has not taken.
    unsent: Vec<u8>,
    input: Input,
    last_moved: Instant,
}

/// What may still come from the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// What has arrived is read, and then nothing more.
    Stopping,
    /// As it seems, all that has arrived is read.
    Drained,
    /// The client has stopped sending.
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    /// Reads, answers and writes, until the conversation is over or has to wait for the client.
    ///
    /// While a write waits, nothing is read: a client that takes no replies stops itself.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
                    Poll::Pending if self.input == Input::Stopping => {
                        self.input = Input::Drained;
                        return pin!(yield_now()).poll(cx).map(Ok);
                    }
                    // Half a line is no request: nothing that was asked is left unanswered.
                    Poll::Pending if self.input == Input::Drained => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                },
                Status::Closed => return Poll::Ready(Ok(())),
            };
            let now = (self.clock)();
            let progress = match self.input {
                Input::Ended => self.session.finish(output, now),
                _ => self.session.advance(bytes, output, now),
            };
            self.status = progress.status;
            self.unread = bytes[progress.read..].to_vec();
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
        if buffer.filled().is_empty() {
            self.input = Input::Ended;
        } else if self.input == Input::Drained {
            self.input = Input::Stopping;
        }
        self.last_moved = Instant::now();
        let length = buffer.filled().len();
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
                    self.unsent = bytes.to_vec();
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
    async fn close(mut self) -> io::Result<()> {
        let read_to_end = async {
            self.stream.shutdown().await?;
            copy(&mut self.stream, &mut sink()).await?;
            Ok(())
        };
        timeout(LINGER, read_to_end).await.unwrap_or(Ok(()))
    }
}
