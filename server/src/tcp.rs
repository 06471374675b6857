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
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::addresses::{AddressPermit, is_among};
use crate::conversation::{Conversation, QUIET, stopped};
use crate::proxy_header::{self, Header};
use crate::{Counters, Event, Offer, Options, Worker};

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
    offer: Offer,
    worker: Rc<Worker>,
    stop: CancellationToken,
) {
    let mut acceptor = Acceptor {
        shared: Rc::new(Shared {
            offer,
            worker,
            stop: stop.clone(),
        }),
        connections: JoinSet::new(),
        is_failing: false,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = acceptor.connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        if let Some(pause) = acceptor.admit(accepted) {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
        }
    }
    let drain_timeout = acceptor.shared.worker.options.drain_timeout;
    let drained = timeout_at(Instant::now() + drain_timeout, acceptor.drain(listener)).await;
    if drained.is_err() {
        acceptor.connections.shutdown().await;
    }
}

/// What the connections of one listener share.
struct Shared {
    offer: Offer,
    worker: Rc<Worker>,
    stop: CancellationToken,
}

struct Acceptor {
    shared: Rc<Shared>,
    connections: JoinSet<()>,
    /// Whether the last connection could not be accepted.
    is_failing: bool,
}

impl Acceptor {
    /// Starts the task of a connection. Returns how long to wait if none can be accepted now.
    fn admit<S>(&mut self, accepted: io::Result<(S, SocketAddr)>) -> Option<Duration>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let Worker {
            options, counters, ..
        } = &*self.shared.worker;
        match accepted {
            Ok((stream, peer)) => {
                self.is_failing = false;
                match self.shared.admit(peer) {
                    Ok(permit) => {
                        let task = Rc::clone(&self.shared).serve(stream, peer, permit);
                        self.connections.spawn_local(task);
                    }
                    Err(refusal) => counters.count(refusal),
                }
                None
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
            Err(error) => {
                counters.count(Event::AcceptFailed);
                if !self.is_failing {
                    warn!("cannot accept connections for now: {error}");
                }
                self.is_failing = true;
                // The fraction of the clock's second serves as the random number: simulations repeat it.
                let fraction = (options.clock)().nanosecond() % 1_000_000_000;
                Some(ACCEPT_PAUSE + ACCEPT_JITTER * fraction / 1_000_000_000)
            }
        }
    }

    /// Accepts the backlog, closes the listener, and waits until every connection has ended.
    async fn drain<L: Listener>(&mut self, mut listener: L) {
        let mut quiet = pin!(sleep(QUIET));
        // No more than that: a flood of connects must not put the stop off.
        for _ in 0..BACKLOG {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut quiet => break,
            };
            if self.admit(accepted).is_some() {
                // Connections that end make room.
                sleep(QUIET).await;
            }
        }
        drop(listener);
        while let Some(ended) = self.connections.join_next().await {
            log_panic(ended);
        }
    }
}

/// The runtime isolates a panic in its task; dropping the task has counted it.
fn log_panic(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        error!("a connection's task panicked: this is a bug in the server");
    }
}

impl Shared {
    /// Admits a connection, or returns why it is closed at once.
    fn admit(&self, peer: SocketAddr) -> Result<ConnectionPermit, Event> {
        match &self.offer.proxies {
            Some(proxies) if !is_among(peer.ip(), proxies) => Err(Event::HeaderRejected),
            _ => ConnectionPermit::acquire(&self.worker.options),
        }
    }

    /// Serves one connection, from the PROXY header, if one is due, to the close.
    async fn serve<S>(self: Rc<Self>, mut stream: S, peer: SocketAddr, permit: ConnectionPermit)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Worker {
            options, counters, ..
        } = &*self.worker;
        let (mut client, mut unread) = (peer, Box::default());
        if self.offer.proxies.is_some() {
            // Boxed, since only the connections of proxies need its memory.
            match Box::pin(self.read_header(&mut stream)).await {
                Ok(header) => {
                    client = header.client.unwrap_or(peer);
                    unread = header.rest;
                }
                Err(error) => {
                    debug!("{peer}: no PROXY header: {error}");
                    return counters.count(Event::HeaderRejected);
                }
            }
        }
        let permit = match permit.bind(client, options) {
            Ok(permit) => permit,
            Err(refusal) => return counters.count(refusal),
        };
        let (session, mut outcome) = match permit.refusal {
            Some(refusal) => {
                counters.count(refusal);
                (Session::refused(self.offer.framing), None)
            }
            None => (
                Session::new(self.offer.service, self.offer.framing),
                Some(Outcome::new(counters)),
            ),
        };
        let conversation = Conversation::new(stream, session, unread, &self.worker);
        let ended = conversation.run(&self.stop).await;
        if let Err(failure) = &ended {
            debug!("{client}: {failure}");
        }
        if let Some(outcome) = &mut outcome {
            outcome.event = ended.map_or_else(|e| e.event(), |()| Event::ConversationEnded);
        }
    }

    /// Reads the PROXY header. After a stop, one that has not arrived is not waited for.
    async fn read_header(&self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
        tokio::select! {
            biased;
            header = proxy_header::read(stream) => header,
            () = stopped(&self.stop) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Counts how a served connection ends, exactly once, whatever ends its task.
struct Outcome<'a> {
    counters: &'a Counters,
    event: Event,
}

impl Outcome<'_> {
    fn new(counters: &Counters) -> Outcome<'_> {
        counters.count(Event::ConnectionServed);
        Outcome {
            counters,
            // The task is dropped before its end at the drain timeout only.
            event: Event::ConversationCut,
        }
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        let is_panicking = thread::panicking();
        let event = if is_panicking {
            Event::ConversationPanicked
        } else {
            self.event
        };
        self.counters.count(event);
    }
}

/// Permission to hold one connection, which bounds the file descriptors in use.
struct ConnectionPermit {
    /// Why the client is only told that the server is full; `None` if it is served.
    refusal: Option<Event>,
    _connection: OwnedSemaphorePermit,
    _address: Option<Box<AddressPermit>>,
}

impl ConnectionPermit {
    fn acquire(options: &Options) -> Result<ConnectionPermit, Event> {
        match Arc::clone(&options.connections).try_acquire_owned() {
            Ok(permit) => Ok(ConnectionPermit {
                refusal: None,
                _connection: permit,
                _address: None,
            }),
            Err(_) => ConnectionPermit::refuse(Event::ConnectionRefused, options),
        }
    }

    /// Acquires the permission to tell a client that the server is full.
    fn refuse(refusal: Event, options: &Options) -> Result<ConnectionPermit, Event> {
        let permit = Arc::clone(&options.refusals).try_acquire_owned();
        Ok(ConnectionPermit {
            refusal: Some(refusal),
            _connection: permit.map_err(|_| refusal)?,
            _address: None,
        })
    }

    /// Applies the limits that depend on the client.
    fn bind(self, client: SocketAddr, options: &Options) -> Result<ConnectionPermit, Event> {
        if !options.networks.admit(client.ip()) {
            return Err(Event::NetworkDenied);
        }
        let Some(addresses) = &options.addresses else {
            return Ok(self);
        };
        match addresses.acquire(client.ip()) {
            _ if self.refusal.is_some() => Ok(self),
            Some(address) => Ok(ConnectionPermit {
                _address: Some(address),
                ..self
            }),
            None => {
                drop(self);
                ConnectionPermit::refuse(Event::AddressRefused, options)
            }
        }
    }
}
