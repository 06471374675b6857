//! Checks the limits of the server.

use super::{QUIET_MS, Run, SLACK_MS};
use crate::Failure;
use crate::trace::{Life, Moment, ServerEvent};

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
    // The backlog and the datagrams that have arrived are drained, too. A failed accept is retried after a pause.
    let waits = run
        .admissions
        .waits()
        .filter(|(begin_ms, end_ms)| begin_ms < end_ms)
        .map(|(_, end_ms)| end_ms);
    let waited_ms = waits.filter(|end_ms| *end_ms <= end.at_ms).max();
    let since_ms = waited_ms.unwrap_or(0).max(stopping.at_ms);
    let failures = run.server_events(ServerEvent::CannotAccept);
    let failures = failures.filter(|at| (stopping..end).contains(at));
    let drained_ms =
        (0..=failures.count()).fold(since_ms, |at_ms, _| run.elapsed_ms(at_ms, QUIET_MS));
    let due_ms = last_drop_ms.max(drained_ms).min(cut_ms);
    let connections = run.whole.connections.values();
    let late = connections
        .filter(|connection| connection.life == number)
        .find(|connection| connection.accepted.at_ms > drained_ms);
    if let Some(late) = late {
        let message = format!(
            "a connection was accepted at {} ms, although the backlog was drained at {drained_ms} ms",
            late.accepted.at_ms
        );
        return Err(Failure::new(message, late.accepted.event));
    }
    check_refused(run, drained_ms, end)?;
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

/// Checks that connects are refused at once between the drain of the backlog and the end of the server.
fn check_refused(run: &Run<'_>, drained_ms: u32, end: Moment) -> Result<(), Failure> {
    for (client, attempt) in run.index.attempts() {
        let latency_ms = run.latency_max_ms().max(1);
        let begin_ms = attempt.begin.at_ms;
        let refused_ms = begin_ms + 2 * latency_ms + SLACK_MS;
        let is_here = begin_ms > drained_ms && refused_ms < end.at_ms;
        let host = run.index.clients[client].host;
        if is_here
            && !attempt.is_by_datagram
            && attempt.end.at_ms > refused_ms
            && !run.index.has_link_fault(host, begin_ms, refused_ms)
        {
            let message = format!(
                "a connect at {begin_ms} ms was not refused, although the backlog was drained at {drained_ms} ms"
            );
            return Err(Failure::new(message, attempt.end.event));
        }
    }
    Ok(())
}
