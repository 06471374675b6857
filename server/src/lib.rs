//! The chime server as a library: serves the chime protocol over TCP and UDP, on real or simulated sockets.
//!
//! The protocol itself is the state machine of the crate `chime_protocol`. This crate adds accepting, a task
//! per connection, backpressure, timeouts, limits, counters and graceful shutdown. It has no TLS (use a
//! proxy), and reads no flags, files, signals or wall clock: those belong to the binary `chime-server`.
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
//! // Serves until shutdown:
//! stop.cancel();
//! workers.join()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Architecture
//!
//! ```text
//! Sockets ── start ──► Workers    one thread per core, each with its own runtime
//!                        │
//!                      serve      one worker, with every socket
//!                        ├─ Listener ─── accept ───► one task per connection: converse
//!                        │                           read ─► Session ─► write
//!                        └─ Datagrams ── receive ─► reply ─► send, in batches
//! ```
//!
//! [`serve`] takes any [`Listener`] and any [`Datagrams`], so simulations run the code that ships. The clock,
//! the limits and the shutdown token are arguments. [`Sockets`] binds real sockets and starts workers.
//! Workers share the sockets and the limits, but no other memory that is written per request: each has its own
//! [`Counters`], and [`Stats`] adds them up. Unit tests explore how threads interleave on this shared state;
//! `src/sync.rs` says what they leave out: weak memory, and the inside of tokio's primitives.
//!
//! **Connections.** Each is a task, with its own cooperative budget, and a panic ends only that task. Buffers
//! belong to the worker, so an idle connection owns none. Nothing is read while a reply is unsent: that is the
//! backpressure. A connection that has filled the buffer yields to the others.
//!
//! **Limits.** [`Options`] bounds what clients can use: connections in total and per address, the time without
//! activity, the time per line (slow writers, slowloris), the time to read replies (slow readers), and datagrams
//! per network. A client over a connection limit gets the full notice and is closed. Deadlines use tokio's clock.
//!
//! **Graceful shutdown.** Each listener drains its backlog and closes. Each connection sends the replies to the
//! requests received before, half-closes, and lingers until the client's EOF, for at most 1 s. A short quiet
//! period lets the I/O driver report input that the kernel has received. Connections open at the drain timeout
//! are cut.

mod addresses;
mod connection_log;
mod conversation;
mod counters;
#[cfg(target_os = "linux")]
mod datagram_socket;
mod options;
#[cfg(any(test, not(target_os = "linux")))]
mod plain_datagram_socket;
mod proxy_header;
mod rate;
mod sockets;
mod sync;
mod tcp;
mod udp;
mod workers;

use std::panic;
use std::rc::Rc;

use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use addresses::{Addresses, Networks, canonical};
pub use connection_log::ACCESS;
pub use conversation::{ConversationError, WorkerContext, converse};
pub use counters::{Counter, CounterReader, CounterSnapshot, Counters};
pub use options::{Clock, ListenerConfig, Options};
pub use rate::RateLimit;
pub use sockets::Sockets;
pub use tcp::Listener;
pub use udp::{Datagram, Datagrams};
pub use workers::{Stats, Workers};

/// Runs one worker on the current thread: serves all of these sockets until `stop` is cancelled and every
/// connection has ended. It counts in `counters`.
///
/// On shutdown, each connection sends the replies to the requests received, then closes. Connections open at
/// the drain timeout are cut.
///
/// It runs on any runtime except `LocalRuntime`, which would run the tasks of its `LocalSet` itself.
pub async fn serve<L, D>(
    listeners: Vec<(L, ListenerConfig)>,
    datagrams: Vec<D>,
    options: Options,
    counters: Counters,
    stop: CancellationToken,
) where
    L: Listener + 'static,
    D: Datagrams + 'static,
{
    let reader = counters.reader();
    let context = Rc::new(WorkerContext::new(options, counters, stop));
    // Dropping the set cuts the connections that are still open: it drops their tasks.
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
    let cut = reader.snapshot()[Counter::ConversationCut];
    if cut > 0 {
        warn!("connections cut at the drain timeout: {cut}");
    }
}
