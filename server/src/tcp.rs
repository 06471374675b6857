//! Accepting connections, over any listener.

use std::future::{Future, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chime_protocol::Session;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::conversation::Conversation;
use crate::{Buffers, Options, Tally};

/// How long to wait when no connection can be accepted: for want of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Newcomers that are being told at one time that the server is full. Others are just closed.
const REFUSALS_MAX: usize = 64;

/// Where connections come from.
pub trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Waits for the next connection. If the future is dropped, no connection is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
}

/// Accepts connections and holds a conversation on each, until `stop` is cancelled and all have ended.
pub(crate) async fn serve<L: Listener>(
    mut listener: L,
    options: Rc<Options>,
    buffers: Rc<Buffers>,
    stop: CancellationToken,
) -> Tally {
    let mut conversations = Conversations {
        all: FuturesUnordered::new(),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        options: &options,
        buffers: &buffers,
        tally: Tally::default(),
    };
    let mut is_failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(end) = conversations.all.next() => conversations.count(end),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    conversations.start(stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !is_failing {
                        warn!("cannot accept connections for now: {error}");
                    }
                    is_failing = true;
                    conversations.go_on_for(ACCEPT_PAUSE, pending()).await;
                }
            },
        }
    }
    // Whoever was connected before the stop is served too. Who waits may not be known here until the
    // runtime has asked the system.
    yield_now().await;
    while let Some(accepted) = tokio::select! {
        biased;
        accepted = listener.accept() => Some(accepted),
        () = ready(()) => None,
    } {
        match accepted {
            Ok((stream, peer)) => conversations.start(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
    drop(listener);
    for conversation in &mut conversations.all {
        conversation.future.stop();
    }
    conversations
        .go_on_for(options.drain_timeout, ready(()))
        .await;
    if !conversations.all.is_empty() {
        warn!(
            "{} connections cut at the end of the drain timeout",
            conversations.all.len()
        );
    }
    conversations.tally
}

/// The conversations of one listener.
struct Conversations<'a, S> {
    all: FuturesUnordered<Served<'a, S>>,
    refusals: Arc<Semaphore>,
    options: &'a Options,
    buffers: &'a Buffers,
    tally: Tally,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversations<'_, S> {
    fn start(&mut self, stream: S, peer: SocketAddr) {
        let Options {
            service, framing, ..
        } = *self.options;
        let (session, permit) =
            if let Ok(permit) = Arc::clone(&self.options.connections).try_acquire_owned() {
                self.tally.connections_served += 1;
                (Session::new(service, framing), permit)
            } else {
                self.tally.connections_refused += 1;
                let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    return;
                };
                (Session::refused(framing), permit)
            };
        self.all.push(Served {
            future: Conversation::new(stream, session, self.options, self.buffers),
            peer,
            _permit: permit,
        });
    }

    /// Goes on until all have ended and then `last` has, for so long at most.
    async fn go_on_for(&mut self, duration: Duration, last: impl Future<Output = ()>) {
        let go_on = async {
            while let Some(end) = self.all.next().await {
                self.count(end);
            }
            last.await;
        };
        // It is for the caller to see what is left.
        let _ = timeout(duration, go_on).await;
    }

    fn count(&mut self, end: End) {
        if end == End::Panicked {
            error!("a conversation panicked: this is a defect of the server");
            self.tally.connections_panicked += 1;
        }
    }
}

/// A conversation that takes up room, and ends alone if it panics.
struct Served<'a, S> {
    future: Conversation<'a, S>,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

/// How a conversation ended.
#[derive(PartialEq, Eq)]
enum End {
    Ended,
    Panicked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Served<'_, S> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let poll = || Pin::new(&mut self.future).poll(cx);
        // What a panic leaves behind is dropped.
        match panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(ended)) => {
                if let Err(error) = ended {
                    debug!("{}: {error}", self.peer);
                }
                Poll::Ready(End::Ended)
            }
            Err(_) => Poll::Ready(End::Panicked),
        }
    }
}
