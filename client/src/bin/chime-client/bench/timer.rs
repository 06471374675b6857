//! A timer with a finer resolution than the milliseconds of a poll.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The shortest wait: zero would disarm the timer.
const WAIT_MIN: Duration = Duration::from_nanos(1);

/// A timer that wakes a poll at an instant.
#[derive(Debug)]
pub(crate) struct Timer {
    timer: TimerFd,
    /// The instant for which it is armed.
    instant: Option<Instant>,
}

impl Timer {
    /// Creates a timer and registers it with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let descriptor = timer.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Timer {
            timer,
            instant: None,
        })
    }

    /// Arms the timer for `instant`, in place of the instant before.
    pub(crate) fn set(&mut self, instant: Instant, now: Instant) -> io::Result<()> {
        if self.instant == Some(instant) {
            return Ok(());
        }
        let wait = instant.saturating_duration_since(now).max(WAIT_MIN);
        let expiration = Expiration::OneShot(wait.into());
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        self.instant = Some(instant);
        Ok(())
    }
}
