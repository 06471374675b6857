//! Drawing what happened in a simulation, for people to read.

mod faults;
mod labels;
mod lanes;
mod lifelines;
mod markup;
mod messages;
mod rows;
mod svg;

use std::ops::Range;

use crate::Failure;
use crate::render::lanes::Lanes;
use crate::render::markup::Escaped;
use crate::scenario::Scenario;
use crate::trace::index::Index;
use crate::trace::{Peer, Trace};

/// How many events are drawn at most.
const EVENTS_MAX: usize = 2_000;

const STYLE: &str = include_str!("render/style.css");

const LEGEND: &str = "<ul class=\"legend\">\
    <li><i class=\"of-badge\">3</i>client 3</li>\
    <li><i class=\"of-connection\"></i>connecting</li>\
    <li><i class=\"of-stream\"></i>bytes, from their write to the read of the last</li>\
    <li><i class=\"of-part\"></i>a read of some of them</li>\
    <li><i class=\"of-end\"></i>end of the stream</li>\
    <li><i class=\"of-datagram\"></i>datagram</li>\
    <li><i class=\"of-lost\">✕</i>never read, lost or failed</li>\
    <li><i class=\"of-fault\"></i>fault</li>\
    </ul>\n";

/// Draws what happened in a run of a scenario as a page of HTML that needs nothing else.
///
/// Time runs downwards; the server and each host have a lane. If something is wrong, the page says
/// what, and shows where.
pub fn draw(scenario: &Scenario, trace: &Trace, failure: Option<&Failure>) -> String {
    let lanes = Lanes::new(scenario);
    let window = window(trace.events.len(), failure);
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>A simulated run of chime</title>\n",
    );
    page += &format!("<style>\n{STYLE}</style>\n</head>\n<body>\n");
    page += &heading(scenario, trace);
    if let Some(failure) = failure {
        page += &failure_box(trace, failure);
    }
    if window.len() < trace.events.len() {
        page += &format!(
            "<p>There were {} events. Only those from {} to {} are drawn.</p>\n",
            trace.events.len(),
            window.start + 1,
            window.end
        );
    }
    page += LEGEND;
    page += &lane_heads(&lanes);
    page += &svg::svg(&Index::new(scenario, trace), &lanes, window, failure);
    page + "</body>\n</html>\n"
}

/// The events to draw: those around the failure, or the first.
fn window(count: usize, failure: Option<&Failure>) -> Range<usize> {
    let middle = failure.map_or(0, |failure| failure.event);
    let start_max = count.saturating_sub(EVENTS_MAX);
    let start = middle.saturating_sub(EVENTS_MAX / 2).min(start_max);
    start..count.min(start + EVENTS_MAX)
}

fn heading(scenario: &Scenario, trace: &Trace) -> String {
    let length_ms = trace.events.last().map_or(0, |event| event.at_ms);
    format!(
        "<h1>A simulated run of chime</h1>\n<p>service {} · framing {} · seed {} · \
         clients {} · hosts {} · {} events in {length_ms} ms</p>\n",
        scenario.server.service,
        scenario.server.framing,
        scenario.seed,
        scenario.clients.len(),
        scenario.host_count(),
        trace.events.len(),
    )
}

fn failure_box(trace: &Trace, failure: &Failure) -> String {
    let event = trace.events.get(failure.event);
    let event = event.map_or("at the end".into(), |event| event.to_string());
    format!(
        "<a class=\"failure\" href=\"#failure\"><b>{}</b><i>↓ {}</i></a>\n",
        Escaped(&failure.message),
        Escaped(event.trim()),
    )
}

/// The heads of the lanes, which stay in sight.
fn lane_heads(lanes: &Lanes) -> String {
    let mut heads = format!("<div class=\"heads\" style=\"width:{}px\">", lanes.width);
    for (host, lane) in lanes.hosts.iter().enumerate() {
        let middle = (lane.left + lane.right) / 2;
        heads += &format!("<span class=\"name\" style=\"left:{middle}px\">host {host}</span>");
        for client in &lane.clients {
            let x = lanes.x(Some(Peer::Client(*client)));
            let colour = lanes.colour(Some(*client));
            heads += &format!(
                "<span class=\"client {colour}\" style=\"left:{x}px\" title=\"client {client}\">\
                 {client}</span>"
            );
        }
    }
    let server = lanes.server;
    heads + &format!("<span class=\"name\" style=\"left:{server}px\">server</span></div>\n")
}
