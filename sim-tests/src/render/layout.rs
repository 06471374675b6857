//! Coordinates: lanes and lifelines from left to right, rows of events from top to bottom.

use std::ops::Range;

use crate::trace::Client;
use crate::trace::{Event, Peer};

/// The number of colours. Neighbouring clients have different ones.
pub(super) const COLOURS: usize = 6;

/// The width of the column with the times.
pub(super) const AXIS: i32 = 84;

/// The width that all hosts together keep to, as long as their names fit.
const HOSTS_MAX: i32 = 540;
const HOST_MIN: i32 = 56;
const HOST_PADDING: i32 = 8;

/// The most pixels between the lifelines of two clients of a host.
const SPACING_MAX: i32 = 30;

/// The width between hosts and server, for arrows and labels.
const GAP: i32 = 470;
const SERVER_LANE: i32 = 48;
const MARGIN: i32 = 24;

/// The least width of a drawing.
const WIDTH_MIN: i32 = 760;

/// Half of the width of the server's lifeline.
const SERVER_HALF: i32 = 6;

/// The x coordinates: the times, the hosts with their clients, the labels, the server.
pub(super) struct Lanes {
    pub(super) hosts: Vec<Lane>,
    pub(super) server: Lane,
    pub(super) width: i32,
    /// The distance between the lifelines of two clients of a host.
    pub(super) spacing: i32,
    /// The x coordinate and the colour of each client.
    clients: Vec<(i32, usize)>,
}

/// The lane of a host or of the server.
#[derive(Clone, Default)]
pub(super) struct Lane {
    pub(super) left: i32,
    pub(super) right: i32,
    /// The clients on it.
    pub(super) clients: Vec<usize>,
}

impl Lane {
    pub(super) fn width(&self) -> i32 {
        self.right - self.left
    }

    fn width_at(&self, spacing: i32) -> i32 {
        HOST_MIN.max(spacing * self.clients.len() as i32 + HOST_PADDING)
    }
}

impl Lanes {
    pub(super) fn new(clients: &[Client<'_>]) -> Lanes {
        let host_count = clients.iter().map(|client| client.host + 1).max();
        let mut hosts = vec![Lane::default(); host_count.unwrap_or(0)];
        for (number, client) in clients.iter().enumerate() {
            hosts[client.host].clients.push(number);
        }
        let width_at = |spacing| hosts.iter().map(|lane| lane.width_at(spacing)).sum::<i32>();
        let mut spacings = (1..=SPACING_MAX).rev();
        let spacing = spacings.find(|spacing| width_at(*spacing) <= HOSTS_MAX);
        let spacing = spacing.unwrap_or(1);
        let mut lifelines = vec![(0, 0); clients.len()];
        let mut colours = (0..COLOURS).cycle();
        let mut right = AXIS;
        for lane in &mut hosts {
            lane.left = right;
            right += lane.width_at(spacing);
            lane.right = right;
            let taken = spacing * lane.clients.len() as i32;
            let first = lane.left + (lane.width() - taken + spacing) / 2;
            let places = (0..).map(|place| first + spacing * place);
            for (client, lifeline) in lane.clients.iter().zip(places.zip(&mut colours)) {
                lifelines[*client] = lifeline;
            }
        }
        let left = (right + GAP).max(WIDTH_MIN - MARGIN - SERVER_LANE);
        let server = Lane {
            left,
            right: left + SERVER_LANE,
            clients: Vec::new(),
        };
        let width = server.right + MARGIN;
        Lanes {
            hosts,
            server,
            width,
            spacing,
            clients: lifelines,
        }
    }

    /// Returns the lifeline of a peer; an unknown peer is half-way between hosts and server.
    pub(super) fn x(&self, peer: Option<Peer>) -> i32 {
        let client = |client| self.clients.get(client).map(|(x, _)| *x);
        match peer {
            Some(Peer::Server) => self.server.left + SERVER_LANE / 2,
            peer => peer
                .and_then(Peer::client)
                .and_then(client)
                .unwrap_or(self.server.left - GAP / 2),
        }
    }

    /// Returns where arrows at a peer begin and end: on that side of its lifeline where labels are.
    pub(super) fn edge(&self, peer: Option<Peer>) -> i32 {
        let x = self.x(peer);
        match peer {
            Some(Peer::Server) => x - SERVER_HALF,
            Some(Peer::Client(_)) => x + self.bar() / 2 + 1,
            None => x,
        }
    }

    /// Returns the width of the lifeline of a connected client.
    pub(super) fn bar(&self) -> i32 {
        (self.spacing - 1).clamp(1, 6)
    }

    /// Returns the class with the colour of a client.
    pub(super) fn colour(&self, client: Option<usize>) -> String {
        let place = client.and_then(|client| self.clients.get(client));
        colour_class(place.map(|(_, colour)| *colour))
    }

    /// Returns the lane of a host, or of the server.
    pub(super) fn lane(&self, host: Option<usize>) -> &Lane {
        host.and_then(|host| self.hosts.get(host))
            .unwrap_or(&self.server)
    }

    /// Returns the right edge of the last host.
    pub(super) fn hosts_right(&self) -> i32 {
        self.hosts.last().map_or(AXIS, |lane| lane.right)
    }
}

/// Returns the class with a colour of clients, or the class of events without a client.
pub(super) fn colour_class(colour: Option<usize>) -> String {
    colour.map_or("no-client".into(), |colour| format!("colour-{colour}"))
}

/// The height of a row without a label.
pub(super) const ROW_BARE: i32 = 9;
/// The height of a row with a label.
pub(super) const ROW_LABEL: i32 = 19;
/// The height of the row with the failure, which has two lines and padding.
pub(super) const ROW_FAILURE: i32 = 52;
/// The least height of a row with a time.
const ROW_TIME: i32 = 13;

/// The length of a gap without events, in milliseconds, that is cut short.
const BREAK_MS: u32 = 20;
const BREAK: i32 = 34;

/// The y coordinates: one row for each event that is drawn.
pub(super) struct Rows {
    pub(super) window: Range<usize>,
    /// The bottom of each row, where arrows begin and end.
    bottoms: Vec<i32>,
    /// The first event of each millisecond.
    pub(super) times: Vec<usize>,
    /// The y coordinate and the milliseconds of each gap that is cut short.
    pub(super) breaks: Vec<(i32, u32)>,
    pub(super) height: i32,
}

impl Rows {
    /// Places the events of a window, given the least height of each row.
    pub(super) fn new(
        events: &[Event],
        window: Range<usize>,
        height: impl Fn(usize) -> i32,
    ) -> Rows {
        let mut rows = Rows {
            window: window.clone(),
            bottoms: Vec::new(),
            times: Vec::new(),
            breaks: Vec::new(),
            height: 8,
        };
        let mut before = None;
        for event in window {
            let now = events[event].at_ms;
            let mut height = height(event);
            if before != Some(now) {
                rows.pass(now.saturating_sub(before.unwrap_or(now)));
                rows.times.push(event);
                height = height.max(ROW_TIME);
            }
            rows.height += height;
            rows.bottoms.push(rows.height);
            before = Some(now);
        }
        rows.height += 16;
        rows
    }

    /// Adds height for milliseconds without events.
    fn pass(&mut self, millis: u32) {
        if millis > BREAK_MS {
            self.breaks.push((self.height + BREAK / 2, millis));
            self.height += BREAK;
        } else {
            self.height += 2 * millis.saturating_sub(1) as i32;
        }
    }

    /// Returns the y coordinate of an event; that of an event outside the window is at the window's edge.
    pub(super) fn y(&self, event: usize) -> i32 {
        match event.checked_sub(self.window.start) {
            None => 0,
            Some(row) => self.bottoms.get(row).copied().unwrap_or(self.height),
        }
    }
}
