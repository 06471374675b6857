//! The server: it keeps its limits, and tells the truth about what it did.

use std::collections::BTreeSet;

use chime_protocol::Framing;
use chime_server::Counter;

use super::{Failure, QUIET_MS, SLACK_MS, datagrams, failure};
use crate::coverage::CoverageGoal;
use crate::trace::connection::Connection;
use crate::trace::index::{Index, Life};
use crate::trace::{EventKind, ServerEvent};

/// How long the server waits at most for a client to close, after it has closed itself.
const LINGER_MS: u32 = 1_000;

/// Checks the server.
pub(super) fn check(
    index: &Index<'_>,
    coverage: &mut BTreeSet<CoverageGoal>,
) -> Result<(), Failure> {
    for (number, life) in index.lives.iter().enumerate() {
        check_counters(index, number, life)?;
    }
    index.connections.values().try_for_each(|connection| {
        check_idle(index, connection)?;
        check_line(index, connection)?;
        check_reader(index, connection)
    })?;
    for event in &index.trace.events {
        match event.kind {
            EventKind::Server(ServerEvent::CannotAccept) => {
                coverage.insert(CoverageGoal::AcceptFailed)
            }
            EventKind::Server(ServerEvent::CannotReceive) => {
                coverage.insert(CoverageGoal::ReceiveFailed)
            }
            _ => false,
        };
    }
    Ok(())
}

/// No connection is kept for longer than the idle timeout in which no byte moves.
fn check_idle(index: &Index<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let side = &connection.server_side;
    let (Some(dropped), Some(closed)) = (side.dropped, side.closed()) else {
        let message = "a connection was kept to the end".to_string();
        return Err(failure(message, index.trace.events.len() - 1));
    };
    let idle_ms = index.scenario.server.idle_timeout_ms;
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
        return Err(failure(message, dropped.event));
    }
    if dropped.at_ms - closed.at_ms > LINGER_MS + SLACK_MS {
        let message = format!("a closed connection was kept for more than {LINGER_MS} ms");
        return Err(failure(message, dropped.event));
    }
    Ok(())
}

/// No line takes longer than its time, unless the client takes no replies meanwhile.
fn check_line(index: &Index<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let server = &index.scenario.server;
    let side = &connection.server_side;
    let (Some(dropped), Some(closed), Some((began_ms, bytes))) =
        (side.dropped, side.closed(), side.partial_line())
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
            format!("a line that began at {began_ms} ms was waited for until {closed_ms} ms");
        return Err(failure(message, dropped.event));
    }
    Ok(())
}

/// No client that takes no replies is waited for longer than the write timeout.
fn check_reader(index: &Index<'_>, connection: &Connection<'_>) -> Result<(), Failure> {
    let side = &connection.server_side;
    let (Some(dropped), Some(closed), Some(blocked_ms)) =
        (side.dropped, side.closed(), side.blocked_ms)
    else {
        return Ok(());
    };
    let closed_ms = closed.at_ms;
    let last_ms = side.last_moved_ms().unwrap_or(connection.accepted.at_ms);
    let due_ms = last_ms
        .max(side.read_until_ms())
        .saturating_add(index.scenario.server.write_timeout_ms);
    if blocked_ms >= last_ms && closed_ms > due_ms.saturating_add(QUIET_MS + SLACK_MS) {
        let message = format!("a client took nothing from {last_ms} ms until {closed_ms} ms");
        return Err(failure(message, dropped.event));
    }
    Ok(())
}

/// What the server counted is what happened, and all its room is free again.
fn check_counters(index: &Index<'_>, number: usize, life: &Life) -> Result<(), Failure> {
    let (Some(stopped), Some((snapshot, permits))) = (life.end, life.outcome) else {
        return Ok(());
    };
    let last = index.trace.events.len() - 1;
    let accepted = index.connections.values();
    let accepted = accepted.filter(|connection| connection.life == number);
    let (refused, served): (Vec<_>, Vec<_>) =
        accepted.partition(|connection| connection.is_refused);
    let (answered, ignored) = datagrams::counts(index, life.started.at_ms, stopped.at_ms);
    let counted = [
        ("served", snapshot[Counter::ConnectionServed], served.len()),
        (
            "refused",
            snapshot[Counter::ConnectionRefused],
            refused.len(),
        ),
        ("over", snapshot.conversations_ended(), served.len()),
        ("panicked", snapshot[Counter::ConversationPanicked], 0),
        (
            "answered datagrams",
            snapshot[Counter::DatagramAnswered],
            answered,
        ),
        (
            "ignored datagrams",
            snapshot[Counter::DatagramIgnored],
            ignored,
        ),
    ];
    for (name, counted, happened) in counted {
        if counted != happened as u64 {
            let message = format!("the server counts {counted} {name}, not {happened}");
            return Err(failure(message, last));
        }
    }
    let connections_max = index.scenario.server.connections_max;
    if permits != connections_max {
        let message = format!("there is room for {permits} at the end, not for {connections_max}");
        return Err(failure(message, last));
    }
    Ok(())
}
