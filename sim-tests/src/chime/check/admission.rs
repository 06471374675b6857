//! Which connections the server serves: a naive model of its limits, its address rules and PROXY headers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use chime_server::Counter;
use ipnet::IpNet;

use super::{QUIET_MS, Run};
use crate::Failure;
use crate::chime::addresses::connection_unit;
use crate::chime::proxy::{Conclusion, Header, conclude};
use crate::chime::server::{CONVERSATIONS, PERMITS, REFUSAL_PERMITS, name};
use crate::chime::{CoverageGoal as Goal, Form, Scenario};
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
    /// It is dropped: the server ended before there was a permit for it.
    Abandoned,
}

/// The admission of a connection.
#[derive(Clone, Copy, Debug)]
struct Admission {
    outcome: Outcome,
    /// The life of the server: an index into [`Index::lives`].
    life: usize,
    /// When it got a permit, if it needed one.
    permitted: Option<Moment>,
    /// When that was decided; `None` if the PROXY header remained incomplete.
    decided: Option<Moment>,
    /// The length of its PROXY header.
    header_bytes: usize,
    /// Whether it is served although its address has been at its limit.
    is_again: bool,
}

/// The admissions of a run.
pub(super) struct Admissions {
    by_connection: BTreeMap<usize, Admission>,
    /// When connections waited for a permit.
    waits: Vec<(u32, u32)>,
    /// The first difference of the gauges of a server from the model.
    gauges_failure: Option<Failure>,
}

/// The number of ways to resolve what a trace leaves open, until one agrees with it.
const TRIES_MAX: usize = 100;

impl Admissions {
    /// Follows the servers.
    ///
    /// Where permits become free in the millisecond in which a connection needs one, the trace leaves open which of them
    /// it gets. The first way is taken that agrees with all that follows.
    pub(super) fn new(scenario: &Scenario, index: &Index<'_>) -> Admissions {
        let mut choices = Vec::new();
        let (first, mut wrong) = Admissions::with(scenario, index, &mut choices);
        for _ in 0..TRIES_MAX {
            // The last choice before the contradiction that has an alternative.
            choices.truncate(wrong.unwrap_or(0));
            while choices.pop_if(|is_first| !*is_first).is_some() {}
            let Some(last) = choices.last_mut() else {
                return first;
            };
            *last = false;
            let (admissions, next) = Admissions::with(scenario, index, &mut choices);
            if next.is_none() {
                return admissions;
            }
            wrong = next;
        }
        first
    }

    /// Follows the servers with these choices, and adds those that are missing. Returns also how many of them were made
    /// before the first contradiction.
    fn with(
        scenario: &Scenario,
        index: &Index<'_>,
        choices: &mut Vec<bool>,
    ) -> (Admissions, Option<usize>) {
        let mut admissions = BTreeMap::new();
        let mut gauges_failure = None;
        let mut waits = Vec::new();
        let mut model = Model::new(scenario, index, Choices::of(choices));
        for (event, happened) in index.trace.events.iter().enumerate() {
            let at = Moment {
                event,
                at_ms: happened.at_ms,
            };
            match &happened.kind {
                EventKind::Server(ServerEvent::Started) => {
                    admissions.append(&mut model.admissions);
                    waits.append(&mut model.waits);
                    model = Model::new(scenario, index, model.choices);
                }
                EventKind::Server(ServerEvent::Gauges(gauges)) => {
                    model.admit_permitted(None, at);
                    if let Err(failure) = model.check(gauges, event) {
                        model.choices.contradict();
                        gauges_failure.get_or_insert(failure);
                    }
                }
                EventKind::Server(ServerEvent::Stopped { counters })
                    if !model.agrees_with(counters) =>
                {
                    model.choices.contradict();
                }
                EventKind::Stream {
                    connection: number,
                    end: End::Server,
                    event,
                } => {
                    model.admit_permitted(Some(*number), at);
                    match event {
                        StreamEvent::Accepted { .. } => model.accept(*number, at),
                        StreamEvent::Read(bytes) => model.read(*number, bytes, at),
                        StreamEvent::Dropped => model.drop(*number, at),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        admissions.append(&mut model.admissions);
        waits.append(&mut model.waits);
        let contradicted = model.choices.contradicted;
        let admissions = Admissions {
            by_connection: admissions,
            waits,
            gauges_failure,
        };
        (admissions, contradicted)
    }

    /// The outcome of a conversation.
    pub(super) fn outcome(&self, connection: usize) -> Outcome {
        // A run that is stuck has connections that are not decided.
        let admission = self.by_connection.get(&connection);
        admission.map_or(Outcome::Abandoned, |admission| admission.outcome)
    }

    /// When connections waited for a permit, and those behind them in the backlog.
    pub(super) fn waits(&self) -> impl Iterator<Item = (u32, u32)> {
        self.waits.iter().copied()
    }

    /// The number of connections of a server with one of these outcomes.
    pub(super) fn count(&self, life: usize, outcomes: &[Outcome]) -> usize {
        let admissions = self.by_connection.values();
        let such = admissions.filter(|it| it.life == life && outcomes.contains(&it.outcome));
        such.count()
    }

    /// Checks that the server held what the model holds, after each millisecond.
    pub(super) fn check_gauges(&self) -> Result<(), Failure> {
        self.gauges_failure.clone().map_or(Ok(()), Err)
    }

    /// The index with the conversations alone: without PROXY headers and the connections that had none.
    pub(super) fn conversations<'i, 'a>(&self, index: &'i Index<'a>) -> Cow<'i, Index<'a>> {
        let mut index = Cow::Borrowed(index);
        for (number, admission) in &self.by_connection {
            match (admission.outcome, admission.decided) {
                (Outcome::Served | Outcome::Full | Outcome::AddressFull, Some(decided)) => {
                    if index.connections[number].accepted != decided {
                        let connections = &mut index.to_mut().connections;
                        let connection = connections.get_mut(number).expect("it is in the index");
                        // It begins only now.
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
}

/// Whether the first reply is that to a client that is served, if there is one.
fn is_served(connection: &Connection<'_>) -> Option<bool> {
    let first = connection.server_side.wrote.first();
    first.map(|first| first.bytes.starts_with(b"W"))
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
pub(super) fn note(run: &Run<'_>, see: &mut impl FnMut(Goal, bool)) {
    let (scenario, index) = (run.scenario, run.whole);
    let server = &scenario.server;
    let mut last_served: Option<&Connection<'_>> = None;
    for (number, admission) in &run.admissions.by_connection {
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
        let is_late = admission.decided > Some(connection.accepted);
        see(Goal::PermitAwaited, is_late && form.is_none());
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

/// What the trace leaves open.
struct Choices<'a> {
    /// Whether the first of two ways is taken.
    choices: &'a mut Vec<bool>,
    made: usize,
    /// How many were made before the trace contradicted them.
    contradicted: Option<usize>,
}

impl<'a> Choices<'a> {
    fn of(choices: &'a mut Vec<bool>) -> Choices<'a> {
        Choices {
            choices,
            made: 0,
            contradicted: None,
        }
    }

    fn is_first(&mut self) -> bool {
        if self.made == self.choices.len() {
            self.choices.push(true);
        }
        self.made += 1;
        self.choices[self.made - 1]
    }

    fn contradict(&mut self) {
        self.contradicted.get_or_insert(self.made);
    }
}

/// A server: what it holds, and what it has decided.
struct Model<'a> {
    scenario: &'a Scenario,
    index: &'a Index<'a>,
    admissions: BTreeMap<usize, Admission>,
    permits: usize,
    refusal_permits: usize,
    /// The connections that wait for a permit, to be served or refused.
    waiting: VecDeque<usize>,
    waits: Vec<(u32, u32)>,
    /// The connections that have waited, and whose address the server has not looked at since.
    permitted: Vec<usize>,
    held: BTreeMap<usize, Held>,
    /// The number of served connections by address.
    addresses: BTreeMap<u128, u32>,
    /// The addresses that were refused.
    refused: BTreeSet<u128>,
    /// The last connection that was accepted, if the worker yields before it looks at its address.
    late: Option<usize>,
    choices: Choices<'a>,
}

/// What the server holds for a connection.
struct Held {
    permitted: Moment,
    /// Whether it has a permit to be served, and not one to be refused.
    has_permit: bool,
    /// Its address, if it is served.
    address: Option<u128>,
    /// What was read, until the PROXY header is complete.
    header: Option<Vec<u8>>,
}

impl<'a> Model<'a> {
    fn new(scenario: &'a Scenario, index: &'a Index<'a>, choices: Choices<'a>) -> Model<'a> {
        Model {
            scenario,
            index,
            admissions: BTreeMap::new(),
            permits: scenario.server.connections_max,
            refusal_permits: scenario.server.refusals_max,
            waiting: VecDeque::new(),
            waits: Vec::new(),
            permitted: Vec::new(),
            held: BTreeMap::new(),
            addresses: BTreeMap::new(),
            refused: BTreeSet::new(),
            late: None,
            choices,
        }
    }

    fn decide(&mut self, number: usize, outcome: Outcome, decided: Option<Moment>) {
        let admission = Admission {
            outcome,
            life: self.index.connections[&number].life,
            permitted: self.held.get(&number).map(|held| held.permitted),
            decided,
            header_bytes: 0,
            is_again: false,
        };
        self.admissions.insert(number, admission);
    }

    fn accept(&mut self, number: usize, at: Moment) {
        self.admit_late();
        let connection = &self.index.connections[&number];
        let listener = &self.scenario.server.listeners[usize::from(connection.listener)];
        match listener.is_proxied() && !listener.trusts(connection.from.ip()) {
            true => self.decide(number, Outcome::Untrusted, Some(at)),
            false => {
                self.waiting.push_back(number);
                self.give_permits(at);
            }
        }
    }

    /// Gives free permits to the connections that wait.
    fn give_permits(&mut self, at: Moment) {
        while let Some(number) = self.waiting.front() {
            let connection = &self.index.connections[number];
            let has_permit = self.permits > 0;
            if has_permit {
                self.permits -= 1;
            } else if self.refusal_permits > 0
                // After a wait a permit to be served may follow before the server looks.
                && (at.event == connection.accepted.event
                    || is_served(connection) != Some(true) && self.choices.is_first())
            {
                self.refusal_permits -= 1;
            } else {
                return;
            }
            let number = self.waiting.pop_front().expect("it is not empty");
            self.waits.push((connection.accepted.at_ms, at.at_ms));
            let listener = &self.scenario.server.listeners[usize::from(connection.listener)];
            let held = Held {
                permitted: at,
                has_permit,
                address: None,
                header: listener.is_proxied().then(Vec::new),
            };
            self.held.insert(number, held);
            match listener.is_proxied() {
                true => {}
                false if at == connection.accepted => {
                    let count = self.addresses.get(&connection_unit(connection.from.ip()));
                    let max = self.scenario.server.address_connections_max;
                    let rest = max - count.copied().unwrap_or(0);
                    self.late = Some(number);
                    let is_open = rest <= 1 && !self.is_accept(at.event + 1);
                    if !is_open || self.choices.is_first() != (rest == 0) {
                        self.admit_late();
                    }
                }
                false => self.permitted.push(number),
            }
        }
    }

    /// Lets the server look at the address of the last connection that it has accepted.
    fn admit_late(&mut self) {
        if let Some(number) = self.late.take() {
            let connection = &self.index.connections[&number];
            self.admit(number, connection.from.ip(), connection.accepted, 0);
        }
    }

    /// Lets the server look at the address of this connection, or of all, that got a permit after a wait.
    fn admit_permitted(&mut self, wanted: Option<usize>, at: Moment) {
        if wanted.is_none_or(|wanted| self.late == Some(wanted)) {
            self.admit_late();
        }
        let is_wanted = |number: &mut usize| wanted.is_none_or(|wanted| wanted == *number);
        let permitted: Vec<_> = self.permitted.extract_if(.., is_wanted).collect();
        for number in permitted {
            let client = self.index.connections[&number].from.ip();
            self.admit(number, client, at, 0);
        }
    }

    fn read(&mut self, number: usize, bytes: &[u8], at: Moment) {
        let Some(read) = self
            .held
            .get_mut(&number)
            .and_then(|held| held.header.as_mut())
        else {
            return;
        };
        read.extend(bytes);
        let connection = &self.index.connections[&number];
        let conclusion = conclude(header(self.scenario, connection).as_deref(), read);
        if conclusion != Conclusion::Incomplete {
            self.held.get_mut(&number).expect("it is held").header = None;
        }
        match conclusion {
            Conclusion::Incomplete => {}
            Conclusion::Invalid => self.decide(number, Outcome::HeaderRejected, Some(at)),
            Conclusion::Valid(length, client) => {
                self.admit(number, client.unwrap_or(connection.from.ip()), at, length);
            }
        }
    }

    /// Applies the rules and limits that depend on the address of the client.
    fn admit(&mut self, number: usize, client: IpAddr, at: Moment, header_bytes: usize) {
        let server = &self.scenario.server;
        let held = self.held.get_mut(&number).expect("it is held");
        let address = connection_unit(client);
        let count = self.addresses.get(&address).copied().unwrap_or(0);
        let mut is_again = false;
        let outcome = if !server.serves(client) {
            Outcome::Denied
        } else if !held.has_permit {
            Outcome::Full
        } else if count == server.address_connections_max {
            if self.refusal_permits > 0 {
                held.has_permit = false;
                self.permits += 1;
                self.refusal_permits -= 1;
            }
            self.refused.insert(address);
            Outcome::AddressFull
        } else {
            held.address = Some(address);
            self.addresses.insert(address, count + 1);
            is_again = self.refused.contains(&address);
            Outcome::Served
        };
        let is_served = is_served(&self.index.connections[&number]);
        if is_served.is_some_and(|is_served| is_served != (outcome == Outcome::Served)) {
            self.choices.contradict();
        }
        self.decide(number, outcome, Some(at));
        let admission = self.admissions.get_mut(&number).expect("it is decided");
        admission.header_bytes = header_bytes;
        admission.is_again = is_again;
        self.give_permits(at);
    }

    /// Whether this event is an accept.
    fn is_accept(&self, event: usize) -> bool {
        let event = self.index.trace.events.get(event);
        let kind = event.map(|event| &event.kind);
        matches!(
            kind,
            Some(EventKind::Stream {
                event: StreamEvent::Accepted { .. },
                ..
            })
        )
    }

    /// Gives back what the connection holds.
    fn drop(&mut self, number: usize, at: Moment) {
        if let Some(place) = self.waiting.iter().position(|waiting| *waiting == number) {
            self.waiting.remove(place);
            let accepted_ms = self.index.connections[&number].accepted.at_ms;
            self.waits.push((accepted_ms, at.at_ms));
            return self.decide(number, Outcome::Abandoned, None);
        }
        let Some(held) = self.held.remove(&number) else {
            return;
        };
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
        if held.header.is_some() {
            self.decide(number, Outcome::HeaderRejected, None);
            let admission = self.admissions.get_mut(&number).expect("it is decided");
            admission.permitted = Some(held.permitted);
        }
        self.give_permits(at);
    }

    /// Whether the server counts what the model has decided: of a connection to which nothing was written, nothing else
    /// tells whether it was served.
    fn agrees_with(&self, counters: &BTreeMap<String, u64>) -> bool {
        let outcomes = [
            (Counter::ConnectionServed, Outcome::Served),
            (Counter::AddressRefused, Outcome::AddressFull),
        ];
        outcomes.into_iter().all(|(counter, outcome)| {
            let admissions = self.admissions.values();
            let count = admissions.filter(|it| it.outcome == outcome).count();
            counters[&name(counter)] == count as u64
        })
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
        if !self.waiting.is_empty() && self.permits + self.refusal_permits > 0 {
            let message = "a connection waits for a permit although one is free";
            return Err(Failure::new(message, event));
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
pub(super) fn check_closed(run: &Run<'_>) -> Result<(), Failure> {
    let (scenario, index) = (run.scenario, run.whole);
    for (number, admission) in &run.admissions.by_connection {
        let is_closed = matches!(
            admission.outcome,
            Outcome::Denied | Outcome::Untrusted | Outcome::HeaderRejected | Outcome::Abandoned
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
            let drain_ms = scenario.server.drain_timeout_ms;
            dropped.at_ms >= run.elapsed_ms(stopping.at_ms, drain_ms)
        });
        if admission.outcome == Outcome::Abandoned {
            match is_killed || is_cut {
                true => continue,
                false => return fail("the server did not end"),
            }
        }
        let ended = [side.failed.map(|(at, _)| at), side.read_end];
        let ended = ended.into_iter().flatten().min();
        let due_ms = match admission.decided.or(ended) {
            Some(decided) => decided.at_ms,
            None => {
                let permitted_ms = admission.permitted.map_or(0, |permitted| permitted.at_ms);
                let header_ms = permitted_ms + HEADER_MS;
                let stopping_ms = life.stopping.map_or(header_ms, |stopping| stopping.at_ms);
                run.elapsed_ms(header_ms.min(stopping_ms.max(permitted_ms)), QUIET_MS)
            }
        };
        if dropped.at_ms < due_ms && !is_killed && !is_cut {
            return fail("it was closed too early");
        }
        if dropped.at_ms > due_ms {
            return fail("it was closed too late");
        }
    }
    Ok(())
}
