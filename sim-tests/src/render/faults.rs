//! Faults, each a band as long as it lasts, and the row of the failure.

use crate::Failure;
use crate::render::markup::Escaped;
use crate::render::rows::ROW_FAILURE;
use crate::render::svg::Drawing;
use crate::trace::index::FaultSpan;

impl Drawing<'_> {
    /// Draws a band from where each fault begins to where it ends, the shortest on top.
    pub(super) fn draw_faults(&mut self) {
        let last = self.index.trace.events.len();
        let end = |span: &FaultSpan<'_>| span.end.map_or(last, |end| end.event);
        let mut faults: Vec<_> = self.index.faults.iter().collect();
        faults.sort_by_key(|span| end(span));
        for span in &faults {
            let is_around =
                |other: &&&FaultSpan<'_>| other.begin.event < end(span) && end(span) < end(other);
            let depth = faults.iter().filter(is_around).count();
            let (top, bottom) = (self.rows.y(span.begin.event), self.rows.y(end(span)));
            if top == bottom {
                continue;
            }
            let inset = 4 * (depth % 4) as i32;
            let (left, right) = self.lanes.lane(span.kind.host());
            let (left, width) = (left + inset, right - left - 2 * inset);
            let height = bottom - top;
            let name = span.kind.name();
            self.svg += &format!(
                "<rect class=\"fault\" x=\"{left}\" y=\"{top}\" width=\"{width}\" \
                 height=\"{height}\" rx=\"4\"><title>{name}</title></rect>\n"
            );
        }
    }

    pub(super) fn draw_failure_row(&mut self, failure: &Failure) {
        let (top, height) = (
            self.rows.y(failure.event) - ROW_FAILURE + 6,
            ROW_FAILURE + 4,
        );
        let width = self.lanes.width - 8;
        let what = Escaped(&failure.message);
        self.svg += &format!(
            "<g id=\"failure\"><title>{what}</title><rect class=\"failure-row\" x=\"4\" \
             y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/></g>\n"
        );
    }
}
