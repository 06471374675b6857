//! Checks the limits of the server.

use super::{Run, SLACK_MS};
use crate::Failure;
use crate::trace::Life;

/// Checks that a graceful shutdown, and each connection of its server, ends within the drain timeout.
pub(super) fn check_drain(run: &Run<'_>) -> Result<(), Failure> {
    let mut lives = run.index.lives.iter().enumerate();
    lives.try_for_each(|(number, life)| check_drain_of(run, number, life))
}

fn check_drain_of(run: &Run<'_>, number: usize, life: &Life<'_>) -> Result<(), Failure> {
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
