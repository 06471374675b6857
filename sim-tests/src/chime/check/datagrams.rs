//! Compares the reply to each datagram with the model. A loss needs a reason.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use chime_protocol::DATAGRAM_MAX;
use chime_protocol::model::naive;
use chrono::NaiveDateTime;

use super::{PAUSE_MS, Run, SLACK_MS};
use crate::Failure;
use crate::chime::CoverageGoal as Goal;
use crate::chime::addresses::datagram_unit;
use crate::chime::server::BATCH_MAX;
use crate::trace::{Attempt, Datagram, DatagramEvent, Event, EventKind, Moment, Peer, ServerEvent};

/// Checks every datagram. Returns the counts of each server.
pub(super) fn check(
    model: naive::Answer,
    run: &Run<'_>,
    coverage: &mut BTreeSet<Goal>,
) -> Result<Vec<Counts>, Failure> {
    check_received(run)?;
    let answers = check_answers(model, run, coverage)?;
    check_arrivals(run)?;
    for (client, attempt) in run.index.attempts() {
        if attempt.is_by_datagram {
            check_question(run, &answers, client, attempt, coverage)?;
        }
    }
    note(run, coverage);
    Ok(answers.counts)
}

/// What became of the datagrams that one server received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) answered: usize,
    pub(super) unsent: usize,
    pub(super) ignored: usize,
    pub(super) limited: usize,
}

/// Whether the server ignores datagrams from this source address, or to this destination.
fn is_ignored(run: &Run<'_>, from: SocketAddr, to: SocketAddr) -> bool {
    is_service(from) || !is_unicast(to.ip()) || !run.scenario.server.serves(from.ip())
}

fn is_service(from: SocketAddr) -> bool {
    from.port() < 1024
}

fn is_unicast(to: IpAddr) -> bool {
    !to.is_multicast() && !to.to_string().ends_with(".255")
}

/// A rate limit, as a token bucket: it holds the replies of one second.
struct Bucket {
    /// In thousandths of a reply.
    level: u64,
    at_ms: u32,
    /// The number of requests that found it empty.
    excess: u32,
}

impl Bucket {
    /// Returns whether a request is answered.
    fn take(&mut self, rate: u32, now_ms: u32) -> bool {
        let rate = u64::from(rate);
        let passed_ms = u64::from(now_ms - self.at_ms);
        self.level = (self.level + passed_ms * rate).min(1_000 * rate);
        self.at_ms = now_ms;
        if self.level >= 1_000 {
            self.level -= 1_000;
            return true;
        }
        self.excess += 1;
        self.excess.is_multiple_of(4)
    }
}

fn to_server<'a>(run: &'a Run<'_>) -> impl Iterator<Item = &'a Datagram<'a>> {
    let datagrams = run.index.datagrams.values();
    datagrams.filter(|datagram| datagram.is_to_server())
}

/// The events of datagrams: index, time, number of the datagram, and the event.
fn events<'a>(run: &Run<'a>) -> impl Iterator<Item = (usize, u32, usize, &'a DatagramEvent)> {
    let events = run.index.trace.events.iter().enumerate();
    events.filter_map(|(event, happened)| match &happened.kind {
        EventKind::Datagram {
            datagram,
            event: kind,
        } => Some((event, happened.at_ms, *datagram, kind)),
        _ => None,
    })
}

/// Checks that each datagram is received once, and as it was sent.
fn check_received(run: &Run<'_>) -> Result<(), Failure> {
    for (event, _, number, kind) in events(run) {
        let DatagramEvent::Received { from, bytes, .. } = kind else {
            continue;
        };
        let sent = &run.index.datagrams[&number];
        let is_so = sent.bytes.starts_with(bytes) && sent.from == *from && !sent.is_lost;
        let is_first = sent.received.is_some_and(|first| first.event == event);
        if !is_so || !is_first {
            let message = format!("datagram {number} was received, but not as it was sent");
            return Err(Failure::new(message, event));
        }
    }
    Ok(())
}

/// A reply that the server has to send: when, from and to which address, and its bytes.
type Reply = (u32, SocketAddr, SocketAddr, Vec<u8>);

/// What became of the datagrams that the servers received.
#[derive(Default)]
struct Answers {
    /// The counts of each server.
    counts: Vec<Counts>,
    /// The numbers of those that were not answered.
    unanswered: BTreeSet<usize>,
}

/// Checks that the server sends exactly the model's replies, in order and within the millisecond.
fn check_answers(
    model: naive::Answer,
    run: &Run<'_>,
    coverage: &mut BTreeSet<Goal>,
) -> Result<Answers, Failure> {
    let rate = run.scenario.server.datagram_rate;
    let mut answers = Answers::default();
    let mut counts = &mut Counts::default();
    let mut buckets: BTreeMap<u128, Bucket> = BTreeMap::new();
    let mut due: VecDeque<(usize, Reply)> = VecDeque::new();
    for (event, happened) in run.index.trace.events.iter().enumerate() {
        let at_ms = happened.at_ms;
        if due.front().is_some_and(|(_, (due_ms, ..))| *due_ms < at_ms) {
            let message = "a request by datagram was not answered within the millisecond";
            return Err(Failure::new(message, event));
        }
        match &happened.kind {
            EventKind::Server(ServerEvent::Started) => {
                counts = answers.counts.push_mut(Counts::default());
                buckets.clear();
            }
            EventKind::Server(ServerEvent::CannotSend) => {
                counts.unsent += 1;
                if due.len() > 1 {
                    coverage.insert(Goal::BatchWithOneFailure);
                }
                let unsent = due.pop_front().map(|(request, _)| request);
                answers.unanswered.extend(unsent);
            }
            EventKind::Datagram {
                datagram,
                event: kind,
            } => match kind {
                DatagramEvent::Sent {
                    by: Peer::Server,
                    from,
                    to,
                    bytes,
                } if !run.index.datagrams[datagram].is_duplicate => {
                    counts.answered += 1;
                    let reply = due.pop_front().map(|(_, reply)| reply);
                    if reply != Some((at_ms, *from, *to, bytes.to_vec())) {
                        let message =
                            format!("datagram {datagram} is not the reply that the model expects");
                        return Err(Failure::new(message, event));
                    }
                }
                DatagramEvent::Received {
                    by: Peer::Server,
                    from,
                    bytes,
                } => {
                    let to = run.index.datagrams[datagram].to;
                    let reply = naive::datagram(model, bytes, run.index.clock(at_ms));
                    let Some(reply) = reply.filter(|_| !is_ignored(run, *from, to)) else {
                        counts.ignored += 1;
                        answers.unanswered.insert(*datagram);
                        continue;
                    };
                    let full = Bucket {
                        level: u64::MAX / 2,
                        at_ms,
                        excess: 0,
                    };
                    let unit = datagram_unit(from.ip());
                    let bucket = buckets.entry(unit).or_insert(full);
                    if bucket.take(rate, at_ms) {
                        due.push_back((*datagram, (at_ms, to, *from, reply)));
                        if bucket.excess > 0 && bucket.excess.is_multiple_of(4) {
                            coverage.insert(Goal::LimitedAnswered);
                        }
                    } else {
                        counts.limited += 1;
                        answers.unanswered.insert(*datagram);
                        coverage.insert(Goal::DatagramLimited);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
    match due.is_empty() {
        true => Ok(answers),
        false => Err(Failure::new(
            "the last request by datagram was not answered",
            run.index.trace.events.len() - 1,
        )),
    }
}

/// Checks that the server received each datagram that no fault explains as lost.
fn check_arrivals(run: &Run<'_>) -> Result<(), Failure> {
    let may_overflow = may_overflow(run);
    for datagram in to_server(run) {
        let sent_ms = datagram.sent.at_ms;
        let by_ms = sent_ms + run.latency_max_ms() + SLACK_MS;
        let host = datagram
            .by
            .client()
            .map(|client| run.index.clients[client].host);
        let is_excused = datagram.is_lost
            || datagram.received.is_some()
            || may_overflow
            || host.is_some_and(|host| run.index.has_link_fault(host, sent_ms, by_ms))
            || !run.index.is_up(sent_ms, by_ms)
            // The server pauses after a failure, and may shut down before it receives again.
            || run.scenario.network.datagram_error_percent > 0;
        if !is_excused {
            let message =
                format!("a datagram sent at {sent_ms} ms never arrived, and no fault explains it");
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// Whether the receive queue of the server may have been full.
fn may_overflow(run: &Run<'_>) -> bool {
    to_server(run).count() > run.scenario.network.datagrams_max
}

/// Checks that the client library returned a reply that arrived, or failed for a reason.
fn check_question(
    run: &Run<'_>,
    answers: &Answers,
    client: usize,
    attempt: &Attempt<'_>,
    coverage: &mut BTreeSet<Goal>,
) -> Result<(), Failure> {
    let (begin_ms, end_ms) = (attempt.begin.at_ms, attempt.end.at_ms);
    let within = |at: Moment| (attempt.begin..=attempt.end).contains(&at);
    let by_client = run
        .index
        .datagrams
        .iter()
        .filter(|(_, datagram)| datagram.by == Peer::Client(client) && within(datagram.sent));
    let sent: Vec<usize> = by_client
        .filter(|(_, datagram)| !datagram.is_duplicate)
        .map(|(number, _)| *number)
        .collect();
    let sent_count = sent.len();
    for (event, reply) in &attempt.replies {
        let has_come = run.index.datagrams.values().any(|datagram| {
            let is_here = |received: Moment| within(received) && received.event < *event;
            datagram.by == Peer::Server
                && **datagram.bytes == *reply.as_bytes()
                && datagram.received.is_some_and(is_here)
        });
        if !has_come {
            let message =
                format!("client {client} received '{reply}', which no datagram contained");
            return Err(Failure::new(message, *event));
        }
        if sent_count > 1 {
            coverage.insert(Goal::DatagramRetried);
        }
    }
    let Some((event, error)) = attempt.failed else {
        return Ok(());
    };
    let network = &run.scenario.network;
    let is_rough = network.loss_percent > 0
        || network.corruption_percent > 0
        || network.datagram_error_percent > 0;
    let is_excused = is_rough && begin_ms < run.index.healed_ms.saturating_add(PAUSE_MS)
        // A round trip takes longer than the timeout of the client library.
        || end_ms <= begin_ms + 2 * run.latency_max_ms() + SLACK_MS
        || may_overflow(run)
        || sent
            .iter()
            .all(|number| answers.unanswered.contains(number))
        || run
            .index
            .has_link_fault(run.index.clients[client].host, begin_ms, end_ms)
        || !run.index.is_up(begin_ms, end_ms);
    if !is_excused {
        let message =
            format!("client {client} got no reply by datagram, and no fault explains it: {error}");
        return Err(Failure::new(message, event));
    }
    Ok(())
}

/// Adds the goals of datagrams.
fn note(run: &Run<'_>, coverage: &mut BTreeSet<Goal>) {
    let mut see = |goal, is_seen| {
        if is_seen {
            coverage.insert(goal);
        }
    };
    for datagram in run.index.datagrams.values() {
        let is_reply = datagram.by == Peer::Server;
        see(Goal::DatagramLost, datagram.is_lost);
        see(Goal::ReplyDuplicated, is_reply && datagram.is_duplicate);
    }
    let is_link_whole = run
        .index
        .faults
        .iter()
        .all(|span| span.kind.host().is_none());
    let is_received = |event: &Event| {
        let by_server = |kind: &DatagramEvent| {
            matches!(
                kind,
                DatagramEvent::Received {
                    by: Peer::Server,
                    ..
                }
            )
        };
        matches!(&event.kind, EventKind::Datagram { event, .. } if by_server(event))
    };
    let events = &run.index.trace.events;
    let mut batches = events.chunk_by(|one, next| is_received(one) && is_received(next));
    see(
        Goal::FullBatch,
        batches.any(|batch| batch.len() >= BATCH_MAX),
    );
    let mut last_received = None;
    for datagram in to_server(run) {
        let Some(received) = datagram.received else {
            let sent_ms = datagram.sent.at_ms;
            let is_up = run.index.is_up(sent_ms, sent_ms + run.latency_max_ms() + 1);
            let is_overflow = is_link_whole && !datagram.is_lost && is_up;
            see(Goal::QueueOverflow, is_overflow);
            continue;
        };
        let reply = naive::datagram(naive::answer, datagram.bytes, NaiveDateTime::MIN);
        let is_request = reply.is_some();
        let is_spoofed = datagram.from == datagram.to;
        let length = datagram.bytes.len();
        see(Goal::RequestDuplicated, datagram.is_duplicate);
        see(Goal::DatagramOvertook, Some(received) < last_received);
        see(Goal::CorruptedIgnored, datagram.is_corrupted && !is_request);
        see(Goal::EmptyDatagram, length == 0);
        see(Goal::HugeDatagram, length > DATAGRAM_MAX);
        see(Goal::SpoofedServer, is_spoofed && is_request);
        let is_secondary = datagram.to.ip().to_string().ends_with(".201");
        see(
            Goal::SecondaryAnswered,
            is_secondary && is_request && !is_ignored(run, datagram.from, datagram.to),
        );
        see(
            Goal::BroadcastIgnored,
            is_request && !is_unicast(datagram.to.ip()),
        );
        let is_denied = !run.scenario.server.serves(datagram.from.ip());
        see(Goal::DatagramDenied, is_request && is_denied);
        see(
            Goal::ServiceIgnored,
            is_service(datagram.from) && is_request,
        );
        last_received = Some(received);
    }
}
