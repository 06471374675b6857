//! Datagrams: each is answered as the model answers it, and none gets lost without a cause.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use chime_protocol::DATAGRAM_MAX;
use chime_protocol::model::naive;
use chrono::NaiveDateTime;

use super::{Failure, SLACK_MS, failure};
use crate::coverage::CoverageGoal;
use crate::trace::index::{Attempt, Datagram, Index, Moment};
use crate::trace::{DatagramEvent, EventKind, Peer};

/// Checks every datagram.
pub(super) fn check(
    model: naive::Answer,
    index: &Index<'_>,
    coverage: &mut BTreeSet<CoverageGoal>,
) -> Result<(), Failure> {
    check_received(index)?;
    check_answers(model, index)?;
    check_arrivals(index)?;
    for (client, attempt) in index.attempts() {
        if attempt.is_by_datagram {
            check_question(index, client, attempt, coverage)?;
        }
    }
    note(index, coverage);
    Ok(())
}

/// How many requests the server has answered, and how many datagrams it has ignored, in this time.
pub(super) fn counts(index: &Index<'_>, begin_ms: u32, end_ms: u32) -> (usize, usize) {
    let here = |at_ms: u32| (begin_ms..=end_ms).contains(&at_ms);
    let answered = index.datagrams.values().filter(|datagram| {
        datagram.by == Peer::Server && !datagram.is_duplicate && here(datagram.sent.at_ms)
    });
    let received = to_server(index)
        .filter_map(|datagram| datagram.received)
        .filter(|received| here(received.at_ms));
    let answered = answered.count();
    (answered, received.count() - answered)
}

/// Whether the server ignores whatever seems to come from there.
fn is_service(from: SocketAddr) -> bool {
    from.port() < 1024
}

fn to_server<'a>(index: &'a Index<'a>) -> impl Iterator<Item = &'a Datagram<'a>> {
    let datagrams = index.datagrams.values();
    datagrams.filter(|datagram| datagram.is_to_server())
}

/// What happened to datagrams: each with its event, when it was, and the number of the datagram.
fn events<'a>(index: &Index<'a>) -> impl Iterator<Item = (usize, u32, usize, &'a DatagramEvent)> {
    let events = index.trace.events.iter().enumerate();
    events.filter_map(|(event, happened)| match &happened.kind {
        EventKind::Datagram {
            datagram,
            event: kind,
        } => Some((event, happened.at_ms, *datagram, kind)),
        _ => None,
    })
}

/// What is received was sent, so, and once.
fn check_received(index: &Index<'_>) -> Result<(), Failure> {
    for (event, _, number, kind) in events(index) {
        let DatagramEvent::Received { from, bytes, .. } = kind else {
            continue;
        };
        let sent = &index.datagrams[&number];
        let is_so = sent.bytes.starts_with(bytes) && sent.from == *from && !sent.is_lost;
        let is_first = sent.received.is_some_and(|first| first.event == event);
        if !is_so || !is_first {
            let message = format!("datagram {number} is received, but not as it was sent");
            return Err(failure(message, event));
        }
    }
    Ok(())
}

/// The server sends the model's reply to each request that it receives, in order and within the
/// millisecond, and nothing else.
fn check_answers(model: naive::Answer, index: &Index<'_>) -> Result<(), Failure> {
    let mut due: VecDeque<(u32, SocketAddr, Vec<u8>)> = VecDeque::new();
    for (event, at_ms, number, kind) in events(index) {
        if due.front().is_some_and(|(due_ms, ..)| *due_ms < at_ms) {
            let message = "a request over datagrams is not answered at once";
            return Err(failure(message.into(), event));
        }
        match kind {
            DatagramEvent::Sent {
                by: Peer::Server,
                to,
                bytes,
                ..
            } if !index.datagrams[&number].is_duplicate => {
                let reply = due.pop_front();
                if reply != Some((at_ms, *to, bytes.to_vec())) {
                    let message = format!("datagram {number} is not the reply that is due");
                    return Err(failure(message, event));
                }
            }
            DatagramEvent::Received {
                by: Peer::Server,
                from,
                bytes,
            } if !is_service(*from) => {
                let reply = naive::datagram(model, bytes, index.clock(at_ms));
                due.extend(reply.map(|reply| (at_ms, *from, reply)));
            }
            _ => {}
        }
    }
    match due.is_empty() {
        true => Ok(()),
        false => Err(failure(
            "the last request over datagrams is not answered".into(),
            index.trace.events.len() - 1,
        )),
    }
}

/// What was sent to the server and met with nothing on its way has been received.
fn check_arrivals(index: &Index<'_>) -> Result<(), Failure> {
    let may_overflow = may_overflow(index);
    for datagram in to_server(index) {
        let sent_ms = datagram.sent.at_ms;
        let by_ms = sent_ms + index.latency_max_ms() + SLACK_MS;
        let host = datagram
            .by
            .client()
            .map(|client| index.clients[client].host);
        let is_excused = datagram.is_lost
            || datagram.received.is_some()
            || may_overflow
            || host.is_some_and(|host| index.has_link_fault(host, sent_ms, by_ms))
            || !index.is_up(sent_ms, by_ms)
            // It waits a while before it tries again, and may then be told to stop.
            || index.scenario.network.datagram_error_percent > 0;
        if !is_excused {
            let message = format!("a datagram was sent at {sent_ms} ms and never came");
            return Err(failure(message, index.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// Whether so many datagrams were sent to the server that its queue may have been full.
fn may_overflow(index: &Index<'_>) -> bool {
    to_server(index).count() > index.scenario.network.datagrams_max
}

/// A client was told what had come to it, or nothing, and then for a reason.
fn check_question(
    index: &Index<'_>,
    client: usize,
    attempt: &Attempt<'_>,
    coverage: &mut BTreeSet<CoverageGoal>,
) -> Result<(), Failure> {
    let (begin_ms, end_ms) = (attempt.begin.at_ms, attempt.end_ms);
    let within = |at_ms: u32| (begin_ms..=end_ms).contains(&at_ms);
    let by_client = index
        .datagrams
        .values()
        .filter(|datagram| datagram.by == Peer::Client(client) && within(datagram.sent.at_ms));
    let asked = by_client.filter(|datagram| !datagram.is_duplicate).count();
    for (event, reply) in &attempt.told {
        let has_come = index.datagrams.values().any(|datagram| {
            let is_here = |received: Moment| within(received.at_ms) && received.event < *event;
            datagram.by == Peer::Server
                && **datagram.bytes == *reply.as_bytes()
                && datagram.received.is_some_and(is_here)
        });
        if !has_come {
            let message = format!("client {client} received '{reply}', but no datagram brought it");
            return Err(failure(message, *event));
        }
        if asked > 1 {
            coverage.insert(CoverageGoal::DatagramRetried);
        }
    }
    let Some((event, error)) = attempt.failed else {
        return Ok(());
    };
    let network = &index.scenario.network;
    let is_rough = network.loss_percent > 0
        || network.corruption_percent > 0
        || network.datagram_error_percent > 0;
    let is_excused = is_rough && begin_ms < index.healed_ms
        || may_overflow(index)
        || index.has_link_fault(index.clients[client].host, begin_ms, end_ms)
        || !index.is_up(begin_ms, end_ms);
    if !is_excused {
        let message = format!("client {client} gets no answer by datagram for no reason: {error}");
        return Err(failure(message, event));
    }
    Ok(())
}

/// Notes what was seen of datagrams.
fn note(index: &Index<'_>, coverage: &mut BTreeSet<CoverageGoal>) {
    let mut see = |goal, is_seen| {
        if is_seen {
            coverage.insert(goal);
        }
    };
    for datagram in index.datagrams.values() {
        let is_reply = datagram.by == Peer::Server;
        see(CoverageGoal::DatagramLost, datagram.is_lost);
        see(
            CoverageGoal::ReplyDuplicated,
            is_reply && datagram.is_duplicate,
        );
    }
    let is_link_whole = index.faults.iter().all(|span| span.kind.host().is_none());
    let mut last_received = None;
    for datagram in to_server(index) {
        let Some(received) = datagram.received else {
            let sent_ms = datagram.sent.at_ms;
            let is_up = index.is_up(sent_ms, sent_ms + index.latency_max_ms() + 1);
            let is_overflow = is_link_whole && !datagram.is_lost && is_up;
            see(CoverageGoal::QueueOverflow, is_overflow);
            continue;
        };
        let reply = naive::datagram(naive::answer, datagram.bytes, NaiveDateTime::MIN);
        let is_request = reply.is_some();
        let is_spoofed = datagram.from == datagram.to;
        let length = datagram.bytes.len();
        see(CoverageGoal::RequestDuplicated, datagram.is_duplicate);
        see(
            CoverageGoal::DatagramOvertook,
            Some(received) < last_received,
        );
        see(
            CoverageGoal::CorruptedIgnored,
            datagram.is_corrupted && !is_request,
        );
        see(CoverageGoal::EmptyDatagram, length == 0);
        see(CoverageGoal::HugeDatagram, length > DATAGRAM_MAX);
        see(CoverageGoal::SpoofedServer, is_spoofed && is_request);
        see(
            CoverageGoal::ServiceIgnored,
            is_service(datagram.from) && is_request,
        );
        last_received = Some(received);
    }
}
