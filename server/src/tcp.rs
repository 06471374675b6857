//! Accepting connections, over any listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chime_protocol::Session;
use chrono::Timelike;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{Level, debug, enabled, error, warn};

use crate::addresses::{AddressPermit, is_among};
use crate::conversation::{Conversation, ConversationError, QUIET};
use crate::proxy_header::{self, Header};
use crate::{Counter, Counters, ListenerConfig, Options, WorkerContext};

/// How long to wait when no connection can be accepted: for want of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most jitter added to the pause, so that workers do not all try again at once.
const ACCEPT_JITTER: Duration = Duration::from_millis(50);

/// The backlog: connections that the kernel completes and holds until they are accepted. Linux grants no
/// more by default (`net.core.somaxconn`).
pub(crate) const BACKLOG: u16 = 4096;

/// Where connections come from.
pub trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Waits for the next connection. If the future is dropped, no connection is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
}

/// Accepts connections and serves each in a task, until `stop` is cancelled. Then drains the backlog,
/// closes the listener, and waits for the connections, for the drain timeout at most.
pub(crate) async fn serve<L: Listener>(
    mut listener: L,
    config: ListenerConfig,
    context: Rc<WorkerContext>,
) {
    let stop = context.stop.clone();
    let drain_timeout = context.options.drain_timeout;
    let mut acceptor = Acceptor {
        shared: Rc::new(Shared { config, context }),
        connections: TaskTracker::new(),
        is_failing: false,
    };
    let accept = async {
        loop {
            if let Some(pause) = acceptor.admit(listener.accept().await).await {
                sleep(pause).await;
            }
        }
    };
    let _: Option<()> = stop.run_until_cancelled(accept).await;
    // What is left then is for the caller to cut.
    let _ = timeout(drain_timeout, acceptor.drain(listener)).await;
}

/// What the connections of one listener share.
struct Shared {
    config: ListenerConfig,
    context: Rc<WorkerContext>,
}

struct Acceptor {
    shared: Rc<Shared>,
    connections: TaskTracker,
    /// Whether the last connection could not be accepted.
    is_failing: bool,
}

impl Acceptor {
    /// Starts the task of a connection. Returns how long to wait if none can be accepted now.
    async fn admit<S>(&mut self, accepted: io::Result<(S, SocketAddr)>) -> Option<Duration>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let context = &self.shared.context;
        match accepted {
            Ok((stream, peer)) => {
                self.is_failing = false;
                if let Err(refusal) = self.start(stream, peer).await {
                    context.counters.count(refusal);
                }
                None
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                context.counters.count(Counter::AcceptFailed);
                if !self.is_failing {
                    warn!("cannot accept connections for now: {error}");
                }
                self.is_failing = true;
                // The fraction of the clock's second serves as the random number: simulations repeat it.
                let fraction = (context.options.clock)().nanosecond() % 1_000_000_000;
                Some(ACCEPT_PAUSE + ACCEPT_JITTER * fraction / 1_000_000_000)
            }
        }
    }

    /// Starts the task of a connection, or returns why it is closed at once.
    async fn start<S>(&self, stream: S, peer: SocketAddr) -> Result<(), Counter>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let shared = Rc::clone(&self.shared);
        let proxies = shared.config.proxies.as_deref();
        if proxies.is_some_and(|proxies| !is_among(peer.ip(), proxies)) {
            return Err(Counter::HeaderRejected);
        }
        let admission = acquire(&shared.context.options).await;
        if proxies.is_some() {
            self.connections
                .spawn_local(shared.serve_behind_header(stream, peer, admission));
        } else {
            let mut served = Served::new(stream, peer, Box::default(), admission, &shared)?;
            self.connections.spawn_local(async move {
                let ended = served.conversation.run().await;
                served.end(ended);
            });
        }
        Ok(())
    }

    /// Accepts the backlog, closes the listener, and waits until every connection has ended.
    async fn drain<L: Listener>(&mut self, mut listener: L) {
        let mut quiet = pin!(sleep(QUIET));
        // No more than a backlog: a flood of connects must not put the stop off.
        for _ in 0..BACKLOG {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut quiet => break,
            };
            if self.admit(accepted).await.is_some() {
                // Connections that end make room.
                sleep(QUIET).await;
            }
        }
        drop(listener);
        self.connections.close();
        self.connections.wait().await;
    }
}

/// A connection that is served, or told that the server is full.
struct Served<S> {
    conversation: Conversation<S>,
    /// Boxed, since only the log of debugging shows it.
    client: Option<Box<SocketAddr>>,
    /// How it has ended: cut, if its task is dropped before its end. `None` for a refusal.
    outcome: Option<Counter>,
    _permit: OwnedSemaphorePermit,
    _address: Option<Box<AddressPermit>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Served<S> {
    /// Applies the limits that depend on the client.
    fn new(
        stream: S,
        client: SocketAddr,
        unread: Box<[u8]>,
        (mut permit, mut refusal): Admission,
        shared: &Shared,
    ) -> Result<Served<S>, Counter> {
        let Shared { config, context } = shared;
        let options = &context.options;
        if !options.networks.admit(client.ip()) {
            return Err(Counter::NetworkDenied);
        }
        let mut address = None;
        if let (Some(addresses), None) = (&options.addresses, refusal) {
            address = addresses.acquire(client.ip());
            if address.is_none() {
                refusal = Some(Counter::AddressRefused);
                // One address must not take the permits of others, not even for a short time.
                if let Ok(other) = Arc::clone(&options.refusals).try_acquire_owned() {
                    permit = other;
                }
            }
        }
        let (session, outcome) = match refusal {
            Some(_) => (Session::refused(config.framing), None),
            None => (
                Session::new(config.service, config.framing),
                Some(Counter::ConversationCut),
            ),
        };
        let counter = refusal.unwrap_or(Counter::ConnectionServed);
        context.counters.count(counter);
        context
            .counters
            .add(Counter::ByteReceived, unread.len() as u64);
        Ok(Served {
            conversation: Conversation::new(stream, session, unread, Rc::clone(context)),
            client: enabled!(Level::DEBUG).then(|| Box::new(client)),
            outcome,
            _permit: permit,
            _address: address,
        })
    }

    /// Records how the conversation ended.
    fn end(&mut self, ended: Result<(), ConversationError>) {
        if let (Err(failure), Some(client)) = (&ended, &self.client) {
            debug!("{client}: {failure}");
        }
        if let Some(outcome) = &mut self.outcome {
            *outcome = ended.map_or_else(|f| f.counter(), |()| Counter::ConversationEnded);
        }
    }
}

impl<S> Drop for Served<S> {
    /// Counts how a served connection ended, exactly once, whatever ended its task.
    fn drop(&mut self) {
        let is_panicking = thread::panicking();
        if is_panicking {
            error!("a connection's task panicked: this is a bug in the server");
        }
        if let Some(outcome) = self.outcome {
            let panicked = is_panicking.then_some(Counter::ConversationPanicked);
            let counters = &self.conversation.context.counters;
            counters.count(panicked.unwrap_or(outcome));
        }
    }
}

impl Shared {
    /// Serves a connection that has to begin with a PROXY header.
    async fn serve_behind_header<S>(
        self: Rc<Self>,
        mut stream: S,
        peer: SocketAddr,
        admission: Admission,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let WorkerContext { counters, stop, .. } = &*self.context;
        // What ends the task before the header has arrived counts as this: a panic, too.
        let mut rejection = Rejection {
            counters,
            counter: Some(Counter::HeaderRejected),
        };
        let header = tokio::select! {
            biased;
            header = proxy_header::read(&mut stream) => header,
            () = async { stop.cancelled().await; sleep(QUIET).await } => {
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        let served = match header {
            Ok(Header { client, rest }) => {
                Served::new(stream, client.unwrap_or(peer), rest, admission, &self)
            }
            Err(error) => return debug!("{peer}: no PROXY header: {error}"),
        };
        rejection.counter = served.as_ref().err().copied();
        if let Ok(mut served) = served {
            let ended = served.conversation.run().await;
            served.end(ended);
        }
    }
}

/// Counts a connection that is rejected, once its task is dropped.
struct Rejection<'a> {
    counters: &'a Counters,
    counter: Option<Counter>,
}

impl Drop for Rejection<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.counter {
            self.counters.count(counter);
        }
    }
}

/// Permission to hold one connection, which bounds the file descriptors in use, and why the client is only
/// told that the server is full; `None` if it is served.
type Admission = (OwnedSemaphorePermit, Option<Counter>);

/// Acquires permission to serve a connection or, if the server is full, to say so. If there is neither, other
/// clients wait in the backlog: refused connections end soon, after the linger time at the latest.
async fn acquire(options: &Options) -> Admission {
    let acquire = |permits: &Arc<Semaphore>| Arc::clone(permits).acquire_owned();
    let (permit, refusal) = tokio::select! {
        biased;
        permit = acquire(&options.connections) => (permit, None),
        permit = acquire(&options.refusals) => (permit, Some(Counter::ConnectionRefused)),
    };
    (permit.expect("the semaphore is never closed"), refusal)
}
