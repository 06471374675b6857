//! Checks the counters of a server against the trace.

use std::collections::BTreeMap;

use chime_protocol::model::naive::{self, Conversation};
use chime_protocol::{Command, Framing, Service};
use chime_server::Counter;
use chrono::NaiveDateTime;

use super::{Run, SLACK_MS, datagrams, parts};
use crate::Failure;
use crate::chime::server::{CONVERSATIONS_ENDED, PERMITS, name};
use crate::trace::{EventKind, Life, Piece, ServerEvent, Side};

/// The name of the sum of the counters of timeouts.
const TIMEOUTS: &str = "timeouts";

/// Checks the counters of each server that has shut down gracefully.
pub(super) fn check(run: &Run<'_>) -> Result<(), Failure> {
    let mut lives = run.index.lives.iter().enumerate();
    lives.try_for_each(|(number, life)| check_life(run, number, life))
}

fn check_life(run: &Run<'_>, number: usize, life: &Life<'_>) -> Result<(), Failure> {
    let (Some(end), Some(counters)) = (life.end, life.counters) else {
        return Ok(());
    };
    let connections = run.index.connections.iter();
    let connections = connections.filter(|(_, connection)| connection.life == number);
    let (refused, served): (Vec<_>, Vec<_>) = connections
        .map(|(number, connection)| (number, &connection.server_side))
        .partition(|(number, _)| run.refused.contains(number));
    let [refused, served] =
        [refused, served].map(|sides| sides.into_iter().map(|(_, side)| side).collect());
    let (answered, ignored) = datagrams::counts(run, life.started.at_ms, end.at_ms);
    let events = &run.index.trace.events[life.started.event..end.event];
    let failed_accept = EventKind::Server(ServerEvent::CannotAccept);
    let failed_accepts = events.iter().filter(|event| event.kind == failed_accept);

    let mut expected = Expected::default();
    expected.connections(&served, &refused);
    expected.add(Counter::AcceptFailed, failed_accepts.count());
    expected.add(Counter::DatagramAnswered, answered);
    expected.add(Counter::DatagramIgnored, ignored);
    for counter in [
        Counter::AddressRefused,
        Counter::NetworkDenied,
        Counter::HeaderRejected,
        Counter::ConversationPanicked,
        Counter::DatagramUnsent,
        Counter::DatagramLimited,
    ] {
        expected.add(counter, 0);
    }
    expected
        .0
        .insert(PERMITS.into(), run.scenario.server.connections_max);
    // At the drain timeout, the trace does not show which conversations were cut.
    let drain_ms = run.scenario.server.drain_timeout_ms;
    if life
        .stopping
        .is_none_or(|stopping| end.at_ms + SLACK_MS < stopping.at_ms + drain_ms)
    {
        expected.outcomes(&served);
    }
    // A connection that ends under backpressure, or fails, may have read requests that it has not processed.
    if served
        .iter()
        .all(|side| side.blocked_ms.is_none() && side.failed.is_none())
    {
        expected.requests(run.framing(), &served);
    }
    let mut counters = counters.clone();
    let timeouts = [
        Counter::ConversationIdle,
        Counter::LineTooSlow,
        Counter::ReaderTooSlow,
    ];
    counters.insert(
        TIMEOUTS.into(),
        timeouts
            .map(|counter| counters[&name(counter)])
            .iter()
            .sum(),
    );
    for (name, expected) in expected.0 {
        if counters[&name] != expected as u64 {
            let message = format!(
                "the server counts {name}={}, expected {expected}",
                counters[&name]
            );
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// The expected counters, by name.
#[derive(Default)]
struct Expected(BTreeMap<String, usize>);

impl Expected {
    fn add(&mut self, counter: Counter, count: usize) {
        self.0.insert(name(counter), count);
    }

    fn connections(&mut self, served: &Vec<&Side<'_>>, refused: &Vec<&Side<'_>>) {
        let sum = |pieces: &mut dyn Iterator<Item = &Piece<'_>>| {
            pieces.map(|piece| piece.bytes.len()).sum()
        };
        let sides = || served.iter().chain(refused);
        self.add(Counter::ConnectionServed, served.len());
        self.add(Counter::ConnectionRefused, refused.len());
        self.add(
            Counter::ByteReceived,
            sum(&mut sides().flat_map(|side| read_before_close(side))),
        );
        self.add(
            Counter::ByteSent,
            sum(&mut sides().flat_map(|side| &side.wrote)),
        );
        self.0.insert(CONVERSATIONS_ENDED.into(), served.len());
    }

    fn outcomes(&mut self, served: &[&Side<'_>]) {
        let failed = served.iter().filter(|side| side.failed.is_some());
        let ended = served
            .iter()
            .filter(|side| side.failed.is_none() && side.shut.is_some());
        self.add(Counter::ConversationFailed, failed.count());
        self.add(Counter::ConversationEnded, ended.count());
        self.add(Counter::ConversationCut, 0);
        let timed_out = served
            .iter()
            .filter(|side| side.failed.is_none() && side.shut.is_none());
        self.0.insert(TIMEOUTS.into(), timed_out.count());
    }

    fn requests(&mut self, framing: Framing, served: &[&Side<'_>]) {
        let names = Command::ALL.iter().map(|command| command.name());
        self.0.extend(
            names
                .chain(["digits", "invalid"])
                .map(|name| (name.into(), 0)),
        );
        for request in served.iter().flat_map(|side| requests(framing, side)) {
            *self.0.entry(request).or_default() += 1;
        }
    }
}

/// The reads of the server before it closed. After that it discards what it reads.
fn read_before_close<'a>(side: &'a Side<'a>) -> impl Iterator<Item = &'a Piece<'a>> {
    let is_before = |piece: &&Piece<'_>| side.closed().is_none_or(|closed| piece.at < closed);
    side.read.iter().filter(is_before)
}

/// The requests that a served connection has read, each as the name of its counter.
fn requests(framing: Framing, side: &Side<'_>) -> Vec<String> {
    let mut conversation = Conversation::new(naive::answer, Service::Both, framing);
    let mut requests = Vec::new();
    let mut line = Vec::new();
    for piece in read_before_close(side) {
        for part in parts(framing, piece.bytes) {
            line.extend(part);
            conversation.read(part, NaiveDateTime::MIN);
            if conversation.requests > requests.len() as u64 {
                requests.push(counter_of(framing, &line));
                line.clear();
            }
        }
    }
    if side.read_end < side.closed() && side.read_end.is_some() {
        conversation.end(NaiveDateTime::MIN);
        if conversation.requests > requests.len() as u64 {
            requests.push(counter_of(framing, &line));
        }
    }
    requests
}

/// The name of the counter of a request.
fn counter_of(framing: Framing, request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let text = match framing {
        Framing::Read => &*text,
        Framing::Line => {
            let line = text.strip_suffix('\n').unwrap_or(&text);
            line.strip_suffix('\r')
                .unwrap_or(line)
                .trim_matches([' ', '\t'])
        }
    };
    let is_command = Command::ALL.iter().any(|command| command.name() == text);
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (is_command, is_digits) {
        (true, _) => text.into(),
        (_, true) => "digits".into(),
        (false, false) => "invalid".into(),
    }
}
