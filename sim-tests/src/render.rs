//! Draws a run as an HTML page with a sequence diagram.
//!
//! The page is one file without references to others. Time runs downwards; the server and each host have a
//! lane, in which each client has a lifeline. A click on a client's number dims all other clients.

mod labels;
mod layout;
mod messages;
mod svg;

use std::ops::Range;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::render::layout::Lanes;
use crate::scenario::Scenario;
use crate::trace::{Index, Trace};
use crate::{Failure, Protocol};

/// The most events that are drawn.
const EVENTS_MAX: usize = 2_000;

const STYLE: PreEscaped<&str> = PreEscaped(include_str!("render/style.css"));
const SCRIPT: PreEscaped<&str> = PreEscaped(include_str!("render/filter.js"));

/// The heading of a page.
pub struct Page<'a> {
    /// What is drawn: `seed 7`, for example, or a path.
    pub name: &'a str,
    /// The command that replays it.
    pub replay: &'a str,
}

/// Draws the trace of a scenario as an HTML page, with the failure marked if there is one.
///
/// At most 2,000 events are drawn: those around the failure, or the first.
pub fn draw<P: Protocol>(
    page: &Page<'_>,
    scenario: &Scenario<P>,
    trace: &Trace,
    failure: Option<&Failure>,
) -> String {
    let index = Index::new(scenario, trace);
    let page = render(page, &scenario.to_string(), &index, failure).into_string();
    // Control characters are not allowed in HTML, not even escaped.
    page.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn render(page: &Page<'_>, scenario: &str, index: &Index<'_>, failure: Option<&Failure>) -> Markup {
    let lanes = Lanes::new(&index.clients);
    let events = &index.trace.events;
    let window = window(events.len(), failure);
    let title = format!("Simulated run: {}", page.name);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                style { (STYLE) }
            }
            body style={ "max-width:" (lanes.width) "px" } {
                h1 { (title) }
                p {
                    "clients " (index.clients.len()) " · hosts " (lanes.hosts.len())
                    " · events " (events.len()) " · " (events.last().map_or(0, |event| event.at_ms))
                    " ms · replay: " code { (page.replay) }
                }
                details { summary { "Scenario" } pre { (scenario) } }
                @if let Some(failure) = failure { (failure_box(index, failure)) }
                @if window.len() < events.len() {
                    p { "Shows the events " (window.start + 1) " to " (window.end) " of " (events.len()) "." }
                }
                (legend())
                (lane_heads(&lanes))
                (svg::svg(index, &lanes, window, failure))
                script { (SCRIPT) }
            }
        }
    }
}

/// Returns the events to draw: those around the failure, or the first.
fn window(count: usize, failure: Option<&Failure>) -> Range<usize> {
    let middle = failure.map_or(0, |failure| failure.event);
    let start_max = count.saturating_sub(EVENTS_MAX);
    let start = middle.saturating_sub(EVENTS_MAX / 2).min(start_max);
    start..count.min(start + EVENTS_MAX)
}

fn failure_box(index: &Index<'_>, failure: &Failure) -> Markup {
    let event = index.trace.events.get(failure.event);
    let event = event.map_or("at the end".into(), |event| event.to_string());
    html! { a.failure href="#failure" { b { (failure.message) } i { "↓ " (event.trim()) } } }
}

fn legend() -> Markup {
    html! {
        ul.legend {
            li { i.of-badge { "3" } "client 3: click to dim all others, click again to show all" }
            li { i.of-connect {} "connect" }
            li { i.of-stream {} "bytes, from write to the read of the last one" }
            li { i.of-part {} "partial read" }
            li { i.of-eof {} "EOF" }
            li { i.of-datagram {} "datagram" }
            li { i.of-lost { "✕" } "unread, lost or failed" }
            li { i.of-fault {} "fault" }
        }
    }
}

/// Draws the heads of the lanes, which stay visible while the page scrolls.
///
/// The numbers of clients are above their lifelines if there is room, and wrap otherwise.
fn lane_heads(lanes: &Lanes) -> Markup {
    let hosts_right = lanes.hosts_right();
    html! {
        div.heads {
            span style={ "flex:" (layout::AXIS) } {}
            @for (host, lane) in lanes.hosts.iter().enumerate() {
                div style={ "flex:" (lane.width()) } {
                    b { "host " (host) }
                    @let width = format!("min-width:calc(100%*{}/{})", lanes.spacing, lane.width());
                    @for client in &lane.clients {
                        button class=(lanes.colour(Some(*client))) data-client=(client) style=(width) {
                            i { (client) }
                        }
                    }
                }
            }
            span style={ "flex:" (lanes.server.left - hosts_right) } {}
            div style={ "flex:" (lanes.server.width()) } { b { "server" } }
            span style={ "flex:" (lanes.width - lanes.server.right) } {}
        }
    }
}
