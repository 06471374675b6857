//! Polling for a condition, with a timeout.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for an event that is due at once, before it fails.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Polls `condition` until it holds. `event` describes it.
///
/// # Panics
///
/// After [`TIMEOUT`].
pub(crate) fn wait_until(event: &str, condition: impl FnMut() -> bool) {
    wait_within(TIMEOUT, event, condition);
}

/// Like [`wait_until`], with another timeout.
pub(crate) fn wait_within(timeout: Duration, event: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < timeout, "timed out waiting until {event}");
        thread::sleep(Duration::from_millis(5));
    }
}
