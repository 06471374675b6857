//! The chime server as a library: TCP and UDP at once, over real or simulated sockets.
//!
//! [`serve`] is one worker. It takes whatever implements [`Listener`] and [`Datagrams`], so a simulated
//! network drives the very code that a real one does; the clock, the limits and the order to stop are
//! arguments too. [`Sockets`] binds real sockets and runs such workers on them, each a thread with a
//! runtime of its own. Workers share the sockets and the limits that hold for all of them, and nothing that is
//! used for each request: each has [`Counters`] of its own, which [`Monitor`] adds up.
//!
//! What happens to a connection is in [`converse`]: bytes are read into a buffer of the worker's, the
//! [`Session`](chime_protocol::Session) writes the replies into another, and only what a client is slow to take is kept
//! for it. There is no queue between reading and writing, so there is none that could grow.
//!
//! What this crate does **not** do: TLS (a proxy does it), accounts, daemonising.

mod addresses;
mod conversation;
mod counters;
#[cfg(target_os = "linux")]
mod datagram_socket;
#[cfg(feature = "model")]
pub mod model;
mod options;
#[cfg(any(test, not(target_os = "linux")))]
mod plain_datagram_socket;
mod proxy_header;
mod rate;
mod sockets;
mod tcp;
mod udp;
mod workers;

use std::panic;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use addresses::{Addresses, Networks};
pub use conversation::{Failure, Worker, converse};
pub use counters::{Counters, Event, Tally};
pub use options::{Clock, Offer, Options};
pub use rate::RateLimit;
pub use sockets::{BindError, Sockets};
pub use tcp::Listener;
pub use udp::{Datagram, Datagrams};
pub use workers::{Monitor, Workers};

/// Serves all of these sockets on this thread, until `stop` is cancelled and every conversation has
/// ended: one worker, which counts in `counters`.
///
/// After the stop, who is connected gets the answers to what has been asked, then is closed. Call it
/// within a [`LocalSet`](tokio::task::LocalSet).
pub async fn serve<L, D>(
    listeners: Vec<(L, Offer)>,
    datagrams: Vec<D>,
    options: Options,
    counters: Arc<Counters>,
    stop: CancellationToken,
) where
    L: Listener + 'static,
    D: Datagrams + 'static,
{
    let worker = Rc::new(Worker::new(options, counters));
    let mut tasks = JoinSet::new();
    for (listener, offer) in listeners {
        tasks.spawn_local(tcp::serve(
            listener,
            offer,
            Rc::clone(&worker),
            stop.clone(),
        ));
    }
    for socket in datagrams {
        tasks.spawn_local(udp::serve(socket, Rc::clone(&worker), stop.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
    }
}
