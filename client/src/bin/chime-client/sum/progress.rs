//! The progress bar of a sum.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar appears after this time.
const BAR_DELAY: Duration = Duration::from_millis(500);

const TEMPLATE_OF_FILE: &str =
    "[{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
const TEMPLATE_OF_STREAM: &str = "{binary_bytes} {binary_bytes_per_sec}, {elapsed}";

/// A progress bar on standard error, shown on a terminal only. `indicatif` clears it on drop.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// Creates a bar for `length` bytes, if that is known.
    pub(crate) fn new(length: Option<u64>) -> Progress {
        let template = match length {
            Some(_) => TEMPLATE_OF_FILE,
            None => TEMPLATE_OF_STREAM,
        };
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        Progress {
            bar: bar.with_style(style),
            start: Instant::now(),
        }
    }

    /// Adds `bytes` to the position, and shows the bar after [`BAR_DELAY`].
    pub(crate) fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        if self.bar.is_hidden() && self.start.elapsed() >= BAR_DELAY {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}
