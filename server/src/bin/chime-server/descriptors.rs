//! How many connections the limit of open files allows.

use std::io;
use std::num::NonZero;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors of the process: standard streams, signals, the admin address and its connections, files.
const PROCESS: u64 = 32;

/// Descriptors of a worker's runtime: two of epoll, one to wake it, one of signals.
const RUNTIME: u64 = 4;

/// Refusals that a worker sends at one time for each listener.
const REFUSALS: u64 = 64;

/// Raises the soft limit of open files to the hard limit, and returns what it then is.
pub(crate) fn raise_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Where the system refuses that, the soft limit stays.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(if raised.is_ok() { hard } else { soft })
}

/// Returns as many connections as are wanted and as the limit allows.
///
/// Fails if the workers and one connection would be over the limit.
pub(crate) fn connections_max(
    wanted: NonZero<u32>,
    limit: u64,
    workers: usize,
    listeners: usize,
    datagram_sockets: usize,
) -> Result<NonZero<u32>, String> {
    let [workers, listeners, datagram_sockets] =
        [workers, listeners, datagram_sockets].map(|count| count as u64);
    // Each worker has duplicates of all sockets.
    let sockets = listeners + datagram_sockets;
    let reserved = workers
        .saturating_mul(RUNTIME + sockets)
        .saturating_add(PROCESS + sockets);
    let free = limit.saturating_sub(reserved);
    // A refusal takes a descriptor while the client reads it.
    let refusals = workers.saturating_mul(listeners * REFUSALS).min(free / 8);
    let possible = u32::try_from(free - refusals).unwrap_or(u32::MAX);
    let Some(possible) = NonZero::new(possible) else {
        let needed = reserved.saturating_add(1);
        return Err(format!(
            "cannot start {workers} workers: the limit of open files is {limit} (ulimit -n); \
             they need {needed}: raise the limit, or lower --workers"
        ));
    };
    if wanted > possible {
        warn!(
            "serving at most {possible} connections at one time, \
             as the limit of open files is {limit} (ulimit -n)"
        );
    }
    Ok(wanted.min(possible))
}
