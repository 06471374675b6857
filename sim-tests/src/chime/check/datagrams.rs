//! Compares the reply to each datagram with the model. A loss needs a reason.

use chime_protocol::DATAGRAM_MAX;
use chime_protocol::model::naive;
use chrono::NaiveDateTime;

use super::answers::{is_ignored, is_service, is_unicast};
use super::{PAUSE_MS, Run, SLACK_MS};
use crate::Failure;
use crate::chime::CoverageGoal as Goal;
use crate::chime::server::BATCH_MAX;
use crate::trace::{Attempt, Datagram, DatagramEvent, Event, EventKind, Moment, Peer};

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
pub(super) fn check_received(run: &Run<'_>) -> Result<(), Failure> {
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

/// Checks that the server received each datagram that no fault explains as lost.
pub(super) fn check_arrivals(run: &Run<'_>) -> Result<(), Failure> {
    for datagram in to_server(run) {
        let sent_ms = datagram.sent.at_ms;
        let by_ms = run
            .index
            .awake_ms(sent_ms + run.latency_max_ms() + SLACK_MS);
        let host = datagram
            .by
            .client()
            .map(|client| run.index.clients[client].host);
        let is_excused = datagram.is_lost
            || datagram.received.is_some()
            || may_overflow(run, datagram)
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

/// Whether the receive queue of the server may have been full when a datagram arrived: what was in it was received later.
fn may_overflow(run: &Run<'_>, datagram: &Datagram<'_>) -> bool {
    let sent_ms = datagram.sent.at_ms;
    let arrived_ms = run
        .index
        .awake_ms(sent_ms + run.latency_max_ms() + SLACK_MS);
    let queued = to_server(run).filter(|other| {
        let is_later = |received: Moment| received.at_ms >= sent_ms;
        other.sent.at_ms <= arrived_ms && other.received.is_some_and(is_later)
    });
    queued.count() >= run.scenario.network.datagrams_max
}

/// Checks that the client library returned a reply that arrived, or failed for a reason.
pub(super) fn check_requests(run: &Run<'_>) -> Result<(), Failure> {
    let mut attempts = run.index.attempts();
    attempts.try_for_each(|(client, attempt)| match attempt.is_by_datagram {
        true => check_request(run, client, attempt),
        false => Ok(()),
    })
}

fn check_request(run: &Run<'_>, client: usize, attempt: &Attempt<'_>) -> Result<(), Failure> {
    let (begin_ms, end_ms) = (attempt.begin.at_ms, attempt.end.at_ms);
    let within = |at: Moment| (attempt.begin..=attempt.end).contains(&at);
    let sent = || requests(run, client, attempt);
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
    }
    let Some((event, error)) = attempt.failed else {
        return Ok(());
    };
    let network = &run.scenario.network;
    let is_rough = network.loss_percent > 0
        || network.corruption_percent > 0
        || network.datagram_error_percent > 0;
    let is_lost = |(_, datagram): (usize, &Datagram<'_>)| {
        datagram.received.is_none() && may_overflow(run, datagram)
    };
    let is_unanswered = |(number, datagram): (usize, &Datagram<'_>)| {
        let latency_ms = run.latency_max_ms();
        let answered_ms = run.index.awake_ms(datagram.sent.at_ms + latency_ms);
        let is_too_late = answered_ms + latency_ms + SLACK_MS >= end_ms;
        is_too_late || run.answers.unanswered.contains(&number)
    };
    let is_excused = is_rough && begin_ms < run.index.healed_ms.saturating_add(PAUSE_MS)
        || sent().any(is_lost)
        || sent().all(is_unanswered)
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

/// The datagrams that a client sent in an attempt, with their numbers.
fn requests<'a>(
    run: &'a Run<'_>,
    client: usize,
    attempt: &'a Attempt<'_>,
) -> impl Iterator<Item = (usize, &'a Datagram<'a>)> {
    let datagrams = run.index.datagrams.iter();
    let sent = datagrams.filter(move |(_, datagram)| {
        let is_within = (attempt.begin..=attempt.end).contains(&datagram.sent);
        datagram.by == Peer::Client(client) && is_within && !datagram.is_duplicate
    });
    sent.map(|(number, datagram)| (*number, datagram))
}

/// Adds the goals of datagrams.
pub(super) fn note(run: &Run<'_>, see: &mut impl FnMut(Goal, bool)) {
    for (client, attempt) in run.index.attempts() {
        let is_answered = attempt.is_by_datagram && !attempt.replies.is_empty();
        let is_retried = is_answered && requests(run, client, attempt).count() > 1;
        see(Goal::DatagramRetried, is_retried);
    }
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
        let server = &run.scenario.server;
        let is_secondary = datagram.to.ip().to_string().ends_with(".201");
        see(
            Goal::SecondaryAnswered,
            is_secondary && is_request && !is_ignored(server, datagram.from, datagram.to),
        );
        see(
            Goal::BroadcastIgnored,
            is_request && !is_unicast(datagram.to.ip()),
        );
        let is_denied = !server.serves(datagram.from.ip());
        see(Goal::DatagramDenied, is_request && is_denied);
        see(
            Goal::ServiceIgnored,
            is_service(datagram.from) && is_request,
        );
        last_received = Some(received);
    }
}
