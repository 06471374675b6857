//! Lanes, times, and the lifelines of clients and server.

use std::collections::BTreeMap;

use crate::render::lanes::AXIS;
use crate::render::messages::subject;
use crate::render::svg::Drawing;
use crate::trace::Peer;

impl Drawing<'_> {
    pub(super) fn draw_lanes(&mut self) {
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

    pub(super) fn draw_times(&mut self) {
        let right = self.lanes.width;
        for &index in &self.rows.times {
            let at_ms = self.index.trace.events[index].at_ms;
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

    /// Draws the lifeline of each client, thick while it is connected.
    pub(super) fn draw_clients(&mut self) {
        let mut lives: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let end = self.index.trace.events.len();
        for event in 0..end {
            let place = subject(self.index, event).and_then(|subject| subject.place);
            if let Some(client) = place.and_then(Peer::client) {
                lives.entry(client).or_insert((event, event)).1 = event;
            }
        }
        for (client, life) in lives {
            self.draw_life(client, life, "life");
        }
        for connection in self.index.connections.values() {
            if let (Some(client), Some(connected)) = (connection.client, connection.connected) {
                let dropped = connection.client_side.dropped;
                let dropped = dropped.map_or(end, |dropped| dropped.event);
                self.draw_life(client, (connected.event, dropped), "connected");
            }
        }
    }

    fn draw_life(&mut self, client: usize, (from, to): (usize, usize), class: &str) {
        let (top, bottom) = (self.rows.y(from), self.rows.y(to));
        if top < bottom {
            let x = self.lanes.x(Some(Peer::Client(client)));
            let colour = self.lanes.colour(Some(client));
            self.svg += &format!("<path class=\"{class} {colour}\" d=\"M{x} {top} V{bottom}\"/>\n");
        }
    }

    /// Draws the lifeline of the server: full while it listens, thin while it stops, dashed while it is down.
    pub(super) fn draw_server(&mut self) {
        let mut changes = vec![(0, "down")];
        for life in &self.index.lives {
            let moments = [Some(life.started), life.stopping, life.end];
            for (moment, class) in moments.into_iter().zip(["up", "stopping", "down"]) {
                changes.extend(moment.map(|moment| (self.rows.y(moment.event), class)));
            }
        }
        changes.push((self.rows.height, "down"));
        let x = self.lanes.server;
        for change in changes.windows(2) {
            let ((top, class), bottom) = (change[0], change[1].0);
            if top < bottom {
                self.svg +=
                    &format!("<path class=\"server {class}\" d=\"M{x} {top} V{bottom}\"/>\n");
            }
        }
    }
}
