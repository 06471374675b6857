//! Tests of the library over in-memory streams, in virtual time.

mod admission;
mod conversations;
mod deadlines;
mod many;
mod shutdown;
mod sockets;
mod streams;

use std::num::NonZero;
use std::time::Duration;

use chime_model::Script;
use chime_server::Options;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// The quiet period: how long a shutdown or a deadline waits for input that has arrived but is not
/// reported yet.
const QUIET: Duration = Duration::from_millis(10);

fn options() -> Options {
    options_for(2)
}

/// Returns options with this limit of concurrent connections.
fn options_for(connections: usize) -> Options {
    let connections = u32::try_from(connections).ok().and_then(NonZero::new);
    Options::new(Script::clock_at_start, connections.expect("not zero"))
}

/// Runs a test on one thread in virtual time: when every task is idle, time advances to the next timer.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // A test that deadlocks reaches this timeout at once.
    let month = Duration::from_secs(30 * 24 * 3600);
    let ended = LocalSet::new().block_on(&runtime, async { timeout(month, test).await });
    ended.expect("the test ends within a month of virtual time");
}
