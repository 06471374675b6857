//! The progress bar of a run.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::pace::Limit;

/// The template: the name of the phase, the bar, the position and the length.
const TEMPLATE: &str = "{msg:>9} [{bar:40}] {pos}/{len}";

/// A progress bar on standard error, shown on a terminal only. `indicatif` clears it on drop.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    limit: Limit,
    start: Instant,
}

impl Progress {
    /// Creates the bar of the phase `name`.
    pub(crate) fn new(name: &'static str, limit: Limit) -> Progress {
        let (length, unit) = match limit {
            Limit::Requests(requests) => (requests, ""),
            Limit::Duration(duration) => (milliseconds(duration), " ms"),
        };
        let style = ProgressStyle::with_template(&format!("{TEMPLATE}{unit}"));
        let bar = ProgressBar::new(length)
            .with_style(style.expect("the template is valid"))
            .with_message(name);
        Progress {
            bar,
            limit,
            start: Instant::now(),
        }
    }

    /// Shows the progress: `requests` have been replied to.
    pub(crate) fn set(&self, requests: u64) {
        self.bar.set_position(match self.limit {
            Limit::Requests(requests_max) => requests.min(requests_max),
            Limit::Duration(duration) => milliseconds(self.start.elapsed().min(duration)),
        });
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
