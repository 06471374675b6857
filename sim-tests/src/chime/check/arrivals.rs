//! Checks that the server reads what has arrived without an idle millisecond, unless a reply is unsent.

use super::Run;
use super::excuses::Excuse;
use crate::Failure;
use crate::scenario::FaultKind;
use crate::trace::{Connection, Moment};

/// Checks every connection.
pub(super) fn check(run: &Run<'_>) -> Result<(), Failure> {
    let connections = run.index.connections.iter();
    connections
        .filter_map(|(number, connection)| Some((*number, connection, connection.client?)))
        .try_for_each(|(number, connection, client)| check_reads(run, number, connection, client))
}

fn check_reads(
    run: &Run<'_>,
    number: usize,
    connection: &Connection<'_>,
    client: usize,
) -> Result<(), Failure> {
    let [from, to] = [&connection.client_side, &connection.server_side];
    let host = run.index.clients[client].host;
    // The server may have run before the client in the millisecond in which the client writes.
    let latency_ms = run.latency_max_ms().max(1);
    let mut wrote = 0;
    let mut sent: Vec<_> = from
        .wrote
        .iter()
        .map(|piece| {
            wrote += piece.bytes.len();
            (piece.at.at_ms, Some(wrote))
        })
        .collect();
    sent.extend(from.closed().map(|closed| (closed.at_ms, None)));

    let mut reads = to.read.iter();
    let (mut read, mut read_at) = (0, Moment::default());
    let mut arrived_ms = connection.accepted.at_ms;
    for (sent_ms, end) in sent {
        let read_at = match end {
            None => to.read_end,
            Some(end) => {
                while read < end
                    && let Some(piece) = reads.next()
                {
                    read += piece.bytes.len();
                    read_at = piece.at;
                }
                (read >= end).then_some(read_at)
            }
        };
        let due_ms = sent_ms + latency_ms;
        let mut faults = run.index.faults.iter();
        let is_disturbed = faults.any(|span| {
            let is_to_server = !matches!(span.kind, FaultKind::PartitionFromServer { .. });
            is_to_server && span.kind.host() == Some(host) && span.overlaps(sent_ms, due_ms)
        });
        let is_disturbed = run.excuses(Excuse::ReadLinkFault, is_disturbed);
        let read_at_ms = read_at.map(|at| at.at_ms);
        arrived_ms = match read_at_ms {
            _ if !is_disturbed => arrived_ms.max(due_ms),
            Some(read_at_ms) => read_at_ms,
            // The fault swallowed it, and what follows does not arrive either.
            None => return Ok(()),
        };
        // What arrived before the server half-closed is not left to be discarded, unless the conversation has ended.
        let is_left = to.shut.is_some_and(|shut| {
            arrived_ms < shut.at_ms && read_at.is_none_or(|read_at| shut < read_at)
        });
        if let Some(end) = end
            && is_left
            && !run.replays[&number].is_closed
        {
            let message = format!(
                "connection {number}: byte {end} arrived at {arrived_ms} ms, and was not read before the server \
                 half-closed"
            );
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
        let closed = to.dropped.map(|dropped| dropped.at_ms);
        let Some(at_ms) = read_at_ms.or(closed) else {
            return Ok(());
        };
        let mut free_ms = run.index.awake_ms(arrived_ms);
        for (begin_ms, end_ms) in &run.replays[&number].blocked {
            let is_unsent = (*begin_ms..=*end_ms).contains(&free_ms);
            if run.excuses(Excuse::ReadUnsent, is_unsent) {
                free_ms = run.index.awake_ms(*end_ms);
            }
        }
        if at_ms > free_ms {
            let what = end.map_or("EOF".to_string(), |end| format!("byte {end}"));
            let message = format!(
                "connection {number}: {what} arrived at {arrived_ms} ms, the server could read it at {free_ms} ms, \
                 and did nothing until {at_ms} ms"
            );
            return Err(Failure::new(message, run.index.trace.events.len() - 1));
        }
    }
    Ok(())
}
