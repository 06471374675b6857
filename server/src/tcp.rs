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
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use crate::addresses::{AddressPermit, is_among};
use crate::connection_log::ConnectionLog;
use crate::conversation::{Conversation, ConversationError, QUIET_PERIOD};
use crate::proxy_header::{self, Header};
use crate::{Counter, Counters, ListenerConfig, Options, WorkerContext};

/// The pause after an accept error, such as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most jitter added to the pause, so that workers do not retry at the same instant.
const ACCEPT_JITTER: Duration = Duration::from_millis(50);

/// The backlog: connections that the kernel completes and queues until they are accepted. Linux caps it at
/// this value by default (`net.core.somaxconn`).
pub(crate) const BACKLOG: u16 = 4096;

/// A TCP listener, real or simulated.
pub trait Listener {
    /// An accepted connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + 'static;

    /// Waits for the next connection. Cancel safe: if the future is dropped, no connection is lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>>;
}

/// Accepts connections and runs each in its own task, until `stop` is cancelled. Then drains the backlog,
/// closes the listener, and waits for the connections, at most until the drain timeout.
pub(crate) async fn serve<L: Listener>(
    mut listener: L,
    config: ListenerConfig,
    context: Rc<WorkerContext>,
) {
    let stop = context.stop.clone();
    let drain_timeout = context.options.drain_timeout;
    let mut acceptor = Acceptor {
        listener_context: Rc::new(ListenerContext { config, context }),
        connections: TaskTracker::new(),
        is_failing: false,
    };
    let serve = async {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            // Not cancelled: an accepted connection is served even if it waits for a permit.
            if let Some(pause) = acceptor.handle(accepted).await {
                stop.run_until_cancelled(sleep(pause)).await;
            }
        }
        acceptor.drain(listener).await;
    };
    let drain_timeout = async {
        stop.cancelled().await;
        sleep(drain_timeout).await;
    };
    tokio::select! {
        biased;
        () = serve => {}
        // The caller cuts the connections that are still open.
        () = drain_timeout => {}
    }
}

/// The state shared by the connections of one listener.
struct ListenerContext {
    config: ListenerConfig,
    context: Rc<WorkerContext>,
}

/// Accepts the connections of one listener, and tracks their tasks.
struct Acceptor {
    listener_context: Rc<ListenerContext>,
    connections: TaskTracker,
    /// Whether the last accept failed, so that a series of errors is logged once.
    is_failing: bool,
}

impl Acceptor {
    /// Handles the result of an accept: spawns a connection's task, or returns the pause before a retry.
    async fn handle<S>(&mut self, accepted: io::Result<(S, SocketAddr)>) -> Option<Duration>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let context = &self.listener_context.context;
        match accepted {
            Ok((stream, peer)) => {
                self.is_failing = false;
                if let Err(refusal) = self.spawn(stream, peer).await {
                    context.counters.count(refusal);
                }
                None
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                context.counters.count(Counter::AcceptFailed);
                if !self.is_failing {
                    warn!("cannot accept connections: {error} (retrying)");
                }
                self.is_failing = true;
                // The clock's fraction of a second serves as the random number, so simulations replay it.
                let fraction = context.options.clock.now().nanosecond() % 1_000_000_000;
                Some(ACCEPT_PAUSE + ACCEPT_JITTER * fraction / 1_000_000_000)
            }
        }
    }

    /// Spawns the task of a connection, or closes it and returns the counter of the reason.
    async fn spawn<S>(&self, stream: S, peer: SocketAddr) -> Result<(), Counter>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let listener_context = Rc::clone(&self.listener_context);
        let proxies = listener_context.config.proxies.as_deref();
        if proxies.is_some_and(|proxies| !is_among(peer.ip(), proxies)) {
            return Err(Counter::HeaderRejected);
        }
        let permit = acquire_permit(&listener_context.context.options).await;
        if proxies.is_some() {
            self.connections
                .spawn_local(listener_context.serve_proxied(stream, peer, permit));
        } else {
            let mut connection =
                Connection::new(stream, peer, Box::default(), permit, &listener_context)?;
            self.connections.spawn_local(async move {
                let result = connection.conversation.run().await;
                connection.end(result);
            });
        }
        Ok(())
    }

    /// Drains the backlog, closes the listener, and waits until every connection has ended.
    async fn drain<L: Listener>(&mut self, mut listener: L) {
        let mut quiet_period = pin!(sleep(QUIET_PERIOD));
        // At most one backlog, so that a flood of connects cannot delay the shutdown.
        for _ in 0..BACKLOG {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut quiet_period => break,
            };
            if self.handle(accepted).await.is_some() {
                // Connections that end release file descriptors.
                sleep(QUIET_PERIOD).await;
            }
        }
        drop(listener);
        self.connections.close();
        self.connections.wait().await;
    }
}

/// An accepted connection, to be served or refused.
struct Connection<S> {
    conversation: Conversation<S>,
    /// How the conversation ended: cut, if its task is dropped before. `None` if the connection is refused.
    outcome: Option<Counter>,
    _permit: OwnedSemaphorePermit,
    _address: Option<Box<AddressPermit>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Applies the limits that depend on the client's address.
    fn new(
        stream: S,
        client: SocketAddr,
        unread: Box<[u8]>,
        (mut permit, mut refusal): ConnectionPermit,
        listener_context: &ListenerContext,
    ) -> Result<Connection<S>, Counter> {
        let ListenerContext { config, context } = listener_context;
        let options = &context.options;
        if !options.networks.allows(client.ip()) {
            return Err(Counter::NetworkDenied);
        }
        let mut address = None;
        if let (Some(addresses), None) = (&options.addresses, refusal) {
            address = addresses.try_acquire(client.ip());
            if address.is_none() {
                refusal = Some(Counter::AddressRefused);
                // An address over its limit must not hold a permit to be served, not even for a short time.
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
        let mut log = ConnectionLog::open(client);
        if let Some(log) = &mut log {
            log.add_received(unread.len());
        }
        let mut conversation = Conversation::new(stream, session, unread, Rc::clone(context));
        conversation.log = log;
        Ok(Connection {
            conversation,
            outcome,
            _permit: permit,
            _address: address,
        })
    }

    /// Records how the conversation ended.
    fn end(&mut self, result: Result<(), ConversationError>) {
        if let Some(log) = self.conversation.log.take() {
            match &result {
                Err(error @ ConversationError::Stream(_)) => {
                    log.close(Some(error.counter()), Some(error));
                }
                Err(error) => log.close(Some(error.counter()), None),
                Ok(()) => log.close(self.outcome.and(Some(Counter::ConversationEnded)), None),
            }
        }
        if let Some(outcome) = &mut self.outcome {
            *outcome = result.map_or_else(|error| error.counter(), |()| Counter::ConversationEnded);
        }
    }
}

impl<S> Drop for Connection<S> {
    /// Counts how a served connection ended, exactly once, however its task ends.
    fn drop(&mut self) {
        let is_panicking = thread::panicking();
        if is_panicking {
            error!("a connection's task panicked: this is a bug in the server");
        }
        let panicked = is_panicking.then_some(Counter::ConversationPanicked);
        if let Some(log) = self.conversation.log.take() {
            log.close(panicked.or(Some(Counter::ConversationCut)), None);
        }
        if let Some(outcome) = self.outcome {
            let counters = &self.conversation.context.counters;
            counters.count(panicked.unwrap_or(outcome));
        }
    }
}

impl ListenerContext {
    /// Serves a connection that must begin with a PROXY header.
    async fn serve_proxied<S>(
        self: Rc<Self>,
        mut stream: S,
        peer: SocketAddr,
        permit: ConnectionPermit,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let WorkerContext { counters, stop, .. } = &*self.context;
        // Counts a task that ends before the header has arrived, even by a panic.
        let mut rejection = CountOnDrop {
            counters,
            counter: Some(Counter::HeaderRejected),
        };
        let header = tokio::select! {
            biased;
            header = proxy_header::read(&mut stream) => header,
            () = async { stop.cancelled().await; sleep(QUIET_PERIOD).await } => {
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        let connection = match header {
            Ok(Header { client, rest }) => {
                Connection::new(stream, client.unwrap_or(peer), rest, permit, &self)
            }
            Err(error) => return debug!("{peer}: invalid PROXY header: {error}"),
        };
        rejection.counter = connection.as_ref().err().copied();
        if let Ok(mut connection) = connection {
            let result = connection.conversation.run().await;
            connection.end(result);
        }
    }
}

/// Adds one to a counter when it is dropped.
struct CountOnDrop<'a> {
    counters: &'a Counters,
    counter: Option<Counter>,
}

impl Drop for CountOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.counter {
            self.counters.count(counter);
        }
    }
}

/// A permit for one connection, which bounds the file descriptors in use, and the counter of the refusal;
/// `None` if the connection is served.
type ConnectionPermit = (OwnedSemaphorePermit, Option<Counter>);

/// Acquires a permit to serve a connection or, if the server is full, to refuse it. Without either, it waits,
/// and clients wait in the backlog. A refused connection ends within the linger time, after its PROXY header if
/// it has one.
async fn acquire_permit(options: &Options) -> ConnectionPermit {
    let acquire = |permits: &Arc<Semaphore>| Arc::clone(permits).acquire_owned();
    let (permit, refusal) = tokio::select! {
        biased;
        permit = acquire(&options.connections) => (permit, None),
        permit = acquire(&options.refusals) => (permit, Some(Counter::ConnectionRefused)),
    };
    (permit.expect("the semaphore is never closed"), refusal)
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::sync::atomic::{AtomicBool, Ordering};

    use chrono::NaiveDateTime;
    use shuttle::future::block_on;
    use shuttle::thread::yield_now;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Addresses;
    use crate::sync::explore;
    use crate::workers::{WorkerStats, Workers};

    fn options(connections_max: u32, refusals_max: usize) -> Options {
        let connections_max = NonZero::new(connections_max).expect("not zero");
        let mut options = Options::new(NaiveDateTime::default, connections_max);
        options.refusals = Arc::new(Semaphore::new(refusals_max));
        options
    }

    #[test]
    fn connections_that_wait_in_the_backlog_are_served_one_by_one() {
        explore(|| {
            let options = options(1, 1);
            let connections = Arc::clone(&options.connections);
            // A refused connection lingers until the end.
            let refusals = Arc::clone(&options.refusals);
            let _refused = refusals.try_acquire().expect("a permit");
            let is_served = Arc::new(AtomicBool::new(false));
            let worker = move |_, _: &WorkerStats, _| {
                let (_permit, refusal) = block_on(acquire_permit(&options));
                assert_eq!(refusal, None);
                assert!(!is_served.swap(true, Ordering::Relaxed));
                yield_now();
                is_served.store(false, Ordering::Relaxed);
            };
            let workers = Workers::start(vec![worker; 3], &CancellationToken::new());
            workers
                .expect("started")
                .join()
                .expect("no worker panicked");
            assert_eq!(connections.available_permits(), 1);
        });
    }

    #[test]
    fn workers_share_the_limits_of_connections() {
        explore(|| {
            let mut options = options(2, 2);
            options.addresses = Some(Arc::new(Addresses::new(NonZero::<u32>::MIN)));
            let permits = [&options.connections, &options.refusals].map(Arc::clone);
            let is_served = Arc::new(AtomicBool::new(false));
            let worker = move |counters, _: &WorkerStats, stop| {
                let listener_context = ListenerContext {
                    config: ListenerConfig::default(),
                    context: Rc::new(WorkerContext::new(options.clone(), counters, stop)),
                };
                let permit = block_on(acquire_permit(&options));
                let client = ([192, 0, 2, 1], 50_000).into();
                let stream = tokio::io::empty();
                let connection =
                    Connection::new(stream, client, Box::default(), permit, &listener_context);
                let mut connection = connection.expect("not denied");
                if connection.outcome.is_some() {
                    assert!(!is_served.swap(true, Ordering::Relaxed), "over the limit");
                    yield_now();
                    is_served.store(false, Ordering::Relaxed);
                }
                connection.end(Ok(()));
            };
            let workers = Workers::start(vec![worker; 2], &CancellationToken::new());
            let snapshot = workers
                .expect("started")
                .join()
                .expect("no worker panicked");
            let served = snapshot[Counter::ConnectionServed];
            assert_eq!(served + snapshot[Counter::AddressRefused], 2);
            assert_eq!(served, snapshot[Counter::ConversationEnded]);
            assert_eq!(permits.map(|permits| permits.available_permits()), [2, 2]);
        });
    }
}
