//! Checks the limits of the server.

use std::collections::BTreeSet;

use chime_protocol::Framing;

use super::datagrams::Counts;
use super::{QUIET_MS, Run, SLACK_MS, counters};
use crate::Failure;
use crate::chime::CoverageGoal as Goal;
use crate::trace::{Connection, EventKind, Life, Piece, ServerEvent, Side};

/// The linger timeout: how long the server waits for the client to close after its own half-close.
pub(super) const LINGER_MS: u32 = 1_000;

/// Checks the server.
pub(super) fn check(
    run: &Run<'_>,
    datagrams: &[Counts],
    coverage: &mut BTreeSet<Goal>,
) -> Result<(), Failure> {
    run.index.connections.values().try_for_each(|connection| {
        check_idle(run, connection)?;
        check_line(run, connection)?;
        check_reader(run, connection)
    })?;
    for (number, life) in run.index.lives.iter().enumerate() {
        check_drain(run, number, life)?;
        counters::check(run, number, life, &datagrams[number])?;
    }
    for event in &run.index.trace.events {
        match event.kind {
            EventKind::Server(ServerEvent::CannotAccept) => coverage.insert(Goal::AcceptFailed),
            EventKind::Server(ServerEvent::AcceptAborted) => coverage.insert(Goal::AcceptAborted),
            EventKind::Server(ServerEvent::CannotReceive) => coverage.insert(Goal::ReceiveFailed),
            EventKind::Server(ServerEvent::CannotSend) => coverage.insert(Goal::SendFailed),
            _ => false,
        };
    }
    Ok(())
}

/// Checks that a graceful shutdown, and each connection of its server, ends within the drain timeout.
fn check_drain(run: &Run<'_>, number: usize, life: &Life<'_>) -> Result<(), Failure> {
    let (Some(stopping), Some(end)) = (life.stopping, life.end) else {
        return Ok(());
    };
    let connections = run.index.connections.values();
    let connections = connections.filter(|connection| connection.life == number);
    let ends = connections.filter_map(|connection| connection.server_side.dropped);
    let drain_ms = run.scenario.server.drain_timeout_ms;
    let mut late = ends.chain([end]);
    match late.find(|end| end.at_ms > stopping.at_ms + drain_ms + SLACK_MS) {
        None => Ok(()),
        Some(late) => {
            let message = format!(
                "the drain took {} ms, its timeout is {drain_ms} ms",
                late.at_ms - stopping.at_ms
            );
            Err(Failure::new(message, late.event))
        }
    }
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
    let is_excused = run.listener(connection).framing == Framing::Read || side.blocked_ms.is_some();
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
