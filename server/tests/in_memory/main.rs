//! The library over streams in memory, in virtual time: no test here waits.

mod conversations;
mod sockets;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use chime_protocol::model::Script;
use chime_protocol::{Framing, Service};
use chime_server::Options;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::timeout;

const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

fn options() -> Options {
    Options {
        service: Service::Both,
        framing: Framing::Line,
        clock: Script::clock_at_start,
        connections: Arc::new(Semaphore::new(2)),
        idle_timeout: IDLE_TIMEOUT,
        drain_timeout: Duration::from_secs(10),
    }
}

/// Runs a test on one thread, in virtual time: when every task waits, the next deadline is now.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // Reached at once by a test in which everything waits for ever.
    let month = Duration::from_secs(30 * 24 * 3600);
    let ended = LocalSet::new().block_on(&runtime, async { timeout(month, test).await });
    ended.expect("something happens within a month");
}
