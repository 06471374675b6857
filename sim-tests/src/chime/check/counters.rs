//! Checks the counters of a server against the trace.

use std::collections::BTreeMap;

use chime_protocol::model::naive::{self, Conversation};
use chime_protocol::{Command, Framing, Service};
use chime_server::Counter;
use chrono::NaiveDateTime;

use super::admission::Outcome;
use super::datagrams::Counts;
use super::{Run, SLACK_MS, parts};
use crate::Failure;
use crate::chime::server::{CONVERSATIONS_ENDED, PERMITS, name};
use crate::trace::{Connection, EventKind, Life, Piece, ServerEvent, Side};

/// The name of the sum of the counters of timeouts.
const TIMEOUTS: &str = "timeouts";

/// Checks the counters of a server that has shut down gracefully.
pub(super) fn check(
    run: &Run<'_>,
    number: usize,
    life: &Life<'_>,
    datagrams: &Counts,
) -> Result<(), Failure> {
    let (Some(end), Some(counters)) = (life.end, life.counters) else {
        return Ok(());
    };
    let connections = run.index.connections.iter();
    let connections = connections.filter(|(_, connection)| connection.life == number);
    let (refused, served): (Vec<_>, Vec<_>) = connections
        .map(|(number, connection)| (*number, connection))
        .partition(|(number, _)| run.is_refused(*number));
    let [refused, served]: [Vec<_>; 2] =
        [refused, served].map(|both| both.into_iter().map(|(_, connection)| connection).collect());
    let events = &run.index.trace.events[life.started.event..end.event];
    let failed_accept = EventKind::Server(ServerEvent::CannotAccept);
    let failed_accepts = events.iter().filter(|event| event.kind == failed_accept);

    let mut expected = Expected::default();
    expected.connections(&served, &refused);
    for (counter, outcomes) in [
        (Counter::ConnectionRefused, &[Outcome::Full][..]),
        (Counter::AddressRefused, &[Outcome::AddressFull]),
        (Counter::NetworkDenied, &[Outcome::Denied]),
        (
            Counter::HeaderRejected,
            &[Outcome::Untrusted, Outcome::HeaderRejected],
        ),
    ] {
        let admissions = run.admissions.values();
        let such = admissions
            .filter(|admission| admission.life == number && outcomes.contains(&admission.outcome));
        expected.add(counter, such.count());
    }
    expected.add(Counter::AcceptFailed, failed_accepts.count());
    expected.add(Counter::DatagramAnswered, datagrams.answered);
    expected.add(Counter::DatagramUnsent, datagrams.unsent);
    expected.add(Counter::DatagramIgnored, datagrams.ignored);
    expected.add(Counter::DatagramLimited, datagrams.limited);
    expected.add(Counter::ConversationPanicked, 0);
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
        .map(|connection| &connection.server_side)
        .all(|side| side.blocked_ms.is_none() && side.failed.is_none())
    {
        expected.requests(run, &served);
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

    fn connections(&mut self, served: &[&Connection<'_>], refused: &[&Connection<'_>]) {
        let sum = |pieces: &mut dyn Iterator<Item = &Piece<'_>>| {
            pieces.map(|piece| piece.bytes.len()).sum()
        };
        let both = || served.iter().chain(refused);
        let sides = || both().map(|connection| &connection.server_side);
        self.add(Counter::ConnectionServed, served.len());
        self.add(
            Counter::ByteReceived,
            sum(&mut sides().flat_map(read_before_close)),
        );
        self.add(
            Counter::ByteSent,
            sum(&mut sides().flat_map(|side| &side.wrote)),
        );
        self.0.insert(CONVERSATIONS_ENDED.into(), served.len());
    }

    fn outcomes(&mut self, served: &[&Connection<'_>]) {
        let sides = || served.iter().map(|connection| &connection.server_side);
        let failed = sides().filter(|side| side.failed.is_some());
        let ended = sides().filter(|side| side.failed.is_none() && side.shut.is_some());
        self.add(Counter::ConversationFailed, failed.count());
        self.add(Counter::ConversationEnded, ended.count());
        self.add(Counter::ConversationCut, 0);
        let timed_out = sides().filter(|side| side.failed.is_none() && side.shut.is_none());
        self.0.insert(TIMEOUTS.into(), timed_out.count());
    }

    fn requests(&mut self, run: &Run<'_>, served: &[&Connection<'_>]) {
        let names = Command::ALL.iter().map(|command| command.name());
        self.0.extend(
            names
                .chain(["digits", "invalid"])
                .map(|name| (name.into(), 0)),
        );
        for connection in served {
            let framing = run.listener(connection).framing;
            for request in requests(framing, &connection.server_side) {
                *self.0.entry(request).or_default() += 1;
            }
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
