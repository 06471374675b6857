//! Which connections the server serves: a naive model of its limits, its address rules and PROXY headers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{QUIET_MS, SLACK_MS};
use crate::Failure;
use crate::chime::addresses::connection_unit;
use crate::chime::proxy::{Conclusion, Header, conclude};
use crate::chime::server::{CONVERSATIONS, PERMITS, REFUSAL_PERMITS, REFUSALS_MAX};
use crate::chime::{CoverageGoal as Goal, Form, Scenario, Server};
use crate::trace::{
    Connection, End, EventKind, Gauges, Index, Moment, Piece, ServerEvent, StreamEvent,
};

/// The time within which a PROXY header has to arrive.
const HEADER_MS: u32 = 3_000;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is served.
    Served,
    /// It is refused: the server is full.
    Full,
    /// It is refused: its address has the maximum number of connections.
    AddressFull,
    /// It is closed: its network is not served.
    Denied,
    /// It is closed: its peer is not a trusted proxy.
    Untrusted,
    /// It is closed: it has no valid PROXY header, or none in time.
    HeaderRejected,
}

/// The admission of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    pub(super) outcome: Outcome,
    /// The life of the server: an index into [`Index::lives`].
    pub(super) life: usize,
    /// When that was decided; `None` if the PROXY header remained incomplete.
    pub(super) decided: Option<Moment>,
    /// The length of its PROXY header.
    header_bytes: usize,
    /// Whether it is served although its address has been at its limit.
    is_again: bool,
}

/// The outcome, when it was decided, and the length of the PROXY header.
type Decision = (Outcome, Option<Moment>, usize);

/// Decides about each connection, and compares the gauges of the server with the model at each event.
pub(super) fn admit(
    scenario: &Scenario,
    index: &Index<'_>,
) -> Result<BTreeMap<usize, Admission>, Failure> {
    let mut admissions = BTreeMap::new();
    let mut model = Model::new(&scenario.server);
    for (event, happened) in index.trace.events.iter().enumerate() {
        let at = Moment {
            event,
            at_ms: happened.at_ms,
        };
        match &happened.kind {
            EventKind::Server(ServerEvent::Started) => model = Model::new(&scenario.server),
            EventKind::Server(ServerEvent::Gauges(gauges)) => model.check(gauges, event)?,
            EventKind::Stream {
                connection: number,
                end: End::Server,
                event,
            } => {
                let connection = &index.connections[number];
                let admission = match event {
                    StreamEvent::Accepted { .. } => model.accept(*number, connection, at),
                    StreamEvent::Read(bytes) => {
                        let header = header(scenario, connection);
                        model.read(*number, connection.from.ip(), header.as_deref(), bytes, at)
                    }
                    StreamEvent::Dropped => model.drop(*number),
                    _ => None,
                };
                if let Some((outcome, decided, header_bytes)) = admission {
                    let admission = Admission {
                        outcome,
                        life: connection.life,
                        decided,
                        header_bytes,
                        is_again: outcome == Outcome::Served && model.is_again(*number),
                    };
                    admissions.insert(*number, admission);
                }
            }
            _ => {}
        }
    }
    Ok(admissions)
}

/// The PROXY header that the client of a connection sends.
fn header<'a>(scenario: &'a Scenario, connection: &Connection<'_>) -> Option<Cow<'a, Header>> {
    match scenario.clients.get(connection.client?) {
        Some(client) => {
            let target = client.behaviour.target();
            target.and_then(|target| target.header.as_ref().map(Cow::Borrowed))
        }
        None => {
            let target = scenario.server.target_for(connection.from.ip());
            target.and_then(|target| target.header.map(Cow::Owned))
        }
    }
}

/// Adds the goals of admissions.
pub(super) fn note(
    scenario: &Scenario,
    index: &Index<'_>,
    admissions: &BTreeMap<usize, Admission>,
    coverage: &mut BTreeSet<Goal>,
) {
    let mut see = |goal, is_seen| {
        if is_seen {
            coverage.insert(goal);
        }
    };
    let server = &scenario.server;
    let mut last_served: Option<&Connection<'_>> = None;
    for (number, admission) in admissions {
        let connection = &index.connections[number];
        let side = &connection.server_side;
        let is = |outcome| admission.outcome == outcome;
        let is_served = is(Outcome::Served) && connection.client.is_some();
        let is_proxied = is_served && admission.header_bytes > 0;
        let form = header(scenario, connection).map(|header| header.form);
        let has = |forms: &[Form]| is_proxied && form.is_some_and(|form| forms.contains(&form));
        see(Goal::ProxiedByV1, has(&[Form::V1]));
        see(Goal::ProxiedByV2, has(&[Form::V2, Form::V2Longest]));
        let without = [Form::V1Unknown, Form::V2Local, Form::V2Unspecified];
        see(Goal::ProxiedWithoutAddress, has(&without));
        let reads = side.read.iter();
        let reads = reads.take_while(|piece| Some(piece.at) <= admission.decided);
        let reads: Vec<usize> = reads.map(|piece| piece.bytes.len()).collect();
        see(Goal::HeaderInPieces, is_proxied && reads.len() > 2);
        let has_more = reads.iter().sum::<usize>() > admission.header_bytes;
        see(Goal::RequestWithHeader, is_proxied && has_more);

        let is_rejected = is(Outcome::HeaderRejected);
        let is_incomplete = admission.decided.is_none() && side.read_end.is_none();
        see(
            Goal::HeaderInvalid,
            is_rejected && admission.decided.is_some(),
        );
        if let Some(dropped) = side.dropped
            && is_rejected
            && is_incomplete
        {
            let is_late = dropped.at_ms >= connection.accepted.at_ms + HEADER_MS;
            let stopping = index.lives[admission.life].stopping;
            let is_stopped = stopping.is_some_and(|stopping| stopping < dropped);
            see(Goal::HeaderTimedOut, is_late);
            see(Goal::HeaderAtStop, is_stopped && !is_late);
        }
        see(Goal::ProxyUntrusted, is(Outcome::Untrusted));
        see(Goal::NetworkDenied, is(Outcome::Denied));
        see(Goal::AddressRefused, is(Outcome::AddressFull));
        see(Goal::AddressServedAgain, admission.is_again);
        see(Goal::SecondListener, is_served && connection.listener > 0);
        let listener = &server.listeners[usize::from(connection.listener)];
        let has_rules = !server.allowed.is_empty() || listener.is_proxied();
        let is_mapped = listener.is_dual_stack && has_rules;
        see(Goal::MappedServed, is_served && is_mapped);
        if is_served {
            let is_open = |last: &Connection<'_>| {
                last.life == connection.life && last.server_side.dropped > Some(connection.accepted)
            };
            let is_second = last_served.is_some_and(is_open);
            see(Goal::SeveralWorkers, is_second && server.workers > 1);
            last_served = Some(connection);
        }
    }
}

/// What a server holds.
struct Model<'a> {
    server: &'a Server,
    permits: usize,
    refusal_permits: usize,
    /// The number of served connections by address.
    addresses: BTreeMap<u128, u32>,
    held: BTreeMap<usize, Held>,
    /// The addresses that were refused.
    refused: BTreeSet<u128>,
}

/// What the server holds for a connection.
struct Held {
    /// Whether it has a permit to be served, and not one to be refused.
    has_permit: bool,
    /// Its address, if it is served.
    address: Option<u128>,
    /// What was read, until the PROXY header is complete.
    header: Option<Vec<u8>>,
}

impl<'a> Model<'a> {
    fn new(server: &'a Server) -> Model<'a> {
        Model {
            server,
            permits: server.connections_max,
            refusal_permits: REFUSALS_MAX,
            addresses: BTreeMap::new(),
            held: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    fn accept(
        &mut self,
        number: usize,
        connection: &Connection<'_>,
        at: Moment,
    ) -> Option<Decision> {
        let listener = &self.server.listeners[usize::from(connection.listener)];
        let peer = connection.from.ip();
        if listener.is_proxied() && !listener.trusts(peer) {
            return Some((Outcome::Untrusted, Some(at), 0));
        }
        let has_permit = self.permits > 0;
        match has_permit {
            true => self.permits -= 1,
            false => self.refusal_permits -= 1,
        }
        let held = Held {
            has_permit,
            address: None,
            header: listener.is_proxied().then(Vec::new),
        };
        self.held.insert(number, held);
        match listener.is_proxied() {
            false => Some(self.decide(number, peer, at, 0)),
            true => None,
        }
    }

    fn read(
        &mut self,
        number: usize,
        peer: IpAddr,
        header: Option<&Header>,
        bytes: &[u8],
        at: Moment,
    ) -> Option<Decision> {
        let read = self.held.get_mut(&number)?.header.as_mut()?;
        read.extend(bytes);
        match conclude(header, read) {
            Conclusion::Incomplete => None,
            Conclusion::Invalid => {
                self.held.get_mut(&number)?.header = None;
                Some((Outcome::HeaderRejected, Some(at), 0))
            }
            Conclusion::Valid(length, client) => {
                self.held.get_mut(&number)?.header = None;
                Some(self.decide(number, client.unwrap_or(peer), at, length))
            }
        }
    }

    /// Applies the rules and limits that depend on the address of the client.
    fn decide(
        &mut self,
        number: usize,
        client: IpAddr,
        at: Moment,
        header_bytes: usize,
    ) -> Decision {
        let held = self.held.get_mut(&number).expect("it was accepted");
        let address = connection_unit(client);
        let count = self.addresses.get(&address).copied().unwrap_or(0);
        let outcome = if !self.server.serves(client) {
            Outcome::Denied
        } else if !held.has_permit {
            Outcome::Full
        } else if count == self.server.address_connections_max {
            // Its permit is given back at once.
            held.has_permit = false;
            self.permits += 1;
            self.refusal_permits -= 1;
            self.refused.insert(address);
            Outcome::AddressFull
        } else {
            held.address = Some(address);
            self.addresses.insert(address, count + 1);
            Outcome::Served
        };
        (outcome, Some(at), header_bytes)
    }

    /// Gives back what the connection holds.
    fn drop(&mut self, number: usize) -> Option<Decision> {
        let held = self.held.remove(&number)?;
        match held.has_permit {
            true => self.permits += 1,
            false => self.refusal_permits += 1,
        }
        if let Some(address) = held.address {
            let count = self.addresses.entry(address).or_default();
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
        held.header.map(|_| (Outcome::HeaderRejected, None, 0))
    }

    /// Whether the address of a served connection was refused before.
    fn is_again(&self, number: usize) -> bool {
        let address = self.held.get(&number).and_then(|held| held.address);
        address.is_some_and(|address| self.refused.contains(&address))
    }

    /// Compares with what the server holds.
    fn check(&self, gauges: &Gauges, event: usize) -> Result<(), Failure> {
        let open = self.held.values().filter(|held| held.address.is_some());
        let expected = [
            (PERMITS, self.permits),
            (REFUSAL_PERMITS, self.refusal_permits),
            (CONVERSATIONS, open.count()),
        ];
        for (name, expected) in expected {
            if gauges[name] != expected as u64 {
                let message = format!(
                    "the server has {name}={}, expected {expected}",
                    gauges[name]
                );
                return Err(Failure::new(message, event));
            }
        }
        let addresses = gauges.iter().filter_map(|(name, count)| {
            let network: IpNet = name.parse().ok()?;
            Some((connection_unit(network.addr()), *count))
        });
        let expected = self
            .addresses
            .iter()
            .map(|(it, count)| (*it, u64::from(*count)));
        match addresses.collect::<BTreeMap<_, _>>() == expected.collect() {
            true => Ok(()),
            false => {
                let message = format!("the connections of each address are not {gauges:?}");
                Err(Failure::new(message, event))
            }
        }
    }
}

/// The index with the conversations alone: without PROXY headers and the connections that had none.
pub(super) fn conversations<'i, 'a>(
    index: &'i Index<'a>,
    admissions: &BTreeMap<usize, Admission>,
) -> Cow<'i, Index<'a>> {
    let mut index = Cow::Borrowed(index);
    for (number, admission) in admissions {
        match (admission.outcome, admission.decided) {
            (Outcome::Served | Outcome::Full | Outcome::AddressFull, Some(decided)) => {
                if admission.header_bytes > 0 {
                    let connections = &mut index.to_mut().connections;
                    let connection = connections.get_mut(number).expect("it is in the index");
                    connection.accepted = decided;
                    skip(&mut connection.client_side.wrote, admission.header_bytes);
                    skip(&mut connection.server_side.read, admission.header_bytes);
                }
            }
            _ => drop(index.to_mut().connections.remove(number)),
        }
    }
    index
}

/// Removes the first bytes.
fn skip(pieces: &mut Vec<Piece<'_>>, mut length: usize) {
    for piece in pieces.iter_mut() {
        let skipped = length.min(piece.bytes.len());
        piece.bytes = &piece.bytes[skipped..];
        length -= skipped;
    }
    pieces.retain(|piece| !piece.bytes.is_empty());
}

/// Checks that connections without a conversation are closed in silence and in time.
pub(super) fn check_closed(
    scenario: &Scenario,
    index: &Index<'_>,
    admissions: &BTreeMap<usize, Admission>,
) -> Result<(), Failure> {
    for (number, admission) in admissions {
        let is_closed = matches!(
            admission.outcome,
            Outcome::Denied | Outcome::Untrusted | Outcome::HeaderRejected
        );
        let connection = &index.connections[number];
        let side = &connection.server_side;
        let Some(dropped) = side.dropped.filter(|_| is_closed) else {
            continue;
        };
        let fail = |what: &str| {
            let message = format!("connection {number} is {:?}, but {what}", admission.outcome);
            Err(Failure::new(message, dropped.event))
        };
        if !side.wrote.is_empty() || !connection.client_side.read.is_empty() {
            return fail("it was not silent");
        }
        let life = &index.lives[connection.life];
        let is_killed = life.end.is_some_and(|end| end <= dropped);
        // It was cut at the drain timeout.
        let is_cut = life.stopping.is_some_and(|stopping| {
            dropped.at_ms + SLACK_MS >= stopping.at_ms + scenario.server.drain_timeout_ms
        });
        let ended = [side.failed.map(|(at, _)| at), side.read_end];
        let ended = ended.into_iter().flatten().min();
        let due_ms = match admission.decided.or(ended) {
            Some(decided) => decided.at_ms,
            None => {
                let header_ms = connection.accepted.at_ms + HEADER_MS;
                let stopping_ms = life.stopping.map_or(header_ms, |stopping| stopping.at_ms);
                header_ms.min(stopping_ms.max(connection.accepted.at_ms)) + QUIET_MS
            }
        };
        if dropped.at_ms < due_ms && !is_killed && !is_cut {
            return fail("it was closed too early");
        }
        if dropped.at_ms > due_ms + SLACK_MS {
            return fail("it was closed too late");
        }
    }
    Ok(())
}
