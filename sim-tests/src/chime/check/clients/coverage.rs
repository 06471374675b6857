//! The coverage goals of the client library, of clients that take their time, and of clients at a graceful shutdown.

use super::{SENDS_MS, has_timed_out};
use crate::chime::check::replay::{LINGER_MS, Outcome};
use crate::chime::check::{Run, SLACK_MS};
use crate::chime::{Behaviour, CoverageGoal as Goal, Reading};
use crate::trace::{Attempt, Connection, Moment, Piece, Side};

/// Adds the goals that clients reach.
pub(in crate::chime::check) fn note(run: &Run<'_>, see: &mut impl FnMut(Goal, bool)) {
    for (client, attempt) in run.index.attempts() {
        note_attempt(run, client, attempt, see);
    }
    let line_timeout_ms = run.scenario.server.line_timeout_ms;
    for (number, connection) in &run.index.connections {
        let side = &connection.server_side;
        let round_trip_ms = 2 * run.latency_max_ms() + SLACK_MS;
        see(Goal::ClosedLate, is_closed_late(side, round_trip_ms));
        see(Goal::ClosedAfterLinger, is_closed_after_linger(connection));
        see(
            Goal::SlowWriterServed,
            is_slow_line_answered(side, line_timeout_ms),
        );
        see(
            Goal::SlowWriterClosed,
            run.replays[number].is(Outcome::SlowLine)
                && is_closed_while_writing(connection, line_timeout_ms),
        );
    }
    for (number, life) in run.index.lives.iter().enumerate() {
        let Some(stopping) = life.stopping else {
            continue;
        };
        let connections = run.index.connections.values();
        let here = || connections.clone().filter(|it| it.life == number);
        see(
            Goal::SilentAcceptedAtStop,
            here().any(|it| is_silent_and_accepted_after(it, stopping)),
        );
        let is_slow_reader = |connection: &&Connection<'_>| {
            let behaviour = connection.client.and_then(|client| run.behaviour(client));
            let is_slow = matches!(
                behaviour,
                Some(Behaviour::Write {
                    reading: Reading::Slow { .. },
                    ..
                })
            );
            is_slow && has_unsent_replies(connection, stopping)
        };
        see(
            Goal::SlowReadersAtStop,
            here().filter(is_slow_reader).count() > 1,
        );
        see(
            Goal::ReadsWaitingAtStop,
            here().any(|it| waiting_read_count(run, it, stopping) > 1),
        );
    }
}

fn note_attempt(
    run: &Run<'_>,
    client: usize,
    attempt: &Attempt<'_>,
    see: &mut impl FnMut(Goal, bool),
) {
    let has_timed_out = has_timed_out(run, client, attempt);
    if attempt.is_by_datagram {
        let lasted_ms = attempt.end.at_ms - attempt.begin.at_ms;
        see(
            Goal::LibraryDatagramTimedOut,
            has_timed_out && lasted_ms > SENDS_MS[1],
        );
        return;
    }
    let Some(number) = attempt.connection else {
        see(Goal::LibraryConnectTimedOut, has_timed_out);
        return;
    };
    let Some(connection) = run.index.connections.get(&number) else {
        return;
    };
    let side = &connection.client_side;
    let is_greeted = side.bytes_read().contains(&b'\n');
    see(Goal::LibraryGreetingTimedOut, has_timed_out && !is_greeted);
    see(Goal::LibraryReplyTimedOut, has_timed_out && is_greeted);
    let last_reply = attempt.replies.last().map(|(event, _)| *event);
    let is_pipe = matches!(run.behaviour(client), Some(Behaviour::Pipe { .. }));
    let is_after_shut = side.shut.is_some_and(|shut| last_reply > Some(shut.event));
    see(
        Goal::PipeServedAfterHalfClose,
        is_pipe && is_after_shut && attempt.failed.is_none(),
    );
}

fn is_closed_late(side: &Side<'_>, round_trip_ms: u32) -> bool {
    let waited_ms = side.shut.zip(side.read_end);
    waited_ms.is_some_and(|(shut, end)| end.at_ms > shut.at_ms + round_trip_ms)
}

fn is_closed_after_linger(connection: &Connection<'_>) -> bool {
    let side = &connection.server_side;
    let lingered = side.shut.zip(side.dropped);
    let is_late = lingered.is_some_and(|(shut, dropped)| {
        let closed = connection.client_side.closed();
        dropped.at_ms >= shut.at_ms + LINGER_MS && closed.is_some_and(|closed| closed > dropped)
    });
    is_late && side.read_end.is_none() && side.failed.is_none()
}

/// Whether a line that took longer than the line timeout to arrive was answered.
fn is_slow_line_answered(side: &Side<'_>, line_timeout_ms: u32) -> bool {
    let mut began_ms = None;
    side.read.iter().any(|piece| {
        let at_ms = piece.at.at_ms;
        let took_ms = at_ms - *began_ms.get_or_insert(at_ms);
        let has_end = piece.bytes.contains(&b'\n');
        if has_end {
            began_ms = (piece.bytes.last() != Some(&b'\n')).then_some(at_ms);
        }
        let is_answered = side.wrote.iter().any(|wrote| wrote.at > piece.at);
        has_end && took_ms > line_timeout_ms && is_answered
    })
}

/// Whether a line was cut at the line timeout although its bytes kept arriving.
fn is_closed_while_writing(connection: &Connection<'_>, line_timeout_ms: u32) -> bool {
    let side = &connection.server_side;
    side.dropped
        .zip(side.read.last())
        .is_some_and(|(dropped, last)| {
            let is_open = connection.client_side.closed() > Some(dropped);
            is_open && dropped.at_ms < last.at.at_ms + line_timeout_ms / 2
        })
}

fn is_silent_and_accepted_after(connection: &Connection<'_>, stopping: Moment) -> bool {
    let side = &connection.client_side;
    let is_served = !side.read.is_empty() && side.read_end.is_some();
    connection.accepted > stopping && side.wrote.is_empty() && is_served
}

/// The number of reads after the begin of a graceful shutdown of bytes that had arrived before.
fn waiting_read_count(run: &Run<'_>, connection: &Connection<'_>, stopping: Moment) -> usize {
    let host = connection
        .client
        .map(|client| run.index.clients[client].host);
    if host.is_none_or(|host| run.index.has_link_fault(host, 0, stopping.at_ms)) {
        return 0;
    }
    let has_arrived = |wrote: &&Piece<'_>| wrote.at.at_ms + run.latency_max_ms() < stopping.at_ms;
    let wrote = connection.client_side.wrote.iter().filter(has_arrived);
    let mut arrived: usize = wrote.map(|wrote| wrote.bytes.len()).sum();
    let mut count = 0;
    for read in &connection.server_side.read {
        count += usize::from(read.at > stopping && arrived > 0);
        arrived = arrived.saturating_sub(read.bytes.len());
    }
    count
}

/// Whether the server had to wait before it could write its last replies, after the begin of a graceful shutdown.
fn has_unsent_replies(connection: &Connection<'_>, stopping: Moment) -> bool {
    let side = &connection.server_side;
    let last = side.wrote.last();
    connection.accepted < stopping
        && side.blocked_ms.is_some()
        && last.is_some_and(|last| last.at.at_ms > stopping.at_ms)
}
