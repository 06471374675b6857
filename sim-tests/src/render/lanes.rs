//! Where things stand from left to right.

use crate::render::svg::{COLOURS, colour_class};
use crate::scenario::Scenario;
use crate::trace::Peer;

/// How wide the column with the times is.
pub(super) const AXIS: i32 = 84;

/// Between the hosts of a side and the server, where the labels have their place.
const GAP: i32 = 470;

/// Between the lines of two clients on a host.
const CLIENT: i32 = 30;

const HOST_MIN: i32 = 76;
const MARGIN: i32 = 24;

/// Half of the width of the server's line.
pub(super) const SERVER_HALF: i32 = 6;

/// The server with the hosts to both sides of it.
pub(super) struct Lanes {
    pub(super) hosts: Vec<Lane>,
    pub(super) server: i32,
    pub(super) width: i32,
    /// Where each client stands, on which side, and its colour.
    clients: Vec<(i32, Side, usize)>,
    /// The side on which there is room for what is the server's own.
    pub(super) own_side: Side,
}

/// The lane of a host.
pub(super) struct Lane {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) side: Side,
    /// The clients on it, the one that tries the healed server last.
    pub(super) clients: Vec<usize>,
}

/// A side of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Lanes {
    pub(super) fn new(scenario: &Scenario) -> Lanes {
        let host_count = scenario.host_count();
        let left_count = host_count.div_ceil(2);
        let has_right = left_count < host_count;
        let mut lanes = Lanes {
            hosts: Vec::new(),
            server: 0,
            width: AXIS,
            clients: vec![(0, Side::Left, 0); scenario.clients.len() + host_count],
            own_side: if has_right { Side::Right } else { Side::Left },
        };
        for host in 0..left_count {
            lanes.add(scenario, host, Side::Left);
        }
        lanes.server = lanes.width + GAP;
        lanes.width = lanes.server + if has_right { GAP } else { MARGIN };
        for host in left_count..host_count {
            lanes.add(scenario, host, Side::Right);
        }
        lanes.width += MARGIN;
        lanes
    }

    fn add(&mut self, scenario: &Scenario, host: usize, side: Side) {
        let is_here = |client: &usize| scenario.clients[*client].host == host;
        let mut clients: Vec<_> = (0..scenario.clients.len()).filter(is_here).collect();
        clients.push(scenario.clients.len() + host);
        let taken = CLIENT * clients.len() as i32;
        let width = HOST_MIN.max(taken);
        let left = self.width + if self.hosts.is_empty() { 0 } else { 8 };
        let first = left + (width - taken) / 2 + CLIENT / 2;
        let before: usize = self.hosts.iter().map(|host| host.clients.len()).sum();
        for (place, client) in (0..).zip(&clients) {
            let colour = (before + place as usize) % COLOURS;
            self.clients[*client] = (first + CLIENT * place, side, colour);
        }
        self.width = left + width;
        self.hosts.push(Lane {
            left,
            right: left + width,
            side,
            clients,
        });
    }

    /// Where someone stands; who is not known stands half-way.
    pub(super) fn x(&self, peer: Option<Peer>) -> i32 {
        match peer {
            Some(Peer::Server) => self.server,
            Some(Peer::Client(client)) if client < self.clients.len() => self.clients[client].0,
            _ => match self.own_side {
                Side::Left => self.server - GAP / 2,
                Side::Right => self.server + GAP / 2,
            },
        }
    }

    /// The side of a client, or the one for what is the server's own.
    pub(super) fn side(&self, client: Option<usize>) -> Side {
        let place = client.and_then(|client| self.clients.get(client));
        place.map_or(self.own_side, |(_, side, _)| *side)
    }

    /// The class with the colour of a client. Those side by side differ.
    pub(super) fn colour(&self, client: Option<usize>) -> String {
        let place = client.and_then(|client| self.clients.get(client));
        colour_class(place.map(|(_, _, colour)| *colour))
    }

    /// The lane from left to right of a host, or of the server.
    pub(super) fn lane(&self, host: Option<usize>) -> (i32, i32) {
        match host.and_then(|host| self.hosts.get(host)) {
            Some(lane) => (lane.left, lane.right),
            None => (self.server - 24, self.server + 24),
        }
    }

    /// Where a label begins at the hosts of a side, and in which direction it goes on.
    pub(super) fn label_at_hosts(&self, side: Side) -> (i32, Side) {
        match side {
            Side::Left => (self.server - GAP + 8, Side::Right),
            Side::Right => (self.server + GAP - 8, Side::Left),
        }
    }

    /// Where a label begins at a side of the server, and in which direction it goes on.
    pub(super) fn label_at_server(&self, side: Side) -> (i32, Side) {
        match side {
            Side::Left => (self.server - 28, Side::Left),
            Side::Right => (self.server + 28, Side::Right),
        }
    }
}
