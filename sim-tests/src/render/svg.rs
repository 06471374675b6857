//! The drawing: messages and events over the lifelines.

use std::ops::Range;

use crate::Failure;
use crate::render::labels::{Span, failure_label, label};
use crate::render::lanes::{AXIS, Lanes, SERVER_HALF, Side};
use crate::render::markup::{Escaped, shortened};
use crate::render::messages::{Message, MessageKind, Messages, subject};
use crate::render::rows::{ROW_FAILURE, ROW_LABEL, ROW_QUIET, Rows};
use crate::trace::index::Index;
use crate::trace::{ClientEvent, DatagramEvent, EventKind, Peer, ServerEvent, StreamEvent, Trace};

/// How many colours clients have.
pub(super) const COLOURS: usize = 6;

/// How many characters of a failure stand next to the event.
const FAILURE_MAX: usize = 120;

/// Draws the events of a window.
pub(super) fn svg(
    index: &Index<'_>,
    lanes: &Lanes,
    window: Range<usize>,
    failure: Option<&Failure>,
) -> String {
    let trace = index.trace;
    let Messages { list, plain_reads } = Messages::new(index);
    let labels: Vec<_> = window
        .clone()
        .map(|event| match failure {
            Some(failure) if failure.event == event => {
                failure_label(&trace.events[event], failure.right_bytes)
            }
            _ => label(index, event, plain_reads.contains(&event)),
        })
        .collect();
    let rows = rows(trace, window, &labels, failure);
    let mut drawing = Drawing {
        index,
        lanes,
        rows,
        svg: String::new(),
    };
    drawing.draw_lanes();
    drawing.draw_times();
    drawing.draw_faults();
    if let Some(failure) = failure {
        drawing.draw_failure_row(failure);
    }
    drawing.draw_clients();
    drawing.draw_server();
    for message in &list {
        drawing.draw_message(message);
    }
    for (event, spans) in drawing.rows.window.clone().zip(labels) {
        drawing.draw_event(event, &spans);
    }
    if let Some(failure) = failure {
        drawing.draw_failure(failure);
    }
    drawing.finish()
}

/// Rows as high as what stands in them.
fn rows(
    trace: &Trace,
    window: Range<usize>,
    labels: &[Vec<Span>],
    failure: Option<&Failure>,
) -> Rows {
    let start = window.start;
    let is_failure = |index| failure.is_some_and(|failure| failure.event == index);
    Rows::new(&trace.events, window, |index| {
        let height = match &trace.events[index].kind {
            _ if is_failure(index) => ROW_FAILURE,
            _ if !labels[index - start].is_empty() => ROW_LABEL,
            EventKind::Datagram { event, .. }
                if !matches!(event, DatagramEvent::Received { .. }) =>
            {
                0
            }
            _ => ROW_QUIET,
        };
        let is_after_failure = index > start && is_failure(index - 1);
        height + if is_after_failure { ROW_QUIET } else { 0 }
    })
}

/// What is drawn so far.
pub(super) struct Drawing<'a> {
    pub(super) index: &'a Index<'a>,
    pub(super) lanes: &'a Lanes,
    pub(super) rows: Rows,
    pub(super) svg: String,
}

impl Drawing<'_> {
    fn draw_message(&mut self, message: &Message) {
        let last = message.to.unwrap_or(message.from);
        if message.from >= self.rows.window.end || last < self.rows.window.start {
            return;
        }
        let client = message.client();
        let from_x = self.edge(message.source, client);
        let to_x = self.edge(message.target, client);
        let from_y = self.rows.y(message.from);
        // Where most labels have ended.
        let (lost_x, lost_y) = (from_x + (to_x - from_x) * 3 / 4, from_y + 3);
        let class = class(&message.kind);
        let colour = self.lanes.colour(client);
        let path = match message.to.map(|to| self.rows.y(to)) {
            Some(to_y) if from_x == to_x => {
                let out = match self.lanes.own_side {
                    Side::Left => from_x - 26,
                    Side::Right => from_x + 26,
                };
                format!("M{from_x} {from_y} C{out} {from_y} {out} {to_y} {to_x} {to_y}")
            }
            Some(to_y) => format!("M{from_x} {from_y} L{to_x} {to_y}"),
            None => format!("M{from_x} {from_y} L{lost_x} {lost_y}"),
        };
        let title = self.title([Some(message.from), message.to]);
        let head = match message.kind {
            MessageKind::PartOfBytes => "",
            _ if message.to.is_none() => "",
            _ => &format!(" marker-end=\"url(#head-{colour})\""),
        };
        self.svg += &format!(
            "<g class=\"{class} {colour}\"><title>{title}</title><path d=\"{path}\"{head}/>"
        );
        if message.to.is_none() {
            self.svg += &cross(lost_x, lost_y);
        }
        self.svg += "</g>\n";
    }

    /// Where arrows begin and end at someone's line, on the side of the server where the client is.
    fn edge(&self, peer: Option<Peer>, client: Option<usize>) -> i32 {
        let x = self.lanes.x(peer);
        match (peer, self.lanes.side(client)) {
            (None, _) => x,
            (Some(Peer::Server), Side::Left) => x - SERVER_HALF,
            (Some(Peer::Server), Side::Right) => x + SERVER_HALF,
            (Some(Peer::Client(_)), Side::Left) => x + 4,
            (Some(Peer::Client(_)), Side::Right) => x - 4,
        }
    }

    fn draw_event(&mut self, event: usize, spans: &[Span]) {
        if spans.is_empty() {
            return;
        }
        let y = self.rows.y(event);
        let kind = &self.index.trace.events[event].kind;
        let subject = subject(self.index, event);
        let client = subject.as_ref().and_then(|subject| subject.client);
        let (label_x, direction) = match (&subject, kind) {
            (Some(subject), _) if subject.place == Some(Peer::Server) => {
                self.lanes.label_at_server(self.lanes.side(client))
            }
            (Some(_), _) => self.lanes.label_at_hosts(self.lanes.side(client)),
            (None, EventKind::FaultBegan(kind) | EventKind::FaultEnded(kind)) => {
                match kind.host().and_then(|host| self.lanes.hosts.get(host)) {
                    Some(lane) => self.lanes.label_at_hosts(lane.side),
                    None => self.lanes.label_at_server(self.lanes.own_side),
                }
            }
            (None, _) => self.lanes.label_at_hosts(Side::Left),
        };
        let title = self.title([Some(event), None]);
        self.svg += &format!(
            "<g class=\"{}\"><title>{title}</title>",
            self.lanes.colour(client)
        );
        if let Some(subject) = &subject {
            self.svg += &mark(kind, self.edge(subject.place, client), y);
        } else if let Some(class) = across(kind) {
            let right = self.lanes.width;
            self.svg += &format!("<path class=\"{class}\" d=\"M{AXIS} {y} H{right}\"/>");
        }
        self.svg += &label_markup(label_x, y - 5, direction, client, spans);
        self.svg += "</g>\n";
    }

    /// Writes the failure above its event, and draws a ring around where that happened.
    fn draw_failure(&mut self, failure: &Failure) {
        let y = self.rows.y(failure.event);
        if let Some(subject) = subject(self.index, failure.event) {
            let x = self.edge(subject.place, subject.client);
            self.svg += &format!("<circle class=\"ring\" cx=\"{x}\" cy=\"{y}\" r=\"8\"/>");
        }
        let baseline = y - ROW_FAILURE + 23;
        let what = shortened(&failure.message, FAILURE_MAX);
        self.svg += &format!(
            "<text class=\"failure-text\" x=\"{AXIS}\" y=\"{baseline}\">{}</text>\n",
            Escaped(&what)
        );
    }

    /// The full text of some events.
    fn title(&self, events: [Option<usize>; 2]) -> String {
        let lines = events.into_iter().flatten();
        let lines: Vec<_> = lines
            .map(|event| Escaped(self.index.trace.events[event].to_string().trim()).to_string())
            .collect();
        lines.join("\n")
    }

    fn finish(self) -> String {
        let (width, height) = (self.lanes.width, self.rows.height);
        let heads: String = (0..COLOURS)
            .map(Some)
            .chain([None])
            .map(arrow_head)
            .collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\">\n<defs>\n{heads}</defs>\n{}</svg>\n",
            self.svg
        )
    }
}

fn arrow_head(colour: Option<usize>) -> String {
    let colour = colour_class(colour);
    format!(
        "<marker id=\"head-{colour}\" class=\"head {colour}\" viewBox=\"0 0 10 10\" refX=\"9\" \
         refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" markerUnits=\"userSpaceOnUse\" \
         orient=\"auto\"><path d=\"M0 1 L10 5 L0 9 z\"/></marker>\n"
    )
}

/// The class with a colour of clients, or with the one of no client.
pub(super) fn colour_class(colour: Option<usize>) -> String {
    colour.map_or("nobody".into(), |colour| format!("client-{colour}"))
}

fn class(kind: &MessageKind) -> &'static str {
    match kind {
        MessageKind::Connection => "connection",
        MessageKind::Bytes => "stream",
        MessageKind::PartOfBytes => "part",
        MessageKind::End => "end",
        MessageKind::Datagram => "datagram",
    }
}

/// The class of the line that an event draws across all lanes.
fn across(kind: &EventKind) -> Option<&'static str> {
    match kind {
        EventKind::Healed => Some("line-healed"),
        EventKind::Panicked(_) | EventKind::Stuck(_) => Some("line-wrong"),
        _ => None,
    }
}

/// What marks an event on the line of where it happened.
fn mark(kind: &EventKind, x: i32, y: i32) -> String {
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
            ServerEvent::Killed | ServerEvent::CannotAccept | ServerEvent::CannotReceive,
        ) => cross(x, y),
        EventKind::Stream {
            event: StreamEvent::Dropped,
            ..
        } => format!(
            "<rect class=\"dropped\" x=\"{}\" y=\"{}\" width=\"6\" height=\"6\"/>",
            x - 3,
            y - 3
        ),
        _ => format!("<circle class=\"dot\" cx=\"{x}\" cy=\"{y}\" r=\"2.5\"/>"),
    }
}

fn cross(x: i32, y: i32) -> String {
    let (left, right, top, bottom) = (x - 4, x + 4, y - 4, y + 4);
    format!(
        "<path class=\"cross\" \
         d=\"M{left} {top} L{right} {bottom} M{left} {bottom} L{right} {top}\"/>"
    )
}

/// A label, after the badge of its client.
fn label_markup(
    x: i32,
    baseline: i32,
    direction: Side,
    client: Option<usize>,
    spans: &[Span],
) -> String {
    let (mut markup, badge_width) = client.map_or_else(Default::default, |client| {
        badge(x, baseline, direction, client)
    });
    let (text_x, anchor) = match direction {
        Side::Left => (x - badge_width, "end"),
        Side::Right => (x + badge_width, "start"),
    };
    let pieces: String = spans
        .iter()
        .map(|Span { class, text }| format!("<tspan class=\"{class}\">{}</tspan>", Escaped(text)))
        .collect();
    // The halo keeps lines away; as a part of the label it would cover the pieces next to it.
    for class in ["halo", "label"] {
        markup += &format!(
            "<text class=\"{class}\" x=\"{text_x}\" y=\"{baseline}\" \
             text-anchor=\"{anchor}\">{pieces}</text>"
        );
    }
    markup
}

/// The number of a client, and how much room it takes.
fn badge(x: i32, baseline: i32, direction: Side, client: usize) -> (String, i32) {
    let number = client.to_string();
    let width = 9 + 7 * number.len() as i32;
    let left = match direction {
        Side::Left => x - width,
        Side::Right => x,
    };
    let (top, middle, number_y) = (baseline - 11, left + width / 2, baseline - 1);
    let markup = format!(
        "<rect class=\"badge\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"14\" \
         rx=\"7\"/><text class=\"number\" x=\"{middle}\" y=\"{number_y}\" \
         text-anchor=\"middle\">{number}</text>"
    );
    (markup, width + 5)
}
