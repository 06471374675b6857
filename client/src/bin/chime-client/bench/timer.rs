//! A timer that is finer than the milliseconds of a poll.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The shortest wait: zero would stop the timer.
const WAIT_MIN: Duration = Duration::from_nanos(1);

/// Wakes a poll at one instant.
#[derive(Debug)]
pub(crate) struct Timer {
    timer: TimerFd,
    /// What it is set to.
    instant: Option<Instant>,
}

impl Timer {
    /// A timer whose events have this token.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let descriptor = timer.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Timer {
            timer,
            instant: None,
        })
    }

    /// Sets it to wake a poll at `instant`, and no more at what it was set to before.
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
