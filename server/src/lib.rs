//! The chime server as a library: TCP and UDP at once, over real or simulated sockets.
//!
//! ```
//! use std::num::NonZero;
//!
//! use chime_server::{Offer, Options, Sockets};
//! use tokio_util::sync::CancellationToken;
//!
//! let any = "127.0.0.1:0".parse()?;
//! let sockets = Sockets::bind(&[(any, Offer::default())], &[any])?;
//! println!("listening on tcp {}", sockets.tcp_addresses()?[0]);
//!
//! let connections_max = NonZero::new(1000).expect("not zero");
//! let options = Options::new(|| chrono::Utc::now().naive_utc(), connections_max);
//! let stop = CancellationToken::new();
//! let workers = sockets.start(NonZero::<usize>::MIN, &options, &stop)?;
//! // Clients are served, until:
//! stop.cancel();
//! workers.join()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! What this crate does **not** do: it speaks no TLS (a proxy does it), knows no accounts, and reads no flags,
//! files, signals or clock: these are for the command `chime-server`, or for any other program.
//!
//! # The shape
//!
//! ```text
//! Sockets ─ start ─► Workers      a thread for each core, with a runtime of its own
//!                       │
//!                     serve        one worker, with every socket
//!                       ├─ Listener ── accept ──► converse   for each connection:
//!                       │                                    read ─► Session ─► write
//!                       └─ Datagrams ─ exchange ─► answer    for each of a batch
//! ```
//!
//! [`serve`] takes whatever implements [`Listener`] and [`Datagrams`], so a simulated network drives the very
//! code that a real one does; the clock, the limits and the order to stop are arguments too. [`Sockets`] binds
//! real sockets and runs such workers on them. Workers share the sockets and the limits that hold for all of
//! them, and nothing that is used for each request: each has [`Counters`] of its own, which [`Monitor`] adds up.
//!
//! **A connection.** [`converse`] reads into a buffer of the worker's, the [`Session`](chime_protocol::Session)
//! writes the replies into another, and only what a client is slow to take is kept for it: a client that waits
//! owns no buffer. Nothing is read while a reply waits to be written, so there is no queue between the two that
//! could grow. After a bounded number of bytes a conversation lets others have their turn.
//!
//! **Limits.** All that a client can take is bounded by [`Options`]: connections in all and of an address, time
//! without a request, for a line, and for taking a reply, datagrams of a network. A client for which there is no
//! room is told so, in place of the welcome. Deadlines are those of tokio, whatever the clock says.
//!
//! **Stopping.** When the order comes, listeners still take who was connected before it, and close. Every
//! conversation answers what has been asked, then closes. [`serve`] returns when all have, at the drain timeout at
//! the latest.
//!
//! **Failures.** What goes wrong on a connection ends it and no other; a panic in it is counted and logged. A
//! socket that fails for a while is tried again. A worker that ends otherwise ends the server.

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

use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use addresses::{Addresses, Networks};
pub use conversation::{Failure, Worker, converse};
pub use counters::{Counters, Event, Tally};
pub use options::{Clock, Offer, Options};
pub use rate::RateLimit;
pub use sockets::Sockets;
pub use tcp::Listener;
pub use udp::{Datagram, Datagrams};
pub use workers::{Monitor, Workers};

/// Serves all of these sockets on this thread, until `stop` is cancelled and every connection has ended:
/// one worker, which counts in `counters`.
///
/// After the stop, connections get the replies to the requests received, then are closed. Those that are
/// open at the drain timeout are cut.
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
    let worker = Rc::new(Worker::new(options, Arc::clone(&counters), stop));
    // Dropping the set at the end drops the tasks of connections that are left: it cuts them.
    let tasks = LocalSet::new();
    let serving = async {
        let mut sockets = JoinSet::new();
        for (listener, offer) in listeners {
            let worker = Rc::clone(&worker);
            sockets.spawn_local(tcp::serve(listener, offer, worker));
        }
        for socket in datagrams {
            sockets.spawn_local(udp::serve(socket, Rc::clone(&worker)));
        }
        while let Some(ended) = sockets.join_next().await {
            ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
        }
    };
    tasks.run_until(serving).await;
    drop(tasks);
    let cut = counters.tally()[Event::ConversationCut];
    if cut > 0 {
        warn!("{cut} connections cut at the end of the drain timeout");
    }
}
