//! The bar that shows how much has been sent.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less than this is not worth a bar.
const BRIEF: Duration = Duration::from_millis(500);

const TEMPLATE_OF_FILE: &str =
    "[{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
const TEMPLATE_OF_STREAM: &str = "{binary_bytes} {binary_bytes_per_sec}, {elapsed}";

/// A bar on standard error, shown only if that is a terminal. It goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
}

impl Progress {
    /// A bar for so many bytes, if that is known.
    pub(crate) fn new(length: Option<u64>) -> Progress {
        let template = match length {
            Some(_) => TEMPLATE_OF_FILE,
            None => TEMPLATE_OF_STREAM,
        };
        let style = ProgressStyle::with_template(template).expect("the template is right");
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
        Progress {
            bar: bar.with_style(style),
            start: Instant::now(),
        }
    }

    /// Counts so many more bytes, and shows the bar once that has taken a while.
    pub(crate) fn advance(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        if self.bar.is_hidden() && self.start.elapsed() >= BRIEF {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
