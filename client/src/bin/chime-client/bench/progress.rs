//! The progress bar of a run.

use std::cell::Cell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::pace::Limit;

/// The name of the phase, the bar, the progress and the rate.
const TEMPLATE: &str = "{prefix:>9} [{bar:30}] {msg}";

/// A progress bar on standard error, shown on a terminal only. `indicatif` clears it on drop.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    limit: Limit,
    start: Instant,
    /// When the progress was shown last, and the number of requests then.
    last: Cell<(Instant, u64)>,
}

impl Progress {
    /// Creates the bar of the phase `name`.
    pub(crate) fn new(name: &'static str, limit: Limit) -> Progress {
        let length = match limit {
            Limit::Requests(requests) => requests,
            Limit::Duration(duration) => milliseconds(duration),
        };
        let style = ProgressStyle::with_template(TEMPLATE);
        let bar = ProgressBar::new(length)
            .with_style(style.expect("the template is valid"))
            .with_prefix(name);
        Progress {
            bar,
            limit,
            start: Instant::now(),
            last: Cell::new((Instant::now(), 0)),
        }
    }

    /// Leaves the bar on the screen. The terminal has echoed ^C behind it, on the next row if the bar fills its own, so
    /// neither can be cleared.
    pub(crate) fn keep(&self) {
        if !self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
            // The report begins on a new row. A failure is one of the terminal, and the report shows it, too.
            let _ = writeln!(io::stderr());
        }
    }

    /// Shows the progress: `requests` have been replied to. Shows the rate since the last call, too.
    pub(crate) fn set(&self, requests: u64) {
        let now = Instant::now();
        let (last, requests_before) = self.last.replace((now, requests));
        let (position, progress) = match self.limit {
            Limit::Requests(requests_max) => {
                let requests = requests.min(requests_max);
                let (done, all) = (HumanCount(requests), HumanCount(requests_max));
                (requests, format!("{done}/{all}"))
            }
            Limit::Duration(duration) => {
                let elapsed = (now - self.start).min(duration);
                let (done, all) = (elapsed.as_secs_f64(), duration.as_secs_f64());
                (milliseconds(elapsed), format!("{done:.1}/{all} s"))
            }
        };
        self.bar.set_position(position);
        let seconds = (now - last).as_secs_f64();
        if seconds > 0.0 {
            let rate = (requests - requests_before) as f64 / seconds;
            let rate = HumanCount(rate.round() as u64);
            self.bar.set_message(format!("{progress}, {rate} a second"));
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
