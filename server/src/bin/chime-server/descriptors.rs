//! How many connections the limit of open files allows.

use std::io;
use std::num::NonZero;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors of the process: standard streams, signals, the admin address and its connections, files.
const PROCESS: u64 = 32;

/// Descriptors of a worker's runtime: two of epoll, one to wake it, one of signals.
const RUNTIME: u64 = 4;

/// Descriptors of clients that are told that the server is full: at least, and at most.
const REFUSALS_MIN: u64 = 32;
const REFUSALS_MAX: u64 = 1024;

/// Raises the soft limit of open files to the hard limit, and returns what it then is.
pub(crate) fn raise_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // Where the system refuses that, the soft limit stays.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(if raised.is_ok() { hard } else { soft })
}

/// Returns as many connections as are wanted and as the limit allows, and how many clients may be told
/// at one time that the server is full.
///
/// Fails if the workers and two connections would be over the limit.
pub(crate) fn connections_max(
    wanted: NonZero<u32>,
    limit: u64,
    workers: NonZero<usize>,
    sockets: usize,
) -> Result<(NonZero<u32>, usize), String> {
    // Each worker has duplicates of all sockets.
    let (workers, sockets) = (workers.get() as u64, sockets as u64);
    let duplicates = workers.saturating_mul(RUNTIME + sockets);
    // For one connection, and one that is refused.
    let needed = duplicates.saturating_add(PROCESS + sockets + 2);
    let free = limit.saturating_add(2).saturating_sub(needed);
    let refusals = (free / 8).clamp(1, REFUSALS_MIN);
    let possible = u32::try_from(free.saturating_sub(refusals)).unwrap_or(u32::MAX);
    let Some(possible) = NonZero::new(possible) else {
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
    let connections = wanted.min(possible);
    let refusals = (free - u64::from(connections.get())).min(REFUSALS_MAX);
    Ok((connections, refusals as usize))
}
