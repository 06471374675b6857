//! The chime server as a library: TCP and UDP at once, over real or simulated sockets.
//!
//! ```
//! use std::num::NonZero;
//!
//! use chime_server::{ListenerConfig, Options, Sockets};
//! use tokio_util::sync::CancellationToken;
//!
//! let any = "127.0.0.1:0".parse()?;
//! let sockets = Sockets::bind(&[(any, ListenerConfig::default())], &[any])?;
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
//! This crate speaks no TLS (a proxy does), and reads no flags, files, signals or clock (`chime-server` does).
//!
//! # The shape
//!
//! ```text
//! Sockets ── start ──► Workers    a thread for each core, with a runtime of its own
//!                        │
//!                      serve      one worker, with every socket
//!                        ├─ Listener ─── accept ───► a task for each connection: converse
//!                        │                           read ─► Session ─► write
//!                        └─ Datagrams ── receive ─► answer ─► send, a batch at a time
//! ```
//!
//! [`serve`] takes any [`Listener`] and any [`Datagrams`], so simulations run the code that ships; the clock, the
//! limits and the shutdown are arguments. [`Sockets`] binds real sockets and starts workers. Workers share the
//! sockets and the limits, and no memory that is written per request: each has its own [`Counters`], which
//! [`Stats`] adds up.
//!
//! **Connections.** Each is a task, with the cooperative budget of a task, and isolated if it panics. Buffers
//! belong to the worker: an idle connection owns none. Nothing is read while a reply is unsent, which is the
//! backpressure. A connection that has filled the buffer yields to the others.
//!
//! **Limits.** [`Options`] bounds all that clients can take: connections in all and per address, time without a
//! request, for a line and for reading a reply, datagrams per network. A client over a limit is told that the
//! server is full. Deadlines use tokio's clock.
//!
//! **Graceful shutdown.** Each listener drains its backlog and closes. Each connection gets the replies to the
//! requests that arrived before, and is closed. A short quiet period lets the I/O driver report what has arrived.
//! What is open at the drain timeout is cut.

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

pub use addresses::{Addresses, Networks, canonical};
pub use conversation::{ConversationError, WorkerContext, converse};
pub use counters::{Counter, CounterSnapshot, Counters};
pub use options::{Clock, ListenerConfig, Options};
pub use rate::RateLimit;
pub use sockets::Sockets;
pub use tcp::Listener;
pub use udp::{Datagram, Datagrams};
pub use workers::{Stats, Workers};

/// Serves all of these sockets on this thread, until `stop` is cancelled and every connection has ended:
/// one worker, which counts in `counters`.
///
/// It runs on any runtime but a `LocalRuntime`, which takes the tasks of its `LocalSet` over.
///
/// After the stop, connections get the replies to the requests received, then are closed. Those that are
/// open at the drain timeout are cut.
pub async fn serve<L, D>(
    listeners: Vec<(L, ListenerConfig)>,
    datagrams: Vec<D>,
    options: Options,
    counters: Arc<Counters>,
    stop: CancellationToken,
) where
    L: Listener + 'static,
    D: Datagrams + 'static,
{
    let context = Rc::new(WorkerContext::new(options, Arc::clone(&counters), stop));
    // Dropping the set at the end drops the tasks of connections that are left: it cuts them.
    let tasks = LocalSet::new();
    let serving = async {
        let mut sockets = JoinSet::new();
        for (listener, config) in listeners {
            let context = Rc::clone(&context);
            sockets.spawn_local(tcp::serve(listener, config, context));
        }
        for socket in datagrams {
            sockets.spawn_local(udp::serve(socket, Rc::clone(&context)));
        }
        while let Some(ended) = sockets.join_next().await {
            ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()));
        }
    };
    tasks.run_until(serving).await;
    drop(tasks);
    let cut = counters.snapshot()[Counter::ConversationCut];
    if cut > 0 {
        warn!("{cut} connections cut at the end of the drain timeout");
    }
}
