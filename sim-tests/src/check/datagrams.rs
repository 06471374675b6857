//! Datagrams: each is answered as the model answers it, and none gets lost without a cause.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use chime_protocol::DATAGRAM_MAX;
use chime_protocol::model::naive;
use chrono::NaiveDateTime;

use super::history::{Attempt, Client, History};
use super::{Failure, SLACK_MS, failure};

use crate::coverage::CoverageGoal;
use crate::trace::{DatagramEvent, EventKind, Peer};

/// A datagram from when it was sent.
struct Datagram<'a> {
    sent_ms: u32,
    by: Peer,
    from: SocketAddr,
    to: SocketAddr,
    /// What arrives, if it does.
    bytes: &'a [u8],
    is_duplicate: bool,
    is_corrupted: bool,
    is_lost: bool,
    received: Option<(u32, usize)>,
}

/// Checks every datagram.
pub(super) fn check(
    model: naive::Answer,
    history: &History<'_>,
    coverage: &mut BTreeSet<CoverageGoal>,
) -> Result<(), Failure> {
    let datagrams = collect(history)?;
    check_answers(model, history, &datagrams)?;
    check_arrivals(history, &datagrams)?;
    for (index, client) in history.clients.iter().enumerate() {
        for attempt in client
            .attempts
            .iter()
            .filter(|attempt| attempt.is_by_datagram)
        {
            check_question(history, &datagrams, client, index, attempt, coverage)?;
        }
    }
    note(history, &datagrams, coverage);
    Ok(())
}

/// How many requests the server has answered, and how many datagrams it has ignored, in this time.
pub(super) fn counts(history: &History<'_>, begin_ms: u32, end_ms: u32) -> (usize, usize) {
    let datagrams = collect(history).expect("they have been checked");
    let here = |at_ms: u32| (begin_ms..=end_ms).contains(&at_ms);
    let answered = datagrams.iter().filter(|datagram| {
        datagram.by == Peer::Server && !datagram.is_duplicate && here(datagram.sent_ms)
    });
    let received = datagrams.iter().filter(|datagram| {
        is_to_server(datagram) && datagram.received.is_some_and(|(at_ms, _)| here(at_ms))
    });
    let answered = answered.count();
    (answered, received.count() - answered)
}

/// Whether the server ignores whatever seems to come from there.
fn is_service(from: SocketAddr) -> bool {
    from.port() < 1024
}

fn is_to_server(datagram: &Datagram<'_>) -> bool {
    datagram.to.port() == crate::network::UDP_PORT
}

/// What happened to datagrams: each with its event, when it was, and the number of the datagram.
fn events<'a>(
    history: &History<'a>,
) -> impl Iterator<Item = (usize, u32, usize, &'a DatagramEvent)> {
    let events = history.trace.events.iter().enumerate();
    events.filter_map(|(index, event)| match &event.kind {
        EventKind::Datagram {
            datagram,
            event: kind,
        } => Some((index, event.at_ms, *datagram, kind)),
        _ => None,
    })
}

/// Follows each datagram: what is received was sent, so, and once.
fn collect<'a>(history: &History<'a>) -> Result<Vec<Datagram<'a>>, Failure> {
    let mut datagrams: Vec<Datagram<'a>> = Vec::new();
    for (index, at_ms, datagram, event) in events(history) {
        match event {
            DatagramEvent::Sent {
                by,
                from,
                to,
                bytes,
            } => datagrams.push(Datagram {
                sent_ms: at_ms,
                by: *by,
                from: *from,
                to: *to,
                bytes,
                is_duplicate: false,
                is_corrupted: false,
                is_lost: false,
                received: None,
            }),
            DatagramEvent::Lost => datagrams[datagram].is_lost = true,
            DatagramEvent::Corrupted(bytes) => {
                datagrams[datagram].bytes = bytes;
                datagrams[datagram].is_corrupted = true;
            }
            DatagramEvent::Duplicated { duplicate } => {
                datagrams[*duplicate].is_duplicate = true;
                datagrams[*duplicate].is_corrupted = datagrams[datagram].is_corrupted;
            }
            DatagramEvent::Received { from, bytes, .. } => {
                let sent = &mut datagrams[datagram];
                let is_so = sent.bytes.starts_with(bytes) && sent.from == *from && !sent.is_lost;
                if !is_so || sent.received.is_some() {
                    let message =
                        format!("datagram {datagram} is received, but not as it was sent");
                    return Err(failure(message, index));
                }
                sent.received = Some((at_ms, index));
            }
        }
    }
    Ok(datagrams)
}

/// The server sends the model's reply to each request that it receives, in order and within the
/// millisecond, and nothing else.
fn check_answers(
    model: naive::Answer,
    history: &History<'_>,
    datagrams: &[Datagram<'_>],
) -> Result<(), Failure> {
    let mut due: VecDeque<(u32, SocketAddr, Vec<u8>)> = VecDeque::new();
    for (index, at_ms, datagram, event) in events(history) {
        if due.front().is_some_and(|(due_ms, ..)| *due_ms < at_ms) {
            let message = "a request over datagrams is not answered at once";
            return Err(failure(message.into(), index));
        }
        match event {
            DatagramEvent::Sent {
                by: Peer::Server,
                to,
                bytes,
                ..
            } if !datagrams[datagram].is_duplicate => {
                let reply = due.pop_front();
                if reply != Some((at_ms, *to, bytes.to_vec())) {
                    let message = format!("datagram {datagram} is not the reply that is due");
                    return Err(failure(message, index));
                }
            }
            DatagramEvent::Received {
                by: Peer::Server,
                from,
                bytes,
            } if !is_service(*from) => {
                let reply = naive::datagram(model, bytes, history.clock(at_ms));
                due.extend(reply.map(|reply| (at_ms, *from, reply)));
            }
            _ => {}
        }
    }
    match due.is_empty() {
        true => Ok(()),
        false => Err(failure(
            "the last request over datagrams is not answered".into(),
            history.trace.events.len() - 1,
        )),
    }
}

/// What was sent to the server and met with nothing on its way has been received.
fn check_arrivals(history: &History<'_>, datagrams: &[Datagram<'_>]) -> Result<(), Failure> {
    let may_overflow = may_overflow(history, datagrams);
    for datagram in datagrams.iter().filter(|datagram| is_to_server(datagram)) {
        let by_ms = datagram.sent_ms + history.latency_max_ms() + SLACK_MS;
        let has_link_fault = match datagram.by {
            Peer::Server => false,
            Peer::Client(client) => {
                let host = history.clients[client].host;
                let mut faults = history.faults_in(datagram.sent_ms, by_ms);
                faults.any(|kind| kind.host() == Some(host))
            }
        };
        let is_excused = datagram.is_lost
            || datagram.received.is_some()
            || may_overflow
            || has_link_fault
            || !history.is_up(datagram.sent_ms, by_ms)
            // It waits a while before it tries again, and may then be told to stop.
            || history.scenario.network.datagram_error_percent > 0;
        if !is_excused {
            let message = format!(
                "a datagram was sent at {} ms and never came",
                datagram.sent_ms
            );
            return Err(failure(message, history.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// Whether so many datagrams were sent to the server that its queue may have been full.
fn may_overflow(history: &History<'_>, datagrams: &[Datagram<'_>]) -> bool {
    let to_server = datagrams.iter().filter(|datagram| is_to_server(datagram));
    to_server.count() > history.scenario.network.datagrams_max
}

/// A client was told what had come to it, or nothing, and then for a reason.
fn check_question(
    history: &History<'_>,
    datagrams: &[Datagram<'_>],
    client: &Client<'_>,
    index: usize,
    attempt: &Attempt<'_>,
    coverage: &mut BTreeSet<CoverageGoal>,
) -> Result<(), Failure> {
    let within = |at_ms: u32| (attempt.begin_ms..=attempt.end_ms).contains(&at_ms);
    let by_client = datagrams
        .iter()
        .filter(|datagram| datagram.by == Peer::Client(index) && within(datagram.sent_ms));
    let asked = by_client.filter(|datagram| !datagram.is_duplicate).count();
    for (event, reply) in &attempt.told {
        let has_come = datagrams.iter().any(|datagram| {
            datagram.by == Peer::Server
                && datagram.bytes == reply.as_bytes()
                && datagram
                    .received
                    .is_some_and(|(at_ms, by)| within(at_ms) && by < *event)
        });
        if !has_come {
            let message = format!("client {index} is told '{reply}', which never came");
            return Err(failure(message, *event));
        }
        if asked > 1 {
            coverage.insert(CoverageGoal::DatagramRetried);
        }
    }
    let Some((event, error)) = attempt.failed else {
        return Ok(());
    };
    let network = &history.scenario.network;
    let is_rough = network.loss_percent > 0
        || network.corruption_percent > 0
        || network.datagram_error_percent > 0;
    let mut faults = history.faults_in(attempt.begin_ms, attempt.end_ms);
    let is_cut = faults.any(|kind| kind.host() == Some(client.host));
    let is_excused = is_rough && attempt.begin_ms < history.healed_ms
        || may_overflow(history, datagrams)
        || is_cut
        || !history.is_up(attempt.begin_ms, attempt.end_ms);
    if !is_excused {
        let message = format!("client {index} gets no answer by datagram for no reason: {error}");
        return Err(failure(message, event));
    }
    Ok(())
}

fn note(history: &History<'_>, datagrams: &[Datagram<'_>], coverage: &mut BTreeSet<CoverageGoal>) {
    let to_server = || datagrams.iter().filter(|datagram| is_to_server(datagram));
    let is_received = |datagram: &Datagram<'_>| datagram.received.is_some();
    let arrivals: Vec<usize> = to_server()
        .filter_map(|datagram| datagram.received.map(|(_, event)| event))
        .collect();
    let is_link_whole = history.faults.iter().all(|span| span.kind.host().is_none());
    let is_up = |datagram: &Datagram<'_>| {
        history.is_up(
            datagram.sent_ms,
            datagram.sent_ms + history.latency_max_ms() + 1,
        )
    };
    let is_request = |datagram: &Datagram<'_>| {
        naive::datagram(naive::answer, datagram.bytes, NaiveDateTime::MIN).is_some()
    };
    let seen = [
        (
            CoverageGoal::DatagramLost,
            datagrams.iter().any(|datagram| datagram.is_lost),
        ),
        (
            CoverageGoal::RequestDuplicated,
            to_server().any(|datagram| datagram.is_duplicate && is_received(datagram)),
        ),
        (
            CoverageGoal::ReplyDuplicated,
            datagrams
                .iter()
                .any(|datagram| datagram.by == Peer::Server && datagram.is_duplicate),
        ),
        (
            CoverageGoal::DatagramOvertook,
            arrivals.windows(2).any(|pair| pair[1] < pair[0]),
        ),
        (
            CoverageGoal::CorruptedIgnored,
            to_server().any(|datagram| {
                datagram.is_corrupted && is_received(datagram) && !is_request(datagram)
            }),
        ),
        (
            CoverageGoal::EmptyDatagram,
            to_server().any(|datagram| datagram.bytes.is_empty() && is_received(datagram)),
        ),
        (
            CoverageGoal::HugeDatagram,
            to_server()
                .any(|datagram| datagram.bytes.len() > DATAGRAM_MAX && is_received(datagram)),
        ),
        (
            CoverageGoal::SpoofedServer,
            to_server().any(|datagram| {
                datagram.from == datagram.to && is_received(datagram) && is_request(datagram)
            }),
        ),
        (
            CoverageGoal::ServiceIgnored,
            to_server().any(|datagram| {
                is_service(datagram.from) && is_received(datagram) && is_request(datagram)
            }),
        ),
        (
            CoverageGoal::QueueOverflow,
            is_link_whole
                && to_server()
                    .any(|datagram| !datagram.is_lost && !is_received(datagram) && is_up(datagram)),
        ),
    ];
    coverage.extend(
        seen.iter()
            .filter(|(_, is_seen)| *is_seen)
            .map(|(goal, _)| *goal),
    );
}
