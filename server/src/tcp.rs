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
use chrono::Timelike;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::addresses::{Place, is_among};
use crate::conversation::Conversation;
use crate::proxy_header::{self, Header};
use crate::{Event, Offer, Options, Worker};

/// How long to wait when no connection can be accepted: for want of file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Up to so much longer, so that workers do not all try again at once.
const ACCEPT_JITTER: Duration = Duration::from_millis(50);

/// Newcomers that are being told at one time that the server is full. Others are just closed.
const REFUSALS_MAX: usize = 64;

/// Connections of proxies whose header has not come. Others are just closed.
const HEADERS_MAX: usize = 1024;

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
    offer: Offer,
    worker: Rc<Worker>,
    stop: CancellationToken,
) {
    let mut connections = Connections::new(&offer, &worker);
    let mut is_failing = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            true = connections.go_on() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    connections.admit(stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    worker.counters.count(Event::AcceptFailed);
                    if !is_failing {
                        warn!("cannot accept connections for now: {error}");
                    }
                    is_failing = true;
                    connections.go_on_for(accept_pause(&worker.options), pending()).await;
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
            Ok((stream, peer)) => connections.admit(stream, peer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => break,
        }
    }
    drop(listener);
    connections.drain().await;
}

/// The clock's fraction of a second is the chance in it: the same in a simulation, and not here.
fn accept_pause(options: &Options) -> Duration {
    let fraction = (options.clock)().nanosecond() % 1_000_000_000;
    ACCEPT_PAUSE + ACCEPT_JITTER * fraction / 1_000_000_000
}

/// The connections of one listener.
struct Connections<'a, S> {
    /// Those whose proxy has not said yet whose they are.
    headers: FuturesUnordered<LocalBoxFuture<'a, Arrival<S>>>,
    conversations: FuturesUnordered<Served<'a, S>>,
    refusals: Arc<Semaphore>,
    is_stopping: bool,
    offer: &'a Offer,
    worker: &'a Worker,
}

/// A connection of a proxy, and what the proxy has said.
struct Arrival<S> {
    stream: S,
    peer: SocketAddr,
    header: io::Result<Header>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin + 'static> Connections<'a, S> {
    fn new(offer: &'a Offer, worker: &'a Worker) -> Connections<'a, S> {
        Connections {
            headers: FuturesUnordered::new(),
            conversations: FuturesUnordered::new(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            is_stopping: false,
            offer,
            worker,
        }
    }

    /// Takes a connection that was accepted.
    fn admit(&mut self, mut stream: S, peer: SocketAddr) {
        let Some(proxies) = &self.offer.proxies else {
            return self.start(stream, peer, Box::default());
        };
        if !is_among(peer.ip(), proxies) || self.headers.len() == HEADERS_MAX {
            return self.worker.counters.count(Event::HeaderRejected);
        }
        self.headers.push(Box::pin(async move {
            let header = proxy_header::read(&mut stream).await;
            Arrival {
                stream,
                peer,
                header,
            }
        }));
    }

    /// Starts the conversation on a connection whose proxy has said whose it is.
    fn arrive(&mut self, arrival: Arrival<S>) {
        match arrival.header {
            Ok(Header { client, rest }) => {
                self.start(arrival.stream, client.unwrap_or(arrival.peer), rest.into());
            }
            Err(error) => {
                debug!("{}: no header of a proxy: {error}", arrival.peer);
                self.worker.counters.count(Event::HeaderRejected);
            }
        }
    }

    /// Starts a conversation, in which these bytes have been read already.
    fn start(&mut self, stream: S, client: SocketAddr, unread: Box<[u8]>) {
        let Worker {
            options, counters, ..
        } = self.worker;
        if !options.networks.admit(client.ip()) {
            return counters.count(Event::NetworkDenied);
        }
        let room = Room::take(options, client);
        let (session, room) = match room {
            Ok(room) => {
                counters.count(Event::ConnectionServed);
                (Session::new(self.offer.service, self.offer.framing), room)
            }
            Err(refused) => {
                counters.count(refused);
                let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
                    return;
                };
                let room = Room {
                    is_welcome: false,
                    _permit: permit,
                    _place: None,
                };
                (Session::refused(self.offer.framing), room)
            }
        };
        let mut conversation = Conversation::new(stream, session, unread, self.worker);
        if self.is_stopping {
            conversation.stop();
        }
        self.conversations.push(Served {
            conversation,
            client,
            room,
        });
    }

    /// Goes on until something has come to its end; returns false at once if there is nothing.
    async fn go_on(&mut self) -> bool {
        tokio::select! {
            biased;
            Some(()) = self.conversations.next() => {}
            Some(arrival) = self.headers.next() => self.arrive(arrival),
            else => return false,
        }
        true
    }

    /// Goes on until all have ended and then `last` has, for so long at most.
    async fn go_on_for(&mut self, duration: Duration, last: impl Future<Output = ()>) {
        let go_on = async {
            while self.go_on().await {}
            last.await;
        };
        // It is for the caller to see what is left.
        let _ = timeout(duration, go_on).await;
    }

    /// Answers what has been asked, and closes all; what is left after the drain timeout is cut.
    async fn drain(mut self) {
        self.is_stopping = true;
        for served in &mut self.conversations {
            served.conversation.stop();
        }
        let Worker {
            options, counters, ..
        } = self.worker;
        self.go_on_for(options.drain_timeout, ready(())).await;
        let cut = self
            .conversations
            .iter()
            .filter(|served| served.room.is_welcome);
        let cut = cut.count();
        if cut > 0 {
            counters.add(Event::ConversationCut, cut as u64);
            warn!("{cut} connections cut at the end of the drain timeout");
        }
    }
}

/// What a connection takes up.
struct Room {
    /// Whether it is more than a refusal.
    is_welcome: bool,
    _permit: OwnedSemaphorePermit,
    _place: Option<Box<Place>>,
}

impl Room {
    /// Takes room for a connection of this client, or says which there is none of.
    fn take(options: &Options, client: SocketAddr) -> Result<Room, Event> {
        let permit = Arc::clone(&options.connections).try_acquire_owned();
        let permit = permit.map_err(|_| Event::ConnectionRefused)?;
        let place = match &options.addresses {
            Some(addresses) => Some(addresses.admit(client.ip()).ok_or(Event::AddressRefused)?),
            None => None,
        };
        Ok(Room {
            is_welcome: true,
            _permit: permit,
            _place: place,
        })
    }
}

/// A conversation that takes up room, and ends alone if it panics.
struct Served<'a, S> {
    conversation: Conversation<'a, S>,
    client: SocketAddr,
    room: Room,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Served<'_, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = || Pin::new(&mut self.conversation).poll(cx);
        // What a panic leaves behind is dropped.
        let event = match panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => Event::ConversationEnded,
            Ok(Poll::Ready(Err(failure))) => {
                debug!("{}: {failure}", self.client);
                failure.event()
            }
            Err(_) => {
                error!("a conversation panicked: this is a defect of the server");
                Event::ConversationPanicked
            }
        };
        if self.room.is_welcome {
            self.conversation.counters().count(event);
        }
        Poll::Ready(())
    }
}
