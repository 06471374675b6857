//! Conversations: each is the model's, and if it ends early there is a reason.

use std::collections::BTreeSet;

use chime_protocol::Framing;
use chime_protocol::model::naive::{self, Conversation};
use chrono::{Datelike, NaiveDateTime};

use super::history::{Attempt, Client, Connection, History, Piece, Span};
use super::{Failure, failure};
use crate::scenario::{Behaviour, Ending, FaultKind, Reading};
use crate::situation::Situation;

/// How far times may be off: what takes no time may still show in the next millisecond.
const SLACK_MS: u32 = 3;

/// Checks every conversation.
pub(super) fn check(
    model: naive::Answer,
    history: &History<'_>,
    reached: &mut BTreeSet<Situation>,
) -> Result<(), Failure> {
    for index in 0..history.connections.len() {
        let connection = &history.connections[index];
        let Some(client) = connection.client else {
            continue;
        };
        let client = &history.clients[client];
        let case = Case {
            history,
            connection,
            client,
            index,
        };
        let transcript = case.compare(model)?;
        let reason = case.explain(&transcript)?;
        case.check_told()?;
        case.note(&transcript, reason, reached);
    }
    check_attempts(history, reached)
}

/// Why a conversation ended before all that was asked had been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The client was to leave, or not to read.
    ClientLeft,
    /// The stream was made to fail.
    StreamFailed,
    /// Messages got lost.
    Partition,
    /// Messages were held for longer than someone would wait.
    Hold,
    /// The server was killed.
    Killed,
    /// No byte moved for the idle timeout.
    Idle,
    /// The server was told to stop.
    Stop,
    /// The server had been told to stop, and this took too long.
    Drain,
    /// The client took the last replies so late that it had been given up.
    Slow,
}

/// One connection to be judged.
struct Case<'a> {
    history: &'a History<'a>,
    connection: &'a Connection<'a>,
    client: &'a Client<'a>,
    index: usize,
}

/// A conversation as its client saw it, beside what the model says.
struct Transcript {
    /// Whether the model refuses it.
    is_refused: bool,
    /// Whether the model closes it.
    is_closed: bool,
    /// What was asked, each with when that was, and when it was answered.
    asked: Vec<Asked>,
}

struct Asked {
    at_ms: u32,
    /// When the clock showed what the reply shows.
    answered_ms: Option<u32>,
    has_reply: bool,
}

impl Transcript {
    fn is_complete(&self) -> bool {
        self.asked.iter().all(|asked| asked.answered_ms.is_some())
    }
}

impl<'a> Case<'a> {
    /// Compares all that the client has read with what the model answers to all that it wrote.
    ///
    /// A reply that tells the time must be right for some instant between its request and its arrival.
    fn compare(&self, model: naive::Answer) -> Result<Transcript, Failure> {
        let server = &self.history.scenario.server;
        let is_refused = self.connection.is_refused;
        let mut conversation = match is_refused {
            false => Conversation::new(model, server.service, server.framing),
            true => Conversation::refused(server.framing),
        };
        let got = self.connection.client_side.bytes_read();
        let mut position = 0;
        let mut earliest_ms = self.connection.accepted_ms;
        let mut transcript = Transcript {
            is_refused,
            is_closed: false,
            asked: Vec::new(),
        };
        for request in [None]
            .into_iter()
            .chain(self.requests().into_iter().map(Some))
        {
            let at_ms = request
                .as_ref()
                .map_or(earliest_ms, |request| request.at_ms);
            earliest_ms = earliest_ms.max(at_ms);
            let latest_ms = self.arrived_ms(position).max(earliest_ms);
            let mut best = 0;
            let answered = (earliest_ms..=latest_ms).find_map(|now_ms| {
                let mut attempt = conversation.clone();
                if let Some(request) = &request {
                    attempt.sent.clear();
                    request.put(&mut attempt, self.history.clock(now_ms));
                }
                let rest = &got[position..];
                best = best.max(common_prefix(rest, &attempt.sent));
                (best == attempt.sent.len().min(rest.len())).then_some((now_ms, attempt))
            });
            let Some((now_ms, answered)) = answered else {
                return Err(self.wrong(&got, position + best));
            };
            let is_whole = got.len() - position >= answered.sent.len();
            transcript.asked.push(Asked {
                at_ms,
                answered_ms: is_whole.then_some(now_ms),
                has_reply: !answered.sent.is_empty(),
            });
            position = got.len().min(position + answered.sent.len());
            earliest_ms = now_ms;
            conversation = answered;
        }
        if position < got.len() {
            return Err(self.wrong(&got, position));
        }
        transcript.is_closed = conversation.is_closed;
        Ok(transcript)
    }

    /// What the client asked: lines, or with the framing `read` what it wrote at once, and then perhaps
    /// the end.
    fn requests(&self) -> Vec<Request> {
        let side = &self.connection.client_side;
        let mut requests: Vec<Request> = Vec::new();
        let mut line = Vec::new();
        for Piece { at_ms, bytes, .. } in &side.wrote {
            let at_ms = *at_ms;
            match self.history.scenario.server.framing {
                Framing::Read => requests.push(Request::bytes(bytes, at_ms)),
                Framing::Line => {
                    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                        line.extend(part);
                        if part.ends_with(b"\n") {
                            requests.push(Request::bytes(&line, at_ms));
                            line.clear();
                        }
                    }
                }
            }
        }
        if let Some(at_ms) = side.shut_ms {
            requests.push(Request {
                at_ms,
                bytes: line,
                is_end: true,
            });
        }
        requests
    }

    /// When the client had read the byte at `position`, or could have.
    fn arrived_ms(&self, position: usize) -> u32 {
        let mut end = 0;
        let mut pieces = self.connection.client_side.read.iter();
        let piece = pieces.find(|piece| {
            end += piece.bytes.len();
            end > position
        });
        match piece {
            Some(piece) => piece.at_ms,
            None => self.connection.accepted_ms,
        }
    }

    fn wrong(&self, got: &[u8], position: usize) -> Failure {
        let mut start = 0;
        let mut pieces = self.connection.client_side.read.iter();
        let piece = pieces.find(|piece| {
            let is_here = start + piece.bytes.len() > position;
            start += if is_here { 0 } else { piece.bytes.len() };
            is_here
        });
        Failure {
            what: format!(
                "connection {}: from byte {position} on the client was not to read \"{}\"",
                self.index,
                got[position..].escape_ascii()
            ),
            event: piece.map_or(self.connection.accepted_event, |piece| piece.event),
            right_bytes: Some(position - start),
        }
    }

    /// Why the conversation ended early, if it did; a failure if there is no reason for it.
    fn explain(&self, transcript: &Transcript) -> Result<Option<Reason>, Failure> {
        let side = &self.connection.client_side;
        let is_cut = match self.client.behaviour {
            // It waits for the end.
            Some(Behaviour::Write { .. }) => side.read_end_ms.is_none() || !transcript.is_closed,
            // The library finds fault with an early end.
            _ => self.attempt().failed.is_some() && !transcript.is_refused,
        };
        if !is_cut && transcript.is_complete() {
            return Ok(None);
        }
        let reasons = [
            self.client_left(),
            self.stream_failed(),
            self.link_failed(),
            self.killed(),
            self.drained(),
            self.gave_up_late(),
            self.stopped(transcript),
            self.idle(transcript),
        ];
        let reason = reasons.into_iter().flatten().next();
        if reason.is_none() {
            let missing = transcript
                .asked
                .iter()
                .filter(|asked| asked.answered_ms.is_none());
            let what = format!(
                "connection {}: the conversation ends early, {} replies are missing, and nothing explains it",
                self.index,
                missing.count()
            );
            return Err(failure(what, self.last_event()));
        }
        Ok(reason)
    }

    fn last_event(&self) -> usize {
        let dropped = [&self.connection.server_side, &self.connection.client_side]
            .map(|side| side.dropped.map(|(_, event)| event));
        let dropped = dropped.into_iter().flatten().min();
        dropped.unwrap_or(self.connection.accepted_event)
    }

    fn client_left(&self) -> Option<Reason> {
        let is_meant = matches!(
            self.client.behaviour,
            Some(Behaviour::Write {
                ending: Ending::Leave | Ending::Forget,
                ..
            }) | Some(Behaviour::Write {
                reading: Reading::Never,
                ..
            })
        );
        is_meant.then_some(Reason::ClientLeft)
    }

    fn stream_failed(&self) -> Option<Reason> {
        let sides = [&self.connection.client_side, &self.connection.server_side];
        let is_injected = sides
            .iter()
            .any(|side| side.failed.is_some_and(|(_, by)| by));
        is_injected.then_some(Reason::StreamFailed)
    }

    /// The faults of this connection's link while it lasted.
    fn link_faults(&self) -> impl Iterator<Item = &Span<'a>> {
        let latency_ms = self.history.latency_max_ms();
        let begin_ms = self.connection.accepted_ms.saturating_sub(latency_ms);
        let end_ms = self.connection.end_ms();
        self.history.faults.iter().filter(move |span| {
            span.kind.host() == Some(self.client.host) && span.overlaps(begin_ms, end_ms)
        })
    }

    fn link_failed(&self) -> Option<Reason> {
        self.link_faults().find_map(|span| match span.kind {
            FaultKind::Partition { .. }
            | FaultKind::PartitionToServer { .. }
            | FaultKind::PartitionFromServer { .. } => Some(Reason::Partition),
            FaultKind::Hold { .. } | FaultKind::Slow { .. } => None,
            FaultKind::Crash | FaultKind::Stop | FaultKind::ClockStep { .. } => None,
        })
    }

    fn is_delayed(&self) -> bool {
        self.link_faults().next().is_some()
    }

    fn killed(&self) -> Option<Reason> {
        let life = &self.history.lives[self.connection.life];
        let (killed_ms, outcome) = life.end?;
        (outcome.is_none() && killed_ms <= self.connection.end_ms()).then_some(Reason::Killed)
    }

    fn closed_ms(&self) -> Option<u32> {
        let side = &self.connection.server_side;
        side.shut_ms.or(side.dropped.map(|(at_ms, _)| at_ms))
    }

    fn drained(&self) -> Option<Reason> {
        let stopping_ms = self.history.lives[self.connection.life].stopping_ms?;
        let drain_ms = self.history.scenario.server.drain_timeout_ms;
        (self.closed_ms()? + SLACK_MS >= stopping_ms + drain_ms).then_some(Reason::Drain)
    }

    /// The server closed while the client was still writing, and gave the last replies up when the
    /// client had not read them in time; or the client gave up before the network delivered.
    fn gave_up_late(&self) -> Option<Reason> {
        let is_slow = matches!(
            self.client.behaviour,
            Some(Behaviour::Write {
                reading: Reading::Slow { .. },
                ..
            })
        );
        let side = &self.connection.client_side;
        let is_reset = side.failed.is_some_and(|(_, is_injected)| !is_injected);
        if is_slow && is_reset {
            return Some(Reason::Slow);
        }
        let holds = |span: &Span<'_>| matches!(span.kind, FaultKind::Hold { .. });
        let is_given_up = side.read_end_ms.is_none() || is_reset;
        (is_given_up && self.link_faults().any(holds)).then_some(Reason::Hold)
    }

    /// Whether all that had been asked well before `by_ms` has been answered.
    fn is_answered(&self, transcript: &Transcript, by_ms: u32) -> bool {
        let travel_ms = self.history.latency_max_ms() + SLACK_MS;
        let is_delayed = self.is_delayed();
        transcript.asked.iter().all(|asked| {
            asked.answered_ms.is_some() || is_delayed || asked.at_ms + travel_ms > by_ms
        })
    }

    fn stopped(&self, transcript: &Transcript) -> Option<Reason> {
        let stopping_ms = self.history.lives[self.connection.life].stopping_ms?;
        let closed_ms = self.closed_ms()?;
        let is_after = stopping_ms <= closed_ms;
        (is_after && self.is_answered(transcript, stopping_ms.min(closed_ms)))
            .then_some(Reason::Stop)
    }

    fn idle(&self, transcript: &Transcript) -> Option<Reason> {
        let side = &self.connection.server_side;
        let (dropped_ms, _) = side.dropped?;
        let last_ms = side.last_moved_ms().unwrap_or(self.connection.accepted_ms);
        let is_idle =
            dropped_ms + SLACK_MS >= last_ms + self.history.scenario.server.idle_timeout_ms;
        (is_idle && self.is_answered(transcript, dropped_ms)).then_some(Reason::Idle)
    }

    /// What the library gave the client is what has come.
    fn check_told(&self) -> Result<(), Failure> {
        let is_by_library = matches!(
            self.client.behaviour,
            Some(Behaviour::Ask { .. } | Behaviour::Pipe { .. }) | None
        );
        if !is_by_library || self.history.scenario.server.framing == Framing::Read {
            return Ok(());
        }
        let attempt = self.attempt();
        let got = self.connection.client_side.bytes_read();
        let mut lines = got.split_inclusive(|byte| *byte == b'\n');
        let _welcome = lines.next();
        for (event, reply) in &attempt.told {
            if lines.next() != Some(format!("{reply}\n").as_bytes()) {
                let what = format!("client told '{reply}', which is not what came");
                return Err(failure(what, *event));
            }
        }
        if attempt.failed.is_none() && lines.next().is_some() && self.client.behaviour.is_some() {
            let what = format!("connection {}: the client was not told a reply", self.index);
            return Err(failure(what, self.last_event()));
        }
        Ok(())
    }

    fn attempt(&self) -> &Attempt<'a> {
        let mut attempts = self.client.attempts.iter();
        let attempt = attempts.find(|attempt| attempt.connection == Some(self.index));
        attempt.expect("a client's connection is one of its attempts")
    }

    /// Notes what was seen.
    fn note(
        &self,
        transcript: &Transcript,
        reason: Option<Reason>,
        reached: &mut BTreeSet<Situation>,
    ) {
        let server_side = &self.connection.server_side;
        let read = || server_side.read.iter();
        let cr_then_lf = read()
            .zip(read().skip(1))
            .any(|(one, next)| one.bytes.ends_with(b"\r") && next.bytes.starts_with(b"\n"));
        let lines = |piece: &Piece<'_>| piece.bytes.iter().filter(|byte| **byte == b'\n').count();
        let is_served = reason.is_none() && transcript.is_complete();
        let asked = &transcript.asked;
        let instants: Vec<NaiveDateTime> = asked
            .iter()
            .skip(1)
            .filter_map(|asked| asked.answered_ms.filter(|_| asked.has_reply))
            .map(|at_ms| self.history.clock(at_ms))
            .collect();
        let turns = || instants.iter().zip(instants.iter().skip(1));
        let behaviour = self.client.behaviour;
        let is_slow = matches!(
            behaviour,
            Some(Behaviour::Write {
                reading: Reading::Slow { .. },
                ..
            })
        );
        let life = &self.history.lives[self.connection.life];
        let has_stopped = |at_ms: u32| life.stopping_ms.is_some_and(|stop_ms| stop_ms < at_ms);
        let quits = asked
            .iter()
            .position(|asked| !asked.has_reply && asked.answered_ms.is_some());
        let is_reset = |side: &super::history::Side<'_>| side.failed.is_some_and(|(_, by)| !by);
        let closed_ms = self.closed_ms().unwrap_or(u32::MAX);
        let unfinished = read()
            .take_while(|piece| piece.at_ms <= closed_ms)
            .last()
            .is_some_and(|piece| !piece.bytes.ends_with(b"\n"));
        let holds = |span: &Span<'_>| matches!(span.kind, FaultKind::Hold { .. });
        let one_way = |span: &Span<'_>| {
            matches!(
                span.kind,
                FaultKind::PartitionToServer { .. } | FaultKind::PartitionFromServer { .. }
            )
        };
        let seen = [
            (Situation::CrAndLfInDifferentReads, cr_then_lf),
            (
                Situation::LinesInOneRead,
                read().any(|piece| lines(piece) > 2),
            ),
            (
                Situation::MoreAfterQuit,
                quits.is_some_and(|quit| quit + 1 < asked.len() && is_served),
            ),
            (
                Situation::LastLineWithoutEnd,
                is_served
                    && self.connection.client_side.shut_ms.is_some()
                    && unfinished
                    && asked.last().is_some_and(|last| last.has_reply),
            ),
            (
                Situation::ShortWrite,
                server_side.wrote.iter().any(|piece| piece.is_short),
            ),
            (Situation::ServerBlocked, server_side.blocked_ms.is_some()),
            (
                Situation::SlowReaderServed,
                is_slow && is_served && server_side.blocked_ms.is_some(),
            ),
            (
                Situation::StreamFailed,
                reason == Some(Reason::StreamFailed),
            ),
            (
                Situation::Reset,
                is_reset(&self.connection.client_side) || is_reset(server_side),
            ),
            (Situation::Refused, transcript.is_refused && is_served),
            (Situation::IdleClosed, reason == Some(Reason::Idle)),
            (
                Situation::ForgottenClosed,
                matches!(
                    behaviour,
                    Some(Behaviour::Write {
                        ending: Ending::Forget,
                        ..
                    })
                ) && self.connection.client_side.dropped.is_none()
                    && server_side.dropped.is_some(),
            ),
            (Situation::Killed, reason == Some(Reason::Killed)),
            (
                Situation::StoppedInMidLine,
                reason == Some(Reason::Stop) && unfinished,
            ),
            (
                Situation::AnsweredAfterStop,
                asked
                    .iter()
                    .any(|asked| asked.answered_ms.is_some_and(has_stopped) && asked.has_reply),
            ),
            (Situation::DrainTimedOut, self.drained().is_some()),
            (Situation::Partitioned, reason == Some(Reason::Partition)),
            (
                Situation::PartitionedOneWay,
                reason == Some(Reason::Partition) && self.link_faults().all(one_way),
            ),
            (
                Situation::ServedAfterHold,
                is_served && self.link_faults().any(holds) && asked.len() > 1,
            ),
            (
                Situation::MidnightBetweenReplies,
                turns().any(|(one, next)| one.date() < next.date()),
            ),
            (
                Situation::NewYearBetweenReplies,
                turns().any(|(one, next)| one.year() < next.year()),
            ),
            (
                Situation::LeapDay,
                instants
                    .iter()
                    .any(|instant| (instant.month(), instant.day()) == (2, 29)),
            ),
            (
                Situation::ClockSetBack,
                turns().any(|(one, next)| next < one),
            ),
        ];
        reached.extend(
            seen.iter()
                .filter(|(_, is_seen)| *is_seen)
                .map(|(situation, _)| *situation),
        );
    }
}

/// Something asked, and when.
struct Request {
    at_ms: u32,
    bytes: Vec<u8>,
    is_end: bool,
}

impl Request {
    fn bytes(bytes: &[u8], at_ms: u32) -> Request {
        Request {
            at_ms,
            bytes: bytes.to_vec(),
            is_end: false,
        }
    }

    fn put(&self, conversation: &mut Conversation, now: NaiveDateTime) {
        match self.is_end {
            false => conversation.read(&self.bytes, now),
            true => {
                if !self.bytes.is_empty() {
                    conversation.read(&self.bytes, now);
                }
                conversation.end(now);
            }
        }
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// Who could not connect had a reason, and who tried the healed server was served soon.
fn check_attempts(history: &History<'_>, reached: &mut BTreeSet<Situation>) -> Result<(), Failure> {
    for client in &history.clients {
        for attempt in client
            .attempts
            .iter()
            .filter(|attempt| !attempt.is_by_datagram)
        {
            let Some((event, error)) = attempt.failed else {
                continue;
            };
            let mut faults = history.faults_in(attempt.begin_ms, attempt.end_ms);
            let has_link_fault = faults.any(|kind| kind.host() == Some(client.host));
            // Who has come to the door before it closes is let in, unless the door is jammed.
            let travel_ms = history.latency_max_ms() + SLACK_MS;
            let was_up = match history.scenario.network.accept_error_percent {
                0 => history.is_up(attempt.begin_ms, attempt.begin_ms + travel_ms),
                _ => history.is_up(attempt.begin_ms, attempt.end_ms),
            };
            if attempt.connection.is_none() && was_up && !has_link_fault {
                let what = format!("a client cannot connect for no reason: {error}");
                return Err(failure(what, event));
            }
        }
        let is_ask = matches!(client.behaviour, Some(Behaviour::Ask { .. }));
        let has_failed = client
            .attempts
            .iter()
            .any(|attempt| attempt.failed.is_some());
        let is_served = client
            .attempts
            .last()
            .is_some_and(|last| last.failed.is_none());
        if is_ask && has_failed && is_served {
            reached.insert(Situation::ServedAnew);
        }
        if client.behaviour.is_none()
            && let Some(done_ms) = client.done_ms
        {
            let server = &history.scenario.server;
            // A round of refusals, then a conversation and a datagram.
            let soon_ms = server.idle_timeout_ms + 5_000 + 20 * history.latency_max_ms();
            let others = history
                .clients
                .iter()
                .filter(|other| other.behaviour.is_some());
            let room_ms = others.filter_map(|other| other.done_ms).max().unwrap_or(0);
            if done_ms > history.healed_ms.max(room_ms) + soon_ms {
                let what = "a client was not served soon after all had healed".to_string();
                return Err(failure(what, history.trace.events.len() - 1));
            }
        }
    }
    Ok(())
}
