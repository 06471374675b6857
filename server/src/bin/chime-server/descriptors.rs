//! The limit on connections that follows from the limit on open files (`RLIMIT_NOFILE`).

use std::io;
use std::num::NonZero;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors of the process: standard streams, signals, the admin listener and its connections, files.
const PROCESS_DESCRIPTORS: u64 = 32;

/// Descriptors of a worker's runtime: two for epoll, one to wake it, one for signals.
const RUNTIME_DESCRIPTORS: u64 = 4;

/// The fewest and the most descriptors for connections that are being refused.
const REFUSALS_MIN: u64 = 32;
const REFUSALS_MAX: u64 = 1024;

/// Raises the soft limit on open files to the hard limit, and returns the new soft limit.
pub(crate) fn raise_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // If the system refuses, the soft limit stays.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    Ok(saturate(if raised.is_ok() { hard } else { soft }))
}

/// Converts a limit, which has another type on each system.
fn saturate(limit: impl TryInto<u64>) -> u64 {
    limit.try_into().unwrap_or(u64::MAX)
}

/// Returns the maximum of concurrent connections, at most `wanted`, and the maximum of connections that are
/// being refused. `limit` is the limit on open files.
///
/// # Errors
///
/// If the limit does not suffice for the workers and two connections.
pub(crate) fn connections_max(
    wanted: NonZero<u32>,
    limit: u64,
    workers: NonZero<usize>,
    sockets: usize,
) -> Result<(NonZero<u32>, usize), String> {
    // Each worker has duplicates of all sockets.
    let (workers, sockets) = (workers.get() as u64, sockets as u64);
    let duplicates = workers.saturating_mul(RUNTIME_DESCRIPTORS + sockets);
    // Two more: one connection that is served, and one that is refused.
    let needed = duplicates.saturating_add(PROCESS_DESCRIPTORS + sockets + 2);
    let free = limit.saturating_add(2).saturating_sub(needed);
    let refusals = (free / 8).clamp(1, REFUSALS_MIN);
    let possible = u32::try_from(free.saturating_sub(refusals)).unwrap_or(u32::MAX);
    let Some(possible) = NonZero::new(possible) else {
        return Err(format!(
            "--workers {workers} needs {needed} open files, and the limit is {limit} \
             (raise ulimit -n, or lower --workers)"
        ));
    };
    if wanted > possible {
        warn!(
            "--max-connections is {possible} instead of {wanted}: the limit on open files is {limit} \
             (raise ulimit -n)"
        );
    }
    let connections = wanted.min(possible);
    let refusals = (free - u64::from(connections.get())).min(REFUSALS_MAX);
    Ok((connections, refusals as usize))
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::connections_max;

    /// Returns the maxima with three workers and two sockets, which need 54 descriptors: 3 x (4 + 2) for the workers, 32 + 2
    /// for the process, and one each to serve and to refuse a connection.
    fn maxima(wanted: u32, limit: u64) -> Option<(u32, usize)> {
        let wanted = NonZero::new(wanted).expect("it is positive");
        let workers = NonZero::new(3).expect("it is positive");
        let (connections, refusals) = connections_max(wanted, limit, workers, 2).ok()?;
        Some((connections.get(), refusals))
    }

    #[test]
    fn the_limit_on_open_files_is_divided_between_served_and_refused() {
        assert_eq!(maxima(1, 53), None);
        assert_eq!(maxima(1, 54), Some((1, 1)));
        // 80 are free: an eighth is reserved for refusals.
        assert_eq!(maxima(1_000, 132), Some((70, 10)));
        // 800 are free: 32 are reserved, and refusals get what is left.
        assert_eq!(maxima(1_000, 852), Some((768, 32)));
        assert_eq!(maxima(10, 852), Some((10, 790)));
        assert_eq!(maxima(10, 2_000), Some((10, 1_024)));
        assert_eq!(maxima(u32::MAX, u64::MAX), Some((u32::MAX, 1_024)));
    }
}
