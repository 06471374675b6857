//! Checks the counters of a server against the trace.

use std::collections::BTreeMap;

use chime_model::naive::{self, Conversation};
use chime_protocol::{Command, Framing, Service};
use chime_server::Counter;
use chrono::NaiveDateTime;

use super::admission::Outcome as Admitted;
use super::replay::{Outcome, Replay};
use super::{Run, parts};
use crate::Failure;
use crate::chime::server::{CONVERSATIONS_ENDED, PERMITS, name};
use crate::trace::{Life, Piece, ServerEvent, Side};

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
    let (refused, served): (Vec<_>, Vec<_>) = connections
        .filter(|(_, connection)| connection.life == number)
        .map(|(number, connection)| Accepted {
            framing: run.listener(*number).framing,
            side: &connection.server_side,
            replay: &run.replays[number],
            is_refused: run.is_refused(*number),
        })
        .partition(|accepted| accepted.is_refused);
    let datagrams = &run.answers.counts[number];
    let failed_accepts = run.server_events(ServerEvent::CannotAccept);
    let failed_accepts = failed_accepts.filter(|at| (life.started..end).contains(at));

    let mut expected = Expected::default();
    expected.connections(&served, &refused);
    expected.add(Counter::AcceptFailed, failed_accepts.count());
    expected.add(Counter::ConversationPanicked, 0);
    expected.add(Counter::DatagramAnswered, datagrams.answered);
    expected.add(Counter::DatagramUnsent, datagrams.unsent);
    expected.add(Counter::DatagramIgnored, datagrams.ignored);
    expected.add(Counter::DatagramLimited, datagrams.limited);
    let admitted = |outcomes: &[Admitted]| run.admissions.count(number, outcomes);
    expected.add(Counter::ConnectionRefused, admitted(&[Admitted::Full]));
    expected.add(Counter::AddressRefused, admitted(&[Admitted::AddressFull]));
    expected.add(Counter::NetworkDenied, admitted(&[Admitted::Denied]));
    let rejected = [Admitted::Untrusted, Admitted::HeaderRejected];
    expected.add(Counter::HeaderRejected, admitted(&rejected));
    expected.insert(PERMITS, run.scenario.server.connections_max);
    expected.outcomes(&served);
    expected.requests(&served);
    for (name, (min, max)) in expected.0 {
        let count = counters[&name];
        if !(min as u64..=max as u64).contains(&count) {
            let message = format!("the server counts {name}={count}, expected {min} to {max}");
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
    }
    Ok(())
}

/// A connection that the server has accepted.
struct Accepted<'a> {
    framing: Framing,
    side: &'a Side<'a>,
    replay: &'a Replay,
    is_refused: bool,
}

/// The minimum and the maximum of the expected counters, by name. They differ only where several ways to end a
/// connection are due in one millisecond.
#[derive(Default)]
struct Expected(BTreeMap<String, (usize, usize)>);

impl Expected {
    fn add(&mut self, counter: Counter, count: usize) {
        self.insert(&name(counter), count);
    }

    fn insert(&mut self, name: &str, count: usize) {
        self.0.insert(name.into(), (count, count));
    }

    fn connections(&mut self, served: &[Accepted<'_>], refused: &[Accepted<'_>]) {
        let sum = |pieces: &mut dyn Iterator<Item = &Piece<'_>>| {
            pieces.map(|piece| piece.bytes.len()).sum()
        };
        let sides = || served.iter().chain(refused).map(|accepted| accepted.side);
        self.add(Counter::ConnectionServed, served.len());
        self.add(
            Counter::ByteReceived,
            sum(&mut sides().flat_map(read_before_close)),
        );
        self.add(
            Counter::ByteSent,
            sum(&mut sides().flat_map(|side| &side.wrote)),
        );
        self.insert(CONVERSATIONS_ENDED, served.len());
    }

    fn outcomes(&mut self, served: &[Accepted<'_>]) {
        for (counter, outcome) in [
            (Counter::ConversationEnded, Outcome::Ended),
            (Counter::ConversationIdle, Outcome::Idle),
            (Counter::LineTooSlow, Outcome::SlowLine),
            (Counter::ReaderTooSlow, Outcome::SlowReader),
            (Counter::ConversationFailed, Outcome::Failed),
            (Counter::ConversationCut, Outcome::Cut),
        ] {
            let replays = || served.iter().map(|accepted| accepted.replay);
            let certain = replays().filter(|replay| replay.outcomes == [outcome]);
            let possible = replays().filter(|it| it.is(outcome));
            let range = (certain.count(), possible.count());
            self.0.insert(name(counter), range);
        }
    }

    fn requests(&mut self, served: &[Accepted<'_>]) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for request in served.iter().flat_map(requests) {
            *counts.entry(request).or_default() += 1;
        }
        let names = Command::ALL.iter().map(|command| command.name());
        for name in names.chain(["digits", "invalid"]) {
            self.insert(name, counts.remove(name).unwrap_or(0));
        }
    }
}

/// The reads of the server before it closed. After that it discards what it reads.
fn read_before_close<'a>(side: &'a Side<'a>) -> impl Iterator<Item = &'a Piece<'a>> {
    let is_before = |piece: &&Piece<'_>| side.closed().is_none_or(|closed| piece.at < closed);
    side.read.iter().filter(is_before)
}

/// The requests that a served connection has processed, each as the name of its counter.
fn requests(accepted: &Accepted<'_>) -> Vec<String> {
    let Accepted {
        framing,
        side,
        replay,
        ..
    } = *accepted;
    let mut conversation = Conversation::new(naive::answer, Service::Both, framing);
    let mut requests = Vec::new();
    let mut line = Vec::new();
    let mut processed = 0;
    let pieces = read_before_close(side);
    for part in pieces.flat_map(|piece| parts(framing, piece.bytes)) {
        processed += part.len();
        if processed > replay.processed {
            break;
        }
        line.extend(part);
        conversation.read(part, NaiveDateTime::MIN);
        if conversation.requests > requests.len() as u64 {
            requests.push(counter_of(framing, &line));
            line.clear();
        }
    }
    if replay.is_at_end {
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
