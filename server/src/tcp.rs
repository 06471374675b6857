//! Accepting connections, over any listener.

use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chime_protocol::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{Buffers, Options, Tally, converse};

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
    let drain_timeout = options.drain_timeout;
    let mut conversations = Conversations {
        tasks: JoinSet::new(),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        options,
        buffers,
        stop: stop.clone(),
        tally: Tally::default(),
    };
    let mut is_failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = conversations.tasks.join_next() => conversations.count(ended),
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
                    sleep(ACCEPT_PAUSE).await;
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
    if timeout(drain_timeout, conversations.join_all())
        .await
        .is_err()
    {
        warn!(
            "{} connections cut at the end of the drain timeout",
            conversations.tasks.len()
        );
        conversations.tasks.abort_all();
        conversations.join_all().await;
    }
    conversations.tally
}

/// The conversations of one listener.
struct Conversations {
    tasks: JoinSet<()>,
    refusals: Arc<Semaphore>,
    options: Rc<Options>,
    buffers: Rc<Buffers>,
    stop: CancellationToken,
    tally: Tally,
}

impl Conversations {
    fn start<S: AsyncRead + AsyncWrite + Unpin + 'static>(&mut self, stream: S, peer: SocketAddr) {
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
        let options = Rc::clone(&self.options);
        let buffers = Rc::clone(&self.buffers);
        let stop = self.stop.clone();
        self.tasks.spawn_local(async move {
            let ended = converse(stream, session, &options, &buffers, &stop).await;
            if let Err(error) = &ended {
                debug!("{peer}: {error}");
            }
            drop(permit);
        });
    }

    async fn join_all(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.count(ended);
        }
    }

    /// A conversation that panics ends alone.
    fn count(&mut self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            error!("a conversation panicked: this is a defect of the server");
            self.tally.connections_panicked += 1;
        }
    }
}
