//! Compares each conversation with the model. One that ends early needs a reason.

use chime_protocol::Framing;

use super::excuses::Excuse;
use super::{Run, SLACK_MS, clients, parts};
use crate::Failure;
use crate::chime::Behaviour;
use crate::trace::{Attempt, Client, Connection, EventKind, Piece, ServerEvent, StreamEvent};

/// The error of a connect that the server's host refuses.
const REFUSED: &str = "connection refused";

/// The conversations of the clients that were connected.
pub(super) fn cases<'a>(run: &'a Run<'a>) -> Vec<Case<'a>> {
    let connections = run.index.connections.iter();
    let cases = connections.filter_map(|(&number, connection)| {
        let client = connection.client?;
        let case = Case {
            run,
            connection,
            client: &run.index.clients[client],
            behaviour: run.behaviour(client),
            number,
            transcript: Ok(Transcript::default()),
        };
        Some(Case {
            transcript: case.compare(),
            ..case
        })
    });
    cases.collect()
}

/// Checks that each client has read the model's replies.
pub(super) fn check_transcripts(cases: &[Case<'_>]) -> Result<(), Failure> {
    let mut failures = cases
        .iter()
        .filter_map(|case| case.transcript.as_ref().err());
    failures
        .next()
        .map_or(Ok(()), |failure| Err(failure.clone()))
}

/// Checks that each conversation that ended early has a reason.
pub(super) fn check_early_ends(cases: &[Case<'_>]) -> Result<(), Failure> {
    cases.iter().try_for_each(|case| match &case.transcript {
        Ok(transcript) => case.explain(transcript).map(drop),
        Err(_) => Ok(()),
    })
}

/// A connection to check.
pub(super) struct Case<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) connection: &'a Connection<'a>,
    pub(super) client: &'a Client<'a>,
    /// What the client does, unless it verifies the recovery.
    pub(super) behaviour: Option<&'a Behaviour>,
    pub(super) number: usize,
    /// The comparison with the model.
    pub(super) transcript: Result<Transcript, Failure>,
}

/// The requests of a conversation, and when the client got the replies.
#[derive(Default)]
pub(super) struct Transcript {
    /// Whether the model refuses it.
    pub(super) is_refused: bool,
    /// Whether the model closes it.
    pub(super) is_closed: bool,
    /// What the client did, in order.
    pub(super) exchanges: Vec<Exchange>,
}

/// The connect, a request or a part of it, or EOF.
pub(super) struct Exchange {
    /// When the reply was formatted; `None` if the client has not read all of it.
    pub(super) answered_ms: Option<u32>,
    /// Whether the model replies to it.
    pub(super) has_reply: bool,
    /// Whether the client sent this although the model had closed the conversation.
    pub(super) is_after_close: bool,
}

impl Transcript {
    /// Returns whether the client has read all replies.
    pub(super) fn is_complete(&self) -> bool {
        self.exchanges
            .iter()
            .all(|exchange| exchange.answered_ms.is_some())
    }
}

impl<'a> Case<'a> {
    /// Compares the bytes that the client has read with the model's replies to what it wrote.
    ///
    /// The reply to a time command must be right for some instant between its request and its arrival.
    fn compare(&self) -> Result<Transcript, Failure> {
        let is_refused = self.run.is_refused(self.number);
        let mut conversation = self.run.conversation(self.number);
        let got = self.connection.client_side.bytes_read();
        let mut position = 0;
        let mut earliest_ms = self.connection.accepted.at_ms;
        let mut transcript = Transcript {
            is_refused,
            is_closed: false,
            exchanges: Vec::new(),
        };
        for (at_ms, request) in self.requests() {
            earliest_ms = earliest_ms.max(at_ms);
            let is_after_close = conversation.is_closed && matches!(request, Request::Bytes(_));
            let arrived_ms = self
                .read_at(position)
                .map_or(0, |(piece, _)| piece.at.at_ms);
            let latest_ms = arrived_ms.max(earliest_ms);
            let (mut best, mut expected) = (0, Vec::new());
            let answered = (earliest_ms..=latest_ms).find_map(|now_ms| {
                let mut attempt = conversation.clone();
                let now = self.run.index.clock(now_ms);
                match &request {
                    Request::Connect => {}
                    Request::Bytes(bytes) => attempt.read(bytes, now),
                    Request::Eof => attempt.end(now),
                }
                let rest = &got[position..];
                let right = common_prefix(rest, &attempt.sent);
                if right >= best {
                    best = right;
                    expected = attempt.sent[right..].to_vec();
                }
                (best == attempt.sent.len().min(rest.len())).then_some((now_ms, attempt))
            });
            let Some((now_ms, answered)) = answered else {
                return Err(self.wrong(&got, position + best, &expected));
            };
            let is_whole = got.len() - position >= answered.sent.len();
            transcript.exchanges.push(Exchange {
                answered_ms: is_whole.then_some(now_ms),
                has_reply: !answered.sent.is_empty(),
                is_after_close,
            });
            position = got.len().min(position + answered.sent.len());
            earliest_ms = now_ms;
            conversation = answered;
            conversation.sent.clear();
        }
        if position < got.len() {
            return Err(self.wrong(&got, position, b""));
        }
        transcript.is_closed = conversation.is_closed;
        Ok(transcript)
    }

    /// What the client did, with its times.
    fn requests(&self) -> Vec<(u32, Request<'a>)> {
        let side = &self.connection.client_side;
        let mut requests = vec![(self.connection.accepted.at_ms, Request::Connect)];
        for Piece { at, bytes, .. } in &side.wrote {
            let parts = parts(self.run.listener(self.number).framing, bytes);
            requests.extend(
                parts
                    .into_iter()
                    .map(|part| (at.at_ms, Request::Bytes(part))),
            );
        }
        requests.extend(side.shut.map(|shut| (shut.at_ms, Request::Eof)));
        requests
    }

    /// The read of the byte at `position`, and the position of its first byte.
    fn read_at(&self, position: usize) -> Option<(&Piece<'a>, usize)> {
        let mut end = 0;
        let mut pieces = self.connection.client_side.read.iter();
        let piece = pieces.find(|piece| {
            end += piece.bytes.len();
            end > position
        })?;
        Some((piece, end - piece.bytes.len()))
    }

    fn wrong(&self, got: &[u8], position: usize, expected: &[u8]) -> Failure {
        let read = self.read_at(position);
        Failure {
            message: format!(
                "connection {}: at byte {position} the client expected \"{}\" and read \"{}\"",
                self.number,
                expected.escape_ascii(),
                got[position..].escape_ascii()
            ),
            event: read.map_or(self.connection.accepted.event, |(piece, _)| piece.at.event),
            right_bytes: read.map(|(_, start)| position - start),
        }
    }

    /// Checks that the client library returned the replies that arrived.
    pub(super) fn check_library(&self) -> Result<(), Failure> {
        let is_by_library = matches!(
            self.behaviour,
            Some(Behaviour::Ask { .. } | Behaviour::Pipe { .. }) | None
        );
        if !is_by_library || self.run.listener(self.number).framing == Framing::Read {
            return Ok(());
        }
        let attempt = self.attempt();
        let got = self.connection.client_side.bytes_read();
        let mut lines = got.split_inclusive(|byte| *byte == b'\n');
        let _welcome = lines.next();
        for (event, reply) in &attempt.replies {
            if lines.next() != Some(format!("{reply}\n").as_bytes()) {
                let message =
                    format!("the client library returned '{reply}', which did not arrive");
                return Err(Failure::new(message, *event));
            }
        }
        if attempt.failed.is_none() && lines.next().is_some() && self.behaviour.is_some() {
            let message = format!(
                "connection {}: the client library did not return a reply that arrived",
                self.number
            );
            return Err(Failure::new(message, self.last_event()));
        }
        Ok(())
    }

    /// The event that dropped one end, the first of the two.
    pub(super) fn last_event(&self) -> usize {
        let dropped = [&self.connection.server_side, &self.connection.client_side]
            .map(|side| side.dropped.map(|dropped| dropped.event));
        let dropped = dropped.into_iter().flatten().min();
        dropped.unwrap_or(self.connection.accepted.event)
    }

    pub(super) fn attempt(&self) -> &Attempt<'a> {
        let mut attempts = self.client.attempts.iter();
        let attempt = attempts.find(|attempt| attempt.connection == Some(self.number));
        attempt.expect("a client's connection is one of its attempts")
    }
}

/// What a client does.
enum Request<'a> {
    Connect,
    /// Sends a line or a part of it; with framing `read`, a request.
    Bytes(&'a [u8]),
    Eof,
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.iter().zip(other);
    pairs.take_while(|(one, other)| one == other).count()
}

/// Checks that each connection that reaches the backlog is accepted without an idle millisecond.
///
/// A failed accept excuses the connections in the backlog until the pause after it has ended, and a connection that
/// waits for a permit those behind it.
pub(super) fn check_connects(run: &Run<'_>) -> Result<(), Failure> {
    let failed = run.server_events(ServerEvent::CannotAccept);
    let failed = failed.map(|event| (Excuse::ConnectPause, run.accept_pause(event.at_ms)));
    let waits = run.admissions.waits().map(|it| (Excuse::ConnectPermit, it));
    let pauses = failed.chain(waits);
    let pauses = pauses.filter_map(|(excuse, pause)| run.excuses(excuse, true).then_some(pause));
    let mut pauses: Vec<_> = pauses.collect();
    pauses.sort_unstable();
    for (number, attempt) in run.index.attempts() {
        if attempt.is_by_datagram {
            continue;
        }
        let begin_ms = attempt.begin.at_ms;
        let arrived_ms = begin_ms + run.latency_max_ms().max(1);
        let due_ms = run.after_pauses(&pauses, arrived_ms);
        let host = run.index.clients[number].host;
        let has_link_fault = |end_ms| {
            let has_fault = run.index.has_link_fault(host, begin_ms, end_ms);
            run.excuses(Excuse::ConnectLinkFault, has_fault)
        };
        let handled_ms = run.handled_ms((begin_ms, arrived_ms + SLACK_MS), due_ms + SLACK_MS);
        if run.excuses(Excuse::ConnectServerDown, handled_ms.is_none())
            || has_link_fault(arrived_ms)
        {
            continue;
        }
        let due_ms = handled_ms.unwrap_or(due_ms).min(due_ms);
        let end_ms = attempt.end.at_ms;
        let has_timed_out = clients::has_timed_out(run, number, attempt);
        let is_refused = attempt.failed.is_some_and(|(_, error)| error == REFUSED);
        // A connect that has reached the backlog is not refused later on. An answer takes as long as the connect.
        let was_due = is_refused
            || due_ms + run.latency_max_ms() + SLACK_MS < end_ms
            || due_ms == arrived_ms && !run.excuses(Excuse::ConnectTimedOut, has_timed_out);
        let connection = attempt
            .connection
            .map(|number| &run.whole.connections[&number]);
        match (connection, attempt.failed) {
            (Some(connection), _) if connection.accepted.at_ms > due_ms => {
                let at = connection.accepted;
                let message = format!(
                    "a connection that arrived at {arrived_ms} ms was not accepted until {} ms",
                    at.at_ms
                );
                return Err(Failure::new(message, at.event));
            }
            (None, Some((event, error))) if was_due && !has_link_fault(end_ms) => {
                let message = format!("a client cannot connect, and no fault explains it: {error}");
                return Err(Failure::new(message, event));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks the pauses after failed accepts, where one worker accepts at one listener.
pub(super) fn check_accept_pauses(run: &Run<'_>) -> Result<(), Failure> {
    let server = &run.scenario.server;
    if server.workers * server.listeners.len() > 1 {
        return Ok(());
    }
    let mut pause = (0, 0);
    let mut is_stopping = false;
    for (event, happened) in run.index.trace.events.iter().enumerate() {
        let has_accepted = match &happened.kind {
            EventKind::Server(event @ (ServerEvent::Started | ServerEvent::Stopping)) => {
                is_stopping = *event == ServerEvent::Stopping;
                pause = (0, 0);
                false
            }
            EventKind::Server(ServerEvent::CannotAccept | ServerEvent::AcceptAborted) => true,
            EventKind::Stream { event, .. } => matches!(event, StreamEvent::Accepted { .. }),
            _ => false,
        };
        if has_accepted && happened.at_ms < pause.1 {
            let message = format!(
                "the server accepted at {} ms, although an accept had failed at {} ms and it had to pause until {} ms",
                happened.at_ms, pause.0, pause.1
            );
            return Err(Failure::new(message, event));
        }
        if happened.kind == EventKind::Server(ServerEvent::CannotAccept) && !is_stopping {
            pause = run.accept_pause(happened.at_ms);
        }
    }
    Ok(())
}

/// Checks that clients are served soon after the network has healed.
pub(super) fn check_recovery(run: &Run<'_>) -> Result<(), Failure> {
    let (idle_ms, latency_ms) = (run.scenario.server.idle_timeout_ms, run.latency_max_ms());
    if idle_ms < 2 * latency_ms + SLACK_MS {
        // The server may time out while a request is under way, again and again.
        return Ok(());
    }
    // One refusal, then a conversation and a datagram.
    let soon_ms = idle_ms + 5_000 + 20 * latency_ms;
    let (others, last) = run.index.clients.split_at(run.scenario.clients.len());
    let others_done_ms = others.iter().filter_map(|other| other.done_ms);
    let begin_ms = run.index.healed_ms.max(others_done_ms.max().unwrap_or(0));
    let mut done_ms = last.iter().filter_map(|client| client.done_ms);
    match done_ms.any(|done_ms| done_ms > begin_ms.saturating_add(soon_ms)) {
        false => Ok(()),
        true => Err(Failure::new(
            "a client was not served soon after the network had healed",
            run.index.trace.events.len() - 1,
        )),
    }
}
