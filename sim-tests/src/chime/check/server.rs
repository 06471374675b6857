//! Checks the limits and the counters of the server.

use std::collections::BTreeSet;

use chime_protocol::Framing;
use chime_server::Counter;

use super::{QUIET_MS, Run, SLACK_MS, datagrams};
use crate::Failure;
use crate::chime::CoverageGoal as Goal;
use crate::chime::server::{CONVERSATIONS_ENDED, PERMITS};
use crate::trace::{Connection, EventKind, Life, Piece, ServerEvent, Side};

/// The linger timeout: how long the server waits for the client to close after its own half-close.
const LINGER_MS: u32 = 1_000;

/// Checks the server.
pub(super) fn check(run: &Run<'_>, coverage: &mut BTreeSet<Goal>) -> Result<(), Failure> {
    for (number, life) in run.index.lives.iter().enumerate() {
        check_counters(run, number, life)?;
    }
    run.index.connections.values().try_for_each(|connection| {
        check_idle(run, connection)?;
        check_line(run, connection)?;
        check_reader(run, connection)
    })?;
    for event in &run.index.trace.events {
        match event.kind {
            EventKind::Server(ServerEvent::CannotAccept) => coverage.insert(Goal::AcceptFailed),
            EventKind::Server(ServerEvent::CannotReceive) => coverage.insert(Goal::ReceiveFailed),
            _ => false,
        };
    }
    Ok(())
}

/// Checks the idle timeout and the linger timeout.
fn check_idle(run: &Run<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let side = &connection.server_side;
    let (Some(dropped), Some(closed)) = (side.dropped, side.closed()) else {
        let message = "a connection was still open at the end".to_string();
        return Err(Failure::new(message, run.index.trace.events.len() - 1));
    };
    let idle_ms = run.scenario.server.idle_timeout_ms;
    let pieces = side.wrote.iter().chain(&side.read);
    let mut moves: Vec<u32> = pieces.map(|piece| piece.at.at_ms).collect();
    moves.retain(|at_ms| *at_ms < closed.at_ms);
    moves.extend([connection.accepted.at_ms, closed.at_ms]);
    moves.sort_unstable();
    if moves
        .windows(2)
        .any(|pair| pair[1] - pair[0] > idle_ms + QUIET_MS + SLACK_MS)
    {
        let message = format!("a connection was idle for more than {idle_ms} ms");
        return Err(Failure::new(message, dropped.event));
    }
    if dropped.at_ms - closed.at_ms > LINGER_MS + SLACK_MS {
        let message = format!("a closed connection lingered for more than {LINGER_MS} ms");
        return Err(Failure::new(message, dropped.event));
    }
    Ok(())
}

/// Checks the line timeout. It does not apply while a write is pending.
fn check_line(run: &Run<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let server = &run.scenario.server;
    let side = &connection.server_side;
    let (Some(dropped), Some(closed), Some((began_ms, bytes))) =
        (side.dropped, side.closed(), partial_line(side))
    else {
        return Ok(());
    };
    let closed_ms = closed.at_ms;
    let grace_ms = u32::try_from(2 * bytes).unwrap_or(u32::MAX);
    let due_ms = began_ms
        .saturating_add(server.line_timeout_ms)
        .saturating_add(grace_ms);
    let is_excused = server.framing == Framing::Read || side.blocked_ms.is_some();
    if !is_excused && closed_ms > due_ms.saturating_add(QUIET_MS + SLACK_MS) {
        let message =
            format!("a line that began at {began_ms} ms was not timed out until {closed_ms} ms");
        return Err(Failure::new(message, dropped.event));
    }
    Ok(())
}

/// Checks the write timeout.
fn check_reader(run: &Run<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let side = &connection.server_side;
    let (Some(dropped), Some(closed), Some(blocked_ms)) =
        (side.dropped, side.closed(), side.blocked_ms)
    else {
        return Ok(());
    };
    let closed_ms = closed.at_ms;
    let last_ms = side.last_moved_ms().unwrap_or(connection.accepted.at_ms);
    let due_ms = last_ms
        .max(read_until_ms(side))
        .saturating_add(run.scenario.server.write_timeout_ms);
    if blocked_ms >= last_ms && closed_ms > due_ms.saturating_add(QUIET_MS + SLACK_MS) {
        let message = format!(
            "a client that read nothing after {last_ms} ms was not timed out until {closed_ms} ms"
        );
        return Err(Failure::new(message, dropped.event));
    }
    Ok(())
}

/// Checks the counters against the trace, and that all permits are free.
fn check_counters(run: &Run<'_>, number: usize, life: &Life<'_>) -> Result<(), Failure> {
    let (Some(stopped), Some(counters)) = (life.end, life.counters) else {
        return Ok(());
    };
    let last = run.index.trace.events.len() - 1;
    let accepted = run.index.connections.iter();
    let accepted = accepted.filter(|(_, connection)| connection.life == number);
    let (refused, served): (Vec<_>, Vec<_>) =
        accepted.partition(|(number, _)| run.refused.contains(number));
    let (answered, ignored) = datagrams::counts(run, life.started.at_ms, stopped.at_ms);
    let name = |counter: Counter| format!("{counter:?}");
    let expected = [
        (name(Counter::ConnectionServed), served.len()),
        (name(Counter::ConnectionRefused), refused.len()),
        (CONVERSATIONS_ENDED.into(), served.len()),
        (name(Counter::ConversationPanicked), 0),
        (name(Counter::DatagramAnswered), answered),
        (name(Counter::DatagramIgnored), ignored),
        (PERMITS.into(), run.scenario.server.connections_max),
    ];
    for (name, expected) in expected {
        if counters[&name] != expected as u64 {
            let message = format!(
                "the server counts {name}={}, expected {expected}",
                counters[&name]
            );
            return Err(Failure::new(message, last));
        }
    }
    Ok(())
}

/// When the last line without a line end began to be read, and the number of bytes read since, with those before it in
/// the same read.
pub(super) fn partial_line(side: &Side<'_>) -> Option<(u32, usize)> {
    let is_end = |piece: &Piece<'_>| piece.bytes.contains(&b'\n');
    let first = side.read.iter().rposition(is_end).unwrap_or(0);
    let pieces = &side.read[first..];
    let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    let is_partial = pieces.last()?.bytes.last() != Some(&b'\n');
    let first = match pieces {
        [ended, next, ..] if ended.bytes.ends_with(b"\n") => next,
        [first, ..] => first,
        [] => return None,
    };
    is_partial.then_some((first.at.at_ms, bytes))
}

/// When a client at the minimum rate, 2,000 bytes a second, has read what was written here: its kernel holds at most
/// 66 s of that.
pub(super) fn read_until_ms(side: &Side<'_>) -> u32 {
    let until_us = side.wrote.iter().fold(0, |until_us: u64, piece| {
        let at_us = u64::from(piece.at.at_ms) * 1_000;
        let read_us = until_us.max(at_us) + piece.bytes.len() as u64 * 500;
        read_us.min(at_us + 66_000_000)
    });
    u32::try_from(until_us / 1_000).unwrap_or(u32::MAX)
}
