//! The chime server as a library: TCP and UDP at once, over real or simulated sockets.
//!
//! [`serve`] is one worker. It takes whatever implements [`Listener`] and [`Datagrams`], so a simulated
//! network drives the very code that a real one does; the clock, the limits and the order to stop are
//! arguments too. [`Sockets`] binds real sockets and runs such workers on them, each a thread with a
//! runtime of its own. Nothing is shared between workers but the sockets and the count of connections.
//!
//! What happens to a connection is in [`converse`]: bytes are read into a buffer of the worker's, the
//! [`Session`](chime_protocol::Session) writes the replies into another, and only what a client is slow to take is kept
//! for it. There is no queue between reading and writing, so there is none that could grow.
//!
//! What this crate does **not** do: TLS (a proxy does it), accounts, daemonising.

mod conversation;
#[cfg(target_os = "linux")]
mod datagram_socket;
#[cfg(feature = "model")]
pub mod model;
#[cfg(any(test, not(target_os = "linux")))]
mod plain_datagram_socket;
mod sockets;
mod tcp;
mod udp;

use std::ops::AddAssign;
use std::panic;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use chime_protocol::{Framing, Service};
use chrono::NaiveDateTime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use conversation::{Buffers, converse};
pub use sockets::{BindError, Sockets};
pub use tcp::Listener;
pub use udp::Datagrams;

/// Tells the time that replies show.
pub type Clock = fn() -> NaiveDateTime;

/// What a server offers, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which commands are offered over TCP.
    pub service: Service,
    /// Where commands end over TCP.
    pub framing: Framing,
    /// The clock of the replies. Deadlines do not depend on it.
    pub clock: Clock,
    /// A permit for each connection served at a time, shared by the clones of these options. A client
    /// for whom there is none is told that the server is full.
    pub connections: Arc<Semaphore>,
    /// A connection on which no byte moved for this long is closed.
    pub idle_timeout: Duration,
    /// Connections that are still open this long after the stop are cut.
    pub drain_timeout: Duration,
}

/// Serves all of these sockets on this thread, until `stop` is cancelled and every conversation has
/// ended: one worker.
///
/// After the stop, who is connected gets the answers to what has been asked, then is closed. Call it
/// within a [`LocalSet`](tokio::task::LocalSet).
pub async fn serve<L, D>(
    listeners: Vec<L>,
    datagrams: Vec<D>,
    options: Options,
    stop: CancellationToken,
) -> Tally
where
    L: Listener + 'static,
    D: Datagrams + 'static,
{
    let options = Rc::new(options);
    let buffers = Rc::new(Buffers::default());
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (options, buffers) = (Rc::clone(&options), Rc::clone(&buffers));
        tasks.spawn_local(tcp::serve(listener, options, buffers, stop.clone()));
    }
    for socket in datagrams {
        tasks.spawn_local(udp::serve(socket, options.clock, stop.clone()));
    }
    let mut tally = Tally::default();
    while let Some(ended) = tasks.join_next().await {
        tally += ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
    }
    tally
}

/// What a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were welcomed.
    pub connections_served: u64,
    /// Connections for which there was no room.
    pub connections_refused: u64,
    /// Connections that ended in a panic, which is a defect of the server.
    pub connections_panicked: u64,
    /// Datagrams that were requests.
    pub datagrams_answered: u64,
    /// Datagrams that were not.
    pub datagrams_ignored: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.connections_served += other.connections_served;
        self.connections_refused += other.connections_refused;
        self.connections_panicked += other.connections_panicked;
        self.datagrams_answered += other.datagrams_answered;
        self.datagrams_ignored += other.datagrams_ignored;
    }
}
