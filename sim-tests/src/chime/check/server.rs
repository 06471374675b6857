//! Checks the limits of the server.

use super::{QUIET_MS, Run};
use crate::Failure;
use crate::trace::Life;

/// Checks that a graceful shutdown ends with the last connection, and within the drain timeout.
pub(super) fn check_drain(run: &Run<'_>) -> Result<(), Failure> {
    let mut lives = run.index.lives.iter().enumerate();
    lives.try_for_each(|(number, life)| check_drain_of(run, number, life))
}

fn check_drain_of(run: &Run<'_>, number: usize, life: &Life<'_>) -> Result<(), Failure> {
    let (Some(stopping), Some(end)) = (life.stopping, life.end) else {
        return Ok(());
    };
    let connections = run.whole.connections.values();
    let connections = connections.filter(|connection| connection.life == number);
    let drops = connections.filter_map(|connection| connection.server_side.dropped);
    let last_drop_ms = drops.map(|dropped| dropped.at_ms).max().unwrap_or(0);
    let drain_ms = run.scenario.server.drain_timeout_ms.max(QUIET_MS);
    let cut_ms = run.elapsed_ms(stopping.at_ms, drain_ms);
    // The backlog and the datagrams that have arrived are drained, too. A failed accept is retried.
    let due_ms = match run.scenario.network.accept_error_percent {
        0 => {
            let waits = run.admissions.waits().map(|(_, end_ms)| end_ms);
            let waited_ms = waits.filter(|end_ms| *end_ms <= end.at_ms).max();
            let since_ms = waited_ms.unwrap_or(0).max(stopping.at_ms);
            let drained_ms = run.elapsed_ms(since_ms, QUIET_MS);
            last_drop_ms.max(drained_ms).min(cut_ms)
        }
        _ => cut_ms,
    };
    let drained_ms = run.elapsed_ms(stopping.at_ms, QUIET_MS);
    let connections = run.whole.connections.values();
    let late = connections
        .filter(|connection| connection.life == number)
        .find(|connection| connection.accepted.at_ms > drained_ms);
    if let Some(late) = late
        && run.scenario.network.accept_error_percent == 0
        && run.admissions.waits().next().is_none()
    {
        let message = format!(
            "a connection was accepted at {} ms, although the backlog was drained at {drained_ms} ms",
            late.accepted.at_ms
        );
        return Err(Failure::new(message, late.accepted.event));
    }
    // The last shutdown begins after the server has run in its millisecond.
    match end.at_ms > due_ms + 1 {
        false => Ok(()),
        true => {
            let message = format!(
                "the server stopped at {} ms, expected at {due_ms} ms",
                end.at_ms
            );
            Err(Failure::new(message, end.event))
        }
    }
}
