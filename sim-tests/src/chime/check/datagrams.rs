//! Compares the reply to each datagram with the model. A loss needs a reason.

use chime_model::naive;
use chime_protocol::DATAGRAM_MAX;
use chrono::NaiveDateTime;

use super::answers::{is_ignored, is_service, is_unicast};
use super::excuses::Excuse;
use super::{Run, SLACK_MS};
use crate::Failure;
use crate::chime::CoverageGoal as Goal;
use crate::chime::server::{BATCH_MAX, SECONDARY};
use crate::trace::{Attempt, Datagram, DatagramEvent, Event, EventKind, Moment, Peer, ServerEvent};

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

/// Checks that each datagram that no fault explains as lost is received: by the server, or by the client library, if it
/// still waits for a reply.
pub(super) fn check_arrivals(run: &Run<'_>) -> Result<(), Failure> {
    let failed = run.server_events(ServerEvent::CannotReceive);
    let pauses: Vec<_> = failed.map(|at| run.receive_pause(at.at_ms)).collect();
    let datagrams = run.index.datagrams.values();
    for datagram in datagrams.filter(|datagram| datagram.received.is_none()) {
        let sent_ms = datagram.sent.at_ms;
        let by_ms = run
            .index
            .awake_ms(sent_ms + run.latency_max_ms() + SLACK_MS);
        let (client, is_due) = match datagram.is_to_server() {
            true => (datagram.by.client(), true),
            false => (
                datagram.receiver.and_then(Peer::client),
                is_awaited(run, datagram, by_ms),
            ),
        };
        let host = client.map(|client| run.index.clients[client].host);
        let has_link_fault = host.is_some_and(|it| run.index.has_link_fault(it, sent_ms, by_ms));
        let is_down =
            |due_ms| datagram.is_to_server() && run.handled_ms((sent_ms, by_ms), due_ms).is_none();
        let is_down_later = is_down(run.after_pauses(&pauses, by_ms));
        let is_excused = run.excuses(Excuse::DatagramLost, datagram.is_lost)
            || run.excuses(Excuse::DatagramOverflow, may_overflow(run, datagram))
            || run.excuses(Excuse::DatagramLinkFault, has_link_fault)
            || run.excuses(Excuse::DatagramServerDown, is_down(by_ms))
            || run.excuses(Excuse::DatagramPause, !is_down(by_ms) && is_down_later);
        if is_due && !is_excused {
            let message =
                format!("a datagram sent at {sent_ms} ms never arrived, and no fault explains it");
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// Whether the client library still waits at this time for a reply, which is this datagram.
fn is_awaited(run: &Run<'_>, reply: &Datagram<'_>, by_ms: u32) -> bool {
    let mut attempts = run.index.attempts();
    attempts.any(|(client, attempt)| {
        let has_library = run
            .behaviour(client)
            .is_none_or(|it| it.timeout().is_some());
        let is_waiting = attempt.begin < reply.sent && by_ms < attempt.end.at_ms;
        has_library
            && is_waiting
            && requests(run, client, attempt).any(|request| request.from == reply.to)
    })
}

/// Whether the receive queue may have been full when a datagram arrived: what was in it was received later.
fn may_overflow(run: &Run<'_>, datagram: &Datagram<'_>) -> bool {
    let sent_ms = datagram.sent.at_ms;
    let arrived_ms = run
        .index
        .awake_ms(sent_ms + run.latency_max_ms() + SLACK_MS);
    let queued = run.index.datagrams.values().filter(|other| {
        let is_later = |received: Moment| received.at_ms >= sent_ms;
        other.to.port() == datagram.to.port()
            && other.sent.at_ms <= arrived_ms
            && other.received.is_some_and(is_later)
    });
    queued.count() >= run.scenario.network.datagrams_max
}

/// The datagrams that a client sent in an attempt.
fn requests<'a>(
    run: &'a Run<'_>,
    client: usize,
    attempt: &'a Attempt<'_>,
) -> impl Iterator<Item = &'a Datagram<'a>> {
    let datagrams = run.index.datagrams.values();
    datagrams.filter(move |datagram| {
        let is_within = (attempt.begin..=attempt.end).contains(&datagram.sent);
        datagram.by == Peer::Client(client) && is_within && !datagram.is_duplicate
    })
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
        let is_secondary = datagram.to.ip() == SECONDARY;
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
