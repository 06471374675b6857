//! The diagram: lanes, lifelines, arrows and labels as SVG.
//!
//! Elements without content are written `path {}`: HTML has no other way to close an SVG element.

use std::collections::BTreeMap;
use std::ops::Range;

use maud::{Markup, display, html};

use crate::Failure;
use crate::render::labels::{Span, failure_label, label, shortened};
use crate::render::layout::{
    AXIS, COLOURS, Lanes, ROW_BARE, ROW_FAILURE, ROW_LABEL, Rows, colour_class,
};
use crate::render::messages::{Message, MessageKind, Messages, client_among, subject};
use crate::trace::{ClientEvent, EventKind, Peer, ServerEvent, StreamEvent};
use crate::trace::{FaultSpan, Index};

/// The most characters of a failure's message at its event.
const FAILURE_MAX: usize = 85;

/// Draws the events of a window.
pub(super) fn svg(
    index: &Index<'_>,
    lanes: &Lanes,
    window: Range<usize>,
    failure: Option<&Failure>,
) -> Markup {
    let messages = Messages::new(index);
    let labels: Vec<_> = window
        .clone()
        .map(|event| match failure {
            Some(failure) if failure.event == event => {
                failure_label(&index.trace.events[event].kind, failure.right_bytes)
            }
            _ => label(index, event, messages.plain_reads.contains(&event)),
        })
        .collect();
    let rows = Rows::new(&index.trace.events, window.clone(), |event| match failure {
        Some(failure) if failure.event == event => ROW_FAILURE,
        _ if labels[event - window.start].is_empty() => ROW_BARE,
        _ => ROW_LABEL,
    });
    let drawing = Drawing { index, lanes, rows };
    let size = format!("0 0 {} {}", lanes.width, drawing.rows.height);
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(size) {
            defs { @for colour in (0..COLOURS).map(Some).chain([None]) { (arrow_head(colour)) } }
            (drawing.lanes())
            (drawing.times())
            (drawing.faults())
            (drawing.clients())
            (drawing.server())
            @for message in &messages.list { (drawing.message(message)) }
            @for (event, spans) in window.zip(&labels) { (drawing.event(event, spans)) }
            @if let Some(failure) = failure { (drawing.failure(failure)) }
        }
    }
}

/// What the parts of a diagram are drawn from.
struct Drawing<'a> {
    index: &'a Index<'a>,
    lanes: &'a Lanes,
    rows: Rows,
}

impl Drawing<'_> {
    fn lanes(&self) -> Markup {
        html! {
            @for lane in self.lanes.hosts.iter().chain([&self.lanes.server]) {
                rect.lane x=(lane.left + 4) y="0" width=(lane.width() - 8) height=(self.rows.height) rx="8" {}
            }
        }
    }

    fn times(&self) -> Markup {
        let x = AXIS - 14;
        let waves = usize::try_from((self.lanes.width - AXIS) / 12).unwrap_or(0);
        let wave = " q3 -5 6 0 t6 0".repeat(waves);
        html! {
            @for &event in &self.rows.times {
                text.time x=(x) y=(self.rows.y(event) - 5) { (self.index.trace.events[event].at_ms) " ms" }
            }
            @for (y, millis) in &self.rows.breaks {
                path.break d={ "M" (AXIS) " " (y) (wave) } {}
                text.break-time x=(x) y=(y + 4) { (millis) " ms pass" }
            }
        }
    }

    /// Draws each fault as a band, the shortest on top.
    fn faults(&self) -> Markup {
        let last = self.index.trace.events.len();
        let end = |span: &FaultSpan<'_>| span.end.map_or(last, |end| end.event);
        let mut faults: Vec<_> = self.index.faults.iter().collect();
        faults.sort_by_key(|span| end(span));
        let bands = faults.iter().filter_map(|span| {
            let is_around =
                |other: &&&FaultSpan<'_>| other.begin.event < end(span) && end(span) < end(other);
            let depth = faults.iter().filter(is_around).count();
            let lane = self.lanes.lane(span.kind.host());
            let inset = 4 + 4 * (depth % 4) as i32;
            let (top, bottom) = (self.rows.y(span.begin.event), self.rows.y(end(span)));
            let (width, height) = (lane.width() - 2 * inset, bottom - top);
            (height > 0).then(|| {
                html! {
                    rect.fault x=(lane.left + inset) y=(top) width=(width) height=(height) rx="4" {
                        title { (span.kind.name()) }
                    }
                }
            })
        });
        html! { @for band in bands { (band) } }
    }

    /// Draws the lifeline of each client, thick while it is connected.
    fn clients(&self) -> Markup {
        let mut lives: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let end = self.index.trace.events.len();
        for event in 0..end {
            let place = subject(self.index, event).and_then(|subject| subject.place);
            if let Some(client) = place.and_then(Peer::client) {
                lives.entry(client).or_insert((event, event)).1 = event;
            }
        }
        let lives = lives.into_iter().map(|(client, life)| (client, life, 1));
        let bar = self.lanes.bar();
        let connected = self.index.connections.values().filter_map(|connection| {
            let dropped = connection.client_side.dropped;
            let to = dropped.map_or(end, |dropped| dropped.event);
            Some((connection.client?, (connection.connected?.event, to), bar))
        });
        html! {
            @for (client, (from, to), width) in lives.chain(connected) {
                @let colour = self.lanes.colour(Some(client));
                @let x = self.lanes.x(Some(Peer::Client(client)));
                @let (top, bottom) = (self.rows.y(from), self.rows.y(to));
                @if top < bottom {
                    path class={ "lifeline " (colour) } data-client=(client) stroke-width=(width)
                        d={ "M" (x) " " (top) " V" (bottom) } { title { "client " (client) } }
                }
            }
        }
    }

    /// Draws the lifeline of the server: thick while up, thinner during shutdown, dashed while down.
    fn server(&self) -> Markup {
        let mut changes = vec![(0, "down")];
        for life in &self.index.lives {
            let moments = [Some(life.started), life.stopping, life.end];
            for (moment, class) in moments.into_iter().zip(["up", "stopping", "down"]) {
                changes.extend(moment.map(|moment| (self.rows.y(moment.event), class)));
            }
        }
        changes.push((self.rows.height, "down"));
        let x = self.lanes.x(Some(Peer::Server));
        html! {
            @for change in changes.windows(2) {
                @let ((top, class), (bottom, _)) = (change[0], change[1]);
                @if top < bottom {
                    path class={ "server " (class) } d={ "M" (x) " " (top) " V" (bottom) } {}
                }
            }
        }
    }

    /// Draws an arrow, which ends in a cross if nothing arrives.
    fn message(&self, message: &Message) -> Markup {
        let last = message.to.unwrap_or(message.from);
        if message.from >= self.rows.window.end || last < self.rows.window.start {
            return html! {};
        }
        let client = client_among(message.peers);
        let [from_x, to_x] = message.peers.map(|peer| self.lanes.edge(peer));
        let from_y = self.rows.y(message.from);
        // Most labels end before.
        let (lost_x, lost_y) = (from_x + (to_x - from_x) * 3 / 4, from_y + 3);
        let path = match message.to.map(|to| self.rows.y(to)) {
            Some(to_y) if from_x == to_x => {
                let out = from_x - 26;
                format!("M{from_x} {from_y} C{out} {from_y} {out} {to_y} {to_x} {to_y}")
            }
            Some(to_y) => format!("M{from_x} {from_y} L{to_x} {to_y}"),
            None => format!("M{from_x} {from_y} L{lost_x} {lost_y}"),
        };
        let class: &str = message.kind.into();
        let colour = self.lanes.colour(client);
        let has_head = message.to.is_some() && message.kind != MessageKind::Part;
        let head = has_head.then(|| format!("url(#head-{colour})"));
        html! {
            g class={ (class) " " (colour) } data-client=[client] {
                title {
                    (self.text(message.from))
                    @if let Some(to) = message.to { "\n" (self.text(to)) }
                }
                path d=(path) marker-end=[head] {}
                @if message.to.is_none() { (cross(lost_x, lost_y)) }
            }
        }
    }

    /// Draws the label of an event and its mark on the lifeline.
    fn event(&self, event: usize, spans: &[Span]) -> Markup {
        if spans.is_empty() {
            return html! {};
        }
        let y = self.rows.y(event);
        let kind = &self.index.trace.events[event].kind;
        let subject = subject(self.index, event);
        let client = subject.as_ref().and_then(|subject| subject.client);
        let is_at_server = match (&subject, kind) {
            (Some(subject), _) => subject.place == Some(Peer::Server),
            (None, EventKind::FaultBegan(kind) | EventKind::FaultEnded(kind)) => {
                kind.host().is_none()
            }
            (None, _) => false,
        };
        let across = match kind {
            EventKind::Healed => Some("line-healed"),
            EventKind::Panicked(_) | EventKind::Stuck(_) => Some("line-wrong"),
            _ => None,
        };
        html! {
            g class=(self.lanes.colour(client)) data-client=[client] {
                title { (self.text(event)) }
                @if let Some(subject) = &subject { (mark(kind, self.lanes.edge(subject.place), y)) }
                @if let Some(class) = across {
                    path class=(class) d={ "M" (AXIS) " " (y) " H" (self.lanes.width) } {}
                }
                (self.label(is_at_server, y - 5, client, spans))
            }
        }
    }

    /// Draws a label after the badge of its client, or before it at the server.
    fn label(&self, is_at_server: bool, y: i32, client: Option<usize>, spans: &[Span]) -> Markup {
        let (x, direction, anchor) = match is_at_server {
            true => (self.lanes.server.left - 4, -1, "end"),
            false => (self.lanes.hosts_right() + 8, 1, "start"),
        };
        let width = client.map_or(0, |client| 9 + 7 * client.to_string().len() as i32);
        let text_x = x + direction * if width > 0 { width + 5 } else { 0 };
        let middle = x + direction * width / 2;
        html! {
            @if let Some(client) = client {
                rect.badge x=(middle - width / 2) y=(y - 11) width=(width) height="14" rx="7" {}
                text.number x=(middle) y=(y - 1) { (client) }
            }
            // The halo hides lines behind the label. As a stroke of the label it would hide other spans.
            @for class in ["halo", "label"] {
                text class=(class) x=(text_x) y=(y) text-anchor=(anchor) { @for span in spans { (span) } }
            }
        }
    }

    /// Draws the failure above its event, and a ring where it happened.
    fn failure(&self, failure: &Failure) -> Markup {
        let (y, width) = (self.rows.y(failure.event), self.lanes.width - 8);
        let subject = subject(self.index, failure.event);
        let message = shortened(&failure.message, FAILURE_MAX);
        html! {
            g #failure {
                rect x="4" y=(y - ROW_FAILURE + 6) width=(width) height=(ROW_FAILURE - 4) rx="6" {}
                @if let Some(subject) = subject { circle cx=(self.lanes.edge(subject.place)) cy=(y) r="8" {} }
                text x=(AXIS) y=(y - ROW_FAILURE + 23) { (message) }
            }
        }
    }

    /// Returns an event as in the trace.
    fn text(&self, event: usize) -> impl maud::Render {
        display(self.index.trace.events[event].to_string().trim().to_owned())
    }
}

fn arrow_head(colour: Option<usize>) -> Markup {
    let colour = colour_class(colour);
    html! {
        marker id={ "head-" (colour) } class={ "head " (colour) } viewBox="0 0 10 10" refX="9" refY="5"
            markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto" {
            path d="M0 1 L10 5 L0 9 z" {}
        }
    }
}

/// Draws the mark of an event on the lifeline where it happened.
fn mark(kind: &EventKind, x: i32, y: i32) -> Markup {
    match kind {
        EventKind::Stream {
            event: StreamEvent::Failed { .. },
            ..
        }
        | EventKind::Client {
            event: ClientEvent::Failed(_),
            ..
        }
        | EventKind::Server(
            ServerEvent::Killed
            | ServerEvent::CannotAccept
            | ServerEvent::AcceptAborted
            | ServerEvent::CannotReceive
            | ServerEvent::CannotSend,
        ) => cross(x, y),
        EventKind::Stream {
            event: StreamEvent::Dropped,
            ..
        } => html! {
            rect.dropped x=(x - 3) y=(y - 3) width="6" height="6" {}
        },
        _ => html! { circle.dot cx=(x) cy=(y) r="2.5" {} },
    }
}

fn cross(x: i32, y: i32) -> Markup {
    html! { path.cross d={ "M" (x - 4) " " (y - 4) " l8 8 m-8 0 l8 -8" } {} }
}
