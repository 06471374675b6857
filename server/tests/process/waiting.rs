//! Waiting for a condition, however long that takes, within reason.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should come at once, before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds, and fails if that takes too long.
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, condition);
}

/// Waits until a condition holds that may take longer than others to.
pub(crate) fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
