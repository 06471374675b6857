//! Where things stand from top to bottom.

use std::ops::Range;

use crate::trace::Event;

/// The height of a row that has only the head of an arrow.
pub(super) const ROW_QUIET: i32 = 9;
/// The height of a row with a label.
pub(super) const ROW_LABEL: i32 = 19;
/// The height of the row with the failure, which has two lines and some air.
pub(super) const ROW_FAILURE: i32 = 52;

/// The least height of a row with a time.
const ROW_TIME: i32 = 13;

/// The milliseconds without an event from which on time is left out.
const BREAK_MS: u32 = 20;
const BREAK: i32 = 34;

/// A row for each event that is drawn, in order.
pub(super) struct Rows {
    pub(super) window: Range<usize>,
    /// The line at the bottom of each row.
    lines: Vec<i32>,
    /// The rows with which a millisecond begins.
    pub(super) times: Vec<usize>,
    /// Where time is left out, and how many milliseconds.
    pub(super) breaks: Vec<(i32, u32)>,
    pub(super) height: i32,
}

impl Rows {
    /// Rows for the events in a window, each as high as it is told, and higher where time passes.
    pub(super) fn new(
        events: &[Event],
        window: Range<usize>,
        height: impl Fn(usize) -> i32,
    ) -> Rows {
        let mut rows = Rows {
            window: window.clone(),
            lines: Vec::new(),
            times: Vec::new(),
            breaks: Vec::new(),
            height: 8,
        };
        let mut before = None;
        for index in window {
            let now = events[index].at_ms;
            let mut least = height(index);
            if before != Some(now) {
                rows.pass(now.saturating_sub(before.unwrap_or(now)));
                rows.times.push(index);
                least = least.max(ROW_TIME);
            }
            rows.height += least;
            rows.lines.push(rows.height);
            before = Some(now);
        }
        rows.height += 16;
        rows
    }

    fn pass(&mut self, millis: u32) {
        if millis > BREAK_MS {
            self.breaks.push((self.height + BREAK / 2, millis));
            self.height += BREAK;
        } else {
            self.height += i32::try_from(millis).map_or(0, |millis| (millis - 1).max(0) * 2);
        }
    }

    /// The line of an event; what is before or after the window is at its edge.
    pub(super) fn y(&self, event: usize) -> i32 {
        match event.checked_sub(self.window.start) {
            None => 0,
            Some(row) => self.lines.get(row).copied().unwrap_or(self.height),
        }
    }
}
