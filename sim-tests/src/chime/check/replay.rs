//! A naive model of the server's end of each connection: from what the server has read, and when, follow what it
//! must write, when it must close, and why.
//!
//! The model is exact to the millisecond, whatever the faults: what the network does to a connection shows in the
//! reads of the server. Only the order of the hosts within a millisecond is open.

use std::collections::VecDeque;

use chime_model::naive::Conversation;
use chime_protocol::Framing;
use strum::VariantArray;

use super::{Oracle, Part, QUIET_MS, Run, parts};
use crate::Failure;
use crate::trace::{Connection, Life, Moment, Piece};

/// The length of the input buffer and of the output buffer of the server.
const BUFFER_BYTES: usize = 32_768;

/// Extra time per byte of a line.
const LINE_BYTE_MS: u32 = 2;

/// Extra time per byte written, and the most that it adds up to.
const READ_BYTE_US: u64 = 500;
const READ_TIME_MAX_US: u64 = 66_000_000;

/// How long the server waits for the client to close after its own half-close.
pub(super) const LINGER_MS: u32 = 1_000;

/// How the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub(super) enum Outcome {
    /// It half-closed once all replies were sent, then waited for EOF, at most for the linger timeout.
    Ended,
    /// At the idle timeout.
    Idle,
    /// At the line timeout.
    SlowLine,
    /// At the write timeout.
    SlowReader,
    /// The stream had failed.
    Failed,
    /// At the drain timeout.
    Cut,
    /// The server was killed.
    Killed,
}

/// The result of the model for one connection.
pub(super) struct Replay {
    /// How the server ended it. Several, if more than one was due in that millisecond; none if it is unknown.
    pub(super) outcomes: Vec<Outcome>,
    /// When replies were unsent: the first and the last millisecond of each time.
    pub(super) blocked: Vec<(u32, u32)>,
    /// How many bytes of input it has processed.
    pub(super) processed: usize,
    /// Whether it has processed EOF.
    pub(super) is_at_end: bool,
    /// Whether the protocol has closed the conversation.
    pub(super) is_closed: bool,
    /// The first difference between the model and the trace, and the oracle that it belongs to.
    failure: Option<(Oracle, Failure)>,
}

impl Replay {
    /// Replays a connection.
    pub(super) fn new(run: &Run<'_>, number: usize, connection: &Connection<'_>) -> Replay {
        let mut model = Model::new(run, number, connection);
        let result = model.replay(connection);
        let (outcomes, failure) = match result {
            Ok(outcomes) => (outcomes, None),
            Err((oracle, message, event)) => {
                let message = format!("connection {number}: {message}");
                (Vec::new(), Some((oracle, Failure::new(message, event))))
            }
        };
        Replay {
            outcomes,
            blocked: model.blocked,
            processed: model.processed,
            is_at_end: model.is_at_end,
            is_closed: model.conversation.is_closed,
            failure,
        }
    }

    /// Returns whether the server can have ended the connection in this way.
    pub(super) fn is(&self, outcome: Outcome) -> bool {
        self.outcomes.is_empty() || self.outcomes.contains(&outcome)
    }
}

/// Checks that no connection differs from the model in what belongs to this oracle.
pub(super) fn check(run: &Run<'_>, oracle: Oracle) -> Result<(), Failure> {
    let mut failures = run.replays.values().filter_map(|it| it.failure.as_ref());
    match failures.find(|(failed, _)| *failed == oracle) {
        Some((_, failure)) => Err(failure.clone()),
        None => Ok(()),
    }
}

/// An event of a connection that the model follows.
#[derive(Clone, Copy)]
enum Happened<'a> {
    Read(&'a [u8]),
    ReadEnd,
    Wrote(&'a [u8]),
    Shut,
    Failed,
    Dropped,
    /// The client has read this number of bytes.
    ClientRead(usize),
    ClientDropped,
}

fn events<'a>(connection: &'a Connection<'a>) -> Vec<(Moment, Happened<'a>)> {
    let [server, client] = [&connection.server_side, &connection.client_side];
    let mut events = Vec::new();
    let with_header = read_with_header(connection).count();
    events.extend(
        server.read[with_header..]
            .iter()
            .map(|it| (it.at, Happened::Read(it.bytes))),
    );
    events.extend(
        server
            .wrote
            .iter()
            .map(|it| (it.at, Happened::Wrote(it.bytes))),
    );
    events.extend(server.read_end.map(|at| (at, Happened::ReadEnd)));
    events.extend(server.shut.map(|at| (at, Happened::Shut)));
    events.extend(server.failed.map(|(at, _)| (at, Happened::Failed)));
    events.extend(server.dropped.map(|at| (at, Happened::Dropped)));
    let read = client.read.iter();
    events.extend(read.map(|it| (it.at, Happened::ClientRead(it.bytes.len()))));
    events.extend(client.dropped.map(|at| (at, Happened::ClientDropped)));
    events.sort_unstable_by_key(|(at, _)| at.event);
    events
}

/// What the server has read together with the PROXY header.
fn read_with_header<'a>(connection: &'a Connection<'a>) -> impl Iterator<Item = &'a Piece<'a>> {
    let reads = connection.server_side.read.iter();
    reads.take_while(|piece| piece.at == connection.accepted)
}

/// An oracle, what it expected, and the event that differs.
type Difference = (Oracle, String, usize);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Conversing,
    Lingering { since_ms: u32 },
    Failed,
}

struct Model<'a> {
    run: &'a Run<'a>,
    framing: Framing,
    life: &'a Life<'a>,
    accepted_ms: u32,
    phase: Phase,
    conversation: Conversation,
    /// Input that waits until there is room for the replies.
    unread: VecDeque<Vec<u8>>,
    /// How many bytes of the replies of the conversation are in the output buffer.
    unsent: usize,
    is_at_eof: bool,
    /// When the server last did something.
    last_ms: u32,
    /// When bytes were last read or written.
    active_ms: u32,
    read_time_us: u64,
    line_deadline_ms: Option<u32>,
    /// When a deadline may have passed, unless the deadline has moved beyond the quiet period since. A read in the
    /// millisecond of the deadline comes before or after it.
    overdue_ms: Vec<u32>,
    /// How many bytes the server has written and the client has not read.
    in_flight: usize,
    is_client_gone: bool,
    /// When the server must have continued to write, at the latest.
    write_due_ms: Option<u32>,
    /// When replies were unsent.
    blocked: Vec<(u32, u32)>,
    processed: usize,
    is_at_end: bool,
}

/// When a connection is closed, and how.
struct Due {
    /// The first and the last millisecond at which it may be.
    between_ms: (u32, u32),
    outcome: Outcome,
    /// Whether the server half-closes then.
    is_orderly: bool,
}

impl<'a> Model<'a> {
    fn new(run: &'a Run<'a>, number: usize, connection: &Connection<'_>) -> Model<'a> {
        let accepted_ms = connection.accepted.at_ms;
        let mut model = Model {
            run,
            framing: run.listener(number).framing,
            life: &run.index.lives[connection.life],
            accepted_ms,
            phase: Phase::Conversing,
            conversation: run.conversation(number),
            unread: VecDeque::new(),
            unsent: 0,
            is_at_eof: false,
            last_ms: accepted_ms,
            active_ms: accepted_ms,
            read_time_us: 0,
            line_deadline_ms: None,
            overdue_ms: Vec::new(),
            in_flight: 0,
            is_client_gone: false,
            write_due_ms: None,
            blocked: Vec::new(),
            processed: 0,
            is_at_end: false,
        };
        for piece in read_with_header(connection) {
            model.receive(piece.bytes);
        }
        model.reply(accepted_ms);
        model
    }

    fn receive(&mut self, bytes: &[u8]) {
        let parts = parts(self.framing, bytes).into_iter();
        let parts = parts.filter(|part| !part.is_empty());
        self.unread.extend(parts.map(<[u8]>::to_vec));
    }

    /// Follows the events of the connection; returns how it can have ended.
    fn replay(&mut self, connection: &Connection<'_>) -> Result<Vec<Outcome>, Difference> {
        for (at, happened) in events(connection) {
            let is_by_client =
                matches!(happened, Happened::ClientRead(_) | Happened::ClientDropped);
            self.wait(at, !is_by_client)?;
            match happened {
                Happened::Read(bytes) => self.read(at, bytes)?,
                Happened::ReadEnd => self.read_end(at)?,
                Happened::Wrote(bytes) => self.write(at, bytes)?,
                Happened::Shut => self.shut(at)?,
                Happened::Failed => self.phase = Phase::Failed,
                Happened::Dropped => return self.dropped(at),
                Happened::ClientRead(length) => {
                    self.in_flight = self.in_flight.saturating_sub(length);
                    self.note_room(self.accepted_ms.max(at.at_ms + 1));
                }
                Happened::ClientDropped => {
                    self.is_client_gone = true;
                    self.note_room(self.accepted_ms.max(at.at_ms + 1));
                }
            }
            if !is_by_client {
                self.last_ms = at.at_ms;
            }
        }
        let last = self.run.index.trace.events.len() - 1;
        let message = "a connection was still open at the end".to_string();
        self.differ(Oracle::LateClose, message, last)?;
        Ok(Vec::new())
    }

    /// Fails, unless the oracle is switched off.
    fn differ(&self, oracle: Oracle, message: String, event: usize) -> Result<(), Difference> {
        match self.run.checker.without == Some(Part::Oracle(oracle)) {
            true => Ok(()),
            false => Err((oracle, message, event)),
        }
    }

    /// Replies to the input until it is used up, or the output buffer is full.
    fn reply(&mut self, at_ms: u32) {
        let now = self.run.index.clock(at_ms);
        let requests = self.conversation.requests;
        let mut bytes_read = 0;
        while self.conversation.sent.len() <= BUFFER_BYTES
            && !self.conversation.is_closed
            && let Some(part) = self.unread.pop_front()
        {
            bytes_read += u32::try_from(part.len()).expect("a part is short");
            self.conversation.read(&part, now);
        }
        let has_room = self.conversation.sent.len() <= BUFFER_BYTES;
        if self.is_at_eof && has_room && !self.conversation.is_closed {
            self.conversation.end(now);
            self.is_at_end = true;
        }
        self.processed += bytes_read as usize;
        if self.conversation.is_closed {
            self.unread.clear();
        }
        self.unsent = self.conversation.sent.len().min(BUFFER_BYTES);
        self.line_deadline_ms = match self.line_deadline_ms {
            _ if !self.conversation.has_partial_line() => None,
            Some(deadline_ms) if self.conversation.requests == requests => Some(deadline_ms),
            _ => Some(self.active_ms + self.run.scenario.server.line_timeout_ms),
        };
        if let Some(deadline_ms) = &mut self.line_deadline_ms {
            *deadline_ms += LINE_BYTE_MS * bytes_read;
        }
        self.note_room(at_ms);
    }

    /// Notes when the server must have continued to write, if it can.
    fn note_room(&mut self, by_ms: u32) {
        let by_ms = self.run.index.awake_ms(by_ms);
        let has_room =
            self.is_client_gone || self.in_flight < self.run.scenario.network.window_bytes;
        if self.unsent == 0 || self.phase != Phase::Conversing {
            self.write_due_ms = None;
        } else if has_room {
            self.write_due_ms = Some(self.write_due_ms.map_or(by_ms, |due_ms| due_ms.min(by_ms)));
        }
    }

    fn is_blocked(&self) -> bool {
        self.unsent > 0 || !self.unread.is_empty()
    }

    /// The earliest deadline, in microseconds, and how the connection ends at it.
    fn deadline(&self) -> (u64, Outcome) {
        let server = &self.run.scenario.server;
        let us = |ms: u32| u64::from(ms) * 1_000;
        let idle_us = us(self.active_ms) + us(server.idle_timeout_ms);
        let slow = match self.line_deadline_ms {
            _ if self.is_blocked() => {
                let deadline_us = us(self.active_ms) + self.read_time_us;
                Some((
                    deadline_us + us(server.write_timeout_ms),
                    Outcome::SlowReader,
                ))
            }
            Some(deadline_ms) => Some((us(deadline_ms), Outcome::SlowLine)),
            None => None,
        };
        match slow {
            Some(slow) if slow.0 < idle_us => slow,
            _ => (idle_us, Outcome::Idle),
        }
    }

    /// The deadline in whole milliseconds, rounded up as timers are.
    fn deadline_ms(&self) -> (u32, Outcome) {
        let (deadline_us, outcome) = self.deadline();
        let deadline_ms = u32::try_from(deadline_us.div_ceil(1_000)).unwrap_or(u32::MAX);
        (deadline_ms, outcome)
    }

    /// Records that bytes were read or written.
    fn record_activity(&mut self, at_ms: u32, written: usize) {
        let (deadline_ms, _) = self.deadline_ms();
        if deadline_ms <= at_ms {
            let passed_ms = deadline_ms.max(self.active_ms);
            self.overdue_ms.push(self.run.index.awake_ms(passed_ms));
        }
        let passed_us = u64::from(at_ms - self.active_ms) * 1_000;
        let left_us = self.read_time_us.saturating_sub(passed_us);
        self.read_time_us = (left_us + written as u64 * READ_BYTE_US).min(READ_TIME_MAX_US);
        self.active_ms = at_ms;
    }

    /// Forgets that a deadline had passed once it has moved beyond the quiet period.
    fn settle(&mut self) {
        let (deadline_ms, _) = self.deadline_ms();
        self.overdue_ms
            .retain(|overdue_ms| deadline_ms <= overdue_ms + QUIET_MS);
    }

    /// Each way in which the connection may be closed now.
    fn dues(&self) -> Vec<Due> {
        let mut dues = Vec::new();
        let mut add = |begin_ms, end_ms, outcome, is_orderly| {
            dues.push(Due {
                between_ms: (begin_ms, end_ms),
                outcome,
                is_orderly,
            });
        };
        match self.phase {
            Phase::Failed => add(self.last_ms, self.last_ms, Outcome::Failed, false),
            Phase::Lingering { .. } if self.is_at_eof => {
                add(self.last_ms, self.last_ms, Outcome::Ended, false);
            }
            Phase::Lingering { since_ms } => {
                let end_ms = self.run.elapsed_ms(since_ms, LINGER_MS);
                add(end_ms, end_ms, Outcome::Ended, false);
            }
            Phase::Conversing => {
                if !self.is_blocked() {
                    let is_closed = self.conversation.is_closed;
                    let stopping_ms = self.life.stopping.map(|stopping| stopping.at_ms);
                    let drained_ms = stopping_ms.map(|stopping_ms| {
                        let since_ms = stopping_ms.max(self.accepted_ms);
                        self.run.elapsed_ms(since_ms, QUIET_MS)
                    });
                    let closes_ms = match is_closed {
                        true => Some(self.last_ms),
                        false => drained_ms.map(|drained_ms| drained_ms.max(self.last_ms)),
                    };
                    if let Some(at_ms) = closes_ms {
                        add(at_ms, at_ms, Outcome::Ended, true);
                    }
                }
                let (deadline_ms, outcome) = self.deadline_ms();
                let passed_ms = deadline_ms.max(self.active_ms);
                let latest_ms = self.run.elapsed_ms(passed_ms, QUIET_MS);
                let overdue_ms = self.overdue_ms.iter().min();
                let earliest_ms = overdue_ms.map_or(latest_ms, |overdue_ms| {
                    let closes_ms = deadline_ms.max(overdue_ms + QUIET_MS);
                    self.run.index.awake_ms(closes_ms).min(latest_ms)
                });
                add(earliest_ms, latest_ms, outcome, false);
            }
        }
        if let Some(stopping) = self.life.stopping {
            let drain_ms = self.run.scenario.server.drain_timeout_ms.max(QUIET_MS);
            let cut_ms = self.run.elapsed_ms(stopping.at_ms, drain_ms);
            add(cut_ms, cut_ms, Outcome::Cut, false);
        }
        if let (Some(end), None) = (self.life.end, self.life.counters) {
            add(end.at_ms, end.at_ms, Outcome::Killed, false);
        }
        dues
    }

    /// Lets time pass until an event: nothing may have been due before it.
    fn wait(&mut self, at: Moment, is_by_server: bool) -> Result<(), Difference> {
        if self.is_blocked() && self.last_ms < at.at_ms {
            match self.blocked.last_mut() {
                Some((_, end_ms)) if *end_ms >= self.last_ms => *end_ms = at.at_ms,
                _ => self.blocked.push((self.last_ms, at.at_ms)),
            }
        }
        if let Some(due_ms) = self.write_due_ms.filter(|due_ms| *due_ms < at.at_ms) {
            let message = format!(
                "the server did not send {} bytes of replies at {due_ms} ms, although there was room",
                self.unsent
            );
            self.differ(Oracle::PromptReply, message, at.event)?;
        }
        let first = self.dues().into_iter().min_by_key(|due| due.between_ms.1);
        let first = first.filter(|due| is_by_server && due.between_ms.1 < at.at_ms);
        if let Some(due) = first {
            let message = format!(
                "the server did not close at {} ms ({:?}), but was active at {} ms",
                due.between_ms.1, due.outcome, at.at_ms
            );
            self.differ(Oracle::LateClose, message, at.event)?;
        }
        Ok(())
    }

    fn read(&mut self, at: Moment, bytes: &[u8]) -> Result<(), Difference> {
        if bytes.len() > BUFFER_BYTES {
            let message = format!("the server read {} bytes at once", bytes.len());
            self.differ(Oracle::Backpressure, message, at.event)?;
        }
        if self.phase != Phase::Conversing {
            return Ok(());
        }
        if self.is_blocked() {
            let message = "the server read while a reply was unsent".to_string();
            self.differ(Oracle::Backpressure, message, at.event)?;
        }
        self.record_activity(at.at_ms, 0);
        self.receive(bytes);
        if self.unsent == 0 {
            self.reply(at.at_ms);
        }
        self.settle();
        Ok(())
    }

    fn read_end(&mut self, at: Moment) -> Result<(), Difference> {
        self.is_at_eof = true;
        match self.phase {
            Phase::Conversing => self.read(at, b""),
            _ => Ok(()),
        }
    }

    fn write(&mut self, at: Moment, bytes: &[u8]) -> Result<(), Difference> {
        let expected = &self.conversation.sent[..self.unsent];
        if self.phase != Phase::Conversing || !expected.starts_with(bytes) {
            let message = format!(
                "the server wrote \"{}\", expected \"{}\"",
                bytes.escape_ascii(),
                expected.escape_ascii()
            );
            self.differ(Oracle::ServerReply, message, at.event)?;
        }
        self.record_activity(at.at_ms, bytes.len());
        let length = bytes.len().min(self.unsent);
        self.conversation.sent.drain(..length);
        self.unsent -= length;
        self.in_flight += bytes.len();
        self.write_due_ms = None;
        if self.unsent == 0 && (self.is_blocked() || !self.conversation.sent.is_empty()) {
            self.reply(at.at_ms);
        }
        self.note_room(at.at_ms);
        self.settle();
        Ok(())
    }

    fn shut(&mut self, at: Moment) -> Result<(), Difference> {
        let mut dues = self.dues().into_iter();
        if !dues.any(|due| due.is_orderly && due.between_ms.0 <= at.at_ms) {
            let message = format!(
                "the server half-closed at {} ms, which was too early",
                at.at_ms
            );
            self.differ(Oracle::EarlyClose, message, at.event)?;
        }
        self.phase = Phase::Lingering { since_ms: at.at_ms };
        self.write_due_ms = None;
        Ok(())
    }

    fn dropped(&self, at: Moment) -> Result<Vec<Outcome>, Difference> {
        let dues = self.dues().into_iter();
        let due = dues.filter(|due| !due.is_orderly && due.between_ms.0 <= at.at_ms);
        let outcomes: Vec<_> = due.map(|due| due.outcome).collect();
        if outcomes.is_empty() {
            let message = format!("the server closed at {} ms, which was too early", at.at_ms);
            self.differ(Oracle::EarlyClose, message, at.event)?;
        }
        Ok(outcomes)
    }
}
