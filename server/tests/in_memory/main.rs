//! The library over streams in memory, in virtual time: no test here waits.

mod admission;
mod conversations;
mod deadlines;
mod many;
mod sockets;
mod stop;
mod streams;

use std::num::NonZero;
use std::time::Duration;

use chime_protocol::model::Script;
use chime_server::Options;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// How long a stop or a deadline waits for input that has arrived and is not reported yet.
const QUIET: Duration = Duration::from_millis(10);

fn options() -> Options {
    options_for(2)
}

/// Options that serve this many connections at one time.
fn options_for(connections: usize) -> Options {
    let connections = u32::try_from(connections).ok().and_then(NonZero::new);
    Options::new(Script::clock_at_start, connections.expect("not zero"))
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
