//! What everything else is drawn upon: lanes, times, faults, and who lives when.

use std::collections::BTreeMap;

use crate::Failure;
use crate::picture::lanes::AXIS;
use crate::picture::markup::Escaped;
use crate::picture::rows::ROW_FAILURE;
use crate::picture::sketch::{Sketch, colour};
use crate::trace::{ClientEvent, End, EventKind, Peer, ServerEvent, StreamEvent};

impl Sketch<'_> {
    pub(super) fn draw_backdrop(&mut self, failure: Option<&Failure>) {
        self.draw_lanes();
        self.draw_times();
        self.draw_faults();
        if let Some(failure) = failure {
            self.draw_failure_row(failure);
        }
        self.draw_clients();
        self.draw_server();
    }

    fn draw_lanes(&mut self) {
        let height = self.rows.height;
        let hosts = self.lanes.hosts.iter().map(|lane| (lane.left, lane.right));
        for (left, right) in hosts.chain([self.lanes.lane(None)]) {
            let width = right - left;
            self.svg += &format!(
                "<rect class=\"lane\" x=\"{left}\" y=\"0\" width=\"{width}\" height=\"{height}\" \
                 rx=\"8\"/>\n"
            );
        }
    }

    fn draw_times(&mut self) {
        let right = self.lanes.width;
        for &index in &self.rows.times {
            let at_ms = self.story.trace.events[index].at_ms;
            let y = self.rows.y(index);
            let (x, baseline) = (AXIS - 14, y - 5);
            self.svg += &format!(
                "<text class=\"time\" x=\"{x}\" y=\"{baseline}\" text-anchor=\"end\">{at_ms} ms\
                 </text>\n"
            );
        }
        for (y, millis) in &self.rows.breaks {
            let (x, baseline) = (AXIS - 14, y + 4);
            let waves = (right - AXIS) / 12;
            let wave = " q3 -5 6 0 t6 0".repeat(usize::try_from(waves).unwrap_or(0));
            self.svg += &format!(
                "<path class=\"break\" d=\"M{AXIS} {y}{wave}\"/>\n\
                 <text class=\"break-time\" x=\"{x}\" y=\"{baseline}\" text-anchor=\"end\">\
                 {millis} ms pass</text>\n"
            );
        }
    }

    /// Draws a band from where each fault begins to where it ends.
    fn draw_faults(&mut self) {
        let mut active = Vec::new();
        let mut bands = Vec::new();
        for (index, event) in self.story.trace.events.iter().enumerate() {
            match &event.kind {
                EventKind::FaultBegan(kind) => active.push((kind, index)),
                EventKind::FaultEnded(kind) => {
                    if let Some(begun) = active.iter().position(|(active, _)| *active == kind) {
                        let (kind, from) = active.remove(begun);
                        bands.push((kind, from, index, active.len()));
                    }
                }
                _ => {}
            }
        }
        let end = self.story.trace.events.len();
        let open = active.iter().map(|(kind, from)| (*kind, *from, end, 0));
        for (kind, from, to, depth) in bands.into_iter().chain(open) {
            let (top, bottom) = (self.rows.y(from), self.rows.y(to));
            if top == bottom {
                continue;
            }
            let inset = 4 * (depth % 4) as i32;
            let (left, right) = self.lanes.lane(kind.host());
            let (left, width) = (left + inset, right - left - 2 * inset);
            let height = bottom - top;
            let name = kind.name();
            self.svg += &format!(
                "<rect class=\"fault\" x=\"{left}\" y=\"{top}\" width=\"{width}\" \
                 height=\"{height}\" rx=\"4\"><title>{name}</title></rect>\n"
            );
        }
    }

    fn draw_failure_row(&mut self, failure: &Failure) {
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

    /// Draws a line for the life of each client, thick while it is connected.
    fn draw_clients(&mut self) {
        let mut lives: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let mut connected: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let end = self.story.trace.events.len();
        for (index, event) in self.story.trace.events.iter().enumerate() {
            if let Some(subject) = self.story.subject(index)
                && let Some(Peer::Client(client)) = subject.place
            {
                lives.entry(client).or_insert((index, index)).1 = index;
            }
            match &event.kind {
                EventKind::Client {
                    event: ClientEvent::Connected { connection },
                    ..
                } => {
                    connected.insert(*connection, (index, end));
                }
                EventKind::Stream {
                    connection,
                    end: End::Client,
                    event: StreamEvent::Dropped,
                } => {
                    connected
                        .entry(*connection)
                        .and_modify(|span| span.1 = index);
                }
                _ => {}
            }
        }
        for (client, life) in lives {
            self.draw_life(client, life, "life");
        }
        for (connection, span) in connected {
            self.draw_life(self.story.clients[&connection], span, "connected");
        }
    }

    fn draw_life(&mut self, client: usize, (from, to): (usize, usize), class: &str) {
        let (top, bottom) = (self.rows.y(from), self.rows.y(to));
        if top < bottom {
            let x = self.lanes.x(Some(Peer::Client(client)));
            let colour = colour(Some(client));
            self.svg += &format!("<path class=\"{class} {colour}\" d=\"M{x} {top} V{bottom}\"/>\n");
        }
    }

    /// Draws the line of the server: full while it listens, thin while it stops, broken else.
    fn draw_server(&mut self) {
        let mut changes = vec![(0, "down")];
        for (index, event) in self.story.trace.events.iter().enumerate() {
            if let EventKind::Server(event) = &event.kind {
                let class = match event {
                    ServerEvent::Started => "up",
                    ServerEvent::Stopping => "stopping",
                    ServerEvent::Stopped { .. } | ServerEvent::Killed => "down",
                    ServerEvent::CannotAccept | ServerEvent::CannotReceive => continue,
                };
                changes.push((self.rows.y(index), class));
            }
        }
        let ends: Vec<_> = changes.iter().skip(1).map(|(y, _)| *y).collect();
        let x = self.lanes.server;
        for ((top, class), bottom) in changes
            .into_iter()
            .zip(ends.into_iter().chain([self.rows.height]))
        {
            if top < bottom {
                self.svg +=
                    &format!("<path class=\"server {class}\" d=\"M{x} {top} V{bottom}\"/>\n");
            }
        }
    }
}
