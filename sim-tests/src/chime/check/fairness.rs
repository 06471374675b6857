//! Checks that no connection is served again and again while another that is ready waits.

use std::collections::BTreeMap;

use super::Run;
use crate::Failure;
use crate::trace::{End, EventKind, StreamEvent};

/// The number of operations after which a connection's task yields to the others: the budget of tokio.
const OPERATIONS_MAX: usize = 128;

/// Checks each millisecond: what arrives then is there before the server runs, so a connection that first reads is ready
/// from the beginning of the millisecond on.
pub(super) fn check(run: &Run<'_>) -> Result<(), Failure> {
    // An operation that is pending without a reason sends a task to the end of the queue once.
    let polls = match run.scenario.network.pending_percent {
        0 => 1,
        _ => 2,
    };
    let mut now_ms = 0;
    // The operations of each connection in this millisecond.
    let mut operations: BTreeMap<usize, usize> = BTreeMap::new();
    // The most of them, and their connection.
    let mut most = (0, 0);
    for (index, happened) in run.index.trace.events.iter().enumerate() {
        let EventKind::Stream {
            connection,
            end: End::Server,
            event,
        } = &happened.kind
        else {
            continue;
        };
        if happened.at_ms != now_ms {
            operations.clear();
            most = (0, 0);
            now_ms = happened.at_ms;
        }
        let is_first = !operations.contains_key(connection);
        let (count, other) = most;
        let is_read = matches!(event, StreamEvent::Read(_));
        if is_first && is_read && count > polls * OPERATIONS_MAX {
            let message = format!(
                "connection {connection} was ready at {now_ms} ms, and waited for {count} operations of connection {other}"
            );
            return Err(Failure::new(message, index));
        }
        let count = operations.entry(*connection).or_default();
        *count += 1;
        most = most.max((*count, *connection));
    }
    Ok(())
}
